//! Two managers of one group on one LAN notice each other and become one (attack A29).

use std::time::Duration;

use gsm::{GsmEvent, Part};

use crate::handover::{is_shut_out, shut_out};
use crate::lan::Lan;

fn stepped_down(lan: &Lan, index: usize) -> bool {
    lan.manager_events(index).any(|event| matches!(event, GsmEvent::SteppedDown { .. }))
}

fn not_merged(lan: &Lan, index: usize) -> usize {
    lan.manager_events(index).filter(|event| matches!(event, GsmEvent::NotMerged { .. })).count()
}

/// One manager is left, and everybody is in its subgroup.
fn is_one(lan: &Lan) -> bool {
    let [manager] = lan.managers()[..] else { return false };
    let up = lan.nodes.iter().filter(|node| node.up).count();
    lan.listed(manager).len() == up
}

/// Two managers that do not hear each other yet, the one that will win first.
fn apart() -> (Lan, usize, usize) {
    let mut lan = Lan::new();
    let (one, two) = (lan.manager("one"), lan.manager("two"));
    lan.deaf.extend([(one, two), (two, one)]);
    lan.run(Duration::from_millis(100));
    let wins = lan.gsm(one).status(lan.now).state > lan.gsm(two).status(lan.now).state;
    if wins { (lan, one, two) } else { (lan, two, one) }
}

#[test]
fn two_managers_become_one_and_the_other_is_its_member() {
    let (mut lan, winner, loser) = apart();
    lan.deaf.clear();
    assert!(lan.until(is_one));
    assert_eq!(lan.managers(), [winner]);
    assert!(stepped_down(&lan, loser) && !stepped_down(&lan, winner));
    let held = |lan: &Lan| lan.nodes[loser].participant.member().and_then(|member| member.held());
    assert!(lan.until(|lan| held(lan).is_some()));
    let subgroup = lan.gsm(winner).domain().subgroup;
    assert!(lan.nodes[loser].participant.listens().is_some_and(|place| place.subgroup == subgroup));
    lan.run(Duration::from_secs(60));
    assert_eq!(lan.managers(), [winner]);
}

#[test]
fn three_managers_become_one_and_all_their_members_follow() {
    let mut lan = Lan::new();
    let managers: Vec<_> = ["one", "two", "three"].iter().map(|identity| lan.manager(identity)).collect();
    let everyone = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
    lan.deaf.extend(everyone);
    for (place, manager) in managers.iter().enumerate() {
        let others = [*manager, (manager + 1) % 3, (manager + 2) % 3];
        lan.member(&format!("member {place}"), &others);
    }
    lan.run(Duration::from_secs(10));
    assert!(managers.iter().all(|manager| lan.listed(*manager).len() == 2));
    lan.deaf.clear();
    assert!(lan.until(is_one), "{:?}", lan.managers());
}

#[test]
fn who_was_evicted_on_either_side_stays_out_on_both() {
    let (mut lan, winner, loser) = apart();
    let there = lan.member("evicted there", &[winner]);
    let here = lan.member("evicted here", &[loser]);
    lan.run(Duration::from_secs(10));
    lan.evict(winner, "evicted there");
    lan.evict(loser, "evicted here");
    lan.nodes[there].up = false;
    lan.nodes[here].up = false;
    lan.deaf.clear();
    assert!(lan.until(is_one));
    assert!(is_shut_out(&mut lan, winner, "evicted there") && is_shut_out(&mut lan, winner, "evicted here"));
    // Also after the winner has gone down and come back.
    lan.restart(winner, Part::Auto);
    assert!(lan.until(|lan| lan.nodes[winner].participant.accepts()));
    assert!(is_shut_out(&mut lan, winner, "evicted there") && is_shut_out(&mut lan, winner, "evicted here"));
}

#[test]
fn a_member_of_the_winner_that_the_loser_had_evicted_is_cut_off_at_once() {
    let (mut lan, winner, loser) = apart();
    let moved = lan.member("x", &[loser]);
    lan.run(Duration::from_secs(10));
    lan.evict(loser, "x");
    lan.nodes[moved].up = false;
    lan.member("x", &[winner]);
    lan.run(Duration::from_secs(10));
    assert!(lan.listed(winner).contains(&"x".into()));
    lan.deaf.clear();
    assert!(lan.until(|lan| lan.managers() == [winner]));
    assert!(!lan.listed(winner).contains(&"x".into()));
    let hard = |event: &GsmEvent| matches!(event, GsmEvent::Rekeyed(summary) if summary.hard);
    assert!(lan.manager_events(winner).any(hard));
}

