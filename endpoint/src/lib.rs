//! The library `conclave`: sockets, TLS, certificates, the clock and the storage thread around the machines.
//!
//! Everything below this crate is told the time and handed what arrives; here is where both come from.

mod clock;
mod process;
mod sockets;
mod store_thread;

pub use clock::{Clock, unix_now};
pub use process::{HardenError, harden};
pub use sockets::{
    Interface, InterfaceError, MulticastSocket, SendCounters, SendFault, SendSnapshot, SocketError, UnicastSocket,
};
pub use store_thread::{StoreReport, StoreThread, SubmitError};
