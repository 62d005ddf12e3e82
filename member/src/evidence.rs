//! Evictions by the managers before that the present one does not know of (DESIGN: failover; attack A29).

use std::collections::BTreeSet;

use crypto::PublicKey;
use protocol::limits::{MAX_REVOCATIONS_A_PACKET, RESYNC_INTERVAL};
use protocol::{Instant, Rejected, Revocation, SignedRevocation, ToManager};
use rand_core::CryptoRng;

use crate::registration::jitter;
use crate::revocations::Revocations;

/// The longest random wait before evidence is shown: all members know the same, and what one shows the manager tells all.
const DELAY: std::time::Duration = std::time::Duration::from_secs(2);

/// Shows a manager that took over whom its predecessors evicted and it does not name. Each revocation proves itself.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    due: Option<Instant>,
    /// What was shown last, and with which nonce.
    shown: Option<(u64, Vec<Revocation>)>,
    /// What the manager has taken note of; it may know better.
    taken: BTreeSet<Revocation>,
    /// The list as it was looked through last, by its changes.
    looked_at: Option<u64>,
}

impl Evidence {
    pub(crate) const fn new() -> Self {
        Self { due: None, shown: None, taken: BTreeSet::new(), looked_at: None }
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The member knows the manager's whole list. `former` are the managers before.
    pub(crate) fn on_caught_up(
        &mut self,
        now: Instant,
        list: &Revocations,
        former: &[PublicKey],
        rng: &mut dyn CryptoRng,
    ) {
        if former.is_empty() || self.looked_at.replace(list.changes()) == Some(list.changes()) {
            return;
        }
        if self.due.is_none() && self.lacking(list, former).is_some() {
            self.due = Some(now + jitter(rng, DELAY));
        }
    }

    /// Called when it is due: what to show.
    pub(crate) fn on_due(
        &mut self,
        now: Instant,
        list: &Revocations,
        former: &[PublicKey],
    ) -> Option<ToManager> {
        self.due = None;
        let (issuer, revocations) = self.lacking(list, former)?;
        let nonce = now.micros();
        self.shown = Some((nonce, revocations.iter().map(|signed| signed.revocation).collect()));
        self.due = Some(now + RESYNC_INTERVAL);
        Some(ToManager::Evidence { nonce, issuer, revocations })
    }

    /// The manager has taken what was shown.
    pub(crate) fn on_taken(&mut self, nonce: u64) -> Result<(), Rejected> {
        let (_, revocations) =
            self.shown.take_if(|(shown, _)| *shown == nonce).ok_or(Rejected::OutOfPlace)?;
        self.taken.extend(revocations);
        Ok(())
    }

    /// The next that the manager does not name, by one issuer.
    fn lacking(
        &self,
        list: &Revocations,
        former: &[PublicKey],
    ) -> Option<(PublicKey, Vec<SignedRevocation>)> {
        former.iter().find_map(|issuer| {
            let lacking = list.by(issuer).filter(|signed| !self.taken.contains(&signed.revocation));
            let lacking: Vec<_> = lacking.take(MAX_REVOCATIONS_A_PACKET).collect();
            (!lacking.is_empty()).then_some((*issuer, lacking))
        })
    }
}
