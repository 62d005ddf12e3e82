//! The member in its subgroup: what its manager says to all and to it alone, and what it asks back.

use std::net::SocketAddr;
use std::time::Duration;

use protocol::limits::FINDS;
use protocol::{DatagramKind, Envelope, Instant, Lane, Question, Rejected, Timing, ToManager, ToMember};

use super::seeking::GOES_ON;
use super::{Aim, Member, Timer};
use crate::event::{Ending, MemberEvent, Move};
use crate::membership::Effect;
use crate::repair::Repair;
use crate::revocations::Origin;
use crate::witness::MAX_ANSWERED_REVOCATIONS;

/// Alarm intervals without an alarm, after which a member answers a starting manager's question, and who looks for one.
pub(super) const QUIET_INTERVALS: u32 = 2;
/// A manager that sent its members elsewhere is silent within that time; one that is still heard after it keeps them.
const GIVES_WAY: Duration = Duration::from_secs(10);

impl Member {
    /// A datagram on the subgroup's control address.
    pub(super) fn on_control(
        &mut self,
        now: Instant,
        from: SocketAddr,
        kind: DatagramKind,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        Envelope::for_domain(bytes, &membership.grant().domain)?;
        match kind {
            DatagramKind::KeyUpdate => {
                let effect = membership.on_key_update(now, from, bytes)?;
                self.on_effect(now, effect);
            }
            DatagramKind::Alarm => self.on_alarm(now, Lane::Control, from, bytes)?,
            DatagramKind::Suspicion => self.on_suspicion(now, from, bytes)?,
            DatagramKind::Takeover => self.on_takeover(now, from, bytes)?,
            DatagramKind::Renewal => self.on_renewal(now, from, bytes)?,
            DatagramKind::Nak => self.on_nak(now, bytes)?,
            DatagramKind::Question => self.on_question(now, from, bytes)?,
            DatagramKind::Revocations => {
                let (revocations, manager) = (&self.revocations, membership.grant().manager);
                let holds =
                    |signed: &protocol::SignedRevocation| revocations.holds(&manager, &signed.revocation);
                let heard = membership.on_revocations(now, from.ip(), holds, bytes)?;
                heard.iter().for_each(|signed| self.revocations.learn(manager, signed, Origin::Heard));
            }
            DatagramKind::Farewell => self.on_farewell(now, from, bytes)?,
            _ => return Err(Rejected::NotForUs),
        }
        Ok(())
    }

    /// The manager gives way and says to whom; to all, or to those alone whom the other one does not know.
    pub(super) fn on_farewell(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let farewell = membership.on_farewell(now, from.ip(), bytes)?;
        self.candidates.prove(farewell.registrar);
        self.sent_away = now;
        self.go(now, Aim::Moved, Move::SentAway);
        Ok(())
    }

