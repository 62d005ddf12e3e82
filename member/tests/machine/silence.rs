//! A manager that falls silent, or seems to: who may keep it alive, and what becomes of the keys.

use std::time::Duration;

use member::MemberEvent;
use protocol::{CloseReason, Input, Rejected};

use super::manager::Manager;
use super::node::Node;

#[test]
fn three_seconds_without_an_alarm_are_silence_and_the_keys_stay() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.forget();
    node.pass(Duration::from_millis(2_900));
    assert!(!node.events.contains(&MemberEvent::ManagerSilent));
    node.pass(Duration::from_millis(200));
    assert!(node.events.contains(&MemberEvent::ManagerSilent));
    node.pass(Duration::from_secs(9));
    assert_eq!(node.asked().len(), 0, "nobody registers again because a manager restarts");
    assert_eq!(node.member.held(), Some(manager.state));
}

/// Attack A26: alarms of a dead manager, forged or sent again, hide nothing.
#[test]
fn forged_and_replayed_alarms_keep_no_dead_manager_alive() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let mut recorded: Vec<_> = (0..8).map(|_| manager.alarm()).collect();
    for alarm in &recorded {
        node.control(alarm).unwrap();
    }
    let mut forged = manager.alarm();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    recorded.push(forged);
    node.forget();
    for _ in 0..62 {
        node.pass(Duration::from_millis(50));
        for alarm in &recorded {
            assert!(matches!(node.refuses_control(alarm), Rejected::Stale | Rejected::NotAuthentic));
        }
    }
    assert!(node.events.contains(&MemberEvent::ManagerSilent));
}

#[test]
fn a_manager_that_is_heard_again_is_kept() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.pass(Duration::from_millis(3_050));
    node.control(&manager.alarm()).unwrap();
    let back = |node: &Node| node.events.iter().filter(|event| **event == MemberEvent::ManagerBack).count();
    assert_eq!(back(&node), 1);
    let asked = node.asked().len();
    for _ in 0..40 {
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
    }
    assert_eq!(node.asked().len(), asked, "no registration is begun");
    assert_eq!(back(&node), 1, "told once");
    assert_eq!(node.member.held(), Some(manager.state));
}

#[test]
fn a_silent_manager_that_cannot_be_reached_costs_no_key() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    for _ in 0..60 {
        node.pass(Duration::from_secs(1));
        if let Some((_, conn, _)) = node.asked().last().copied() {
            let _ = node.input(Input::Closed { conn, why: CloseReason::TimedOut });
        }
    }
    assert_eq!(node.member.held(), Some(manager.state));
    let ring = node.ring().unwrap();
    assert_eq!(ring.send_key_at(node.now).map(|key| key.state), Some(manager.state));
}
