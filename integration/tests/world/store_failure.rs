use gsm::GsmEvent;
use integration::{NodeId, StoreFaults, World};
use member::{Ending, MemberEvent};
use protocol::Refusal;

use crate::support::{SECOND, joined, longest_silence, millis, quick, stand};

/// A group whose store has just failed, under a join.
fn failed(seed: u64) -> (World, NodeId) {
    let mut scenario = quick(8);
    scenario.store = StoreFaults { fails_after: Some(8 * SECOND), ..StoreFaults::none() };
    let mut world = stand(World::new(seed, scenario));
    world.run_for(4 * SECOND);
    let newcomer = NodeId(9);
    world.join(newcomer);
    world.run_for(SECOND);
    assert!(world.gsm().status(world.now()).read_only);
    (world, newcomer)
}

#[test]
fn when_the_store_failed_a_join_is_refused_with_the_reason() {
    let (mut world, newcomer) = failed(1);
    world.run_for(20 * SECOND);
    let refused = world.log().members.iter().filter(|(_, node, event)| {
        *node == newcomer && matches!(event, MemberEvent::Refused { why: Refusal::ReadOnly, .. })
    });
    assert!(refused.count() >= 1);
    assert!(world.log().manager.iter().any(|(_, event)| *event == GsmEvent::ReadOnly));
    assert_eq!(world.member(newcomer).expect("it runs").held(), None);
    assert_eq!(world.violations(), []);
}

#[test]
fn when_the_store_failed_alarms_and_evictions_go_on() {
    let (mut world, _) = failed(2);
    let evicted = joined(&world)[0];
    let since = world.now();
    world.evict(evicted).expect("a member");
    world.run_for(millis(200));
    let own = world.ring(evicted).expect("it was in").own;
    for node in joined(&world).into_iter().filter(|node| *node != evicted) {
        let ring = world.ring(node).expect("it is in");
        let key = ring.send_key_at(world.now()).expect("it sends");
        assert!(!world.oracle().roll().was_in(own, key.state), "{node:?} has not switched");
    }
    world.run_for(30 * SECOND);
    assert!(longest_silence(&world, since) <= world.timing().alarm_interval + millis(20));
    assert_eq!(world.violations(), []);
}

#[test]
fn when_the_store_failed_a_leave_is_still_answered() {
    let (mut world, _) = failed(3);
    let leaver = joined(&world)[1];
    world.leave(leaver);
    world.run_for(2 * SECOND);
    let ended = world.log().members.iter().rev().find_map(|(_, node, event)| match event {
        MemberEvent::Ended(how) if *node == leaver => Some(*how),
        _ => None,
    });
    assert_eq!(ended, Some(Ending::Left));
    assert_eq!(world.violations(), []);
}

#[test]
fn a_leave_whose_record_was_lost_with_the_store_is_answered_when_it_is_asked_again() {
    let mut scenario = quick(8);
    scenario.timing.rekey_interval = 5 * SECOND;
    scenario.store = StoreFaults { fails_after: Some(12 * SECOND), ..StoreFaults::none() };
    let mut world = stand(World::new(4, scenario));
    world.run_for(10 * SECOND);
    assert!(!world.gsm().status(world.now()).read_only, "the store is not asked before the leave");
    let leaver = joined(&world)[1];
    world.leave(leaver);
    world.run_for(4 * SECOND);
    assert!(world.gsm().status(world.now()).read_only);
    let ended = world.log().members.iter().rev().find_map(|(_, node, event)| match event {
        MemberEvent::Ended(how) if *node == leaver => Some(*how),
        _ => None,
    });
    assert_eq!(ended, Some(Ending::Left));
    assert_eq!(world.violations(), []);
}
