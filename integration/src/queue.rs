//! Everything that is still to happen, in order of time and, within an instant, in the order in which it was caused.

use std::collections::BTreeMap;

use protocol::Instant;

/// Events by (time, sequence): two runs that cause the same events see them in the same order.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(Instant, u64), E>,
    sequence: u64,
}

impl<E> Queue<E> {
    /// Nothing is to happen.
    pub(crate) const fn new() -> Self {
        Self { events: BTreeMap::new(), sequence: 0 }
    }

    /// `event` happens at `at`.
    pub(crate) fn push(&mut self, at: Instant, event: E) {
        self.events.insert((at, self.sequence), event);
        self.sequence += 1;
    }

    /// The next event, if it happens at `until` or before.
    pub(crate) fn pop(&mut self, until: Instant) -> Option<(Instant, E)> {
        let next = self.events.first_entry()?;
        let at = next.key().0;
        (at <= until).then(|| (at, next.remove()))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}
