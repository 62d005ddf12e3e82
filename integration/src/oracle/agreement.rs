//! One name, one thing.

use std::collections::BTreeMap;

use crypto::Secret;
use gsm::RekeySummary;
use protocol::{SenderId, StateId, UpdateHeader};

use super::roll::Roll;
use crate::node::NodeId;

/// What each state id stood for when it was first seen.
#[derive(Debug)]
pub(crate) struct Agreement {
    keys: BTreeMap<StateId, (NodeId, Secret<32>)>,
    /// Each update's part that is the same in all its packets.
    updates: BTreeMap<StateId, UpdateHeader>,
    installed: BTreeMap<SenderId, StateId>,
    /// What each manager cut last.
    rekeyed: BTreeMap<NodeId, StateId>,
}

impl Agreement {
    pub(crate) const fn new() -> Self {
        Self {
            keys: BTreeMap::new(),
            updates: BTreeMap::new(),
            installed: BTreeMap::new(),
            rekeyed: BTreeMap::new(),
        }
    }

    /// The group keys, as whoever had them first (the manager) holds them.
    pub(crate) const fn keys(&self) -> &BTreeMap<StateId, (NodeId, Secret<32>)> {
        &self.keys
    }

    /// A node holds `key` as the group key of `state`.
    pub(crate) fn on_key(&mut self, node: NodeId, state: StateId, key: &Secret<32>) -> Result<(), String> {
        let (first, held) = self.keys.entry(state).or_insert_with(|| (node, key.clone()));
        if held == key {
            Ok(())
        } else {
            Err(format!("{node:?} and {first:?} hold different keys of {state}"))
        }
    }

    /// A packet of a key update went out.
    pub(crate) fn on_update(&mut self, header: &UpdateHeader) -> Result<(), String> {
        let common =
            UpdateHeader { index: 0, first: keytree::RegNo(0), last: keytree::RegNo(0), ..header.clone() };
        let first = self.updates.entry(header.state).or_insert_with(|| common.clone());
        if *first == common { Ok(()) } else { Err(format!("two key updates lead to {}", header.state)) }
    }

    /// A registration holds a state.
    pub(crate) fn on_installed(&mut self, sender: SenderId, state: StateId) -> Result<(), String> {
        match self.installed.insert(sender, state) {
            Some(before) if before >= state => Err(format!("{sender} went from {before} back to {state}")),
            _ => Ok(()),
        }
    }

    /// The manager's store is an older one now: what it cuts next may stand below what it cut last, if nobody who knows
    /// better hears it.
    pub(crate) fn on_rolled_back(&mut self, node: NodeId) {
        self.rekeyed.remove(&node);
    }

    /// The manager says what it cut: its counts must be those of its journal.
    pub(crate) fn on_rekeyed(
        &mut self,
        roll: &Roll,
        node: NodeId,
        summary: &RekeySummary,
    ) -> Result<(), String> {
        let state = summary.state;
        if self.rekeyed.insert(node, state).is_some_and(|before| before >= state) {
            return Err(format!("the manager cut {state} again"));
        }
        let Some(now) = roll.members(state) else { return Err(format!("{state} was cut unrecorded")) };
        let empty = std::collections::BTreeSet::new();
        let before = roll.before(state);
        // The first key update of a start lets everybody in, and counts as leaving whom it took out of the tree.
        let first = before.is_none_or(|(before, _)| !before.same_start(state));
        let before = before.map_or(&empty, |(_, members)| members);
        let left = before.difference(now).count();
        let joined = if first { now.len() } else { now.difference(before).count() };
        let counted = first || summary.leaves == left;
        if summary.joins != joined || !counted {
            return Err(format!(
                "{state} says {} joins, {} leaves; {joined} and {left} were recorded",
                summary.joins, summary.leaves
            ));
        }
        let hard = roll.puts_out_an_evicted(state);
        // One that was leaving is evicted by a hard state after the one that took it out.
        // The first one after a change of managers is hard whoever left.
        if hard && !summary.hard || summary.hard && !first && !roll.has_eviction(state) {
            return Err(format!("{state} is hard: {}, evictions in it: {hard}", summary.hard));
        }
        Ok(())
    }
}
