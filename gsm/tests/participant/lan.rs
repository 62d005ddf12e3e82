//! A LAN in memory: whole nodes, multicast, unicast, connections and a store each, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{
    Ed25519Signer, Ed25519Verifier, ExchangeSecret, Label, PublicKey, Roles, Secret, Signature, Signer,
    Suite, Verifier as _, hash,
};
use gsm::{
    AccessList, Eligible, Gsm, GsmEvent, Journal, ManagerConfig, Mode, Part, Participant, ParticipantConfig,
    ParticipantEvent, Remembered,
};
use keytree::Degree;
use member::{Discovery, MemberConfig};
use protocol::discovery::{Certified, Certifier, Mandate};
use protocol::{
    CloseReason, Commit, ConnId, Frame, GroupId, Input, Instant, Lane, Machine, Peer, Role, Timing, Transmit,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

pub(crate) const GROUP: GroupId = GroupId::from_bytes([7; 16]);
/// How long everything takes on this LAN.
const TRANSIT: Duration = Duration::from_millis(1);

/// Certificates of this LAN: the name and the roles, in clear.
pub(crate) struct Certificates;

impl Certificates {
    pub(crate) fn certificate(identity: &str, manager: bool) -> Vec<u8> {
        format!("{}{identity}", if manager { '+' } else { '-' }).into_bytes()
    }

    pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
        hash(Suite::Aes256Ctr, Label::IdentityHash, &[b"certificate", certificate])
    }

    fn key(certificate: &[u8]) -> Ed25519Signer {
        Ed25519Signer::from_seed(&Secret::new(Self::fingerprint(certificate)))
    }

    pub(crate) fn mandate(certificate: &[u8], key: PublicKey) -> Mandate {
        let signature = Self::key(certificate).sign(&Mandate::message(GROUP, &key)).0.to_vec();
        Mandate { key, certificate: certificate.to_vec(), signature }
    }
}

impl Certifier for Certificates {
    fn certify(&self, certificate: &[u8], message: &[u8], signature: &[u8]) -> Option<Certified> {
        let signature = Signature(signature.try_into().ok()?);
        let manager = certificate.first()? == &b'+';
        Ed25519Verifier.verify(&Self::key(certificate).public_key(), message, &signature).then(|| Certified {
            identity: String::from_utf8(certificate[1..].to_vec()).unwrap(),
            roles: Roles { member: true, manager, maa: false },
            fingerprint: Self::fingerprint(certificate),
        })
    }
}

/// One node.
pub(crate) struct Node {
    pub(crate) identity: String,
    pub(crate) participant: Participant,
    pub(crate) events: Vec<ParticipantEvent>,
    pub(crate) up: bool,
    /// Whether its store works.
    pub(crate) stores: bool,
    pub(crate) records: Vec<(Commit, Vec<u8>)>,
    /// What it could not write, to be tried again.
    unwritten: Vec<(Commit, Vec<u8>)>,
    manager: bool,
    index: usize,
    starts: u64,
}

/// What arrives where, and when.
enum Arrival {
    Datagram(Lane, SocketAddr, Vec<u8>),
    Accepted(ConnId, Peer),
    Opened(ConnId, Peer),
    Frame(ConnId, Vec<u8>),
    Closed(ConnId, CloseReason),
    Stored(Commit),
}

/// The nodes and what is on its way between them.
pub(crate) struct Lan {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    /// Whoever is named second hears no multicast of whoever is named first.
    pub(crate) deaf: BTreeSet<(usize, usize)>,
    /// Nobody can connect to these.
    pub(crate) walled: BTreeSet<usize>,
    /// Of these nodes nothing gets out by a connection, which stands.
    pub(crate) stalled: BTreeSet<usize>,
    /// Nothing passes between these and the others.
    pub(crate) apart: BTreeSet<usize>,
    /// Every multicast, for adversaries.
    pub(crate) recorded: Vec<(SocketAddr, Vec<u8>)>,
    /// Every unicast datagram.
    pub(crate) unicast: Vec<Vec<u8>>,
    /// Every frame that arrived somewhere: from, to, the connection there.
    pub(crate) framed: Vec<(usize, usize, ConnId, Vec<u8>)>,
    queue: BTreeMap<(Instant, u64), (usize, u64, Arrival)>,
    count: u64,
    /// Both ends of a connection: node and its number there.
    ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
}

