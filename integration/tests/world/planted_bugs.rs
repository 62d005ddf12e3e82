//! The oracle sees what it is for: a bug of each kind, planted around honest machines, is caught.

use std::net::SocketAddr;

use crypto::{EntryIv, Secret};
use data::{KeyRing, Opener};
use gsm::{JournalEntry, Participant};
use integration::{Cast, Delivered, NodeId, Player, Property, Receiver, Scenario, World};
use member::{Member, MemberEvent};
use protocol::{DataHint, DatagramKind, Envelope, GroupId, Instant, Record, Transmit};

use crate::support::{ManagerThrough, Meddle, MemberThrough, SECOND, joined, millis, quick, stand, standing};

/// What the oracle found, in words, each of this kind.
pub(crate) fn found(world: &World, property: Property) -> Vec<String> {
    let violations = world.violations().iter();
    violations.filter(|violation| violation.property == property).map(|found| found.what.clone()).collect()
}

pub(crate) fn assert_found(world: &World, property: Property, words: &str) {
    let found = found(world, property);
    assert!(found.iter().any(|what| what.contains(words)), "{:?}", world.violations());
    assert!(world.violations().iter().all(|found| found.property == property), "{:?}", world.violations());
}

/// Casts one part with a wrapper.
struct With {
    manager: Option<fn(Participant) -> Box<dyn Player>>,
    member: Option<fn(Participant) -> Box<dyn Player>>,
    receiver: Option<fn() -> Box<dyn Receiver>>,
}

const NOBODY: With = With { manager: None, member: None, receiver: None };

impl Cast for With {
    fn player(&mut self, node: NodeId, participant: Participant) -> Box<dyn Player> {
        let wrap = match node {
            NodeId::MANAGER => self.manager,
            NodeId(3) => self.member,
            _ => None,
        };
        match wrap {
            Some(wrap) => wrap(participant),
            None => Box::new(participant),
        }
    }

    fn receiver(&mut self, node: NodeId) -> Box<dyn Receiver> {
        match self.receiver.filter(|_| node == NodeId(3)) {
            Some(wrap) => wrap(),
            None => Box::new(Opener::new()),
        }
    }
}

/// A group of six under this cast, with some coming and going and talk, judged at the end.
fn run(cast: With) -> World {
    let scenario = Scenario { packet_every: millis(20), ..quick(6) };
    let mut world = World::with_cast(1, scenario, Box::new(cast));
    world.run_for(6 * SECOND);
    world.leave(NodeId(1));
    world.run_for(3 * SECOND);
    world.join(NodeId(7));
    world.run_for(3 * SECOND);
    world.join(NodeId(8));
    world.run_for(3 * SECOND);
    world.judge();
    world
}

#[test]
fn without_a_bug_nothing_is_found() {
    assert_eq!(run(NOBODY).violations(), []);
}

#[test]
fn secrecy_one_later_path_key_in_an_ex_members_hands_is_caught() {
    let mut world = standing(1, 8);
    let members = joined(&world);
    let own = world.ring(members[0]).expect("it is in").own;
    world.evict(members[0]).expect("a member");
    world.run_for(3 * SECOND);
    // The lowest inner key of somebody who stayed; what is above it follows from the updates that come, unless
    // whoever leaves next has that key as well.
    let below = |node: NodeId| world.member(node).and_then(Member::key_path).map(|path| path.reg_no().0 / 4);
    let other = members[1..].iter().find(|node| below(**node) != below(members[1])).expect("two subtrees");
    let path = world.member(*other).and_then(Member::key_path).expect("it is in");
    let (node, version, secret) =
        path.keys().nth(1).map(|(n, v, s)| (n, v, s.clone())).expect("an inner key");
    world.oracle_mut().leak(own, node, version, &secret);
    assert_eq!(world.violations(), []);
    world.leave(members[1]);
    world.run_for(3 * SECOND);
    assert_found(&world, Property::Secrecy, "ex-members together");
}

