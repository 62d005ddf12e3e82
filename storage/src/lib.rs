//! What a manager must not forget, as opaque numbered records.
//!
//! The machines decide what a record means; this crate only keeps records in order and says truthfully when they are
//! safe. A record may hold a member's secrets: an engine that lets one leave the process seals it first. The crate has
//! no clock, no randomness of its own and no thread that outlives a call: the one storage thread that owns a [`Store`] belongs to
//! the library above, and the machines' loop never waits for it.
//!
//! | engine | keeps | after a restart |
//! |---|---|---|
//! | [`MemoryStore`] | everything in this process | nothing, and says so ([`StoreKind::Memory`]) |
//! | [`FailingStore`] | the same, and fails when told to: for tests of what stands above | nothing |
//! | [`SledStore`] | a sealed journal in [two directories](StateDirs) | everything, or says what is missing ([`Health`]) |

mod dirs;
mod error;
mod failing;
mod memory;
mod sled_store;
mod store;

pub use dirs::StateDirs;
pub use error::StoreError;
pub use failing::{FailingStore, Fault};
pub use memory::MemoryStore;
pub use sled_store::SledStore;
pub use store::{Health, Loaded, Record, Snapshot, Store, StoreKind};
