//! Taking over from a manager that is lost or hands its office on, and being taken over from (DESIGN: failover; GSM 3.5).
//!
//! The new manager goes on with the members of the old one in a term of its own, under its own registration. Its first words
//! are the proof that it may. Whoever hears the old manager is answered with it, and so is the old manager.

use std::net::SocketAddr;
use std::time::Duration;

use crypto::{PublicKey, Signer};
use member::Seat;
use protocol::limits::{LISTENING_INTERVALS, SUSPICION_SLACK, TAKEOVER_INTERVAL, TAKEOVER_REPEATED};
use protocol::{
    Alarm, Budget, Credential, DatagramKind, Envelope, Epoch, Instant, Office, Rejected, SenderId, StateId,
    Succession, Suspicion, Takeover, Transmit,
};
use rand_core::CryptoRng;

use crate::config::GsmConfig;
use crate::event::GsmEvent;
use crate::gsm::{Gsm, Timer};
use crate::journal::JournalEntry;
use crate::remembered::{Journal, Ledger, Remembered};
use crate::starting::Starting;
use crate::term::NewStart;

/// The waits after the first takeovers, so that one that is lost is made up for at once.
const QUICK: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];
/// Takeovers a second that the old manager's words may cause.
const ANSWERS_PER_SECOND: u32 = 4;

/// By what right a node becomes manager of the subgroup it is in.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The manager is lost.
    Suspected {
        /// The node's own credential, by that manager or the one before it.
        credential: Credential,
        /// Other members' words; enough of them.
        suspicions: Vec<Suspicion>,
    },
    /// The manager has signed it.
    Handed {
        /// The takeover.
        datagram: Vec<u8>,
    },
}

/// Everything a standby becomes manager with.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// Where its own journal goes on.
    pub(crate) journal: Journal,
    /// What that journal says.
    pub(crate) before: Option<Remembered>,
    /// The manager's state as the standby holds it; of a start that was prepared, the state after that start.
    pub(crate) held: Ledger,
    /// The node's own place as a member.
    pub(crate) seat: Seat,
    /// By what right.
    pub(crate) claim: Claim,
    /// The start that was made durable before the manager signed. `None`: it is to be recorded.
    pub(crate) start: Option<StateId>,
}

/// The proof that this node follows another manager, and to whom it was shown.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// Its datagram.
    datagram: Vec<u8>,
    /// The key of the manager before.
    former: PublicKey,
    /// How often it was sent, and until when it is repeated.
    said: usize,
    until: Option<Instant>,
    answers: Budget,
}

impl Gsm {
    /// The manager that follows another one in its subgroup: with its members, which register with nobody, and with the own
    /// node's registration and keys as they are. The configuration names the addresses and times the members were promised.
    ///
    /// Nothing goes out before the start is durable; then the claim, and a key update for everybody that opens with leaf
    /// secrets alone, so that nothing the old manager has cut meanwhile is of any use. It is soft where nobody is to be
    /// shut out: whoever hears of the new manager a little later than the others loses no packet by it.
    pub(crate) fn succeed(
        now: Instant,
        config: GsmConfig,
        signer: Box<dyn Signer>,
        rng: Box<dyn CryptoRng + Send>,
        inheritance: Inheritance,
    ) -> Self {
        let Inheritance { journal, before, held, seat, claim, start } = inheritance;
        let mut hard = shuts_out(&seat, held.cut);
        let mut gsm = Self::new(now, config, signer, rng, journal);
        gsm.config.subgroup = seat.domain.subgroup;
        gsm.domain = seat.domain;
        (gsm.own, gsm.activation) = (seat.sender, seat.activation);
        let former = seat.manager;
        let mut gone = Vec::new();
        match start {
            Some(start) => {
                gone.extend(held.departed.back());
                (gsm.ledger, gsm.inst) = (held, start.inst);
                gsm.put_out_revoked(seat.sender);
            }
            None => {
                gone.extend(held.start.as_ref().map(|start| start.own));
                let before = before.unwrap_or_else(Remembered::nothing);
                (gsm.ledger, gsm.since_snapshot) = (before.ledger, before.since_snapshot);
                let manager = held.start.as_ref().and_then(|start| held.member(start.own));
                let identity = manager.map(|manager| manager.identity.clone()).unwrap_or_default();
                gsm.record_always(JournalEntry::took_over(&held));
                gsm.ledger.term = gsm.ledger.term.max(seat.known.term);
                gsm.put_out_revoked(seat.sender);
                // Somebody may have been put out whom the manager before could not renew against any more.
                let renewed = gsm.renew_if_due();
                hard |= renewed.is_some();
                let NewStart { inst, commit, .. } = gsm.record_start(Some(seat.sender));
                (gsm.inst, gsm.started) = (inst, commit);
                gsm.announce_renewed(renewed);
                gsm.tenure.out = identity;
            }
        }
        gsm.snapshot_due = true;
        gsm.enter(now);
        if hard {
            gsm.keys.harden_next();
        }
        gsm.keys.let_go(gone);
        let handed = matches!(claim, Claim::Handed { .. });
        gsm.claim(former, seat.known, claim);
        let (members, term) = (gsm.members.len(), gsm.ledger.term);
        gsm.outbox.tell_after(gsm.started, GsmEvent::TookOffice { members, term, handed });
        gsm.serve(now);
        gsm
    }

