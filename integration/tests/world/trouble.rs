//! What befalls the network and whole processes does what it says, and the oracle sees who does too much or is too many.

use std::time::Duration;

use gsm::Participant;
use integration::{Back, Cast, Cut, NodeId, Player, Property, Scenario, StoreFaults, World};
use protocol::Transmit;

use crate::planted_bugs::assert_found;
use crate::support::{ManagerThrough, Meddle, SECOND, joined, longest_silence, millis, quick, standing};

/// All nodes of a world but these on one side.
fn apart(world: &World, alone: &[NodeId]) -> Cut {
    Cut { side: world.ids().map(|id| alone.contains(&id)).collect(), one_way: false }
}

#[test]
fn across_a_cut_nothing_passes_and_when_it_heals_everybody_is_back() {
    let mut world = standing(1, 6);
    let members = joined(&world);
    let (near, far) = (members[0], members[1]);
    world.cut(apart(&world, &[near]), 8 * SECOND, None);
    let before = world.log().delivered.len();
    world.send(near);
    world.rekey();
    world.run_for(5 * SECOND);
    assert!(world.log().delivered[before..].iter().all(|(_, node, _)| *node == near));
    assert!(world.member(near).is_some_and(member::Member::manager_silent));
    assert!(world.member(far).is_some_and(|member| !member.manager_silent()));
    assert!(!world.is_whole());
    assert!(world.run_until(20 * SECOND, World::is_whole), "nobody stays behind");
    assert_eq!(world.violations(), []);
}

#[test]
fn one_way_the_manager_is_heard_and_hears_nothing() {
    let mut world = standing(2, 6);
    let near = joined(&world)[0];
    let cut = Cut { one_way: true, ..apart(&world, &[near]) };
    world.cut(cut, 6 * SECOND, None);
    let own = world.identity(near).to_owned();
    let requested = world.gsm().members().any(|listed| listed.identity == own);
    assert!(requested);
    world.rekey();
    world.run_for(5 * SECOND);
    assert!(world.is_whole(), "what is multicast reaches it");
    world.leave(near);
    world.run_for(millis(900));
    assert!(world.gsm().members().any(|listed| listed.identity == own), "what it says reaches nobody");
}

#[test]
fn a_cut_that_flaps_lets_something_through_in_between() {
    let mut world = standing(3, 6);
    let near = joined(&world)[0];
    world.cut(apart(&world, &[near]), 20 * SECOND, Some(SECOND));
    for _ in 0..20 {
        world.run_for(SECOND);
        assert!(world.member(near).is_some_and(|member| !member.manager_silent()));
    }
    assert_eq!(world.violations(), []);
}

#[test]
fn a_stopped_manager_says_nothing_and_goes_on_where_it_was() {
    let mut world = standing(4, 6);
    let since = world.now();
    world.run_for(SECOND);
    world.pause(NodeId::MANAGER, 2 * SECOND);
    world.run_for(5 * SECOND);
    let silence = longest_silence(&world, since);
    assert!(silence >= 2 * SECOND && silence < 3 * SECOND, "{silence:?}");
    assert!(world.is_whole());
    assert_eq!(world.violations(), []);
}

#[test]
fn what_came_for_a_stopped_member_waits_for_it() {
    let mut world = standing(5, 6);
    let members = joined(&world);
    world.pause(members[0], SECOND);
    world.send(members[1]);
    world.run_for(millis(900));
    let handed = |world: &World| world.log().delivered.iter().any(|(_, node, _)| *node == members[0]);
    assert!(!handed(&world));
    world.run_for(millis(200));
    assert!(handed(&world));
    assert_eq!(world.violations(), []);
}

#[test]
fn a_disk_that_fails_for_a_while_costs_nobody_its_place_not_even_with_a_kill_in_between() {
    let mut world = standing(6, 6);
    world.break_store(NodeId::MANAGER, 4 * SECOND);
    world.leave(joined(&world)[0]);
    world.run_for(2 * SECOND);
    world.kill(NodeId::MANAGER);
    world.start_again(NodeId::MANAGER, Back::Whole);
    assert!(world.run_until(30 * SECOND, World::is_whole));
    world.judge();
    assert_eq!(world.violations(), []);
}

