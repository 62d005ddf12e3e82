//! No coalition computes the group key of a state in which none of it was in.

use std::collections::{BTreeMap, BTreeSet};

use crypto::{NodeKey, OneWay, Secret};
use keytree::{Degree, NodeId as TreeNode, TreeId, Version};
use protocol::{Domain, SenderId, StateId, UpdatePacket};

use super::knowledge::{Bytes, Knowledge, Place, Rules, Update};
use super::roll::Roll;
use crate::dice::Dice;
use crate::node::NodeId;

/// Random coalitions looked at when a run is over.
const COALITIONS: u64 = 6;
/// At how many cuts of a thousand a random coalition is looked at, beside those at the end.
const LOOKED_AT: u32 = 250;
/// One run in so many is also searched by force.
const FORCED: u64 = 8;
/// The most keys a search by force begins with.
const MAX_FORCED: usize = 400;

type GroupKeys = BTreeMap<StateId, (NodeId, Secret<32>)>;

/// All there was when a renewal was recorded, and what follows from it.
#[derive(Debug)]
struct Renewal {
    all: Knowledge,
    /// The rules it has been through.
    through: usize,
}

/// What every registration has hoarded, and every key update there was.
#[derive(Debug)]
pub(crate) struct Secrecy {
    place: Place,
    hoards: BTreeMap<SenderId, Knowledge>,
    updates: BTreeMap<StateId, Update>,
    rules: Rules,
    /// All who were out at the newest state, together.
    departed: BTreeSet<SenderId>,
    together: Knowledge,
    /// The rules that `together` has been through.
    through: usize,
    /// By number.
    renewals: BTreeMap<usize, Renewal>,
    /// Somebody who is out was told something since.
    told: bool,
    dice: Dice,
}

impl Secrecy {
    pub(crate) fn new(domain: Domain, degree: Degree, tree: TreeId, seed: u64) -> Self {
        Self {
            place: Place { domain, degree, tree },
            hoards: BTreeMap::new(),
            updates: BTreeMap::new(),
            departed: BTreeSet::new(),
            rules: Rules::new(),
            together: Knowledge::new(),
            through: 0,
            renewals: BTreeMap::new(),
            told: false,
            dice: Dice::new(seed, "looked at", 0),
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
            let (_, known) = update.targets.entry(target.node).or_insert_with(|| {
                self.rules.on_target(&self.place, header.state.epoch, target);
                (target.clone(), Vec::new())
            });
            for entry in entries {
                if !known.contains(entry) {
                    self.rules.on_entry(&self.place, header.iv, target, entry);
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
                self.together.close_with(&self.place, &self.rules, [(node, version, *secret.expose())]);
                self.told = true;
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
        self.together.close_over(&self.place, &self.rules, self.through);
        self.through = self.rules.len();
        // Whoever is in again under the same registration would be no outsider; there is no such thing.
        for sender in new {
            self.departed.insert(sender);
            let keys = self.has(roll, sender);
            self.together.close_with(&self.place, &self.rules, keys);
        }
        self.check_newcomers(roll, state, keys)?;
        self.check_renewed(roll, state, keys)?;
        if !members.is_disjoint(&self.departed) {
            // On one side of a partition some are in who are out on the other.
            return self.check(roll, keys, &self.departed.difference(members).copied().collect());
        }
        self.judge(&self.together, state, keys)
            .map_err(|what| format!("all {} ex-members together: {what}", self.departed.len()))
    }

    /// Every leaf secret is renewed: whoever has managed or stood by until now, and held everything there was, is to be as
    /// good as any other who is out.
    pub(crate) fn on_renewed(&mut self, roll: &Roll) {
        let mut all = Knowledge::new();
        roll.registrations().for_each(|(sender, _)| self.pool(roll, &mut all, sender));
        all.close(&self.place, &self.rules);
        self.renewals.insert(roll.renewals(), Renewal { all, through: self.rules.len() });
    }

    /// A state whose secrets have been through a renewal is out of reach of all there was before it, on either side of a
    /// partition. Whoever takes over from a manager that has renewed is held to that as well.
    fn check_renewed(&mut self, roll: &Roll, state: StateId, keys: &GroupKeys) -> Result<(), String> {
        let Some(number) = roll.renewal_of(state) else { return Ok(()) };
        let Some(mut renewal) = self.renewals.remove(&number) else { return Ok(()) };
        renewal.all.close_over(&self.place, &self.rules, renewal.through);
        renewal.through = self.rules.len();
        let verdict = self.judge(&renewal.all, state, keys);
        self.renewals.insert(number, renewal);
        verdict.map_err(|what| format!("a manager of before the renewal: {what}"))
    }

    /// Everybody who is in for the first time, at no state before; and now and then some others together.
    fn check_newcomers(&mut self, roll: &Roll, state: StateId, keys: &GroupKeys) -> Result<(), String> {
        let now = roll.members(state).into_iter().flatten();
        let before = roll.before(state).map(|(_, members)| members);
        let newcomers = now.filter(|sender| before.is_some_and(|before| !before.contains(sender)));
        for sender in newcomers {
            self.check(roll, keys, &BTreeSet::from([*sender]))?;
        }
        if self.dice.chance(LOOKED_AT) {
            let share = u32::try_from(self.dice.between(20, 500)).unwrap_or_default();
            let everybody = roll.registrations().map(|(sender, _)| sender);
            let coalition = everybody.filter(|_| self.dice.chance(share)).collect();
            self.check(roll, keys, &coalition)?;
        }
        Ok(())
    }

    /// A message with keys went to somebody who is out: none of them may help to any state since it is.
    pub(crate) fn check_told(&mut self, roll: &Roll, keys: &GroupKeys) -> Result<(), String> {
        if !std::mem::take(&mut self.told) {
            return Ok(());
        }
        let forbidden = roll.states().filter(|(_, members)| members.is_disjoint(&self.departed));
        for (state, _) in forbidden {
            self.judge(&self.together, state, keys).map_err(|what| format!("told when out: {what}"))?;
        }
        Ok(())
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
        knowledge.close(&self.place, &self.rules);
        for state in forbidden {
            self.judge(&knowledge, state, keys).map_err(|what| format!("{coalition:?}: {what}"))?;
        }
        Ok(())
    }

    /// Adds all one registration has to what a coalition has.
    fn pool(&self, roll: &Roll, knowledge: &mut Knowledge, sender: SenderId) {
        for (node, version, secret) in self.has(roll, sender) {
            knowledge.add(node, version, secret);
        }
    }

    /// All the keys one registration has: the leaf secret it began with, and what it held or was sent since.
    fn has(&self, roll: &Roll, sender: SenderId) -> Vec<(TreeNode, Version, Bytes)> {
        let leaf = roll.registered(sender).map(|registered| {
            let place = TreeNode { level: 0, index: registered.reg_no.0 };
            (place, Version::leaf(registered.leaf_steps), *registered.leaf.expose())
        });
        leaf.into_iter().chain(self.hoards.get(&sender).into_iter().flat_map(Knowledge::iter)).collect()
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
