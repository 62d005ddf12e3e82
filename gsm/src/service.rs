//! What a manager does for members between key updates: alarms, repair, keepalives, leaves (GSM 3.5, 3.6; KS 4.2).

use std::net::SocketAddr;

use protocol::{
    Alarm, Instant, Nak, Registration, Rejected, ResyncAnswer, SenderId, Timing, ToManager, ToMember,
    Transmit, claimed_sender,
};

use crate::event::Departure;
use crate::gsm::{Gsm, Timer};
use crate::key_manager::Current;
use crate::member_list::Standing;

/// Own alarms remembered, to tell them from another start's when the network hands them back.
const OWN_ALARMS: usize = 16;

impl Gsm {
    /// Says that the manager lives, and what the state is. The next alarm is due one interval after this one *was
    /// due*, so that a busy moment makes one alarm late and not all that follow; after one that was not due yet (a
    /// key update has just been cut), one interval from now.
    pub(crate) fn send_alarm(&mut self, now: Instant) {
        let Some(bytes) = self.next_alarm(now) else { return };
        let interval = self.config.timing.alarm_interval;
        let next = self.alarm_due.min(now) + interval;
        self.alarm_due = if next > now { next } else { now + interval };
        self.timers.set(Timer::Alarm, self.alarm_due);
        self.announce_revocations();
        self.repeat_renewal(now);
        let transmit = self.transmitter.multicast(bytes);
        self.outbox.send(transmit);
    }

    /// The next alarm, signed.
    pub(crate) fn alarm(&mut self, now: Instant, current: &Current) -> Vec<u8> {
        self.alarms += 1;
        let (message_root, message_packets) =
            self.transmitter.newest().unwrap_or((crypto::MerkleHash([0; 16]), 0));
        let tree = self.keys.tree();
        let successors = self.policy.successors(self.own);
        let alarm = Alarm {
            state: current.state,
            counter: self.alarms,
            journal: self.outbox.stored().0,
            root: tree.root().map(|(version, _)| version).unwrap_or_default(),
            height: tree.height(),
            leaf_steps: tree.leaf_steps(),
            key_check: current.key_check,
            hard: current.hard,
            activation: self.config.timing.activation(current.hard),
            message_root,
            message_packets,
            oldest: self.activation.oldest_of(current.state).unwrap_or(current.state.epoch),
            roster: self.policy.roster().version,
            policy: self.policy.digest(),
            next_rekey: self
                .timers
                .due(Timer::Rekey)
                .map(|due| due.saturating_since(now))
                .unwrap_or_default(),
            path: Vec::new(),
            in_step: self.in_step_bits(&successors),
            successors,
            members: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            renewals: self.ledger.renewals,
        };
        let bytes = alarm.encode(&self.domain, &*self.signer.0);
        self.on_alarm_made(alarm);
        self.keep_own_alarm(bytes.clone());
        bytes
    }

    /// Remembers an alarm, to know it when the network hands it back.
    pub(crate) fn keep_own_alarm(&mut self, bytes: Vec<u8>) {
        self.own_alarms.push_back(bytes);
        if self.own_alarms.len() > OWN_ALARMS {
            self.own_alarms.pop_front();
        }
    }

