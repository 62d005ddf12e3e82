//! What somebody can compute: every key held, and every key that follows from the messages, by real cryptography.
//!
//! A key is known by the node and the base of its version; from one step a holder gets to the next by itself. More than
//! one secret may stand under a name: of a reg-no that was given again, each holder's leaf secret is tried, and what a
//! wrong one makes of an entry is carried on like a key. It leads nowhere, since only group keys are compared.

use std::collections::BTreeMap;

use crypto::{EntryIv, NodeKey, OneWay, Secret};
use keytree::{Change, Degree, Entry, Epoch, NodeId, Target, TreeId, Version};
use protocol::{Domain, StateId};

/// The bytes of a tree key, for comparing.
pub(crate) type Bytes = [u8; 32];

/// What follows from one key update.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) state: StateId,
    pub(crate) iv: EntryIv,
    pub(crate) height: u8,
    pub(crate) root: Version,
    /// By node; a packet repeats what another one holds.
    pub(crate) targets: BTreeMap<NodeId, (Target, Vec<Entry>)>,
}

/// The place of the tree in every derivation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) domain: Domain,
    pub(crate) degree: Degree,
    pub(crate) tree: TreeId,
}

/// The tree keys one coalition has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    keys: BTreeMap<(NodeId, Epoch), Vec<(u16, Bytes)>>,
}

/// Candidates under one name beyond which more are garbage made of garbage.
const MAX_CANDIDATES: usize = 64;

impl Knowledge {
    /// Nothing is known.
    pub(crate) const fn new() -> Self {
        Self { keys: BTreeMap::new() }
    }

    /// Adds a key; whether it is new.
    pub(crate) fn add(&mut self, node: NodeId, version: Version, secret: Bytes) -> bool {
        let held = self.keys.entry((node, version.base)).or_default();
        if held.len() >= MAX_CANDIDATES || held.contains(&(version.steps, secret)) {
            return false;
        }
        held.push((version.steps, secret));
        true
    }

    /// Every key held, with its name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, Version, Bytes)> {
        self.keys.iter().flat_map(|((node, base), held)| {
            held.iter().map(|(steps, secret)| (*node, Version { base: *base, steps: *steps }, *secret))
        })
    }

    /// What may be the key of a node at a version: every key of its base, stepped forward.
    pub(crate) fn candidates(&self, place: &Place, node: NodeId, version: Version) -> Vec<Bytes> {
        let mut found = Vec::new();
        for (steps, secret) in self.keys.get(&(node, version.base)).into_iter().flatten() {
            let Some(ahead) = version.steps.checked_sub(*steps) else { continue };
            let stepped = step(place, node, *secret, ahead);
            if !found.contains(&stepped) {
                found.push(stepped);
            }
        }
        found
    }

    /// Learns what one update tells to who has these keys; whether anything was new.
    pub(crate) fn read(&mut self, place: &Place, update: &Update) -> bool {
        let mut new = false;
        for (node, (target, entries)) in &update.targets {
            for entry in entries {
                let child = place.degree.child(*node, entry.child);
                for key in self.candidates(place, child, entry.wrapping) {
                    let key = NodeKey::new(place.domain.suite, &Secret::new(key));
                    if let Ok(opened) = key.unwrap(&update.iv, *node, entry.sealed.as_slice()) {
                        new |= self.add(*node, target.version, *opened.expose());
                    }
                }
            }
            if let (Change::Replace, Some(slot)) = (target.change, target.chained_from) {
                let child = place.degree.child(*node, slot);
                for key in self.candidates(place, child, Version::made(update.state.epoch)) {
                    let key = NodeKey::new(place.domain.suite, &Secret::new(key));
                    let chained = key.one_way(OneWay::Chain, place.tree.0, *node);
                    new |= self.add(*node, target.version, *chained.expose());
                }
            }
        }
        new
    }

    /// Whether one of these keys gives the group key of a state.
    pub(crate) fn gives(&self, place: &Place, update: &Update, group_key: &Secret<32>) -> bool {
        let root = NodeId { level: update.height, index: 0 };
        self.candidates(place, root, update.root)
            .into_iter()
            .any(|secret| place.domain.group_key(&Secret::new(secret), update.state) == *group_key)
    }
}

fn step(place: &Place, node: NodeId, secret: Bytes, steps: u16) -> Bytes {
    let kind = if node.level == 0 { OneWay::LeafStep } else { OneWay::Step };
    let mut secret = Secret::new(secret);
    for _ in 0..steps {
        secret = NodeKey::new(place.domain.suite, &secret).one_way(kind, place.tree.0, node);
    }
    *secret.expose()
}
