use std::time::Duration;

use integration::{NodeId, World};
use member::{Ending, MemberEvent};
use protocol::Refusal;

use crate::support::{SECOND, joined, millis, standing};

/// From the operator's word to the last node sending under the new key.
const SWITCH: Duration = millis(200);

/// Whether every member but the evicted one, and the manager, sends under a state in which that one is not.
fn has_switched(world: &World, evicted: NodeId) -> bool {
    let own = world.ring(evicted).expect("it was in").own;
    let mut others = world.ids().filter(|id| *id != evicted && world.ring(*id).is_some());
    others.all(|id| {
        let send = world.ring(id).and_then(|ring| ring.send_key_at(world.now()));
        send.is_some_and(|key| !world.oracle().roll().was_in(own, key.state))
    })
}

#[test]
fn from_the_operators_word_to_the_switch_it_takes_200_ms_at_most() {
    for seed in 0..20 {
        let mut world = standing(seed, 12);
        let evicted = joined(&world)[3];
        let begun = world.now();
        world.evict(evicted).expect("a member");
        while !has_switched(&world, evicted) {
            world.run_for(millis(1));
            let taken = world.now().saturating_since(begun);
            assert!(taken <= SWITCH, "not switched after {taken:?}, seed {seed}");
        }
        world.run_for(5 * SECOND);
        assert_eq!(world.violations(), []);
    }
}

#[test]
fn an_evicted_member_hears_every_packet_and_reads_none_after_the_switch() {
    let mut world = standing(4, 8);
    let members = joined(&world);
    let (evicted, others) = members.split_first().expect("members");
    for round in 0..500 {
        if round == 100 {
            world.evict(*evicted).expect("a member");
        }
        world.send(others[round % others.len()]);
        world.run_for(millis(20));
    }
    let own = world.ring(*evicted).expect("it was in").own;
    let roll = world.oracle().roll();
    let read = |before: bool| {
        let its = world.log().delivered.iter().filter(|(_, node, _)| node == evicted);
        its.filter(|(_, _, packet)| roll.was_in(own, packet.state) == before).count()
    };
    assert!(read(true) >= 100);
    assert_eq!(read(false), 0);
    assert_eq!(world.violations(), []);
}

#[test]
fn an_evicted_member_learns_it_and_never_comes_back() {
    let mut world = standing(2, 6);
    let evicted = joined(&world)[0];
    world.evict(evicted).expect("a member");
    world.run_for(20 * SECOND);
    let told = |event: &MemberEvent| {
        world.log().members.iter().any(|(_, node, told)| *node == evicted && told == event)
    };
    assert!(told(&MemberEvent::Ended(Ending::PutOut)));
    world.restart(evicted);
    world.run_for(5 * SECOND);
    let refused = world.log().members.iter().filter(|(_, node, event)| {
        *node == evicted && matches!(event, MemberEvent::Refused { why: Refusal::Revoked, .. })
    });
    assert_eq!(refused.count(), 2);
    assert!(world.gsm().members().all(|listed| listed.identity != world.identity(evicted)));
}

#[test]
fn a_member_that_is_leaving_can_still_be_evicted() {
    let mut scenario = crate::support::quick(6);
    scenario.timing.rekey_interval = 5 * SECOND;
    let mut world = crate::support::stand(World::new(9, scenario));
    let evicted = joined(&world)[0];
    world.leave(evicted);
    world.run_for(millis(100));
    world.evict(evicted).expect("it is still in");
    assert!(world.evict(evicted).is_err(), "once is enough");
    world.run_for(millis(150));
    assert!(has_switched(&world, evicted));
    world.run_for(2 * SECOND);
    world.restart(evicted);
    world.run_for(5 * SECOND);
    assert!(world.gsm().members().all(|listed| listed.identity != world.identity(evicted)));
    assert_eq!(world.violations(), []);
}
