//! One host's part in one group: a member that can become manager, and a manager that can become member (GSM 2.1).

mod config;
mod event;
mod following;
mod inner;
mod succession;

use std::collections::VecDeque;
use std::net::SocketAddr;

use crypto::Signer;
use data::KeyRing;
use member::{Candidacy, Member, MemberEvent, Place, Promotion};
use protocol::{
    Commit, ConnId, Frame, Input, Instant, MAX_OUTBOX, Machine, Record, Refusal, RegNo, Rejected, SubgroupId,
    Transmit,
};
use rand_core::CryptoRng;

use crate::event::GsmEvent;
use crate::gsm::Gsm;
use crate::merge::Demotion;
use crate::remembered::{Journal, Remembered};
use crate::standby::Standby;

use inner::Inner;
use succession::{Loss, Prepared};

pub use config::{Eligible, ManagerConfig, NotEligible, Part, ParticipantConfig};
pub use event::{Mode, ParticipantEvent};

/// What follows from an event of the machine.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Elected,
    SteppedDown(SocketAddr),
}

/// A GSM component as the paper has it: in member mode or in manager mode, and able to go from one to the other.
///
/// The swap happens here, so that the simulator runs it too. It moves randomness, signing key and the numbers of
/// connections and records from the old machine to the new one; the data plane keeps its keys until the new machine
/// gives it others, for no longer than [`Timing::t_hard`](protocol::Timing::t_hard). What the old machine still had to
/// record, send or tell comes out before anything of the new one. A manager gives way only when its end is durable, so
/// nothing of it waits for a record then; where the store had failed, answers that waited for it are never given.
#[derive(Debug)]
pub struct Participant {
    config: ParticipantConfig,
    /// What the node needs as manager; its signer is elsewhere.
    eligible: Option<ManagerConfig>,
    inner: Inner,
    /// What the journal says of this node's managership before, if it is none now.
    remembered: Option<Remembered>,
    journal: Journal,
    store_failed: bool,
    /// The application wants out.
    left: bool,
    place: Option<Place>,
    /// Follows the manager, in member mode.
    standby: Standby,
    loss: Option<Loss>,
    prepared: Option<Prepared>,
    /// The record after which the disk holds no more of an office than that it is over.
    tidies: Option<Commit>,
    /// The newest record that became durable in member mode.
    stored: Commit,
    /// What replaces the newest ring when its keys must go, and until when they may outlive the managership they
    /// came from.
    ring: Option<KeyRing>,
    ring_ends: Option<Instant>,
    /// The newest time handed in.
    now: Instant,
    records: VecDeque<Record>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<ParticipantEvent>,
}

