//! Start and restart: listen, take a new term, ask, serve (DESIGN: start and restart; attacks A14, A34, A35).
//!
//! A start that goes on in a subgroup first listens, for another start of this very manager may be at work. Then it takes
//! a new term, durable before a word is said, and asks its members for the newest they saw of it. If one of them knows
//! more than the journal, the journal is an old one: nobody is kept. Otherwise everybody is let in again with the first
//! key update, by the leaf secrets of the journal.

use std::collections::BTreeSet;

use keytree::Join as TreeJoin;
use member::Activation;
use protocol::limits::{LISTENING_INTERVALS, MEMBERS_ASKED, QUESTION_WAIT, SIGNATURE_CHECKS_PER_SECOND};
use protocol::{
    Alarm, Answer, Budget, Commit, ConnId, Domain, Envelope, Epoch, Farewell, Inst, Instant, Join, Question,
    Reader, Rejected, Revocation, SenderId, StateId, SubgroupId, Term, Transmit,
};

use crate::answering::Asked;
use crate::event::GsmEvent;
use crate::gsm::{Gsm, Timer};
use crate::journal::{JoinedEntry, JournalEntry};
use crate::key_manager::KeyManager;
use crate::member_list::{Listed, MemberList, Standing};
use crate::promised::Promised;
use crate::registrar::Registrar;
use crate::remembered::Remembered;
use crate::term::{NewStart, Tenure};

/// How often the question is asked within [`QUESTION_WAIT`]: a LAN loses packets.
const QUESTIONS: u32 = 3;
/// How often members are told where to register when nobody was kept.
const FAREWELLS: u32 = 3;
/// Signature checks that answers may cause at once: a start is asked about within [`QUESTION_WAIT`], has little else to do,
/// and must not miss the answers of its members in a flood of forged ones.
const ANSWER_CHECKS: u32 = 4 * SIGNATURE_CHECKS_PER_SECOND;
/// What an answer costs of them: a forged one shows itself by its alarm, or by its first revocation.
const CHECKS_AN_ANSWER: u32 = 2;
/// Different answers that are remembered. Members that saw the same say so in the same bytes, once for each question.
const ANSWERS_KEPT: usize = 64;
/// The share of a question that everybody shall answer.
const EVERYBODY: u16 = u16::MAX;

/// How far a start is that goes on in a subgroup.
#[derive(Debug)]
enum Phase {
    /// Nothing but listening, until the timer ends it.
    Listening,
    /// Nothing was heard; the record of the start is awaited.
    Recording,
    /// The question is out; `asked` times so far.
    Asking { nonce: u64, asked: u32 },
}

/// What a start has learned before it serves.
#[derive(Debug)]
pub(crate) struct Starting {
    phase: Phase,
    /// Whether the store said that something may be missing.
    doubtful: bool,
    /// The newest state and the newest record of the journal as it was found.
    held: Option<StateId>,
    last: Commit,
    /// The newest alarm of another start, or shown by a member.
    seen: Option<StateId>,
    /// The newest alarm of another start that was heard, and its counter: an older one come again says nothing.
    heard: Option<(StateId, u64)>,
    /// An alarm named a record that the journal does not have.
    records_missing: bool,
    /// Revocations shown that the journal does not have.
    shown: BTreeSet<Revocation>,
    /// Another start was heard and told of.
    told: bool,
    answers: Budget,
    /// Answers that were taken: the same one again says nothing new, and is not checked again.
    taken: Vec<Vec<u8>>,
    /// JOINs that came meanwhile: answered as soon as it serves.
    joins: Vec<(ConnId, Join)>,
}

impl Starting {
    fn new(held: Option<StateId>, last: Commit, doubtful: bool) -> Self {
        Self {
            phase: Phase::Listening,
            doubtful,
            held,
            last,
            seen: None,
            heard: None,
            records_missing: false,
            shown: BTreeSet::new(),
            told: false,
            answers: Budget::new(SIGNATURE_CHECKS_PER_SECOND, ANSWER_CHECKS),
            taken: Vec::new(),
            joins: Vec::new(),
        }
    }

