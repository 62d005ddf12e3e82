//! The member: routes inputs to the parts that deal with them, and their outcomes to the outbox.

mod asking;
mod failover;
mod following;
mod seeking;
mod subgroup;
mod succession;

use std::net::SocketAddr;
use std::time::Duration;

use crypto::PublicKey;
use data::KeyRing;
use keytree::KeyPath;
use protocol::discovery::DiscoveryGate;
use protocol::{
    Commit, DatagramKind, Envelope, Input, Instant, Lane, Machine, Outbox, Record, Rejected, Revocation,
    StateId, Timers, ToManager, Transmit,
};
use rand_core::CryptoRng;

use crate::candidates::Candidates;
use crate::config::{Candidacy, MemberConfig};
use crate::election::{Election, Standing};
use crate::event::{Ending, MemberEvent};
use crate::evidence::Evidence;
use crate::heard::Heard;
use crate::loss::Watch;
use crate::membership::Membership;
use crate::registration::{Admission, RegistrationExchange, jitter};
use crate::repair::Repair;
use crate::revocations::{CatchUp, Origin, Revocations};
use crate::search::Search;
use crate::witness::Witness;

pub use following::Following;
pub use succession::{Promotion, Seat};

/// Keepalives in a keepalive interval, spread over it. Nobody answers keepalives, and a manager puts out who is not heard
/// for three intervals: sent twice in each, at a loss of one in five that would befall a member every forty hours.
const KEEPALIVES: u32 = 4;
/// Between two leave requests while none is answered.
const LEAVE_RETRY: Duration = Duration::from_millis(300);
/// Leave requests before the member goes without an answer.
const LEAVE_TRIES: u32 = 10;

/// The timers of a member; the parts that have one deadline each keep it themselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    /// When to tell the manager that we are here.
    Keepalive,
    /// When to ask the registrars again, where there is no discovery.
    LookAgain,
    /// When the keys are given up, for no manager was heard.
    Hard,
    /// When to ask again to leave.
    Leave,
    /// When a key is past its cut.
    Cut,
    /// When data under an unknown key came and no alarm explained it.
    Hint,
    /// When to ask the manager to vouch for this member.
    Credential,
    /// When what the manager before vouched for counts no more.
    Former,
}

/// A leave that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    nonce: u64,
    tries: u32,
}

/// What the node wants a registration for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aim {
    /// It has none.
    Join,
    /// Its manager is silent, and another one is there, or its own one under another subgroup. Over when the own one is
    /// heard again.
    Away,
    /// Its manager is silent and cannot be followed, but its subgroup goes on. Over when it is heard again.
    Afresh,
    /// Its manager does not know it any more.
    Again,
    /// Its manager sent it elsewhere.
    Moved,
}

