//! Everything that is still to happen, in order of time and, within an instant, in the order in which it was caused.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use protocol::Instant;

/// Events by (time, sequence): two runs that cause the same events see them in the same order.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BinaryHeap<Entry<E>>,
    sequence: u64,
}

/// One event. The earliest is the greatest, for the heap gives out its greatest first.
#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    sequence: u64,
    event: E,
}

impl<E> Queue<E> {
    /// Nothing is to happen.
    pub(crate) const fn new() -> Self {
        Self { events: BinaryHeap::new(), sequence: 0 }
    }

    /// `event` happens at `at`.
    pub(crate) fn push(&mut self, at: Instant, event: E) {
        self.events.push(Entry { at, sequence: self.sequence, event });
        self.sequence += 1;
    }

    /// The next event, if it happens at `until` or before.
    pub(crate) fn pop(&mut self, until: Instant) -> Option<(Instant, E)> {
        if self.events.peek()?.at > until {
            return None;
        }
        self.events.pop().map(|entry| (entry.at, entry.event))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_within_an_instant_as_they_were_caused() {
        let mut queue = Queue::new();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b'), (9, 'e')] {
            queue.push(Instant::from_micros(at), name);
        }
        let until = Instant::from_micros(5);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(until)).map(|(_, name)| name).collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
        assert!(queue.pop(Instant::from_micros(9)).is_some());
    }
}