    /// The newest state of the journal as it was found.
    pub(crate) const fn held(&self) -> Option<StateId> {
        self.held
    }

    /// A JOIN waits until it can be answered.
    pub(crate) fn keep(&mut self, conn: ConnId, join: Join) {
        self.joins.push((conn, join));
    }

    /// Another start lives, in this state.
    fn hear(&mut self, alarm: &Alarm) {
        self.sight(alarm);
        (self.heard, self.phase) = (Some((alarm.state, alarm.counter)), Phase::Listening);
    }

    fn sight(&mut self, alarm: &Alarm) {
        self.seen = self.seen.max(Some(alarm.state));
        self.records_missing |= alarm.journal > self.last.0;
    }

    /// Whether the journal is not what this manager last had.
    fn rolled_back(&self) -> bool {
        self.doubtful || self.records_missing || self.seen > self.held || !self.shown.is_empty()
    }
}

impl Gsm {
    /// Whether it still finds out whether it may speak, and with what.
    pub(crate) const fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// Begins a start with what is remembered.
    pub(crate) fn begin(&mut self, now: Instant, remembered: Remembered) {
        let Remembered { ledger, last, doubtful, since_snapshot } = remembered;
        let promised = Promised::of(&self.config, self.signer.0.public_key());
        let before = ledger.office().map(|start| (start.subgroup, start.promised == promised));
        (self.ledger, self.since_snapshot) = (ledger, since_snapshot);
        // What is broken, or void, is not kept for longer than it takes.
        self.snapshot_due |= doubtful;
        match before {
            Some((subgroup, true)) => {
                self.config.subgroup = subgroup;
                self.domain.subgroup = subgroup;
                self.starting = Some(Starting::new(self.ledger.newest(), last, doubtful));
                self.restore_members(false);
                let interval = self.config.timing.alarm_interval;
                self.timers.set(Timer::Start, now + interval * LISTENING_INTERVALS);
            }
            Some((_, false)) => {
                let members = self.ledger.members.len().saturating_sub(1);
                self.config.subgroup = SubgroupId(self.rng.0.next_u64());
                self.take_office();
                self.snapshot_due = true;
                self.outbox.tell_after(self.started, GsmEvent::StartedOver { members });
                self.serve(now);
            }
            None => {
                self.take_office();
                self.serve(now);
            }
        }
    }

    /// Gives up what it is doing and starts anew: another start of this manager is at work.
    fn begin_again(&mut self, now: Instant) {
        for conn in self.registrar.connections() {
            self.outbox.forget(conn);
            self.outbox.send(Transmit::Close { conn });
        }
        self.dismiss_standbys();
        self.registrar = Registrar::new();
        for timer in [Timer::Alarm, Timer::Rekey, Timer::Expiry, Timer::Refresh, Timer::Cut] {
            self.timers.stop(timer);
        }
        self.transmitter.begin_again();
        self.own_alarms.clear();
        (self.urgent, self.step_leaves, self.announcements) = (false, false, 0);
        let last = self.outbox.last_commit();
        let ledger = std::mem::take(&mut self.ledger);
        let doubtful = !self.sound;
        self.begin(now, Remembered { ledger, last, doubtful, since_snapshot: self.since_snapshot });
    }

    /// The timer of the start.
    pub(crate) fn on_start_due(&mut self, now: Instant) {
        let Some(starting) = &mut self.starting else { return };
        match starting.phase {
            Phase::Listening => {
                starting.phase = Phase::Recording;
                self.take_office();
                self.on_start_stored(now);
            }
            Phase::Recording => {}
            Phase::Asking { asked: QUESTIONS, .. } => self.conclude(now),
            Phase::Asking { nonce, asked } => {
                starting.phase = Phase::Asking { nonce, asked: asked + 1 };
                self.timers.set(Timer::Start, now + QUESTION_WAIT / QUESTIONS);
                self.ask(nonce);
            }
        }
    }

