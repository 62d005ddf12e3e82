//! The member in search of a manager: FIND and what answers it, registrations, the election, and what it does when the
//! manager it has falls silent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use protocol::discovery::{Find, FindKind, Held, Presence, Reply};
use protocol::limits::FINDS;
use protocol::{CloseReason, ConnId, Instant, Peer, Refusal, Rejected, Transmit};

use super::subgroup::QUIET_INTERVALS;
use super::{Aim, Member, Timer};
use crate::election::{Action, Standing};
use crate::event::{Ending, MemberEvent, Move, Place};
use crate::registration::{Avoid, Progress, jitter};
use crate::search::{Step, local_find};

/// The wait after a reason that only an operator can change, at most; at least half of it.
const FINAL_WAIT: Duration = Duration::from_secs(60);
/// The longest random wait before a member registers with another manager while its own is silent.
const LOST_DELAY: Duration = Duration::from_secs(1);
/// The same when its own manager came back without its state, and all its members come at once.
const FORGOTTEN_DELAY: Duration = Duration::from_secs(2);
/// The same when the manager gives way and says where to.
const SENT_DELAY: Duration = Duration::from_millis(500);
/// For so long a manager that cannot be followed must be there before a member registers anew: one that was started
/// again gives its first alarm much sooner, and then nobody registers.
pub(super) const GOES_ON: Duration = Duration::from_secs(10);
/// FINDs of a run while the node has a membership.
const FINDS_OF_A_MEMBER: u32 = 1;
/// A manager that lives gives an alarm within so many intervals; only after them may its presence under another subgroup
/// be true.
const ALARM_INTERVALS: u32 = 4;

impl Member {
    /// Begins to look for a manager at `at`.
    pub(super) fn look_for_manager(&mut self, at: Instant) {
        self.aim = Some(Aim::Join);
        self.candidates.configure(&self.config.registrars);
        self.exchange.start(at);
        if self.discovery.is_some() {
            self.search.start(at, FINDS);
        }
    }

    /// Stops looking, whatever is under way.
    pub(super) fn stop_looking(&mut self) {
        self.aim = None;
        let closes = self.exchange.abandon();
        self.send_all(closes);
        self.stay();
        self.search.stop();
        self.candidates.clear();
        self.stop_standing();
    }

    /// The manager gave no alarm for the configured silence. The keys stay, and nobody registers for that alone.
    pub(super) fn on_silence(&mut self, now: Instant) {
        self.outbox.tell(MemberEvent::ManagerSilent);
        if self.leaving.is_some() {
            return;
        }
        if self.discovery.is_some() {
            let at = now + jitter(&mut *self.rng.0, LOST_DELAY);
            self.search.start(at, FINDS_OF_A_MEMBER);
        } else {
            self.timers.set(Timer::LookAgain, now + GOES_ON);
        }
    }

    /// No alarm came for so long that the keys are given up: whoever was evicted meanwhile reads no longer than this.
    pub(super) fn on_orphaned(&mut self, now: Instant) {
        if self.leaving.is_some() {
            self.end(Ending::LeftUnheard);
            return;
        }
        self.stop_looking();
        self.end(Ending::Orphaned);
        let at = now + jitter(&mut *self.rng.0, LOST_DELAY);
        self.look_for_manager(at);
    }

    /// Nothing is found where there is no discovery: the registrars that are known, then.
    pub(super) fn look_again(&mut self, now: Instant, most: Duration) {
        let wait = jitter(&mut *self.rng.0, most);
        self.register_again(now + wait, Aim::Afresh);
    }

    /// Registers where the member registered before, or wherever the operator says.
    pub(super) fn register_again(&mut self, now: Instant, aim: Aim) {
        let Some(membership) = &self.membership else { return };
        if self.aim.is_none() && self.leaving.is_none() {
            self.candidates.prove(membership.registrar());
            self.candidates.configure(&self.config.registrars);
            self.go(now, aim, Move::NotKnown);
        }
    }