#[test]
fn secrecy_a_leaf_secret_of_somebody_who_stayed_is_caught() {
    let mut world = standing(2, 8);
    let members = joined(&world);
    let own = world.ring(members[0]).expect("it is in").own;
    world.leave(members[0]);
    world.run_for(3 * SECOND);
    let path = world.member(members[2]).and_then(Member::key_path).expect("it is in");
    let (node, version, secret) = path.keys().next().map(|(n, v, s)| (n, v, s.clone())).expect("a leaf");
    world.oracle_mut().leak(own, node, version, &secret);
    world.judge();
    assert!(!found(&world, Property::Secrecy).is_empty());
}

/// A manager whose plans do not know that somebody left: the journal has the departure, the tree steps past it.
struct StepsPastALeaver {
    joined: Vec<JournalEntry>,
    after: usize,
}

impl Meddle for StepsPastALeaver {
    fn record(&mut self, record: Record) -> Vec<Record> {
        let Ok(entry) = JournalEntry::decode(&record.bytes) else { return vec![record] };
        let JournalEntry::Joined(joined) = &entry else { return vec![record] };
        self.joined.push(entry.clone());
        if self.joined.len() != self.after {
            return vec![record];
        }
        let JournalEntry::Joined(victim) = &self.joined[2] else { return vec![record] };
        assert_ne!(victim.sender, joined.sender);
        let departed = JournalEntry::Departed { sender: victim.sender }.encode();
        vec![Record { commit: record.commit, bytes: departed }, record]
    }
}

#[test]
fn secrecy_a_plan_that_steps_a_leavers_keys_is_caught() {
    let mut world = run(With {
        manager: Some(|gsm| {
            // The own node and six members are in; the eighth to join is the first after them.
            Box::new(ManagerThrough::new(gsm, StepsPastALeaver { joined: Vec::new(), after: 8 }))
        }),
        ..NOBODY
    });
    world.judge();
    let secrecy = found(&world, Property::Secrecy);
    assert!(secrecy.iter().any(|what| what.contains("follows from what they held")), "{secrecy:?}");
}

#[test]
fn secrecy_a_member_that_keeps_its_ring_after_the_end_is_caught() {
    // The ring of a state in which its registration was not in.
    let mut world = standing(3, 6);
    let members = joined(&world);
    let old = world.ring(members[0]).expect("it is in").own;
    world.evict(members[0]).expect("a member");
    world.run_for(3 * SECOND);
    let ring = KeyRing { own: old, ..world.ring(members[1]).expect("it is in").clone() };
    let now = world.now();
    world.oracle_mut().on_ring(now, members[0], &ring);
    assert_found(&world, Property::Secrecy, "holds the key of");
    // And with that key in its hands its opener reads what is sent.
    world.send(members[1]);
    assert_found(&world, Property::Secrecy, "reads a packet sent under");
}

#[test]
fn agreement_a_member_that_reports_another_key_is_caught() {
    let world = run(With {
        member: Some(|member| {
            Box::new(MemberThrough::new(member, |event| match event {
                MemberEvent::KeyRing(mut ring) => {
                    ring.send.iter_mut().for_each(|key| key.key = Secret::new([7; 32]));
                    vec![MemberEvent::KeyRing(ring)]
                }
                other => vec![other],
            }))
        }),
        ..NOBODY
    });
    assert!(found(&world, Property::Agreement).iter().any(|what| what.contains("different keys")));
}

#[test]
fn agreement_a_member_that_goes_back_to_an_older_state_is_caught() {
    let world = run(With {
        member: Some(|member| {
            let mut first = None;
            Box::new(MemberThrough::new(member, move |event| match event {
                MemberEvent::Installed { state, hard } => {
                    let first = *first.get_or_insert(state);
                    vec![
                        MemberEvent::Installed { state, hard },
                        MemberEvent::Installed { state: first, hard },
                    ]
                }
                other => vec![other],
            }))
        }),
        ..NOBODY
    });
    assert_found(&world, Property::Agreement, "back to");
}

