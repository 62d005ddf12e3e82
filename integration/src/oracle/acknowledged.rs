//! What was told stays true, through every restart.

use std::collections::{BTreeMap, BTreeSet};

use gsm::{Departure, GsmEvent};
use protocol::{Commit, Revocation, SenderId, StateId};

use super::roll::Roll;
use crate::node::NodeId;

/// What managers told of members, and members of themselves.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    revoked: BTreeMap<String, PutOut>,
    /// What each node has recorded of evictions by others.
    learned: BTreeMap<(NodeId, [u8; 32]), Commit>,
    /// The registration that each node holds to be its own, and in which start of its process.
    admitted: BTreeMap<NodeId, (u32, SenderId)>,
}

/// Somebody was put out for good.
#[derive(Debug, Default)]
struct PutOut {
    /// By these.
    by: BTreeSet<NodeId>,
    /// Which states had been cut by then: an eviction may overtake a cut that waits.
    cut: BTreeSet<StateId>,
}

impl Acknowledged {
    pub(crate) const fn new() -> Self {
        Self { revoked: BTreeMap::new(), learned: BTreeMap::new(), admitted: BTreeMap::new() }
    }

    /// A node records that somebody was put out by another one.
    pub(crate) fn learns(&mut self, node: NodeId, identity: [u8; 32], commit: Commit) {
        self.learned.entry((node, identity)).or_insert(commit);
    }

    /// A manager tells of something; everything up to `durable` is on its disk.
    pub(crate) fn on_told(
        &mut self,
        roll: &Roll,
        node: NodeId,
        event: &GsmEvent,
        durable: Commit,
    ) -> Result<(), String> {
        let (what, record) = match event {
            GsmEvent::Admitted { identity, sender, .. } => {
                (format!("{identity} is in as {sender}"), roll.joined(*sender))
            }
            GsmEvent::Departed { identity, sender, why } => {
                let mut record = roll.departed(*sender);
                if *why == Departure::Evicted {
                    record = roll.evicted(*sender);
                    let out = self.revoked.entry(identity.clone()).or_default();
                    out.by.insert(node);
                    out.cut.extend(roll.states().map(|(state, _)| state));
                }
                (format!("{identity} is out as {sender}"), record)
            }
            GsmEvent::Rekeyed(summary) => (format!("{} was cut", summary.state), roll.cut(summary.state)),
            _ => return Ok(()),
        };
        is_durable(&what, record, (node, durable))
    }

    /// A node was told that it is in.
    pub(crate) fn on_admitted(
        &mut self,
        roll: &Roll,
        node: NodeId,
        start: u32,
        sender: SenderId,
        durable: (NodeId, Commit),
    ) -> Result<(), String> {
        self.admitted.insert(node, (start, sender));
        is_durable(&format!("{node:?} was told that it is in"), roll.joined(sender), durable)
    }

    /// The registration that a start of a node's process holds to be its own.
    pub(crate) fn own(&self, node: NodeId, start: u32) -> Option<SenderId> {
        self.admitted.get(&node).filter(|(of, _)| *of == start).map(|(_, sender)| *sender)
    }

    /// A node takes an office: whatever becomes of that, it is a member under another registration afterwards.
    pub(crate) fn takes_office(&mut self, node: NodeId) {
        self.admitted.remove(&node);
    }

    /// The registration that a node holds to be its own, or held last.
    pub(crate) fn member(&self, node: NodeId) -> Option<SenderId> {
        self.admitted.get(&node).map(|(_, sender)| *sender)
    }

    /// A node was killed: what was not durable it has not learned, and nobody was told that it had.
    pub(crate) fn on_killed(&mut self, node: NodeId, durable: Commit) {
        self.learned.retain(|(of, _), commit| *of != node || *commit <= durable);
    }

    /// Nobody who could tell this manager has heard that this one was put out.
    pub(crate) fn forgive(&mut self, identity: &str, manager: NodeId) {
        self.learned.remove(&(manager, Revocation::identity_hash(identity)));
        if let Some(out) = self.revoked.get_mut(identity) {
            out.by.remove(&manager);
        }
    }

    /// Who was put out for good.
    pub(crate) fn revoked(&self) -> impl Iterator<Item = &String> {
        self.revoked.keys()
    }

    /// A state was cut by `node`: nobody is in it who was put out before by it, or by another one that it heard of.
    pub(crate) fn check_revoked(&self, roll: &Roll, node: NodeId, state: StateId) -> Result<(), String> {
        let mut names =
            roll.members(state).into_iter().flatten().filter_map(|sender| roll.registered(*sender));
        let knows = |identity: &String, out: &PutOut| {
            let learned = self.learned.get(&(node, Revocation::identity_hash(identity)));
            let before = |commit: &Commit| roll.cut(state).is_none_or(|(_, cut)| *commit < cut);
            out.by.contains(&node) || learned.is_some_and(before)
        };
        let revoked = |identity: &String| {
            let out = self.revoked.get(identity);
            out.is_some_and(|out| knows(identity, out) && !out.cut.contains(&state))
        };
        match names.find(|registered| revoked(&registered.identity)) {
            Some(registered) => Err(format!("{} was evicted and is in at {state}", registered.identity)),
            None => Ok(()),
        }
    }
}

/// What another node recorded was told by that one first.
fn is_durable(
    what: &str,
    record: Option<(NodeId, Commit)>,
    (node, durable): (NodeId, Commit),
) -> Result<(), String> {
    match record {
        Some((of, commit)) if of != node || commit <= durable => Ok(()),
        Some((_, commit)) => {
            Err(format!("{what}: told at record {}, and {} is the newest durable one", commit.0, durable.0))
        }
        None => Err(format!("{what}: told and not recorded")),
    }
}
