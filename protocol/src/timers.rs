//! A machine's timers: one key each, one table, the minimum is the machine's next deadline.

use std::collections::BTreeMap;

use crate::Instant;

/// The timers of one machine, by name.
///
/// `K` is the machine's enum of timers; setting one that runs moves it. A handful of timers need no cleverer queue.
#[derive(Clone, Debug)]
pub struct Timers<K>(BTreeMap<K, Instant>);

impl<K: Ord + Copy> Timers<K> {
    /// A table in which nothing runs.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Starts or moves the timer `key`.
    pub fn set(&mut self, key: K, at: Instant) {
        self.0.insert(key, at);
    }

    /// Starts the timer unless it already runs for an earlier instant.
    pub fn set_earlier(&mut self, key: K, at: Instant) {
        let due = self.0.entry(key).or_insert(at);
        *due = (*due).min(at);
    }

    /// Stops the timer; nothing happens when it does not run.
    pub fn stop(&mut self, key: K) {
        self.0.remove(&key);
    }

    /// When the timer is due, if it runs.
    pub fn due(&self, key: K) -> Option<Instant> {
        self.0.get(&key).copied()
    }

    /// Takes one timer that is due at `now`, the earliest first; `None` when there is none.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let (&key, _) = self.0.iter().filter(|(_, at)| **at <= now).min_by_key(|(_, at)| **at)?;
        self.0.remove(&key);
        Some(key)
    }

    /// The earliest deadline, for `poll_timeout`.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_in_the_order_of_their_deadlines_and_once() {
        let mut timers = Timers::new();
        timers.set('b', Instant::from_micros(20));
        timers.set('a', Instant::from_micros(30));
        timers.set('c', Instant::from_micros(90));
        timers.set_earlier('c', Instant::from_micros(95));
        assert_eq!(timers.next(), Some(Instant::from_micros(20)));
        let at = Instant::from_micros(50);
        assert_eq!(timers.expired(at), Some('b'));
        assert_eq!(timers.expired(at), Some('a'));
        assert_eq!(timers.expired(at), None);
        assert_eq!(timers.due('c'), Some(Instant::from_micros(90)));
    }
}
