//! The oracle sees what it is for, where one manager follows another: a bug of each kind, planted around honest machines.

use gsm::{GsmEvent, JournalEntry, Participant, ParticipantEvent, StandbyGone};
use integration::{Cast, Cut, Honest, NodeId, Player, Property, Scenario, StoreFaults, World};
use protocol::{Commit, Frame, Input, Instant, Machine, Peer, Record, Rejected, SenderId, Term, Transmit};

use crate::planted_bugs::found;
use crate::support::{
    ManagerThrough, Meddle, SECOND, as_its_inner, millis, plays_as_its_inner, quick, stand,
};

const BOSS: NodeId = NodeId(0);

/// Reads frames as whoever they are for.
fn anybody() -> Peer {
    Peer {
        identity: String::new(),
        roles: crypto::Roles { member: true, manager: true, maa: false },
        certificate: [0; 32],
        valid_for: SECOND,
        address: ([10, 0, 0, 1], 1).into(),
        channel: crypto::Secret::new([0; 32]),
    }
}

fn frame(bytes: &[u8]) -> Option<Frame> {
    Frame::decode(bytes, &anybody()).ok().map(protocol::Verified::into_inner)
}

/// Everybody has the same hands.
struct All<M>(fn() -> M);

impl<M: Meddle + 'static> Cast for All<M> {
    fn player(&mut self, _node: NodeId, inner: Participant) -> Box<dyn Player> {
        Box::new(ManagerThrough::new(inner, (self.0)()))
    }
}

/// A manager, a standby in step and ten members.
fn company(cast: impl Cast + 'static) -> World {
    let scenario = Scenario { eligible: 2, discovery: true, reserve: 0, ..quick(11) };
    let world = stand(World::with_cast(1, scenario, Box::new(cast)));
    let standbys = world.gsm().status(world.now()).standbys;
    assert!(standbys.iter().any(|standby| standby.in_step.is_some()));
    world
}

fn is_found(world: &World, property: Property, what: &str) {
    let found = found(world, property);
    assert!(found.iter().any(|found| found.contains(what)), "{:?}", world.violations());
}

/// Whoever gives way to another manager does not say who has left.
struct SaysNothingOfDepartures;

impl Meddle for SaysNothingOfDepartures {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        let Transmit::Frame { conn, bytes } = &transmit else { return vec![transmit] };
        let Some(Frame::Handover(mut handover)) = frame(bytes) else { return vec![transmit] };
        handover.departed.clear();
        vec![Transmit::Frame { conn: *conn, bytes: Frame::Handover(handover).encode() }]
    }
}

#[test]
fn revocation_a_merge_that_forgets_departures_is_caught() {
    let mut world = company(All(|| SaysNothingOfDepartures));
    let side = world.ids().map(|id| id == BOSS || id.0 > 6).collect();
    world.cut(Cut { side, one_way: false }, 60 * SECOND, None);
    assert!(world.run_until(6 * SECOND, |world| world.managers().len() == 2));
    world.leave(NodeId(7));
    world.run_for(6 * SECOND);
    assert_eq!(world.violations(), []);
    world.heal();
    assert!(world.run_until(10 * SECOND, |world| world.managers().len() == 1));
    is_found(&world, Property::Revocation, "was out on the other side");
}

/// Renews nothing.
struct KeepsSecrets;

impl Meddle for KeepsSecrets {
    fn record(&mut self, record: Record) -> Vec<Record> {
        match JournalEntry::decode(&record.bytes) {
            Ok(JournalEntry::Renewed { .. }) => {
                vec![Record { bytes: JournalEntry::Probe.encode(), ..record }]
            }
            _ => vec![record],
        }
    }
}

#[test]
fn agreement_a_standby_that_is_put_out_without_a_renewal_is_caught() {
    let mut world = company(All(|| KeepsSecrets));
    world.evict(NodeId(1)).expect("a member");
    world.run_for(SECOND);
    is_found(&world, Property::Agreement, "stood by and is out");
}

/// Whoever takes over goes on in the term that was there.
struct ReusesTheTerm;

impl Meddle for ReusesTheTerm {
    fn record(&mut self, mut record: Record) -> Vec<Record> {
        if let Ok(JournalEntry::Started { subgroup, term: Term(2), inst, own, promised }) =
            JournalEntry::decode(&record.bytes)
        {
            record.bytes = JournalEntry::Started { subgroup, term: Term(1), inst, own, promised }.encode();
        }
        vec![record]
    }
}

#[test]
fn agreement_a_takeover_in_a_term_that_was_there_is_caught() {
    let mut world = company(All(|| ReusesTheTerm));
    world.kill(BOSS);
    world.run_for(6 * SECOND);
    is_found(&world, Property::Agreement, "which was there before");
}

/// A standby that acknowledges a departure and does not keep it.
struct Forgetful {
    inner: Participant,
}

impl Machine for Forgetful {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        if let Input::Frame { conn, bytes } = &input
            && let Some(Frame::Change(commit, entry)) = frame(bytes)
            && let Ok(JournalEntry::Departed { .. } | JournalEntry::Evicted { .. }) =
                JournalEntry::decode(&entry)
        {
            let bytes = Frame::Change(commit, JournalEntry::Probe.encode()).encode();
            return self.inner.handle_input(now, Input::Frame { conn: *conn, bytes: &bytes });
        }
        self.inner.handle_input(now, input)
    }

    as_its_inner!(handle_timeout, poll_record, poll_transmit, poll_event, poll_timeout);
}

