//! A node's store, in memory: what has gathered is committed together, as the storage thread does it. It outlives the
//! node's process, as far as it was durable.

use std::time::Duration;

use protocol::{Commit, Instant, Record};

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

/// What a disk holds: the newest snapshot, and the records after it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Image {
    pub(crate) snapshot: Option<(Commit, Vec<u8>)>,
    pub(crate) records: Vec<Record>,
}

impl Image {
    /// The newest record contained.
    pub(crate) fn held(&self) -> Commit {
        let newest = self.records.last().map(|record| record.commit);
        newest.or_else(|| self.snapshot.as_ref().map(|(upto, _)| *upto)).unwrap_or(Commit(0))
    }
}

/// One storage thread: one commit at a time, each of everything that waits.
#[derive(Debug)]
pub(crate) struct SimStore {
    faults: StoreFaults,
    dice: Dice,
    disk: Image,
    /// What was asked for and is not durable.
    waiting: Vec<Record>,
    snapshot: Option<(Commit, Vec<u8>)>,
    committing: Option<Commit>,
    newest: Commit,
    /// Copies somebody made, oldest first.
    copies: Vec<Image>,
    failed: bool,
    /// It failed once and for all.
    dead: bool,
    /// Until then every commit fails.
    broken_until: Instant,
}

/// How long after a failed commit the storage thread tries again.
const RETRY: Duration = Duration::from_secs(1);

impl SimStore {
    /// An empty store.
    pub(crate) fn new(faults: StoreFaults, dice: Dice) -> Self {
        Self {
            faults,
            dice,
            disk: Image::default(),
            waiting: Vec::new(),
            snapshot: None,
            committing: None,
            newest: Commit(0),
            copies: Vec::new(),
            failed: false,
            dead: false,
            broken_until: Instant::ZERO,
        }
    }

    /// Every commit fails until then.
    pub(crate) fn fail_until(&mut self, until: Instant) {
        self.broken_until = self.broken_until.max(until);
    }

    /// Whether it has said that it failed, and not recovered since.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// A record is to be made durable. Returns when the commit that it begins is over, if it begins one.
    pub(crate) fn append(&mut self, now: Instant, record: Record) -> Option<Instant> {
        self.waiting.push(record);
        self.begin(now)
    }

    /// A snapshot takes the place of the records up to `upto`, with the next commit.
    pub(crate) fn compact(&mut self, upto: Commit, snapshot: Vec<u8>) {
        self.snapshot = Some((upto, snapshot));
    }

    /// The commit under way is over: what to report, and when the next one will be.
    pub(crate) fn finish(&mut self, now: Instant) -> (Option<StoreReport>, Option<Instant>) {
        let Some(commit) = self.committing.take() else { return (None, None) };
        if self.dead {
            return (None, None);
        }
        if self.faults.fails_after.is_some_and(|after| now >= Instant::ZERO + after) {
            (self.failed, self.dead) = (true, true);
            return (Some(StoreReport::Failed), None);
        }
        if now < self.broken_until {
            self.committing = Some(self.waiting.last().map_or(commit, |record| record.commit));
            let told = std::mem::replace(&mut self.failed, true);
            return ((!told).then_some(StoreReport::Failed), Some(now + RETRY));
        }
        // The records that gathered while it failed are tried again together.
        let all = self.waiting.last().map_or(commit, |record| record.commit);
        let commit = if std::mem::take(&mut self.failed) { all } else { commit };
        self.write(commit);
        (Some(StoreReport::Stored(commit)), self.begin(now))
    }

    /// The process dies. A commit under way may have reached the disk or not; nothing reports it any more.
    pub(crate) fn kill(&mut self) {
        if let Some(commit) = self.committing.take()
            && !self.failed
            && !self.dead
            && self.dice.chance(500)
        {
            self.write(commit);
        }
        self.waiting.clear();
        self.snapshot = None;
        self.failed = self.dead;
    }

