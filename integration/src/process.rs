//! The life of a node's process: it starts from what its store holds, is killed, and is started again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crypto::{Ed25519Signer, ExchangeSecret, Signer};
use data::Sealer;
use gsm::{AccessList, Eligible, Journal, ManagerConfig, Part, Participant, ParticipantConfig, Remembered};
use member::{Discovery, Member, MemberConfig};
use protocol::discovery::Mandate;
use protocol::{CloseReason, Commit, Instant, Record, Revocation, SubgroupId};

use crate::dice::Dice;
use crate::network;
use crate::node::{Node, NodeId, Process};
use crate::scenario::Churn;
use crate::signatures::{FakeSigner, mandate_signature};
use crate::store::Image;
use crate::trace::Kind;
use crate::world::{Happening, World};

/// Members that must know of an eviction, for it to hold over a manager that has forgotten it: on a LAN that loses a
/// tenth, the answers of fewer may all be lost.
const WITNESSES: usize = 3;

/// The shortest time a killed node is down.
pub(crate) const MIN_DOWN: Duration = Duration::from_millis(200);

/// What a killed node finds when it is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Back {
    /// Everything that was durable.
    Whole,
    /// An older copy of its store, and the store says so.
    Older,
    /// An older copy of the whole host, so that nothing on it can say so.
    Cloned,
    /// Nothing.
    Empty,
}

/// A death that is to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Doom {
    /// After so many more records, transmits and events.
    pub(crate) fuse: u64,
    /// How long it stays dead.
    pub(crate) down: Duration,
    /// What it finds then; `None` for one that does not come back.
    pub(crate) back: Option<Back>,
    /// Whether it dies once more, soon after it came back.
    pub(crate) again: bool,
}

/// The sending half of a data plane; each start of a process has one of its own.
pub(crate) fn sealer(seed: u64, id: NodeId, start: u32) -> Sealer {
    let number = number(id, start);
    let boot = Dice::new(seed, "boot", number).bytes();
    let [boot, _] = [&boot[..16], &boot[16..]].map(|half| <[u8; 16]>::try_from(half).unwrap_or_default());
    Sealer::new(Box::new(Dice::generator(seed, "sealer", number)), boot)
}

/// The number of one start of one node's process, for streams of randomness.
fn number(id: NodeId, start: u32) -> u64 {
    (id.0 as u64) << 32 | u64::from(start)
}

impl World {
    /// Starts a process with what the node's store holds.
    pub(crate) fn start_process(&mut self, id: NodeId) {
        self.start_after(id, Back::Whole);
    }

    fn start_after(&mut self, id: NodeId, back: Back) {
        let start = self.nodes[id.0].start + 1;
        let rng = Dice::generator(self.seed, "machine", number(id, start));
        let store = &self.nodes[id.0].store;
        let journal = Journal { last: store.newest() };
        let remembered = remembered(store.disk(), back == Back::Older);
        if let Some((subgroup, _)) = remembered.as_ref().and_then(Remembered::place) {
            self.oracle.on_remembered(id, subgroup);
        }
        let config = ParticipantConfig { part: self.part(id), member: self.member_config(id) };
        let eligible = self.eligible(id);
        let rng = Box::new(rng);
        let participant = Participant::new(self.now, config, eligible, rng, remembered, journal);
        let participant = participant.expect("invariant: who is to manage is eligible");
        let player = self.cast.player(id, participant);
        let receiver = self.cast.receiver(id);
        let seed = self.seed;
        let node = &mut self.nodes[id.0];
        node.process = Process::Up(player);
        node.start = start;
        node.sealer = sealer(seed, id, start);
        node.receiver = receiver;
        node.ring = None;
        node.unsent.clear();
        node.wanted = !node.evicted;
        self.settle(id);
    }

    pub(crate) fn part(&self, id: NodeId) -> Part {
        match (self.scenario.elects, id.0 < self.scenario.lans) {
            (true, _) => Part::Auto,
            (false, true) => Part::Manager,
            (false, false) if self.scenario.eligible > 1 => Part::Auto,
            (false, false) => Part::Member,
        }
    }