    /// Wants another registration, for a membership that stands until then.
    pub(super) fn go(&mut self, now: Instant, aim: Aim, why: Move) {
        let Some(membership) = &self.membership else { return };
        let heeds = self.aim.is_none() || (aim == Aim::Moved && self.aim != Some(Aim::Moved));
        if self.leaving.is_some() || !heeds {
            return;
        }
        let within = match why {
            Move::SentAway => SENT_DELAY,
            Move::ManagerLost | Move::OutOfReach => LOST_DELAY,
            Move::ManagerForgot => FORGOTTEN_DELAY,
            Move::NotKnown => membership.grant().timing.alarm_interval,
        };
        self.aim = Some(aim);
        self.outbox.tell(MemberEvent::Moving(why));
        let at = now + jitter(&mut *self.rng.0, within);
        self.exchange.start(at);
    }

    /// What the node wanted `aim` for is over.
    pub(super) fn cancel(&mut self, aim: Aim) {
        if self.aim == Some(aim) {
            self.aim = None;
            let closes = self.exchange.give_up();
            self.send_all(closes);
            self.candidates.clear();
        }
    }

    pub(super) fn on_search_due(&mut self, now: Instant) {
        match self.search.on_due(now, &mut *self.rng.0) {
            Step::Find(nonce) => {
                let path = self.membership.iter().map(|own| own.grant().domain.subgroup).collect();
                let (find, ttl) = local_find(nonce, path);
                let bytes = find.encode(self.config.group);
                self.discover(ttl, bytes);
            }
            Step::Over => {
                let tried_all = self.has_tried_all(now);
                if self.may_stand(now)
                    && let Some(election) = &mut self.election
                {
                    election.nobody_answers(now, tried_all, &mut *self.rng.0);
                }
            }
        }
    }

    pub(super) fn on_exchange_due(&mut self, now: Instant) {
        let (transmits, progress) = self.exchange.on_due(now, &mut self.candidates, &mut *self.rng.0);
        self.send_all(transmits);
        progress.into_iter().for_each(|progress| self.on_progress(now, progress));
    }

    pub(super) fn on_election_due(&mut self, now: Instant) {
        let action = self.election.as_mut().map(|election| election.on_due(now, &mut *self.rng.0));
        self.act(action.unwrap_or(Action::Wait));
    }

    /// TLS stands with a candidate.
    pub(super) fn on_opened(&mut self, now: Instant, conn: ConnId, peer: Peer) -> Result<(), Rejected> {
        let shut_out = self.revocations.shut_out(&peer.identity, &peer.certificate);
        let (transmits, progress) = self.exchange.on_opened(now, (conn, peer), &self.config, shut_out)?;
        self.send_all(transmits);
        if self.exchange.is_asking() {
            self.stop_standing();
        }
        self.on_progress(now, progress);
        Ok(())
    }

