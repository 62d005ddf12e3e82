//! The oracle sees what it is for, through restarts: a bug of each kind, planted around honest machines, is caught.

use std::sync::Arc;

use crypto::{ExchangePublic, PublicKey, Secret, Suite, Verifier};
use gsm::{AccessList, Gsm, GsmConfig, Journal, JournalEntry, Participant, ParticipantEvent};
use integration::{
    Back, Cast, Dice, FakeSigner, FakeVerifier, NodeId, Oracle, Player, Property, Setting, World,
};
use keytree::{Degree, TreeId};
use member::MemberEvent;
use protocol::{
    DatagramKind, Envelope, GroupId, Input, Instant, Lane, Machine, Record, Rejected, SubgroupId, Timing,
    Transmit,
};

use crate::planted_bugs::{assert_found, found};
use crate::support::{
    MemberThrough, SECOND, as_its_inner, joined, millis, plays_as_its_inner, quick, stand, standing,
};

/// A machine behind ears and hands that a test has.
struct Behind {
    inner: Participant,
    /// Whether the store is said to have stored what it was only asked to.
    hasty: bool,
    /// Whether what a manager that comes back wants to know reaches nobody.
    unasked: bool,
}

impl Machine for Behind {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        if let (true, Input::Datagram { lane: Lane::Control, bytes, .. }) = (self.unasked, &input)
            && Envelope::parse(bytes).is_ok_and(|envelope| envelope.kind == DatagramKind::Question)
        {
            return Ok(());
        }
        self.inner.handle_input(now, input)
    }

    fn poll_record(&mut self) -> Option<Record> {
        let record = self.inner.poll_record()?;
        if self.hasty {
            // The machine cannot tell who reports.
            let report = Input::Stored { upto: record.commit };
            let _taken = self.inner.handle_input(Instant::ZERO, report);
        }
        Some(record)
    }

    as_its_inner!(handle_timeout, poll_transmit, poll_event, poll_timeout);
}

plays_as_its_inner!([] Behind);

/// Everybody is behind such hands; only a manager's can be hasty.
struct Hands {
    hasty: bool,
    unasked: bool,
}

impl Cast for Hands {
    fn player(&mut self, node: NodeId, inner: Participant) -> Box<dyn Player> {
        let hasty = self.hasty && node == NodeId::MANAGER;
        Box::new(Behind { inner, hasty, unasked: self.unasked })
    }
}

#[test]
fn durability_what_is_told_before_it_is_stored_is_caught() {
    let cast = Hands { hasty: true, unasked: false };
    let mut world = World::with_cast(1, quick(4), Box::new(cast));
    world.run_for(4 * SECOND);
    assert_found(&world, Property::Durability, "is the newest durable one");
}

#[test]
fn durability_an_admission_that_the_store_lost_is_caught_when_the_manager_comes_back() {
    let mut world = standing(2, 6);
    let lost = world.ring(joined(&world)[2]).expect("it is in").own;
    world.kill(NodeId::MANAGER);
    world.edit_store(NodeId::MANAGER, |record| {
        let entry = JournalEntry::decode(&record.bytes).expect("a record of this run");
        !matches!(entry, JournalEntry::Joined(joined) if joined.sender == lost)
    });
    world.start_again(NodeId::MANAGER, Back::Whole);
    world.run_for(3 * SECOND);
    assert!(found(&world, Property::Durability).iter().any(|what| what.contains("the manager has lost")));
}

#[test]
fn durability_a_departure_that_the_store_lost_is_caught_when_the_manager_comes_back() {
    let mut world = standing(3, 6);
    world.leave(joined(&world)[2]);
    world.run_for(3 * SECOND);
    world.kill(NodeId::MANAGER);
    world.edit_store(NodeId::MANAGER, |record| {
        let entry = JournalEntry::decode(&record.bytes).expect("a record of this run");
        !matches!(entry, JournalEntry::Departed { .. })
    });
    world.start_again(NodeId::MANAGER, Back::Whole);
    world.run_for(3 * SECOND);
    assert!(found(&world, Property::Durability).iter().any(|what| what.contains("the manager lists")));
}

#[test]
fn revocation_an_eviction_that_nobody_shows_to_a_manager_with_an_old_store_is_caught() {
    let mut world = stand(World::with_cast(4, quick(8), Box::new(Hands { hasty: false, unasked: true })));
    world.copy_store(NodeId::MANAGER);
    let evicted = joined(&world)[1];
    world.evict(evicted).expect("a member");
    world.run_for(4 * SECOND);
    assert_eq!(world.violations(), []);
    world.kill(NodeId::MANAGER);
    world.start_again(NodeId::MANAGER, Back::Cloned);
    world.run_for(2 * SECOND);
    world.restart(evicted);
    world.run_for(10 * SECOND);
    let revocation = found(&world, Property::Revocation);
    assert!(revocation.iter().any(|what| what.contains("was evicted and is in")), "{:?}", world.violations());
}

