//! Everything the adversary ever held.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crypto::{Position, Secret};
use data::KeyRing;
use keytree::KeyPath;
use protocol::{Grant, Peer, StateId};

/// Everything the adversary ever held. It only grows.
#[derive(Default)]
pub(super) struct Hoard {
    registration: Option<(Peer, Grant)>,
    secrets: Vec<HeldSecret>,
    group_keys: BTreeMap<StateId, Secret<32>>,
}

/// One secret of the key tree.
#[derive(Clone)]
pub(super) struct HeldSecret {
    /// Whose secret it was.
    pub(super) node: Position,
    /// The secret.
    pub(super) secret: Secret<32>,
    /// The first state in which it was held.
    since: StateId,
}

impl Hoard {
    /// Notes the registration; the first one counts, later ones are visits.
    pub(super) fn keep_registration(&mut self, peer: &Peer, grant: &Grant) {
        self.registration.get_or_insert_with(|| (peer.clone(), grant.clone()));
    }

    /// Notes the secrets of a member's path, which is that of the start of its manager that `start` is of.
    pub(super) fn keep_path(&mut self, start: StateId, path: &KeyPath) {
        let since = start.at(path.epoch());
        for (node, _, secret) in path.keys() {
            if !self.secrets.iter().any(|held| held.node == node && held.secret == *secret) {
                self.secrets.push(HeldSecret { node, secret: secret.clone(), since });
            }
        }
    }

    /// Notes the group keys of a ring.
    pub(super) fn keep_ring(&mut self, ring: &KeyRing) {
        ring.receive.iter().for_each(|key| self.keep_group_key(key.state, key.key.clone()));
        ring.send.iter().for_each(|key| self.keep_group_key(key.state, key.key.clone()));
    }

    /// Notes one group key.
    pub(super) fn keep_group_key(&mut self, state: StateId, key: Secret<32>) {
        self.group_keys.entry(state).or_insert(key);
    }

    /// What its manager granted.
    pub(super) fn grant(&self) -> Option<&Grant> {
        self.registration.as_ref().map(|(_, grant)| grant)
    }

    /// Who granted it, over which channel.
    pub(super) fn registration(&self) -> Option<&(Peer, Grant)> {
        self.registration.as_ref()
    }

    /// The newest state whose group key is held.
    pub(super) fn newest(&self) -> Option<StateId> {
        self.group_keys.keys().next_back().copied()
    }

    /// Every group key ever held.
    pub(super) const fn group_keys(&self) -> &BTreeMap<StateId, Secret<32>> {
        &self.group_keys
    }

    /// The secrets of the tree that were held before `state`.
    pub(super) fn secrets_before(&self, state: StateId) -> Vec<HeldSecret> {
        self.secrets.iter().filter(|held| held.since < state).cloned().collect()
    }
}

/// The hoard, whatever became of a task that held it.
pub(super) fn lock(hoard: &Mutex<Hoard>) -> MutexGuard<'_, Hoard> {
    hoard.lock().unwrap_or_else(PoisonError::into_inner)
}
