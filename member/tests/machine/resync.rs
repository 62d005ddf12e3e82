//! A resync answer counts only if it was asked for, if its alarm is the manager's, and if its path reproduces the key
//! check.

use std::time::Duration;

use crypto::{Ed25519Signer, Secret};
use keytree::PathKey;
use member::MemberEvent;
use protocol::{Alarm, DatagramKind, RegNo, Rejected, ResyncAnswer, ToMember};

use super::manager::{MEMBER, Manager};
use super::node::Node;

/// A member that missed an update and has come to ask its manager; with the nonce of its request.
fn asking() -> (Manager, Node, u64) {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let _lost = manager.cut(&[], &[1]);
    node.control(&manager.alarm()).unwrap();
    node.pass(Duration::from_millis(700));
    let nonce = node.resync_asked(&manager).unwrap();
    (manager, node, nonce)
}

#[test]
fn the_path_of_the_answer_is_installed() {
    let (mut manager, mut node, nonce) = asking();
    node.forget();
    let answer = manager.answer(nonce, manager.path(MEMBER));
    node.unicast(&answer).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
    let installed = MemberEvent::Installed { state: manager.state, hard: true };
    assert!(node.events.contains(&installed));
    node.forget();
    node.pass(Duration::from_secs(5));
    assert_eq!(node.multicast(DatagramKind::Nak).len(), 0);
    assert_eq!(node.resync_asked(&manager), None);
}

#[test]
fn a_path_that_does_not_reproduce_the_key_check_changes_nothing() {
    let (mut manager, mut node, nonce) = asking();
    // A state of which only the answers tell.
    let _unheard = manager.cut(&[], &[2]);
    let right = manager.path(MEMBER);
    let mut wrong_root = right.clone();
    wrong_root.last_mut().unwrap().secret = Secret::new([9; 32]);
    let mut wrong_version = right.clone();
    wrong_version.last_mut().unwrap().version.steps += 1;
    let mut wrong_level = right.clone();
    wrong_level[0].level = 7;
    let short = right[1..].to_vec();
    let mut long = right.clone();
    long.push(PathKey { level: right.len() as u8 + 1, ..right[0].clone() });
    let swapped: Vec<_> = right.iter().rev().cloned().collect();
    for path in [wrong_root, wrong_version, wrong_level, short, long, swapped] {
        let answer = manager.answer(nonce, path);
        assert_eq!(node.refuses_unicast(&answer), Rejected::NotAuthentic);
    }
    let answer = manager.answer(nonce, right);
    node.unicast(&answer).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
}

/// Somebody who has the member's unicast key but not the manager's signing key installs nothing.
#[test]
fn an_answer_whose_alarm_is_not_the_managers_changes_nothing() {
    let (mut manager, mut node, nonce) = asking();
    let mut forged: Vec<Vec<u8>> = Vec::new();
    let genuine = manager.alarm();
    let mut spoiled = genuine.clone();
    spoiled[40] ^= 1;
    forged.extend([spoiled, genuine[..genuine.len() - 1].to_vec(), Vec::new()]);
    let stranger = Ed25519Signer::from_seed(&Secret::new([0x66; 32]));
    let manager_signer = std::mem::replace(&mut manager.signer, stranger);
    forged.push(manager.alarm());
    manager.signer = manager_signer;
    let path = manager.path(MEMBER);
    for alarm in forged {
        let answer = manager.seal(&ToMember::Resync(ResyncAnswer { nonce, alarm, path: path.clone() }));
        let refused = node.refuses_unicast(&answer);
        assert!(matches!(refused, Rejected::NotAuthentic | Rejected::Malformed), "{refused}");
    }
}