/// A manager that sends a second key update for each state: the same one with a bit of its IV changed, signed again.
struct UpdatesTwice;

impl Meddle for UpdatesTwice {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        let Transmit::Multicast { to, ttl, bytes } = &transmit else { return vec![transmit] };
        if Envelope::parse(bytes).map(|envelope| envelope.kind) != Ok(DatagramKind::KeyUpdate) {
            return vec![transmit];
        }
        let second = Transmit::Multicast { to: *to, ttl: *ttl, bytes: forged(bytes) };
        vec![transmit, second]
    }
}

/// Where the IV stands in a key update: the last 12 bytes of the header.
const IV: usize = protocol::UpdateHeader::LEN - 12;

fn forged(bytes: &[u8]) -> Vec<u8> {
    let mut forged = bytes.to_vec();
    let mut iv = [0; 12];
    iv.copy_from_slice(&forged[IV..IV + 12]);
    iv[11] ^= 1;
    forged[IV..IV + 12].copy_from_slice(EntryIv::new(iv).as_bytes());
    forged
}

#[test]
fn agreement_a_second_key_update_for_a_state_is_caught() {
    // Its signature does not hold, and what goes out with a broken signature is reported as well.
    let world =
        run(With { manager: Some(|node| Box::new(ManagerThrough::new(node, UpdatesTwice))), ..NOBODY });
    assert_found(&world, Property::Agreement, "a key update went out that is not authentic");
}

/// A manager that counts wrongly: it leaves a departure out of its journal.
struct ForgetsToRecord;

impl Meddle for ForgetsToRecord {
    fn record(&mut self, record: Record) -> Vec<Record> {
        match JournalEntry::decode(&record.bytes) {
            Ok(JournalEntry::Departed { .. }) => {
                let nothing = JournalEntry::Departed { sender: protocol::SenderId(0) }.encode();
                vec![Record { commit: record.commit, bytes: nothing }]
            }
            _ => vec![record],
        }
    }
}

#[test]
fn agreement_a_departure_that_is_not_in_the_journal_is_caught() {
    let world =
        run(With { manager: Some(|node| Box::new(ManagerThrough::new(node, ForgetsToRecord))), ..NOBODY });
    assert!(found(&world, Property::Agreement).iter().any(|what| what.contains("were recorded")));
}

/// An opener whose driver hands on what a test makes of each delivery.
struct ReceiverThrough {
    inner: Opener,
    change: fn(Delivered) -> Vec<Delivered>,
}

impl ReceiverThrough {
    fn hand_on(&self, honest: Vec<Delivered>, out: &mut Vec<Delivered>) {
        out.extend(honest.into_iter().flat_map(self.change));
    }
}

impl Receiver for ReceiverThrough {
    fn set_ring(&mut self, now: Instant, ring: &KeyRing, out: &mut Vec<Delivered>) {
        let mut honest = Vec::new();
        Receiver::set_ring(&mut self.inner, now, ring, &mut honest);
        self.hand_on(honest, out);
    }

    fn open(&mut self, now: Instant, datagram: &[u8], from: SocketAddr, out: &mut Vec<Delivered>) {
        let mut honest = Vec::new();
        Receiver::open(&mut self.inner, now, datagram, from, &mut honest);
        self.hand_on(honest, out);
    }

    fn hint(&mut self, now: Instant) -> Option<DataHint> {
        self.inner.poll_hint(now)
    }
}

fn receiver(change: fn(Delivered) -> Vec<Delivered>) -> Box<dyn Receiver> {
    Box::new(ReceiverThrough { inner: Opener::new(), change })
}

#[test]
fn delivery_a_packet_handed_on_twice_is_caught() {
    let world =
        run(With { receiver: Some(|| receiver(|delivered| vec![delivered.clone(), delivered])), ..NOBODY });
    assert_found(&world, Property::Delivery, "was delivered twice");
}

