//! The manager is killed again and again, and its standby takes over under a steady stream.

use std::collections::BTreeSet;
use std::time::Duration;

use integration::{Back, LanFaults, NodeId, Scenario, World};
use member::MemberEvent;

use crate::support::{SECOND, joined, lost, millis, quick, stand, talk};

const ROUNDS: usize = 5;
/// How long a datagram may take, or the process that receives it: those of one sender overtake each other.
const DELAYS: [u64; 3] = [5, 20, 50];
const SEEDS: usize = 7 * DELAYS.len();

/// A calm group of twelve of whom two may manage, with its standby in step. No datagram is lost.
fn with_standby(seed: u64, most_delay: Duration) -> World {
    let lan = LanFaults { most_delay, ..LanFaults::none() };
    let mut world = stand(World::new(seed, Scenario { discovery: true, eligible: 2, lan, ..quick(11) }));
    assert!(world.run_until(10 * SECOND, in_step));
    world.run_for(SECOND);
    world
}

fn in_step(world: &World) -> bool {
    world.managing().is_some()
        && world.gsm().status(world.now()).standbys.iter().any(|standby| standby.in_step.is_some())
}

/// What was sent from the `since`-th packet on and a node was not handed.
fn missed(world: &World, node: NodeId, since: usize, until: usize) -> usize {
    let delivered: BTreeSet<_> = world
        .log()
        .delivered
        .iter()
        .filter(|(_, to, _)| *to == node)
        .map(|(_, _, packet)| (packet.stream, packet.sequence))
        .collect();
    let sent = world.log().sent[since..until].iter();
    sent.filter(|(_, _, sealed)| !delivered.contains(&(sealed.stream, sealed.sequence))).count()
}

/// Kills whoever manages, sees the other one take over, and starts the killed one again, while all others talk.
fn kill_again_and_again(world: &mut World, members: &[NodeId]) {
    for _ in 0..ROUNDS {
        let manager = world.managing().expect("somebody manages");
        let since = world.log().sent.len();
        world.kill(manager);
        talk(world, members, 300);
        let follows = world.managing().expect("the standby took over");
        assert_ne!(follows, manager);
        let until = world.log().sent.len();
        world.run_for(SECOND);
        assert_eq!(missed(world, follows, since, until), 0, "at the node that took over");
        assert!(world.start_again(manager, Back::Whole));
        talk(world, members, 200);
        assert!(world.run_until(20 * SECOND, |world| in_step(world) && world.is_whole()));
        talk(world, members, 100);
    }
}

#[test]
fn a_takeover_costs_the_members_no_packet_and_no_registration() {
    for seed in 0..SEEDS {
        let delay = DELAYS[seed % DELAYS.len()];
        let mut world = with_standby(seed as u64, millis(delay));
        let members: Vec<_> = joined(&world).into_iter().filter(|node| node.0 >= 2).collect();
        let since = world.log().members.len();
        kill_again_and_again(&mut world, &members);
        world.run_for(3 * SECOND);
        let (lost, due) = lost(&world, &members);
        assert!(due > 20_000, "{due} packets were due");
        assert_eq!(lost, [], "seed {seed}, {delay} ms");
        let granted = world.log().members[since..]
            .iter()
            .filter(|(_, node, event)| members.contains(node) && matches!(event, MemberEvent::Granted(_)));
        assert_eq!(granted.count(), 0, "seed {seed}");
        assert_eq!(world.violations(), []);
    }
}