    /// Makes the proof, to be shown with the first key update.
    fn claim(&mut self, former: PublicKey, known: StateId, claim: Claim) {
        let datagram = match claim {
            Claim::Handed { datagram } => datagram,
            Claim::Suspected { credential, suspicions } => {
                let registrars = self.config.presence.as_ref().map(|presence| &presence.registrars);
                let registrar = registrars.and_then(|registrars| registrars.first());
                let office = Office {
                    old: known,
                    start: StateId { term: self.ledger.term, inst: self.inst, epoch: Epoch(0) },
                    key: self.signer.0.public_key(),
                    sender: self.own,
                    address: self.config.address,
                    registrar: registrar.copied().unwrap_or(self.config.address),
                };
                Takeover::suspected(&self.domain, office, credential, &suspicions, &*self.signer.0)
            }
        };
        let answers = Budget::new(ANSWERS_PER_SECOND, ANSWERS_PER_SECOND);
        self.tenure.claimed = Some(Claimed { datagram, former, said: 0, until: None, answers });
    }

    /// The first key update goes out now: the proof goes before it.
    pub(crate) fn begin_claim(&mut self, now: Instant) {
        if self.tenure.claimed.as_ref().is_some_and(|claimed| claimed.until.is_none()) {
            self.on_claim_due(now);
        }
    }

    /// The proof is due once more.
    pub(crate) fn on_claim_due(&mut self, now: Instant) {
        let Some(claimed) = &mut self.tenure.claimed else { return };
        let until = *claimed.until.get_or_insert(now + TAKEOVER_REPEATED);
        if now > until {
            return;
        }
        let next = now + QUICK.get(claimed.said).copied().unwrap_or(TAKEOVER_INTERVAL);
        claimed.said += 1;
        let transmit = self.transmitter.multicast(claimed.datagram.clone());
        self.timers.set(Timer::Claim, next);
        self.outbox.send(transmit);
    }

    /// Somebody asks in the old manager's name, or speaks in it: whoever follows it has not heard.
    pub(crate) fn answer_former(&mut self, now: Instant) -> Result<(), Rejected> {
        if self.is_listening() {
            return Err(Rejected::Busy);
        }
        let Some(claimed) = &mut self.tenure.claimed else { return Err(Rejected::NotForUs) };
        if claimed.until.is_none() {
            return Err(Rejected::NotForUs);
        }
        if !claimed.answers.take(now) {
            return Err(Rejected::OverBudget);
        }
        let transmit = self.transmitter.multicast(claimed.datagram.clone());
        self.outbox.send(transmit);
        Ok(())
    }

    /// An alarm of this subgroup that is not of this manager's key.
    pub(crate) fn on_foreign_alarm(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let Some(claimed) = &self.tenure.claimed else { return Err(Rejected::NotAuthentic) };
        let (former, budget) = (claimed.former, (now, &mut self.alarm_checks));
        Alarm::verify(bytes, &self.domain, &former, &*self.config.verifier, budget)?;
        self.answer_former(now)
    }

