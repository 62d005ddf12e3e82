use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use storage::{Health, Loaded, MemoryStore, StoreKind};
use tokio::sync::Semaphore;

use super::*;

/// A store whose appends wait for a permit each and fail when told to.
struct GatedStore {
    inner: MemoryStore,
    begun: mpsc::UnboundedSender<Vec<u64>>,
    gate: Arc<Semaphore>,
    failures: Arc<Mutex<VecDeque<&'static str>>>,
}

/// The test's side of a [`GatedStore`].
struct Gate {
    begun: mpsc::UnboundedReceiver<Vec<u64>>,
    gate: Arc<Semaphore>,
    failures: Arc<Mutex<VecDeque<&'static str>>>,
}

#[async_trait]
impl Store for GatedStore {
    async fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let _ = self.begun.send(records.iter().map(|record| record.commit).collect());
        self.gate.acquire().await.expect("invariant: never closed").forget();
        let failure = self.failures.lock().expect("invariant: no test panics in here").pop_front();
        match failure {
            Some("panic") => panic!("as told"),
            Some(why) => Err(StoreError::Medium(io::Error::other(why))),
            None => self.inner.append(records).await,
        }
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        self.inner.load().await
    }

    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.inner.compact(snapshot).await
    }

    fn describe(&self) -> StoreKind {
        self.inner.describe()
    }
}

fn gated() -> (GatedStore, Gate) {
    let (send, begun) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let failures = Arc::new(Mutex::new(VecDeque::new()));
    let store = GatedStore {
        inner: MemoryStore::new(),
        begun: send,
        gate: Arc::clone(&gate),
        failures: Arc::clone(&failures),
    };
    (store, Gate { begun, gate, failures })
}

fn record(commit: u64) -> Record {
    Record { commit, bytes: vec![0; 8] }
}

fn failed(why: &str) -> StoreReport {
    StoreReport::StoreFailed { why: format!("the medium failed: {why}") }
}

#[tokio::test]
async fn what_gathers_while_one_append_runs_is_one_append() {
    let (store, mut gate) = gated();
    let (thread, mut reports) = StoreThread::start(Box::new(store)).unwrap();
    thread.append(record(1)).unwrap();
    assert_eq!(gate.begun.recv().await, Some(vec![1]));
    for commit in 2..=100 {
        thread.append(record(commit)).unwrap();
    }
    gate.gate.add_permits(1);
    assert_eq!(reports.recv().await, Some(StoreReport::Stored { upto: 1 }));
    assert_eq!(gate.begun.recv().await, Some((2..=100).collect()));
    gate.gate.add_permits(1);
    assert_eq!(reports.recv().await, Some(StoreReport::Stored { upto: 100 }));
    assert_eq!(thread.stop(reports).await, None);
}

#[tokio::test]
async fn nothing_is_reported_stored_before_the_append_is_done() {
    let (store, mut gate) = gated();
    let (thread, mut reports) = StoreThread::start(Box::new(store)).unwrap();
    thread.append(record(1)).unwrap();
    gate.begun.recv().await.unwrap();
    assert!(reports.try_recv().is_err());
    gate.gate.add_permits(1);
    assert_eq!(reports.recv().await, Some(StoreReport::Stored { upto: 1 }));
}

#[tokio::test]
async fn a_failed_append_is_reported_and_repeated_with_what_came_since() {
    let (store, mut gate) = gated();
    gate.failures.lock().unwrap().push_back("disk full");
    let (thread, mut reports) = StoreThread::start(Box::new(store)).unwrap();
    thread.append(record(1)).unwrap();
    gate.gate.add_permits(1);
    assert_eq!(reports.recv().await, Some(failed("disk full")));
    assert_eq!(gate.begun.recv().await, Some(vec![1]));
    thread.append(record(2)).unwrap();
    assert_eq!(gate.begun.recv().await, Some(vec![1, 2]));
    gate.gate.add_permits(1);
    assert_eq!(reports.recv().await, Some(StoreReport::Stored { upto: 2 }));
}

