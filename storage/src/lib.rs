//! What a manager must not forget, as opaque numbered records.
//!
//! The machines decide what a record means; this crate only keeps records in order and says truthfully when they are
//! safe. A record may hold a member's secrets: an engine that lets one leave the process seals it first. The crate has
//! no clock, no randomness and no thread: the one storage thread that owns a [`Store`] belongs to the library above, and
//! the machines' loop never waits for it.
//!
//! The engine here is [`MemoryStore`]. It loses everything at a restart and says so ([`StoreKind::Memory`]).

mod dirs;
mod error;
mod memory;
mod sled_store;
mod store;

pub use dirs::StateDirs;
pub use error::StoreError;
pub use memory::MemoryStore;
pub use sled_store::SledStore;
pub use store::{Health, Loaded, Record, Snapshot, Store, StoreKind};