impl Participant {
    /// A node that begins as its part and its journal say: a manager that did not step down resumes, unless the node
    /// is to be a member only; [`Part::Manager`] manages at once; everyone else searches.
    ///
    /// `remembered` and `journal` are what the store handed back. The driver drains the queues before the first input.
    pub fn new(
        now: Instant,
        config: ParticipantConfig,
        eligible: Option<Eligible>,
        rng: Box<dyn CryptoRng + Send>,
        remembered: Option<Remembered>,
        journal: Journal,
    ) -> Result<Self, NotEligible> {
        let resumes = remembered.as_ref().is_some_and(|remembered| remembered.place().is_some());
        let manages = match config.part {
            Part::Member => false,
            Part::Auto => resumes && eligible.is_some(),
            Part::Manager => true,
        };
        let (template, signer) = match eligible {
            Some(Eligible { config, signer }) => (Some(config), Some(signer)),
            None => (None, None),
        };
        let mut participant = Self {
            config,
            eligible: template,
            inner: Inner::Neither,
            remembered,
            journal,
            store_failed: false,
            left: false,
            place: None,
            standby: Standby::new(),
            loss: None,
            prepared: None,
            tidies: None,
            stored: Commit(0),
            ring: None,
            ring_ends: None,
            now,
            records: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        match (manages, participant.eligible.clone(), signer) {
            (true, Some(template), Some(signer)) => participant.manage(now, &template, signer, rng, 1),
            (true, ..) => return Err(NotEligible),
            (false, _, signer) => {
                let member = Member::new(participant.config.member.clone(), rng);
                participant.search(now, member, signer);
            }
        }
        participant.after(now);
        Ok(participant)
    }

    /// Whether the node is member or manager now.
    pub const fn mode(&self) -> Mode {
        match self.inner {
            Inner::Manager(_) => Mode::Manager,
            Inner::Member(_) | Inner::Neither => Mode::Member,
        }
    }

    /// The member, in member mode.
    pub fn member(&self) -> Option<&Member> {
        match &self.inner {
            Inner::Member(member) => Some(member),
            Inner::Manager(_) | Inner::Neither => None,
        }
    }

    /// The manager, in manager mode.
    pub fn gsm(&self) -> Option<&Gsm> {
        match &self.inner {
            Inner::Manager(gsm) => Some(gsm),
            Inner::Member(_) | Inner::Neither => None,
        }
    }

    /// The manager, for what its operator asks for: evict, rekey, set.
    pub fn gsm_mut(&mut self) -> Option<&mut Gsm> {
        match &mut self.inner {
            Inner::Manager(gsm) => Some(gsm),
            Inner::Member(_) | Inner::Neither => None,
        }
    }

    /// Where the subgroup is multicast that the node is in now, or manages, or was in last.
    pub const fn listens(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Whether a node that connects now to register would be let in.
    pub fn accepts(&self) -> bool {
        self.gsm().is_some_and(Gsm::is_serving)
    }

    /// The group's discovery address, where the node listens from its start to its end; `None` without discovery.
    pub fn discovers_at(&self) -> Option<SocketAddr> {
        self.config.member.discovery.as_ref().map(|discovery| discovery.address)
    }

    /// See [`Gsm::compaction`]. A member has nothing to make shorter, but for the keys of a subgroup that the node manages
    /// no more: they must not stay on the disk.
    pub fn compaction(&mut self) -> Option<(Commit, Vec<u8>)> {
        match &mut self.inner {
            Inner::Manager(gsm) => gsm.compaction(),
            Inner::Member(_) => self.forget_on_disk(),
            Inner::Neither => None,
        }
    }

    /// See [`Member::learn_registrars`]. A manager has no use for them until it is a member.
    pub fn learn_registrars(&mut self, registrars: &[SocketAddr]) {
        match &mut self.inner {
            Inner::Member(member) => member.learn_registrars(registrars),
            Inner::Manager(_) | Inner::Neither => {}
        }
        let own = &mut self.config.member.registrars;
        own.extend(
            registrars.iter().filter(|registrar| !own.contains(registrar)).copied().collect::<Vec<_>>(),
        );
    }

    /// The application wants out: a member asks its manager to take it out, or ends its search. A manager stays, for its
    /// members keep their keys when it stops; but it does not join another one's subgroup any more.
    pub fn leave(&mut self, now: Instant) {
        self.left = true;
        if let Inner::Member(member) = &mut self.inner {
            member.leave(now);
            self.ring_ends = self.ring_ends.map(|_| now);
            self.end_ring(now);
        }
        self.after(now);
    }

    /// Starts a manager, or resumes the one the journal remembers.
    fn manage(
        &mut self,
        now: Instant,
        template: &ManagerConfig,
        signer: Box<dyn Signer>,
        mut rng: Box<dyn CryptoRng + Send>,
        next_conn: u64,
    ) {
        let remembered = self.remembered.take();
        let before = remembered.as_ref().and_then(Remembered::place);
        let subgroup = before.map_or_else(|| SubgroupId(rng.next_u64()), |(subgroup, _)| subgroup);
        let mut config = template.of_subgroup(&self.config.member, subgroup);
        if let (Some((_, promised)), None) = (before, template.multicast) {
            // Members stay where they are, also where that was derived from a subgroup that is no more.
            config.control.set_ip(promised.control.ip());
            config.data.set_ip(promised.data.ip());
        }
        let mut gsm = match remembered {
            Some(remembered) => Gsm::resume(now, config, signer, rng, remembered, self.journal),
            None => Gsm::start(now, config, signer, rng, self.journal),
        };
        gsm.number_connections_from(next_conn);
        if self.store_failed {
            // It can admit nobody, tells nobody of itself, and gives way to the next manager it hears.
            let _ = gsm.handle_input(now, Input::StoreFailed);
        }
        self.inner = Inner::Manager(Box::new(gsm));
        self.events.push_back(ParticipantEvent::Became(Mode::Manager));
    }

    /// Looks for a manager; an eligible node stands for election, with a failed store behind all others.
    fn search(&mut self, now: Instant, mut member: Member, signer: Option<Box<dyn Signer>>) {
        if let (Some(template), Some(signer)) = (&self.eligible, signer)
            && self.config.part != Part::Member
            && let Some(registrar) = template.registrars.first()
        {
            // Whoever can record nothing lets everybody else go first, but is better than nobody: its store may work again.
            let priority = if self.store_failed { 0 } else { template.priority };
            let mandate = template.mandate.clone();
            member.stand(Candidacy { mandate, priority, registrar: *registrar, signer });
        }
        if !self.left {
            member.join(now);
        }
        self.inner = Inner::Member(Box::new(member));
        self.events.push_back(ParticipantEvent::Became(Mode::Member));
    }

    /// Takes what the machine has to tell, and swaps it if that is due.
    fn after(&mut self, now: Instant) {
        self.now = self.now.max(now);
        // A machine that has just begun may have something to tell, but not that it ends.
        self.tell_place();
        if let Some(turn) = self.gather() {
            self.turn(turn);
            self.tell_place();
            self.gather();
        }
        self.tend_standby(now);
    }

    /// A manager that starts, or that comes back without its members, has another subgroup.
    fn tell_place(&mut self) {
        if let Inner::Manager(gsm) = &self.inner {
            let place = place_of(gsm);
            if self.place.as_ref() != Some(&place) {
                self.place = Some(place.clone());
                self.events.push_back(ParticipantEvent::Place(place));
            }
        }
    }

    /// Takes the machine's events. Returns whether it is at its end.
    fn gather(&mut self) -> Option<Turn> {
        let mut turn = None;
        loop {
            let Some(event) = self.inner.poll_event() else { return turn };
            match &event {
                ParticipantEvent::Member(MemberEvent::Elected) => turn = Some(Turn::Elected),
                ParticipantEvent::Member(MemberEvent::ManagerLost { suspicions, .. }) => {
                    self.on_manager_lost(suspicions.clone());
                }
                ParticipantEvent::Manager(GsmEvent::SteppedDown { to, .. }) => {
                    turn = Some(Turn::SteppedDown(*to));
                }
                _ => {}
            }
            self.tell(event);
        }
    }

    fn tell(&mut self, event: ParticipantEvent) {
        if let Some(place) = event.place() {
            self.place = Some(place.clone());
        }
        if event == ParticipantEvent::Manager(GsmEvent::Writable) {
            self.store_failed = false;
        }
        if let Some(ring) = event.ring() {
            self.ring = Some(KeyRing::empty(ring.suite, ring.group, ring.subgroup, ring.own));
            self.ring_ends = None;
        }
        self.events.push_back(event);
    }

    /// Swaps the machines.
    fn turn(&mut self, turn: Turn) {
        let now = self.now;
        self.drain_machine();
        self.unprepare();
        self.transmits.extend(self.standby.stop());
        match (std::mem::replace(&mut self.inner, Inner::Neither), turn) {
            (Inner::Member(member), Turn::Elected) => self.promote(now, *member),
            (Inner::Manager(gsm), Turn::SteppedDown(to)) => self.demote(now, *gsm, to),
            (other, _) => self.inner = other,
        }
    }

    fn promote(&mut self, now: Instant, member: Member) {
        let Promotion { rng, candidacy, next_conn, revocations, place: _ } = member.into_promotion();
        match (candidacy, self.eligible.clone()) {
            (Some(candidacy), Some(template)) => {
                self.manage(now, &template, candidacy.signer, rng, next_conn);
                if let Inner::Manager(gsm) = &mut self.inner {
                    gsm.adopt(now, &revocations);
                }
            }
            // Only who stands is elected; whoever did not goes on searching.
            (candidacy, _) => {
                let member = Member::new_after(self.config.member.clone(), rng, next_conn, Vec::new());
                self.search(now, member, candidacy.map(|candidacy| candidacy.signer));
            }
        }
    }

    fn demote(&mut self, now: Instant, gsm: Gsm, to: SocketAddr) {
        let t_hard = gsm.config().timing.t_hard;
        let Demotion { rng, signer, remembered, journal, next_conn } = gsm.into_demotion();
        self.ring_ends = Some(now + t_hard);
        let mut member = Member::new_after(self.config.member.clone(), rng, next_conn, vec![to]);
        member.shut_out(remembered.revocations().iter().copied());
        (self.remembered, self.journal) = (Some(remembered), journal);
        self.leave_office();
        self.search(now, member, Some(signer));
    }

    /// What the machine that ends has asked for comes out before anything of the next one.
    fn drain_machine(&mut self) {
        while let Some(record) = self.inner.poll_record() {
            self.records.push_back(record);
        }
        while let Some(transmit) = self.inner.poll_transmit() {
            self.transmits.push_back(transmit);
        }
    }

    /// The keys of a managership that ended are dropped if no membership came in its place.
    fn end_ring(&mut self, now: Instant) {
        if self.ring_ends.is_none_or(|ends| ends > now) {
            return;
        }
        self.ring_ends = None;
        if let Some(empty) = self.ring.take() {
            self.events.push_back(ParticipantEvent::Member(MemberEvent::KeyRing(empty)));
        }
    }

    /// Inputs that are for whoever this node is not now.
    fn for_another_mode(&mut self, input: &Input<'_>) -> Option<Result<(), Rejected>> {
        match (&self.inner, input) {
            (Inner::Member(_), Input::Stored { upto }) => {
                self.on_stored_as_member(*upto);
                Some(Ok(()))
            }
            (_, Input::StoreFailed) => {
                self.store_failed = true;
                matches!(self.inner, Inner::Member(_)).then_some(Ok(()))
            }
            // Somebody wants to register with a node that manages nothing, or not any more. It is told so when it has
            // asked, or it would find the connection cut off under its words.
            (Inner::Member(_), Input::Accepted { .. }) => Some(Ok(())),
            (Inner::Member(_), Input::Frame { conn, .. }) if is_accepted(*conn) => {
                let bytes = Frame::Refused(Refusal::NotManager).encode();
                self.transmits.push_back(Transmit::Frame { conn: *conn, bytes });
                self.transmits.push_back(Transmit::Close { conn: *conn });
                Some(Ok(()))
            }
            (Inner::Member(_), Input::Closed { conn, .. }) if is_accepted(*conn) => Some(Ok(())),
            _ => None,
        }
    }
}

impl Machine for Participant {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        let reports = matches!(input, Input::Stored { .. } | Input::StoreFailed);
        if !reports && self.events.len() + self.transmits.len() >= MAX_OUTBOX {
            return Err(Rejected::Busy);
        }
        if let Some(taken) = self.for_another_mode(&input) {
            return taken;
        }
        if let Some(taken) = self.for_standby(now, &input) {
            self.after(now);
            return taken;
        }
        let conn = match &input {
            Input::Opened { conn, .. } | Input::Frame { conn, .. } => Some(*conn),
            _ => None,
        };
        let taken = self.inner.handle_input(now, input);
        // It was opened or accepted by the machine before this one.
        if let (Err(Rejected::UnknownConnection), Some(conn)) = (taken, conn) {
            self.transmits.push_back(Transmit::Close { conn });
        }
        self.after(now);
        taken
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
        self.end_ring(now);
        self.transmits.extend(self.standby.on_due(now));
        self.on_succession_due(now);
        self.after(now);
    }

    fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front().or_else(|| self.inner.poll_record())
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front().or_else(|| self.inner.poll_transmit())
    }

    fn poll_event(&mut self) -> Option<ParticipantEvent> {
        // An operator's request may have led to some.
        if self.events.is_empty() {
            self.after(self.now);
        }
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let deadlines =
            [self.inner.poll_timeout(), self.ring_ends, self.standby.due(), self.succession_due()];
        deadlines.into_iter().flatten().min()
    }
}

impl AsMut<Self> for Participant {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// Where a manager's subgroup lives, as its own node sees it.
fn place_of(gsm: &Gsm) -> Place {
    let config = gsm.config();
    Place {
        subgroup: gsm.domain().subgroup,
        reg_no: gsm.own_leaf().unwrap_or(RegNo(0)),
        sender: gsm.own_sender(),
        manager: config.identity.clone(),
        control: config.control,
        data: config.data,
        ttl: config.ttl,
    }
}

/// Whether the driver accepted this connection; those a machine opens have odd numbers.
const fn is_accepted(conn: ConnId) -> bool {
    conn.0.is_multiple_of(2)
}
