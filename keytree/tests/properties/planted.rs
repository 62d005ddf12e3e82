//! The secrecy checks see what they are for: plans with a planted bug, built by hand, are caught.

use crypto::{EntryIv, NodeKey, OneWay, Secret, Suite};
use keytree::{Change, Degree, Entry, Epoch, NodeId, RegNo, Sealed, Target, Version};

use crate::support::{Derivations, History, Past, Record, Round, TREE};

const ROOT: NodeId = NodeId { level: 2, index: 0 };
const RIGHT: NodeId = NodeId { level: 1, index: 1 };
/// The identity at reg-no 3, the second leaf below `RIGHT`.
const LAST: u32 = 4;

/// Four members, degree 2, one honest epoch; then a second one by hand.
struct Forge {
    past: Past,
    next: Record,
}

impl Forge {
    fn new(members: usize) -> Self {
        let round = Round { joins: members, ..Round::default() };
        let degree = Degree::new(2).unwrap();
        let history = History { suite: Suite::Aes256Kw, degree, seed: 3, rounds: vec![round] };
        let past = Past::of(&history, 4);
        let mut next = past.records[0].clone();
        (next.epoch, next.iv) = (Epoch(2), EntryIv::new([2; 12]));
        (next.targets, next.entries) = Default::default();
        Self { past, next }
    }

    fn key(&self, node: NodeId) -> (Version, Secret<32>) {
        let mut keys = self.next.keys.iter().filter(|((at, _), _)| *at == node);
        keys.next_back().map(|((_, version), secret)| (*version, secret.clone())).unwrap()
    }

    /// The old key of the first epoch.
    fn old(&self, node: NodeId) -> Secret<32> {
        let mut keys = self.past.records[0].keys.iter().filter(|((at, _), _)| *at == node);
        keys.next().map(|(_, secret)| secret.clone()).unwrap()
    }

    fn one_way(&self, key: &Secret<32>, kind: OneWay, at: NodeId) -> Secret<32> {
        NodeKey::new(self.past.suite, key).one_way(kind, TREE.0, at)
    }

    /// Announces a key for a node, sealed for some of its children.
    fn target(
        &mut self,
        node: NodeId,
        change: Change,
        secret: Secret<32>,
        chained: Option<u8>,
        children: &[u8],
    ) {
        let (old, _) = self.key(node);
        let version = match change {
            Change::Step => Version { steps: old.steps + 1, ..old },
            _ => Version::made(Epoch(2)),
        };
        let first = self.next.entries.len() as u32;
        for slot in children {
            let child = self.past.degree.child(node, *slot);
            let (wrapping, key) = match child.level {
                0 => (Version::leaf(0), Secret::new(self.past.leaves[&(child.index + 1, 0)])),
                _ => self.key(child),
            };
            let mut sealed = Vec::new();
            NodeKey::new(self.past.suite, &key).wrap(&self.next.iv, node, &secret, &mut sealed);
            let sealed = Sealed::from_slice(&sealed).unwrap();
            self.next.entries.push(Entry { child: *slot, wrapping, sealed });
        }
        let entries = first..self.next.entries.len() as u32;
        self.next.targets.push(Target { node, change, chained_from: chained, version, entries });
        self.next.keys.retain(|(at, _), _| *at != node);
        self.next.keys.insert((node, version), secret);
    }

    /// Who reads what they should not: by announcement and by force. `reader` is who held the root at the end.
    fn finish(mut self, leaver: Option<u32>) -> (Vec<Epoch>, Vec<Epoch>) {
        (self.next.root, self.next.root_secret) = self.key(ROOT);
        self.next.members.retain(|_, identity| Some(*identity) != leaver);
        self.past.records.push(self.next);
        let announced = self.past.roots_outsiders_know(&Derivations::announced(&self.past));
        (announced, self.past.roots_outsiders_know(&Derivations::forced(&self.past)))
    }
}

fn random(byte: u8) -> Secret<32> {
    Secret::new([byte; 32])
}

#[test]
fn an_honest_plan_by_hand_passes() {
    let mut forge = Forge::new(4);
    let right = random(1);
    let root = forge.one_way(&right, OneWay::Chain, ROOT);
    forge.target(RIGHT, Change::Replace, right, None, &[0]);
    forge.target(ROOT, Change::Replace, root, Some(1), &[0]);
    assert_eq!(forge.finish(Some(LAST)), (vec![], vec![]));
}

#[test]
fn stepping_a_key_a_leaver_held_is_caught() {
    let mut forge = Forge::new(4);
    let root = forge.one_way(&forge.old(ROOT), OneWay::Step, ROOT);
    forge.target(RIGHT, Change::Replace, random(1), None, &[0]);
    forge.target(ROOT, Change::Step, root, None, &[]);
    assert_eq!(forge.finish(Some(LAST)), (vec![Epoch(2)], vec![Epoch(2)]));
}

#[test]
fn a_step_announced_as_a_replacement_is_caught_by_force() {
    let mut forge = Forge::new(4);
    let root = forge.one_way(&forge.old(ROOT), OneWay::Step, ROOT);
    forge.target(RIGHT, Change::Replace, random(1), None, &[0]);
    forge.target(ROOT, Change::Replace, root, None, &[0, 1]);
    assert_eq!(forge.finish(Some(LAST)).1, [Epoch(2)]);
}

#[test]
fn an_entry_for_the_leaver_is_caught() {
    let mut forge = Forge::new(4);
    forge.target(RIGHT, Change::Replace, random(1), None, &[0, 1]);
    forge.target(ROOT, Change::Replace, random(2), None, &[0, 1]);
    assert_eq!(forge.finish(Some(LAST)), (vec![Epoch(2)], vec![Epoch(2)]));
}

#[test]
fn an_entry_under_a_key_the_leaver_held_is_caught() {
    let mut forge = Forge::new(4);
    forge.target(ROOT, Change::Replace, random(2), None, &[0, 1]);
    forge.target(RIGHT, Change::Replace, random(1), None, &[0]);
    assert_eq!(forge.finish(Some(LAST)).1, [Epoch(2)]);
}

#[test]
fn a_chain_from_the_old_key_is_caught_by_force() {
    let mut forge = Forge::new(4);
    let root = forge.one_way(&forge.old(RIGHT), OneWay::Chain, ROOT);
    forge.target(RIGHT, Change::Replace, random(1), None, &[0]);
    forge.target(ROOT, Change::Replace, root, Some(1), &[0]);
    assert_eq!(forge.finish(Some(LAST)).1, [Epoch(2)]);
}

#[test]
fn a_joiner_that_gets_a_key_as_it_was_is_caught() {
    let mut forge = Forge::new(3);
    let joiner = random(9);
    forge.past.leaves.insert((LAST, 0), *joiner.expose());
    forge.past.hoard.entry(LAST).or_default().insert(*joiner.expose());
    forge.next.members.insert(RegNo(3), LAST);
    let (right, root) = (forge.old(RIGHT), forge.old(ROOT));
    forge.target(RIGHT, Change::Replace, right, None, &[0, 1]);
    forge.target(ROOT, Change::Replace, root, None, &[1]);
    assert_eq!(forge.finish(None), (vec![Epoch(1)], vec![Epoch(1)]));
}
