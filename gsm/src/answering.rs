//! What a manager answers to members that doubt it, or know what it does not: probes, suspicions, credentials, evidence
//! (DESIGN: failover; attacks A27, A29).

use std::net::SocketAddr;

use crypto::PublicKey;
use protocol::{
    Budget, Credential, Instant, Rejected, Revocation, SenderId, SignedRevocation, Suspicion, ToMember,
};

use crate::gsm::Gsm;

/// Questions of one member that are answered in a second: a probe is asked twice, and a suspicion follows.
const ANSWERS_PER_SECOND: u32 = 4;

/// The nonces of a member's newest questions of each kind, so that a recorded one brings nobody an answer, and how many
/// more are answered.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    probe: u64,
    credential: u64,
    evidence: u64,
    answers: Budget,
}

impl Asked {
    pub(crate) const fn new() -> Self {
        let answers = Budget::new(ANSWERS_PER_SECOND, ANSWERS_PER_SECOND);
        Self { probe: 0, credential: 0, evidence: 0, answers }
    }

    /// Takes a question if it is a new one and there is budget for it.
    fn take(&mut self, now: Instant, which: fn(&mut Self) -> &mut u64, nonce: u64) -> Result<(), Rejected> {
        if nonce <= *which(self) {
            return Err(Rejected::Stale);
        }
        if !self.answers.take(now) {
            return Err(Rejected::OverBudget);
        }
        *which(self) = nonce;
        Ok(())
    }
}

impl Gsm {
    /// A member has heard no alarm for long: an alarm of its own for it, which is newer than any before.
    pub(crate) fn on_probe(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: SenderId,
        nonce: u64,
    ) -> Result<(), Rejected> {
        let listed = self.members.get_mut(sender).ok_or(Rejected::UnknownSender)?;
        listed.asked.take(now, |asked| &mut asked.probe, nonce)?;
        if !self.resync_answers.take(now) {
            return Err(Rejected::OverBudget);
        }
        let alarm = self.next_alarm(now).ok_or(Rejected::OutOfPlace)?;
        self.answer(sender, from, &ToMember::Alive { nonce, alarm }, None);
        Ok(())
    }

    /// A member says that it holds this manager for lost: here it is.
    pub(crate) fn on_suspicion(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let prefilters = &self.prefilters;
        Suspicion::heard(bytes, &self.domain, |epoch| prefilters.get(&epoch))?;
        if !self.suspected.take(now) {
            return Err(Rejected::OverBudget);
        }
        self.send_alarm(now);
        Ok(())
    }

    /// A member's credential is by the manager before.
    pub(crate) fn on_credential(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: SenderId,
        nonce: u64,
    ) -> Result<(), Rejected> {
        let signer = &*self.signer.0;
        let listed = self.members.get_mut(sender).ok_or(Rejected::UnknownSender)?;
        if !listed.is_live() {
            return Err(Rejected::OutOfPlace);
        }
        listed.asked.take(now, |asked| &mut asked.credential, nonce)?;
        let credential = Credential::sign(&self.domain, sender, listed.signing, listed.eligible, signer);
        self.answer(sender, from, &ToMember::Credential { nonce, credential }, None);
        Ok(())
    }

    /// A member knows of evictions that this manager does not: by the manager before it, on the other side of a partition
    /// or with the last words it had. All of it is signed by that manager, which must not be out itself; who shows it does not
    /// matter.
    pub(crate) fn on_evidence(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: SenderId,
        (nonce, issuer, shown): (u64, PublicKey, &[SignedRevocation]),
    ) -> Result<(), Rejected> {
        if issuer != self.signer.0.public_key() {
            let former = self.ledger.trusted.former.iter().find(|former| former.key == issuer);
            let former = former.ok_or(Rejected::NotAuthentic)?;
            // One that was put out itself would have an insider put out whom it likes.
            if self.policy.is_revoked_node(&former.identity, &former.certificate) {
                return Err(Rejected::Refused);
            }
        }
        let listed = self.members.get_mut(sender).ok_or(Rejected::UnknownSender)?;
        listed.asked.take(now, |asked| &mut asked.evidence, nonce)?;
        let new: Vec<_> = shown.iter().filter(|signed| !self.policy.knows(&signed.revocation)).collect();
        if !self.alarm_checks.take_many(now, u32::try_from(new.len()).unwrap_or(u32::MAX)) {
            return Err(Rejected::OverBudget);
        }
        let verifier = &*self.config.verifier;
        if !new.iter().all(|signed| signed.verify(self.domain.group, &issuer, verifier)) {
            return Err(Rejected::NotAuthentic);
        }
        let own = Revocation::identity_hash(&self.config.identity);
        let revocations: Vec<_> = new.iter().map(|signed| signed.revocation).collect();
        let others = revocations.into_iter().filter(|revocation| revocation.identity != own);
        self.adopt(now, &others.collect::<Vec<_>>());
        let commit = self.outbox.last_commit();
        self.answer(sender, from, &ToMember::EvidenceTaken { nonce }, Some(commit));
        Ok(())
    }
}