pub(crate) fn address(index: usize) -> SocketAddr {
    ([10, 0, 0, index as u8 + 1], 5_000).into()
}

pub(crate) fn registrar(index: usize) -> SocketAddr {
    ([10, 0, 0, index as u8 + 1], 7_401).into()
}

pub(crate) fn discovery() -> SocketAddr {
    (GROUP.discovery_ip(), 7_401).into()
}

impl Lan {
    pub(crate) fn new() -> Self {
        Self {
            now: Instant::from_micros(1_000_000),
            nodes: Vec::new(),
            deaf: BTreeSet::new(),
            walled: BTreeSet::new(),
            stalled: BTreeSet::new(),
            framed: Vec::new(),
            apart: BTreeSet::new(),
            recorded: Vec::new(),
            unicast: Vec::new(),
            queue: BTreeMap::new(),
            count: 0,
            ends: BTreeMap::new(),
        }
    }

    /// A manager from its start on.
    pub(crate) fn manager(&mut self, identity: &str) -> usize {
        self.add(identity, Part::Manager, true, &[], |_| {})
    }

    /// A member that knows where these nodes' registrars are.
    pub(crate) fn member(&mut self, identity: &str, of: &[usize]) -> usize {
        self.add(identity, Part::Member, false, of, |_| {})
    }

    pub(crate) fn add(
        &mut self,
        identity: &str,
        part: Part,
        manager: bool,
        of: &[usize],
        configure: impl FnOnce(&mut ManagerConfig),
    ) -> usize {
        let index = self.nodes.len();
        let mut eligible = manager.then(|| eligible(identity, index));
        if let Some(eligible) = &mut eligible {
            configure(&mut eligible.config);
        }
        let member = member_config(identity, manager, of);
        let config = ParticipantConfig { part, member };
        let participant =
            Participant::new(self.now, config, eligible, rng(index, 0), None, Journal::default()).unwrap();
        self.nodes.push(Node {
            identity: identity.into(),
            participant,
            events: Vec::new(),
            up: true,
            stores: true,
            records: Vec::new(),
            unwritten: Vec::new(),
            manager,
            index,
            starts: 0,
        });
        self.settle(index);
        index
    }

    /// The node's process is killed and started again with what its store holds.
    pub(crate) fn restart(&mut self, index: usize, part: Part) {
        self.start_again(index, part, false);
    }

    /// A node that was killed is started again with its first records alone; the store may know that it is behind.
    pub(crate) fn restore(&mut self, index: usize, records: usize, knows: bool) {
        self.nodes[index].records.truncate(records);
        self.nodes[index].up = true;
        self.start_again(index, Part::Auto, knows);
    }

    fn start_again(&mut self, index: usize, part: Part, doubtful: bool) {
        let node = &mut self.nodes[index];
        node.starts += 1;
        let records = node.records.iter().map(|(commit, bytes)| (*commit, bytes.as_slice()));
        let remembered = Remembered::from_loaded(None, records, doubtful).unwrap();
        let last = node.records.last().map_or(Commit(0), |(commit, _)| *commit);
        let eligible = node.manager.then(|| eligible(&node.identity, index));
        let member = member_config(&node.identity, node.manager, &[]);
        let config = ParticipantConfig { part, member };
        let rng = rng(index, node.starts);
        node.participant =
            Participant::new(self.now, config, eligible, rng, remembered, Journal { last }).unwrap();
        node.events.clear();
        self.ends.retain(|(from, _), (to, _)| *from != index && *to != index);
        self.settle(index);
    }

    /// A store that failed works again: what it could not write meanwhile is durable.
    pub(crate) fn mend_store(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.stores = true;
        node.records.append(&mut node.unwritten);
        if let Some((upto, _)) = node.records.last() {
            let upto = *upto;
            self.push(index, Arrival::Stored(upto));
        }
    }

