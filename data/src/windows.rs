//! The replay windows of all streams, and what is refused because a window was lost.
//!
//! A window that had to make room is *closed*, not empty: what it has seen is forgotten, so the stream is refused until
//! a packet proves itself fresh by a newer state than any that was held when the window was lost. While a sender still
//! has a window the refusal covers the unknown streams of that sender only; after that, those of everybody.

use std::collections::BTreeMap;

use protocol::{SenderId, StateId, SubgroupId};

use crate::packet::{Inner, StreamId};
use crate::replay::{Seen, Window};

/// Live streams of one sender. A restarted sender registers anew, so one is the rule; the rest is for relayed
/// restatements.
pub(crate) const MAX_STREAMS_PER_SENDER: usize = 4;
/// Windows in total, about 1.1 KiB each.
pub(crate) const MAX_WINDOWS: usize = 65_536;

/// Whose window it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct StreamKey {
    origin: SubgroupId,
    sender: SenderId,
    stream: StreamId,
}

impl StreamKey {
    /// The stream a packet claims to be of.
    pub(crate) const fn of(inner: &Inner) -> Self {
        Self { origin: inner.origin, sender: inner.sender, stream: inner.stream }
    }

    const fn with(self, stream: StreamId) -> Self {
        Self { stream, ..self }
    }
}

/// Whether a packet may be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It was not delivered before.
    Fresh,
    /// It was, or it is too far behind to tell.
    Seen(Seen),
    /// Its stream's window was lost and its state proves nothing.
    Closed,
}

/// Which states can still be received under, when a window is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    /// The newest state held.
    pub(crate) newest: StateId,
    /// The newest state that was cut.
    pub(crate) cut: Option<StateId>,
}

/// All windows, least recently used first to go.
pub(crate) struct Windows {
    limit: usize,
    slots: Vec<Slot>,
    index: BTreeMap<StreamKey, usize>,
    /// The slots used last and longest ago, ends of the chain by [`Slot::newer`] and [`Slot::older`].
    ends: Option<(usize, usize)>,
    /// Counts how often a slot was put at the recent end.
    uses: u64,
    /// Unknown streams of these senders are refused up to this state. Only senders that have a window.
    sender_floors: BTreeMap<(SubgroupId, SenderId), StateId>,
    /// Unknown streams of all other senders are refused up to this state.
    floor: Option<StateId>,
}

struct Slot {
    key: StreamKey,
    window: Window,
    /// Refuses packets of this state and older: the window was lost once, and this is the proof it was opened by.
    after: Option<StateId>,
    /// The newest state it let a packet through under.
    newest: StateId,
    /// When it was last put at the recent end, by [`Windows::uses`].
    used: u64,
    newer: Option<usize>,
    older: Option<usize>,
}