    /// A member lost a key update: what serves it goes out at once (GSM 3.6).
    pub(crate) fn on_nak(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Result<(), Rejected> {
        let prefilters = &self.prefilters;
        let nak = Nak::verify(bytes, &self.domain, |epoch| prefilters.get(&epoch))?;
        let repairs = self.transmitter.repair(now, self.config.timing.nak_wait, from, &nak)?;
        repairs.into_iter().for_each(|repair| self.outbox.send(repair));
        Ok(())
    }

    /// A packet of a key update, from a member that answered a NAK or back from the network.
    pub(crate) fn on_answered(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        if from == self.config.address {
            return Err(Rejected::NotForUs);
        }
        self.transmitter.on_heard(now, self.config.timing.nak_wait, bytes)
    }

    /// A member speaks under its unicast key.
    pub(crate) fn on_unicast(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        if self.is_starting() {
            return Err(Rejected::OutOfPlace);
        }
        let sender = claimed_sender(bytes)?;
        let listed = self.members.get(sender).ok_or(Rejected::UnknownSender)?;
        let registration = Registration { domain: &self.domain, sender, key: &listed.unicast };
        let message = match ToManager::open(&registration, bytes) {
            Err(Rejected::NotAuthentic) => return self.on_former_key(now, from, sender, bytes),
            opened => opened?.into_inner(),
        };
        self.on_newest_key(sender);
        match message {
            ToManager::Keepalive { counter, held } => {
                let listed = self.members.get_mut(sender).ok_or(Rejected::UnknownSender)?;
                if counter <= listed.counter {
                    return Err(Rejected::Stale);
                }
                (listed.counter, listed.held) = (counter, held);
                (listed.heard, listed.address) = (now, Some(from));
                Ok(())
            }
            ToManager::Resync { nonce, .. } => self.on_resync(now, from, sender, nonce),
            ToManager::Revocations { nonce, from: place } => {
                self.on_catch_up(now, from, sender, nonce, place)
            }
            ToManager::Leave { nonce } => {
                self.on_leave(now, from, sender, nonce);
                Ok(())
            }
            ToManager::Probe { nonce } => self.on_probe(now, from, sender, nonce),
            ToManager::Credential { nonce } => self.on_credential(now, from, sender, nonce),
            ToManager::Evidence { nonce, issuer, revocations } => {
                self.on_evidence(now, from, sender, (nonce, issuer, &revocations))
            }
        }
    }

    /// Sends a member everything it needs to be where the manager is; without keys while its join is not cut, or once
    /// it is out.
    fn on_resync(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: SenderId,
        nonce: u64,
    ) -> Result<(), Rejected> {
        let current = self.keys.current().cloned().ok_or(Rejected::OutOfPlace)?;
        let listed = self.members.get_mut(sender).ok_or(Rejected::UnknownSender)?;
        // A recorded request, sent again from a forged address, would have the manager throw answers at somebody.
        if nonce <= listed.resynced {
            return Err(Rejected::Stale);
        }
        if !listed.resync_answers.take(now) || !self.resync_answers.take(now) {
            return Err(Rejected::OverBudget);
        }
        listed.resynced = nonce;
        let revoked = self.policy.is_revoked(&listed.identity, &listed.certificate);
        let path = match listed.standing {
            Standing::In if !revoked => self.keys.path(listed.reg_no).unwrap_or_default(),
            _ => Vec::new(),
        };
        let alarm = self.alarm(now, &current);
        self.answer(sender, from, &ToMember::Resync(ResyncAnswer { nonce, alarm, path }), None);
        Ok(())
    }

    /// A member leaves by itself: durable first, then answered; out with the next cut (GSM 3.5).
    fn on_leave(&mut self, now: Instant, from: SocketAddr, sender: SenderId, nonce: u64) {
        let leaving = self.members.get(sender).is_some_and(|listed| listed.standing == Standing::Leaving);
        // Whoever takes the office next takes it out: it asks again.
        if sender == self.own || self.handing.is_under_way() {
            return;
        }
        let answer = ToMember::LeaveTaken { nonce };
        if leaving {
            // The first answer was lost, or still waits. Its record is at the latest the newest one.
            // In read-only mode nobody waits for the store.
            let waits = self.outbox.awaited((sender, std::mem::discriminant(&answer)));
            let commit = waits.unwrap_or_else(|| self.outbox.last_commit());
            let commit = if self.read_only { protocol::Commit(0) } else { commit };
            self.answer(sender, from, &answer, Some(commit));
            return;
        }
        // Sealed before the departure, which may take the member's key off the list.
        let sealed = self.seal_to(sender, &answer);
        let commit = self.depart(sender, Departure::Left);
        if let (Some(bytes), Some(commit)) = (sealed, commit) {
            let asked = (sender, std::mem::discriminant(&answer));
            self.outbox.answer_after(commit, asked, Transmit::Unicast { to: from, bytes });
        }
        if self.keys.has_pending() {
            self.schedule_cut(now);
        }
    }

    pub(crate) fn answer(
        &mut self,
        sender: SenderId,
        to: SocketAddr,
        message: &ToMember,
        after: Option<protocol::Commit>,
    ) {
        let Some(bytes) = self.seal_to(sender, message) else { return };
        let transmit = Transmit::Unicast { to, bytes };
        match after {
            Some(commit) => {
                self.outbox.answer_after(commit, (sender, std::mem::discriminant(message)), transmit);
            }
            None => self.outbox.send(transmit),
        }
    }

    fn seal_to(&mut self, sender: SenderId, message: &ToMember) -> Option<Vec<u8>> {
        let listed = self.members.get(sender)?;
        let registration = Registration { domain: &self.domain, sender, key: &listed.unicast };
        Some(message.seal(&registration, &mut *self.rng.0))
    }

    /// Members unheard for three keepalives leave with the next batch.
    pub(crate) fn expire_members(&mut self, now: Instant) {
        let timing = self.config.timing;
        self.timers.set(Timer::Expiry, now + timing.keepalive);
        if self.handing.is_under_way() {
            return;
        }
        let deadline = timing.keepalive * Timing::MISSED_KEEPALIVES;
        let silent: Vec<SenderId> = self
            .members
            .iter()
            .filter(|listed| listed.sender != self.own && listed.standing != Standing::Leaving)
            .filter(|listed| now.saturating_since(listed.heard) > deadline)
            .map(|listed| listed.sender)
            .collect();
        for sender in silent {
            self.depart(sender, Departure::Silent);
        }
        if self.keys.has_pending() {
            self.schedule_cut(now);
        }
    }
}
