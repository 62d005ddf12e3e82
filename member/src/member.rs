//! The member: routes inputs to the parts that deal with them, and their outcomes to the outbox.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keytree::KeyPath;
use protocol::{
    ALL_MISSING, ANY_BLOCK, CloseReason, Commit, ConnId, DatagramKind, Envelope, Input, Instant, Lane,
    Machine, Nak, Outbox, Peer, Record, Rejected, StateId, Timers, ToManager, ToMember, Transmit,
};
use rand_core::CryptoRng;

use crate::config::{Candidacy, MemberConfig};
use crate::event::{Ending, MemberEvent, Place};
use crate::membership::{Effect, Membership};
use crate::registration::{Admission, Progress, RegistrationExchange, jitter};
use crate::repair::{Ask, Repair};

/// Each keepalive goes out twice, the second one this part of the interval later. Nobody answers keepalives, and a
/// manager puts out who misses three: sent once, at a loss of one in ten that would befall a member every three hours.
const KEEPALIVE_REPEAT: u32 = 10;
/// Between two leave requests while none is answered.
const LEAVE_RETRY: Duration = Duration::from_millis(300);
/// Leave requests before the member goes without an answer.
const LEAVE_TRIES: u32 = 10;

/// The timers of a member; the exchange and the repair have one deadline each of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    /// When to tell the manager that we are here.
    Keepalive,
    /// When the manager is held for silent.
    Silence,
    /// When to ask again to leave.
    Leave,
    /// When a key is past its cut.
    Cut,
    /// When data under an unknown key came and no alarm explained it.
    Hint,
}

/// A leave that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    nonce: u64,
    tries: u32,
}

/// A member of one subgroup (GSM 2.1, member mode): it registers, follows key updates and alarms, asks for what it
/// missed, and leaves.
///
/// Built by the driver with the system's randomness (or the simulator's), then told to [`Member::join`]. It never
/// gives up by itself: while no manager answers it keeps looking, and it keeps its keys while its manager is silent.
#[derive(Debug)]
pub struct Member {
    config: MemberConfig,
    rng: Rng,
    candidacy: Option<Candidacy>,
    exchange: RegistrationExchange,
    membership: Option<Box<Membership>>,
    leaving: Option<Leaving>,
    /// Whether the next keepalive is the repeat of the last one.
    repeats_keepalive: bool,
    /// The nonce of the newest resync request that has no answer.
    asked: Option<u64>,
    repair: Repair,
    timers: Timers<Timer>,
    outbox: Outbox<MemberEvent>,
}

/// What is left of a member that becomes manager.
pub struct Promotion {
    /// The randomness it was built with.
    pub rng: Box<dyn CryptoRng + Send>,
    /// What it stood with; `None` if it never stood.
    pub candidacy: Option<Candidacy>,
    /// The number of the next connection this node opens.
    pub next_conn: u64,
}

impl std::fmt::Debug for Promotion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Promotion").field("candidacy", &self.candidacy).finish_non_exhaustive()
    }
}

/// The randomness handed in; named so that printing a member never prints it.
struct Rng(Box<dyn CryptoRng + Send>);

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng(..)")
    }
}