impl Windows {
    /// No windows, at most `limit` of them ever.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            slots: Vec::new(),
            index: BTreeMap::new(),
            ends: None,
            uses: 0,
            sender_floors: BTreeMap::new(),
            floor: None,
        }
    }

    /// Whether packet `sequence` of a stream may be delivered if it proves to be sealed under `state`.
    pub(crate) fn check(&self, key: StreamKey, state: StateId, sequence: u64) -> Verdict {
        let slot = self.find(key).map(|at| &self.slots[at]);
        let floor = slot.map_or_else(|| self.floor_of(key), |slot| slot.after);
        if floor.is_some_and(|floor| state <= floor) {
            return Verdict::Closed;
        }
        match slot.map_or(Seen::New, |slot| slot.window.check(sequence)) {
            Seen::New => Verdict::Fresh,
            seen => Verdict::Seen(seen),
        }
    }

    /// Marks a packet as delivered that was [`Verdict::Fresh`] and is verified by now. It may cost another window.
    pub(crate) fn accept(&mut self, key: StreamKey, state: StateId, sequence: u64, horizon: Horizon) {
        let at = self.find(key).unwrap_or_else(|| self.open(key, state, horizon));
        if self.ends.is_none_or(|(newest, _)| newest != at) {
            self.unlink(at);
            self.link(at);
        }
        let slot = &mut self.slots[at];
        slot.newest = slot.newest.max(state);
        slot.window.mark(sequence);
    }

    /// The node went to another subgroup, whose `newest` state compares with none of before. The windows go with it;
    /// whatever was closed stays so until a state newer than this one.
    pub(crate) fn restate(&mut self, newest: StateId) {
        self.floor = self.floor.map(|_| newest);
        self.sender_floors.values_mut().for_each(|floor| *floor = newest);
        for slot in &mut self.slots {
            slot.after = slot.after.map(|_| newest);
            slot.newest = newest;
        }
    }

    fn find(&self, key: StreamKey) -> Option<usize> {
        let recent = self.ends.map(|(newest, _)| newest).filter(|at| self.slots[*at].key == key);
        recent.or_else(|| self.index.get(&key).copied())
    }

    fn floor_of(&self, key: StreamKey) -> Option<StateId> {
        self.sender_floors.get(&(key.origin, key.sender)).copied().max(self.floor)
    }

    /// A new window, in the place of another when there is no room.
    fn open(&mut self, key: StreamKey, state: StateId, horizon: Horizon) -> usize {
        let after = self.floor_of(key);
        let fresh =
            Slot { key, window: Window::new(), after, newest: state, used: 0, newer: None, older: None };
        let at = match self.to_evict(key) {
            Some(at) => {
                self.evict(at, horizon);
                self.slots[at] = fresh;
                at
            }
            None => {
                self.slots.push(fresh);
                self.slots.len() - 1
            }
        };
        self.index.insert(key, at);
        self.link(at);
        at
    }

    /// Which window has to make room for a new one of `key`'s sender: the sender's own, if it has too many.
    fn to_evict(&self, key: StreamKey) -> Option<usize> {
        if self.streams_of(key).count() >= MAX_STREAMS_PER_SENDER {
            return self.streams_of(key).min_by_key(|at| self.slots[*at].used);
        }
        self.ends.map(|(_, oldest)| oldest).filter(|_| self.slots.len() >= self.limit)
    }

    /// Forgets a window, and remembers that it did unless nothing it has seen can be received again.
    fn evict(&mut self, at: usize, horizon: Horizon) {
        self.unlink(at);
        let Slot { key, newest, .. } = self.slots[at];
        self.index.remove(&key);
        let sender = (key.origin, key.sender);
        let mut floor = self.sender_floors.remove(&sender);
        if horizon.cut.is_none_or(|cut| cut < newest) {
            floor = floor.max(Some(horizon.newest));
        }
        if self.streams_of(key).next().is_none() {
            self.floor = self.floor.max(floor);
        } else if let Some(floor) = floor {
            self.sender_floors.insert(sender, floor);
        }
    }

    fn streams_of(&self, key: StreamKey) -> impl Iterator<Item = usize> {
        self.index.range(key.with(StreamId(0))..=key.with(StreamId(u64::MAX))).map(|(_, at)| *at)
    }

    /// Puts an unchained slot at the recent end.
    fn link(&mut self, at: usize) {
        let newest = self.ends.map(|(newest, _)| newest);
        self.uses += 1;
        self.slots[at].used = self.uses;
        self.slots[at].newer = None;
        self.slots[at].older = newest;
        if let Some(newest) = newest {
            self.slots[newest].newer = Some(at);
        }
        self.ends = Some((at, self.ends.map_or(at, |(_, oldest)| oldest)));
    }

    /// Takes a slot out of the chain.
    fn unlink(&mut self, at: usize) {
        let Slot { newer, older, .. } = self.slots[at];
        if let Some(newer) = newer {
            self.slots[newer].older = older;
        }
        if let Some(older) = older {
            self.slots[older].newer = newer;
        }
        self.ends = self.ends.and_then(|(newest, oldest)| {
            let newest = if newest == at { older } else { Some(newest) };
            let oldest = if oldest == at { newer } else { Some(oldest) };
            newest.zip(oldest)
        });
    }
}

#[cfg(test)]
mod tests;