plays_as_its_inner!([] Forgetful);

struct ForgetfulStandby;

impl Cast for ForgetfulStandby {
    fn player(&mut self, node: NodeId, inner: Participant) -> Box<dyn Player> {
        if node == BOSS { Box::new(inner) } else { Box::new(Forgetful { inner }) }
    }
}

#[test]
fn durability_a_successor_that_has_lost_what_it_acknowledged_is_caught() {
    let mut world = company(ForgetfulStandby);
    world.leave(NodeId(5));
    world.run_for(SECOND);
    assert_eq!(world.violations(), []);
    world.kill(BOSS);
    world.run_for(6 * SECOND);
    assert_eq!(world.managing(), Some(NodeId(1)));
    is_found(&world, Property::Durability, "was told to be out");
}

#[test]
fn what_was_told_after_a_standby_was_dropped_it_need_not_hold() {
    let mut world = company(ForgetfulStandby);
    let (now, standby) = (world.now(), NodeId(1));
    let sender = world.ring(standby).expect("a member").own;
    let identity = world.identity(standby).to_owned();
    let lost = GsmEvent::StandbyLost { identity, sender, why: StandbyGone::Silent };
    world.oracle_mut().on_told(now, BOSS, &lost, Commit(0));
    world.leave(NodeId(5));
    world.run_for(SECOND);
    world.kill(BOSS);
    world.run_for(6 * SECOND);
    assert_eq!(found(&world, Property::Durability), Vec::<String>::new());
}

/// A standby that takes the departure of one member for that of another one.
struct Confused {
    inner: Participant,
    victim: SenderId,
}

impl Machine for Confused {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        if let Input::Frame { conn, bytes } = &input
            && let Some(Frame::Change(commit, entry)) = frame(bytes)
            && let Ok(JournalEntry::Departed { .. }) = JournalEntry::decode(&entry)
        {
            let departed = JournalEntry::Departed { sender: self.victim };
            let bytes = Frame::Change(commit, departed.encode()).encode();
            return self.inner.handle_input(now, Input::Frame { conn: *conn, bytes: &bytes });
        }
        self.inner.handle_input(now, input)
    }

    as_its_inner!(handle_timeout, poll_record, poll_transmit, poll_event, poll_timeout);
}

plays_as_its_inner!([] Confused);

struct ConfusedStandby(SenderId);

impl Cast for ConfusedStandby {
    fn player(&mut self, node: NodeId, inner: Participant) -> Box<dyn Player> {
        if node == BOSS { Box::new(inner) } else { Box::new(Confused { inner, victim: self.0 }) }
    }
}

#[test]
fn durability_a_successor_that_has_lost_who_was_told_to_be_in_is_caught() {
    let sender = |world: &World, node| world.ring(node).expect("a member").own;
    let honest = company(Honest);
    let senders = [5, 6].map(|node| (sender(&honest, NodeId(node)), NodeId(node)));
    let (victim, leaver) = (senders.iter().min().expect("two").0, senders.iter().max().expect("two").1);
    let mut world = company(ConfusedStandby(victim));
    world.leave(leaver);
    world.run_for(SECOND);
    world.kill(BOSS);
    world.run_for(6 * SECOND);
    assert_eq!(world.managing(), Some(NodeId(1)));
    is_found(&world, Property::Durability, "was told to be in");
}

/// The standby has the record of an eviction before the manager's own store does. If the manager dies then, nobody was told
/// of it, and the successor carries it out.
#[test]
fn what_a_manager_was_about_to_do_its_successor_may_do() {
    // Whether a record that is on its way to the disk gets there before the end is chance.
    for seed in 0..4 {
        let store = StoreFaults::slow(millis(20));
        let scenario = Scenario { eligible: 2, discovery: true, reserve: 0, store, ..quick(11) };
        let mut world = stand(World::new(seed, scenario));
        let evicted = world.ring(NodeId(5)).expect("a member").own;
        world.evict(NodeId(5)).expect("a member");
        world.run_for(millis(10));
        world.kill(BOSS);
        world.run_for(6 * SECOND);
        assert_eq!(world.managing(), Some(NodeId(1)));
        assert!(world.gsm().members().all(|listed| listed.sender != evicted));
        assert_eq!(world.violations(), []);
    }
}

/// A manager that names a standby in its alarms which it never had in step.
struct NamesAnybody {
    inner: Participant,
}

impl Machine for NamesAnybody {
    type Event = ParticipantEvent;

    fn poll_event(&mut self) -> Option<ParticipantEvent> {
        let in_step = |event: &ParticipantEvent| {
            matches!(event, ParticipantEvent::Manager(GsmEvent::StandbyInStep { .. }))
        };
        std::iter::from_fn(|| self.inner.poll_event()).find(|event| !in_step(event))
    }

    as_its_inner!(handle_input, handle_timeout, poll_record, poll_transmit, poll_timeout);
}

plays_as_its_inner!([] NamesAnybody);

struct NamingManager;

impl Cast for NamingManager {
    fn player(&mut self, node: NodeId, inner: Participant) -> Box<dyn Player> {
        if node == BOSS { Box::new(NamesAnybody { inner }) } else { Box::new(inner) }
    }
}

#[test]
fn durability_a_standby_that_was_never_in_step_and_takes_over_is_caught() {
    let mut world = company(NamingManager);
    world.kill(BOSS);
    world.run_for(6 * SECOND);
    is_found(&world, Property::Durability, "was never in step");
}
