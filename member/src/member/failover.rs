//! The member whose manager is lost, and that gets another one (DESIGN: failover; attacks A26, A27 and A28).

use std::net::SocketAddr;
use std::time::Duration;

use protocol::limits::{RESYNC_INTERVAL, TAKEOVER_REPEATED};
use protocol::{Instant, Lane, Rejected, Suspicion, Takeover, ToManager, Transmit, Verified, Warrant};

use super::subgroup::QUIET_INTERVALS;
use super::{Aim, Member, Timer};
use crate::event::MemberEvent;
use crate::evidence::Evidence;
use crate::loss::Step;
use crate::registration::jitter;
use crate::repair::Repair;
use crate::revocations::CatchUp;

/// The longest random wait before a member asks its new manager for a credential: so long for each member there is, so
/// that the manager signs one of them at a time. The old one counts for a while, but not with who has joined since.
const CREDENTIAL_DELAY: Duration = Duration::from_millis(2);
/// Where there are many, it is no longer than this.
const LONGEST_CREDENTIAL_DELAY: Duration = Duration::from_secs(5);

impl Member {
    /// Whether the manager is held for lost, as [`MemberEvent::ManagerLost`] said, and nothing has come that makes it
    /// untrue: no alarm of it, and no other manager.
    pub fn manager_lost(&self) -> bool {
        self.watch.is_lost()
    }

    pub(super) fn on_watch_due(&mut self, now: Instant) {
        let Some(membership) = &self.membership else { return };
        let grant = membership.grant();
        let step = self.watch.on_due(now, grant.reg_no, &grant.timing, &mut *self.rng.0);
        match step {
            Some(Step::Probe) => self.probe(now),
            Some(Step::Silent) => {
                self.on_silence(now);
                self.weigh(now);
                if let Some((from, bytes)) = self.watch.take_claim() {
                    let _ = self.on_takeover(now, from, &bytes);
                }
            }
            Some(Step::Round { speak }) => {
                self.probe(now);
                if speak {
                    self.suspect();
                }
                self.weigh(now);
            }
            Some(Step::NoSuccessor) => self.on_no_successor(now),
            None => {}
        }
    }

    fn probe(&mut self, now: Instant) {
        let nonce = now.micros();
        self.watch.on_probe(nonce);
        self.send_unicast(ToManager::Probe { nonce });
    }

    /// Says to all that the manager is lost. If it lives, it answers with an alarm.
    fn suspect(&mut self) {
        let Some(membership) = &self.membership else { return };
        let Some(suspicion) = membership.suspicion(&*self.config.signer) else { return };
        let grant = membership.grant();
        let bytes = suspicion.encode(&grant.domain);
        self.outbox.send(Transmit::Multicast { to: grant.control, ttl: grant.ttl, bytes });
    }

    /// Looks whether enough others say so.
    fn weigh(&mut self, now: Instant) {
        let Some(membership) = &self.membership else { return };
        let Some((required, in_step)) = membership.required() else { return };
        let counter = membership.alarm().map_or(0, |alarm| alarm.counter);
        if let Some(suspicions) = self.watch.proves(now, required, in_step) {
            let known = membership.known();
            self.outbox.tell(MemberEvent::ManagerLost { suspicions, known, counter });
        }
    }

    /// Whether no alarm has come for so long that others may be right who hear none.
    fn hears_nothing(&self, now: Instant) -> bool {
        self.membership.as_ref().is_some_and(|membership| {
            now >= self.last_alarm + membership.grant().timing.alarm_interval * QUIET_INTERVALS
        })
    }

    /// Another member says that the manager is lost. While its alarms come, that costs nothing and changes nothing.
    pub(super) fn on_suspicion(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        // Nothing of it is proven, so nobody is to blame.
        if !self.hears_nothing(now) {
            return Err(Rejected::Stale);
        }
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let grant = membership.grant();
        let claimed = Suspicion::claimed(&grant.domain, bytes)?;
        if claimed.credential.sender == grant.sender {
            return Err(Rejected::NotForUs);
        }
        if self.watch.admits(now, &claimed)? {
            let suspicion = membership.on_suspicion(now, from.ip(), bytes)?;
            self.watch.gather(now, *suspicion);
        }
        self.weigh(now);
        Ok(())
    }

    /// The manager answers a probe with an alarm.
    pub(super) fn on_alive(&mut self, now: Instant, nonce: u64, alarm: &[u8]) -> Result<(), Rejected> {
        let membership = self.membership.as_ref().ok_or(Rejected::NotForUs)?;
        if !self.watch.has_probed(nonce) {
            return Err(Rejected::OutOfPlace);
        }
        let from = membership.manager_address();
        self.on_alarm(now, Lane::Unicast, from, alarm)
    }

