//! The library `conclave`: sockets, TLS, certificates, the clock and the storage thread around the machines.
//!
//! Everything below this crate is told the time and handed what arrives; here is where both come from.

mod clock;
mod connections;
mod driver;
mod group;
mod host;
mod listener;
mod node;
mod pki;
mod process;
mod receiving;
mod role;
mod sending;
mod sockets;
mod state;
mod store_thread;
mod threads;
mod tls;

pub use clock::{Clock, unix_now};
pub use driver::{Driven, DriverCounters, Effect, Listen, MachineHandle, Stopped};
pub use group::{
    Group, GroupHandle, GroupOptions, GroupStatus, JoinError, ManagerError, ManagerSettings, group_id,
};
pub use gsm::{Mode, Part, Participant, ParticipantEvent};
pub use host::{DEFAULT_CONTROL_PORT, DEFAULT_DATA_PORT, Host, HostOptions, StartError, StraySnapshot};
pub use listener::{AdmissionCounters, AdmissionSnapshot};
pub use pki::{
    Authority, Credentials, Identity, IdentityError, IssueRequest, Issued, KeyKind, PkiError,
    ShownCertificate, read_certificates,
};
pub use process::{HardenError, harden};
pub use receiving::Message;
pub use sending::{SendError, SentAs};
pub use sockets::{
    Interface, InterfaceError, MulticastSocket, SendCounters, SendFault, SendSnapshot, SocketError,
    UnicastSocket,
};
pub use state::{SigningKeyError, State, StoreFacts};
pub use store_thread::{StoreReport, StoreThread, SubmitError, open_store};
pub use threads::Threads;
pub use tls::{
    CertificateCheck, Connection, Expect, FrameCodec, Frames, HandshakeLimits, MAX_FRAME, RefusedBy,
    TlsConfig, TlsConfigError, TlsPeer, TlsRefusal, TlsRefused, TlsStream, accept, connect, frames,
    require_role, sign_with_certificate_key,
};
