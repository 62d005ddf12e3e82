//! The protocol of Conclave: the contract between machines and drivers, the identifiers, and every message.
//!
//! This crate is sans-IO: it has no clock, no randomness, no socket and no thread. `now` is an argument, and so is
//! whatever is random. `clippy.toml` makes the compiler check it.

mod budget;
mod codec;
mod ids;
pub mod limits;
mod machine;
mod outbox;
mod time;
mod timers;

pub use budget::Budget;
pub use codec::{Malformed, Reader, Writer};
pub use ids::{Commit, ConnId, GroupId, Inst, RosterVersion, SenderId, StateId, SubgroupId, Term};
pub use keytree::{Epoch, RegNo, Version};
pub use limits::Timing;
pub use machine::{Blame, CloseReason, DataHint, Input, Lane, Machine, Peer, Record, Rejected, Role, Transmit};
pub use outbox::{MAX_OUTBOX, Outbox};
pub use time::Instant;
pub use timers::Timers;
