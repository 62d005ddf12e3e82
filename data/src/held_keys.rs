//! The receiving half of a ring, as the opener holds it: what is cut is gone, and never comes back.

use crypto::{Secret, Suite};
use protocol::{GroupId, Instant, SenderId, StateId, SubgroupId};

use crate::outcome::DropReason;
use crate::packet::{KeyName, Packet};
use crate::ring::{Departed, KeyRing};

/// The keys an opener receives under, and whom it hears.
pub(crate) struct HeldKeys {
    suite: Suite,
    group: GroupId,
    subgroup: SubgroupId,
    own: SenderId,
    /// Oldest first.
    keys: Vec<HeldKey>,
    /// By sender.
    departed: Vec<Departed>,
    /// The newest state that is or was held.
    newest: Option<StateId>,
    /// The newest state any signed message named, held or not.
    known: Option<StateId>,
    /// The newest state that was cut. No state up to it is received under again, whatever a later ring says:
    /// a key that is installed twice would let everything sent under it be replayed.
    cut: Option<StateId>,
    /// When the next key is cut.
    next_cut: Option<Instant>,
}

/// One group key to receive under.
pub(crate) struct HeldKey {
    pub(crate) state: StateId,
    pub(crate) key: Secret<32>,
    name: KeyName,
    until: Option<Instant>,
}

impl HeldKeys {
    /// The keys of `ring` at `now`, after those of `last`.
    pub(crate) fn new(now: Instant, ring: &KeyRing, last: Option<&Self>) -> Self {
        let last = last.filter(|last| last.is_of(ring));
        // A key that the new ring does not name is as good as cut.
        let gone = |state: &StateId| ring.receive.iter().all(|key| key.state != *state);
        let cut =
            last.and_then(|last| last.keys.iter().map(|key| key.state).filter(gone).max().max(last.cut));
        let mut keys: Vec<_> = ring
            .receive
            .iter()
            .map(|key| HeldKey {
                state: key.state,
                key: key.key.clone(),
                name: KeyName::of(key.state),
                until: key.cut(ring.hard_floor),
            })
            .collect();
        keys.sort_by_key(|key| key.state);
        let mut departed = ring.departed.clone();
        departed.sort_by_key(|departed| (departed.sender, departed.from));
        departed.dedup_by_key(|departed| departed.sender);
        let newest = ring.newest().max(last.and_then(|last| last.newest));
        let known = ring.known.max(last.and_then(|last| last.known));
        let KeyRing { suite, group, subgroup, own, .. } = *ring;
        let mut held =
            Self { suite, group, subgroup, own, keys, departed, newest, known, cut, next_cut: None };
        held.cut_at(now);
        held
    }

    /// Whether `ring` is for the place these keys are for; else their states cannot be compared.
    pub(crate) fn is_of(&self, ring: &KeyRing) -> bool {
        (self.suite, self.group, self.subgroup) == (ring.suite, ring.group, ring.subgroup)
    }

    /// Whether a key is due to be cut at `now`.
    pub(crate) fn cut_is_due(&self, now: Instant) -> bool {
        self.next_cut.is_some_and(|next| next <= now)
    }

    /// Drops the keys whose cut has come, and every key older than one of them.
    pub(crate) fn cut_at(&mut self, now: Instant) {
        let due = |key: &&HeldKey| key.until.is_some_and(|until| until <= now);
        self.cut = self.keys.iter().filter(due).map(|key| key.state).max().max(self.cut);
        let cut = self.cut;
        self.keys.retain(|key| Some(key.state) > cut);
        self.next_cut = self.keys.iter().filter_map(|key| key.until).min();
    }

    /// Whether the packet is for these keys at all, and from somebody to listen to.
    pub(crate) fn admit(&self, now: Instant, packet: &Packet<'_>) -> Result<(), DropReason> {
        let Packet { outer, inner, .. } = packet;
        if (outer.group, outer.subgroup) != (self.group, self.subgroup) {
            return Err(DropReason::OtherGroup);
        }
        if outer.suite != self.suite {
            return Err(DropReason::OtherSuite);
        }
        if outer.sender == self.own || inner.sender == self.own {
            return Err(DropReason::Own);
        }
        // Unrelayed, both parts are the sender's; relayed, it came from elsewhere.
        let home = inner.origin == outer.subgroup;
        if (outer.hop == 0) != home || (home && inner.sender != outer.sender) {
            return Err(DropReason::Mismatch);
        }
        if self.has_departed(now, outer.sender) || self.has_departed(now, inner.sender) {
            return Err(DropReason::Departed);
        }
        Ok(())
    }

    /// The keys of that name: one, or by a rare coincidence more.
    pub(crate) fn candidates(&self, name: KeyName) -> impl Iterator<Item = &HeldKey> {
        self.keys.iter().filter(move |key| key.name == name)
    }

    /// Whether a key of that name, which is not held, may be still to come.
    ///
    /// Within one start of the manager later epochs are. While a later start is known and no key of it is held, any
    /// name may be of that one, for its epochs begin anew.
    pub(crate) fn is_to_come(&self, name: KeyName) -> bool {
        let Some(newest) = self.newest else { return true };
        let restarted = self.known.is_some_and(|known| known > newest && !known.same_start(newest));
        (restarted || name.epoch > newest.epoch) && self.candidates(name).next().is_none()
    }

    /// Whether `state` is received under.
    pub(crate) fn holds(&self, state: StateId) -> bool {
        self.keys.iter().any(|key| key.state == state)
    }

    /// The newest state that is or was held.
    pub(crate) const fn newest(&self) -> Option<StateId> {
        self.newest
    }

    /// The newest state that was cut.
    pub(crate) const fn cut(&self) -> Option<StateId> {
        self.cut
    }

    fn has_departed(&self, now: Instant, sender: SenderId) -> bool {
        let found = self.departed.binary_search_by_key(&sender, |departed| departed.sender);
        found.is_ok_and(|at| self.departed[at].from <= now)
    }
}

#[cfg(test)]
impl HeldKeys {
    /// Gives all keys one name, as chance would.
    pub(crate) fn rename_all(&mut self, name: KeyName) {
        self.keys.iter_mut().for_each(|key| key.name = name);
    }
}