#[tokio::test]
async fn stopping_commits_what_was_queued() {
    let (store, mut gate) = gated();
    let (thread, reports) = StoreThread::start(Box::new(store)).unwrap();
    thread.append(record(1)).unwrap();
    gate.begun.recv().await.unwrap();
    for commit in 2..=9 {
        thread.append(record(commit)).unwrap();
    }
    gate.gate.add_permits(2);
    assert_eq!(thread.stop(reports).await, Some(StoreReport::Stored { upto: 9 }));
    assert_eq!(gate.begun.recv().await, Some((2..=9).collect()));
}

#[tokio::test]
async fn stopping_on_a_broken_store_ends_and_says_so() {
    let (store, gate) = gated();
    gate.failures.lock().unwrap().extend(["gone", "gone"]);
    gate.gate.add_permits(2);
    let (thread, reports) = StoreThread::start(Box::new(store)).unwrap();
    thread.append(record(1)).unwrap();
    assert_eq!(thread.stop(reports).await, Some(failed("gone")));
}

#[tokio::test]
async fn a_full_queue_refuses_and_never_waits() {
    let (store, mut gate) = gated();
    let (thread, _reports) = StoreThread::start(Box::new(store)).unwrap();
    thread.append(record(1)).unwrap();
    gate.begun.recv().await.unwrap();
    let mut taken = 1;
    while thread.append(record(taken + 1)).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 1 + MAX_QUEUED as u64);
    assert_eq!(thread.append(record(taken + 1)), Err(SubmitError::Full));
    gate.gate.add_permits(2);
}

#[tokio::test]
async fn a_snapshot_comes_after_the_records_before_it() {
    let (store, gate) = gated();
    gate.gate.add_permits(8);
    let (thread, mut reports) = StoreThread::start(Box::new(store)).unwrap();
    thread.append(record(1)).unwrap();
    thread.append(record(2)).unwrap();
    thread.compact(Snapshot { upto: 2, bytes: Vec::new() }).unwrap();
    thread.append(record(3)).unwrap();
    let mut upto = 0;
    while upto < 3 {
        match reports.recv().await {
            Some(StoreReport::Stored { upto: now }) => upto = now,
            other => panic!("{other:?}"),
        }
    }
    thread.compact(Snapshot { upto: 9, bytes: Vec::new() }).unwrap();
    assert!(matches!(thread.stop(reports).await, Some(StoreReport::StoreFailed { .. })));
}

#[tokio::test]
async fn a_store_that_panics_is_reported_and_not_called_again() {
    let (store, mut gate) = gated();
    gate.failures.lock().unwrap().push_back("panic");
    gate.gate.add_permits(8);
    let (thread, mut reports) = StoreThread::start(Box::new(store)).unwrap();
    thread.append(record(1)).unwrap();
    let said = |why: &str| StoreReport::StoreFailed { why: format!("the store's engine failed: {why}") };
    assert_eq!(reports.recv().await, Some(said("it panicked: as told")));
    assert_eq!(gate.begun.recv().await, Some(vec![1]));
    thread.append(record(2)).unwrap();
    assert_eq!(reports.recv().await, Some(said("it panicked before and is not used again")));
    assert_eq!(gate.begun.recv().await, None, "the store is dropped");
    assert_eq!(thread.stop(reports).await, Some(said("it panicked before and is not used again")));
}

#[tokio::test]
async fn a_stopped_store_on_disk_can_be_opened_again_with_everything_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = StateDirs { data: dir.path().join("data"), keys: dir.path().join("keys") };
    let mut due = 1;
    for round in 0..4 {
        let (store, loaded) = open_store(dirs.clone()).await.unwrap();
        assert_eq!(loaded.health, if round == 0 { Health::Fresh } else { Health::Whole });
        assert_eq!(loaded.next_commit(), due);
        let (thread, reports) = StoreThread::start(store).unwrap();
        for commit in due..due + 50 {
            thread.append(record(commit)).unwrap();
        }
        if round == 2 {
            thread.compact(Snapshot { upto: due + 9, bytes: vec![1] }).unwrap();
        }
        due += 50;
        assert_eq!(thread.stop(reports).await, Some(StoreReport::Stored { upto: due - 1 }));
    }
    assert_eq!(open_store(dirs).await.unwrap().1.held(), due - 1);
}
