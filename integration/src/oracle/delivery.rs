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
    floors: BTreeMap<NodeId, (SubgroupId, HardFloor)>,
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
        if let Some(floor) = ring.hard_floor {
            self.floors.insert(node, (ring.subgroup, floor));
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
        let past = |floor: &HardFloor| *state < floor.state && floor.at <= at;
        if self.floors.get(&node).is_some_and(|(of, floor)| *of == subgroup && past(floor)) {
            return Err(format!("{what}: past the cut of an eviction"));
        }
        if !self.delivered.insert((node, name)) {
            return Err(format!("{what} was delivered twice"));
        }
        Ok(())
    }
}
