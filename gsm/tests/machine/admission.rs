//! The registrations under way: their deadlines, their number, and what becomes of an older one.

use std::time::Duration;

use gsm::{Departure, GsmEvent, JournalEntry, Standing};
use protocol::{Frame, Input, Rejected, ToManager, Transmit};

use super::support::{Manager, Node, address};

#[test]
fn sessions_that_dawdle_are_closed_and_their_leaves_are_free() {
    let mut manager = Manager::start();
    let (silent, dawdling) = (Node::new("silent"), Node::new("dawdling"));
    let (quiet, slow) = (manager.connect(&silent), manager.connect(&dawdling));
    let offered = manager.ask(slow, &dawdling).unwrap();
    manager.advance(Duration::from_secs(4));
    assert!(!manager.is_closed(quiet) && !manager.is_closed(slow));
    manager.advance(Duration::from_secs(2));
    assert!(manager.is_closed(quiet) && manager.is_closed(slow));
    let late = manager.refuses_frame(slow, &Frame::Confirm(offered.member));
    assert_eq!(late, Rejected::UnknownConnection);
    assert_eq!(manager.admit(&Node::new("prompt")).grant.reg_no, offered.grant.reg_no);
    assert_eq!(manager.gsm.members().count(), 2);
}

#[test]
fn a_member_that_does_not_close_after_its_answer_is_closed_in_the_end() {
    let mut manager = Manager::start();
    let node = Node::new("clinging");
    let conn = manager.connect(&node);
    let offered = manager.ask(conn, &node).unwrap();
    manager.frame(conn, &Frame::Confirm(offered.member)).unwrap();
    manager.advance(Duration::from_secs(6));
    assert!(!manager.is_closed(conn));
    manager.advance(Duration::from_secs(25));
    assert!(manager.is_closed(conn));
    assert!(manager.listed(&offered).is_some(), "it stays a member");
}

#[test]
fn connections_beyond_the_limit_are_closed_unheard_and_others_go_on() {
    let mut manager = Manager::start();
    let first = manager.connect(&Node::new("first"));
    for _ in 1..4_096 {
        let _ = manager.connect(&Node::new("crowd"));
    }
    let peer = Node::new("one too many").peer;
    let conn = protocol::ConnId(1_000_000);
    assert_eq!(manager.input(Input::Accepted { conn, peer }), Err(Rejected::Busy));
    assert!(manager.is_closed(conn));
    assert!(manager.ask(first, &Node::new("first")).is_some());
    manager.advance(Duration::from_secs(6));
    let _ = manager.admit(&Node::new("one too many"));
}

#[test]
fn a_second_registration_of_an_identity_replaces_the_first() {
    let mut manager = Manager::start();
    let first = manager.with(&["node", "bystander"]).remove(0);
    manager.forget();
    let second = manager.admit(&Node::new("node"));
    assert_ne!(first.grant.sender, second.grant.sender);
    assert_ne!(first.grant.reg_no, second.grant.reg_no, "the old leaf is in use until the cut");
    let replaced =
        GsmEvent::Departed { identity: "node".into(), sender: first.grant.sender, why: Departure::Replaced };
    assert!(manager.events.contains(&replaced));
    let departed = JournalEntry::Departed { sender: first.grant.sender };
    let at = |wanted: &dyn Fn(&JournalEntry) -> bool| manager.records.iter().position(wanted).unwrap();
    assert!(at(&|entry| *entry == departed) < at(&|entry| matches!(entry, JournalEntry::Joined(_))));
    assert_eq!(manager.listed(&first).unwrap().standing, Standing::Leaving);
    manager.rekey();
    assert!(manager.listed(&first).is_none());
    assert_eq!(manager.listed(&second).unwrap().standing, Standing::In);
    let old = first.seal(ToManager::Keepalive { counter: 1, held: None });
    assert_eq!(manager.unicast(address(1), &old), Err(Rejected::UnknownSender));
}

#[test]
fn of_two_registrations_under_way_the_later_to_confirm_counts() {
    let mut manager = Manager::start();
    let node = Node::new("twice");
    let (one, two) = (manager.connect(&node), manager.connect(&node));
    let (first, second) = (manager.ask(one, &node).unwrap(), manager.ask(two, &node).unwrap());
    assert_ne!(first.grant.reg_no, second.grant.reg_no);
    manager.frame(two, &Frame::Confirm(second.member)).unwrap();
    manager.frame(one, &Frame::Confirm(first.member)).unwrap();
    manager.rekey();
    let live: Vec<_> = manager.gsm.members().filter(|listed| listed.identity == "twice").collect();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].sender, first.grant.sender);
}

#[test]
fn a_connection_that_closes_before_its_answer_is_durable_gets_none() {
    let mut manager = Manager::start();
    let node = Node::new("impatient");
    let conn = manager.connect(&node);
    let offered = manager.ask(conn, &node).unwrap();
    manager.storing = false;
    manager.frame(conn, &Frame::Confirm(offered.member)).unwrap();
    manager.close(conn);
    manager.forget();
    manager.storing = true;
    manager.store();
    assert!(!manager.sent.iter().any(|transmit| matches!(transmit, Transmit::Frame { .. })));
    assert!(
        manager.listed(&offered).is_some(),
        "the join stands; the node will register again or fall silent"
    );
}