#[test]
fn more_revocations_than_a_frame_holds_are_handed_over_whole() {
    let (mut lan, winner, loser) = apart();
    let names: Vec<_> = (0..700).map(|number| format!("evicted {number}")).collect();
    shut_out(&mut lan, loser, &names);
    lan.deaf.clear();
    assert!(lan.until(is_one));
    assert_eq!(lan.gsm(winner).status(lan.now).revocations, 700);
    assert!(is_shut_out(&mut lan, winner, "evicted 0") && is_shut_out(&mut lan, winner, "evicted 699"));
}

#[test]
fn an_eviction_at_any_moment_of_a_merge_reaches_the_winner_or_is_refused() {
    for wait in (0..400).step_by(7).map(Duration::from_millis) {
        let (mut lan, winner, loser) = apart();
        let x = lan.member("x", &[loser]);
        lan.run(Duration::from_secs(7));
        lan.deaf.clear();
        // From the first word of one to the other on.
        assert!(lan.until(|lan| {
            lan.manager_events(loser).any(|event| matches!(event, GsmEvent::OtherManager { .. }))
        }));
        lan.run(wait);
        let now = lan.now;
        let asked = lan.nodes[loser].participant.gsm_mut().map(|gsm| gsm.evict(now, "x").is_ok());
        lan.settle(loser);
        lan.nodes[x].up = false;
        assert!(lan.until(|lan| lan.managers() == [winner]), "{wait:?}");
        assert!(asked != Some(true) || is_shut_out(&mut lan, winner, "x"), "evicted after {wait:?}");
    }
}

#[test]
fn a_restart_of_either_at_any_moment_of_a_merge_leaves_one_manager() {
    for (wait, of_winner) in (0..900).step_by(31).flat_map(|wait| [(wait, false), (wait, true)]) {
        let (mut lan, winner, loser) = apart();
        shut_out(&mut lan, loser, &["x".into()]);
        lan.deaf.clear();
        lan.run(Duration::from_millis(wait));
        lan.restart(if of_winner { winner } else { loser }, Part::Auto);
        assert!(lan.until(|lan| lan.managers().len() == 1), "{wait} {of_winner} {:?}", lan.managers());
        let [left] = lan.managers()[..] else { panic!() };
        assert!(lan.until(|lan| lan.nodes[left].participant.accepts()), "{wait} {of_winner}");
        assert!(is_shut_out(&mut lan, left, "x"), "{wait} {of_winner}");
    }
}

#[test]
fn a_manager_that_is_not_heard_gives_way_after_a_while() {
    let (mut lan, winner, loser) = apart();
    lan.deaf.remove(&(loser, winner));
    lan.run(Duration::from_secs(20));
    assert_eq!(lan.managers().len(), 2);
    assert!(lan.until(is_one));
    assert_eq!(lan.managers(), [loser]);
}

#[test]
fn a_manager_that_cannot_be_reached_is_not_given_way_to() {
    let (mut lan, winner, loser) = apart();
    lan.walled.extend([winner, loser]);
    lan.deaf.clear();
    lan.run(Duration::from_secs(300));
    assert_eq!(lan.managers().len(), 2);
    assert!(lan.nodes[loser].participant.accepts() && lan.nodes[winner].participant.accepts());
    // Tried again, but ever more seldom.
    assert!((4..20).contains(&not_merged(&lan, loser)), "{}", not_merged(&lan, loser));
    lan.walled.clear();
    assert!(lan.until(|lan| lan.managers().len() == 1) || lan.until(|lan| lan.managers().len() == 1));
}

#[test]
fn a_manager_whose_store_failed_gives_way_to_a_lower_one_that_works() {
    let (mut lan, winner, loser) = apart();
    lan.nodes[winner].stores = false;
    let now = lan.now;
    let _ = lan.nodes[winner].participant.gsm_mut().unwrap().rekey(now);
    lan.settle(winner);
    assert!(!lan.nodes[winner].participant.accepts());
    lan.deaf.clear();
    assert!(lan.until(|lan| lan.managers() == [loser]), "{:?}", lan.managers());
}

