//! What the store has promised at one moment, and whether what is found keeps it.

use storage::{Health, Loaded, Record};

use crate::script::{Found, Mark, Operation};
use crate::support::{record, snapshot};

/// What was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Journal {
    snapshot: Option<u64>,
    /// The records after the snapshot.
    records: Vec<u64>,
}

/// What was acknowledged so far, and what may be there besides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Promise {
    acknowledged: Journal,
    /// The operation that runs.
    running: Option<Operation>,
    /// The newest record that was acknowledged and is lost, and whose loss was said and not yet answered by a record; 0
    /// if there is none.
    lost: u64,
}

/// What a start found, held against the promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// All that was acknowledged, or the loss that was said before, said again.
    Kept,
    /// Something that was acknowledged is missing, and the store says so.
    Lost(String),
    /// Something that was acknowledged is missing or is not what was written, and the store says that all is well.
    Silent(String),
    /// Nothing is missing, and the store says that something is.
    FalseAlarm(String),
    /// The store does not start.
    Refused(String),
    /// A panic came out of the store.
    Panic(String),
}

impl Promise {
    /// What a store that is `loaded` now has promised.
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let records = loaded.records.iter().map(|record| record.commit).collect();
        let snapshot = loaded.snapshot.as_ref().map(|snapshot| snapshot.upto);
        let lost = Found::of(loaded).lost;
        Self { acknowledged: Journal { snapshot, records }, running: None, lost }
    }

    /// The script said something.
    pub(crate) fn mark(&mut self, mark: Mark) {
        match mark {
            // The process was killed while an operation ran, and this is the next one: it finds either of the two.
            Mark::Begun(Operation::Open) if self.running.is_some() => {}
            Mark::Begun(operation) => self.running = Some(operation),
            Mark::Done => *self = self.next(),
            Mark::Found(found) => {
                let held = (found.snapshot, found.held);
                if self.acknowledged.numbers() != held {
                    *self = self.next();
                    assert_eq!(self.acknowledged.numbers(), held, "{self:?}");
                }
                (self.running, self.lost) = (None, found.lost);
            }
        }
    }

    /// Whether a start that found this has kept the promise.
    pub(crate) fn judge(&self, loaded: &Loaded) -> Verdict {
        let said = Found::of(loaded).lost;
        let what = || format!("{self:?} but {} {:?}", loaded.health, numbers(loaded));
        let next = self.next();
        if !self.acknowledged.is(loaded) && !next.acknowledged.is(loaded) {
            return if said == 0 { Verdict::Silent(what()) } else { Verdict::Lost(what()) };
        }
        // The record that answers a loss may be safe before it is acknowledged.
        let whole = self.lost == 0 || (next.lost == 0 && next.acknowledged.is(loaded));
        match said {
            0 if whole => Verdict::Kept,
            0 => Verdict::Silent(what()),
            _ if self.lost == 0 => Verdict::FalseAlarm(what()),
            _ if said < self.lost => Verdict::Silent(what()),
            _ => Verdict::Kept,
        }
    }

    /// What is promised once the operation that runs is acknowledged.
    fn next(&self) -> Self {
        let mut next = self.clone();
        if let Some(done) = next.running.take() {
            next.acknowledged.apply(done);
            if let Operation::Append(..) = done {
                next.lost = 0;
            }
        }
        next
    }
}

impl Journal {
    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Open => {}
            Operation::Append(first, last) => self.records.extend(first..=last),
            Operation::Compact(upto) => {
                self.snapshot = Some(upto);
                self.records.retain(|commit| *commit > upto);
            }
        }
    }

    /// The last commit of the snapshot and the newest of all.
    fn numbers(&self) -> (u64, u64) {
        let snapshot = self.snapshot.unwrap_or(0);
        (snapshot, self.records.last().copied().unwrap_or(snapshot))
    }

    fn is(&self, loaded: &Loaded) -> bool {
        let records: Vec<Record> = self.records.iter().map(|commit| record(*commit)).collect();
        loaded.snapshot == self.snapshot.map(snapshot) && loaded.records == records
    }
}

fn numbers(loaded: &Loaded) -> (Option<u64>, Vec<u64>) {
    let snapshot = loaded.snapshot.as_ref().map(|snapshot| snapshot.upto);
    (snapshot, loaded.records.iter().map(|record| record.commit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(snapshot_upto: Option<u64>, commits: &[u64], health: Health) -> Loaded {
        let records = commits.iter().map(|commit| record(*commit)).collect();
        Loaded { snapshot: snapshot_upto.map(snapshot), records, health }
    }

    fn behind(held: u64, anchored: u64) -> Health {
        Health::Behind { held, anchored }
    }

    #[test]
    fn an_older_state_is_lost_or_silent_and_a_newer_one_is_the_one_that_runs() {
        let mut promise = Promise::of(&found(None, &[1, 2], Health::Whole));
        promise.mark(Mark::Begun(Operation::Append(3, 4)));
        let judge = |promise: &Promise, commits: &[u64], health| promise.judge(&found(None, commits, health));
        assert_eq!(judge(&promise, &[1, 2], Health::Whole), Verdict::Kept);
        assert_eq!(judge(&promise, &[1, 2, 3, 4], Health::Whole), Verdict::Kept);
        assert!(matches!(judge(&promise, &[1, 2, 3], Health::Whole), Verdict::Silent(_)));
        promise.mark(Mark::Done);
        assert_eq!(judge(&promise, &[1, 2, 3, 4], Health::Whole), Verdict::Kept);
        assert!(matches!(judge(&promise, &[1, 2], Health::Whole), Verdict::Silent(_)));
        assert!(matches!(judge(&promise, &[], Health::Fresh), Verdict::Silent(_)));
        assert!(matches!(judge(&promise, &[1, 2], behind(2, 4)), Verdict::Lost(_)));
        assert!(matches!(judge(&promise, &[1, 2, 3, 4], behind(4, 5)), Verdict::FalseAlarm(_)));
    }

    #[test]
    fn a_loss_is_said_until_a_record_answers_it() {
        let mut promise = Promise::of(&found(Some(1), &[2], behind(2, 9)));
        assert_eq!(promise.judge(&found(Some(1), &[2], behind(2, 9))), Verdict::Kept);
        assert!(matches!(promise.judge(&found(Some(1), &[2], behind(2, 8))), Verdict::Silent(_)));
        assert!(matches!(promise.judge(&found(Some(1), &[2], Health::Whole)), Verdict::Silent(_)));
        promise.mark(Mark::Begun(Operation::Append(10, 10)));
        assert_eq!(promise.judge(&found(Some(1), &[2, 10], Health::Whole)), Verdict::Kept);
        assert!(matches!(promise.judge(&found(Some(1), &[2], Health::Whole)), Verdict::Silent(_)));
        promise.mark(Mark::Done);
        assert!(matches!(promise.judge(&found(Some(1), &[2], behind(2, 9))), Verdict::Lost(_)));
    }

    #[test]
    fn another_content_under_the_same_number_is_silent() {
        let promise = Promise::of(&found(Some(3), &[4], Health::Whole));
        let mut other = found(Some(3), &[4], Health::Whole);
        other.records[0].bytes[0] ^= 1;
        assert!(matches!(promise.judge(&other), Verdict::Silent(_)));
    }
}
