//! Packets that came before their key.

use std::collections::VecDeque;
use std::net::SocketAddr;

use protocol::Instant;
use protocol::limits::{MAX_WAITING_PACKETS, MAX_WAITING_PER_SOURCE, WAITING_TIME};

use crate::packet::{KeyName, MAX_DATAGRAM};

/// Bytes of all waiting packets together: every place taken by a packet as large as we send them.
pub(crate) const MAX_WAITING_BYTES: usize = MAX_WAITING_PACKETS * MAX_DATAGRAM;

/// Packets under a key that is not held yet, in the order of arrival.
///
/// They are unverified, so they may take this room and nothing else; when it is full, the newcomer goes.
#[derive(Default)]
pub(crate) struct Waiting {
    held: VecDeque<Held>,
    /// Those whose wait is over, for [`Waiting::next`].
    released: VecDeque<Held>,
    bytes: usize,
}

/// One waiting packet.
pub(crate) struct Held {
    since: Instant,
    source: SocketAddr,
    key: KeyName,
    pub(crate) datagram: Vec<u8>,
}

impl Held {
    /// Whether it has waited too long.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        now.saturating_since(self.since) >= WAITING_TIME
    }
}

impl Waiting {
    /// Takes a packet in; `false` when there is no room for it.
    pub(crate) fn push(&mut self, now: Instant, source: SocketAddr, key: KeyName, datagram: &[u8]) -> bool {
        let all = || self.held.iter().chain(&self.released);
        let room = all().count() < MAX_WAITING_PACKETS
            && all().filter(|held| held.source == source).count() < MAX_WAITING_PER_SOURCE
            && self.bytes + datagram.len() <= MAX_WAITING_BYTES;
        if room {
            self.bytes += datagram.len();
            self.held.push_back(Held { since: now, source, key, datagram: datagram.to_vec() });
        }
        room
    }

    /// Ends the wait of every packet for which `waits` is false.
    pub(crate) fn release(&mut self, waits: impl Fn(KeyName) -> bool) {
        let (held, released): (VecDeque<_>, VecDeque<_>) =
            self.held.drain(..).partition(|held| waits(held.key));
        self.held = held;
        self.released.extend(released);
    }

    /// Forgets the packets that have waited too long, and says how many.
    pub(crate) fn expire(&mut self, now: Instant) -> u64 {
        let mut expired = 0;
        while let Some(held) = self.held.pop_front_if(|held| held.is_expired(now)) {
            self.bytes -= held.datagram.len();
            expired += 1;
        }
        expired
    }

    /// The next packet whose wait is over.
    pub(crate) fn next(&mut self) -> Option<Held> {
        let held = self.released.pop_front()?;
        self.bytes -= held.datagram.len();
        Some(held)
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let all = || self.held.iter().chain(&self.released);
        assert_eq!(self.bytes, all().map(|held| held.datagram.len()).sum());
        (all().count(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::Epoch;

    use super::*;

    const KEY: KeyName = KeyName { id: 1, epoch: Epoch(9) };

    fn source(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n as u16))
    }

    #[test]
    fn a_flood_of_waiting_packets_stays_within_its_bounds() {
        let (mut waiting, now) = (Waiting::default(), Instant::ZERO);
        assert_eq!(
            (0..1_000).filter(|_| waiting.push(now, source(1), KEY, b"x")).count(),
            MAX_WAITING_PER_SOURCE
        );
        assert!(
            (0..10_000).filter(|n| waiting.push(now, source(*n), KEY, b"x")).count() < MAX_WAITING_PACKETS
        );
        assert_eq!(waiting.sizes().0, MAX_WAITING_PACKETS);
        waiting.release(|_| false);
        assert!(!waiting.push(now, source(1), KEY, b"x"), "released ones still take room");
        assert_eq!(std::iter::from_fn(|| waiting.next()).count(), MAX_WAITING_PACKETS);
        assert_eq!(waiting.sizes(), (0, 0));

        let large = vec![0; 60_000];
        assert_eq!((0..200).filter(|n| waiting.push(now, source(*n), KEY, &large)).count(), 5);
        assert!(waiting.sizes().1 <= MAX_WAITING_BYTES);
        assert_eq!(waiting.expire(now + WAITING_TIME - Duration::from_micros(1)), 0);
        assert_eq!(waiting.expire(now + WAITING_TIME), 5);
        assert_eq!(waiting.sizes(), (0, 0));
    }
}
