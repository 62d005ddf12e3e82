use std::collections::BTreeMap;
use std::io;

use async_trait::async_trait;

use crate::{Loaded, MemoryStore, Record, Snapshot, Store, StoreError, StoreKind};

/// What a medium does with one write, if it does not simply write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing of it is there.
    Refused,
    /// It fails, and all of it is there, as a restart will show: the case in which a caller that takes `Err` for "it
    /// never was" gives one number to two records.
    Unsaid,
}

/// A [`MemoryStore`] whose medium fails when it is told to, for tests of what stands above a store.
///
/// Faults are set by the number of the call, so that a test can go through all of them: the first append or compaction
/// is number 1. A call without a fault does its work, also right after one that failed.
#[derive(Debug, Default)]
pub struct FailingStore {
    inner: MemoryStore,
    faults: BTreeMap<u64, Fault>,
    calls: u64,
    /// The first record that is there although its append failed. The next append overwrites it and those after it.
    unsaid: Option<u64>,
}

impl FailingStore {
    /// An empty store that fails at these calls.
    #[must_use]
    pub fn new(faults: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        Self { faults: faults.into_iter().collect(), ..Self::default() }
    }

    /// How many appends and compactions there were, whatever became of them: a test has gone through all faults once
    /// its fault's number is above this.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// The same store in a new process: what failed and was there all the same counts from now on. Faults go on where
    /// they were.
    #[must_use]
    pub fn restarted(mut self) -> Self {
        self.unsaid = None;
        self
    }

    fn next_fault(&mut self) -> Option<Fault> {
        self.calls += 1;
        self.faults.remove(&self.calls)
    }
}

#[async_trait]
impl Store for FailingStore {
    async fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        if let Some(from) = self.unsaid.take() {
            self.inner.forget_from(from);
        }
        match self.next_fault() {
            Some(Fault::Refused) => return Err(failed()),
            Some(Fault::Unsaid) => {
                self.inner.append(records).await?;
                self.unsaid = records.first().map(|record| record.commit);
                return Err(failed());
            }
            None => {}
        }
        self.inner.append(records).await
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        self.inner.load().await
    }

    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError> {
        match self.next_fault() {
            // A compaction that was done and not said changes nothing for the caller: the records are in the snapshot.
            Some(_) => Err(failed()),
            None => self.inner.compact(snapshot).await,
        }
    }

    fn describe(&self) -> StoreKind {
        self.inner.describe()
    }
}

fn failed() -> StoreError {
    const EIO: i32 = 5;
    StoreError::Medium(io::Error::from_raw_os_error(EIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Health;

    fn record(commit: u64) -> Record {
        Record { commit, bytes: vec![commit as u8] }
    }

    #[tokio::test]
    async fn every_fault_is_met_once_and_a_repeated_append_is_stored_once() {
        for fault in [Fault::Refused, Fault::Unsaid] {
            for at in 1..=4 {
                let mut store = FailingStore::new([(at, fault)]);
                let mut failures = 0;
                for commit in 1..=4 {
                    while let Err(error) = store.append(&[record(commit)]).await {
                        assert!(matches!(error, StoreError::Medium(_)));
                        failures += 1;
                    }
                }
                assert_eq!((failures, store.calls()), (1, 5));
                let loaded = store.restarted().load().await.unwrap();
                assert_eq!(loaded.records, (1..=4).map(record).collect::<Vec<_>>());
            }
        }
    }

    #[tokio::test]
    async fn what_failed_and_is_there_all_the_same_is_found_by_a_restart_and_overwritten_without_one() {
        let mut store = FailingStore::new([(2, Fault::Unsaid), (4, Fault::Refused)]);
        store.append(&[record(1)]).await.unwrap();
        store.append(&[record(2), record(3)]).await.unwrap_err();
        store = store.restarted();
        assert_eq!(store.load().await.unwrap().records.len(), 3);
        store.append(&[record(4)]).await.unwrap();
        store.append(&[record(5)]).await.unwrap_err();
        store.append(&[record(5)]).await.unwrap();

        let mut store = FailingStore::new([(1, Fault::Unsaid)]);
        store.append(&[record(1), record(2)]).await.unwrap_err();
        store.append(&[record(1)]).await.unwrap();
        assert_eq!(store.restarted().load().await.unwrap().records, [record(1)]);
    }

    #[tokio::test]
    async fn a_compaction_that_fails_leaves_the_records() {
        let mut store = FailingStore::new([(3, Fault::Refused)]);
        store.append(&[record(1)]).await.unwrap();
        store.append(&[record(2)]).await.unwrap();
        let snapshot = Snapshot { upto: 1, bytes: vec![9] };
        store.compact(snapshot.clone()).await.unwrap_err();
        assert_eq!(store.load().await.unwrap().records.len(), 2);
        store.compact(snapshot.clone()).await.unwrap();
        let due = Loaded { snapshot: Some(snapshot), records: vec![record(2)], health: Health::Whole };
        assert_eq!(store.load().await.unwrap(), due);
    }
}
