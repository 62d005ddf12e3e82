//! Making a world: keys, identities, the first events.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Ed25519Signer, Ed25519Verifier, ExchangeSecret, PublicKey, Roles, Secret, Signer, Verifier};
use data::Sealer;
use gsm::{AccessList, Gsm, GsmConfig, Journal};
use keytree::TreeId;
use member::{Member, MemberConfig};
use protocol::{Domain, GroupId, Instant, SubgroupId};

use crate::cast::Cast;
use crate::connections::Connections;
use crate::dice::Dice;
use crate::lan::{self, Lan};
use crate::node::{Listening, Node, NodeId, Process};
use crate::oracle::{Oracle, Setting};
use crate::participant::Participant;
use crate::queue::Queue;
use crate::scenario::Scenario;
use crate::signatures::{FakeSigner, FakeVerifier};
use crate::store::SimStore;
use crate::trace::Trace;
use crate::world::{Happening, Log, World};

/// What every node of a run is told.
pub(crate) struct Setup {
    pub(crate) group: GroupId,
    pub(crate) discovery: SocketAddr,
    pub(crate) verifier: Arc<dyn Verifier>,
    /// The key behind fake signatures; `None` when they are real.
    pub(crate) fake: Option<Secret<32>>,
    /// Channel secrets of connections.
    pub(crate) channels: Dice,
}

/// Builds the world of a seed.
pub(crate) fn world(seed: u64, scenario: Scenario, mut cast: Box<dyn Cast>) -> World {
    let mut dice = Dice::new(seed, "setup", 0);
    let fake = (!scenario.real_signatures).then(|| dice.secret());
    let verifier: Arc<dyn Verifier> = match &fake {
        Some(key) => Arc::new(FakeVerifier::new(key.clone())),
        None => Arc::new(Ed25519Verifier),
    };
    let group = GroupId::derive("world", &seed.to_be_bytes());
    let setting = Setting {
        suite: scenario.suite,
        group,
        degree: scenario.degree,
        tree: TreeId(0),
        verifier: Arc::clone(&verifier),
        seed,
    };
    let count = 1 + scenario.members + scenario.reserve;
    let nodes: Vec<Node> =
        (0..count).map(|number| node(seed, &scenario, NodeId(number), &fake, &mut *cast)).collect();
    let discovery = lan::discovery(group);
    let mut world = World {
        seed,
        now: Instant::ZERO,
        queue: Queue::new(),
        nodes,
        lan: Lan::new(scenario.lan, Dice::new(seed, "lan", 0)),
        connections: Connections::new(),
        oracle: Oracle::new(setting),
        trace: Trace::new(),
        cast,
        setup: Setup { group, discovery, verifier, fake, channels: Dice::new(seed, "channels", 0) },
        dice: Dice::new(seed, "choices", 0),
        log: Log::default(),
        payloads: 0,
        events: 0,
        scenario,
    };
    world.start_manager();
    world.plan();
    world
}

fn node(seed: u64, scenario: &Scenario, id: NodeId, fake: &Option<Secret<32>>, cast: &mut dyn Cast) -> Node {
    let number = id.0 as u64;
    let mut dice = Dice::new(seed, "node", number);
    let (certificate, signing) = (dice.bytes(), PublicKey(dice.bytes()));
    let exchange = ExchangeSecret::from_bytes(dice.secret()).public_key();
    let manager_secret = dice.secret();
    let manager_key = match fake {
        Some(_) => PublicKey(dice.bytes()),
        None => Ed25519Signer::from_seed(&manager_secret).public_key(),
    };
    Node {
        process: Process::Down,
        start: 0,
        identity: format!("n{}.world.example", id.0),
        roles: Roles { member: true, manager: id.0 < scenario.eligible, maa: false },
        certificate,
        signing,
        exchange,
        manager_key,
        manager_secret,
        address: lan::unicast(id),
        registrar: lan::registrar(id),
        listening: None,
        store: SimStore::new(scenario.store, Dice::new(seed, "store", number)),
        wanted: false,
        evicted: false,
        wakes_at: None,
        sealer: sealer(seed, id, 0),
        receiver: cast.receiver(id),
        ring: None,
        unsent: VecDeque::new(),
    }
}

