//! A member without a driver, with everything it said kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Ed25519Signer, Ed25519Verifier, ExchangeSecret, Roles, Secret};
use data::KeyRing;
use member::{Member, MemberConfig, MemberEvent};
use protocol::discovery::Find;
use protocol::{
    ConnId, DatagramKind, Envelope, Epoch, Frame, Grant, Input, Instant, Join, Lane, Machine, Nak, Peer,
    Rejected, ToManager, Transmit, Verified,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::manager::{GROUP, Manager};

/// Signs for the node.
pub(crate) fn signer() -> Ed25519Signer {
    Ed25519Signer::from_seed(&Secret::new([4; 32]))
}
pub(crate) const MANAGER_ADDRESS: [u8; 4] = [10, 0, 0, 200];
const STRANGER: [u8; 4] = [10, 0, 0, 99];

pub(crate) struct Node {
    pub(crate) member: Member,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<(Instant, Transmit)>,
    pub(crate) events: Vec<MemberEvent>,
}

impl Node {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, config())
    }

    pub(crate) fn with(seed: u64, config: MemberConfig) -> Self {
        let member = Member::new(config, Box::new(ChaCha12Rng::seed_from_u64(seed)));
        let (sent, events) = Default::default();
        Self { member, now: Instant::from_micros(1_000_000_000), sent, events }
    }

    /// A node that is looking for a manager.
    pub(crate) fn joining(seed: u64) -> Self {
        Self::new(seed).begun()
    }

    /// The same node, told to join.
    pub(crate) fn begun(mut self) -> Self {
        self.member.join(self.now);
        self.pass(Duration::ZERO);
        self
    }

    /// A node that was admitted and is not let in yet.
    pub(crate) fn admitted(manager: &mut Manager) -> Self {
        let mut node = Self::joining(1);
        node.register(manager);
        node
    }

    /// A node that holds the manager's state.
    pub(crate) fn inside(manager: &mut Manager) -> Self {
        Self::admitted(manager).let_in(manager)
    }

    /// The same node, whose join was cut.
    pub(crate) fn let_in(mut self, manager: &mut Manager) -> Self {
        let update = manager.let_in();
        self.control(&update).unwrap();
        self.control(&manager.alarm()).unwrap();
        assert_eq!(self.member.held(), Some(manager.state));
        self
    }

    /// The whole exchange on the connection that it asked for.
    pub(crate) fn register(&mut self, manager: &mut Manager) -> ConnId {
        let conn = self.opened();
        let (grant, confirm) = manager.grant(&self.join(), &channel(), |_, _| {});
        self.frame(conn, &Frame::Grant(Box::new(grant), confirm)).unwrap();
        self.frame(conn, &Frame::Admitted).unwrap();
        conn
    }

    /// The connection it asked for last, set up.
    pub(crate) fn opened(&mut self) -> ConnId {
        let conn = self.asked().last().unwrap().1;
        self.input(Input::Opened { conn, peer: peer() }).unwrap();
        conn
    }

    pub(crate) fn join(&self) -> Join {
        let frames = self.frames();
        let join = frames.iter().rev().find_map(|frame| match frame {
            Frame::Join(join) => Some(*join),
            _ => None,
        });
        join.unwrap()
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Result<(), Rejected> {
        let taken = self.member.handle_input(self.now, input);
        self.drain();
        taken
    }

    /// An input that is refused: whatever the machine shows of itself stays as it was.
    pub(crate) fn refuses(&mut self, input: Input<'_>) -> Rejected {
        let before = format!("{:?}", self.member);
        let refused = self.member.handle_input(self.now, input).unwrap_err();
        assert_eq!(format!("{:?}", self.member), before, "{refused}");
        refused
    }

    pub(crate) fn control(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        self.input(Input::Datagram { lane: Lane::Control, from: (MANAGER_ADDRESS, 5_000).into(), bytes })
    }

    pub(crate) fn discovery(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        self.input(Input::Datagram { lane: Lane::Discovery, from: (STRANGER, 7_000).into(), bytes })
    }

    pub(crate) fn refuses_discovery(&mut self, bytes: &[u8]) -> Rejected {
        self.refuses(Input::Datagram { lane: Lane::Discovery, from: (STRANGER, 7_000).into(), bytes })
    }

    /// A datagram by unicast, from the host with this number.
    pub(crate) fn unicast_from(&mut self, host: u8, bytes: &[u8]) -> Result<(), Rejected> {
        self.input(Input::Datagram { lane: Lane::Unicast, from: ([10, 0, 9, host], 7_000).into(), bytes })
    }

    pub(crate) fn unicast(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        self.input(Input::Datagram { lane: Lane::Unicast, from: (MANAGER_ADDRESS, 5_000).into(), bytes })
    }

    pub(crate) fn refuses_unicast(&mut self, bytes: &[u8]) -> Rejected {
        self.refuses(Input::Datagram { lane: Lane::Unicast, from: (MANAGER_ADDRESS, 5_000).into(), bytes })
    }

    pub(crate) fn refuses_control(&mut self, bytes: &[u8]) -> Rejected {
        self.refuses(Input::Datagram { lane: Lane::Control, from: ([10, 0, 0, 66], 5_000).into(), bytes })
    }

    pub(crate) fn frame(&mut self, conn: ConnId, frame: &Frame) -> Result<(), Rejected> {
        self.input(Input::Frame { conn, bytes: &frame.encode() })
    }

    pub(crate) fn refuses_frame(&mut self, conn: ConnId, frame: &Frame) -> Rejected {
        self.refuses(Input::Frame { conn, bytes: &frame.encode() })
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.member.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.member.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(crate) fn pass_to_the_next_timer(&mut self) {
        let due = self.member.poll_timeout().unwrap();
        self.pass(due.saturating_since(self.now));
    }

    pub(crate) fn drain(&mut self) {
        let now = self.now;
        self.sent.extend(std::iter::from_fn(|| self.member.poll_transmit()).map(|transmit| (now, transmit)));
        self.events.extend(std::iter::from_fn(|| self.member.poll_event()));
    }

    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.events.clear();
    }

    /// The connections it asked for, and when.
    pub(crate) fn asked(&self) -> Vec<(Instant, ConnId, SocketAddr)> {
        let opens = self.sent.iter().filter_map(|(at, transmit)| match transmit {
            Transmit::Open { conn, to, .. } => Some((*at, *conn, *to)),
            _ => None,
        });
        opens.collect()
    }

    pub(crate) fn frames(&self) -> Vec<Frame> {
        let frames = self.sent.iter().filter_map(|(_, transmit)| match transmit {
            Transmit::Frame { bytes, .. } => Some(Frame::decode(bytes, &peer()).unwrap().into_inner()),
            _ => None,
        });
        frames.collect()
    }

    pub(crate) fn is_closed(&self, conn: ConnId) -> bool {
        let closes =
            |transmit: &Transmit| matches!(transmit, Transmit::Close { conn: closed } if *closed == conn);
        self.sent.iter().any(|(_, transmit)| closes(transmit))
    }

    /// What it said to its manager alone.
    pub(crate) fn said(&self, manager: &Manager) -> Vec<ToManager> {
        let said = self.unicasts(DatagramKind::ToManager);
        let open = |bytes: &[u8]| ToManager::open(&manager.registration(), bytes).unwrap().into_inner();
        said.iter().map(|(.., bytes)| open(bytes)).collect()
    }

    /// The nonce of its newest resync request.
    pub(crate) fn resync_asked(&self, manager: &Manager) -> Option<u64> {
        self.said(manager).into_iter().rev().find_map(|said| match said {
            ToManager::Resync { nonce, .. } => Some(nonce),
            _ => None,
        })
    }

    /// The NAKs it multicast, under whatever key.
    pub(crate) fn naks(&self, key_of: impl Fn(Epoch) -> Secret<32>, manager: &Manager) -> Vec<Verified<Nak>> {
        let multicasts = self.sent.iter().filter_map(|(_, transmit)| match transmit {
            Transmit::Multicast { bytes, .. } => Some(bytes),
            _ => None,
        });
        let naks = multicasts.filter(|bytes| Envelope::parse(bytes).unwrap().kind == DatagramKind::Nak);
        naks.map(|bytes| {
            let held = protocol::Reader::new(&bytes[Envelope::LEN + 16..]).epoch().unwrap();
            let key = key_of(held);
            Nak::verify(bytes, &manager.domain, |_| Some(&key)).unwrap()
        })
        .collect()
    }

    /// The datagrams of a kind that it multicast, and when.
    pub(crate) fn multicast(&self, kind: DatagramKind) -> Vec<(Instant, Vec<u8>)> {
        let multicasts = self.sent.iter().filter_map(|(at, transmit)| match transmit {
            Transmit::Multicast { bytes, .. } => Some((*at, bytes.clone())),
            _ => None,
        });
        multicasts.filter(|(_, bytes)| Envelope::parse(bytes).unwrap().kind == kind).collect()
    }

    /// The datagrams of a kind that it unicast, to whom and when.
    pub(crate) fn unicasts(&self, kind: DatagramKind) -> Vec<(Instant, SocketAddr, Vec<u8>)> {
        let unicasts = self.sent.iter().filter_map(|(at, transmit)| match transmit {
            Transmit::Unicast { to, bytes } => Some((*at, *to, bytes.clone())),
            _ => None,
        });
        unicasts.filter(|(.., bytes)| Envelope::parse(bytes).unwrap().kind == kind).collect()
    }

    /// The nonces of the FINDs it sent.
    pub(crate) fn nonces(&self) -> Vec<u64> {
        let finds = self.multicast(DatagramKind::Find);
        finds.iter().map(|(_, bytes)| Find::decode(bytes, GROUP).unwrap().said().nonce).collect()
    }

    /// The addresses it has tried, in order.
    pub(crate) fn tried(&self) -> Vec<SocketAddr> {
        self.asked().into_iter().map(|(.., to)| to).collect()
    }

    /// Sets up the newest connection to `to`, and registers over it.
    pub(crate) fn register_at(&mut self, to: SocketAddr, manager: &mut Manager) -> ConnId {
        let conn = self.asked().into_iter().rev().find(|(.., asked)| *asked == to).unwrap().1;
        self.input(Input::Opened { conn, peer: peer() }).unwrap();
        let (grant, confirm) = manager.grant(&self.join(), &channel(), |_, _| {});
        self.frame(conn, &Frame::Grant(Box::new(grant), confirm)).unwrap();
        self.frame(conn, &Frame::Admitted).unwrap();
        conn
    }

    /// How many multicasts it sent.
    pub(crate) fn multicasts(&self) -> usize {
        self.sent.iter().filter(|(_, transmit)| matches!(transmit, Transmit::Multicast { .. })).count()
    }

    /// The newest key ring it told.
    pub(crate) fn ring(&self) -> Option<&KeyRing> {
        self.events.iter().rev().find_map(|event| match event {
            MemberEvent::KeyRing(ring) => Some(ring),
            _ => None,
        })
    }
}

/// A node that knows three registrars and searches nowhere.
pub(crate) fn config() -> MemberConfig {
    MemberConfig {
        group: GROUP,
        registrars: vec![registrar(1), registrar(2), registrar(3)],
        signer: Arc::new(signer()),
        exchange: Arc::new(ExchangeSecret::from_bytes(Secret::new([5; 32]))),
        verifier: Arc::new(Ed25519Verifier),
        discovery: None,
    }
}

pub(crate) fn registrar(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 7_000).into()
}

/// What both ends exported from the connection.
pub(crate) const fn channel() -> Secret<32> {
    Secret::new([0xc4; 32])
}

/// A certified manager at the other end.
pub(crate) fn peer() -> Peer {
    Peer {
        identity: "manager.example".into(),
        roles: Roles { member: true, manager: true, maa: false },
        certificate: [1; 32],
        valid_for: Duration::from_secs(3_600),
        address: registrar(1),
        channel: channel(),
    }
}

/// A grant as it would be without tampering, for tests that send it where it has no place.
pub(crate) fn plain_grant(node: &Node, manager: &mut Manager) -> (Grant, protocol::Confirm) {
    manager.grant(&node.join(), &channel(), |_, _| {})
}