#[test]
fn an_answer_nobody_asked_for_changes_nothing() {
    let (mut manager, mut node, nonce) = asking();
    for wrong in [nonce - 1, nonce + 1, 0, u64::MAX] {
        let answer = manager.answer(wrong, manager.path(MEMBER));
        assert_eq!(node.refuses_unicast(&answer), Rejected::OutOfPlace);
    }
    let answer = manager.answer(nonce, manager.path(MEMBER));
    node.unicast(&answer).unwrap();
    assert_eq!(node.refuses_unicast(&answer), Rejected::OutOfPlace, "an answer counts once");
    let mut idle = Node::inside(&mut Manager::new());
    let mut other = Manager::new();
    let (grant, _) = other.grant(&idle.join(), &super::node::channel(), |_, _| {});
    assert_eq!(grant.reg_no, MEMBER);
    let answer = other.answer(1, Vec::new());
    assert_eq!(idle.refuses_unicast(&answer), Rejected::OutOfPlace);
}

#[test]
fn an_answer_for_another_member_is_not_opened() {
    let (mut manager, mut node, nonce) = asking();
    let keys = manager.keys.clone();
    manager.keys.as_mut().unwrap().unicast = Secret::new([3; 32]);
    let answer = manager.answer(nonce, manager.path(RegNo(2)));
    assert_eq!(node.refuses_unicast(&answer), Rejected::NotAuthentic);
    manager.keys = keys;
    // The path of a member under another node of the tree, sealed for this one: its root is the same, so the group
    // key is right; what it holds below never opens an entry for it, and the next gap is repaired like any other.
    let answer = manager.answer(nonce, manager.path(RegNo(8)));
    let _ = node.unicast(&answer);
    assert!(node.member.held() <= Some(manager.state));
}

#[test]
fn an_answer_without_keys_stops_the_asking_until_the_state_moves() {
    let mut manager = Manager::new();
    let mut node = Node::admitted(&mut manager);
    let _others = manager.cut(&[], &[1]);
    node.control(&manager.alarm()).unwrap();
    for _ in 0..4 {
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
    }
    let nonce = node.resync_asked(&manager).unwrap();
    let answer = manager.answer(nonce, Vec::new());
    node.unicast(&answer).unwrap();
    node.forget();
    for _ in 0..20 {
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
    }
    assert_eq!((node.multicasts(), node.resync_asked(&manager)), (0, None));
    let update = manager.let_in();
    node.control(&update).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
}

#[test]
fn requests_come_a_second_apart_and_each_has_a_higher_nonce() {
    let (mut manager, mut node, first) = asking();
    let mut nonces = vec![first];
    for _ in 0..16 {
        node.forget();
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
        nonces.extend(node.resync_asked(&manager));
    }
    assert!(nonces.windows(2).all(|pair| pair[0] < pair[1]), "{nonces:?}");
    assert!((4..=5).contains(&nonces.len()), "{} requests in 4.7 s", nonces.len());
}

#[test]
fn an_answer_about_a_state_behind_the_one_held_is_stale() {
    let (mut manager, mut node, nonce) = asking();
    let old: Alarm = {
        let bytes = manager.alarm();
        let mut gate = protocol::Gate::new(
            manager.domain,
            crypto::Signer::public_key(&manager.signer),
            manager.state,
            Secret::new([0; 32]),
            std::sync::Arc::new(crypto::Ed25519Verifier),
        );
        gate.enclosed_alarm(&bytes).unwrap().into_inner()
    };
    let path = manager.path(MEMBER);
    let answer = manager.answer(nonce, path.clone());
    node.unicast(&answer).unwrap();
    let update = manager.cut(&[], &[2]);
    node.control(&update).unwrap();
    let _lost = manager.cut(&[], &[3]);
    node.control(&manager.alarm()).unwrap();
    node.forget();
    node.pass(Duration::from_millis(700));
    let nonce = node.resync_asked(&manager).unwrap();
    let alarm = old.encode(&manager.domain, &manager.signer);
    let answer = manager.seal(&ToMember::Resync(ResyncAnswer { nonce, alarm, path }));
    assert_eq!(node.refuses_unicast(&answer), Rejected::Stale);
}
