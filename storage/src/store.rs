use std::fmt;

use async_trait::async_trait;

use crate::StoreError;

/// One thing to be kept: opaque bytes under a commit number.
///
/// Made by a machine (`poll_record`). It may hold a member's secrets in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The record's number: each record's is the previous one's plus one, over the whole life of the journal.
    pub commit: u64,
    /// What the machine wrote, never looked into.
    pub bytes: Vec<u8>,
}

/// All that records up to and including one commit amount to, so that those records may be dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last commit the snapshot contains.
    pub upto: u64,
    /// What the machine wrote, never looked into.
    pub bytes: Vec<u8>,
}

/// What a store held when it was opened: the newest snapshot, and every later record in order without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The newest snapshot, if one was ever made.
    pub snapshot: Option<Snapshot>,
    /// The records after it, ascending and contiguous.
    pub records: Vec<Record>,
}

/// Which engine keeps the records, for `status` and for whoever must know what a restart costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreKind {
    /// Kept in this process only: a restart forgets every member.
    Memory,
}

impl StoreKind {
    /// The word `status` prints.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
        }
    }

    /// Whether what was acknowledged is still there after the process ended in whatever way.
    ///
    /// A wrong `true` would let an operator believe in evictions that a restart forgets.
    #[must_use]
    pub const fn survives_restart(self) -> bool {
        match self {
            Self::Memory => false,
        }
    }
}

/// Keeps records in order. Owned by one storage thread, which makes every call; calls never overlap.
///
/// Everything acknowledged with `Ok` is as safe as [`Store::describe`] promises; nothing may be acknowledged earlier,
/// since grants and evictions are told to the world as soon as it is.
#[async_trait]
pub trait Store: Send {
    /// Makes `records` safe, all of them or none, and returns only then.
    ///
    /// Called with at least one record, ascending and contiguous with what went before; the first record of an empty
    /// store may have any number. On `Err` nothing counts as stored and the caller may repeat the same call, so an
    /// engine that cannot tell how far a failed write came must overwrite by commit number.
    async fn append(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Reads everything back. Called once, before the first `append`. Changes nothing.
    async fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Replaces every record up to `snapshot.upto` by the snapshot.
    ///
    /// On `Err` the records are still there. Dropping records the snapshot does not contain would lose members or,
    /// worse, evictions; hence a snapshot of commits the store has not seen is refused.
    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError>;

    /// Which engine this is. Constant for the life of the store.
    fn describe(&self) -> StoreKind;
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}, {} bytes)", self.commit, self.bytes.len())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot(..={}, {} bytes)", self.upto, self.bytes.len())
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
