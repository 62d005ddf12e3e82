//! Every packet at most once, only if it was sent, only from and to who was in.

use std::collections::{BTreeMap, BTreeSet};

use data::{HardFloor, KeyRing, Sealed, StreamId};
use protocol::{Instant, SenderId, StateId, SubgroupId};

use super::roll::Roll;
use crate::cast::Delivered;
use crate::node::NodeId;

/// A packet's name.
type Name = (SenderId, StreamId, u64);

/// What was sent, and what arrived where.
#[derive(Debug)]
pub(crate) struct Deliveries {
    sent: BTreeMap<Name, (StateId, Vec<u8>)>,
    delivered: BTreeSet<(NodeId, Name)>,
    /// The registrations each node has had.
    registrations: BTreeMap<NodeId, BTreeSet<SenderId>>,
    /// The last hard switch each node was told of.
    floors: BTreeMap<NodeId, Told>,
}

/// A hard switch that a node's data plane was told of.
#[derive(Debug)]
struct Told {
    subgroup: SubgroupId,
    floor: HardFloor,
    /// The registration that was told of it.
    own: SenderId,
    /// The process that was told of it is over, or has registered again since, here or elsewhere: it holds nothing of that
    /// registration any more, and if it comes back, it knows of the eviction what its manager knows.
    over: bool,
}

impl Deliveries {
    pub(crate) const fn new() -> Self {
        Self {
            sent: BTreeMap::new(),
            delivered: BTreeSet::new(),
            registrations: BTreeMap::new(),
            floors: BTreeMap::new(),
        }
    }