    /// Another node says that it manages this subgroup: if it can prove that the members may believe it, this manager is
    /// none any more, from this moment on.
    ///
    /// What stands for silence here is the members' word: they did not hear this manager. Those who vouch must be members
    /// by its own list, and the successor one whom it has told everything; so nobody whom it has put out has a say. If it has
    /// told anybody of an act that the successor does not know, it does not give way before it has handed that over: it merges.
    pub(crate) fn on_takeover(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        if Envelope::for_domain(bytes, &self.domain)?.kind != DatagramKind::Takeover {
            return Err(Rejected::NotForUs);
        }
        let own = self.signer.0.public_key();
        let office = Takeover::claimed(&self.domain, bytes)?.office;
        if office.key == own {
            return Err(Rejected::NotForUs);
        }
        let successor = self.ledger.member(office.sender);
        if successor.is_none_or(|successor| !successor.eligible || successor.signing != office.key) {
            return Err(Rejected::UnknownSender);
        }
        let (identity, certificate) =
            successor.map(|one| (one.identity.clone(), one.certificate)).unwrap_or_default();
        if self.policy.is_revoked(&identity, &certificate) {
            return Err(Rejected::Refused);
        }
        // A start may have been taken over from in the state its journal ended with, whether or not it is in office yet.
        // One that has been in office again for longer merges, so that what it did is not lost.
        let resumed = self.tenure.resumed_from.filter(|_| self.alarms <= SUSPICION_SLACK);
        let resumed = resumed.filter(|held| held.same_start(office.old));
        let held = self.starting.as_ref().and_then(Starting::held).or(resumed);
        let known = held.unwrap_or_else(|| self.keys.state());
        let in_step: Vec<SenderId> = self.ledger.trusted.members.iter().copied().collect();
        let succession = Succession {
            domain: &self.domain,
            manager: own,
            former: self.ledger.trusted.former.back().map(|former| former.key),
            known,
            counter: if held.is_some() { 0 } else { self.alarms },
            in_step: &in_step,
            members: u32::try_from(self.ledger.members.len()).unwrap_or(u32::MAX),
            hard: Epoch(0),
            silent: true,
        };
        let (ledger, checks) = (&self.ledger, &mut self.alarm_checks);
        Takeover::verify_as_manager(
            bytes,
            &succession,
            &*self.config.verifier,
            |sender| ledger.member(sender).is_some(),
            |count| checks.take_many(now, count),
        )?;
        // Where managers are kept apart it would stay for ever, and the members follow the other one.
        if self.merges() && self.replication.binding.is_unknown_to(office.sender) {
            return Err(Rejected::Busy);
        }
        self.ledger.term = self.ledger.term.max(office.start.term);
        self.step_down(office.registrar, identity);
        Ok(())
    }

    /// This manager is none any more, and says nothing else. What it records is not waited for: silence comes first.
    pub(crate) fn step_down(&mut self, to: SocketAddr, identity: String) {
        for conn in self.registrar.connections() {
            self.outbox.forget(conn);
            self.outbox.send(Transmit::Close { conn });
        }
        self.dismiss_standbys();
        // Whoever follows may not have been told of what waits for its word.
        self.outbox.forget_held();
        self.keys.take_cut();
        self.starting = None;
        self.record(JournalEntry::SteppedDown);
        self.merging.end();
        let subgroup = self.domain.subgroup;
        self.outbox.tell(GsmEvent::SteppedDown { to, identity, subgroup });
    }

    /// Notes the time. A manager that was not run for half the silence may have been taken over from meanwhile: it says
    /// nothing before it has listened (attack A30).
    pub(crate) fn wake(&mut self, now: Instant) {
        let before = self.tenure.handled.replace(now).unwrap_or(now);
        if self.tenure.listens_until.is_some_and(|until| until <= now) {
            self.tenure.listens_until = None;
        }
        if now.saturating_since(before) > self.config.timing.silence / 2 && self.keys.current().is_some() {
            let interval = self.config.timing.alarm_interval;
            self.tenure.listens_until = Some(now + interval * LISTENING_INTERVALS);
        }
    }

    /// Whether it only listens, because it was not run for a while.
    pub(crate) const fn is_listening(&self) -> bool {
        self.tenure.listens_until.is_some()
    }

    /// Whether a datagram is heard by a manager that only listens: what tells it of another one.
    pub(crate) fn hears(&self, bytes: &[u8]) -> bool {
        let kind = Envelope::for_group(bytes, self.domain.group).map(|envelope| envelope.kind);
        matches!(kind, Ok(DatagramKind::Takeover | DatagramKind::Alarm | DatagramKind::Presence))
    }
}

/// Whether somebody may still have to be kept from reading: the newest key update that was heard is one that evicted, which
/// some may have missed, or is not the newest that was recorded. One that is evicted and not cut is seen in the journal.
fn shuts_out(seat: &Seat, cut: Option<StateId>) -> bool {
    cut != Some(seat.known) || seat.hard >= seat.known.epoch
}

impl JournalEntry {
    /// The record of a takeover from the manager whose state this is.
    pub(crate) fn took_over(ledger: &Ledger) -> Self {
        Self::TookOver { ledger: crate::journal::LedgerBytes::new(ledger.encode()) }
    }
}
