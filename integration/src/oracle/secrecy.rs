//! No coalition computes the group key of a state in which none of it was in.

use std::collections::{BTreeMap, BTreeSet};

use crypto::{NodeKey, OneWay, Secret};
use keytree::{Degree, NodeId as TreeNode, TreeId, Version};
use protocol::{Domain, SenderId, StateId, UpdatePacket};

use super::knowledge::{Bytes, Knowledge, Place, Update};
use super::roll::Roll;
use crate::dice::Dice;
use crate::node::NodeId;

/// Random coalitions looked at when a run is over.
const COALITIONS: u64 = 6;
/// One run in so many is also searched by force.
const FORCED: u64 = 8;
/// The most keys a search by force begins with.
const MAX_FORCED: usize = 400;

type GroupKeys = BTreeMap<StateId, (NodeId, Secret<32>)>;

/// What every registration has hoarded, and every key update there was.
#[derive(Debug)]
pub(crate) struct Secrecy {
    place: Place,
    hoards: BTreeMap<SenderId, Knowledge>,
    updates: BTreeMap<StateId, Update>,
    /// All who were out at the newest state, together.
    departed: BTreeSet<SenderId>,
    together: Knowledge,
    /// What was learned since `together` was computed needs every update to be read again.
    stale: bool,
}

impl Secrecy {
    pub(crate) const fn new(domain: Domain, degree: Degree, tree: TreeId) -> Self {
        Self {
            place: Place { domain, degree, tree },
            hoards: BTreeMap::new(),
            updates: BTreeMap::new(),
            departed: BTreeSet::new(),
            together: Knowledge::new(),
            stale: false,
        }
    }

    /// A packet of a key update went out.
    pub(crate) fn on_update(&mut self, packet: &UpdatePacket) {
        let header = &packet.header;
        let update = self.updates.entry(header.state).or_insert_with(|| Update {
            state: header.state,
            iv: header.iv,
            height: header.height,
            root: header.root,
            targets: BTreeMap::new(),
        });
        for target in &packet.body.targets {
            let entries = &packet.body.entries[target.entries.start as usize..target.entries.end as usize];
            let (_, known) =
                update.targets.entry(target.node).or_insert_with(|| (target.clone(), Vec::new()));
            for entry in entries {
                if !known.contains(entry) {
                    known.push(entry.clone());
                }
            }
        }
    }

    /// A registration holds tree keys, and keeps them for ever.
    pub(crate) fn learns<'k>(
        &mut self,
        sender: SenderId,
        keys: impl Iterator<Item = (TreeNode, Version, &'k Secret<32>)>,
    ) {
        let departed = self.departed.contains(&sender);
        let hoard = self.hoards.entry(sender).or_default();
        for (node, version, secret) in keys {
            if hoard.add(node, version, *secret.expose()) && departed {
                self.stale |= self.together.add(node, version, *secret.expose());
            }
        }
    }

    /// A registration's machine hands out a group key: it must have been in.
    pub(crate) fn on_group_key(&self, roll: &Roll, sender: SenderId, state: StateId) -> Result<(), String> {
        if roll.was_in(sender, state) { Ok(()) } else { Err(format!("{sender} holds the key of {state}")) }
    }

    /// A state was cut: all who are out, together, must not get its key.
    pub(crate) fn check_departed(
        &mut self,
        roll: &Roll,
        state: StateId,
        keys: &GroupKeys,
    ) -> Result<(), String> {
        let Some(members) = roll.members(state) else { return Ok(()) };
        let new: Vec<_> = roll
            .registrations()
            .map(|(sender, _)| sender)
            .filter(|sender| !members.contains(sender) && was_in_before(roll, *sender, state))
            .filter(|sender| !self.departed.contains(sender))
            .collect();
        for sender in new {
            self.departed.insert(sender);
            self.stale |= self.join_in(roll, sender);
        }
        // Whoever is in again under the same registration would be no outsider; there is no such thing.
        if std::mem::take(&mut self.stale) {
            while self
                .updates
                .values()
                .fold(false, |new, update| new | self.together.read(&self.place, update))
            {}
        } else if let Some(update) = self.updates.get(&state) {
            self.together.read(&self.place, update);
        }
        self.judge(&self.together, state, keys)
            .map_err(|what| format!("all {} ex-members together: {what}", self.departed.len()))
    }

    fn join_in(&mut self, roll: &Roll, sender: SenderId) -> bool {
        let mut together = std::mem::take(&mut self.together);
        let new = self.pool(roll, &mut together, sender);
        self.together = together;
        new
    }

