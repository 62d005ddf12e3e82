//! Making a world: keys, identities, the first events.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Ed25519Signer, Ed25519Verifier, PublicKey, Roles, Secret, Signer, Verifier};
use keytree::TreeId;
use protocol::discovery::{Certified, Certifier};
use protocol::{GroupId, Instant};

use crate::cast::Cast;
use crate::connections::Connections;
use crate::dice::Dice;
use crate::network::{self, Network};
use crate::node::{Node, NodeId, Process};
use crate::oracle::{Oracle, Setting};
use crate::process;
use crate::queue::Queue;
use crate::report::Log;
use crate::scenario::Scenario;
use crate::signatures::{CountingVerifier, FakeCertifier, FakeVerifier};
use crate::store::SimStore;
use crate::trace::Trace;
use crate::world::{Happening, World};

/// What every node of a run is told.
pub(crate) struct Setup {
    pub(crate) group: GroupId,
    pub(crate) discovery: SocketAddr,
    pub(crate) verifier: Arc<dyn Verifier>,
    /// The same, to see how often it was asked.
    pub(crate) counted: Arc<CountingVerifier>,
    /// Stands for the keys of all certificates.
    pub(crate) authority: Secret<32>,
    pub(crate) certifier: Arc<dyn Certifier>,
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
    let counted = Arc::new(CountingVerifier::new(verifier));
    let verifier: Arc<dyn Verifier> = Arc::clone(&counted) as _;
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
    let lans = (0..count).map(|number| scenario.lans_of(number)).collect();
    let discovery = network::discovery(group);
    let authority = dice.secret();
    let certifier = Arc::new(FakeCertifier::new(authority.clone(), issued(&nodes)));
    let setup = Setup {
        counted,
        group,
        discovery,
        verifier,
        authority,
        certifier,
        fake,
        channels: Dice::new(seed, "channels", 0),
    };
    let mut world = World {
        seed,
        now: Instant::ZERO,
        queue: Queue::new(),
        nodes,
        network: Network::new(scenario.lan, Dice::new(seed, "lan", 0), lans),
        connections: Connections::new(),
        oracle: Oracle::new(setting),
        trace: Trace::new(),
        cast,
        setup,
        dice: Dice::new(seed, "choices", 0),
        log: Log::default(),
        payloads: 0,
        events: 0,
        scenario,
    };
    if !world.scenario.elects {
        (0..world.scenario.lans).for_each(|number| world.start_process(NodeId(number)));
    }
    world.plan();
    world
}

/// What the authority of a run has issued: a certificate is its own fingerprint.
fn issued(nodes: &[Node]) -> BTreeMap<Vec<u8>, Certified> {
    let certified = |node: &Node| Certified {
        identity: node.identity.clone(),
        roles: node.roles,
        fingerprint: node.certificate,
    };
    nodes.iter().map(|node| (node.certificate.to_vec(), certified(node))).collect()
}

fn node(seed: u64, scenario: &Scenario, id: NodeId, fake: &Option<Secret<32>>, cast: &mut dyn Cast) -> Node {
    let number = id.0 as u64;
    let mut dice = Dice::new(seed, "node", number);
    let certificate = dice.bytes();
    let exchange = dice.secret();
    let manager_secret = dice.secret();
    let manager_key = match fake {
        Some(_) => PublicKey(dice.bytes()),
        None => Ed25519Signer::from_seed(&manager_secret).public_key(),
    };
    Node {
        process: Process::Down,
        start: 0,
        identity: format!("n{}.world.example", id.0),
        roles: Roles { member: true, manager: id.0 < scenario.eligible * scenario.lans, maa: false },
        certificate,
        exchange,
        manager_key,
        manager_secret,
        address: network::unicast(id),
        registrar: network::registrar(id),
        listening: None,
        store: SimStore::new(scenario.store, Dice::new(seed, "store", number)),
        wanted: false,
        evicted: false,
        wakes_at: None,
        woken_at: None,
        watched: Vec::new(),
        deaf_until: Instant::ZERO,
        doom: None,
        backlog: None,
        ttl: 1,
        sealer: process::sealer(seed, id, 0),
        receiver: cast.receiver(id),
        ring: None,
        granted: None,
        unsent: VecDeque::new(),
    }
}

impl World {
    /// The scenario's events.
    fn plan(&mut self) {
        let first = if self.scenario.elects { 0 } else { self.scenario.lans };
        for number in first..=self.scenario.members {
            let at = self.dice.duration(Duration::ZERO, self.scenario.ramp);
            self.queue.push(Instant::ZERO + at, Happening::Join(NodeId(number)));
        }
        for (at, churn) in self.scenario.churn.clone() {
            self.queue.push(Instant::ZERO + at, Happening::Churn(churn));
        }
        if self.scenario.quiet > Duration::ZERO {
            self.queue.push(Instant::ZERO + self.scenario.duration, Happening::Quiet);
        }
        if self.scenario.packet_every > Duration::ZERO {
            self.queue.push(Instant::ZERO, Happening::Packet);
        }
    }

    /// A fresh channel secret.
    pub(crate) fn channel(&mut self) -> Secret<32> {
        self.setup.channels.secret()
    }
}