/// A member of one subgroup (GSM 2.1, member mode): it finds a manager and registers, follows key updates and alarms,
/// asks for what it missed, follows its manager through a restart, and leaves.
///
/// Built by the driver with the system's randomness (or the simulator's), then told to [`Member::join`]. It never
/// gives up by itself: while no manager answers it keeps looking, and it keeps its keys while its manager is silent, up
/// to [`protocol::Timing::t_hard`]. An eligible one ([`Member::stand`]) becomes the manager where there is none.
#[derive(Debug)]
pub struct Member {
    config: MemberConfig,
    rng: Rng,
    candidacy: Option<Candidacy>,
    election: Option<Election>,
    discovery: Option<DiscoveryGate>,
    heard: Heard,
    /// The presence in the last answer of a member whose manager is silent, so that the next one costs no check.
    held: Option<Vec<u8>>,
    search: Search,
    candidates: Candidates,
    exchange: RegistrationExchange,
    aim: Option<Aim>,
    /// The driver listens where another manager has granted a place.
    listens_elsewhere: bool,
    revocations: Revocations,
    witness: Witness,
    membership: Option<Box<Membership>>,
    catch_up: Option<CatchUp>,
    evidence: Evidence,
    watch: Watch,
    /// When the newest alarm was verified; at first, when the membership began.
    last_alarm: Instant,
    /// The same of alarms that came by multicast.
    last_multicast: Instant,
    /// Since when somebody says that the subgroup of the silent manager has one.
    said_to_go_on: Option<Instant>,
    /// The manager took over, and its name is not known yet.
    nameless: bool,
    leaving: Option<Leaving>,
    /// When the manager sent this node elsewhere.
    sent_away: Instant,
    /// The nonce of the newest resync request that has no answer.
    asked: Option<u64>,
    /// The same of a request for a credential.
    asked_credential: Option<u64>,
    repair: Repair,
    timers: Timers<Timer>,
    outbox: Outbox<MemberEvent>,
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
        Self::new_after(config, rng, 1, Vec::new())
    }

    /// The member of a node that was manager until now and gave way: it tries the registrars `first` before any other,
    /// and numbers its connections from `next_conn` on.
    pub fn new_after(
        config: MemberConfig,
        rng: Box<dyn CryptoRng + Send>,
        next_conn: u64,
        first: Vec<SocketAddr>,
    ) -> Self {
        let mut candidates = Candidates::new();
        first.into_iter().for_each(|to| candidates.prove(to));
        let discovery = config.discovery.as_ref().map(|discovery| {
            let (verifier, certifier) = (config.verifier.clone(), discovery.certifier.clone());
            DiscoveryGate::new(config.group, verifier, certifier)
        });
        Self {
            config,
            rng: Rng(rng),
            candidacy: None,
            election: None,
            discovery,
            heard: Heard::new(),
            held: None,
            search: Search::new(),
            candidates,
            exchange: RegistrationExchange::numbered_from(next_conn),
            aim: None,
            listens_elsewhere: false,
            revocations: Revocations::new(),
            witness: Witness::new(),
            membership: None,
            catch_up: None,
            evidence: Evidence::new(),
            watch: Watch::new(),
            last_alarm: Instant::ZERO,
            last_multicast: Instant::ZERO,
            said_to_go_on: None,
            nameless: false,
            leaving: None,
            sent_away: Instant::ZERO,
            asked: None,
            asked_credential: None,
            repair: Repair::new(),
            timers: Timers::new(),
            outbox: Outbox::new(Commit(0)),
        }
    }

    /// Makes this an eligible node: where nobody manages the group, it stands for election with `candidacy`. Called
    /// before [`Member::join`]; a mandate that is too long for its datagrams is not stood with.
    pub fn stand(&mut self, candidacy: Candidacy) {
        let Some(discovery) = &self.config.discovery else { return };
        if candidacy.mandate.fits() {
            let own = Standing::new(candidacy.priority, discovery.fingerprint, candidacy.mandate.key);
            self.election = Some(Election::new(own));
            self.candidacy = Some(candidacy);
        }
    }

    /// Tells the member who was evicted, where this node knows it from elsewhere: it was the manager itself.
    pub fn shut_out(&mut self, revocations: impl IntoIterator<Item = Revocation>) {
        revocations.into_iter().for_each(|revocation| self.revocations.add(revocation));
    }

    /// Who was evicted from the group, as far as this member knows, ascending.
    pub fn revocations(&self) -> impl Iterator<Item = &Revocation> {
        self.revocations.all()
    }

    /// The same, as far as this member has the word of the manager with this key for it: what it can show that one, which
    /// believes no other where it has lost its own records. For whoever judges what a group knows; newest first.
    pub fn revocations_by(&self, manager: &PublicKey) -> impl Iterator<Item = Revocation> + use<> {
        self.revocations.newest(manager, usize::MAX).into_iter().map(|signed| signed.revocation)
    }

    /// Learns of registrars that the operator configured by names which had no address before. They are tried after those
    /// known already, in this search or the next.
    pub fn learn_registrars(&mut self, registrars: &[SocketAddr]) {
        for registrar in registrars {
            if !self.config.registrars.contains(registrar) {
                self.config.registrars.push(*registrar);
            }
        }
        if self.aim.is_some() {
            self.candidates.configure(&self.config.registrars);
        }
    }

    /// Begins to look for a manager. Called once by the application; more calls change nothing.
    pub fn join(&mut self, now: Instant) {
        if self.membership.is_none() && self.aim.is_none() {
            self.look_for_manager(now);
        }
    }

    /// Asks the manager to take this node out, and ends the membership when it has answered or after three seconds.
    ///
    /// Data goes on until then. Without a membership it only stops the search, at whatever point that is.
    pub fn leave(&mut self, now: Instant) {
        self.stop_looking();
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
        self.membership.is_some() && self.watch.is_silent()
    }

    /// The keys of the tree this member holds, for a simulator's adversary and for promotion. They open tree entries:
    /// whoever has them reads the subgroup until they are replaced.
    pub fn key_path(&self) -> Option<&KeyPath> {
        self.membership.as_ref().map(|membership| membership.path())
    }

    fn on_datagram(
        &mut self,
        now: Instant,
        lane: Lane,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let kind = Envelope::for_group(bytes, self.config.group)?.kind;
        match (lane, kind) {
            (Lane::Discovery, DatagramKind::Find) => self.on_find(now, from, bytes),
            (Lane::Discovery, DatagramKind::Claim) => self.on_claim(now, bytes),
            (Lane::Discovery, DatagramKind::Presence) => self.on_presence(now, bytes),
            (Lane::Unicast, DatagramKind::Reply) => self.on_reply(now, from.ip(), bytes),
            (Lane::Unicast, DatagramKind::Held) => self.on_held(now, bytes),
            (Lane::Unicast, DatagramKind::ToMember) => self.on_unicast(now, bytes),
            (Lane::Unicast, DatagramKind::Farewell) => self.on_farewell(now, from, bytes),
            (Lane::Unicast, DatagramKind::Renewal) => self.on_renewal(now, from, bytes),
            (Lane::Unicast, DatagramKind::Takeover) => self.on_takeover(now, from, bytes),
            (Lane::Control, kind) => self.on_control(now, from, kind, bytes),
            _ => Err(Rejected::NotForUs),
        }
    }

    /// The membership of an admission begins; one that stood before is over.
    fn begin(&mut self, now: Instant, admission: Admission) {
        self.listens_elsewhere = false;
        self.stop_looking();
        self.repair = Repair::new();
        self.leaving = None;
        self.asked = None;
        let membership = Box::new(Membership::new(admission, &self.config));
        let grant = membership.grant();
        for signed in &grant.revocations {
            if membership.gate().is_genuine(signed) {
                self.revocations.learn(grant.manager, signed, Origin::Granted);
            }
        }
        let timing = grant.timing;
        self.catch_up = Some(CatchUp::new(grant.domain, grant.manager));
        self.outbox.tell(MemberEvent::Admitted);
        self.outbox.tell(MemberEvent::KeyRing(membership.ring()));
        self.membership = Some(membership);
        (self.last_alarm, self.last_multicast) = (now, now);
        self.said_to_go_on = None;
        self.timers = Timers::new();
        self.evidence = Evidence::new();
        self.asked_credential = None;
        self.watch.stop();
        self.watch.on_alarm(now, &timing);
        self.timers.set(Timer::Hard, now + timing.t_hard);
        self.timers.set(Timer::Keepalive, now + jitter(&mut *self.rng.0, timing.alarm_interval));
    }

    /// The membership is over: its keys are dropped, and the data plane is told so.
    fn end(&mut self, how: Ending) {
        let Some(membership) = self.membership.take() else { return };
        let grant = membership.grant();
        self.leaving = None;
        self.catch_up = None;
        self.evidence = Evidence::new();
        self.watch.stop();
        self.repair = Repair::new();
        self.timers = Timers::new();
        let empty =
            KeyRing::empty(grant.domain.suite, grant.domain.group, grant.domain.subgroup, grant.sender);
        self.outbox.tell(MemberEvent::KeyRing(empty));
        self.outbox.tell(MemberEvent::Ended(how));
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        let Some(timing) = self.membership.as_ref().map(|membership| membership.grant().timing) else {
            return;
        };
        match timer {
            Timer::Keepalive => {
                self.timers.set(Timer::Keepalive, now + timing.keepalive / KEEPALIVES);
                let held = self.held();
                self.send_unicast(ToManager::Keepalive { counter: now.micros(), held });
            }
            Timer::LookAgain => self.look_again(now, timing.silence),
            Timer::Hard => self.on_orphaned(now),
            Timer::Leave => self.ask_to_leave(now),
            Timer::Cut => self.on_cut(now),
            Timer::Hint => self.ask_resync(now),
            Timer::Credential => self.ask_credential(now),
            Timer::Former => self.forget_former(),
        }
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

    fn send_unicast(&mut self, message: ToManager) {
        let Some(membership) = &self.membership else { return };
        let bytes = message.seal(&membership.registration(), &mut *self.rng.0);
        self.outbox.send(Transmit::Unicast { to: membership.manager_address(), bytes });
    }

    fn send_all(&mut self, transmits: impl IntoIterator<Item = Transmit>) {
        transmits.into_iter().for_each(|transmit| self.outbox.send(transmit));
    }

    /// Data came under a key that is not in the ring: if no alarm explains it soon, ask.
    fn on_hint(&mut self, now: Instant) -> Result<(), Rejected> {
        let membership = self.membership.as_ref().ok_or(Rejected::NotForUs)?;
        self.timers.set_earlier(Timer::Hint, now + membership.grant().timing.alarm_interval * 2);
        Ok(())
    }

    fn is_elected(&self) -> bool {
        self.election.as_ref().is_some_and(Election::is_won)
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
        if self.is_elected() {
            return Err(Rejected::NotForUs);
        }
        match input {
            Input::Datagram { lane, from, bytes } => self.on_datagram(now, lane, from, bytes),
            Input::Opened { conn, peer } => self.on_opened(now, conn, peer),
            Input::Frame { conn, bytes } => self.on_frame(now, conn, bytes),
            Input::Closed { conn, why } => self.on_closed(now, conn, why),
            Input::Hint(_) => self.on_hint(now),
            // A plain member listens for nobody and keeps no journal.
            Input::Accepted { .. } | Input::Stored { .. } | Input::StoreFailed => Err(Rejected::NotForUs),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        while let Some(timer) = self.timers.expired(now) {
            self.on_timer(now, timer);
        }
        if due(self.watch.due()) {
            self.on_watch_due(now);
        }
        if due(self.evidence.due()) {
            self.on_evidence_due(now);
        }
        if due(self.repair.due()) {
            self.on_repair_due(now);
        }
        if due(self.answers_due()) {
            self.on_answers_due(now);
        }
        if due(self.catch_up.as_ref().and_then(CatchUp::due)) {
            self.on_catch_up_due(now);
        }
        if due(self.witness.due()) {
            let answers = self.witness.on_due(now);
            self.send_all(answers);
        }
        if due(self.search.due()) {
            self.on_search_due(now);
        }
        if due(self.exchange.due(&self.candidates)) {
            self.on_exchange_due(now);
        }
        if due(self.election.as_ref().and_then(Election::due)) {
            self.on_election_due(now);
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
        let deadlines = [
            self.timers.next(),
            self.watch.due(),
            self.evidence.due(),
            self.repair.due(),
            self.answers_due(),
            self.catch_up.as_ref().and_then(CatchUp::due),
            self.witness.due(),
            self.search.due(),
            self.exchange.due(&self.candidates),
            self.election.as_ref().and_then(Election::due),
        ];
        deadlines.into_iter().flatten().min()
    }
}
