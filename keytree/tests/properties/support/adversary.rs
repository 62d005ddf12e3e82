//! What can be computed from what. Every derivation takes one key (a step, a chain, an entry opened), so what a
//! coalition can reach is reachability in a graph over keys.

use std::collections::{BTreeMap, BTreeSet};

use crypto::{NodeKey, OneWay, Secret};
use keytree::{NodeId, RegNo, Version};

use super::past::{Bytes, Past};
use super::world::{Record, TREE};

/// A key by its name; leaf secrets belong to an identity, since reg-nos are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Leaf(u32, u16),
    Node(NodeId, Version),
}

/// What follows from each key, with the help of every message ever sent.
#[derive(Default)]
pub(crate) struct Derivations {
    edges: BTreeMap<Bytes, BTreeSet<Bytes>>,
}

impl Derivations {
    /// By what the messages say about themselves: an entry is opened with the key it names, chains are taken where
    /// they are announced, and every key is stepped.
    pub(crate) fn announced(past: &Past) -> Self {
        let leaves =
            past.leaves.iter().map(|((identity, steps), secret)| (Name::Leaf(*identity, *steps), *secret));
        let mut names: BTreeMap<Name, Bytes> = leaves.collect();
        for record in &past.records {
            let keys = record.keys.iter();
            names.extend(
                keys.map(|((node, version), secret)| (Name::Node(*node, *version), *secret.expose())),
            );
        }
        let mut derivations = Self::default();
        let mut holders: BTreeMap<RegNo, u32> = BTreeMap::new();
        let mut seats: BTreeMap<u32, NodeId> = BTreeMap::new();
        for record in &past.records {
            holders.extend(&record.members);
            seats.extend(record.members.iter().map(|(at, who)| (*who, NodeId { level: 0, index: at.0 })));
            derivations.announce(past, record, &names, &holders);
        }
        for (name, secret) in &names {
            let (at, kind) = match name {
                Name::Leaf(identity, _) => (seats[identity], OneWay::LeafStep),
                Name::Node(node, _) => (*node, OneWay::Step),
            };
            let next = NodeKey::new(past.suite, &Secret::new(*secret)).one_way(kind, TREE.0, at);
            derivations.edge(*secret, &next);
        }
        derivations
    }

    fn announce(
        &mut self,
        past: &Past,
        record: &Record,
        names: &BTreeMap<Name, Bytes>,
        holders: &BTreeMap<RegNo, u32>,
    ) {
        for target in &record.targets {
            let child_key = |slot: u8, version: Version| {
                let child = past.degree.child(target.node, slot);
                let name = match child.level {
                    0 => Name::Leaf(holders[&RegNo(child.index)], version.steps),
                    _ => Name::Node(child, version),
                };
                (names[&name], NodeKey::new(past.suite, &Secret::new(names[&name])))
            };
            for entry in record.entries_of(target) {
                let (wrapping, key) = child_key(entry.child, entry.wrapping);
                let opened = key.unwrap(&record.iv, target.node, entry.sealed.as_slice()).unwrap();
                self.edge(wrapping, &opened);
            }
            if let Some(slot) = target.chained_from {
                let (child, key) = child_key(slot, Version::made(record.epoch));
                self.edge(child, &key.one_way(OneWay::Chain, TREE.0, target.node));
            }
        }
    }

    /// By force: every key there ever was is tried on every entry and in every one-way function at every node; what
    /// comes out counts if it is a key there ever was. Believes no announcement.
    pub(crate) fn forced(past: &Past) -> Self {
        let mut keys: BTreeSet<Bytes> = past.leaves.values().copied().collect();
        let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
        for record in &past.records {
            keys.extend(record.keys.values().map(|secret| *secret.expose()));
            nodes.extend(record.keys.keys().map(|(node, _)| *node));
            nodes.extend(record.members.keys().map(|reg_no| NodeId { level: 0, index: reg_no.0 }));
        }
        let mut derivations = Self::default();
        for secret in &keys {
            let key = NodeKey::new(past.suite, &Secret::new(*secret));
            let moved = nodes.iter().flat_map(|node| {
                [OneWay::Step, OneWay::Chain, OneWay::LeafStep].map(|kind| key.one_way(kind, TREE.0, *node))
            });
            let opened = past.records.iter().flat_map(|record| opened(&key, record));
            for result in moved.chain(opened).filter(|result| keys.contains(result.expose())) {
                derivations.edge(*secret, &result);
            }
        }
        derivations
    }

    fn edge(&mut self, from: Bytes, to: &Secret<32>) {
        self.edges.entry(from).or_default().insert(*to.expose());
    }

    /// Everything that follows from what is held.
    pub(crate) fn closure(&self, held: impl IntoIterator<Item = Bytes>) -> BTreeSet<Bytes> {
        let mut known = BTreeSet::new();
        let mut open: Vec<Bytes> = held.into_iter().collect();
        while let Some(key) = open.pop() {
            if known.insert(key) {
                open.extend(self.edges.get(&key).into_iter().flatten());
            }
        }
        known
    }
}

/// What a key makes of every entry of a message.
fn opened(key: &NodeKey, record: &Record) -> Vec<Secret<32>> {
    let mut secrets = Vec::new();
    for target in &record.targets {
        let sealed = record.entries_of(target).iter().map(|entry| entry.sealed.as_slice());
        secrets.extend(sealed.filter_map(|sealed| key.unwrap(&record.iv, target.node, sealed).ok()));
    }
    secrets
}
