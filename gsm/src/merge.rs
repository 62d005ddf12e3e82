//! Two managers of one group notice each other and become one (GSM 3.5; DESIGN: partition and merge).
//!
//! Who gives way: the lower in the order of states, which is the lower term, then the *higher* inst. A manager that has
//! not started yet or cannot admit anybody gives way to whoever can; and one that hears a lower manager for long, which
//! does not give way, takes it that it is not heard itself and goes. It hands all its revocations to the other one, makes
//! durable that it is no manager any more, sends its members there, and ends.
//!
//! There is always a manager left: one steps down only at the word of another that is not giving way at that moment,
//! and says that word only while its own revocations are complete without the giver's.

mod rivals;
mod same;

use std::collections::BTreeSet;
use std::time::Duration;

use crypto::Signer;
use protocol::discovery::Presence;
use protocol::limits::{MAX_GRANT_REVOCATIONS, MAX_REVOCATIONS, MAX_TERM_JUMP};
use protocol::{
    CloseReason, Commit, ConnId, Epoch, Farewell, Frame, Handover, HandoverTaken, Input, Instant, Office,
    Peer, Refusal, Rejected, Revocation, Role, SenderId, StateId, Term, Transmit, Verified,
};
use rand_core::CryptoRng;

use crate::event::{Departure, GsmEvent};
use crate::gsm::{Gsm, Timer};
use crate::journal::JournalEntry;
use crate::member_list::Listed;
use crate::remembered::{Journal, Remembered};
use rivals::{Rivals, Successor, random_below};
use same::Estate;

/// Before the first attempt, so that of several managers the best one is heard: it is drawn below twice this.
const FIRST_ATTEMPT: Duration = Duration::from_millis(150);
/// From one step of an attempt to the next: to TLS, or from a frame to its answer.
const STEP_DEADLINE: Duration = Duration::from_secs(3);
/// Farewells sent, and the wait after each but the last.
const FAREWELLS: u32 = 3;
const FAREWELL_GAP: Duration = Duration::from_millis(200);

/// How far a manager is on its way out.
#[derive(Debug)]
enum Stage {
    /// It manages.
    Managing,
    /// It connects to the other one.
    Connecting { conn: ConnId, to: Successor, deadline: Instant },
    /// It waits for the word that what it has handed over is durable there.
    Handing { conn: ConnId, peer: Box<Peer>, to: Successor, sent: usize, deadline: Instant },
    /// Its own end is not durable yet.
    Recording { commit: Commit, to: Successor },
    /// It sends its members away.
    Parting { to: Successor, said: u32 },
    /// It is no manager any more.
    Gone,
}

/// Other managers of the group, and giving way to one of them.
#[derive(Debug)]
pub(crate) struct Merging {
    rivals: Rivals,
    stage: Stage,
    /// What a manager of the same subgroup is handed in the attempt under way.
    estate: Estate,
    /// The start of the manager of this subgroup for which the newest common term was begun.
    joined: Option<StateId>,
    /// The highest term that a manager of this subgroup has handed over.
    above: Term,
    /// The number of the next connection this node opens.
    next_conn: u64,
}

impl Merging {
    pub(crate) fn new() -> Self {
        Self {
            rivals: Rivals::new(),
            stage: Stage::Managing,
            estate: Estate::default(),
            joined: None,
            above: Term(0),
            next_conn: 1,
        }
    }

    /// Whether its end is decided: nobody is admitted or evicted here any more.
    pub(crate) const fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Recording { .. } | Stage::Parting { .. } | Stage::Gone)
    }

    /// Whether it is giving way to another one just now, decided or not: it takes nobody's revocations then, for they
    /// might not reach the one it goes to.
    pub(crate) const fn is_giving_way(&self) -> bool {
        !matches!(self.stage, Stage::Managing)
    }

    /// It is over at once: another manager has proven that it follows this one.
    pub(crate) fn end(&mut self) {
        self.stage = Stage::Gone;
    }

    /// The next term of this subgroup is above this one.
    pub(crate) const fn handed_over(&self) -> Term {
        self.above
    }

    /// Whether a connection is that of the attempt under way.
    pub(crate) fn is_on(&self, conn: ConnId) -> bool {
        match &self.stage {
            Stage::Connecting { conn: own, .. } | Stage::Handing { conn: own, .. } => *own == conn,
            Stage::Managing | Stage::Recording { .. } | Stage::Parting { .. } | Stage::Gone => false,
        }
    }
}

