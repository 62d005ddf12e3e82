//! Following key updates and alarms: in order, once, and only where they lead to the manager's key.

use std::time::Duration;

use member::MemberEvent;
use protocol::{Epoch, Rejected, Version};

use super::manager::Manager;
use super::node::Node;

fn installed(node: &Node) -> Vec<Epoch> {
    let installed = node.events.iter().filter_map(|event| match event {
        MemberEvent::Installed { state, .. } => Some(state.epoch),
        _ => None,
    });
    installed.collect()
}

#[test]
fn a_later_update_waits_for_the_missing_one_and_both_are_installed() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let first = manager.state.epoch;
    // The first replaces a key beside the member's leaf, under which the second seals the root.
    let earlier = manager.cut(&[], &[1]);
    let later = manager.cut(&[], &[9]);
    node.forget();
    node.control(&later).unwrap();
    assert_eq!(node.member.held().unwrap().epoch, first);
    assert_eq!(node.member.known(), Some(manager.state));
    assert_eq!(installed(&node), []);
    node.control(&earlier).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
    let ring = node.ring().unwrap();
    let mut receive: Vec<_> = ring.receive.iter().map(|key| key.state.epoch).collect();
    receive.sort();
    assert_eq!(receive, [first, Epoch(first.0 + 1), Epoch(first.0 + 2)]);
    node.forget();
    node.pass(Duration::from_secs(2));
    assert_eq!(node.multicasts(), 0, "nothing is missing any more");
}

#[test]
fn an_update_cut_before_the_join_holds_nothing_up() {
    let mut manager = Manager::new();
    let mut node = Node::admitted(&mut manager);
    let without = manager.cut(&[], &[4]);
    let with = manager.let_in();
    node.control(&without).unwrap();
    assert_eq!(node.member.held(), None);
    node.control(&with).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
}

/// Attack A14: everything that was ever sent, sent again.
#[test]
fn a_replay_of_all_traffic_changes_nothing() {
    let mut manager = Manager::new();
    let mut traffic = vec![manager.cut(&[20], &[]), manager.alarm()];
    let mut node = Node::inside(&mut manager);
    for leaver in 1..5 {
        let (update, alarm) = (manager.cut(&[], &[leaver]), manager.alarm());
        node.control(&update).unwrap();
        node.control(&alarm).unwrap();
        traffic.extend([update, alarm]);
        node.pass(Duration::from_millis(100));
    }
    node.pass(Duration::from_millis(500));
    for datagram in traffic.iter().chain(traffic.iter().rev()) {
        assert!(matches!(node.refuses_control(datagram), Rejected::Stale | Rejected::Duplicate));
    }
    assert_eq!(node.member.held(), Some(manager.state));
}

#[test]
fn a_replay_of_old_traffic_to_a_joiner_changes_nothing() {
    let mut manager = Manager::new();
    let mut old = Vec::new();
    for newcomer in 30..60 {
        old.push(manager.cut(&[newcomer], &[]));
    }
    let mut node = Node::admitted(&mut manager);
    for datagram in &old {
        assert_eq!(node.refuses_control(datagram), Rejected::Stale);
    }
    let update = manager.let_in();
    node.control(&update).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
}

/// Attack A25: a manager (or who has its key) whose key check does not fit its own entries.
#[test]
fn an_update_that_does_not_lead_to_its_key_check_is_not_installed() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let held = manager.state;
    // Signed, but nothing in the tree leads to such a key.
    let lie = manager.alarm_with(|alarm| {
        alarm.state = alarm.state.at(Epoch(alarm.state.epoch.0 + 1));
        alarm.root = Version { steps: alarm.root.steps + 1, ..alarm.root };
        alarm.key_check = [0x66; 8];
    });
    node.control(&lie).unwrap();
    assert_eq!(node.member.held(), Some(held));
    assert_eq!(node.member.known().unwrap().epoch, Epoch(held.epoch.0 + 1));
    assert_eq!(node.member.key_path().unwrap().root().unwrap().0, manager.tree.root().unwrap().0);
}

#[test]
fn a_member_that_missed_an_epoch_that_only_stepped_follows_the_alarm_alone() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let _lost = manager.cut(&[10], &[]);
    node.forget();
    node.control(&manager.alarm()).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert_eq!(installed(&node), [manager.state.epoch]);
    node.pass(Duration::from_secs(2));
    assert_eq!(node.multicasts(), 0, "no NAK for what needed no message");
}

#[test]
fn a_lost_update_is_asked_for_twice_and_then_by_unicast() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let held = manager.state;
    let key = node.member.key_path().unwrap().root().unwrap().1.clone();
    let prefilter = manager.domain.prefilter(&manager.domain.group_key(&key, held), held);
    let _lost = manager.cut(&[], &[1]);
    node.forget();
    node.control(&manager.alarm()).unwrap();
    node.pass(Duration::from_millis(1_000));
    let naks = node.naks(|_| prefilter.clone(), &manager);
    assert_eq!(naks.len(), 2);
    assert!(naks.iter().all(|nak| nak.wanted == manager.state && nak.held == held.epoch));
    assert_ne!(naks[0].nonce, naks[1].nonce, "a manager takes no NAK twice");
    assert!(node.resync_asked(&manager).is_some());
    let first = node.sent[0].0.saturating_since(node.now - Duration::from_millis(1_000));
    assert!((Duration::from_millis(20)..=Duration::from_millis(80)).contains(&first), "{first:?}");
}

/// Attack A16: a member that is kept on an old epoch stops talking under it.
#[test]
fn a_laggard_stops_sending_once_an_alarm_names_a_newer_state() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.pass(Duration::from_millis(600));
    let sending = |node: &Node| node.ring().unwrap().send_key_at(node.now).map(|key| key.state);
    assert_eq!(sending(&node), Some(manager.state));
    let _jammed = manager.cut(&[], &[1]);
    node.control(&manager.alarm()).unwrap();
    node.pass(Duration::from_millis(200));
    assert_eq!(sending(&node), None, "the hard state is active and this node does not hold it");
    let floor = node.ring().unwrap().hard_floor.unwrap();
    assert_eq!(floor.state, manager.state);
    assert!(floor.at <= node.now);
}

#[test]
fn numbers_at_the_end_of_their_range_do_no_harm_even_when_signed() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let held = manager.state;
    let far = manager.alarm_with(|alarm| {
        alarm.state = alarm.state.at(Epoch(u32::MAX));
        alarm.root = Version { base: Epoch(u32::MAX), steps: u16::MAX };
        alarm.height = u8::MAX;
        alarm.activation = Duration::from_millis(65_535);
    });
    node.control(&far).unwrap();
    node.pass(Duration::from_secs(1));
    assert_eq!(node.member.held(), Some(held), "its keys stay until the state it cannot reach cuts them");
}
