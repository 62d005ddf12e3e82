use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gsm::{Participant, ParticipantEvent};
use integration::{Back, Cast, NodeId, Player, Property, Scenario, World};
use member::MemberEvent;
use protocol::{DatagramKind, Envelope, Input, Instant, Lane, Machine, Rejected, Transmit};

use crate::support::{SECOND, as_its_inner, plays_as_its_inner};

const SEEDS: u64 = 60;

#[test]
fn of_twenty_nodes_started_at_one_instant_one_manages_within_five_seconds_and_the_others_are_its_members() {
    let (next, latest) = (AtomicU64::new(0), AtomicU64::new(0));
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return;
            }
            match World::elect(seed) {
                Ok(report) => latest.fetch_max(report.decided.as_millis() as u64, Ordering::Relaxed),
                Err(failure) => panic!("{failure}"),
            };
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(run);
        scope.spawn(run);
    });
    let latest = Duration::from_millis(latest.into_inner());
    // Three searches, a random wait and the claim's window are behind whoever wins.
    assert!(latest > Duration::from_millis(1_900), "{latest:?}");
}

/// A machine that neither hears nor says anything where nodes find each other.
struct Aloof {
    inner: Participant,
}

impl Machine for Aloof {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        match input {
            Input::Datagram { lane: Lane::Discovery, .. } => Ok(()),
            other => self.inner.handle_input(now, other),
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let says = |transmit: &Transmit| match transmit {
            Transmit::Multicast { bytes, .. } => {
                let kind = Envelope::parse(bytes).map(|envelope| envelope.kind);
                !matches!(kind, Ok(DatagramKind::Find | DatagramKind::Claim | DatagramKind::Presence))
            }
            _ => true,
        };
        std::iter::from_fn(|| self.inner.poll_transmit()).find(says)
    }

    as_its_inner!(handle_timeout, poll_record, poll_event, poll_timeout);
}

plays_as_its_inner!([] Aloof);

/// One node of all is aloof.
struct OneAloof;

impl Cast for OneAloof {
    fn player(&mut self, node: NodeId, inner: Participant) -> Box<dyn Player> {
        if node == NodeId(7) { Box::new(Aloof { inner }) } else { Box::new(inner) }
    }
}

#[test]
fn two_managers_that_never_hear_of_each_other_are_caught() {
    let world = World::with_cast(1, Scenario::election(1), Box::new(OneAloof));
    let failure = world.run_election().expect_err("two managers");
    assert!(failure.violations.iter().all(|found| found.property == Property::Liveness));
    assert!(failure.violations[0].what.contains("no single manager for good"), "{failure}");
}

/// An elected manager with its members, ten seconds after the start, and a node in reserve that could manage as well.
fn elected(seed: u64) -> (World, NodeId) {
    let mut world = World::new(seed, Scenario { reserve: 1, eligible: 21, ..Scenario::election(seed) });
    world.run_for(10 * SECOND);
    assert!(world.is_whole(), "seed {seed}");
    let manager = world.managing().expect("a manager");
    (world, manager)
}

fn grants(world: &World, since: usize, of: impl Fn(NodeId) -> bool) -> usize {
    let events = world.log().members.iter().skip(since);
    events.filter(|(_, node, event)| of(*node) && matches!(event, MemberEvent::Granted(_))).count()
}

#[test]
fn a_node_that_comes_up_when_the_manager_has_just_died_does_not_take_the_group() {
    const FRESH: NodeId = NodeId(20);
    for seed in 0..40 {
        let (mut world, manager) = elected(seed);
        let since = world.log().members.len();
        world.kill(manager);
        world.run_for(Duration::from_millis(seed * 37 % 1_500));
        world.join(FRESH);
        world.run_for(4 * SECOND);
        world.start_again(manager, Back::Whole);
        world.run_for(20 * SECOND);
        // It was away for longer than its standbys wait: one of them has the group, with everybody in it.
        let managers = world.managers();
        assert!(managers.len() == 1 && managers != [FRESH], "seed {seed}: {managers:?}");
        assert!(world.is_whole(), "seed {seed}");
        let stayed = |node| node != FRESH && node != manager;
        assert_eq!(grants(&world, since, stayed), 0, "seed {seed}");
        assert_eq!(world.violations(), []);
    }
}

#[test]
fn a_manager_that_was_elected_is_manager_again_after_its_death_whatever_copy_of_its_store_it_finds() {
    for (seed, back) in
        (0..10).flat_map(|seed| [Back::Whole, Back::Older, Back::Cloned].map(|back| (seed, back)))
    {
        let (mut world, manager) = elected(seed);
        world.copy_store(manager);
        let evicted = world.ids().find(|id| *id != manager).expect("a member");
        world.evict(evicted).expect("a member");
        world.run_for(4 * SECOND);
        let since = world.log().members.len();
        world.kill(manager);
        // Before a standby takes its place.
        world.run_for(Duration::from_millis(200 + seed * 130));
        assert!(world.start_again(manager, back));
        world.run_for(30 * SECOND);
        assert_eq!(world.managing(), Some(manager), "seed {seed}, {back:?}");
        assert!(world.is_whole(), "seed {seed}, {back:?}");
        let again = grants(&world, since, |node| node != evicted);
        assert_eq!(again, if back == Back::Whole { 0 } else { 18 }, "seed {seed}, {back:?}");
        assert!(world.gsm().members().all(|listed| listed.identity != world.identity(evicted)));
        assert_eq!(world.violations(), []);
    }
}