    fn member_config(&self, id: NodeId) -> MemberConfig {
        let node = &self.nodes[id.0];
        let discovery = self.scenario.discovery.then(|| Discovery {
            address: self.setup.discovery,
            certifier: Arc::clone(&self.setup.certifier),
            fingerprint: node.certificate,
            identity: node.identity.clone(),
        });
        // Where nodes find each other, nothing else is configured.
        let named = discovery.is_none().then(|| network::registrar(NodeId::MANAGER));
        MemberConfig {
            group: self.setup.group,
            registrars: named.into_iter().collect(),
            signer: self.signer(id),
            exchange: Arc::new(ExchangeSecret::from_bytes(node.exchange.clone())),
            verifier: Arc::clone(&self.setup.verifier),
            discovery,
        }
    }

    fn eligible(&self, id: NodeId) -> Option<Eligible> {
        let node = &self.nodes[id.0];
        let message = Mandate::message(self.setup.group, &node.manager_key);
        let certificate = node.certificate.to_vec();
        let signature = mandate_signature(&self.setup.authority, &certificate, &message);
        let config = ManagerConfig {
            suite: self.scenario.suite,
            degree: self.scenario.degree,
            identity: node.identity.clone(),
            certificate: node.certificate,
            address: node.address,
            registrars: vec![node.registrar],
            multicast: None,
            control_port: network::CONTROL_PORT,
            data_port: network::DATA_PORT,
            ttl: self.scenario.ttl,
            packet_size: self.scenario.packet_size,
            timing: self.scenario.timing,
            access: AccessList::default(),
            mandate: Mandate { key: node.manager_key, certificate, signature },
            priority: 100,
            merges: true,
        };
        node.roles.manager.then(|| Eligible { config, signer: Box::new(self.signer(id)) })
    }

    /// The key a node signs with, as member and as manager.
    fn signer(&self, id: NodeId) -> Arc<dyn Signer> {
        let node = &self.nodes[id.0];
        match &self.setup.fake {
            Some(key) => Arc::new(FakeSigner::new(node.manager_key, key.clone())),
            None => Arc::new(Ed25519Signer::from_seed(&node.manager_secret)),
        }
    }

    /// Kills a process: its connections break, its timers and what it held are gone, what was not durable is lost.
    pub(crate) fn stop_process(&mut self, id: NodeId) {
        for end in self.connections.ends_of(id) {
            self.close(end, CloseReason::Unreachable("reset".into()));
        }
        let node = &mut self.nodes[id.0];
        node.process = Process::Down;
        node.backlog = None;
        node.listening = None;
        (node.wakes_at, node.woken_at) = (None, None);
        node.watched.clear();
        node.doom = None;
        node.ring = None;
        node.unsent.clear();
        let failed = node.store.has_failed();
        node.store.kill();
        let durable = node.store.disk().held();
        // Since a store failed, what was recorded was told all the same.
        let told = if failed { Commit(u64::MAX) } else { durable };
        self.oracle.on_killed(id, told, durable);
        if failed {
            // What was told since then is only in the memory of members.
            self.forgive_what_few_know(id);
        }
    }

    /// Kills a node where it stands (`kill -9`); it stays down.
    pub fn kill(&mut self, id: NodeId) {
        self.note(id, Kind::Churn, Churn::Kill as u64, 0);
        self.stop_process(id);
        self.log.kills.push((self.now, id));
    }

    /// Starts a killed node again. Returns whether its store is what `back` says: there may be no older copy, and then it
    /// is whole.
    pub fn start_again(&mut self, id: NodeId, back: Back) -> bool {
        self.note(id, Kind::Churn, Churn::Kill as u64, 1 + back as u64);
        let store = &mut self.nodes[id.0].store;
        let durable = store.disk().held();
        let as_said = match back {
            Back::Whole => true,
            Back::Older => store.roll_back(),
            Back::Cloned => {
                let older = store.roll_back();
                if older {
                    store.forget_newest();
                }
                older
            }
            Back::Empty => {
                store.wipe();
                true
            }
        };
        let held = store.disk().held();
        self.oracle.on_killed(id, durable, held);
        if held < durable {
            self.forgive_what_few_know(id);
        }
        let back = if as_said { back } else { Back::Whole };
        self.log.starts.push((self.now, id, back));
        self.start_after(id, back);
        as_said
    }

    /// An eviction holds over a store that has forgotten it if members show it: those that the manager will ask, who follow
    /// it in the subgroup its store still speaks of, if enough of them have its own word for it. Other managers are held to
    /// what they know.
    pub(crate) fn forgive_what_few_know(&mut self, manager: NodeId) {
        let remembered = remembered(self.nodes[manager.0].store.disk(), false);
        let asks = remembered.as_ref().and_then(Remembered::place).map(|(subgroup, _)| subgroup);
        self.forgive_what_few_know_in(manager, asks);
    }

