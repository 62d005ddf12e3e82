use std::collections::{BTreeMap, BTreeSet};

use crypto::Suite;
use keytree::{Degree, Epoch};

use super::{Derivations, History, Record, play};

/// A key by its bytes.
pub(crate) type Bytes = [u8; 32];

/// A history with everything anyone ever held.
pub(crate) struct Past {
    pub(crate) suite: Suite,
    pub(crate) degree: Degree,
    pub(crate) records: Vec<Record>,
    /// All keys each identity ever held, leaf secrets included.
    pub(crate) hoard: BTreeMap<u32, BTreeSet<Bytes>>,
    /// Leaf secrets by identity and leaf steps.
    pub(crate) leaves: BTreeMap<(u32, u16), Bytes>,
}

impl Past {
    /// Plays a history in which every member hears everything.
    pub(crate) fn of(history: &History, size: usize) -> Self {
        let (suite, degree) = (history.suite, history.degree);
        let (records, hoard, leaves) = Default::default();
        let mut past = Self { suite, degree, records, hoard, leaves };
        play(history, size, |world, record| {
            world.deliver(record);
            past.records.push(record.clone());
            for member in world.members.values() {
                let held = past.hoard.entry(member.identity).or_default();
                held.insert(*member.leaf.expose());
                held.extend(member.path.keys().map(|(_, _, secret)| *secret.expose()));
                let (_, version, leaf) = member.path.keys().next().unwrap();
                past.leaves.insert((member.identity, version.steps), *leaf.expose());
            }
        });
        past
    }

    /// The epochs whose root can be computed by those who were not members then: all of them together, before and
    /// after, with everything they ever held and every message ever sent.
    pub(crate) fn roots_outsiders_know(&self, derivations: &Derivations) -> Vec<Epoch> {
        let known = self.records.iter().filter(|record| {
            let inside: BTreeSet<u32> = record.members.values().copied().collect();
            let outside = self.hoard.iter().filter(|(identity, _)| !inside.contains(identity));
            let held = outside.flat_map(|(_, keys)| keys).copied();
            derivations.closure(held).contains(record.root_secret.expose())
        });
        known.map(|record| record.epoch).collect()
    }

    /// The epochs whose root follows from what one identity ever held.
    pub(crate) fn roots_known_to(&self, identity: u32, derivations: &Derivations) -> BTreeSet<Epoch> {
        let known = derivations.closure(self.hoard[&identity].iter().copied());
        let known = self.records.iter().filter(|record| known.contains(record.root_secret.expose()));
        known.map(|record| record.epoch).collect()
    }

    /// The epochs it was a member in.
    pub(crate) fn epochs_of(&self, identity: u32) -> BTreeSet<Epoch> {
        let inside =
            self.records.iter().filter(|record| record.members.values().any(|member| *member == identity));
        inside.map(|record| record.epoch).collect()
    }
}