    /// The store reports: once the start is durable, the question may go out.
    pub(crate) fn on_start_stored(&mut self, now: Instant) {
        let durable = self.started <= self.durable;
        let nonce = self.rng.0.next_u64();
        if let Some(starting) = &mut self.starting
            && matches!(starting.phase, Phase::Recording)
            && durable
        {
            starting.phase = Phase::Asking { nonce, asked: 0 };
            self.on_start_due(now);
        }
    }

    fn ask(&mut self, nonce: u64) {
        let members = u32::try_from(self.ledger.members.len()).unwrap_or(u32::MAX);
        let share = if members <= MEMBERS_ASKED {
            EVERYBODY
        } else {
            let share = u64::from(MEMBERS_ASKED) * 65_536 / u64::from(members);
            u16::try_from(share).unwrap_or(EVERYBODY).max(1)
        };
        let question = Question { inst: self.inst, nonce, answer_to: self.config.address, share };
        let bytes = question.encode(&self.domain, &*self.signer.0);
        let transmit = self.transmitter.multicast(bytes);
        self.outbox.send_after(self.started, transmit);
    }

    /// A member shows the newest it saw of this manager. All of it is signed by ourselves; who sent it does not matter.
    pub(crate) fn on_answer(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let starting = self.starting.as_mut().ok_or(Rejected::NotForUs)?;
        let Phase::Asking { nonce, .. } = starting.phase else { return Err(Rejected::OutOfPlace) };
        let mut reader = Reader::new(bytes);
        reader.take(Envelope::LEN)?;
        if reader.u64()? != nonce {
            return Err(Rejected::Stale);
        }
        if starting.taken.iter().any(|taken| taken == bytes) {
            return Err(Rejected::Stale);
        }
        if !starting.answers.take_many(now, CHECKS_AN_ANSWER) {
            return Err(Rejected::OverBudget);
        }
        let manager = self.signer.0.public_key();
        let answer = Answer::open(bytes, &self.domain, &manager, &*self.config.verifier)?.into_inner();
        starting.sight(&answer.alarm);
        let shown = answer.revocations.iter().map(|signed| signed.revocation);
        starting.shown.extend(shown.filter(|revocation| !self.policy.knows(revocation)));
        if starting.taken.len() < ANSWERS_KEPT {
            starting.taken.push(bytes.to_vec());
        }
        Ok(())
    }

    /// An alarm of this subgroup came by multicast. Usually it is our own, looped back. Another one with our own signature
    /// comes from another start of this manager: an old one on its way out, a newer one, or a copy of this host.
    pub(crate) fn on_own_alarm(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        if self.own_alarms.iter().any(|own| own == bytes) {
            return Err(Rejected::NotForUs);
        }
        let manager = self.signer.0.public_key();
        let budget = (now, &mut self.alarm_checks);
        let alarm = match Alarm::verify(bytes, &self.domain, &manager, &*self.config.verifier, budget) {
            Err(Rejected::NotAuthentic) => return self.on_foreign_alarm(now, bytes),
            verified => verified?.into_inner(),
        };
        if self.starting.is_some() { self.hear(now, &alarm) } else { self.meet(now, &alarm) }
    }

    /// While starting: whoever is not older than this manager's own last start is at work instead of it.
    fn hear(&mut self, now: Instant, alarm: &Alarm) -> Result<(), Rejected> {
        let silence = self.config.timing.silence;
        let last = self.ledger.start.as_ref().map(|start| start.inst);
        let Some(starting) = &mut self.starting else { return Err(Rejected::NotForUs) };
        let StateId { term, inst, .. } = alarm.state;
        let ours = term < self.ledger.term || (term == self.ledger.term && last == Some(inst));
        if ours || starting.heard >= Some((alarm.state, alarm.counter)) {
            return Err(Rejected::Stale);
        }
        starting.hear(alarm);
        self.timers.set(Timer::Start, now + silence);
        if !std::mem::replace(&mut starting.told, true) {
            self.outbox.tell(GsmEvent::OtherStart { state: alarm.state });
        }
        Ok(())
    }