    /// The same of a manager that asks, or has asked, in this subgroup.
    pub(crate) fn forgive_what_few_know_in(&mut self, manager: NodeId, asks: Option<SubgroupId>) {
        let key = self.nodes[manager.0].manager_key;
        let asked = |member: &&Member| {
            let following = member.following();
            following.is_some_and(|own| own.manager == key && Some(own.domain.subgroup) == asks)
        };
        let members = self.nodes.iter().filter_map(Node::member).filter(asked);
        let mut witnesses = BTreeMap::<[u8; 32], usize>::new();
        for member in members {
            let known: BTreeSet<_> = member.revocations_by(&key).map(|known| known.identity).collect();
            known.into_iter().for_each(|identity| *witnesses.entry(identity).or_default() += 1);
        }
        self.forgive(manager, |identity| witnesses.get(identity).is_some_and(|count| *count >= WITNESSES));
    }

    /// A manager whose store has forgotten evictions is none any more, and asks nobody: it knows what its store does, until
    /// it manages again and members show it the rest.
    pub(crate) fn forgive_what_is_lost(&mut self, manager: NodeId) {
        self.forgive(manager, |_| false);
    }

    fn forgive(&mut self, manager: NodeId, is_shown: impl Fn(&[u8; 32]) -> bool) {
        let remembered = remembered(self.nodes[manager.0].store.disk(), false);
        let kept = remembered.as_ref().map(Remembered::revocations).unwrap_or_default();
        for identity in self.oracle.revoked() {
            let hash = Revocation::identity_hash(&identity);
            if !is_shown(&hash) && kept.iter().all(|known| known.identity != hash) {
                self.oracle.forgive(&identity, manager);
            }
        }
    }

    /// Somebody takes records off a node's disk: those for which `keep` says no.
    pub fn edit_store(&mut self, id: NodeId, keep: impl Fn(&Record) -> bool) {
        self.nodes[id.0].store.edit(keep);
    }

    /// Somebody copies a node's store.
    pub fn copy_store(&mut self, id: NodeId) {
        self.nodes[id.0].store.copy();
    }

    /// A node will die after some more records, transmits and events, be down for a while and come back.
    pub(crate) fn doom(&mut self, id: NodeId, doom: Doom) {
        self.nodes[id.0].doom = Some(doom);
    }

    /// The machine does one thing more; whether its node dies before it.
    ///
    /// Who does little may live far into the quiet at the end of a run. Past a quarter of it nobody dies any more, so that the
    /// rest is what it is for: time without faults, in which all get back to a manager.
    pub(crate) fn dies_now(&mut self, id: NodeId) -> bool {
        let quiet = Instant::ZERO + self.scenario.duration + self.scenario.quiet / 4;
        let Some(doom) = self.nodes[id.0].doom.as_mut().filter(|_| self.now < quiet) else { return false };
        if doom.fuse > 0 {
            doom.fuse -= 1;
            return false;
        }
        let Doom { down, back, again, .. } = *doom;
        self.kill(id);
        match back {
            Some(back) => self.queue.push(self.now + down, Happening::Back { node: id, back, again }),
            None => self.nodes[id.0].wanted = false,
        }
        true
    }

    /// A node that was killed comes back.
    pub(crate) fn on_back(&mut self, id: NodeId, back: Back, again: bool) {
        if self.nodes[id.0].process.is_up() {
            return;
        }
        // Who is put back to an older state and hears nobody who knows better cannot know it either.
        let heard = back == Back::Whole || back == Back::Empty || self.network.is_fair();
        self.start_again(id, if heard { back } else { Back::Whole });
        if again {
            let (fuse, down) = (self.dice.below(40), self.dice.duration(MIN_DOWN, MIN_DOWN * 10));
            self.doom(id, Doom { fuse, down, back: Some(Back::Whole), again: false });
        }
    }
}

/// What the disk says of a managership; `doubtful` when the store knows that it is behind.
fn remembered(disk: &Image, doubtful: bool) -> Option<Remembered> {
    let snapshot = disk.snapshot.as_ref().map(|(upto, bytes)| (*upto, &bytes[..]));
    let records = disk.records.iter().map(|record| (record.commit, &record.bytes[..]));
    match Remembered::from_loaded(snapshot, records, doubtful) {
        Ok(remembered) => remembered,
        Err(why) => panic!("a journal that was only ever cut off at its end: {why}"),
    }
}
