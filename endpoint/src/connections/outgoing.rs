//! What waits to be sent on one connection, bounded in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

/// What a waiting frame costs besides its bytes, so that many small ones are bounded too.
const OVERHEAD: usize = 64;

/// The end that the machine's loop fills.
#[derive(Debug)]
pub(super) struct Outgoing {
    frames: mpsc::UnboundedSender<Bytes>,
    /// Bytes that wait, each frame's [`OVERHEAD`] among them.
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// The end that the connection's task empties.
#[derive(Debug)]
pub(super) struct Waiting {
    frames: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

/// A queue of frames that holds at most so many bytes.
pub(super) fn outgoing(most: usize) -> (Outgoing, Waiting) {
    let (sender, frames) = mpsc::unbounded_channel();
    let waiting = Arc::<AtomicUsize>::default();
    (Outgoing { frames: sender, waiting: Arc::clone(&waiting), most }, Waiting { frames, waiting })
}

impl Outgoing {
    /// Adds a frame; `false` if there is no room for it. On a connection that has ended it is dropped.
    pub(super) fn put(&self, frame: Bytes) -> bool {
        let cost = frame.len() + OVERHEAD;
        // Only this end adds, so there is room for what is added next as well.
        if self.waiting.load(Ordering::Relaxed) + cost > self.most {
            return false;
        }
        self.waiting.fetch_add(cost, Ordering::Relaxed);
        // The machine hears of the end by itself.
        let _ = self.frames.send(frame);
        true
    }
}

impl Waiting {
    /// The next frame; `None` once the machine has closed the connection and all was taken. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(frame.len() + OVERHEAD, Ordering::Relaxed);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_wait_in_order_and_no_more_than_there_is_room_for() {
        let (ours, mut theirs) = outgoing(3 * (100 + OVERHEAD));
        let frame = |number: u8| Bytes::from(vec![number; 100]);
        assert!((0..3).all(|number| ours.put(frame(number))));
        assert!(!ours.put(Bytes::from_static(b"")), "not even an empty one");
        assert_eq!(theirs.next().await.unwrap(), frame(0));
        assert!(ours.put(frame(3)));
        drop(ours);
        for number in 1..4 {
            assert_eq!(theirs.next().await.unwrap(), frame(number));
        }
        assert!(theirs.next().await.is_none());
    }

    #[test]
    fn on_a_connection_that_has_ended_frames_are_dropped() {
        let (ours, theirs) = outgoing(1_000);
        drop(theirs);
        assert!(ours.put(Bytes::from_static(b"late")));
    }
}
