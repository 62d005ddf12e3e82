//! Renewal at the manager: who has held every leaf secret is out, and what it knows must open nothing (DESIGN: failover).
//!
//! Standbys and former managers are marked in the journal. When such a node is out, the next key update is the first of a
//! new term, and every leaf secret and unicast key in it is one that the node cannot know.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crypto::{ExchangePublic, ExchangeSecret, Secret};
use protocol::limits::{RENEWAL_REPEATED, RETURN_TIME};
use protocol::{Epoch, Instant, Registration, Rejected, Renewal, SenderId, StateId, ToManager, Transmit};

use crate::event::GsmEvent;
use crate::gsm::{Gsm, Timer};
use crate::journal::JournalEntry;

/// From a renewal that could not begin to the next attempt.
const RETRY: Duration = Duration::from_secs(1);

/// A renewal that is recorded, and that not all members may have heard of.
#[derive(Debug)]
pub(crate) struct Renewing {
    /// The datagram.
    datagram: Vec<u8>,
    /// Until when it goes out with each alarm; `None` before its key update is out.
    until: Option<Instant>,
    /// The unicast keys before it, of members that were not heard under their new one.
    former: BTreeMap<SenderId, Secret<32>>,
}

/// What was recorded of a renewal, before its start has a name.
#[derive(Debug)]
pub(crate) struct Renewed {
    number: u16,
    leaf_steps: u16,
    key: ExchangePublic,
    former: BTreeMap<SenderId, Secret<32>>,
}

impl Gsm {
    /// Whether a node that knows every leaf secret is out, and can be shut out: a journal that does not add up, or 65,535
    /// renewals, allow none.
    pub(crate) fn is_renewal_due(&self) -> bool {
        if !self.sound || self.ledger.renewals == u16::MAX {
            return false;
        }
        !self.ledger.trusted.exposed.is_empty() || self.tenure.overdue
    }

    /// Records a renewal if one is due: the start that follows it is one with other leaf secrets.
    pub(crate) fn renew_if_due(&mut self) -> Option<Renewed> {
        if !self.is_renewal_due() {
            return None;
        }
        let number = self.ledger.renewals.checked_add(1)?;
        let leaf_steps = self.ledger.leaf_steps;
        let former = self.ledger.members.values();
        let former = former.map(|member| (member.sender, member.unicast.clone())).collect();
        let secret = Secret::random(&mut *self.rng.0);
        let key = ExchangeSecret::from_bytes(secret.clone()).public_key();
        self.record_always(JournalEntry::Renewed { group: self.domain.group, number, secret });
        self.tenure.overdue = false;
        Some(Renewed { number, leaf_steps, key, former })
    }

    /// The renewal's start is recorded too: members can be told when that is durable.
    pub(crate) fn announce_renewed(&mut self, renewed: Option<Renewed>) {
        let Some(Renewed { number, leaf_steps, key, former }) = renewed else { return };
        let start = StateId { term: self.ledger.term, inst: self.inst, epoch: Epoch(0) };
        let renewal = Renewal { start, number, leaf_steps, key };
        let datagram = renewal.encode(&self.domain, &*self.signer.0);
        self.tenure.renewing = Some(Renewing { datagram, until: None, former });
        let why = std::mem::take(&mut self.tenure.out);
        let commit = self.outbox.last_commit();
        self.outbox.tell_after(commit, GsmEvent::Renewed { number, term: start.term, why });
    }

    /// The first key update after it goes out now: whoever hears this first can open it.
    pub(crate) fn begin_renewal(&mut self, now: Instant) {
        if let Some(renewing) = &mut self.tenure.renewing {
            renewing.until.get_or_insert(now + RENEWAL_REPEATED);
        }
        self.repeat_renewal(now);
    }

    /// With each alarm, for a while.
    pub(crate) fn repeat_renewal(&mut self, now: Instant) {
        let Some(renewing) = &self.tenure.renewing else { return };
        if renewing.until.is_some_and(|until| now <= until) {
            let transmit = self.transmitter.multicast(renewing.datagram.clone());
            self.outbox.send(transmit);
        }
    }

    /// What a member says under the unicast key before a renewal brings it that renewal, and nothing else: somebody who is
    /// out knows the key too.
    pub(crate) fn on_former_key(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: SenderId,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let Some(renewing) = &self.tenure.renewing else { return Err(Rejected::NotAuthentic) };
        let key = renewing.former.get(&sender).ok_or(Rejected::NotAuthentic)?;
        let registration = Registration { domain: &self.domain, sender, key };
        ToManager::open(&registration, bytes)?;
        let told = renewing.until.is_some();
        let listed = self.members.get_mut(sender).ok_or(Rejected::UnknownSender)?;
        if !told || !listed.resync_answers.take(now) || !self.resync_answers.take(now) {
            return Err(Rejected::OverBudget);
        }
        let bytes = renewing.datagram.clone();
        self.outbox.send(Transmit::Unicast { to: from, bytes });
        Ok(())
    }

    /// A member speaks under its newest unicast key.
    pub(crate) fn on_newest_key(&mut self, sender: SenderId) {
        if let Some(renewing) = &mut self.tenure.renewing {
            renewing.former.remove(&sender);
        }
    }

    /// Former managers that know every leaf secret may come back as members, for a while.
    pub(crate) fn await_return(&mut self, now: Instant) {
        if self.ledger.trusted.awaited().next().is_some() {
            self.timers.set(Timer::Return, now + RETURN_TIME);
        }
    }

    /// That while is over.
    pub(crate) fn on_return_due(&mut self, now: Instant) {
        if self.ledger.trusted.awaited().next().is_none() {
            return;
        }
        self.tenure.overdue = true;
        if self.is_turning() || self.handing.is_under_way() {
            self.timers.set(Timer::Return, now + RETRY);
        } else {
            self.begin_term(now);
        }
    }

    /// One that must never come back is not waited for.
    pub(crate) fn hasten_return(&mut self) {
        let mut awaited = self.ledger.trusted.awaited();
        if awaited.any(|former| self.policy.is_revoked_identity(&former.identity)) {
            self.timers.set_earlier(Timer::Return, Instant::ZERO);
        }
    }
}