#[test]
fn delivery_a_packet_that_was_never_sent_is_caught() {
    let world = run(With {
        receiver: Some(|| {
            receiver(|delivered| {
                let sequence = delivered.sequence + 1_000_000;
                vec![Delivered { sequence, ..delivered }]
            })
        }),
        ..NOBODY
    });
    assert_found(&world, Property::Delivery, "was never sent");
}

#[test]
fn delivery_a_changed_payload_is_caught() {
    let world = run(With {
        receiver: Some(|| {
            receiver(|mut delivered| {
                delivered.payload[0] ^= 1;
                vec![delivered]
            })
        }),
        ..NOBODY
    });
    assert_found(&world, Property::Delivery, "is not what was sent");
}

#[test]
fn delivery_from_who_was_not_in_is_caught() {
    let mut world = standing(4, 6);
    let members = joined(&world);
    // A packet of a state in which its receiver was in and its sender was not.
    let (sender, receiver) = (world.ring(members[0]).expect("it is in").own, members[1]);
    world.evict(members[0]).expect("a member");
    world.run_for(millis(500));
    let ring = world.ring(receiver).expect("it is in");
    let state = ring.newest().expect("a state");
    let sealed = data::Sealed { stream: data::StreamId(1), generation: 0, sequence: 0, state };
    let now = world.now();
    let oracle = world.oracle_mut();
    oracle.on_sent(now, sender, &sealed, b"later", &[]);
    let delivered =
        Delivered { sender, stream: sealed.stream, sequence: 0, state, payload: b"later".to_vec() };
    oracle.on_delivered(now, receiver, &delivered);
    assert_found(&world, Property::Delivery, "the sender was not in");
}

#[test]
fn liveness_a_member_that_stays_behind_is_caught() {
    let scenario = Scenario { quiet: SECOND, ..Scenario::calm(5) };
    let mut world = World::new(2, scenario);
    world.run_for(20 * SECOND);
    assert!(world.is_whole());
    let deaf = integration::LanFaults { loss: 1_000, ..integration::LanFaults::none() };
    world.set_faults(deaf);
    world.rekey();
    world.run_for(2 * SECOND);
    world.judge();
    assert_found(&world, Property::Liveness, "while the manager is at");
}

/// A manager whose journal says that it has renewed every secret, when it took over, and which has not.
struct RenewsNothing {
    took_over: bool,
}

impl Meddle for RenewsNothing {
    fn record(&mut self, record: Record) -> Vec<Record> {
        let entry = JournalEntry::decode(&record.bytes).expect("a record of this run");
        self.took_over |= matches!(entry, JournalEntry::TookOver { .. });
        if !self.took_over || !matches!(entry, JournalEntry::Started { .. }) {
            return vec![record];
        }
        let secret = Secret::new([7; 32]);
        let renewed = JournalEntry::Renewed { group: GroupId::from_bytes([7; 16]), number: 1, secret };
        vec![Record { bytes: renewed.encode(), ..record.clone() }, record]
    }
}

struct AllRenewNothing;

impl Cast for AllRenewNothing {
    fn player(&mut self, _: NodeId, inner: Participant) -> Box<dyn Player> {
        Box::new(ManagerThrough::new(inner, RenewsNothing { took_over: false }))
    }
}

#[test]
fn secrecy_a_renewal_that_renews_nothing_is_caught_whoever_manages_by_then() {
    let scenario = Scenario { eligible: 2, discovery: true, ..quick(6) };
    let mut world = stand(World::with_cast(1, scenario, Box::new(AllRenewNothing)));
    world.kill(NodeId::MANAGER);
    world.run_for(6 * SECOND);
    assert_ne!(world.managing(), None);
    assert_found(&world, Property::Secrecy, "a manager of before the renewal");
}
