//! The storage thread: the one place that waits for a disk.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use storage::{Record, Snapshot, Store, StoreError};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

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
        let committer = Committer { store, gathered: Vec::new(), snapshot: None, reports };
        let thread = Builder::new()
            .name("conclave-store".to_owned())
            .spawn(move || runtime.block_on(committer.run(queue)))?;
        Ok((Self { orders, thread }, told))
    }

    /// Hands over one record, in commit order. Never waits; on `Err` the record is not kept.
    pub fn append(&self, record: Record) -> Result<(), SubmitError> {
        self.submit(Order::Append(record))
    }

    /// Asks that a snapshot replace the records it contains, after all that was handed over before it.
    ///
    /// Success is not reported; a failure is, and is not tried again, since the next snapshot supersedes it.
    pub fn compact(&self, snapshot: Snapshot) -> Result<(), SubmitError> {
        self.submit(Order::Compact(snapshot))
    }

    /// Commits what was handed over, ends the thread and tells the last that is known to be safe.
    ///
    /// `reports` is the receiver [`StoreThread::start`] gave; what it still holds is read here, and the last report
    /// is returned: `StoreFailed` means that the newest records are lost. `None` if there was nothing to report.
    pub async fn stop(self, mut reports: mpsc::Receiver<StoreReport>) -> Option<StoreReport> {
        drop(self.orders);
        let mut last = None;
        while let Some(report) = reports.recv().await {
            last = Some(report);
        }
        if tokio::task::spawn_blocking(move || self.thread.join()).await.is_ok_and(|ended| ended.is_ok()) {
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
    store: Box<dyn Store>,
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
            match self.store.append(&self.gathered).await {
                Ok(()) => {
                    self.gathered.clear();
                    self.report(StoreReport::Stored { upto }).await;
                }
                Err(error) => return self.report_failure(&error).await,
            }
        }
        if let Some(snapshot) = self.snapshot.take()
            && let Err(error) = self.store.compact(snapshot).await
        {
            self.report_failure(&error).await;
        }
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

#[cfg(test)]
mod tests;