impl Member {
    /// A member that does nothing until it is told to join.
    pub fn new(config: MemberConfig, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            config,
            rng: Rng(rng),
            candidacy: None,
            exchange: RegistrationExchange::new(),
            membership: None,
            leaving: None,
            repeats_keepalive: false,
            asked: None,
            repair: Repair::new(),
            timers: Timers::new(),
            outbox: Outbox::new(Commit(0)),
        }
    }

    /// The member of a node that was manager until now and gave way: it tries the registrars `first` before any other,
    /// and numbers its connections from `next_conn` on.
    pub fn new_after(
        mut config: MemberConfig,
        rng: Box<dyn CryptoRng + Send>,
        next_conn: u64,
        first: Vec<SocketAddr>,
    ) -> Self {
        config.registrars.splice(0..0, first);
        let mut member = Self::new(config, rng);
        member.exchange = RegistrationExchange::numbered_from(next_conn);
        member
    }

    /// Makes this an eligible node: where nobody manages the group, it stands for election with `candidacy`. Called
    /// before [`Member::join`]; a mandate that is too long for its datagrams is not stood with.
    pub fn stand(&mut self, candidacy: Candidacy) {
        if candidacy.mandate.fits() && self.config.discovery.is_some() {
            self.candidacy = Some(candidacy);
        }
    }

    /// What the manager needs that this node becomes, after [`MemberEvent::Elected`]. What the member still had to say
    /// is lost, so its queues are drained before.
    pub fn into_promotion(self) -> Promotion {
        Promotion { rng: self.rng.0, candidacy: self.candidacy, next_conn: self.exchange.next_conn() }
    }

    /// Begins to look for a manager. Called once by the application; more calls change nothing.
    pub fn join(&mut self, now: Instant) {
        if self.membership.is_none() {
            self.exchange.start(now);
        }
    }

    /// Asks the manager to take this node out, and ends the membership when it has answered or after three seconds.
    ///
    /// Data goes on until then. Without a membership it only stops the search, at whatever point that is.
    pub fn leave(&mut self, now: Instant) {
        if let Some(close) = self.exchange.abandon() {
            self.outbox.send(close);
        }
        if self.membership.is_none() || self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Leaving { nonce: self.rng.0.next_u64(), tries: 0 });
        self.ask_to_leave(now);
    }

    /// The state this member holds, if any.
    pub fn held(&self) -> Option<StateId> {
        self.membership.as_ref().and_then(|membership| membership.held())
    }

    /// The newest state any signed message named, if it is in a subgroup.
    pub fn known(&self) -> Option<StateId> {
        self.membership.as_ref().map(|membership| membership.known())
    }

    /// Whether the manager has given no sign of life for the configured silence. The keys are kept meanwhile.
    pub fn manager_silent(&self) -> bool {
        self.membership.is_some() && self.timers.due(Timer::Silence).is_none()
    }

    /// The keys of the tree this member holds, for a simulator's adversary and for promotion. They open tree entries:
    /// whoever has them reads the subgroup until they are replaced.
    pub fn key_path(&self) -> Option<&KeyPath> {
        self.membership.as_ref().map(|membership| membership.path())
    }

    fn on_datagram(&mut self, now: Instant, lane: Lane, from: IpAddr, bytes: &[u8]) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let kind = Envelope::for_domain(bytes, &membership.grant().domain)?.kind;
        match (lane, kind) {
            (Lane::Control, DatagramKind::KeyUpdate) => {
                let effect = membership.on_key_update(now, from, bytes)?;
                self.on_effect(now, effect);
            }
            (Lane::Control, DatagramKind::Alarm) => {
                let effect = membership.on_alarm(now, from, bytes)?;
                self.on_alarm_heard(now);
                self.on_effect(now, effect);
            }
            (Lane::Unicast, DatagramKind::ToMember) => self.on_unicast(now, bytes)?,
            _ => return Err(Rejected::NotForUs),
        }
        Ok(())
    }

    fn on_unicast(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
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
                self.on_effect(now, effect);
            }
            ToMember::LeaveTaken { nonce } => {
                if self.leaving.is_none_or(|leaving| leaving.nonce != *nonce) {
                    return Err(Rejected::OutOfPlace);
                }
                self.end(Ending::Left);
            }
            ToMember::Revocations { .. } => return Err(Rejected::OutOfPlace),
        }
        Ok(())
    }

    /// A verified alarm: the manager lives.
    fn on_alarm_heard(&mut self, now: Instant) {
        let Some(membership) = &self.membership else { return };
        self.timers.set(Timer::Silence, now + membership.grant().timing.silence);
        self.timers.stop(Timer::Hint);
        self.exchange.stop_waiting();
    }

    /// Carries the outcome of a message on: events, repair, timers.
    fn on_effect(&mut self, now: Instant, effect: Effect) {
        let Some(membership) = &self.membership else { return };
        // The data plane first: whoever hears that a state is held may rely on its key being in use.
        if effect.ring {
            self.outbox.tell(MemberEvent::KeyRing(membership.ring()));
        }
        if let Some((state, hard)) = effect.installed {
            self.outbox.tell(MemberEvent::Installed { state, hard });
        }
        match membership.missing() {
            Some((wanted, _)) => {
                self.repair.on_gap(now, wanted, &membership.grant().timing, &mut *self.rng.0)
            }
            None => self.repair.on_whole(),
        }
        self.set_cut_timer();
    }

    fn set_cut_timer(&mut self) {
        match self.membership.as_ref().and_then(|membership| membership.next_cut()) {
            Some(at) => self.timers.set(Timer::Cut, at),
            None => self.timers.stop(Timer::Cut),
        }
    }

    /// What a step of the registration led to.
    fn on_progress(&mut self, now: Instant, progress: Progress, registrar: Option<SocketAddr>) {
        match (progress, registrar) {
            (Progress::Granted(admission), _) => {
                self.outbox.tell(MemberEvent::Granted(place(&admission)));
            }
            (Progress::Admitted(admission), _) => self.begin(now, *admission),
            (Progress::Refused(why), Some(registrar)) => {
                self.outbox.tell(MemberEvent::Refused { registrar, why });
                // Whoever is put out for good learns it here, from a certified manager, over TLS.
                if why.is_final() && self.membership.is_some() {
                    self.end(Ending::PutOut);
                }
            }
            (Progress::Distrusted, Some(registrar)) => {
                self.outbox.tell(MemberEvent::Distrusted { registrar })
            }
            (Progress::Unreachable(why), Some(registrar)) => {
                self.outbox.tell(MemberEvent::Unreachable { registrar, why });
            }
            _ => {}
        }
    }

    /// The membership of an admission begins; one that stood before is over.
    fn begin(&mut self, now: Instant, admission: Admission) {
        self.repair = Repair::new();
        self.leaving = None;
        self.asked = None;
        let membership = Box::new(Membership::new(admission, &self.config));
        let timing = membership.grant().timing;
        self.outbox.tell(MemberEvent::Admitted);
        self.outbox.tell(MemberEvent::KeyRing(membership.ring()));
        self.membership = Some(membership);
        self.timers = Timers::new();
        self.timers.set(Timer::Silence, now + timing.silence);
        self.timers.set(Timer::Keepalive, now + jitter(&mut *self.rng.0, timing.alarm_interval));
    }

    /// The membership is over: its keys are dropped, and the data plane is told so.
    fn end(&mut self, how: Ending) {
        let Some(membership) = self.membership.take() else { return };
        let grant = membership.grant();
        self.leaving = None;
        self.repair = Repair::new();
        self.timers = Timers::new();
        let empty =
            data::KeyRing::empty(grant.domain.suite, grant.domain.group, grant.domain.subgroup, grant.sender);
        self.outbox.tell(MemberEvent::KeyRing(empty));
        self.outbox.tell(MemberEvent::Ended(how));
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        let Some(timing) = self.membership.as_ref().map(|membership| membership.grant().timing) else {
            return;
        };
        match timer {
            Timer::Keepalive => {
                self.repeats_keepalive = !self.repeats_keepalive;
                let repeat = timing.keepalive / KEEPALIVE_REPEAT;
                let next = if self.repeats_keepalive { repeat } else { timing.keepalive - repeat };
                self.timers.set(Timer::Keepalive, now + next);
                let held = self.held();
                self.send_unicast(ToManager::Keepalive { counter: now.micros(), held });
            }
            Timer::Silence => {
                self.outbox.tell(MemberEvent::ManagerSilent);
                self.look_again(now, timing.silence);
            }
            Timer::Leave => self.ask_to_leave(now),
            Timer::Cut => self.on_cut(now),
            Timer::Hint => self.ask_resync(now),
        }
    }

    /// Registers again within `most`, unless this node is on its way out.
    fn look_again(&mut self, now: Instant, most: Duration) {
        if self.leaving.is_none() {
            self.exchange.start(now + jitter(&mut *self.rng.0, most));
        }
    }

    fn on_cut(&mut self, now: Instant) {
        let Some(membership) = &mut self.membership else { return };
        if membership.expire(now) {
            self.outbox.tell(MemberEvent::KeyRing(membership.ring()));
        }
        self.set_cut_timer();
    }

    fn ask_to_leave(&mut self, now: Instant) {
        let Some(leaving) = &mut self.leaving else { return };
        if leaving.tries >= LEAVE_TRIES {
            self.end(Ending::LeftUnheard);
            return;
        }
        leaving.tries += 1;
        let nonce = leaving.nonce;
        self.timers.set(Timer::Leave, now + LEAVE_RETRY);
        self.send_unicast(ToManager::Leave { nonce });
    }

    fn ask_resync(&mut self, now: Instant) {
        let (nonce, held) = (now.micros(), self.held());
        self.asked = Some(nonce);
        self.send_unicast(ToManager::Resync { nonce, held });
    }

    fn on_repair_due(&mut self, now: Instant) {
        let Some(membership) = &self.membership else { return };
        let timing = membership.grant().timing;
        match self.repair.on_due(now, &timing, &mut *self.rng.0) {
            Some(Ask::Nak) => self.send_nak(),
            Some(Ask::Resync) => self.ask_resync(now),
            Some(Ask::Rejoin) => {
                self.ask_resync(now);
                self.look_again(now, timing.alarm_interval);
            }
            None => {}
        }
    }

    fn send_nak(&mut self) {
        let Some(membership) = &self.membership else { return };
        let Some((wanted, held)) = membership.missing() else { return };
        let Some(prefilter) = membership.prefilter(held) else { return };
        let grant = membership.grant();
        let nak = Nak {
            wanted,
            held,
            reg_no: grant.reg_no,
            block: ANY_BLOCK,
            missing: ALL_MISSING,
            nonce: self.rng.0.next_u64(),
        };
        let bytes = nak.encode(&grant.domain, prefilter);
        self.outbox.send(Transmit::Multicast { to: grant.control, ttl: grant.ttl, bytes });
    }

    fn send_unicast(&mut self, message: ToManager) {
        let Some(membership) = &self.membership else { return };
        let bytes = message.seal(&membership.registration(), &mut *self.rng.0);
        self.outbox.send(Transmit::Unicast { to: membership.grant().manager_address, bytes });
    }

    fn on_opened(&mut self, conn: ConnId, peer: Peer) -> Result<(), Rejected> {
        let transmit = self.exchange.on_opened(conn, peer, &self.config)?;
        self.outbox.send(transmit);
        Ok(())
    }

    fn on_frame(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> Result<(), Rejected> {
        let registrar = self.exchange.registrar(&self.config);
        let (transmits, progress) =
            self.exchange.on_frame(now, conn, bytes, &self.config, &mut *self.rng.0)?;
        transmits.into_iter().for_each(|transmit| self.outbox.send(transmit));
        self.on_progress(now, progress, registrar);
        Ok(())
    }

    fn on_closed(&mut self, now: Instant, conn: ConnId, why: CloseReason) -> Result<(), Rejected> {
        let registrar = self.exchange.registrar(&self.config);
        let progress = self.exchange.on_closed(now, conn, why, &mut *self.rng.0)?;
        self.on_progress(now, progress, registrar);
        Ok(())
    }

    /// Data came under a key that is not in the ring: if no alarm explains it soon, ask.
    fn on_hint(&mut self, now: Instant) -> Result<(), Rejected> {
        let membership = self.membership.as_ref().ok_or(Rejected::NotForUs)?;
        self.timers.set_earlier(Timer::Hint, now + membership.grant().timing.alarm_interval * 2);
        Ok(())
    }
}

