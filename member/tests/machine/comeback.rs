//! A manager that was started again is followed by those who knew it: nobody registers, nothing older is taken, and no
//! key in use ends early.

use std::time::Duration;

use member::{MemberEvent, Move};
use protocol::{DatagramKind, Input, Lane, Rejected, StateId};

use super::manager::{MEMBER, Manager};
use super::node::{Node, registrar};
use super::others::{holder, presence};

const MILLI: Duration = Duration::from_millis(1);

/// A member whose manager just was started again, with the full key update that was not delivered yet.
fn after_restart() -> (Manager, Node, StateId, Vec<u8>) {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.pass(Duration::from_secs(2));
    let before = manager.state;
    let update = manager.start_again(2, 0x1234, node.member.key_path().unwrap());
    node.forget();
    (manager, node, before, update)
}

fn sends_under(node: &Node) -> Option<StateId> {
    node.ring().unwrap().send_key_at(node.now).map(|key| key.state)
}

#[test]
fn a_member_follows_its_manager_to_a_higher_term_without_registering_again() {
    let (mut manager, mut node, before, update) = after_restart();
    node.control(&update).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
    let restarted = MemberEvent::ManagerRestarted { state: manager.state };
    assert!(node.events.contains(&restarted));
    node.control(&manager.alarm()).unwrap();
    // The keys of the start before serve until the new one is active, and are received until its cut.
    assert_eq!(sends_under(&node), Some(before));
    node.pass(Duration::from_millis(499));
    assert_eq!(sends_under(&node), Some(before));
    node.pass(2 * MILLI);
    assert_eq!(sends_under(&node), Some(manager.state));
    node.control(&manager.alarm()).unwrap();
    let received = |node: &Node| node.ring().unwrap().receive.iter().map(|key| key.state).collect::<Vec<_>>();
    assert_eq!(received(&node), [before, manager.state]);
    node.pass(Duration::from_secs(1));
    assert_eq!(received(&node), [manager.state]);
    // And it goes on as ever.
    let next = manager.cut(&[], &[3]);
    node.control(&next).unwrap();
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
    assert_eq!(node.asked(), []);
    assert_eq!(node.multicasts(), 0);
}

#[test]
fn the_alarm_of_a_new_start_may_come_first() {
    let (mut manager, mut node, before, update) = after_restart();
    node.control(&manager.alarm()).unwrap();
    assert_eq!(node.member.known(), Some(manager.state));
    assert_eq!(node.member.held(), Some(before), "its key is not held yet");
    assert_eq!(node.ring().unwrap().known, Some(manager.state));
    node.pass(50 * MILLI);
    node.control(&update).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    let told =
        node.events.iter().filter(|event| matches!(event, MemberEvent::ManagerRestarted { .. })).count();
    assert_eq!(told, 1);
}

/// The manager keeps the leaf secrets as they were stepped; so must the member.
#[test]
fn steps_of_the_leaf_survive_a_restart() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    for _ in 0..3 {
        let update = manager.step_leaves();
        node.control(&update).unwrap();
    }
    assert_eq!(node.member.key_path().unwrap().leaf_steps(), 3);
    let update = manager.start_again(2, 0x1234, node.member.key_path().unwrap());
    node.control(&update).unwrap();
    assert_eq!(node.member.key_path().unwrap().leaf_steps(), 3);
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
    let update = manager.step_leaves();
    node.control(&update).unwrap();
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
}

#[test]
fn a_missed_full_update_is_asked_for_by_unicast_and_nobody_naks() {
    let (mut manager, mut node, ..) = after_restart();
    let begun = node.now;
    node.control(&manager.alarm()).unwrap();
    while node.resync_asked(&manager).is_none() {
        node.pass_to_the_next_timer();
    }
    let waited = node.now.saturating_since(begun);
    assert!((80 * MILLI..=280 * MILLI).contains(&waited), "{waited:?}");
    assert_eq!(node.multicast(DatagramKind::Nak).len(), 0, "there is no key for its MAC");
    let nonce = node.resync_asked(&manager).unwrap();
    let answer = manager.answer(nonce, manager.path(MEMBER));
    node.unicast(&answer).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    let next = manager.cut(&[], &[2]);
    node.control(&next).unwrap();
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
    // From here on there is a key for NAKs again.
    let _lost = manager.cut(&[], &[4]);
    node.control(&manager.alarm()).unwrap();
    node.pass(100 * MILLI);
    assert_eq!(node.multicast(DatagramKind::Nak).len(), 1);
}

/// The answer to a resync may be the first that a member hears of the new start.
#[test]
fn an_answer_of_a_new_start_is_installed_though_nothing_announced_it() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let _lost = manager.cut(&[], &[1]);
    node.control(&manager.alarm()).unwrap();
    node.pass(Duration::from_millis(700));
    let nonce = node.resync_asked(&manager).unwrap();
    let _unheard = manager.start_again(2, 0x1234, node.member.key_path().unwrap());
    let answer = manager.answer(nonce, manager.path(MEMBER));
    node.unicast(&answer).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
}