    /// The node's process is killed: its connections end, and nothing of it is heard any more.
    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index].up = false;
        let others: Vec<_> =
            self.ends.range((index, ConnId(0))..(index + 1, ConnId(0))).map(|(_, to)| *to).collect();
        self.ends.retain(|(from, _), (to, _)| *from != index && *to != index);
        for (node, conn) in others {
            self.push(node, Arrival::Closed(conn, CloseReason::ByPeer));
        }
    }

    /// Hands a frame to a node on one of its connections.
    pub(crate) fn inject_frame(
        &mut self,
        to: usize,
        conn: ConnId,
        bytes: &[u8],
    ) -> Result<(), protocol::Rejected> {
        let taken = self.nodes[to].participant.handle_input(self.now, Input::Frame { conn, bytes });
        self.settle(to);
        taken
    }

    pub(crate) fn gsm_mut(&mut self, index: usize) -> &mut Gsm {
        self.nodes[index].participant.gsm_mut().unwrap()
    }

    pub(crate) fn gsm(&self, index: usize) -> &Gsm {
        self.nodes[index].participant.gsm().unwrap()
    }

    pub(crate) fn evict(&mut self, index: usize, identity: &str) {
        let now = self.now;
        let _ = self.nodes[index].participant.gsm_mut().unwrap().evict(now, identity).unwrap();
        self.settle(index);
    }

    /// The nodes that manage now.
    pub(crate) fn managers(&self) -> Vec<usize> {
        let manages = |node: &&Node| node.up && node.participant.mode() == Mode::Manager;
        self.nodes.iter().filter(manages).map(|node| node.index).collect()
    }

    pub(crate) fn manager_events(&self, index: usize) -> impl Iterator<Item = &GsmEvent> {
        self.nodes[index].events.iter().filter_map(|event| match event {
            ParticipantEvent::Manager(event) => Some(event),
            _ => None,
        })
    }

    /// The identities on a manager's list, its own among them, in order.
    pub(crate) fn listed(&self, index: usize) -> Vec<String> {
        let mut listed: Vec<_> = self.gsm(index).members().map(|listed| listed.identity.clone()).collect();
        listed.sort();
        listed
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(end, |_| false);
    }

    /// Until `done`, for at most a minute; says whether it came to that.
    pub(crate) fn until(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs(60);
        self.run_until(end, done)
    }

    fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            let timer = self.nodes.iter().filter(|node| node.up);
            let timer = timer.filter_map(|node| Some((node.participant.poll_timeout()?, node.index))).min();
            let arrival = self.queue.keys().next().map(|(at, _)| *at);
            let next = timer.map(|(at, _)| at).into_iter().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return done(self);
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let ((_, _), (to, start, arrival)) = self.queue.pop_first().unwrap();
                self.arrive(to, start, arrival);
            } else if let Some((_, index)) = timer {
                self.nodes[index].participant.handle_timeout(self.now);
                self.settle(index);
            }
        }
        true
    }

    /// Hands a datagram to a node as if it came from somewhere on the LAN.
    pub(crate) fn inject(&mut self, to: usize, lane: Lane, bytes: &[u8]) -> Result<(), protocol::Rejected> {
        let from = address(99);
        let taken = self.nodes[to].participant.handle_input(self.now, Input::Datagram { lane, from, bytes });
        self.settle(to);
        taken
    }

    fn arrive(&mut self, to: usize, start: u64, arrival: Arrival) {
        let node = &mut self.nodes[to];
        if !node.up || node.starts != start {
            return;
        }
        let participant = &mut node.participant;
        // What a node rejects is not this LAN's business.
        let _ = match &arrival {
            Arrival::Datagram(lane, from, bytes) => {
                participant.handle_input(self.now, Input::Datagram { lane: *lane, from: *from, bytes })
            }
            Arrival::Accepted(conn, peer) => {
                participant.handle_input(self.now, Input::Accepted { conn: *conn, peer: peer.clone() })
            }
            Arrival::Opened(conn, peer) => {
                participant.handle_input(self.now, Input::Opened { conn: *conn, peer: peer.clone() })
            }
            Arrival::Frame(conn, bytes) => {
                participant.handle_input(self.now, Input::Frame { conn: *conn, bytes })
            }
            Arrival::Closed(conn, why) => {
                participant.handle_input(self.now, Input::Closed { conn: *conn, why: why.clone() })
            }
            Arrival::Stored(upto) => participant.handle_input(self.now, Input::Stored { upto: *upto }),
        };
        self.settle(to);
    }

    /// Carries out what a node asks for.
    pub(crate) fn settle(&mut self, index: usize) {
        while let Some(record) = self.nodes[index].participant.poll_record() {
            let node = &mut self.nodes[index];
            if node.stores {
                node.records.push((record.commit, record.bytes));
                self.push(index, Arrival::Stored(record.commit));
            } else {
                node.unwritten.push((record.commit, record.bytes));
                let _ = node.participant.handle_input(self.now, Input::StoreFailed);
            }
        }
        while let Some(transmit) = self.nodes[index].participant.poll_transmit() {
            self.transmit(index, transmit);
        }
        while let Some(event) = self.nodes[index].participant.poll_event() {
            self.nodes[index].events.push(event);
        }
    }

    fn transmit(&mut self, index: usize, transmit: Transmit) {
        match transmit {
            Transmit::Multicast { to, bytes, .. } => self.multicast(index, to, bytes),
            Transmit::Unicast { to, bytes } => {
                self.unicast.push(bytes.clone());
                let passes = |node: &usize| self.passes(index, *node);
                if let Some(node) = (0..self.nodes.len()).find(|node| address(*node) == to).filter(passes) {
                    self.push(node, Arrival::Datagram(Lane::Unicast, address(index), bytes));
                }
            }
            Transmit::Open { conn, to, expect } => self.open(index, conn, to, expect),
            Transmit::Frame { conn, bytes } => {
                if let Some((node, conn)) = self.ends.get(&(index, conn)).copied()
                    && !self.stalled.contains(&index)
                    && self.passes(index, node)
                {
                    self.framed.push((index, node, conn, bytes.clone()));
                    self.push(node, Arrival::Frame(conn, bytes));
                }
            }
            Transmit::Close { conn } => {
                if let Some((node, other)) = self.ends.remove(&(index, conn)) {
                    self.ends.remove(&(node, other));
                    self.push(node, Arrival::Closed(other, CloseReason::ByPeer));
                }
            }
        }
    }

    fn passes(&self, from: usize, to: usize) -> bool {
        self.apart.contains(&from) == self.apart.contains(&to)
    }

    fn multicast(&mut self, index: usize, to: SocketAddr, bytes: Vec<u8>) {
        let lane = if to == discovery() { Lane::Discovery } else { Lane::Control };
        for node in 0..self.nodes.len() {
            let listens = lane == Lane::Discovery
                || self.nodes[node].participant.listens().is_some_and(|place| place.control == to);
            if listens && !self.deaf.contains(&(index, node)) && self.passes(index, node) {
                self.push(node, Arrival::Datagram(lane, address(index), bytes.clone()));
            }
        }
        self.recorded.push((to, bytes));
    }

    fn open(&mut self, index: usize, conn: ConnId, to: SocketAddr, expect: Role) {
        let callee = (0..self.nodes.len()).find(|node| registrar(*node) == to);
        let callee = callee.filter(|node| self.nodes[*node].up && !self.walled.contains(node));
        let callee = callee.filter(|node| self.passes(index, *node));
        let callee = callee.filter(|node| expect == Role::Member || self.nodes[*node].manager);
        let Some(callee) = callee else {
            self.push(index, Arrival::Closed(conn, CloseReason::Unreachable("nobody is there".into())));
            return;
        };
        self.count += 1;
        let there = ConnId(self.count * 2);
        let channel = Secret::new(hash(Suite::Aes256Ctr, Label::IdentityHash, &[&self.count.to_be_bytes()]));
        self.ends.insert((index, conn), (callee, there));
        self.ends.insert((callee, there), (index, conn));
        self.push(callee, Arrival::Accepted(there, self.peer(index, &channel)));
        self.push(index, Arrival::Opened(conn, self.peer(callee, &channel)));
    }

    fn peer(&self, index: usize, channel: &Secret<32>) -> Peer {
        let node = &self.nodes[index];
        let certificate = Certificates::certificate(&node.identity, node.manager);
        Peer {
            identity: node.identity.clone(),
            roles: Roles { member: true, manager: node.manager, maa: false },
            certificate: Certificates::fingerprint(&certificate),
            valid_for: Duration::from_secs(3_600),
            address: address(index),
            channel: channel.clone(),
        }
    }

    fn push(&mut self, to: usize, arrival: Arrival) {
        self.count += 1;
        let start = self.nodes[to].starts;
        self.queue.insert((self.now + TRANSIT, self.count), (to, start, arrival));
    }
}

