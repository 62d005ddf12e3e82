//! The data plane of Conclave: sealing and opening the packets of applications.
//!
//! A [`Sealer`] turns payloads into data packets, an [`Opener`] turns packets back into payloads, each at most once.
//! Neither touches a machine: both are told everything they need by the [`KeyRing`] a machine emits, which is replaced
//! whole, and hand back nothing but a hint. So a slow application never costs the control plane an alarm.
//!
//! This crate is sans-IO: it has no clock, no randomness of its own, no socket and no thread. `now` and the generator
//! are arguments. `clippy.toml` makes the compiler check it.
//!
//! A switch from one group key to the next happens by time: the ring names the instants, and [`Sealer::seal`] and
//! [`Opener::open`] keep to them without being called in between.

mod cache;
mod data_key;
mod held_keys;
mod opener;
mod outcome;
mod packet;
mod replay;
mod ring;
mod sealer;
mod waiting;
mod windows;

pub use opener::Opener;
pub use outcome::{Delivery, DropReason, OpenCounters, Opened};
pub use packet::{
    COMMITMENT_LEN, HEADER_LEN, INNER_LEN, Inner, KIND_DATA, MAX_DATAGRAM, MAX_HOPS, MAX_PAYLOAD, MIN_PACKET,
    OUTER_LEN, Outer, Packet, StreamId, VERSION, addressed_to,
};
pub use ring::{Departed, HardFloor, KeyRing, ReceiveKey, SendKey};
pub use sealer::{GENERATION_TIME, SealError, Sealed, Sealer};
