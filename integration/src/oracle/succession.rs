//! What a manager's successor must hold, and what two managers that become one must agree on.

use std::collections::{BTreeMap, BTreeSet};

use gsm::{GsmEvent, JournalEntry};
use protocol::{Inst, SenderId};

use super::roll::{Roll, Taken};
use crate::node::NodeId;

/// What managers have told, how much of it each standby must hold, and who gives way to whom.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// Of each manager, in order: who was told to be in, or out.
    told: BTreeMap<NodeId, Vec<(SenderId, bool)>>,
    /// How much of that each standby must hold; `None` for all of it, while it is in step.
    held: BTreeMap<(NodeId, SenderId), Option<usize>>,
    /// From whom everything is handed over, and to whom.
    giving: BTreeMap<NodeId, NodeId>,
    /// What each node has recorded since its process began.
    recorded: BTreeMap<NodeId, Recorded>,
    /// Who was out by the records asked for up to each start's end, whether or not they became durable.
    out: BTreeMap<Inst, BTreeSet<SenderId>>,
}

/// Whom one node has recorded to be out, and in which start of its own it is.
#[derive(Debug, Default)]
struct Recorded {
    start: Option<Inst>,
    out: BTreeSet<SenderId>,
}

impl Succession {
    pub(crate) const fn new() -> Self {
        Self {
            told: BTreeMap::new(),
            held: BTreeMap::new(),
            giving: BTreeMap::new(),
            recorded: BTreeMap::new(),
            out: BTreeMap::new(),
        }
    }

    /// A manager asks for a record. Its standbys may hold it before its own store does, and for longer.
    pub(crate) fn on_record(&mut self, node: NodeId, entry: &JournalEntry) {
        let recorded = self.recorded.entry(node).or_default();
        match entry {
            JournalEntry::Started { inst, .. } => recorded.start = Some(*inst),
            JournalEntry::Departed { sender }
            | JournalEntry::Silent { sender }
            | JournalEntry::Evicted { sender, .. } => {
                recorded.out.insert(*sender);
            }
            _ => return,
        }
        if let Some(start) = recorded.start {
            self.out.insert(start, recorded.out.clone());
        }
    }

    /// A manager tells of something.
    pub(crate) fn on_told(&mut self, node: NodeId, event: &GsmEvent) {
        match event {
            GsmEvent::Admitted { sender, .. } => self.told.entry(node).or_default().push((*sender, true)),
            GsmEvent::Departed { sender, .. } => self.told.entry(node).or_default().push((*sender, false)),
            GsmEvent::StandbyInStep { sender, .. } => {
                self.held.insert((node, *sender), None);
            }
            GsmEvent::StandbyLost { sender, .. } => self.freeze(node, |standby| standby == *sender),
            // Without a store nothing waits for anybody.
            GsmEvent::ReadOnly => self.freeze(node, |_| true),
            GsmEvent::NotMerged { .. } => {
                self.giving.remove(&node);
            }
            _ => {}
        }
    }

    /// What is told from here on, these standbys of a manager need not hold.
    fn freeze(&mut self, node: NodeId, which: impl Fn(SenderId) -> bool) {
        let count = self.told.get(&node).map_or(0, Vec::len);
        for ((_, standby), held) in self.held.iter_mut().filter(|((of, _), _)| *of == node) {
            if which(*standby) {
                held.get_or_insert(count);
            }
        }
    }

    /// A node begins anew, is a manager no more, or its store was put back: what it told before is not for its own standbys to
    /// keep, and what it tells from here on they do not know. Who was in step may still take over, from what was before.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.told.remove(&node);
        self.recorded.remove(&node);
        let standbys = self.held.iter_mut().filter(|((of, _), _)| *of == node);
        standbys.for_each(|(_, held)| *held = Some(0));
    }

    /// A node was killed, and its store has forgotten something or not.
    pub(crate) fn on_killed(&mut self, node: NodeId, forgotten: bool) {
        self.freeze(node, |_| true);
        self.giving.remove(&node);
        self.recorded.remove(&node);
        if forgotten {
            self.forget(node);
        }
    }

    /// One manager has everything that another one of its subgroup has handed over.
    pub(crate) fn on_united(&mut self, winner: NodeId, loser: NodeId) {
        self.giving.insert(loser, winner);
    }

    /// A manager is none any more; the one to which it has handed everything over.
    pub(crate) fn on_stepped_down(&mut self, node: NodeId) -> Option<NodeId> {
        self.forget(node);
        self.giving.remove(&node)
    }

    /// A standby goes on in the place of a manager: it holds all that was told while it was in step.
    pub(crate) fn check_taken(
        &self,
        roll: &Roll,
        (of, standby): (NodeId, SenderId),
        taken: &Taken,
    ) -> Result<(), String> {
        let Some(told) = self.told.get(&of) else { return Ok(()) };
        let count = match self.held.get(&(of, standby)) {
            Some(held) => held.unwrap_or(told.len()),
            None => return Err(format!("{standby} takes over from {of:?} and was never in step")),
        };
        let last: BTreeMap<SenderId, bool> = told.iter().take(count).copied().collect();
        let out = taken.of.and_then(|of| self.out.get(&of));
        let live = &taken.live;
        for (sender, is_in) in last {
            // What is not told yet may be there already, and stays there if the manager died before its own store had it.
            let recorded = out.is_some_and(|out| out.contains(&sender));
            let gone = recorded || roll.departed(sender).is_some() || roll.evicted(sender).is_some();
            if is_in && !live.contains(&sender) && !gone {
                return Err(format!(
                    "{sender} was told to be in, and {standby}, who takes over, has lost it"
                ));
            }
            if !is_in && live.contains(&sender) {
                return Err(format!("{sender} was told to be out, and {standby}, who takes over, has it in"));
            }
        }
        Ok(())
    }
}
