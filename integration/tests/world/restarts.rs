//! The manager is killed and comes back: with all it had promised to keep, or with an older copy of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gsm::GsmEvent;
use integration::{Back, Churn, NodeId, Scenario, World};
use member::MemberEvent;

use crate::support::{SECOND, joined, lost, millis, quick, stand, standing, talk};

const SEEDS: u64 = 60;

/// A drawn run in which the manager dies at least twice.
fn restarting(seed: u64) -> Scenario {
    let mut scenario = Scenario::small(seed);
    let (third, two) = (scenario.duration / 3, scenario.duration * 2 / 3);
    scenario.churn.extend([(third / 2, Churn::Copy), (third, Churn::Kill), (two, Churn::Kill)]);
    scenario
}

#[test]
fn sixty_seeds_whose_managers_die_in_churn_keep_what_they_told_and_everybody_who_was_in() {
    let (next, restarts) = (AtomicU64::new(5_000), AtomicU64::new(0));
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= 5_000 + SEEDS {
                return;
            }
            match World::new(seed, restarting(seed)).run() {
                Ok(report) => restarts.fetch_add(report.restarts as u64, Ordering::Relaxed),
                Err(failure) => panic!("{failure}"),
            };
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(run);
        scope.spawn(run);
    });
    assert!(restarts.into_inner() >= 2 * SEEDS, "the runs were about restarts");
}

/// How often the members were granted a place from here on.
fn grants(world: &World, since: usize) -> usize {
    let events = world.log().members.iter().skip(since);
    events.filter(|(_, _, event)| matches!(event, MemberEvent::Granted(_))).count()
}

#[test]
fn a_restart_costs_the_members_no_packet_and_no_registration() {
    for seed in 0..8 {
        let mut world = standing(seed, 10);
        let members = joined(&world);
        let since = world.log().members.len();
        talk(&mut world, &members, 100);
        for down in [300, 1_000, 2_500] {
            world.kill(NodeId::MANAGER);
            talk(&mut world, &members, down / 20);
            world.start_again(NodeId::MANAGER, Back::Whole);
            talk(&mut world, &members, 300);
            assert!(world.is_whole(), "seed {seed}");
        }
        world.run_for(3 * SECOND);
        let (lost, due) = lost(&world, &members);
        assert!(due > 9_000, "{due} packets were due");
        assert_eq!(lost, [], "seed {seed}");
        assert_eq!(grants(&world, since), 0, "seed {seed}");
        let (state, _) = world.gsm().current_key().expect("a state");
        assert_eq!(state.term, protocol::Term(4), "a term for each start");
        assert_eq!(world.violations(), []);
    }
}

#[test]
fn a_member_that_hears_nothing_for_a_while_stays_what_it_is() {
    for discovery in [false, true] {
        let mut world = stand(World::new(3, Scenario { discovery, ..quick(6) }));
        let members = joined(&world);
        let since = world.log().members.len();
        world.deafen(members[1], world.timing().silence * 2);
        for _ in 0..6 {
            world.run_for(SECOND);
            world.rekey();
        }
        world.run_for(3 * SECOND);
        let silent = |event: &MemberEvent| *event == MemberEvent::ManagerSilent;
        // It asks by itself, and is answered where nobody else hears it.
        assert!(!world.log().members[since..].iter().any(|(_, _, event)| silent(event)));
        assert!(world.is_whole());
        assert_eq!(grants(&world, since), 0);
        assert_eq!(world.violations(), []);
    }
}

/// Fifty key updates and five evictions after a copy of the store was made.
fn long_after_the_copy(seed: u64, discovery: bool) -> (World, Vec<NodeId>) {
    let mut world = stand(World::new(seed, Scenario { discovery, ..quick(12) }));
    world.copy_store(NodeId::MANAGER);
    let evicted: Vec<_> = joined(&world).into_iter().take(5).collect();
    for round in 0..50 {
        match evicted.get(round / 10).filter(|_| round % 10 == 0) {
            Some(node) => world.evict(*node).expect("a member"),
            None => world.rekey(),
        }
        world.run_for(millis(200));
    }
    world.run_for(3 * SECOND);
    assert!(world.is_whole());
    (world, evicted)
}

#[test]
fn over_a_copy_of_the_store_that_is_put_back_the_evicted_stay_out_and_all_others_are_back_in_30_seconds() {
    for (seed, back) in (0..4).flat_map(|seed| [(seed, Back::Older), (seed, Back::Cloned)]) {
        let (mut world, evicted) = long_after_the_copy(seed, seed % 2 == 0);
        let others: Vec<_> = joined(&world).into_iter().filter(|node| !evicted.contains(node)).collect();
        world.kill(NodeId::MANAGER);
        world.run_for(SECOND);
        assert!(world.start_again(NodeId::MANAGER, back));
        // They try at once, before anybody else does.
        evicted.iter().for_each(|node| world.restart(*node));
        let all_back = |world: &World| {
            let listed: Vec<_> = world.gsm().members().map(|listed| listed.identity.clone()).collect();
            others.iter().all(|node| listed.iter().any(|name| name == world.identity(*node)))
        };
        assert!(world.run_until(Duration::from_secs(30), |world| all_back(world) && world.is_whole()));
        world.run_for(30 * SECOND);
        assert!(world.is_whole());
        let told = |(_, event): &(_, GsmEvent)| matches!(event, GsmEvent::RolledBack { .. });
        assert!(world.log().manager.iter().any(told), "its operator is told");
        let names: Vec<_> = evicted.iter().map(|node| world.identity(*node)).collect();
        assert!(world.gsm().members().all(|listed| !names.contains(&listed.identity.as_str())));
        assert_eq!(world.violations(), []);
    }
}