    /// In office: a copy of this very start makes both start anew; of two starts the later one goes on, and of two of
    /// one term that with the lower inst.
    fn meet(&mut self, now: Instant, alarm: &Alarm) -> Result<(), Rejected> {
        let own = self.keys.state();
        if alarm.state.same_start(own) {
            // One of our own that came late, unless it is newer than those or stands in the place of one of them.
            let oldest_kept = self.alarms.saturating_sub(self.own_alarms.len() as u64);
            if alarm.counter <= oldest_kept {
                return Err(Rejected::Stale);
            }
        } else if alarm.state.at(Epoch(0)) < own.at(Epoch(0)) {
            return Err(Rejected::Stale);
        }
        self.outbox.tell(GsmEvent::OtherStart { state: alarm.state });
        let silence = self.config.timing.silence;
        let copy = alarm.state.same_start(own);
        self.begin_again(now);
        if let Some(starting) = &mut self.starting {
            starting.told = true;
            if !copy {
                starting.hear(alarm);
                self.timers.set(Timer::Start, now + silence);
            }
        }
        Ok(())
    }

    /// The answers are in.
    fn conclude(&mut self, now: Instant) {
        let Some(starting) = self.starting.take() else { return };
        if starting.rolled_back() {
            self.start_over(&starting);
        } else {
            self.tenure.resumed_from = starting.held;
            let (members, term) = (self.members.len(), self.ledger.term);
            self.outbox.tell_after(self.started, GsmEvent::Resumed { members, term });
        }
        self.serve(now);
        for (conn, join) in starting.joins {
            self.offer(conn, join);
        }
    }

    /// The journal is an old one: its leaf secrets may be those of nodes that were evicted since. A new subgroup in which
    /// nobody is, above every term that was seen; what members have shown of evictions is kept.
    fn start_over(&mut self, starting: &Starting) {
        let Starting { held, seen, .. } = *starting;
        let before = self.policy.revocations();
        for revocation in &starting.shown {
            if self.policy.is_full() {
                break;
            }
            self.record(JournalEntry::Revoked { revocation: *revocation });
            self.policy.revoke(*revocation, &*self.signer.0);
        }
        self.ledger.term = self.ledger.term.max(seen.map_or(Term(0), |state| state.term));
        let before_this = self.domain;
        self.config.subgroup = SubgroupId(self.rng.0.next_u64());
        self.take_office();
        self.send_members_over(&before_this);
        self.snapshot_due = true;
        let revocations = self.policy.revocations() - before;
        self.outbox.tell_after(self.started, GsmEvent::RolledBack { held, seen, revocations });
    }

    /// Tells the members of the subgroup that is no more where to register; those who miss it find out by searching.
    fn send_members_over(&mut self, before: &Domain) {
        let registrar = self.config.presence.as_ref().and_then(|presence| presence.registrars.first());
        let Some(&registrar) = registrar else { return };
        let farewell = Farewell { subgroup: self.domain.subgroup, registrar };
        let transmit = self.transmitter.multicast(farewell.encode(before, &*self.signer.0));
        for _ in 0..FAREWELLS {
            self.outbox.send_after(self.started, transmit.clone());
        }
    }

    /// A new start of the subgroup in the configuration, in a term of its own: asks for its record, after which it may
    /// speak.
    fn take_office(&mut self) {
        let before = self.domain.subgroup;
        self.domain = Domain { subgroup: self.config.subgroup, ..self.domain };
        // Who has held every leaf secret and was out when the manager stopped gets nothing of the new start.
        let kept = before == self.domain.subgroup && self.ledger.office().is_some();
        if kept {
            self.put_out_revoked(self.own);
        }
        let renewed = if kept { self.renew_if_due() } else { None };
        let NewStart { inst, own, commit } = self.record_start(None);
        (self.inst, self.own, self.started) = (inst, own, commit);
        (self.issued, self.alarms) = (1, 0);
        self.tenure = Tenure::default();
        self.announce_renewed(renewed);
        self.activation = Activation::new(self.domain, self.own, self.config.timing);
        self.prefilters = [(Epoch(0), crypto::Secret::random(&mut *self.rng.0))].into();
        self.restore_members(false);
    }