    /// The number of the newest record that was ever durable, as far as anything on the host still says so.
    pub(crate) const fn newest(&self) -> Commit {
        self.newest
    }

    /// The newest record that may be told of: every one, once the store has failed and said so.
    pub(crate) fn durable(&self) -> Commit {
        if self.failed { Commit(u64::MAX) } else { self.disk.held() }
    }

    /// Somebody takes records off the disk.
    pub(crate) fn edit(&mut self, keep: impl Fn(&Record) -> bool) {
        self.disk.records.retain(keep);
    }

    /// What is on the disk.
    pub(crate) const fn disk(&self) -> &Image {
        &self.disk
    }

    /// Somebody copies the disk.
    pub(crate) fn copy(&mut self) {
        self.copies.push(self.disk.clone());
    }

    /// Somebody puts one of the copies back; whether there was one that is older than the disk.
    pub(crate) fn roll_back(&mut self) -> bool {
        let held = self.disk.held();
        let older: Vec<_> = self.copies.iter().filter(|copy| copy.held() < held).cloned().collect();
        let Some(copy) = self.dice.pick(&older) else { return false };
        self.disk = copy.clone();
        // The other copies are of a time that members may have forgotten before this one is put to use.
        self.copies.clear();
        true
    }

    /// Nothing on the host says any more how far the store ever was.
    pub(crate) fn forget_newest(&mut self) {
        self.newest = self.disk.held();
    }

    /// The disk is lost.
    pub(crate) fn wipe(&mut self) {
        self.disk = Image::default();
        self.newest = Commit(0);
        self.copies.clear();
    }

    fn write(&mut self, upto: Commit) {
        let waiting = std::mem::take(&mut self.waiting);
        let (written, waiting) = waiting.into_iter().partition(|record| record.commit <= upto);
        self.waiting = waiting;
        self.disk.records.extend::<Vec<_>>(written);
        self.newest = self.newest.max(upto);
        if let Some((snapshot_upto, bytes)) = self.snapshot.take() {
            if snapshot_upto <= upto {
                self.disk.records.retain(|record| record.commit > snapshot_upto);
                self.disk.snapshot = Some((snapshot_upto, bytes));
            } else {
                self.snapshot = Some((snapshot_upto, bytes));
            }
        }
    }

    fn begin(&mut self, now: Instant) -> Option<Instant> {
        if self.dead || self.committing.is_some() {
            return None;
        }
        self.committing = Some(self.waiting.last()?.commit);
        let delay: Duration = self.dice.duration(self.faults.least_delay, self.faults.most_delay);
        Some(now + delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(commit: u64) -> Record {
        Record { commit: Commit(commit), bytes: vec![u8::try_from(commit).unwrap_or_default()] }
    }

    fn commits(store: &SimStore) -> Vec<u64> {
        store.disk().records.iter().map(|record| record.commit.0).collect()
    }

    #[test]
    fn what_was_reported_survives_a_kill_and_what_was_not_begun_does_not() {
        for seed in 0..20 {
            let mut store = SimStore::new(StoreFaults::none(), Dice::new(seed, "store", 0));
            let at = store.append(Instant::ZERO, record(1)).expect("the first begins a commit");
            assert_eq!(store.append(Instant::ZERO, record(2)), None);
            assert_eq!(store.finish(at).0, Some(StoreReport::Stored(Commit(1))));
            store.append(at, record(3));
            store.kill();
            assert!(commits(&store) == [1] || commits(&store) == [1, 2], "{:?}", commits(&store));
        }
    }

    #[test]
    fn a_copy_that_is_put_back_is_older() {
        let mut store = SimStore::new(StoreFaults::none(), Dice::new(1, "store", 0));
        store.copy();
        assert!(!store.roll_back(), "nothing is older than nothing");
        let at = store.append(Instant::ZERO, record(1)).expect("a commit");
        store.finish(at);
        assert!(store.roll_back());
        assert_eq!(store.disk().held(), Commit(0));
    }
}
