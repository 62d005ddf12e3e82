//! A manager without a driver, and nodes that say to it whatever a test wants said.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{
    Ed25519Signer, Ed25519Verifier, ExchangePublic, ExchangeSecret, PublicKey, Roles, Secret, Signer, Suite,
};
use gsm::{AccessList, Gsm, GsmConfig, GsmEvent, Journal, JournalEntry, Listed, Remembered};
use keytree::Degree;
use protocol::{
    Alarm, CloseReason, Commit, Confirm, ConnId, DatagramKind, Envelope, Frame, Gate, Grant, GroupId, Input,
    Instant, Join, JoinRole, Lane, Machine, Peer, Refusal, Registration, RegistrationKeys, Rejected,
    ResyncAnswer, SubgroupId, Timing, ToManager, ToMember, Transmit, Verified, confirmation,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

pub(crate) const GROUP: GroupId = GroupId::from_bytes([7; 16]);
/// Longer than a start takes: two alarm intervals of listening, and the question.
pub(crate) const START: Duration = Duration::from_millis(950);
pub(crate) const OWN_IDENTITY: &str = "manager.example";

/// A manager and everything it said, in order.
pub(crate) struct Manager {
    pub(crate) gsm: Gsm,
    pub(crate) now: Instant,
    pub(crate) records: Vec<JournalEntry>,
    pub(crate) sent: Vec<Transmit>,
    pub(crate) events: Vec<GsmEvent>,
    /// Whether records become durable at once.
    pub(crate) storing: bool,
    /// The journal on the disk, and what is asked for beyond it.
    pub(crate) durable: usize,
    pub(crate) journal: Vec<(Commit, Vec<u8>)>,
    asked: Commit,
    conns: u64,
}

impl Manager {
    /// A manager whose first key update is out.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(configure: impl FnOnce(&mut GsmConfig)) -> Self {
        let mut manager = Self::begin(configure);
        manager.drain();
        manager
    }

    /// A manager whose store has not answered yet.
    pub(crate) fn start_unstored() -> Self {
        let mut manager = Self::begin(|_| {});
        manager.storing = false;
        manager.drain();
        manager
    }

    fn begin(configure: impl FnOnce(&mut GsmConfig)) -> Self {
        let now = Instant::from_micros(1_000_000_000);
        let mut config = config();
        configure(&mut config);
        let signer = Ed25519Signer::from_seed(&Secret::new([0x51; 32]));
        let rng = ChaCha12Rng::seed_from_u64(11);
        let gsm = Gsm::start(now, config, Box::new(signer), Box::new(rng), Journal::default());
        Self::of(gsm, now, Vec::new())
    }

    fn of(gsm: Gsm, now: Instant, journal: Vec<(Commit, Vec<u8>)>) -> Self {
        let (records, sent, events) = Default::default();
        let asked = journal.last().map_or(Commit(0), |(commit, _)| *commit);
        let durable = journal.len();
        Self { gsm, now, records, sent, events, storing: true, durable, journal, asked, conns: 0 }
    }

    /// A manager that comes back with this journal, a second later. It listens.
    pub(crate) fn resume(now: Instant, journal: Vec<(Commit, Vec<u8>)>, doubtful: bool) -> Self {
        Self::resume_with(now, journal, doubtful, |_| {})
    }

    pub(crate) fn resume_with(
        now: Instant,
        journal: Vec<(Commit, Vec<u8>)>,
        doubtful: bool,
        configure: impl FnOnce(&mut GsmConfig),
    ) -> Self {
        let remembered = remember(&journal, doubtful);
        Self::resume_from(now, journal, remembered, configure)
    }

    fn resume_from(
        now: Instant,
        journal: Vec<(Commit, Vec<u8>)>,
        remembered: Remembered,
        configure: impl FnOnce(&mut GsmConfig),
    ) -> Self {
        static STARTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(100);
        let now = now + Duration::from_secs(1);
        let mut config = config();
        config.subgroup = SubgroupId(0x6666);
        configure(&mut config);
        let rng = ChaCha12Rng::seed_from_u64(STARTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let last = journal.last().map_or(Commit(0), |(commit, _)| *commit);
        let signer = Ed25519Signer::from_seed(&Secret::new([0x51; 32]));
        let gsm = Gsm::resume(now, config, Box::new(signer), Box::new(rng), remembered, Journal { last });
        let mut manager = Self::of(gsm, now, journal);
        manager.drain();
        manager
    }

    /// What is on the disk when the process dies now.
    pub(crate) fn crash(mut self) -> (Instant, Vec<(Commit, Vec<u8>)>) {
        self.journal.truncate(self.durable);
        (self.now, self.journal)
    }

    /// The process dies and comes back; nobody answers its question.
    pub(crate) fn restart(self) -> Self {
        let (now, journal) = self.crash();
        let mut manager = Self::resume(now, journal, false);
        manager.advance(START);
        manager
    }

    /// The same with a snapshot in the place of the records it contains.
    pub(crate) fn restart_from(self, (upto, bytes): (Commit, Vec<u8>)) -> Self {
        let (now, mut journal) = self.crash();
        journal.retain(|(commit, _)| *commit > upto);
        let records = journal.iter().map(|(commit, bytes)| (*commit, &bytes[..]));
        let remembered = Remembered::from_loaded(Some((upto, &bytes)), records, false).unwrap().unwrap();
        let mut manager = Self::resume_from(now, journal, remembered, |_| {});
        manager.advance(START);
        manager
    }

    /// The store reports `count` of the records it was asked for.
    pub(crate) fn store_some(&mut self, count: usize) {
        let upto = self.journal.len().min(self.durable + count);
        if let Some((commit, _)) = self.journal[..upto].last() {
            let commit = *commit;
            self.durable = upto;
            self.input(Input::Stored { upto: commit }).unwrap();
        }
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Result<(), Rejected> {
        let taken = self.gsm.handle_input(self.now, input);
        self.drain();
        taken
    }

    /// An input that is refused: whatever the machine shows of itself stays as it was.
    pub(crate) fn refuses(&mut self, input: Input<'_>) -> Rejected {
        let before = format!("{:?}", self.gsm);
        let refused = self.gsm.handle_input(self.now, input).unwrap_err();
        assert_eq!(format!("{:?}", self.gsm), before, "{refused}");
        refused
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn advance(&mut self, time: Duration) {
        self.drain();
        let end = self.now + time;
        while let Some(due) = self.gsm.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.gsm.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// The store reports all that was asked for.
    pub(crate) fn store(&mut self) {
        self.durable = self.journal.len();
        self.input(Input::Stored { upto: self.asked }).unwrap();
    }

    fn drain(&mut self) {
        loop {
            let before = self.asked;
            while let Some(record) = self.gsm.poll_record() {
                assert_eq!(record.commit.0, self.asked.0 + 1);
                self.asked = record.commit;
                self.records.push(JournalEntry::decode(&record.bytes).unwrap());
                self.journal.push((record.commit, record.bytes));
            }
            self.sent.extend(std::iter::from_fn(|| self.gsm.poll_transmit()));
            self.events.extend(std::iter::from_fn(|| self.gsm.poll_event()));
            if self.asked == before || !self.storing {
                return;
            }
            self.durable = self.journal.len();
            self.gsm.handle_input(self.now, Input::Stored { upto: self.asked }).unwrap();
        }
    }

    pub(crate) fn connect(&mut self, node: &Node) -> ConnId {
        self.conns += 2;
        let conn = ConnId(self.conns);
        self.input(Input::Accepted { conn, peer: node.peer.clone() }).unwrap();
        conn
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        let _ = self.input(Input::Closed { conn, why: CloseReason::ByPeer });
    }

    pub(crate) fn frame(&mut self, conn: ConnId, frame: &Frame) -> Result<(), Rejected> {
        self.input(Input::Frame { conn, bytes: &frame.encode() })
    }

    pub(crate) fn refuses_frame(&mut self, conn: ConnId, frame: &Frame) -> Rejected {
        self.refuses(Input::Frame { conn, bytes: &frame.encode() })
    }

    /// JOIN, and the place it is granted.
    pub(crate) fn ask(&mut self, conn: ConnId, node: &Node) -> Option<Offered> {
        let join = node.join();
        self.frame(conn, &Frame::Join(join)).unwrap();
        let Some(Frame::Grant(grant, manager)) = self.last_frame(conn) else { return None };
        let keys = grant.domain.registration(&node.peer.channel, grant.state.inst, grant.reg_no);
        let member = Confirm { mac: confirmation(grant.domain.suite, &keys.confirm_member, &join, &grant) };
        Some(Offered { grant: *grant, join, keys, manager, member, node: node.peer.certificate })
    }

    /// A registration from beginning to end. The member is in with the next cut.
    pub(crate) fn admit(&mut self, node: &Node) -> Offered {
        let conn = self.connect(node);
        let offered = self.ask(conn, node).unwrap();
        self.frame(conn, &Frame::Confirm(offered.member)).unwrap();
        assert_eq!(self.last_frame(conn), Some(Frame::Admitted));
        self.close(conn);
        offered
    }

    /// The nodes, admitted, and in.
    pub(crate) fn with(&mut self, identities: &[&str]) -> Vec<Offered> {
        let offered = identities.iter().map(|identity| self.admit(&Node::new(identity))).collect();
        self.rekey();
        offered
    }

    pub(crate) fn rekey(&mut self) {
        self.gsm.rekey(self.now);
        self.drain();
    }

    pub(crate) fn evict(&mut self, identity: &str) {
        let _ = self.gsm.evict(self.now, identity).unwrap();
        self.drain();
    }

    pub(crate) fn frames(&self, conn: ConnId) -> Vec<Frame> {
        let own = self.sent.iter().filter_map(|transmit| match transmit {
            Transmit::Frame { conn: to, bytes } if *to == conn => Some(bytes),
            _ => None,
        });
        own.map(|bytes| Frame::decode(bytes, &Node::new("").peer).unwrap().into_inner()).collect()
    }

    pub(crate) fn last_frame(&self, conn: ConnId) -> Option<Frame> {
        self.frames(conn).pop()
    }

    pub(crate) fn is_closed(&self, conn: ConnId) -> bool {
        self.sent
            .iter()
            .any(|transmit| matches!(transmit, Transmit::Close { conn: closed } if *closed == conn))
    }

    /// The multicasts of one kind sent since the last [`Manager::forget`].
    pub(crate) fn multicasts(&self, kind: DatagramKind) -> Vec<Vec<u8>> {
        let multicasts = self.sent.iter().filter_map(|transmit| match transmit {
            Transmit::Multicast { bytes, .. } => Some(bytes),
            _ => None,
        });
        multicasts.filter(|bytes| Envelope::parse(bytes).unwrap().kind == kind).cloned().collect()
    }

    /// Everything multicast since the last [`Manager::forget`].
    pub(crate) fn all_multicasts(&self) -> Vec<Vec<u8>> {
        let multicasts = self.sent.iter().filter_map(|transmit| match transmit {
            Transmit::Multicast { bytes, .. } => Some(bytes.clone()),
            _ => None,
        });
        multicasts.collect()
    }

    /// What was sent to a member under its unicast key.
    pub(crate) fn unicasts(&self, to: &Offered) -> Vec<ToMember> {
        let unicasts = self.sent.iter().filter_map(|transmit| match transmit {
            Transmit::Unicast { bytes, .. } => Some(bytes),
            _ => None,
        });
        unicasts
            .filter_map(|bytes| ToMember::open(&to.registration(), bytes).ok())
            .map(Verified::into_inner)
            .collect()
    }

    pub(crate) fn answers(&self, to: &Offered) -> Vec<ResyncAnswer> {
        let answer = |message| match message {
            ToMember::Resync(answer) => Some(answer),
            _ => None,
        };
        self.unicasts(to).into_iter().filter_map(answer).collect()
    }

    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.events.clear();
        self.records.clear();
    }

    /// A datagram of a member, from `from`.
    pub(crate) fn unicast(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), Rejected> {
        self.input(Input::Datagram { lane: Lane::Unicast, from, bytes })
    }

    pub(crate) fn control(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        self.input(Input::Datagram { lane: Lane::Control, from: address(9), bytes })
    }

    pub(crate) fn listed(&self, of: &Offered) -> Option<&Listed> {
        self.gsm.members().find(|listed| listed.sender == of.grant.sender)
    }

    pub(crate) fn refusals(&self) -> Vec<(String, Refusal)> {
        let refused = self.events.iter().filter_map(|event| match event {
            GsmEvent::Refused { identity, why, .. } => Some((identity.clone(), *why)),
            _ => None,
        });
        refused.collect()
    }
}

/// A place a node was granted, with everything that follows from it on its side.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) grant: Grant,
    pub(crate) join: Join,
    pub(crate) keys: RegistrationKeys,
    /// The manager's half of the confirmation, as received.
    pub(crate) manager: Confirm,
    /// The member's half, as it should be sent.
    pub(crate) member: Confirm,
    /// What the node's own keys are made of.
    pub(crate) node: [u8; 32],
}

impl Offered {
    pub(crate) const fn registration(&self) -> Registration<'_> {
        Registration { domain: &self.grant.domain, sender: self.grant.sender, key: &self.keys.unicast }
    }

    pub(crate) fn seal(&self, message: ToManager) -> Vec<u8> {
        static SEED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let seed = SEED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        message.seal(&self.registration(), &mut ChaCha12Rng::seed_from_u64(seed))
    }

    pub(crate) fn alarm(&self, bytes: &[u8]) -> Verified<Alarm> {
        let grant = &self.grant;
        let mut gate = Gate::new(
            grant.domain,
            grant.manager,
            grant.state,
            grant.prefilter.clone(),
            Arc::new(Ed25519Verifier),
        );
        gate.enclosed_alarm(bytes).unwrap()
    }
}

/// A node as TLS presents it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) peer: Peer,
    pub(crate) signing: PublicKey,
}