    /// Another node says that it is the manager now. By suspicion that is only so once this member itself has heard nothing
    /// for the silence; a takeover that comes a little before waits for that, and the next alarm voids it.
    pub(super) fn on_takeover(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let hears_nothing = self.hears_nothing(now);
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let claimed = Takeover::claimed(&membership.grant().domain, bytes)?;
        let suspected = matches!(claimed.warrant, Warrant::Suspected { .. });
        if suspected && !hears_nothing {
            return Err(Rejected::Stale);
        }
        if self.watch.keeps_claim(bytes) {
            return Err(Rejected::Duplicate);
        }
        let takeover = membership.on_takeover(now, from.ip(), bytes)?;
        if suspected && !self.watch.is_silent() {
            self.watch.keep_claim(from, bytes);
            return Ok(());
        }
        self.follow_successor(now, &takeover);
        Ok(())
    }

    fn follow_successor(&mut self, now: Instant, takeover: &Verified<Takeover>) {
        let Some(membership) = &mut self.membership else { return };
        let members = membership.alarm().map_or(u32::MAX, |alarm| alarm.members);
        let credential_delay = CREDENTIAL_DELAY.saturating_mul(members).min(LONGEST_CREDENTIAL_DELAY);
        membership.follow_successor(takeover);
        let grant = membership.grant();
        let (office, timing) = (takeover.office, grant.timing);
        self.catch_up = Some(CatchUp::new(grant.domain, grant.manager));
        self.evidence = Evidence::new();
        self.repair = Repair::new();
        self.asked = None;
        self.timers.set(Timer::Credential, now + jitter(&mut *self.rng.0, credential_delay));
        self.timers.set(Timer::Former, now + TAKEOVER_REPEATED);
        (self.last_alarm, self.last_multicast) = (now, now);
        self.nameless = true;
        self.on_sign_of_life(now, &timing);
        [Aim::Again, Aim::Moved].into_iter().for_each(|aim| self.cancel(aim));
        self.outbox.tell(MemberEvent::ManagerChanged { by: office.sender, start: office.start });
    }

    /// The name of a manager that took over is known now.
    pub(super) fn name_manager(&mut self, identity: &str) {
        if std::mem::take(&mut self.nameless) {
            if let Some(membership) = &mut self.membership {
                membership.name_manager(identity);
            }
            self.outbox.tell(MemberEvent::ManagerNamed { identity: identity.to_owned() });
        }
    }

    /// Asks the manager to vouch for this member anew, until it has.
    pub(super) fn ask_credential(&mut self, now: Instant) {
        let nonce = now.micros();
        self.asked_credential = Some(nonce);
        self.timers.set(Timer::Credential, now + RESYNC_INTERVAL);
        self.send_unicast(ToManager::Credential { nonce });
    }

    pub(super) fn on_credential(
        &mut self,
        nonce: u64,
        credential: protocol::Credential,
    ) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        if self.asked_credential != Some(nonce) {
            return Err(Rejected::OutOfPlace);
        }
        let own = self.config.signer.public_key();
        membership.on_credential(credential, &own, &*self.config.verifier)?;
        self.asked_credential = None;
        self.timers.stop(Timer::Credential);
        Ok(())
    }

    pub(super) fn forget_former(&mut self) {
        if let Some(membership) = &mut self.membership {
            membership.forget_former();
        }
    }

    pub(super) fn on_renewal(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let effect = membership.on_renewal(now, from, &self.config.exchange, bytes)?;
        // What was asked under the old key has no other answer than this.
        self.repair = Repair::new();
        self.asked = None;
        self.on_effect(now, effect);
        Ok(())
    }

    /// The list of this manager is known: whom its predecessors evicted beyond that, it is shown.
    pub(super) fn compare_evidence(&mut self, now: Instant) {
        let (Some(membership), Some(catch_up)) = (&self.membership, &self.catch_up) else { return };
        if catch_up.is_whole() {
            self.evidence.on_caught_up(now, &self.revocations, membership.former(), &mut *self.rng.0);
        }
    }

    pub(super) fn on_evidence_due(&mut self, now: Instant) {
        let Some(membership) = &self.membership else { return };
        let shows = self.evidence.on_due(now, &self.revocations, membership.former());
        shows.into_iter().for_each(|shows| self.send_unicast(shows));
    }

    /// Nobody took over: who may manage stands for election, if nobody else is there.
    fn on_no_successor(&mut self, now: Instant) {
        let tried_all = self.has_tried_all(now);
        if self.may_stand(now)
            && let Some(election) = &mut self.election
        {
            election.nobody_answers(now, tried_all, &mut *self.rng.0);
        }
    }
}