impl Gsm {
    /// Another manager of the group was heard on this LAN, and proven to be one. Nothing but its order decides who
    /// gives way, and nothing moves before it has proven itself once more over TLS.
    pub(crate) fn on_other_manager(
        &mut self,
        now: Instant,
        presence: &Verified<Presence>,
    ) -> Result<(), Rejected> {
        let manager = &presence.manager;
        if presence.registrars.is_empty() {
            return Err(Rejected::Malformed);
        }
        // Who was evicted here, or may not be here, is given nothing and followed nowhere.
        if self.policy.is_revoked(&manager.identity, &manager.fingerprint)
            || !self.config.access.allows(&manager.identity)
        {
            return Err(Rejected::NotForUs);
        }
        let (own, theirs) = (self.keys.state().at(Epoch(0)), presence.alarm.state.at(Epoch(0)));
        if theirs.term.0.saturating_sub(own.term.0) > MAX_TERM_JUMP {
            return Err(Rejected::Stale);
        }
        let merges = self.merges();
        let wins = self.place_in_order().is_none_or(|own| theirs > own);
        if self.merging.rivals.hear(now, presence) {
            let identity = manager.identity.clone();
            let subgroup = presence.domain.subgroup;
            self.outbox.tell(GsmEvent::OtherManager { identity, subgroup, merges });
        }
        if !merges || self.is_giving_way() {
            return Ok(());
        }
        if !wins {
            // It is for that one to give way, if it hears us.
            self.announce_soon(now);
        }
        self.plan_attempt(now);
        Ok(())
    }

    /// This manager's place in the order of those who may be given way to; `None` if it cannot admit anybody. On its way
    /// into another term it will soon admit again.
    fn place_in_order(&self) -> Option<StateId> {
        let turning = self.is_turning() && !self.read_only && !self.is_leaving();
        (self.is_serving() || turning).then(|| self.keys.state().at(Epoch(0)))
    }

    /// Sets the timer of the next attempt to give way to somebody.
    fn plan_attempt(&mut self, now: Instant) {
        if let Some(at) = self.merging.rivals.next_attempt(now, self.place_in_order()) {
            let soonest = now + FIRST_ATTEMPT + random_below(&mut *self.rng.0, FIRST_ATTEMPT);
            self.timers.set_earlier(Timer::Merge, at.max(soonest));
        }
    }

    /// The timer of merging: an attempt begins, or the one under way took too long.
    pub(crate) fn on_merge_due(&mut self, now: Instant) {
        match &self.merging.stage {
            Stage::Managing => self.attempt(now),
            Stage::Connecting { deadline, .. } | Stage::Handing { deadline, .. } => {
                if *deadline <= now {
                    self.give_up(now, CloseReason::TimedOut);
                } else {
                    self.timers.set(Timer::Merge, *deadline);
                }
            }
            Stage::Recording { .. } | Stage::Gone => {}
            Stage::Parting { .. } => self.say_farewell(now),
        }
    }

    fn attempt(&mut self, now: Instant) {
        // Members may know of evictions that an old journal has lost: they are asked before anything is handed over.
        if self.is_starting() || self.handing.is_under_way() {
            self.timers.set(Timer::Merge, now + FIRST_ATTEMPT);
            return;
        }
        let Some(to) = self.merging.rivals.best(now, self.place_in_order()) else {
            self.plan_attempt(now);
            return;
        };
        let conn = ConnId(self.merging.next_conn);
        self.merging.next_conn += 2;
        let deadline = now + STEP_DEADLINE;
        self.outbox.send(Transmit::Open { conn, to: to.registrar, expect: Role::Manager });
        self.merging.stage = Stage::Connecting { conn, to, deadline };
        self.timers.set(Timer::Merge, deadline);
    }