#[test]
fn unicast_goes_to_where_the_manager_speaks_from_now() {
    let (mut manager, mut node, _, update) = after_restart();
    let from = ([10, 0, 0, 200], 6_666).into();
    for bytes in [update, manager.alarm()] {
        node.input(Input::Datagram { lane: Lane::Control, from, bytes: &bytes }).unwrap();
    }
    node.forget();
    node.pass(Duration::from_secs(11));
    let to: Vec<_> = node.unicasts(DatagramKind::ToManager).iter().map(|(_, to, _)| *to).collect();
    assert!(!to.is_empty() && to.iter().all(|to| *to == from), "{to:?}");
}

/// Attack A14: another start of the same term is a clone; a lower term is old.
#[test]
fn a_clone_and_an_older_start_are_refused() {
    let (mut manager, mut node, _, update) = after_restart();
    node.control(&update).unwrap();
    let held = node.member.held();
    for (term, inst) in [(2, 0x1235), (2, 0x1233), (1, 0xabcd), (1, 1), (0, 1)] {
        let mut clone = Manager::new();
        clone.keys.clone_from(&manager.keys);
        let update = clone.start_again(term, inst, node.member.key_path().unwrap());
        clone.alarms = 1_000;
        assert_eq!(node.refuses_control(&update), Rejected::Stale, "{term}/{inst:x}");
        assert_eq!(node.refuses_control(&clone.alarm()), Rejected::Stale, "{term}/{inst:x}");
    }
    assert_eq!(node.member.held(), held);
    let far = manager.start_again(2 + 65_537, 9, node.member.key_path().unwrap());
    assert_eq!(node.refuses_control(&far), Rejected::Stale, "a term far above what was seen");
}

#[test]
fn another_key_at_a_higher_term_is_not_followed() {
    let (_, mut node, before, _) = after_restart();
    let mut thief = Manager::of(0x5555, 0x52);
    let update = thief.start_again(2, 0x1234, node.member.key_path().unwrap());
    assert_eq!(node.refuses_control(&update), Rejected::NotAuthentic);
    assert_eq!(node.refuses_control(&thief.alarm()), Rejected::NotAuthentic);
    assert_eq!(node.member.held(), Some(before));
}

/// The whole traffic of the start before, sent again to a member that follows the new one.
#[test]
fn nothing_of_the_start_before_counts_any_more() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let mut traffic = vec![manager.cut(&[], &[1]), manager.alarm()];
    for datagram in &traffic {
        node.control(datagram).unwrap();
    }
    // Never heard, and newer than all that was.
    traffic.extend([manager.cut(&[], &[2]), manager.alarm()]);
    let update = manager.start_again(2, 0x1234, node.member.key_path().unwrap());
    node.control(&update).unwrap();
    for datagram in &traffic {
        assert_eq!(node.refuses_control(datagram), Rejected::Stale);
    }
    assert_eq!(node.member.held(), Some(manager.state));
}

#[test]
fn a_manager_that_comes_back_within_minutes_costs_no_registration() {
    for down in [1, 4, 30, 300] {
        let mut manager = Manager::new();
        let mut node = Node::with(3, holder(1).config()).begun();
        node.discovery(&presence(holder(2), &mut manager, &[registrar(1)])).unwrap();
        node.pass(Duration::ZERO);
        node.register(&mut manager);
        let mut node = node.let_in(&mut manager);
        node.forget();
        node.pass(Duration::from_secs(down));
        let update = manager.start_again(2, 0x1234, node.member.key_path().unwrap());
        // Its presence may come before its first alarm.
        node.discovery(&presence(holder(2), &mut manager, &[registrar(1)])).unwrap();
        node.pass(Duration::from_millis(600));
        node.control(&update).unwrap();
        node.control(&manager.alarm()).unwrap();
        node.pass(Duration::from_secs(2));
        assert_eq!(node.member.held(), Some(manager.state));
        assert_eq!(node.asked(), [], "{down} s");
        assert!(!node.events.iter().any(|event| matches!(event, MemberEvent::Moving(_))));
        assert!(!node.member.manager_silent());
    }
}

/// The manager lost its state and manages the group under another subgroup now.
#[test]
fn a_manager_that_came_back_without_its_state_is_registered_with_anew() {
    let mut manager = Manager::new();
    let mut node = Node::with(3, holder(1).config()).begun();
    node.discovery(&presence(holder(2), &mut manager, &[registrar(1)])).unwrap();
    node.pass(Duration::ZERO);
    node.register(&mut manager);
    let mut node = node.let_in(&mut manager);
    let mut empty = Manager::of(0x6666, 0x51);
    let heard = presence(holder(2), &mut empty, &[registrar(1)]);
    node.forget();
    // While the old subgroup is heard it is a recording.
    node.discovery(&heard).unwrap();
    node.pass(Duration::from_millis(900));
    assert_eq!(node.asked(), []);
    node.pass(Duration::from_millis(300));
    node.discovery(&presence(holder(2), &mut empty, &[registrar(1)])).unwrap();
    assert!(node.events.contains(&MemberEvent::Moving(Move::ManagerForgot)));
    node.pass(Duration::from_secs(2));
    assert_eq!(node.tried()[0], registrar(1));
    node.register_at(registrar(1), &mut empty);
    let node = node.let_in(&mut empty);
    assert_eq!(node.member.known(), Some(empty.state));
}