#[test]
fn a_node_whose_store_failed_manages_again_once_nobody_else_does_and_it_works() {
    let (mut lan, failed, other) = apart();
    lan.nodes[failed].stores = false;
    let now = lan.now;
    let _ = lan.nodes[failed].participant.gsm_mut().unwrap().rekey(now);
    lan.settle(failed);
    lan.deaf.clear();
    assert!(lan.until(|lan| lan.managers() == [other]));
    lan.run(Duration::from_secs(10));
    lan.nodes[other].up = false;
    lan.nodes[failed].stores = true;
    // Its membership lasts for T_hard; then it stands for election.
    lan.run(protocol::Timing::default().t_hard);
    assert!(lan.until(|lan| lan.nodes[failed].participant.accepts()), "it is neither member nor manager");
}

#[test]
fn a_store_that_works_again_while_its_node_is_a_member_is_one_that_works() {
    let (mut lan, failed, other) = apart();
    lan.nodes[failed].stores = false;
    let now = lan.now;
    let _ = lan.nodes[failed].participant.gsm_mut().unwrap().rekey(now);
    lan.settle(failed);
    lan.deaf.clear();
    assert!(lan.until(|lan| lan.managers() == [other]));
    lan.run(Duration::from_secs(10));
    lan.mend_store(failed);
    lan.run(Duration::from_secs(10));
    lan.nodes[other].up = false;
    lan.run(protocol::Timing::default().t_hard);
    assert!(lan.until(|lan| lan.nodes[failed].participant.accepts()));
    let read_only = lan.manager_events(failed).filter(|event| matches!(event, GsmEvent::ReadOnly)).count();
    assert_eq!(read_only, 1, "once, before it gave way");
}

#[test]
fn managers_configured_apart_stay_apart_and_say_so() {
    let mut lan = Lan::new();
    let apart = |config: &mut gsm::ManagerConfig| config.merges = false;
    let (one, two) =
        (lan.add("one", Part::Manager, true, &[], apart), lan.add("two", Part::Manager, true, &[], apart));
    lan.run(Duration::from_secs(120));
    assert_eq!(lan.managers(), [one, two]);
    for manager in [one, two] {
        let heard = |event: &&GsmEvent| matches!(event, GsmEvent::OtherManager { merges: false, .. });
        assert_eq!(lan.manager_events(manager).filter(heard).count(), 1);
    }
}

#[test]
fn a_manager_that_the_other_one_had_evicted_is_not_followed_and_not_taken_in() {
    for winner_evicts in [false, true] {
        let (mut lan, winner, loser) = apart();
        let (judge, judged) = if winner_evicts { (winner, loser) } else { (loser, winner) };
        let name = lan.nodes[judged].identity.clone();
        shut_out(&mut lan, judge, &[name]);
        lan.deaf.clear();
        lan.run(Duration::from_secs(120));
        assert_eq!(lan.managers(), [judge]);
        assert_eq!(lan.gsm(judge).status(lan.now).revocations, 1);
        let took =
            |event: &GsmEvent| matches!(event, GsmEvent::TookOver { identity, .. } if identity != "helper");
        assert!(!lan.manager_events(judge).any(took));
        assert_eq!(lan.listed(judge), [lan.nodes[judge].identity.clone()]);
    }
}

/// Apart from it, or just as it took over. Its members did nothing, and are not left to it.
#[test]
fn the_members_of_a_manager_that_the_other_one_had_evicted_go_there() {
    for winner_evicts in [false, true] {
        let (mut lan, winner, loser) = apart();
        let (judge, judged) = if winner_evicts { (winner, loser) } else { (loser, winner) };
        let members = [lan.member("ann", &[judged]), lan.member("bob", &[judged])];
        lan.run(Duration::from_secs(10));
        assert!(["ann", "bob"].iter().all(|name| lan.listed(judged).contains(&(*name).into())));
        let name = lan.nodes[judged].identity.clone();
        shut_out(&mut lan, judge, &[name]);
        lan.deaf.clear();
        assert!(lan.until(|lan| lan.managers() == [judge] && lan.listed(judge).len() == 3));
        let subgroup = lan.gsm(judge).domain().subgroup;
        let there = |lan: &Lan, node: usize| {
            let participant = &lan.nodes[node].participant;
            participant.listens().is_some_and(|place| place.subgroup == subgroup)
                && participant.member().is_some_and(|member| member.held().is_some())
        };
        assert!(lan.until(|lan| members.iter().all(|node| there(lan, *node))));
    }
}