/// Connects as `peer` and says one frame; what the node answers.
pub(crate) fn says(lan: &mut Lan, to: usize, peer: Peer, frames: &[Frame]) -> Vec<Frame> {
    let conn = ConnId(1_000_000 + lan.count * 2);
    let node = &mut lan.nodes[to];
    let participant = &mut node.participant;
    participant.handle_input(lan.now, Input::Accepted { conn, peer: peer.clone() }).unwrap();
    for frame in frames {
        let _ = participant.handle_input(lan.now, Input::Frame { conn, bytes: &frame.encode() });
    }
    // The store is done at once here.
    let mut answers = Vec::new();
    for _ in 0..2 {
        while let Some(record) = participant.poll_record() {
            let upto = record.commit;
            node.records.push((upto, record.bytes));
            participant.handle_input(lan.now, Input::Stored { upto }).unwrap();
        }
        while let Some(transmit) = participant.poll_transmit() {
            if let Transmit::Frame { conn: on, bytes } = &transmit
                && *on == conn
            {
                answers.push(Frame::decode(bytes, &peer).unwrap().into_inner());
            }
        }
    }
    answers
}

pub(crate) fn rng(index: usize, start: u64) -> Box<ChaCha12Rng> {
    Box::new(ChaCha12Rng::seed_from_u64(index as u64 * 1_000 + start))
}

