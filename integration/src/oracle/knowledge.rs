//! What somebody can compute: every key held, and every key that follows from the messages, by real cryptography.
//!
//! A key is known by the node and the base of its version; from one step a holder gets to the next by itself. More than
//! one secret may stand under a name: of a reg-no that was given again, each holder's leaf secret is tried, and what a
//! wrong one makes of an entry is carried on like a key. It leads nowhere, since only group keys are compared.

use std::collections::BTreeMap;

use crypto::{EntryIv, NodeKey, OneWay, Secret};
use keytree::{Change, Degree, Entry, Epoch, NodeId, Sealed, Target, TreeId, Version};
use protocol::{Domain, StateId};

/// The bytes of a tree key, for comparing.
pub(crate) type Bytes = [u8; 32];

/// What one key update names.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) state: StateId,
    pub(crate) iv: EntryIv,
    pub(crate) height: u8,
    pub(crate) root: Version,
    /// By node; a packet repeats what another one holds.
    pub(crate) targets: BTreeMap<NodeId, (Target, Vec<Entry>)>,
}

/// One way from a key to another one that a message opened.
#[derive(Clone, Debug)]
struct Rule {
    child: NodeId,
    wrapping: Version,
    node: NodeId,
    version: Version,
    /// The other key, sealed; `None` where it is the first one's image.
    sealed: Option<(EntryIv, Sealed)>,
}

/// Every way there is, by the key it begins with.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    all: Vec<Rule>,
    by_key: BTreeMap<(NodeId, Epoch), Vec<usize>>,
}

impl Rule {
    fn apply(&self, place: &Place, key: Bytes) -> Option<Bytes> {
        let key = NodeKey::new(place.domain.suite, &Secret::new(key));
        match &self.sealed {
            Some((iv, sealed)) => Some(*key.unwrap(iv, self.node, sealed.as_slice()).ok()?.expose()),
            None => Some(*key.one_way(OneWay::Chain, place.tree.0, self.node).expose()),
        }
    }
}

impl Rules {
    pub(crate) const fn new() -> Self {
        Self { all: Vec::new(), by_key: BTreeMap::new() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }

    /// An update gives a node's key to who has a child's.
    pub(crate) fn on_entry(&mut self, place: &Place, iv: EntryIv, target: &Target, entry: &Entry) {
        let child = place.degree.child(target.node, entry.child);
        self.push(Rule {
            child,
            wrapping: entry.wrapping,
            node: target.node,
            version: target.version,
            sealed: Some((iv, entry.sealed)),
        });
    }

    /// An update of this epoch names a node; its key may be the image of a child's.
    pub(crate) fn on_target(&mut self, place: &Place, epoch: Epoch, target: &Target) {
        if let (Change::Replace, Some(slot)) = (target.change, target.chained_from) {
            let child = place.degree.child(target.node, slot);
            let wrapping = Version::made(epoch);
            self.push(Rule { child, wrapping, node: target.node, version: target.version, sealed: None });
        }
    }

    fn push(&mut self, rule: Rule) {
        self.by_key.entry((rule.child, rule.wrapping.base)).or_default().push(self.all.len());
        self.all.push(rule);
    }
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

    /// Learns everything that follows from the keys held, by every rule there is. Each key is looked at once, so it takes as
    /// long as there are keys that follow.
    pub(crate) fn close(&mut self, place: &Place, rules: &Rules) {
        let open = self.iter().collect();
        self.follow(place, rules, open);
    }

    /// Adds keys to what was closed before, and everything that follows from them.
    pub(crate) fn close_with(
        &mut self,
        place: &Place,
        rules: &Rules,
        keys: impl IntoIterator<Item = (NodeId, Version, Bytes)>,
    ) {
        let new = keys.into_iter().filter(|(node, version, secret)| self.add(*node, *version, *secret));
        let new = new.collect();
        self.follow(place, rules, new);
    }

    /// Learns what rules from number `from` on give to what was closed before them, and everything that follows.
    pub(crate) fn close_over(&mut self, place: &Place, rules: &Rules, from: usize) {
        let mut new = Vec::new();
        for rule in rules.all.get(from..).unwrap_or_default() {
            for key in self.candidates(place, rule.child, rule.wrapping) {
                new.extend(rule.apply(place, key).map(|secret| (rule.node, rule.version, secret)));
            }
        }
        self.close_with(place, rules, new);
    }

    fn follow(&mut self, place: &Place, rules: &Rules, mut open: Vec<(NodeId, Version, Bytes)>) {
        while let Some((node, version, secret)) = open.pop() {
            for number in rules.by_key.get(&(node, version.base)).into_iter().flatten() {
                let rule = &rules.all[*number];
                let Some(ahead) = rule.wrapping.steps.checked_sub(version.steps) else { continue };
                let Some(made) = rule.apply(place, step(place, node, secret, ahead)) else { continue };
                if self.add(rule.node, rule.version, made) {
                    open.push((rule.node, rule.version, made));
                }
            }
        }
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
