//! Standbys follow the manager (DESIGN: failover; attacks A26, A33): who may, what they are told, and what waits for them.
//!
//! A standby holds what the journal amounts to, every leaf secret included, and nothing of the tree above. What is
//! acknowledged to anybody waits until every standby *in step* holds it; one that does not answer in time is not waited
//! for any more, and the next alarm says so before anything goes out that it lacks. Members take no takeover but by a
//! successor that the newest alarm they heard names as in step.

mod binding;
mod follower;

use std::collections::{BTreeMap, BTreeSet};

use protocol::limits::{STANDBY_LAG, STANDBYS};
use protocol::{Commit, ConnId, Follow, Frame, Instant, Peer, Refusal, Rejected, SenderId, Transmit};

use crate::event::{GsmEvent, StandbyGone};
use crate::gsm::Gsm;
use crate::journal::JournalEntry;
use crate::member_list::Standing;
use crate::operator::StandbyStatus;

use binding::Binding;
pub(crate) use follower::Sealed;
use follower::{Follower, Stage};

/// The standbys of a manager.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    followers: BTreeMap<ConnId, Follower>,
    /// For whom the leaf secrets were stepped in this start.
    stepped: BTreeSet<SenderId>,
    /// The newest time handed in: records are asked for without one.
    now: Instant,
    /// Until when the cut on paper waits for standbys.
    cut_waits: Option<Instant>,
    /// Somebody went out of step, or came into it, and no alarm has said so.
    changed: bool,
    /// What must not be lost when another one manages.
    pub(crate) binding: Binding,
}

impl Replication {
    /// The time of what follows.
    pub(crate) fn at(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// A cut was put on paper.
    pub(crate) fn on_cut(&mut self, now: Instant) {
        self.cut_waits = Some(now + STANDBY_LAG);
    }

    /// Whether the cut on paper waits for standbys no longer.
    pub(crate) fn cut_waited(&self, now: Instant) -> bool {
        self.cut_waits.is_none_or(|until| until <= now)
    }

    /// Whether a connection is a standby's.
    pub(crate) fn is_on(&self, conn: ConnId) -> bool {
        self.followers.contains_key(&conn)
    }

    /// Who is in step, with its connection.
    pub(crate) fn in_step(&self) -> impl Iterator<Item = (ConnId, SenderId)> {
        let in_step = self.followers.iter().filter(|(_, follower)| follower.in_step);
        in_step.map(|(conn, follower)| (*conn, follower.sender))
    }

    /// The identity at the other end.
    pub(crate) fn identity(&self, conn: ConnId) -> Option<String> {
        self.followers.get(&conn).map(|follower| follower.peer.identity.clone())
    }

    /// Who follows on this connection.
    pub(crate) fn sender(&self, conn: ConnId) -> Option<SenderId> {
        self.followers.get(&conn).map(|follower| follower.sender)
    }

    /// The newest time handed in.
    pub(crate) const fn time(&self) -> Instant {
        self.now
    }

    /// Whether the standby on this connection holds a record.
    pub(crate) fn has(&self, conn: ConnId, commit: Commit) -> bool {
        self.followers.get(&conn).is_some_and(|follower| follower.has(commit))
    }

    /// The newest record that all who are in step hold; `None` if nobody is.
    fn followed(&self) -> Option<Commit> {
        let in_step = self.followers.values().filter(|follower| follower.in_step);
        in_step.map(|follower| follower.holds.unwrap_or_default()).min()
    }

    /// The next instant at which [`Gsm::on_standbys_due`] has something to do; `cut` says whether a cut waits for nothing
    /// but standbys.
    pub(crate) fn due(&self, cut: bool) -> Option<Instant> {
        let lags = self.followers.values().filter(|follower| follower.in_step);
        let lags = lags.filter_map(Follower::lags_at);
        let given_up = self.followers.values().filter_map(Follower::given_up_at);
        lags.chain(given_up).chain(self.cut_waits.filter(|_| cut)).min()
    }
}

impl Gsm {
    /// A successor wants to follow. It is told nothing before it is marked for one that has held everything, and before
    /// all leaf secrets have stepped: those from before would read what was sent before it was a member.
    pub(crate) fn on_follow(&mut self, now: Instant, conn: ConnId, follow: Follow) {
        let Some(peer) = self.registrar.peer(conn).cloned() else { return };
        if let Err(why) = self.may_follow(&peer, &follow) {
            self.refuse(conn, why);
            return;
        }
        self.registrar.forget(conn);
        let sender = follow.sender;
        self.dismiss_standby(sender, StandbyGone::Closed);
        if !self.ledger.trusted.members.contains(&sender) {
            self.record(JournalEntry::Trusted { sender });
        }
        let first = !self.replication.stepped.contains(&sender);
        let steps = self.ledger.leaf_steps.saturating_add(u16::from(first));
        if first {
            self.step_leaves = true;
            self.cut(now);
        }
        let commit = self.outbox.last_commit();
        let follower = Follower::new(now, peer, sender, Stage::Awaiting { commit, steps });
        self.replication.followers.insert(conn, follower);
        self.brief_standbys(now);
    }