/// A node signs with one key, as member and as manager.
fn signer(certificate: &[u8]) -> Ed25519Signer {
    let seed = hash(Suite::Aes256Ctr, Label::IdentityHash, &[b"signer", certificate]);
    Ed25519Signer::from_seed(&Secret::new(seed))
}

fn eligible(identity: &str, index: usize) -> Eligible {
    let certificate = Certificates::certificate(identity, true);
    let signer = signer(&certificate);
    let config = ManagerConfig {
        suite: Suite::Aes256Ctr,
        degree: Degree::default(),
        identity: identity.into(),
        certificate: Certificates::fingerprint(&certificate),
        address: address(index),
        registrars: vec![registrar(index)],
        multicast: None,
        control_port: 7_401,
        data_port: 7_402,
        ttl: 1,
        packet_size: 1_200,
        timing: Timing::default(),
        access: AccessList::default(),
        mandate: Certificates::mandate(&certificate, signer.public_key()),
        priority: 100,
        merges: true,
    };
    Eligible { config, signer: Box::new(signer) }
}

pub(crate) fn member_config(identity: &str, manager: bool, of: &[usize]) -> MemberConfig {
    let certificate = Certificates::certificate(identity, manager);
    let print = Certificates::fingerprint(&certificate);
    MemberConfig {
        group: GROUP,
        registrars: of.iter().map(|node| registrar(*node)).collect(),
        signer: Arc::new(signer(&certificate)),
        exchange: Arc::new(ExchangeSecret::from_bytes(Secret::new(print))),
        verifier: Arc::new(Ed25519Verifier),
        discovery: Some(Discovery {
            address: discovery(),
            certifier: Arc::new(Certificates),
            fingerprint: print,
            identity: identity.into(),
        }),
    }
}
