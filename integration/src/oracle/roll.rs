//! Who was in at which state, by the order of the manager's journal.

use std::collections::{BTreeMap, BTreeSet};

use crypto::Secret;
use gsm::{JoinedEntry, JournalEntry};
use protocol::{RegNo, SenderId, StateId};

/// What the journal says of one registration.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its leaf.
    pub reg_no: RegNo,
    /// Who it is.
    pub identity: String,
    /// The leaf secret it began with.
    pub leaf: Secret<32>,
    /// The leaf steps that secret counts from.
    pub leaf_steps: u16,
    /// Its unicast key.
    pub unicast: Secret<32>,
}

/// The members of every state: who joined before its cut was recorded and had not departed by then.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    registered: BTreeMap<SenderId, Registered>,
    live: BTreeSet<SenderId>,
    states: BTreeMap<StateId, BTreeSet<SenderId>>,
    evicted: BTreeSet<SenderId>,
    /// States before whose cut, and after the one before, somebody was evicted.
    after_eviction: BTreeSet<StateId>,
    /// States that put out somebody who was evicted by then.
    hard: BTreeSet<StateId>,
    eviction: bool,
}

impl Roll {
    /// Nobody has joined.
    pub const fn new() -> Self {
        Self {
            registered: BTreeMap::new(),
            live: BTreeSet::new(),
            states: BTreeMap::new(),
            evicted: BTreeSet::new(),
            after_eviction: BTreeSet::new(),
            hard: BTreeSet::new(),
            eviction: false,
        }
    }

    /// The next entry of the journal.
    pub(crate) fn on_entry(&mut self, entry: JournalEntry) {
        match entry {
            JournalEntry::Started { .. }
            | JournalEntry::Revoked { .. }
            | JournalEntry::SteppedDown
            | JournalEntry::Probe => {}
            JournalEntry::Joined(joined) => {
                let JoinedEntry { reg_no, sender, identity, leaf, leaf_steps, unicast, .. } = *joined;
                self.live.insert(sender);
                self.registered.insert(sender, Registered { reg_no, identity, leaf, leaf_steps, unicast });
            }
            JournalEntry::Departed { sender } => {
                self.live.remove(&sender);
            }
            JournalEntry::Evicted { sender, .. } => {
                self.live.remove(&sender);
                self.evicted.insert(sender);
                self.eviction = true;
            }
            JournalEntry::Cut { state, .. } => {
                let before = self.before(state).map(|(_, members)| members);
                let mut out = before.into_iter().flatten().filter(|sender| !self.live.contains(sender));
                if out.any(|sender| self.evicted.contains(sender)) {
                    self.hard.insert(state);
                }
                self.states.insert(state, self.live.clone());
                if std::mem::take(&mut self.eviction) {
                    self.after_eviction.insert(state);
                }
            }
        }
    }

    /// What is known of a registration.
    pub fn registered(&self, sender: SenderId) -> Option<&Registered> {
        self.registered.get(&sender)
    }

    /// All registrations there ever were.
    pub fn registrations(&self) -> impl Iterator<Item = (SenderId, &Registered)> {
        self.registered.iter().map(|(sender, registered)| (*sender, registered))
    }

    /// Whether a registration was in at a state; no state, nobody.
    pub fn was_in(&self, sender: SenderId, state: StateId) -> bool {
        self.states.get(&state).is_some_and(|members| members.contains(&sender))
    }

    /// The members of a state.
    pub fn members(&self, state: StateId) -> Option<&BTreeSet<SenderId>> {
        self.states.get(&state)
    }

    /// All states cut so far, ascending, with their members.
    pub fn states(&self) -> impl DoubleEndedIterator<Item = (StateId, &BTreeSet<SenderId>)> {
        self.states.iter().map(|(state, members)| (*state, members))
    }

    /// The state before another one.
    pub fn before(&self, state: StateId) -> Option<(StateId, &BTreeSet<SenderId>)> {
        self.states.range(..state).next_back().map(|(state, members)| (*state, members))
    }

    /// Whether somebody was evicted between a state's cut and the one before.
    pub fn has_eviction(&self, state: StateId) -> bool {
        self.after_eviction.contains(&state)
    }

    /// Whether a state puts out somebody who was evicted before its cut.
    pub fn puts_out_an_evicted(&self, state: StateId) -> bool {
        self.hard.contains(&state)
    }
}