#[test]
fn lans_with_a_router_between_them_have_a_manager_each() {
    let scenario = Scenario { lans: 2, discovery: true, ..quick(9) };
    let mut world = World::new(7, scenario);
    world.run_for(10 * SECOND);
    assert_eq!(world.managers(), [NodeId(0), NodeId(1)]);
    world.judge();
    assert_eq!(world.violations(), []);
    let rings = world.ids().filter_map(|id| Some((id.0 % 2, world.ring(id)?.subgroup)));
    let subgroups: std::collections::BTreeSet<_> = rings.collect();
    assert_eq!(subgroups.len(), 2, "what one LAN says with a TTL of 1 is not heard in the other");
}

#[test]
fn liveness_two_managers_that_hear_each_other_are_caught() {
    // Their subgroups reach both LANs, and what would make them one does not.
    let scenario = Scenario { lans: 2, ttl: 2, discovery: true, ..quick(5) };
    let mut world = World::new(8, scenario);
    world.run_for(10 * SECOND);
    world.judge();
    assert_found(&world, Property::Liveness, "both manage and hear each other");
}

#[test]
fn liveness_a_lan_without_a_manager_is_caught() {
    let mut world = World::new(9, Scenario { eligible: 2, discovery: true, ..quick(5) });
    world.run_for(10 * SECOND);
    world.kill(NodeId::MANAGER);
    world.run_for(SECOND);
    world.judge();
    assert_found(&world, Property::Liveness, "");
    assert!(world.violations().iter().any(|found| found.what.contains("nobody does in its LAN")));
}

/// A node that says everything it multicasts a thousand times.
struct Stutters;

impl Meddle for Stutters {
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        vec![transmit; 1_000]
    }
}

struct StutteringManager;

impl Cast for StutteringManager {
    fn player(&mut self, node: NodeId, participant: Participant) -> Box<dyn Player> {
        if node == NodeId::MANAGER {
            Box::new(ManagerThrough::new(participant, Stutters))
        } else {
            Box::new(participant)
        }
    }
}

#[test]
fn bounds_a_node_that_floods_the_lan_is_caught() {
    let mut world = World::with_cast(10, quick(3), Box::new(StutteringManager));
    world.run_for(millis(600));
    let found = world.violations();
    assert!(found.iter().any(|found| found.what.contains("datagrams a second")), "{found:?}");
    assert!(found.iter().all(|found| found.property == Property::Bounds));
}

#[test]
fn bounds_more_signature_checks_than_the_budget_allows_are_caught() {
    let mut world = standing(11, 3);
    let now = world.now();
    world.oracle_mut().on_checks(now, NodeId(1), 200);
    assert_eq!(world.violations(), []);
    world.oracle_mut().on_checks(now, NodeId(1), 600);
    assert_found(&world, Property::Bounds, "signature checks a second");
}

#[test]
fn bounds_an_outburst_of_outputs_is_caught() {
    let mut world = standing(12, 3);
    let now = world.now();
    world.oracle_mut().on_outputs(now, NodeId(1), 100_000);
    assert_found(&world, Property::Bounds, "outputs at once");
}

#[test]
fn a_scenario_of_a_seed_has_fifty_nodes_for_ten_minutes_and_one_in_twenty_real_signatures_for_one() {
    let (mut real, mut split) = (0, 0);
    for seed in 0..400 {
        let scenario = Scenario::drawn(seed);
        assert_eq!(1 + scenario.members + scenario.reserve, 50);
        let minutes = if scenario.real_signatures { 1 } else { 10 };
        assert_eq!(scenario.duration + scenario.quiet, Duration::from_secs(60 * minutes));
        assert_eq!(scenario.store.fails_after, StoreFaults::none().fails_after);
        real += usize::from(scenario.real_signatures);
        split += usize::from(scenario.churn.iter().any(|(_, churn)| *churn == integration::Churn::Split));
    }
    assert!((8..=40).contains(&real), "{real}");
    assert!(split > 100, "{split}");
}