impl Node {
    /// A node certified as a member; identity, certificate and channel go by its name.
    pub(crate) fn new(identity: &str) -> Self {
        let print = crypto::hash(Suite::Aes256Ctr, crypto::Label::IdentityHash, &[identity.as_bytes()]);
        let peer = Peer {
            identity: identity.into(),
            roles: Roles { member: true, manager: false, maa: false },
            certificate: print,
            valid_for: Duration::from_secs(3_600),
            address: address(1),
            channel: Secret::new(print),
        };
        Self { peer, signing: Ed25519Signer::from_seed(&Secret::new(print)).public_key() }
    }

    pub(crate) fn join(&self) -> Join {
        Join {
            group: GROUP,
            role: JoinRole::Member,
            signing: self.signing,
            exchange: ExchangeSecret::from_bytes(Secret::new(self.peer.certificate)).public_key(),
        }
    }
}

/// What a journal says, as the driver reads it.
pub(crate) fn remember(journal: &[(Commit, Vec<u8>)], doubtful: bool) -> Remembered {
    let records = journal.iter().map(|(commit, bytes)| (*commit, &bytes[..]));
    match Remembered::from_loaded(None, records, doubtful) {
        Ok(remembered) => remembered.unwrap(),
        Err(error) => error.salvaged(),
    }
}

pub(crate) fn address(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 5_000).into()
}

fn config() -> GsmConfig {
    GsmConfig {
        group: GROUP,
        subgroup: SubgroupId(0x5555),
        suite: Suite::Aes256Ctr,
        degree: Degree::default(),
        identity: OWN_IDENTITY.into(),
        certificate: [0xaa; 32],
        signing: PublicKey([1; 32]),
        exchange: ExchangePublic([2; 32]),
        control: ([239, 192, 0, 1], 4_000).into(),
        data: ([239, 192, 0, 1], 4_001).into(),
        address: address(200),
        ttl: 1,
        packet_size: 1_200,
        timing: Timing::default(),
        access: AccessList::default(),
        verifier: Arc::new(Ed25519Verifier),
        presence: None,
    }
}