    pub(super) fn on_frame(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> Result<(), Rejected> {
        let avoid = self.avoids();
        let (transmits, progress) = self.exchange.on_frame(now, conn, bytes, &self.config, avoid)?;
        self.send_all(transmits);
        self.on_progress(now, progress);
        Ok(())
    }

    pub(super) fn on_closed(&mut self, now: Instant, conn: ConnId, why: CloseReason) -> Result<(), Rejected> {
        let progress = self.exchange.on_closed(now, conn, why)?;
        self.on_progress(now, progress);
        Ok(())
    }

    /// What a step of the registration led to.
    fn on_progress(&mut self, now: Instant, progress: Progress) {
        let failed = match progress {
            Progress::Going => return,
            Progress::Granted(admission) => {
                self.listens_elsewhere = self.membership.is_some();
                let place = Place::of(&admission.grant, &admission.manager);
                self.outbox.tell(MemberEvent::Granted(place));
                return;
            }
            Progress::Admitted(admission) => {
                self.begin(now, *admission);
                return;
            }
            Progress::Refused(registrar, why) => {
                self.outbox.tell(MemberEvent::Refused { registrar, why });
                self.on_refused(now, why);
                registrar
            }
            Progress::Distrusted(registrar) => {
                self.outbox.tell(MemberEvent::Distrusted { registrar });
                registrar
            }
            Progress::Unreachable(registrar, why) => {
                self.outbox.tell(MemberEvent::Unreachable { registrar, why });
                registrar
            }
            Progress::OldPlace(registrar) => registrar,
        };
        self.stay();
        self.candidates.failed(now, failed, &mut *self.rng.0);
        if self.has_tried_all(now)
            && let Some(election) = &mut self.election
        {
            election.candidates_failed(now, &mut *self.rng.0);
        }
    }

    /// The driver listens where a manager grants a place, for the first key update may come before the word that the node
    /// is in. If that word does not come, the membership that stands is followed where it is.
    fn stay(&mut self) {
        if !self.exchange.is_granted()
            && std::mem::take(&mut self.listens_elsewhere)
            && let Some(membership) = &self.membership
        {
            self.outbox.tell(MemberEvent::Stays(membership.place()));
        }
    }

    /// A certified manager said no, over TLS: so there is one.
    fn on_refused(&mut self, now: Instant, why: Refusal) {
        match why {
            Refusal::NotManager | Refusal::UnknownGroup => return,
            Refusal::Full | Refusal::ReadOnly | Refusal::NotConfirmed => {
                self.search.on_manager(now);
                return;
            }
            Refusal::NotCertified | Refusal::Denied | Refusal::Revoked => {}
        }
        let until = now + FINAL_WAIT / 2 + jitter(&mut *self.rng.0, FINAL_WAIT / 2);
        self.search.on_manager_until(until);
        // Whoever is put out for good learns it here. Another manager's access list ends no membership, a revocation
        // does, for it holds in the whole group.
        if self.membership.is_some() && (why == Refusal::Revoked || self.aim == Some(Aim::Again)) {
            self.stop_looking();
            self.end(Ending::PutOut);
            self.look_for_manager(until);
        }
        if self.aim.is_some() {
            self.exchange.rest(until);
            self.search.rest(until);
        }
    }

    /// Somebody looks for a manager, and this member's is quiet. Silence would be too late: whoever comes up right after
    /// a manager died has searched, claimed and won before that.
    pub(super) fn on_find(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Result<(), Rejected> {
        let membership = self.membership.as_ref().ok_or(Rejected::NotForUs)?;
        let (group, grant) = (self.config.group, membership.grant());
        let quiet = self.last_alarm + grant.timing.alarm_interval * QUIET_INTERVALS;
        // When it is clear that nobody takes over, a newcomer may be the next manager.
        if now < quiet || self.leaving.is_some() || self.watch.elects() {
            return Err(Rejected::NotForUs);
        }
        let hint = Find::decode(bytes, group)?;
        let find = hint.said();
        let own = self.search.asked_with(find.nonce);
        // Members of this subgroup look around as well; they know what this one knows.
        if own || find.kind != FindKind::Local || find.path.contains(&grant.domain.subgroup) {
            return Err(Rejected::NotForUs);
        }
        let last = self.heard.last_of(&grant.manager, grant.domain.subgroup);
        let shows = (last.ok_or(Rejected::NotForUs)?, membership.leaves());
        self.witness.on_find(now, from, find, shows, |held| held.encode(group), &mut *self.rng.0)
    }

    /// Somebody claims the group.
    pub(super) fn on_claim(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let election = self.election.as_mut().filter(|election| election.listens());
        let (Some(election), Some(gate)) = (election, &mut self.discovery) else {
            return Err(Rejected::NotForUs);
        };
        let (claim, certified) = gate.claim(now, bytes)?.into_inner();
        if self.revocations.shut_out(&certified.identity, &certified.fingerprint) {
            return Err(Rejected::Refused);
        }
        let theirs = Standing::new(claim.priority, certified.fingerprint, claim.mandate.key);
        let action = election.on_claim(now, &theirs);
        self.act(action);
        Ok(())
    }

    /// A manager makes itself heard.
    pub(super) fn on_presence(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let gate = self.discovery.as_mut().ok_or(Rejected::NotForUs)?;
        let presence = gate.presence(now, bytes)?.into_inner();
        self.admit_presence(&presence)?;
        self.heard.note(now, &presence);
        if self.membership.is_some() {
            self.on_presence_as_member(now, &presence);
        } else if self.aim == Some(Aim::Join) {
            self.search.on_presence(now);
            self.prove_all(&presence);
            if self.search.others_there(now) {
                self.stop_standing();
            }
        }
        Ok(())
    }

    /// Another manager, or the own one in another place, while this node has a membership.
    fn on_presence_as_member(&mut self, now: Instant, presence: &Presence) {
        let Some(membership) = &self.membership else { return };
        let grant = membership.grant();
        let own_key = presence.mandate.key == grant.manager;
        let here = presence.domain.subgroup == grant.domain.subgroup;
        let quiet = now >= self.last_alarm + grant.timing.alarm_interval * ALARM_INTERVALS;
        let why = match (own_key, here) {
            // Its alarms follow. Since its last start it may take registrations at another port.
            (true, true) => {
                if let Some(membership) = &mut self.membership {
                    membership.on_presence(presence.alarm.state, &presence.registrars);
                }
                self.name_manager(&presence.manager.identity);
                if self.aim.is_some() {
                    self.prove_all(presence);
                }
                return;
            }
            // It may have taken over: then it says so again, and nobody registers for that.
            (false, true) if !self.said_to_go_on_for_long(now) => return,
            (true, false) if quiet => Move::ManagerForgot,
            (false, _) if self.manager_silent() => Move::ManagerLost,
            (false, false) if self.is_out_of_reach(now) => Move::OutOfReach,
            _ => return,
        };
        if self.leaving.is_none() {
            self.search.on_presence(now);
            self.stop_standing();
            self.prove_all(presence);
            self.go(now, Aim::Away, why);
        }
    }

    /// Whether somebody has said for a while that the subgroup of the silent manager has one.
    fn said_to_go_on_for_long(&mut self, now: Instant) -> bool {
        self.manager_silent() && now >= *self.said_to_go_on.get_or_insert(now) + GOES_ON
    }

    /// Somebody answers a FIND and says that it is a manager.
    pub(super) fn on_reply(&mut self, now: Instant, from: IpAddr, bytes: &[u8]) -> Result<(), Rejected> {
        let hint = Reply::decode(bytes, self.config.group)?;
        let reply = hint.said();
        if !self.search.asked_with(reply.nonce) {
            return Err(Rejected::OutOfPlace);
        }
        let Some(membership) = &self.membership else {
            self.hint_all(now, from, reply);
            return Ok(());
        };
        if reply.subgroup != membership.grant().domain.subgroup {
            let why = if self.is_stranded(now) { Move::OutOfReach } else { Move::ManagerLost };
            if self.hint_all(now, from, reply) {
                self.go(now, Aim::Away, why);
            }
            return Ok(());
        }
        if self.is_stranded(now) {
            // It hears this node: the others around it hear the manager, and need no second one.
            self.search.on_presence(now);
            self.stop_standing();
            return Ok(());
        }
        // Its alarms should follow; if none does for long, it is another manager in the same place.
        if self.said_to_go_on_for_long(now) && self.hint_all(now, from, reply) {
            self.go(now, Aim::Afresh, Move::NotKnown);
        }
        Ok(())
    }

    /// A member answers a FIND: its manager is silent, and it holds a state.
    pub(super) fn on_held(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let hint = Held::decode(bytes, self.config.group)?;
        if !self.search.asked_with(hint.said().nonce) {
            return Err(Rejected::OutOfPlace);
        }
        let seeks = self.membership.is_none();
        if !seeks && !self.is_stranded(now) {
            return Err(Rejected::NotForUs);
        }
        let gate = self.discovery.as_mut().ok_or(Rejected::NotForUs)?;
        if self.held.as_ref() != Some(&hint.said().presence) {
            let presence = gate.held(now, &hint)?.into_inner();
            self.admit_presence(&presence)?;
            if seeks {
                self.prove_all(&presence);
            }
            self.held = Some(presence.datagram);
        }
        self.search.on_held(now);
        if self.search.others_there(now) {
            self.stop_standing();
        }
        Ok(())
    }

    /// Refuses the presence of who was evicted, and of this node itself.
    fn admit_presence(&self, presence: &Presence) -> Result<(), Rejected> {
        if self.revocations.shut_out(&presence.manager.identity, &presence.manager.fingerprint) {
            return Err(Rejected::Refused);
        }
        let own = self.candidacy.as_ref().map(|candidacy| candidacy.mandate.key);
        if own == Some(presence.mandate.key) { Err(Rejected::NotForUs) } else { Ok(()) }
    }

    /// A certified manager says where to register.
    fn prove_all(&mut self, presence: &Presence) {
        presence.registrars.iter().for_each(|registrar| self.candidates.prove(*registrar));
    }

    pub(super) fn stop_standing(&mut self) {
        if let Some(election) = &mut self.election {
            election.stop();
        }
    }

    /// Takes the registrars of a reply as candidates, and says whether any was taken.
    fn hint_all(&mut self, now: Instant, from: IpAddr, reply: &Reply) -> bool {
        let mut taken = false;
        for registrar in &reply.registrars {
            taken |= self.candidates.hint(now, *registrar, from);
        }
        taken
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Wait => {}
            Action::Claim { first } => {
                if first {
                    self.outbox.tell(MemberEvent::Standing);
                }
                if let Some(candidacy) = &self.candidacy {
                    let claim = protocol::discovery::Claim {
                        mandate: candidacy.mandate.clone(),
                        priority: candidacy.priority,
                        registrar: candidacy.registrar,
                    };
                    let bytes = claim.encode(self.config.group, &*candidacy.signer);
                    self.discover(1, bytes);
                }
            }
            Action::Won => {
                self.stop_looking();
                self.outbox.tell(MemberEvent::Elected);
            }
        }
    }

    fn discover(&mut self, ttl: u8, bytes: Vec<u8>) {
        if let Some(discovery) = &self.config.discovery {
            self.outbox.send(Transmit::Multicast { to: discovery.address, ttl, bytes });
        }
    }

    /// Whether this node may claim the group now: it has no manager, or the one it had is lost and has no successor, or
    /// is out of reach.
    pub(super) fn may_stand(&self, now: Instant) -> bool {
        let shut_out =
            self.config.discovery.as_ref().is_none_or(|discovery| {
                self.revocations.shut_out(&discovery.identity, &discovery.fingerprint)
            });
        let alone = self.aim == Some(Aim::Join) || (self.watch.elects() && self.leaving.is_none());
        let alone = alone || self.is_stranded(now);
        alone && !shut_out && !self.exchange.is_asking() && !self.search.others_there(now)
    }

    /// Whether no candidate is being tried or could be.
    pub(super) fn has_tried_all(&self, now: Instant) -> bool {
        !self.exchange.is_busy() && self.candidates.next_due(|_| false).is_none_or(|ready| ready > now)
    }

    /// Who looks for another manager does not register with its own one.
    fn avoids(&self) -> Avoid {
        let grant = self.membership.as_ref()?.grant();
        let avoids = matches!(self.aim, Some(Aim::Away | Aim::Moved));
        avoids.then_some((grant.domain.subgroup, grant.manager))
    }
}
