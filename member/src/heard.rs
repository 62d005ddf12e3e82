//! The managers a node has heard, each by its last verified presence.

use crypto::PublicKey;
use protocol::discovery::Presence;
use protocol::{Instant, SubgroupId};

/// Managers remembered; beyond, the one not heard for the longest time is forgotten.
const MAX_HEARD: usize = 8;

#[derive(Debug)]
struct Manager {
    key: PublicKey,
    subgroup: SubgroupId,
    at: Instant,
    datagram: Vec<u8>,
}

/// The last presence of each manager, so that it can be shown to newcomers when the manager has fallen silent.
#[derive(Debug, Default)]
pub(crate) struct Heard(Vec<Manager>);

impl Heard {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// A presence was verified, and was newer than any of the same manager.
    pub(crate) fn note(&mut self, now: Instant, presence: &Presence) {
        let (key, subgroup) = (presence.mandate.key, presence.domain.subgroup);
        let datagram = presence.datagram.clone();
        self.0.retain(|known| (known.key, known.subgroup) != (key, subgroup));
        if self.0.len() >= MAX_HEARD
            && let Some(oldest) = (0..self.0.len()).min_by_key(|at| self.0[*at].at)
        {
            self.0.remove(oldest);
        }
        self.0.push(Manager { key, subgroup, at: now, datagram });
    }

    /// The last presence of a manager, as it was sent.
    pub(crate) fn last_of(&self, key: &PublicKey, subgroup: SubgroupId) -> Option<&[u8]> {
        let known = self.0.iter().find(|known| known.key == *key && known.subgroup == subgroup)?;
        Some(&known.datagram)
    }
}