/// Everybody honest, but node 3 says again what it was granted when it has come through a restart.
struct AsksAgain;

impl Cast for AsksAgain {
    fn player(&mut self, node: NodeId, participant: Participant) -> Box<dyn Player> {
        if node != NodeId(3) {
            return Box::new(participant);
        }
        let mut granted = None;
        Box::new(MemberThrough::new(participant, move |event| match event {
            MemberEvent::Granted(place) => {
                granted = Some(place.clone());
                vec![MemberEvent::Granted(place)]
            }
            MemberEvent::ManagerRestarted { state } => {
                let again = granted.clone().map(MemberEvent::Granted);
                std::iter::once(MemberEvent::ManagerRestarted { state }).chain(again).collect()
            }
            other => vec![other],
        }))
    }
}

#[test]
fn registration_a_member_that_registers_again_because_of_a_restart_is_caught() {
    let mut world = stand(World::with_cast(5, quick(6), Box::new(AsksAgain)));
    world.kill(NodeId::MANAGER);
    world.run_for(SECOND);
    assert_eq!(world.violations(), []);
    world.start_again(NodeId::MANAGER, Back::Whole);
    world.run_for(4 * SECOND);
    assert_found(&world, Property::Registration, "its manager still knows it");
}

/// A host and its clone: two managers with one key, from the same randomness, so that their states have the same names.
struct Clones {
    oracle: Oracle,
    managers: [Gsm; 2],
}

impl Clones {
    fn new() -> Self {
        let (key, secret) = (PublicKey([1; 32]), Secret::new([2; 32]));
        let group = GroupId::derive("clones", b"authority");
        let verifier: Arc<dyn Verifier> = Arc::new(FakeVerifier::new(secret.clone()));
        let address = |port: u16| std::net::SocketAddr::from(([10, 0, 0, 1], port));
        let start = |soft_activation| {
            let config = GsmConfig {
                group,
                subgroup: SubgroupId(7),
                suite: Suite::default(),
                degree: Degree::default(),
                identity: "clone".into(),
                certificate: [3; 32],
                signing: PublicKey([4; 32]),
                exchange: ExchangePublic([5; 32]),
                control: address(1),
                data: address(2),
                address: address(3),
                ttl: 1,
                packet_size: protocol::limits::MAX_DATAGRAM,
                // What makes the two update the same state differently.
                timing: Timing { soft_activation, ..Timing::default() },
                access: AccessList::default(),
                verifier: Arc::clone(&verifier),
                presence: None,
            };
            let rng = Box::new(Dice::generator(1, "clone", 0));
            let signer = Box::new(FakeSigner::new(key, secret.clone()));
            Gsm::start(Instant::ZERO, config, signer, rng, Journal::default())
        };
        let setting = Setting {
            suite: Suite::default(),
            group,
            degree: Degree::default(),
            tree: TreeId(0),
            verifier: Arc::clone(&verifier),
            seed: 1,
        };
        Self { oracle: Oracle::new(setting), managers: [start(millis(500)), start(millis(400))] }
    }

    /// Lets one of the two live for three seconds, with a store that is always done.
    fn run(&mut self, which: usize) {
        for step in 0..60 {
            let now = Instant::ZERO + millis(50) * step;
            let gsm = &mut self.managers[which];
            gsm.handle_timeout(now);
            while let Some(record) = gsm.poll_record() {
                self.oracle.on_record(now, NodeId(which), PublicKey([1; 32]), &record);
                gsm.handle_input(now, Input::Stored { upto: record.commit }).expect("a report");
            }
            while let Some(transmit) = gsm.poll_transmit() {
                if let Transmit::Multicast { bytes, .. } = transmit {
                    self.oracle.on_datagram(now, NodeId(which), &bytes);
                }
            }
        }
    }
}

#[test]
fn agreement_a_state_id_that_is_used_for_two_key_updates_is_caught() {
    let mut clones = Clones::new();
    clones.run(0);
    assert_eq!(clones.oracle.violations(), []);
    clones.run(1);
    let found: Vec<_> = clones.oracle.violations().iter().map(|found| found.what.as_str()).collect();
    assert!(found.iter().any(|what| what.contains("two key updates lead to")), "{found:?}");
    assert!(found.iter().any(|what| what.contains("was cut before")), "{found:?}");
}
