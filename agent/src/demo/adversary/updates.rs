//! What can be made of a key update with secrets from before it.

use std::collections::BTreeMap;

use crypto::{NodeKey, OneWay, Position, Secret, Suite, constant_time_eq};
use keytree::{Entry, Target};
use protocol::{Grant, UpdatePacket};

use super::hoard::HeldSecret;

/// One-way steps tried on each secret, as a member takes them on joins.
const STEPS: usize = 4;
/// Attempts on one packet. The demonstration's small tree takes a few thousand; the limit keeps a larger one from
/// holding the adversary up.
const MAX_ATTEMPTS: usize = 1_000_000;

/// What an attack came to.
pub(super) struct Attempt {
    /// Unwraps, one-way steps and comparisons with the key check.
    pub(super) attempts: usize,
    /// The new group key, if it was found.
    pub(super) group_key: Option<Secret<32>>,
}

/// Tries every secret on every entry, and everything that comes out of an entry on every entry above it; whatever may
/// then be the root secret is tested by the key-check value of the header.
///
/// Where entries carry no check of their own (suite 0x0001), any key opens any entry and most of what comes out is
/// rubbish, so rubbish is carried along: only the key check at the root tells.
pub(super) fn attack(packet: &UpdatePacket, grant: &Grant, secrets: &[HeldSecret]) -> Attempt {
    let mut search = Search { packet, grant, attempts: 0, held: Vec::new(), found: BTreeMap::new() };
    search.held = search.with_steps(secrets);
    for target in &packet.body.targets {
        search.open_target(target);
    }
    let group_key = search.root();
    Attempt { attempts: search.attempts, group_key }
}

struct Search<'a> {
    packet: &'a UpdatePacket,
    /// Names suite, group and tree; all of it is public.
    grant: &'a Grant,
    attempts: usize,
    /// What was held, and where its steps lead.
    held: Vec<Secret<32>>,
    /// What may be a node's new secret.
    found: BTreeMap<Position, Vec<Secret<32>>>,
}

impl Search<'_> {
    const fn suite(&self) -> Suite {
        self.grant.domain.suite
    }

    /// Every secret, and what its owner's steps make of it.
    fn with_steps(&mut self, secrets: &[HeldSecret]) -> Vec<Secret<32>> {
        let mut all = Vec::new();
        for held in secrets {
            let kind = if held.node.level == 0 { OneWay::LeafStep } else { OneWay::Step };
            let mut secret = held.secret.clone();
            for _ in 0..STEPS {
                let next = NodeKey::new(self.suite(), &secret).one_way(kind, self.grant.tree.0, held.node);
                self.attempts += 1;
                all.push(std::mem::replace(&mut secret, next));
            }
            all.push(secret);
        }
        all
    }

    /// Everything that may be the new secret of one changed node.
    fn open_target(&mut self, target: &Target) {
        let (begin, end) = (target.entries.start as usize, target.entries.end as usize);
        let entries: &[Entry] = self.packet.body.entries.get(begin..end).unwrap_or_default();
        let mut opened = Vec::new();
        for entry in entries {
            for key in self.wrapping_keys(target.node, entry.child) {
                if self.attempts >= MAX_ATTEMPTS {
                    break;
                }
                self.attempts += 1;
                let key = NodeKey::new(self.suite(), &key);
                let iv = &self.packet.header.iv;
                opened.extend(key.unwrap(iv, target.node, entry.sealed.as_slice()).ok());
            }
        }
        if let Some(child) = target.chained_from {
            for below in self.wrapping_keys(target.node, child) {
                self.attempts += 1;
                let key = NodeKey::new(self.suite(), &below);
                opened.push(key.one_way(OneWay::Chain, self.grant.tree.0, target.node));
            }
        }
        self.found.entry(target.node).or_default().extend(opened);
    }

    /// What may be the key of a node's child: anything held, or found for that child.
    fn wrapping_keys(&self, parent: Position, slot: u8) -> Vec<Secret<32>> {
        let index = parent.index * u32::from(self.grant.degree.get()) + u32::from(slot);
        let child = Position { level: parent.level.saturating_sub(1), index };
        self.held.iter().chain(self.found.get(&child).into_iter().flatten()).cloned().collect()
    }

    /// The group key, if any secret held or found is the root's.
    fn root(&mut self) -> Option<Secret<32>> {
        let (header, domain) = (&self.packet.header, &self.grant.domain);
        let root = Position { level: header.height, index: 0 };
        let candidates = self.held.iter().chain(self.found.get(&root).into_iter().flatten());
        for candidate in candidates {
            self.attempts += 1;
            let key = domain.group_key(candidate, header.state);
            if constant_time_eq(&domain.key_check(&key, header.state), &header.key_check) {
                return Some(key);
            }
        }
        None
    }
}
