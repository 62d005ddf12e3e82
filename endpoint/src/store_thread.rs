//! The storage thread: the one place that waits for a disk.

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use futures_util::FutureExt as _;
use storage::{Loaded, Record, SledStore, Snapshot, StateDirs, Store, StoreError};
use tokio::runtime::{self, Handle};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::node::system_randomness;

/// How many orders may wait. A machine hands over a few records an interval, so a queue this long means a dead disk.
const MAX_QUEUED: usize = 4_096;

/// How many records may be held for one append, so that a store that fails for long does not eat the memory.
const MAX_GATHERED: usize = 65_536;

/// Reports the machine's loop may leave unread before the thread waits for it.
const MAX_REPORTS: usize = 64;

/// How long after a failed append the same records are tried again, if nothing new comes before.
const RETRY: Duration = Duration::from_secs(1);

/// What the storage thread tells the machine's loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreReport {
    /// Every record up to this commit is safe. Also the end of an earlier failure.
    Stored {
        /// The newest safe commit.
        upto: u64,
    },
    /// An append or a compaction failed; nothing is lost yet, the records are kept and tried again.
    StoreFailed {
        /// The store's own words.
        why: String,
    },
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The store is so far behind that its queue is full. Treat it as a failed store.
    #[error("the store's queue is full")]
    Full,
    /// The thread has ended.
    #[error("the storage thread has ended")]
    Ended,
}

/// Opens the store on disk and reads what it holds, on a thread that may wait for the disk.
///
/// Called once for each group that keeps state, before [`StoreThread::start`] takes the store. An error is for the
/// operator: nothing is known of the state then, and a manager must not begin without it. Whether what is read is all
/// there ever was is in [`Loaded::health`].
pub async fn open_store(dirs: StateDirs) -> Result<(Box<dyn Store>, Loaded), StoreError> {
    let here = Handle::current();
    let opened = spawn_blocking(move || {
        let mut store = SledStore::open(dirs, system_randomness())?;
        let loaded = here.block_on(store.load())?;
        let store: Box<dyn Store> = Box::new(store);
        Ok((store, loaded))
    });
    opened
        .await
        .unwrap_or_else(|panic| Err(StoreError::Engine(format!("opening the store panicked: {panic}"))))
}

/// A handle on the OS thread that owns a [`Store`].
///
/// The machine's loop submits records and listens for reports; it never waits for either, so a store that takes 1.5 s
/// a commit makes no alarm late. All that gathered while one append ran becomes the next append (group commit).
#[derive(Debug)]
pub struct StoreThread {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl StoreThread {
    /// Starts the thread. The caller has `load`ed the store before and reads the reports until they end.
    pub fn start(store: Box<dyn Store>) -> io::Result<(Self, mpsc::Receiver<StoreReport>)> {
        let (orders, queue) = mpsc::channel(MAX_QUEUED);
        let (reports, told) = mpsc::channel(MAX_REPORTS);
        // The store is asynchronous: the thread brings the smallest runtime that can drive it.
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let committer = Committer { store: Some(store), gathered: Vec::new(), snapshot: None, reports };
        let thread = Builder::new()
            .name("conclave-store".to_owned())
            .spawn(move || runtime.block_on(committer.run(queue)))?;
        Ok((Self { orders, thread }, told))
    }

    /// Hands over one record, in commit order. Never waits; on `Err` the record is not kept.
    pub fn append(&self, record: Record) -> Result<(), SubmitError> {
        self.submit(Order::Append(record))
    }

    /// Whether [`StoreThread::append`] would find room now. Also when the thread has ended, for nothing is kept then and
    /// the caller has to hear of it.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.orders.is_closed() || self.orders.capacity() > 0
    }

    /// Asks that a snapshot replace the records it contains, after all that was handed over before it.
    ///
    /// Success is not reported; a failure is, and is not tried again, since the next snapshot supersedes it.
    pub fn compact(&self, snapshot: Snapshot) -> Result<(), SubmitError> {
        self.submit(Order::Compact(snapshot))
    }