impl AsMut<Self> for Member {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Machine for Member {
    type Event = MemberEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        if self.outbox.is_full() {
            return Err(Rejected::Busy);
        }
        match input {
            Input::Datagram { lane, from, bytes } => self.on_datagram(now, lane, from.ip(), bytes),
            Input::Opened { conn, peer } => self.on_opened(conn, peer),
            Input::Frame { conn, bytes } => self.on_frame(now, conn, bytes),
            Input::Closed { conn, why } => self.on_closed(now, conn, why),
            Input::Hint(_) => self.on_hint(now),
            // A plain member listens for nobody and keeps no journal.
            Input::Accepted { .. } | Input::Stored { .. } | Input::StoreFailed => Err(Rejected::NotForUs),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            self.on_timer(now, timer);
        }
        if self.repair.due().is_some_and(|due| due <= now) {
            self.on_repair_due(now);
        }
        if self.exchange.due().is_some_and(|due| due <= now) {
            let registrar = self.exchange.registrar(&self.config);
            let (transmit, progress) = self.exchange.on_due(now, &self.config, &mut *self.rng.0);
            transmit.into_iter().for_each(|transmit| self.outbox.send(transmit));
            self.on_progress(now, progress, registrar);
        }
    }

    fn poll_record(&mut self) -> Option<Record> {
        self.outbox.poll_record()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<MemberEvent> {
        self.outbox.poll_event()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.repair.due(), self.exchange.due()].into_iter().flatten().min()
    }
}

fn place(admission: &Admission) -> Place {
    let grant = &admission.grant;
    Place {
        subgroup: grant.domain.subgroup,
        reg_no: grant.reg_no,
        sender: grant.sender,
        manager: admission.manager.clone(),
        control: grant.control,
        data: grant.data,
        ttl: grant.ttl,
    }
}