    /// The attempt under way ends without a result, and this manager goes on managing.
    pub(crate) fn give_up(&mut self, now: Instant, why: CloseReason) {
        let (Stage::Connecting { conn, to, .. } | Stage::Handing { conn, to, .. }) = &self.merging.stage
        else {
            return;
        };
        let (conn, to) = (*conn, to.clone());
        self.outbox.forget(conn);
        self.outbox.send(Transmit::Close { conn });
        self.merging.stage = Stage::Managing;
        self.merging.rivals.rest(now, &to.key, &mut *self.rng.0);
        self.outbox.tell(GsmEvent::NotMerged { identity: to.identity, why });
        self.timers.stop(Timer::Merge);
        self.plan_attempt(now);
    }

    /// TLS stands with a certified manager: is it the one that was heard?
    pub(crate) fn on_opened(&mut self, now: Instant, conn: ConnId, peer: Peer) -> Result<(), Rejected> {
        let Stage::Connecting { conn: asked, to, .. } = &self.merging.stage else {
            return Err(Rejected::UnknownConnection);
        };
        if *asked != conn {
            return Err(Rejected::UnknownConnection);
        }
        let to = to.clone();
        if !peer.roles.manager || peer.certificate != to.certificate {
            self.give_up(now, CloseReason::Refused("another node than the one that was heard".into()));
            return Ok(());
        }
        let deadline = now + STEP_DEADLINE;
        self.merging.estate = self.estate_for(to.subgroup);
        self.merging.stage = Stage::Handing { conn, peer: Box::new(peer), to, sent: 0, deadline };
        self.hand_revocations(now);
        Ok(())
    }

    /// The next frame: the revocations from the first that is not there yet, in the order in which they came.
    fn hand_revocations(&mut self, now: Instant) {
        let Stage::Handing { conn, sent, deadline, .. } = &mut self.merging.stage else { return };
        let mut left = self.policy.in_order().skip(*sent);
        let revocations: Vec<_> = left.by_ref().take(MAX_GRANT_REVOCATIONS).collect();
        let more = left.next().is_some();
        let (departed, members) = self.merging.estate.page();
        let last = !more && self.merging.estate.is_handed();
        *sent += revocations.len();
        *deadline = now + STEP_DEADLINE;
        self.timers.set(Timer::Merge, *deadline);
        let handover = Handover {
            group: self.domain.group,
            subgroup: self.domain.subgroup,
            state: self.keys.state(),
            revocations,
            departed,
            members,
            last,
        };
        let bytes = Frame::Handover(handover).encode();
        self.outbox.send(Transmit::Frame { conn: *conn, bytes });
    }

    /// A frame on the connection of the attempt under way.
    pub(crate) fn on_merge_frame(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let Stage::Handing { peer, .. } = &self.merging.stage else { return Err(Rejected::OutOfPlace) };
        match Frame::decode(bytes, peer)?.into_inner() {
            Frame::HandoverTaken(taken) => self.on_handover_taken(now, taken),
            Frame::Refused(Refusal::Revoked) => self.on_put_out(now),
            Frame::Refused(why) => self.give_up(now, CloseReason::Refused(why.to_string())),
            _ => return Err(Rejected::OutOfPlace),
        }
        Ok(())
    }

    /// What was sent is durable there. If that was all there is, also all that came meanwhile, this manager ends.
    fn on_handover_taken(&mut self, now: Instant, taken: HandoverTaken) {
        let Stage::Handing { conn, to, sent, .. } = &self.merging.stage else { return };
        self.merging.estate.strangers.extend(taken.strangers);
        // It may only sign for whom it has heard and talks to, and for a later term.
        let later = |office: &Office| office.key == to.key && office.start.term > self.keys.state().term;
        self.merging.estate.office = taken.office.filter(later);
        if self.is_starting() {
            self.give_up(now, CloseReason::TimedOut);
            return;
        }
        let (conn, to, sent) = (*conn, to.clone(), *sent);
        if !self.is_estate_handed() || sent < self.policy.revocations() {
            self.hand_revocations(now);
            return;
        }
        self.resign(now, conn, to);
    }