    /// Every registration alone, and random coalitions of them, at every state in which none of them was in.
    pub(crate) fn check_all(&self, roll: &Roll, keys: &GroupKeys, seed: u64) -> Result<(), String> {
        let everybody: Vec<_> = roll.registrations().map(|(sender, _)| sender).collect();
        for sender in &everybody {
            self.check(roll, keys, &BTreeSet::from([*sender]))?;
        }
        let mut dice = Dice::new(seed, "coalitions", 0);
        for _ in 0..COALITIONS {
            let share = u32::try_from(dice.between(100, 700)).unwrap_or_default();
            let coalition = everybody.iter().copied().filter(|_| dice.chance(share)).collect();
            self.check(roll, keys, &coalition)?;
        }
        if seed.is_multiple_of(FORCED) {
            self.check_by_force(roll, keys)?;
        }
        Ok(())
    }

    /// What one coalition knows, with the help of every message.
    fn check(&self, roll: &Roll, keys: &GroupKeys, coalition: &BTreeSet<SenderId>) -> Result<(), String> {
        let forbidden: Vec<_> = roll
            .states()
            .filter(|(_, members)| members.is_disjoint(coalition))
            .map(|(state, _)| state)
            .collect();
        if forbidden.is_empty() {
            return Ok(());
        }
        let mut knowledge = Knowledge::default();
        for sender in coalition {
            self.pool(roll, &mut knowledge, *sender);
        }
        while self.updates.values().fold(false, |new, update| new | knowledge.read(&self.place, update)) {}
        for state in forbidden {
            self.judge(&knowledge, state, keys).map_err(|what| format!("{coalition:?}: {what}"))?;
        }
        Ok(())
    }

    /// Adds all one registration has to what a coalition has.
    fn pool(&self, roll: &Roll, knowledge: &mut Knowledge, sender: SenderId) -> bool {
        let mut new = false;
        if let Some(registered) = roll.registered(sender) {
            let leaf = TreeNode { level: 0, index: registered.reg_no.0 };
            new |= knowledge.add(leaf, Version::leaf(registered.leaf_steps), *registered.leaf.expose());
        }
        for (node, version, secret) in self.hoards.get(&sender).into_iter().flat_map(Knowledge::iter) {
            new |= knowledge.add(node, version, secret);
        }
        new
    }

    fn judge(&self, knowledge: &Knowledge, state: StateId, keys: &GroupKeys) -> Result<(), String> {
        let (Some(update), Some((_, key))) = (self.updates.get(&state), keys.get(&state)) else {
            return Ok(());
        };
        if knowledge.gives(&self.place, update, key) {
            return Err(format!("the key of {state} follows from what they held"));
        }
        Ok(())
    }

    /// Believes no announcement: tries every key of the ex-members on every entry and in every one-way function. What
    /// comes out counts if it is a key that somebody really holds.
    fn check_by_force(&self, roll: &Roll, keys: &GroupKeys) -> Result<(), String> {
        let everybody = roll.registrations().fold(Knowledge::default(), |mut all, (sender, _)| {
            self.pool(roll, &mut all, sender);
            all
        });
        let real: BTreeSet<Bytes> = everybody.iter().map(|(_, _, secret)| secret).collect();
        let places: BTreeSet<TreeNode> = everybody.iter().map(|(node, _, _)| node).collect();
        let mut out = Knowledge::default();
        for sender in &self.departed {
            self.pool(roll, &mut out, *sender);
        }
        let mut open: Vec<Bytes> = out.iter().map(|(_, _, secret)| secret).take(MAX_FORCED).collect();
        let mut known: BTreeSet<Bytes> = BTreeSet::new();
        while let Some(secret) = open.pop() {
            if known.insert(secret) {
                open.extend(self.forced(&secret, &places).into_iter().filter(|key| real.contains(key)));
            }
        }
        let forbidden = roll.states().filter(|(_, members)| members.is_disjoint(&self.departed));
        for (state, _) in forbidden {
            let Some((_, key)) = keys.get(&state) else { continue };
            let reached =
                known.iter().any(|secret| self.place.domain.group_key(&Secret::new(*secret), state) == *key);
            if reached {
                return Err(format!("by force: the key of {state} follows from what ex-members held"));
            }
        }
        Ok(())
    }

    fn forced(&self, secret: &Bytes, places: &BTreeSet<TreeNode>) -> Vec<Bytes> {
        let key = NodeKey::new(self.place.domain.suite, &Secret::new(*secret));
        let mut found = Vec::new();
        for update in self.updates.values() {
            for (node, (_, entries)) in &update.targets {
                let opened = entries
                    .iter()
                    .filter_map(|entry| key.unwrap(&update.iv, *node, entry.sealed.as_slice()).ok());
                found.extend(opened.map(|secret| *secret.expose()));
            }
        }
        for place in places {
            let kinds = [OneWay::Step, OneWay::Chain, OneWay::LeafStep];
            found.extend(kinds.map(|kind| *key.one_way(kind, self.place.tree.0, *place).expose()));
        }
        found
    }
}

/// Whether a registration was in at any state before this one. One that is still to come is no ex-member.
fn was_in_before(roll: &Roll, sender: SenderId, state: StateId) -> bool {
    roll.states().take_while(|(earlier, _)| *earlier < state).any(|(_, members)| members.contains(&sender))
}