    /// An alarm, on the control address or in the answer to a probe.
    pub(super) fn on_alarm(
        &mut self,
        now: Instant,
        lane: Lane,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let (alarm, effect) = membership.on_alarm(now, from, bytes)?;
        if lane == Lane::Control {
            self.last_multicast = now;
        }
        self.on_alarm_heard(now);
        self.on_effect(now, effect);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.on_alarm(now, &alarm, &self.revocations, &mut *self.rng.0);
        }
        self.compare_evidence(now);
        Ok(())
    }

    /// A datagram sealed by the manager for this member.
    pub(super) fn on_unicast(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let message = ToMember::open(&membership.registration(), bytes)?;
        match &*message {
            ToMember::Resync(answer) => {
                // An answer that was not asked for, or an old one come back.
                if self.asked != Some(answer.nonce) {
                    return Err(Rejected::OutOfPlace);
                }
                let effect = membership.on_resync(now, answer)?;
                self.asked = None;
                self.repair.on_answer();
                self.cancel(Aim::Again);
                self.on_effect(now, effect);
            }
            ToMember::LeaveTaken { nonce } => {
                if self.leaving.is_none_or(|leaving| leaving.nonce != *nonce) {
                    return Err(Rejected::OutOfPlace);
                }
                self.end(Ending::Left);
            }
            ToMember::Revocations { nonce, from, revocations } => {
                let catch_up = self.catch_up.as_mut().ok_or(Rejected::OutOfPlace)?;
                let (at, gate) = ((*nonce, *from), membership.gate());
                catch_up.on_page(now, at, revocations, gate, &mut self.revocations)?;
                self.compare_evidence(now);
            }
            ToMember::Alive { nonce, alarm } => self.on_alive(now, *nonce, alarm)?,
            ToMember::Credential { nonce, credential } => self.on_credential(*nonce, *credential)?,
            ToMember::EvidenceTaken { nonce } => self.evidence.on_taken(*nonce)?,
        }
        Ok(())
    }

    /// Carries the outcome of a message on: events, repair, timers.
    pub(super) fn on_effect(&mut self, now: Instant, effect: Effect) {
        let Some(membership) = &self.membership else { return };
        // The data plane first: whoever hears that a state is held may rely on its key being in use.
        if effect.ring {
            self.outbox.tell(MemberEvent::KeyRing(membership.ring()));
        }
        if let Some(state) = effect.restarted {
            self.repair = Repair::new();
            self.asked = None;
            self.outbox.tell(MemberEvent::ManagerRestarted { state });
        }
        if let Some((state, hard)) = effect.installed {
            self.outbox.tell(MemberEvent::Installed { state, hard });
        }
        match membership.missing() {
            Some((wanted, held)) => {
                let nakable = membership.is_nakable(wanted, held);
                let waits = (&membership.grant().timing, membership.leaves());
                self.repair.on_gap(now, (wanted, nakable), waits, &mut *self.rng.0);
            }
            None => {
                self.repair.on_whole();
                self.cancel(Aim::Again);
            }
        }
        self.set_cut_timer();
    }

    /// A verified alarm: the manager lives.
    fn on_alarm_heard(&mut self, now: Instant) {
        let Some(membership) = &self.membership else { return };
        let timing = membership.grant().timing;
        if self.manager_silent() {
            self.outbox.tell(MemberEvent::ManagerBack);
        }
        self.last_alarm = now;
        self.timers.set(Timer::Hard, now + timing.t_hard);
        self.timers.stop(Timer::Hint);
        self.on_sign_of_life(now, &timing);
        // It gave way and goes on all the same: the other one did not take its members.
        if self.aim == Some(Aim::Moved) && now >= self.sent_away + GIVES_WAY {
            self.cancel(Aim::Moved);
        }
    }

    /// There is a manager: what the member began because there seemed to be none is over.
    pub(super) fn on_sign_of_life(&mut self, now: Instant, timing: &Timing) {
        self.watch.on_alarm(now, timing);
        self.said_to_go_on = None;
        self.timers.stop(Timer::LookAgain);
        self.cancel(Aim::Afresh);
        if self.is_stranded(now) {
            self.search.start(now, FINDS);
            return;
        }
        self.stop_standing();
        self.search.stop();
        if !self.is_out_of_reach(now) {
            self.cancel(Aim::Away);
        }
    }

    /// Whether nothing of the manager's multicast has come for long, though it may answer. It was found by somebody who is
    /// in two LANs, or is behind a router that lets no multicast through; its data do not come either.
    pub(super) fn is_out_of_reach(&self, now: Instant) -> bool {
        now >= self.last_multicast + GOES_ON
    }

    /// Whether this node is out of its manager's reach and may manage itself. It looks around then, and stands for election
    /// if nobody is near: there may be others around it who have nobody else, and nothing its manager says to all will come.
    pub(super) fn is_stranded(&self, now: Instant) -> bool {
        let may = self.discovery.is_some() && self.election.is_some() && self.leaving.is_none();
        let answered = self.membership.is_some() && !self.watch.is_silent();
        may && answered && self.is_out_of_reach(now)
    }

    /// The manager comes back and asks what it said last. Answered only while no alarm is heard, and once for each start,
    /// so that a recorded question makes nobody speak and takes nothing from the one asked now.
    fn on_question(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let quiet = self.last_alarm + membership.grant().timing.alarm_interval * QUIET_INTERVALS;
        let asker = Question::asker(bytes)?;
        if now < quiet || !self.witness.may_answer(asker) || membership.newest_alarm().is_none() {
            return Err(Rejected::NotForUs);
        }
        let question = membership.on_question(now, from.ip(), bytes)?;
        let (grant, alarm) = (membership.grant(), membership.newest_alarm().unwrap_or_default());
        let revocations = self.revocations.newest(&grant.manager, MAX_ANSWERED_REVOCATIONS);
        let rng = &mut *self.rng.0;
        self.witness.on_question(now, &question, &grant.domain, (alarm, &revocations), rng)
    }

    pub(super) fn on_cut(&mut self, now: Instant) {
        let Some(membership) = &mut self.membership else { return };
        if membership.expire(now) {
            self.outbox.tell(MemberEvent::KeyRing(membership.ring()));
        }
        self.set_cut_timer();
    }

    fn set_cut_timer(&mut self) {
        match self.membership.as_ref().and_then(|membership| membership.next_cut()) {
            Some(at) => self.timers.set(Timer::Cut, at),
            None => self.timers.stop(Timer::Cut),
        }
    }

    pub(super) fn ask_resync(&mut self, now: Instant) {
        let (nonce, held) = (now.micros(), self.held());
        self.asked = Some(nonce);
        self.send_unicast(ToManager::Resync { nonce, held });
    }

    pub(super) fn on_catch_up_due(&mut self, now: Instant) {
        let asks = self.catch_up.as_mut().and_then(|catch_up| catch_up.on_due(now));
        if let Some((nonce, from)) = asks {
            self.send_unicast(ToManager::Revocations { nonce, from });
        }
    }
}