    /// The highest term that was seen: of this manager, of another start of it, of those that gave way to it.
    pub(crate) fn highest_term(&self) -> Term {
        let seen = self.starting.as_ref().and_then(|starting| starting.seen);
        let seen = seen.map_or(Term(0), |state| state.term);
        self.ledger.term.max(seen).max(self.merging.handed_over())
    }

    /// 64 random bits of which the upper half names no start that a remembered registration came from.
    pub(crate) fn fresh_inst(&mut self) -> Inst {
        loop {
            let inst = Inst(self.rng.0.next_u64());
            let prefix = SenderId::issue(inst, 0).0 >> 32;
            if self.ledger.members.values().all(|member| member.sender.0 >> 32 != prefix) {
                return inst;
            }
        }
    }

    /// Makes member list, pending key update and policy what the journal says. Who is revoked is not restored, and the own
    /// node only where its registration goes on.
    pub(crate) fn restore_members(&mut self, with_own: bool) {
        let own = self.ledger.start.as_ref().map(|start| start.own);
        let revocations = self.ledger.revocations.list.clone();
        self.policy.begin(self.domain, &revocations, [].into(), &*self.signer.0);
        let kept = self.ledger.members.values().filter(|entry| with_own || Some(entry.sender) != own);
        let (revoked, kept): (Vec<_>, Vec<_>) = kept.cloned().partition(|entry| {
            Some(entry.sender) != own && self.policy.is_revoked(&entry.identity, &entry.certificate)
        });
        let eligible = kept.iter().filter(|entry| entry.eligible);
        let eligible = eligible.map(|entry| (entry.sender, entry.signing)).collect();
        self.policy.begin(self.domain, &[], eligible, &*self.signer.0);
        let start = StateId { term: self.ledger.term, inst: self.inst, epoch: Epoch(0) };
        self.keys = KeyManager::new(self.domain, self.config.degree, start, self.ledger.leaf_steps);
        if self.ledger.uncut_eviction || self.ledger.unheard_eviction || !revoked.is_empty() {
            self.keys.harden_next();
        }
        self.members = MemberList::new();
        kept.into_iter().for_each(|entry| self.restore(entry));
    }

    /// A registration of an earlier start: in with the first key update.
    fn restore(&mut self, entry: JoinedEntry) {
        self.members.insert(Listed::of(&entry, Instant::ZERO));
        let JoinedEntry { reg_no, leaf, leaf_steps, .. } = entry;
        self.keys.join(TreeJoin { reg_no, leaf, leaf_steps });
    }

    /// The manager serves: its own node is in, the first key update is cut.
    pub(crate) fn serve(&mut self, now: Instant) {
        self.starting = None;
        self.timers.stop(Timer::Start);
        self.members.heard_all(now);
        if self.members.get(self.own).is_none() {
            self.enlist_own_node(now);
        }
        self.await_return(now);
        self.alarm_due = now;
        self.timers.set(Timer::Expiry, now + self.config.timing.keepalive);
        self.timers.set(Timer::Refresh, now + self.config.timing.refresh);
        self.cut(now);
    }
}

impl Listed {
    /// The list entry of a registration, heard at `now`.
    pub(crate) fn of(entry: &JoinedEntry, now: Instant) -> Self {
        let answers = Budget::new(1, 2);
        Self {
            reg_no: entry.reg_no,
            sender: entry.sender,
            identity: entry.identity.clone(),
            certificate: entry.certificate,
            signing: entry.signing,
            exchange: entry.exchange,
            eligible: entry.eligible,
            standing: Standing::Pending,
            heard: now,
            held: None,
            address: None,
            unicast: entry.unicast.clone(),
            counter: 0,
            resynced: 0,
            resync_answers: answers.clone(),
            caught_up: 0,
            catch_up_answers: answers,
            asked: Asked::new(),
        }
    }
}
