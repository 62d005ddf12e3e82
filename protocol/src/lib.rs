//! The protocol of Conclave: the contract between machines and drivers, the identifiers, and every message.
//!
//! This crate is sans-IO: it has no clock, no randomness, no socket and no thread. `now` is an argument, and so is
//! whatever is random. `clippy.toml` makes the compiler check it.
//!
//! From bytes to trust: a datagram is read into an [`Envelope`], a [`Gate`] (at a member) or the message's own
//! `verify` or `open` (at a manager) proves its origin, and only the [`Verified`] message reaches a handler.

mod alarm;
mod budget;
mod codec;
mod comeback;
pub mod discovery;
mod envelope;
mod gate;
mod ids;
mod key_update;
mod keys;
pub mod limits;
mod machine;
mod nak;
mod outbox;
mod registration;
mod renewal;
mod roster;
mod suspicion;
mod takeover;
mod time;
mod timers;
mod unicast;

pub use alarm::Alarm;
pub use budget::Budget;
pub use codec::{Malformed, Reader, Writer};
pub use comeback::{Answer, Farewell, Question, encode_revocations};
pub use envelope::{DatagramKind, Envelope, PROTOCOL_VERSION, Verified};
pub use gate::Gate;
pub use ids::{Commit, ConnId, GroupId, Inst, RosterVersion, SenderId, StateId, SubgroupId, Term};
pub use key_update::{
    Block, Body, PARITY_EXCESS, SCHEME_LKH, STRATEGY_GROUP_ORIENTED, SealedUpdate, UpdateHeader,
    UpdatePacket, entry_bound, message_loss, packet_loss, packet_overhead, parity_for_message,
    parity_for_packet, seal_update, target_bound,
};
pub use keys::{Domain, RegistrationKeys};
pub use keytree::{Epoch, RegNo, Version};
pub use limits::Timing;
pub use machine::{
    Blame, CloseReason, DataHint, Input, Lane, Machine, Peer, Record, Rejected, Role, Transmit,
};
pub use nak::{ALL_MISSING, ANY_BLOCK, Nak, UNKNOWN_LOSS};
pub use outbox::{Asked, MAX_OUTBOX, Outbox};
pub use registration::{
    Confirm, Follow, Frame, Grant, Handover, HandoverTaken, Join, JoinRole, OfficeTaken, Refusal, StatePart,
    confirmation,
};
pub use renewal::Renewal;
pub use roster::{Credential, Revocation, Roster, SignedRevocation, policy_digest};
pub use suspicion::Suspicion;
pub use takeover::{Office, Succession, Takeover, Warrant, required_suspicions};
pub use time::Instant;
pub use timers::Timers;
pub use unicast::{Registration, ResyncAnswer, ToManager, ToMember, claimed_sender};