/// The sending half of a data plane; each start of a process has one of its own.
fn sealer(seed: u64, id: NodeId, start: u32) -> Sealer {
    let number = (id.0 as u64) << 32 | u64::from(start);
    let boot = Dice::new(seed, "boot", number).bytes();
    let [boot, _] = [&boot[..16], &boot[16..]].map(|half| <[u8; 16]>::try_from(half).unwrap_or_default());
    Sealer::new(Box::new(Dice::generator(seed, "sealer", number)), boot)
}

impl World {
    fn start_manager(&mut self) {
        let id = NodeId::MANAGER;
        let node = &self.nodes[id.0];
        let subgroup = SubgroupId(Dice::new(self.seed, "subgroup", 0).below(u64::MAX));
        let domain = Domain { suite: self.scenario.suite, group: self.setup.group, subgroup };
        let listening = Listening { control: lan::control(&domain), data: lan::data(&domain) };
        let config = GsmConfig {
            group: self.setup.group,
            subgroup,
            suite: self.scenario.suite,
            degree: self.scenario.degree,
            identity: node.identity.clone(),
            certificate: node.certificate,
            signing: node.signing,
            exchange: node.exchange,
            control: listening.control,
            data: listening.data,
            address: node.address,
            ttl: 1,
            packet_size: self.scenario.packet_size,
            timing: self.scenario.timing,
            access: AccessList::default(),
            verifier: Arc::clone(&self.setup.verifier),
            presence: None,
        };
        let rng = Dice::generator(self.seed, "manager", 0);
        let gsm = Gsm::start(self.now, config, self.signer(id), Box::new(rng), Journal::default());
        let player = self.cast.player(id, Participant::Manager(Box::new(gsm)));
        let node = &mut self.nodes[id.0];
        node.process = Process::Up(player);
        node.listening = Some(listening);
        node.wanted = true;
        self.settle(id);
    }

    /// The key a node signs with when it manages.
    fn signer(&self, id: NodeId) -> Box<dyn Signer> {
        let node = &self.nodes[id.0];
        match &self.setup.fake {
            Some(key) => Box::new(FakeSigner::new(node.manager_key, key.clone())),
            None => Box::new(Ed25519Signer::from_seed(&node.manager_secret)),
        }
    }

    /// The scenario's events.
    fn plan(&mut self) {
        for number in 1..=self.scenario.members {
            let at = self.dice.duration(Duration::ZERO, self.scenario.ramp);
            self.queue.push(Instant::ZERO + at, Happening::Join(NodeId(number)));
        }
        for (at, churn) in self.scenario.churn.clone() {
            self.queue.push(Instant::ZERO + at, Happening::Churn(churn));
        }
        if self.scenario.quiet > Duration::ZERO {
            self.queue.push(Instant::ZERO + self.scenario.duration, Happening::Quiet);
        }
        if self.scenario.packets_per_second > 0 {
            self.queue.push(Instant::ZERO, Happening::Packet);
        }
    }

    /// Starts a member's process, without a memory of the one before.
    pub(crate) fn start_process(&mut self, id: NodeId) {
        let (seed, start) = (self.seed, self.nodes[id.0].start + 1);
        let config = MemberConfig {
            group: self.setup.group,
            registrars: vec![lan::registrar(NodeId::MANAGER)],
            signing: self.nodes[id.0].signing,
            exchange: self.nodes[id.0].exchange,
            verifier: Arc::clone(&self.setup.verifier),
            discovery: None,
        };
        let number = (id.0 as u64) << 32 | u64::from(start);
        let member = Member::new(config, Box::new(Dice::generator(seed, "member", number)));
        let process = Process::Up(self.cast.player(id, Participant::Member(Box::new(member))));
        let receiver = self.cast.receiver(id);
        let node = &mut self.nodes[id.0];
        node.process = process;
        node.start = start;
        node.sealer = sealer(seed, id, start);
        node.receiver = receiver;
        node.ring = None;
        node.unsent.clear();
    }

    /// Kills a process: its connections break, its timers and what it held are gone.
    pub(crate) fn stop_process(&mut self, id: NodeId) {
        for end in self.connections.ends_of(id) {
            self.close(end, protocol::CloseReason::Unreachable("reset".into()));
        }
        let node = &mut self.nodes[id.0];
        node.process = Process::Down;
        node.listening = None;
        node.wakes_at = None;
        node.ring = None;
        node.unsent.clear();
    }

    /// A fresh channel secret.
    pub(crate) fn channel(&mut self) -> Secret<32> {
        self.setup.channels.secret()
    }
}