    /// Commits what was handed over, closes the store, ends the thread and tells the last that is known to be safe.
    /// When it returns, the store's directories can be opened again.
    ///
    /// `reports` is the receiver [`StoreThread::start`] gave; what it still holds is read here, and the last report
    /// is returned: `StoreFailed` means that the newest records are lost. `None` if there was nothing to report.
    pub async fn stop(self, mut reports: mpsc::Receiver<StoreReport>) -> Option<StoreReport> {
        drop(self.orders);
        let mut last = None;
        while let Some(report) = reports.recv().await {
            last = Some(report);
        }
        if spawn_blocking(move || self.thread.join()).await.is_ok_and(|ended| ended.is_ok()) {
            return last;
        }
        Some(StoreReport::StoreFailed { why: "the storage thread panicked".to_owned() })
    }

    fn submit(&self, order: Order) -> Result<(), SubmitError> {
        self.orders.try_send(order).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => SubmitError::Full,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Ended,
        })
    }
}

#[derive(Debug)]
enum Order {
    Append(Record),
    Compact(Snapshot),
}

/// What lives on the thread.
struct Committer {
    /// `None` once it has panicked: nobody knows what state it is in, so it is not called again.
    store: Option<Box<dyn Store>>,
    /// Records taken from the queue and not yet safe.
    gathered: Vec<Record>,
    /// A snapshot to be made once `gathered` is safe.
    snapshot: Option<Snapshot>,
    reports: mpsc::Sender<StoreReport>,
}

impl Committer {
    async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        loop {
            let open = self.gather(&mut queue).await;
            self.commit().await;
            if !open {
                return;
            }
        }
    }

    /// Waits for one order and takes all others that wait; `false` once the handle is gone and the queue is empty.
    async fn gather(&mut self, queue: &mut mpsc::Receiver<Order>) -> bool {
        if self.gathered.len() >= MAX_GATHERED {
            tokio::time::sleep(RETRY).await;
            return !queue.is_closed();
        }
        let first = if self.gathered.is_empty() {
            queue.recv().await
        } else {
            match timeout(RETRY, queue.recv()).await {
                Ok(first) => first,
                Err(_) => return true,
            }
        };
        let Some(first) = first else { return false };
        self.take(first);
        while self.gathered.len() < MAX_GATHERED {
            match queue.try_recv() {
                Ok(order) => self.take(order),
                Err(_) => break,
            }
        }
        true
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Append(record) => self.gathered.push(record),
            Order::Compact(snapshot) => self.snapshot = Some(snapshot),
        }
    }

    async fn commit(&mut self) {
        if let Some(upto) = self.gathered.last().map(|record| record.commit) {
            match self.append().await {
                Ok(()) => {
                    self.gathered.clear();
                    self.report(StoreReport::Stored { upto }).await;
                }
                Err(error) => return self.report_failure(&error).await,
            }
        }
        if let Some(snapshot) = self.snapshot.take()
            && let Err(error) = self.compact(snapshot).await
        {
            self.report_failure(&error).await;
        }
    }

    async fn append(&mut self) -> Result<(), StoreError> {
        let store = self.store.as_mut().ok_or_else(gone)?;
        let appended = AssertUnwindSafe(store.append(&self.gathered)).catch_unwind().await;
        appended.unwrap_or_else(|panic| Err(self.give_up(&*panic)))
    }

    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError> {
        let store = self.store.as_mut().ok_or_else(gone)?;
        let compacted = AssertUnwindSafe(store.compact(snapshot)).catch_unwind().await;
        compacted.unwrap_or_else(|panic| Err(self.give_up(&*panic)))
    }

    /// Drops a store that panicked, so that at least its directories come free.
    fn give_up(&mut self, panic: &(dyn Any + Send)) -> StoreError {
        let store = self.store.take();
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(store)));
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        StoreError::Engine(format!("it panicked: {text}"))
    }

    async fn report_failure(&mut self, error: &StoreError) {
        tracing::error!(%error, waiting = self.gathered.len(), "the store failed");
        self.report(StoreReport::StoreFailed { why: error.to_string() }).await;
    }

    async fn report(&self, report: StoreReport) {
        // Nobody listens any more: what was handed over is still made safe.
        let _ = self.reports.send(report).await;
    }
}

/// What is said instead of calling a store that has panicked.
fn gone() -> StoreError {
    StoreError::Engine("it panicked before and is not used again".to_owned())
}

#[cfg(test)]
mod tests;