    /// The other one has evicted this node: it is out of the group, and takes nobody with it. That may have been decided
    /// while it took over, or apart from it. What it has signed itself counts for nothing there, so nothing is handed over;
    /// its members register there.
    fn on_put_out(&mut self, now: Instant) {
        let Stage::Handing { conn, to, .. } = &self.merging.stage else { return };
        let (conn, to) = (*conn, to.clone());
        if self.is_starting() {
            self.give_up(now, CloseReason::Refused(Refusal::Revoked.to_string()));
            return;
        }
        let why = CloseReason::Refused(Refusal::Revoked.to_string());
        self.outbox.tell(GsmEvent::NotMerged { identity: to.identity.clone(), why });
        self.merging.estate = Estate::default();
        self.outbox.forget(conn);
        self.resign(now, conn, to);
    }

    /// It is decided that this manager ends in favour of another one.
    fn resign(&mut self, now: Instant, conn: ConnId, to: Successor) {
        self.outbox.send(Transmit::Close { conn });
        self.dismiss_standbys();
        self.dismiss_sessions();
        self.timers.stop(Timer::Merge);
        let commit = self.record(JournalEntry::SteppedDown);
        self.merging.stage = Stage::Recording { commit, to };
        self.on_merge_stored(now);
    }

    /// Nodes that are registering just now are told to look elsewhere.
    pub(crate) fn dismiss_sessions(&mut self) {
        for conn in self.registrar.unfinished() {
            self.registrar.forget(conn);
            let bytes = Frame::Refused(Refusal::NotManager).encode();
            self.outbox.send(Transmit::Frame { conn, bytes });
            self.outbox.send(Transmit::Close { conn });
        }
    }

    /// The store has reported, or has failed: if this manager's end is durable, or nothing will be any more, its members
    /// are sent away.
    pub(crate) fn on_merge_stored(&mut self, now: Instant) {
        let Stage::Recording { commit, to } = &self.merging.stage else { return };
        if *commit <= self.durable || self.read_only {
            self.merging.stage = Stage::Parting { to: to.clone(), said: 0 };
            self.say_farewell(now);
        }
    }

    fn say_farewell(&mut self, now: Instant) {
        let Stage::Parting { to, said } = &mut self.merging.stage else { return };
        *said += 1;
        let farewell = Farewell { subgroup: to.subgroup, registrar: to.registrar };
        let (to, said) = (to.clone(), *said);
        let Estate { office, strangers, .. } = self.merging.estate.clone();
        if let Some(office) = office {
            self.say_who_follows(office, &strangers);
        } else {
            let bytes = farewell.encode(&self.domain, &*self.signer.0);
            let transmit = self.transmitter.multicast(bytes);
            self.outbox.send(transmit);
        }
        if said < FAREWELLS {
            self.timers.set(Timer::Merge, now + FAREWELL_GAP);
            return;
        }
        self.merging.stage = Stage::Gone;
        self.outbox.tell(GsmEvent::SteppedDown {
            to: to.registrar,
            identity: to.identity,
            subgroup: to.subgroup,
        });
    }

    /// An input after this manager's end was decided. Whoever connects now has to look for the other one.
    pub(crate) fn on_late_input(&mut self, input: &Input<'_>) -> Result<(), Rejected> {
        if let Input::Accepted { conn, .. } = input {
            self.outbox.send(Transmit::Close { conn: *conn });
        }
        Err(Rejected::NotForUs)
    }

    /// Whether it becomes one with other managers of the group that it hears.
    pub(crate) fn merges(&self) -> bool {
        self.announcer.as_ref().is_some_and(|announcer| announcer.merges())
    }

    /// Whether this manager takes the revocations of one that gives way to it.
    pub(crate) fn takes_over(&self) -> bool {
        self.is_serving()
            && !self.is_giving_way()
            && self.announcer.as_ref().is_none_or(|announcer| announcer.merges())
    }

