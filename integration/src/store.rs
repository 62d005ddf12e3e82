//! The manager's store, in memory: what has gathered is committed together, as the storage thread does it.

use std::time::Duration;

use protocol::{Commit, Instant};

use crate::dice::Dice;
use crate::faults::StoreFaults;

/// What the store does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreReport {
    /// Everything up to this record is durable.
    Stored(Commit),
    /// It failed, for good.
    Failed,
}

/// One storage thread: one commit at a time, each of everything that waits.
#[derive(Debug)]
pub(crate) struct SimStore {
    faults: StoreFaults,
    dice: Dice,
    newest: Commit,
    durable: Commit,
    committing: Option<Commit>,
    failed: bool,
}

impl SimStore {
    /// An empty store.
    pub(crate) const fn new(faults: StoreFaults, dice: Dice) -> Self {
        Self { faults, dice, newest: Commit(0), durable: Commit(0), committing: None, failed: false }
    }

    /// A record is to be made durable. Returns when the commit that it begins is over, if it begins one.
    pub(crate) fn append(&mut self, now: Instant, commit: Commit) -> Option<Instant> {
        self.newest = commit;
        self.begin(now)
    }

    /// The commit under way is over: what to report, and when the next one will be.
    pub(crate) fn finish(&mut self, now: Instant) -> (Option<StoreReport>, Option<Instant>) {
        let Some(commit) = self.committing.take() else { return (None, None) };
        if self.failed {
            return (None, None);
        }
        if self.faults.fails_after.is_some_and(|after| now >= Instant::ZERO + after) {
            self.failed = true;
            return (Some(StoreReport::Failed), None);
        }
        self.durable = commit;
        (Some(StoreReport::Stored(commit)), self.begin(now))
    }

    /// The newest durable record.
    pub(crate) const fn durable(&self) -> Commit {
        self.durable
    }

    fn begin(&mut self, now: Instant) -> Option<Instant> {
        if self.failed || self.committing.is_some() || self.newest <= self.durable {
            return None;
        }
        self.committing = Some(self.newest);
        let delay: Duration = self.dice.duration(self.faults.least_delay, self.faults.most_delay);
        Some(now + delay)
    }
}
