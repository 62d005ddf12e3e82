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

/// What a store held when it was opened: the newest snapshot, and the later records in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The newest snapshot, if one was ever made.
    pub snapshot: Option<Snapshot>,
    /// The records after it, ascending. Numbers are missing only where a store once lost something, said so, and went
    /// on above what it had lost.
    pub records: Vec<Record>,
    /// Whether this is all that was ever acknowledged.
    pub health: Health,
}

impl Loaded {
    /// The newest commit that was read back; 0 if there is none.
    #[must_use]
    pub fn held(&self) -> u64 {
        let newest = self.records.last().map(|record| record.commit);
        newest.or_else(|| self.snapshot.as_ref().map(|snapshot| snapshot.upto)).unwrap_or(0)
    }

    /// The number the next record must have: above all that was read back and above all that is known to have been
    /// acknowledged, so that no number ever stands for two records.
    #[must_use]
    pub fn next_commit(&self) -> u64 {
        let anchored = match self.health {
            Health::Behind { anchored, .. } | Health::Damaged { anchored, .. } => anchored,
            Health::Fresh | Health::Whole => 0,
        };
        self.held().max(anchored).saturating_add(1)
    }
}

/// What a store can say of itself after [`Store::load`].
///
/// With [`Behind`](Self::Behind) and [`Damaged`](Self::Damaged) evictions may be missing: whoever resumes from such a
/// store must ask others what it has forgotten before it admits anybody. The store itself goes on working: the next
/// [`append`](Store::append) takes [`Loaded::next_commit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing was ever stored here.
    #[default]
    Fresh,
    /// Everything that was acknowledged is here and is what was written.
    Whole,
    /// What is here is good but older than what was acknowledged: somebody put an old copy back, or the medium lost
    /// its newest part without a sign.
    Behind {
        /// The newest commit that is here; 0 if there is none.
        held: u64,
        /// The newest commit that was acknowledged.
        anchored: u64,
    },
    /// Something is not what was written. What is handed back is what could still be verified: the snapshot, and the
    /// records after it up to the first that is not good.
    Damaged {
        /// What is wrong, for the log and for `status`.
        what: String,
        /// The newest commit that is here; 0 if there is none.
        held: u64,
        /// The newest commit known to have been acknowledged; 0 if even that is not known any more.
        anchored: u64,
    },
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => f.write_str("fresh"),
            Self::Whole => f.write_str("whole"),
            Self::Behind { held, anchored } => {
                write!(f, "behind: record {anchored} was acknowledged, {held} is the newest here")
            }
            Self::Damaged { what, held, .. } => {
                write!(f, "damaged: {what}; read back up to record {held}")
            }
        }
    }
}

/// Which engine keeps the records, for `status` and for whoever must know what a restart costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreKind {
    /// Kept in this process only: a restart forgets every member.
    Memory,
    /// On this machine's disk, sealed.
    Sled,
}

impl StoreKind {
    /// The word `status` prints.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sled => "sled",
        }
    }

    /// Whether what was acknowledged is still there after the process ended in whatever way.
    ///
    /// A wrong `true` would let an operator believe in evictions that a restart forgets.
    #[must_use]
    pub const fn survives_restart(self) -> bool {
        match self {
            Self::Memory => false,
            Self::Sled => true,
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
    /// store may have any number, and the first one after a load that was `Behind` or `Damaged` may have any from
    /// [`Loaded::next_commit`] on. On `Err` nothing counts as stored and the caller may repeat the same call, so an
    /// engine that cannot tell how far a failed write came must overwrite by commit number.
    async fn append(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Reads everything back. Called once, before the first `append`. Nothing that can be read is changed; an engine may
    /// put aside what it found damaged. `Err` means that nothing is known of the state (no such key, a disk that
    /// cannot be read), not that there is none.
    async fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Replaces every record up to `snapshot.upto` by the snapshot.
    ///
    /// On `Err` the records are still there. Dropping records the snapshot does not contain would lose members or,
    /// worse, evictions; hence a snapshot of commits the store has not seen is refused.
    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError>;

    /// Which engine this is. Constant for the life of the store.
    fn describe(&self) -> StoreKind;
}

/// A record may hold a member's secrets, and a store drops it once it is sealed.
impl Drop for Record {
    fn drop(&mut self) {
        crypto::wipe(&mut self.bytes);
    }
}

/// So may a snapshot.
impl Drop for Snapshot {
    fn drop(&mut self) {
        crypto::wipe(&mut self.bytes);
    }
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
