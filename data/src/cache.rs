//! Data keys unwrapped lately, so that a generation costs one unwrap and not one a packet.

use std::collections::{BTreeMap, VecDeque};

use crypto::Secret;
use protocol::{SenderId, StateId, SubgroupId};

use crate::packet::{COMMITMENT_LEN, Inner, Outer, Packet, StreamId};

/// Generations kept. One that is not kept costs an unwrap a packet; a sender has one or two at a time.
pub(crate) const MAX_CACHED: usize = 1_024;

/// Data keys by stream and generation.
///
/// An entry answers only for packets that agree with it in the whole outer part and in everything its commitment
/// covers, so whatever else a packet claims is unwrapped and checked for itself.
#[derive(Default)]
pub(crate) struct DataKeyCache {
    entries: BTreeMap<(StreamId, u32), Entry>,
    /// Oldest first.
    order: VecDeque<(StreamId, u32)>,
}

struct Entry {
    outer: Outer,
    origin: SubgroupId,
    sender: SenderId,
    commitment: [u8; COMMITMENT_LEN],
    state: StateId,
    data_key: Secret<32>,
}

impl DataKeyCache {
    /// The data key of `packet` and the state it was wrapped under.
    pub(crate) fn find(&self, packet: &Packet<'_>) -> Option<(StateId, &Secret<32>)> {
        let Inner { origin, sender, stream, generation, commitment, .. } = &packet.inner;
        let entry = self.entries.get(&(*stream, *generation))?;
        let same = entry.outer == packet.outer
            && (entry.origin, entry.sender) == (*origin, *sender)
            && entry.commitment == *commitment;
        same.then_some((entry.state, &entry.data_key))
    }

    /// Keeps the data key of `packet`, unwrapped under `state` and equal to its commitment.
    pub(crate) fn keep(&mut self, packet: &Packet<'_>, state: StateId, data_key: Secret<32>) {
        let Inner { origin, sender, stream, generation, commitment, .. } = packet.inner;
        let entry = Entry { outer: packet.outer, origin, sender, commitment, state, data_key };
        if self.entries.insert((stream, generation), entry).is_none() {
            self.order.push_back((stream, generation));
        }
        if self.order.len() > MAX_CACHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// Forgets every data key that came under a state for which `held` is false.
    pub(crate) fn retain(&mut self, held: impl Fn(StateId) -> bool) {
        self.entries.retain(|_, entry| held(entry.state));
        self.order.retain(|name| self.entries.contains_key(name));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        self.entries.len()
    }
}
