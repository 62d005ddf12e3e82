//! What one group of a host has waiting of the datagrams that came by the shared socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// Datagrams that may wait for one group.
const MAX_LETTERS: usize = 4_096;
/// Bytes of them: what the kernel's buffer held for each node when each had a socket of its own.
const MAX_BYTES: usize = 4 << 20;

/// A datagram that waits.
#[derive(Debug)]
pub(crate) struct Letter {
    /// The source address it claims.
    pub(crate) from: SocketAddr,
    /// Its payload.
    pub(crate) bytes: Vec<u8>,
}

/// The end that the group's driver reads.
#[derive(Debug)]
pub(crate) struct Inbox {
    letters: mpsc::Receiver<Letter>,
    bytes: Arc<AtomicUsize>,
}

/// The end that the host's socket fills.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    letters: mpsc::Sender<Letter>,
    bytes: Arc<AtomicUsize>,
}

/// A queue for one group, bounded in datagrams and in bytes.
pub(super) fn inbox() -> (Slot, Inbox) {
    let (sender, letters) = mpsc::channel(MAX_LETTERS);
    let bytes = Arc::<AtomicUsize>::default();
    (Slot { letters: sender, bytes: Arc::clone(&bytes) }, Inbox { letters, bytes })
}

impl Slot {
    /// Puts a datagram in. `false` when there is no room, or nobody reads any more: it is then lost, as one that the
    /// network dropped.
    pub(super) fn put(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let len = datagram.len();
        // Only the host's one reader adds, so the bound cannot be passed between the look and the addition.
        if self.bytes.load(Ordering::Acquire) + len > MAX_BYTES {
            return false;
        }
        self.bytes.fetch_add(len, Ordering::AcqRel);
        let put = self.letters.try_send(Letter { from, bytes: datagram.to_vec() }).is_ok();
        if !put {
            self.bytes.fetch_sub(len, Ordering::AcqRel);
        }
        put
    }
}

impl Inbox {
    /// Waits for the next datagram; `None` when none can come any more. Cancelling loses nothing.
    pub(crate) async fn recv(&mut self) -> Option<Letter> {
        let letter = self.letters.recv().await;
        letter.inspect(|letter| self.taken(letter))
    }

    /// The next datagram if one waits.
    pub(crate) fn try_recv(&mut self) -> Option<Letter> {
        let letter = self.letters.try_recv().ok();
        letter.inspect(|letter| self.taken(letter))
    }

    fn taken(&self, letter: &Letter) {
        self.bytes.fetch_sub(letter.bytes.len(), Ordering::AcqRel);
    }
}