    /// Only the very node that was registered, with the certificate it registered with, while it is a member in good
    /// standing that may manage.
    fn may_follow(&self, peer: &Peer, follow: &Follow) -> Result<(), Refusal> {
        let listed = self.members.get(follow.sender).filter(|listed| {
            listed.eligible
                && listed.sender != self.own
                && listed.identity == peer.identity
                && listed.certificate == peer.certificate
        });
        let listed = listed.ok_or(Refusal::Denied)?;
        if follow.subgroup != self.domain.subgroup || !self.is_serving() || self.is_giving_way() {
            return Err(Refusal::NotManager);
        }
        let others = self.replication.followers.values().filter(|other| other.sender != follow.sender);
        let named = self.policy.successors(self.own).contains(&follow.sender);
        if listed.standing != Standing::In || !named || others.count() >= STANDBYS {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Sends the state to whom nothing keeps it from any more. The mark must be at every standby in step as well: who takes
    /// over without it would renew nothing when that one is out.
    pub(crate) fn brief_standbys(&mut self, now: Instant) {
        let (stored, steps_taken, upto) =
            (self.outbox.stored(), self.ledger.leaf_steps, self.outbox.last_commit());
        let ready = |follower: &Follower| match follower.stage {
            Stage::Awaiting { commit, steps } => commit <= stored && steps <= steps_taken,
            Stage::Told => false,
        };
        if self.read_only || !self.sound || !self.replication.followers.values().any(ready) {
            return;
        }
        let state = Sealed::new(self.ledger.encode());
        let Replication { followers, stepped, .. } = &mut self.replication;
        for follower in followers.values_mut().filter(|follower| ready(follower)) {
            stepped.insert(follower.sender);
            follower.begin(now, upto, state.as_bytes().to_vec());
        }
        self.pump_standbys(now);
    }

    /// A record was asked for: every standby is told of it, before it is durable here.
    pub(crate) fn replicate(&mut self, commit: Commit, bytes: &[u8]) {
        let now = self.replication.now;
        let too_slow: Vec<_> = self
            .replication
            .followers
            .iter_mut()
            .filter_map(|(conn, follower)| (!follower.tell(now, commit, bytes)).then_some(*conn))
            .collect();
        for conn in too_slow {
            self.close_standby(conn, StandbyGone::Late);
        }
        self.pump_standbys(now);
    }

    fn pump_standbys(&mut self, now: Instant) {
        for (conn, follower) in &mut self.replication.followers {
            while let Some(bytes) = follower.next_frame(now) {
                self.outbox.send(Transmit::Frame { conn: *conn, bytes });
            }
        }
    }

    /// A standby speaks.
    pub(crate) fn on_standby_frame(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let follower = self.replication.followers.get_mut(&conn).ok_or(Rejected::UnknownConnection)?;
        match Frame::decode(bytes, &follower.peer)?.into_inner() {
            Frame::Followed(upto) => {
                if !follower.answered(now, upto) {
                    self.close_standby(conn, StandbyGone::Broken);
                    self.settle_standbys(now);
                    return Err(Rejected::OutOfPlace);
                }
                let (sender, holds) = (follower.sender, follower.holds.unwrap_or_default());
                self.replication.binding.on_followed(sender, holds);
                self.pump_standbys(now);
                self.step_in(now, conn);
                self.settle_standbys(now);
                Ok(())
            }
            Frame::OfficeTaken(taken) => self.on_office_taken(now, conn, &taken),
            _ => Err(Rejected::OutOfPlace),
        }
    }

    /// A standby that holds everything anybody was told of is in step: from here on everything waits for it.
    fn step_in(&mut self, now: Instant, conn: ConnId) {
        let released = self.outbox.stored();
        let Some(follower) = self.replication.followers.get_mut(&conn) else { return };
        if follower.in_step || follower.stage != Stage::Told || !follower.has(released) {
            return;
        }
        follower.step_in(now);
        let (identity, sender) = (follower.peer.identity.clone(), follower.sender);
        self.replication.changed = true;
        self.outbox.tell(GsmEvent::StandbyInStep { identity, sender });
    }

    /// Whether somebody follows on this connection, which is gone.
    pub(crate) fn on_standby_closed(&mut self, now: Instant, conn: ConnId) -> bool {
        let follows = self.replication.is_on(conn);
        if follows {
            self.close_standby(conn, StandbyGone::Closed);
            self.settle_standbys(now);
        }
        follows
    }

    /// What is due for the standbys.
    pub(crate) fn on_standbys_due(&mut self, now: Instant) {
        let late = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let conns_of = |gsm: &Self, which: &dyn Fn(&Follower) -> bool| -> Vec<ConnId> {
            let all = gsm.replication.followers.iter();
            all.filter(|(_, follower)| which(follower)).map(|(conn, _)| *conn).collect()
        };
        for conn in conns_of(self, &|follower| follower.in_step && late(follower.lags_at())) {
            self.step_out(conn, StandbyGone::Silent);
        }
        for conn in conns_of(self, &|follower| late(follower.given_up_at())) {
            self.close_standby(conn, StandbyGone::Silent);
        }
        self.settle_standbys(now);
    }

    /// A cut waits for standbys no longer: whoever does not hold its record is out of step.
    pub(crate) fn leave_behind(&mut self, awaited: Commit) {
        let behind: Vec<_> = {
            let all = self.replication.followers.iter();
            let behind = all.filter(|(_, follower)| follower.in_step && !follower.has(awaited));
            behind.map(|(conn, _)| *conn).collect()
        };
        for conn in behind {
            self.step_out(conn, StandbyGone::Late);
        }
    }

    fn step_out(&mut self, conn: ConnId, why: StandbyGone) {
        let now = self.replication.now;
        let Some(follower) = self.replication.followers.get_mut(&conn) else { return };
        if std::mem::replace(&mut follower.in_step, false) {
            follower.since = now;
            let (identity, sender) = (follower.peer.identity.clone(), follower.sender);
            self.replication.changed = true;
            self.outbox.tell(GsmEvent::StandbyLost { identity, sender, why });
            self.on_standby_out(conn);
        }
    }

    /// Ends a standby's connection.
    pub(crate) fn close_standby(&mut self, conn: ConnId, why: StandbyGone) {
        self.step_out(conn, why);
        if self.replication.followers.remove(&conn).is_some() {
            self.outbox.forget(conn);
            self.outbox.send(Transmit::Close { conn });
            self.on_standby_out(conn);
        }
    }

    /// A registration ends, or is evicted: it is told nothing more, not even that.
    pub(crate) fn dismiss_standby(&mut self, sender: SenderId, why: StandbyGone) {
        let followers = self.replication.followers.iter();
        let conn = followers.filter(|(_, follower)| follower.sender == sender).map(|(conn, _)| *conn).next();
        if let Some(conn) = conn {
            self.close_standby(conn, why);
        }
    }

    /// The manager ends, or starts anew: nobody follows it any more.
    pub(crate) fn dismiss_standbys(&mut self) {
        let conns: Vec<_> = self.replication.followers.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.close_standby(conn, StandbyGone::Closed));
        self.replication.stepped.clear();
    }

    /// The same when this manager has said its last words to them, which still go out.
    pub(crate) fn dismiss_standbys_after_words(&mut self) {
        for conn in std::mem::take(&mut self.replication.followers).into_keys() {
            self.outbox.send(Transmit::Close { conn });
        }
    }

    /// Lets go what waits for nothing any more. Who is out of step is named so before that. A manager that only listens
    /// does neither: a standby that is gone may have taken over without what it was not told.
    pub(crate) fn settle_standbys(&mut self, now: Instant) {
        if self.is_listening() {
            return;
        }
        if std::mem::take(&mut self.replication.changed) && !self.is_leaving() && !self.is_starting() {
            self.send_alarm(now);
        }
        self.release(now);
        self.brief_standbys(now);
    }

    /// Whether [`Gsm::settle_standbys`] has something to say.
    pub(crate) const fn standbys_changed(&self) -> bool {
        self.replication.changed
    }

    /// What is durable here, and held by every standby in step, may be told, unless this manager only listens.
    pub(crate) fn release(&mut self, now: Instant) {
        if self.is_listening() {
            return;
        }
        let followed = self.replication.followed();
        self.outbox.on_stored(followed.map_or(self.durable, |followed| followed.min(self.durable)));
        self.replication.binding.on_released(self.outbox.stored());
        self.complete_cut_if_due(now);
        self.on_merge_stored(now);
        self.advance_handing(now);
    }

    /// For the alarm: a bit for each of the successors that is in step, the lowest for the first.
    pub(crate) fn in_step_bits(&self, successors: &[SenderId]) -> u8 {
        let bits = self.replication.in_step().filter_map(|(_, sender)| {
            let place = successors.iter().position(|successor| *successor == sender)?;
            1_u8.checked_shl(u32::try_from(place).ok()?)
        });
        bits.fold(0, |bits, bit| bits | bit)
    }

    /// The standbys there are, then the successors that should be and are not.
    pub(crate) fn standby_statuses(&self) -> Vec<StandbyStatus> {
        let followers = self.replication.followers.values().map(|follower| StandbyStatus {
            identity: follower.peer.identity.clone(),
            sender: follower.sender,
            in_step: follower.in_step.then_some(follower.since),
            followed: follower.holds.unwrap_or_default(),
        });
        let mut statuses: Vec<_> = followers.collect();
        let successors = self.policy.successors(self.own);
        let listed = successors.iter().filter_map(|sender| self.members.get(*sender));
        for listed in listed.filter(|listed| listed.standing == Standing::In) {
            if statuses.len() < STANDBYS && statuses.iter().all(|status| status.sender != listed.sender) {
                statuses.push(StandbyStatus {
                    identity: listed.identity.clone(),
                    sender: listed.sender,
                    in_step: None,
                    followed: Commit(0),
                });
            }
        }
        statuses
    }
}
