//! What whoever takes over must know before this manager gives way to it: who was shut out, and who holds every leaf secret.
//!
//! A manager that many members no longer hear may be taken over from while it still acts, with standbys it does not wait for
//! any more. The proof of that silences it at once, unless it has told somebody of an act that its successor was never told.
//! It merges with that one instead, and hands the act over.

use std::collections::{BTreeMap, VecDeque};

use protocol::limits::STANDBYS;
use protocol::{Commit, SenderId};

/// Standbys that are remembered, those that are gone among them. A manager that forgets one merges with it.
const MAX_REMEMBERED: usize = 8 * STANDBYS;

/// The binding records of one manager, and how far each standby has followed it.
#[derive(Debug, Default)]
pub(crate) struct Binding {
    /// The newest that somebody was told of.
    told: Commit,
    /// Those that nobody was told of yet, oldest first.
    waiting: VecDeque<Commit>,
    /// The newest record that each standby has confirmed, whether or not it still follows.
    followed: BTreeMap<SenderId, Commit>,
}

impl Binding {
    /// A binding record was asked for; `at_once` says that what depends on it does not wait.
    pub(crate) fn on_record(&mut self, commit: Commit, at_once: bool) {
        if at_once {
            self.told = self.told.max(commit);
        } else {
            self.waiting.push_back(commit);
        }
    }

    /// Everything up to here may be told.
    pub(crate) fn on_released(&mut self, upto: Commit) {
        while let Some(commit) = self.waiting.pop_front_if(|commit| *commit <= upto) {
            self.told = self.told.max(commit);
        }
    }

    /// A standby confirms that it holds everything up to here.
    pub(crate) fn on_followed(&mut self, sender: SenderId, upto: Commit) {
        self.followed.insert(sender, upto);
        if self.followed.len() > MAX_REMEMBERED {
            self.followed.pop_first();
        }
    }

    /// Whether somebody was told of what this successor may not know.
    pub(crate) fn is_unknown_to(&self, successor: SenderId) -> bool {
        self.told > self.followed.get(&successor).copied().unwrap_or_default()
    }
}
