//! Nodes that nobody manages elect one of themselves (attack A28: what a node says of itself is certified, or nothing).

use std::time::Duration;

use gsm::{GsmEvent, Mode, Part, ParticipantEvent};
use member::MemberEvent;

use crate::handover::{is_shut_out, shut_out};
use crate::lan::Lan;

fn auto(lan: &mut Lan, identity: &str) -> usize {
    lan.add(identity, Part::Auto, true, &[], |_| {})
}

/// One manager, and every node that is up holds its state.
fn is_whole(lan: &Lan) -> bool {
    let [manager] = lan.managers()[..] else { return false };
    let Some((state, _)) = lan.gsm(manager).current_key() else { return false };
    let up = lan.nodes.iter().filter(|node| node.up);
    up.filter_map(|node| node.participant.member()).all(|member| member.held() == Some(state))
}

#[test]
fn a_node_alone_becomes_manager_and_says_so_in_order() {
    let mut lan = Lan::new();
    let node = auto(&mut lan, "one");
    assert!(lan.until(|lan| lan.nodes[node].participant.accepts()));
    let told: Vec<_> = lan.nodes[node]
        .events
        .iter()
        .filter_map(|event| match event {
            ParticipantEvent::Became(mode) => Some(format!("{mode:?}")),
            ParticipantEvent::Member(MemberEvent::Elected) => Some("elected".into()),
            ParticipantEvent::Place(_) => Some("place".into()),
            ParticipantEvent::Manager(GsmEvent::Rekeyed(_)) => Some("rekeyed".into()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["Member", "elected", "Manager", "place", "rekeyed"]);
}

#[test]
fn twelve_nodes_that_start_at_once_end_with_one_manager_whose_members_the_others_are() {
    let mut lan = Lan::new();
    for count in 0..12 {
        auto(&mut lan, &format!("node {count}"));
    }
    lan.run(Duration::from_secs(5));
    assert_eq!(lan.managers().len(), 1);
    assert!(lan.until(is_whole));
}

#[test]
fn a_plain_member_finds_the_manager_and_never_becomes_one() {
    let mut lan = Lan::new();
    let plain = lan.member("plain", &[]);
    lan.run(Duration::from_secs(30));
    assert_eq!(lan.managers(), [0; 0]);
    let node = auto(&mut lan, "one");
    assert!(lan.until(is_whole));
    assert_eq!((lan.managers(), lan.nodes[plain].participant.mode()), (vec![node], Mode::Member));
}

#[test]
fn two_halves_that_elected_one_each_become_one() {
    let mut lan = Lan::new();
    let nodes: Vec<_> = (0..6).map(|count| auto(&mut lan, &format!("node {count}"))).collect();
    for (one, two) in nodes.iter().flat_map(|one| nodes.iter().map(move |two| (*one, *two))) {
        if (one < 3) != (two < 3) {
            lan.deaf.insert((one, two));
        }
    }
    lan.run(Duration::from_secs(10));
    assert_eq!(lan.managers().len(), 2);
    lan.deaf.clear();
    assert!(lan.until(is_whole), "{:?}", lan.managers());
}

#[test]
fn who_is_elected_keeps_out_whom_the_manager_before_had_evicted() {
    let mut lan = Lan::new();
    let manager = lan.manager("one");
    lan.run(Duration::from_secs(3));
    shut_out(&mut lan, manager, &["x".into()]);
    let heir = auto(&mut lan, "heir");
    assert!(lan.until(is_whole));
    lan.nodes[manager].up = false;
    // The heir gives its keys up first.
    lan.run(protocol::Timing::default().t_hard);
    assert!(lan.until(|lan| lan.nodes[heir].participant.accepts()));
    assert!(is_shut_out(&mut lan, heir, "x"));
}

#[test]
fn a_manager_that_gave_way_is_elected_again_above_its_own_past() {
    let mut lan = Lan::new();
    let (one, two) = (lan.manager("one"), lan.manager("two"));
    lan.run(Duration::from_millis(10));
    [one, two].iter().for_each(|manager| shut_out(&mut lan, *manager, &["x".into()]));
    assert!(lan.until(|lan| lan.managers().len() == 1) && lan.until(is_whole));
    let [winner] = lan.managers()[..] else { panic!() };
    let loser = one + two - winner;
    // What its manager does later reaches it as a member.
    shut_out(&mut lan, winner, &["y".into()]);
    lan.run(Duration::from_secs(10));
    lan.nodes[winner].up = false;
    lan.run(protocol::Timing::default().t_hard);
    assert!(lan.until(|lan| lan.nodes[loser].participant.accepts()));
    assert!(lan.gsm(loser).status(lan.now).state.term.0 > 1);
    let numbers: Vec<_> = lan.nodes[loser].records.iter().map(|(commit, _)| commit.0).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(is_shut_out(&mut lan, loser, "x") && is_shut_out(&mut lan, loser, "y"));
}