    /// Another manager gives way to this one. Whom it had shut out is shut out here too, for good, and it is told so when
    /// that is durable. Of a manager of another subgroup that is all that is taken.
    pub(crate) fn take_over(&mut self, now: Instant, conn: ConnId, handover: Handover) {
        let Some(peer) = self.registrar.peer(conn).cloned() else { return };
        let own = Revocation::identity_hash(&self.config.identity);
        // Who has evicted this node would not give way to it.
        let against_us = |revocation: &Revocation| {
            revocation.identity == own || revocation.certificate == self.config.certificate
        };
        if handover.revocations.iter().any(against_us) {
            self.refuse(conn, Refusal::Denied);
            return;
        }
        let unknown = handover.revocations.iter().filter(|revocation| !self.policy.knows(revocation)).count();
        if self.policy.revocations() + unknown > MAX_REVOCATIONS {
            self.refuse(conn, Refusal::Full);
            return;
        }
        let same = handover.subgroup == self.domain.subgroup;
        if same && handover.last && (self.is_turning() || self.handing.is_under_way()) {
            // There is no term to name before the one under way is out: it tries again.
            self.refuse(conn, Refusal::NotManager);
            return;
        }
        if same {
            // Not the ledger's term yet: what is cut before the common start is of the present one.
            self.merging.above = self.merging.above.max(handover.state.term);
        }
        self.adopt(now, &handover.revocations);
        self.registrar.handing(now, conn);
        let strangers = if same { self.take_estate(now, &handover) } else { Vec::new() };
        if same {
            self.tenure.out.clone_from(&peer.identity);
        }
        let office = (same && handover.last).then(|| self.begin_common_term(now, &handover));
        // Behind everything that is known here, also by an earlier frame.
        let commit = self.outbox.last_commit();
        let taken = HandoverTaken { office, strangers };
        let bytes = Frame::HandoverTaken(taken).encode();
        self.outbox.send_after(commit, Transmit::Frame { conn, bytes });
        if handover.last {
            self.merging.rivals.forget(&peer.certificate);
            let (identity, subgroup) = (peer.identity, handover.subgroup);
            self.outbox.tell_after(commit, GsmEvent::TookOver { identity, subgroup });
        }
    }

    /// Shuts out for good whom others had shut out. Members of ours among them are evicted, and cut off at once; the own
    /// node never.
    pub(crate) fn adopt(&mut self, now: Instant, revocations: &[Revocation]) {
        let unknown = revocations.iter().filter(|revocation| !self.policy.knows(revocation));
        let unknown: BTreeSet<_> = unknown.copied().collect();
        let room = MAX_REVOCATIONS.saturating_sub(self.policy.revocations());
        let unknown: Vec<_> = unknown.into_iter().take(room).collect();
        let revoked =
            |gsm: &Self, listed: &Listed| gsm.policy.is_revoked(&listed.identity, &listed.certificate);
        let others = self.members.iter().filter(|listed| listed.sender != self.own);
        let before: Vec<_> =
            others.filter(|listed| !revoked(self, listed)).map(|listed| listed.sender).collect();
        self.adopt_revocations(&unknown);
        let named = |sender: &SenderId| self.members.get(*sender).is_some_and(|listed| revoked(self, listed));
        let evicted: Vec<_> = before.into_iter().filter(named).collect();
        for sender in &evicted {
            self.depart(*sender, Departure::Evicted);
        }
        if !evicted.is_empty() {
            self.cut(now);
        }
    }

    /// The machine before this one has used the numbers below.
    pub(crate) const fn number_connections_from(&mut self, next: u64) {
        self.merging.next_conn = next;
    }

    /// What the member needs that this node becomes, after [`GsmEvent::SteppedDown`].
    pub(crate) fn into_demotion(self) -> Demotion {
        let last = self.outbox.last_commit();
        let mut ledger = self.ledger;
        // Whatever this node may manage later is above everything that was seen here.
        ledger.term = ledger.term.max(self.merging.rivals.highest_term().unwrap_or(ledger.term));
        let since_snapshot = self.since_snapshot;
        Demotion {
            rng: self.rng.0,
            signer: self.signer.0,
            remembered: Remembered { ledger, last, doubtful: false, since_snapshot },
            journal: Journal { last },
            next_conn: self.merging.next_conn,
        }
    }
}

/// What is left of a manager that gave way.
pub(crate) struct Demotion {
    pub(crate) rng: Box<dyn CryptoRng + Send>,
    pub(crate) signer: Box<dyn Signer>,
    /// Term and revocations, in case the node is elected again.
    pub(crate) remembered: Remembered,
    pub(crate) journal: Journal,
    pub(crate) next_conn: u64,
}
