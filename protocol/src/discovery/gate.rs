//! The only way from a discovery datagram to a verified claim or presence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crypto::{Label, PublicKey, Suite, Verifier, hash};

use super::Hint;
use super::claim::Claim;
use super::mandate::{Certified, Certifier, Mandate};
use super::presence::Presence;
use super::search::Held;
use crate::Instant;
use crate::budget::Budget;
use crate::codec::Writer;
use crate::envelope::Verified;
use crate::ids::{GroupId, StateId, SubgroupId};
use crate::limits::{CERTIFICATE_CHECKS_PER_SECOND, SIGNATURE_CHECKS_PER_SECOND};
use crate::machine::Rejected;

/// Mandates remembered, so that a manager's certificate is checked once and not every two seconds.
const MAX_MANDATES: usize = 64;

/// Verifies claims and presences of one group. Every node has one.
///
/// Checks in order: length, version, kind, group → the mandate, known or by a certificate check under a budget, with the
/// manager role → the signature under a budget → newer than the last of that key and subgroup. Nothing is remembered before it is
/// verified.
pub struct DiscoveryGate {
    group: GroupId,
    verifier: Arc<dyn Verifier>,
    certifier: Arc<dyn Certifier>,
    mandates: VecDeque<([u8; 32], Certified)>,
    /// The newest presence of each key and subgroup, so that a recorded one says nothing. By subgroup, for a manager
    /// that lost its state begins another one and counts anew.
    newest: BTreeMap<(PublicKey, SubgroupId), (StateId, u64)>,
    certificates: Budget,
    signatures: Budget,
}

impl DiscoveryGate {
    /// A gate for one group.
    pub fn new(group: GroupId, verifier: Arc<dyn Verifier>, certifier: Arc<dyn Certifier>) -> Self {
        let half = SIGNATURE_CHECKS_PER_SECOND / 2;
        Self {
            group,
            verifier,
            certifier,
            mandates: VecDeque::new(),
            newest: BTreeMap::new(),
            certificates: Budget::new(CERTIFICATE_CHECKS_PER_SECOND, CERTIFICATE_CHECKS_PER_SECOND),
            signatures: Budget::new(half, half),
        }
    }

    /// Verifies a claim, and says who makes it.
    pub fn claim(&mut self, now: Instant, datagram: &[u8]) -> Result<Verified<(Claim, Certified)>, Rejected> {
        let (claim, content, signature) = Claim::decode(datagram, self.group)?;
        let certified = self.mandate(now, &claim.mandate)?;
        self.signed(now, &claim.mandate.key, &Claim::signed_part(content), &signature)?;
        Ok(Verified::new((claim, certified)))
    }

    /// Verifies a presence that came by the discovery lane. One that is not newer than the last of the
    /// same key and subgroup is stale.
    pub fn presence(&mut self, now: Instant, datagram: &[u8]) -> Result<Verified<Presence>, Rejected> {
        let read = Presence::decode(datagram, self.group)?;
        let key = (read.mandate.key, read.domain.subgroup);
        let place = (read.alarm.state, read.alarm.counter);
        if self.newest.get(&key).is_some_and(|newest| place <= *newest) {
            return Err(Rejected::Stale);
        }
        let presence = self.proven(now, datagram)?;
        if self.newest.len() >= MAX_MANDATES && !self.newest.contains_key(&key) {
            self.newest.pop_first();
        }
        self.newest.insert(key, place);
        Ok(presence)
    }

    /// Verifies the presence that a member passed on; it may be one that was heard before.
    pub fn held(&mut self, now: Instant, held: &Hint<Held>) -> Result<Verified<Presence>, Rejected> {
        self.proven(now, &held.said().presence)
    }

    fn proven(&mut self, now: Instant, datagram: &[u8]) -> Result<Verified<Presence>, Rejected> {
        let read = Presence::decode(datagram, self.group)?;
        let manager = self.mandate(now, &read.mandate)?;
        self.signed(now, &read.mandate.key, &Presence::signed_part(read.content), &read.signature)?;
        Ok(Verified::new(Presence {
            manager,
            mandate: read.mandate,
            registrars: read.registrars,
            domain: read.domain,
            alarm: read.alarm,
            datagram: datagram.to_vec(),
        }))
    }

    fn mandate(&mut self, now: Instant, mandate: &Mandate) -> Result<Certified, Rejected> {
        let mut writer = Writer::new();
        mandate.encode(&mut writer);
        let print = hash(Suite::Aes256Ctr, Label::MandatePrint, &[writer.as_bytes()]);
        if let Some((_, certified)) = self.mandates.iter().find(|(known, _)| *known == print) {
            return Ok(certified.clone());
        }
        if !self.certificates.take(now) {
            return Err(Rejected::OverBudget);
        }
        let message = Mandate::message(self.group, &mandate.key);
        let certified = self
            .certifier
            .certify(&mandate.certificate, &message, &mandate.signature)
            .filter(|certified| certified.roles.manager)
            .ok_or(Rejected::NotAuthentic)?;
        self.mandates.push_back((print, certified.clone()));
        if self.mandates.len() > MAX_MANDATES {
            self.mandates.pop_front();
        }
        Ok(certified)
    }

    fn signed(
        &mut self,
        now: Instant,
        key: &PublicKey,
        message: &[u8],
        signature: &crypto::Signature,
    ) -> Result<(), Rejected> {
        if !self.signatures.take(now) {
            return Err(Rejected::OverBudget);
        }
        if self.verifier.verify(key, message, signature) { Ok(()) } else { Err(Rejected::NotAuthentic) }
    }
}

impl std::fmt::Debug for DiscoveryGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiscoveryGate").field("group", &self.group).finish_non_exhaustive()
    }
}