    /// Packets sent, and deliveries of all nodes together.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.sent.len(), self.delivered.len())
    }

    pub(crate) fn on_ring(&mut self, node: NodeId, ring: &KeyRing) {
        self.registrations.entry(node).or_default().insert(ring.own);
        if let Some(told) = self.floors.get_mut(&node) {
            told.over |= told.subgroup != ring.subgroup || told.own != ring.own;
        }
        if let Some(floor) = ring.hard_floor {
            self.floors.insert(node, Told { subgroup: ring.subgroup, floor, own: ring.own, over: false });
        }
    }

    /// A node's process is over, and with it all it held.
    pub(crate) fn on_killed(&mut self, node: NodeId) {
        if let Some(told) = self.floors.get_mut(&node) {
            told.over = true;
        }
    }

    pub(crate) fn on_sent(&mut self, own: SenderId, sealed: &Sealed, payload: &[u8]) {
        self.sent.insert((own, sealed.stream, sealed.sequence), (sealed.state, payload.to_vec()));
    }

    pub(crate) fn on_delivered(
        &mut self,
        at: Instant,
        subgroup: SubgroupId,
        roll: &Roll,
        node: NodeId,
        delivered: &Delivered,
    ) -> Result<(), String> {
        let Delivered { sender, stream, sequence, state, payload } = delivered;
        let name = (*sender, *stream, *sequence);
        let what =
            format_args!("{sender}'s packet {sequence} of stream {stream:?} under {state} at {node:?}");
        match self.sent.get(&name) {
            None => return Err(format!("{what} was never sent")),
            Some((_, sent)) if sent != payload => return Err(format!("{what} is not what was sent")),
            Some((sent, _)) if sent != state => return Err(format!("{what} was sent under {sent}")),
            Some(_) => {}
        }
        if !roll.was_in(*sender, *state) {
            return Err(format!("{what}: the sender was not in"));
        }
        let own = self.registrations.get(&node);
        if own.is_none_or(|own| own.iter().all(|own| !roll.was_in(*own, *state))) {
            return Err(format!("{what}: the receiver was not in"));
        }
        // Who comes back may register with another manager of the subgroup, which nobody has told of the eviction yet, or
        // with one whose store was put back.
        let by = roll.cut(*state).map(|(by, _)| by);
        let binds = |told: &&Told| {
            told.subgroup == subgroup
                && (!told.over || by.is_some_and(|by| roll.descends(by, told.floor.state)))
        };
        let past = |told: &Told| *state < told.floor.state && told.floor.at <= at;
        if self.floors.get(&node).filter(binds).is_some_and(past) {
            return Err(format!("{what}: past the cut of an eviction"));
        }
        if !self.delivered.insert((node, name)) {
            return Err(format!("{what} was delivered twice"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crypto::Suite;
    use gsm::JournalEntry;
    use protocol::{Commit, Epoch, GroupId, Inst, Term};

    use super::super::roll::Taken;
    use super::*;

    const MANAGER: NodeId = NodeId(0);
    const RECEIVER: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const SUBGROUP: SubgroupId = SubgroupId(1);
    const SENDERS: [SenderId; 2] = [SenderId(1), SenderId(2)];

    fn state(term: u32, epoch: u32) -> StateId {
        StateId { term: Term(term), inst: Inst(u64::from(term)), epoch: Epoch(epoch) }
    }

    fn manages(roll: &mut Roll, node: NodeId) {
        let taken = Taken { live: SENDERS.into(), term: Term(0), own: None, of: None, cut: None };
        roll.on_taken_over(node, Commit(1), taken);
    }

    fn cuts(roll: &mut Roll, node: NodeId, commit: u64, state: StateId) {
        roll.on_entry(node, Commit(commit), JournalEntry::Cut { state, leaf_steps: 0 }).unwrap();
    }

    /// A manager that cut two states, the second after an eviction of which the receiver was told.
    fn evicted() -> (Roll, Deliveries) {
        let mut roll = Roll::new();
        manages(&mut roll, MANAGER);
        cuts(&mut roll, MANAGER, 2, state(2, 1));
        cuts(&mut roll, MANAGER, 3, state(2, 2));
        let mut deliveries = Deliveries::new();
        let mut ring = ring(SUBGROUP);
        ring.hard_floor = Some(HardFloor { state: state(2, 2), at: Instant::ZERO });
        deliveries.on_ring(RECEIVER, &ring);
        (roll, deliveries)
    }

    fn ring(subgroup: SubgroupId) -> KeyRing {
        KeyRing::empty(Suite::Aes256Ctr, GroupId::from_bytes([1; 16]), subgroup, SENDERS[1])
    }

    /// Whether the receiver may take a packet under this state.
    fn takes(roll: &Roll, deliveries: &mut Deliveries, state: StateId) -> bool {
        let sealed = Sealed { stream: StreamId(1), generation: 0, sequence: 0, state };
        deliveries.on_sent(SENDERS[0], &sealed, b"payload");
        let (sender, payload) = (SENDERS[0], b"payload".to_vec());
        let delivered = Delivered { sender, stream: StreamId(1), sequence: 0, state, payload };
        deliveries.on_delivered(Instant::ZERO, SUBGROUP, roll, RECEIVER, &delivered).is_ok()
    }

    #[test]
    fn a_process_is_held_to_the_eviction_it_was_told_of_whoever_manages() {
        let (mut roll, mut deliveries) = evicted();
        manages(&mut roll, OTHER);
        cuts(&mut roll, OTHER, 2, state(1, 1));
        assert!(!takes(&roll, &mut deliveries, state(2, 1)));
        assert!(!takes(&roll, &mut deliveries, state(1, 1)));
    }

    #[test]
    fn the_next_process_or_registration_is_held_to_what_the_manager_of_its_packets_knows() {
        let again = KeyRing { own: SENDERS[0], ..ring(SUBGROUP) };
        for moves_to in [None, Some(ring(SubgroupId(2))), Some(again)] {
            let (mut roll, mut deliveries) = evicted();
            match moves_to {
                Some(ring) => deliveries.on_ring(RECEIVER, &ring),
                None => deliveries.on_killed(RECEIVER),
            }
            assert!(!takes(&roll, &mut deliveries, state(2, 1)));
            manages(&mut roll, OTHER);
            cuts(&mut roll, OTHER, 2, state(1, 1));
            assert!(takes(&roll, &mut deliveries, state(1, 1)));
        }
        let (mut roll, mut deliveries) = evicted();
        deliveries.on_killed(RECEIVER);
        roll.on_killed(MANAGER, Commit(3), Commit(2));
        assert!(takes(&roll, &mut deliveries, state(2, 1)));
    }
}
