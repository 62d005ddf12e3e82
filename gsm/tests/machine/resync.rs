//! The unicast resync: the most valuable answer a manager gives. Only a member that is in gets keys, its own, and a
//! request sent again or in a flood gets nothing.

use std::time::Duration;

use protocol::{Rejected, ToManager};

use super::support::{Manager, Node, Offered, address};

/// Whether an answer brings the member to the manager's state.
fn leads_to_the_key(manager: &Manager, member: &Offered, answer: &protocol::ResyncAnswer) -> bool {
    let alarm = member.alarm(&answer.alarm);
    let Some(root) = answer.path.last() else { return false };
    let domain = member.grant.domain;
    let key = domain.group_key(&root.secret, alarm.state);
    manager.gsm.current_key() == Some((alarm.state, &key))
        && domain.key_check(&key, alarm.state) == alarm.key_check
}

#[test]
fn a_member_that_is_in_gets_its_path_and_the_nonce_back() {
    let mut manager = Manager::start();
    let member = manager.with(&["a", "b", "c", "d", "e", "f"]).remove(3);
    manager.unicast(address(1), &member.seal(ToManager::Resync { nonce: 41, held: None })).unwrap();
    let answer = manager.answers(&member).pop().unwrap();
    assert_eq!(answer.nonce, 41);
    assert!(leads_to_the_key(&manager, &member, &answer));
}

#[test]
fn a_member_whose_join_is_not_cut_gets_no_keys() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a"]);
    let pending = manager.admit(&Node::new("pending"));
    manager.unicast(address(1), &pending.seal(ToManager::Resync { nonce: 1, held: None })).unwrap();
    let answer = manager.answers(&pending).pop().unwrap();
    assert!(answer.path.is_empty());
    assert_eq!(pending.alarm(&answer.alarm).state, pending.grant.state);
}

#[test]
fn a_member_on_its_way_out_gets_no_keys() {
    let mut manager = Manager::start();
    let members = manager.with(&["leaver", "evicted", "other"]);
    let (leaver, evicted) = (&members[0], &members[1]);
    manager.unicast(address(1), &leaver.seal(ToManager::Leave { nonce: 1 })).unwrap();
    manager.storing = false;
    manager.evict("evicted");
    for (member, nonce) in [(leaver, 2), (evicted, 3)] {
        manager.unicast(address(1), &member.seal(ToManager::Resync { nonce, held: None })).unwrap();
        let answer = manager.answers(member).pop().unwrap();
        assert!(answer.path.is_empty());
    }
}

/// A recorded request, sent again with a forged source, would make the manager throw answers at somebody.
#[test]
fn a_replayed_request_is_refused() {
    let mut manager = Manager::start();
    let member = manager.with(&["a", "b"]).remove(0);
    let request = member.seal(ToManager::Resync { nonce: 5, held: None });
    manager.unicast(address(1), &request).unwrap();
    manager.forget();
    for _ in 0..20 {
        manager.advance(Duration::from_secs(2));
        let input =
            protocol::Input::Datagram { lane: protocol::Lane::Unicast, from: address(66), bytes: &request };
        assert_eq!(manager.refuses(input), Rejected::Stale);
    }
    assert!(manager.answers(&member).is_empty());
    manager.unicast(address(1), &member.seal(ToManager::Resync { nonce: 6, held: None })).unwrap();
    assert_eq!(manager.answers(&member).len(), 1);
}

#[test]
fn a_member_that_asks_without_pause_gets_an_answer_a_second_and_takes_none_from_others() {
    let mut manager = Manager::start();
    let members = manager.with(&["greedy", "modest"]);
    let (greedy, modest) = (&members[0], &members[1]);
    manager.forget();
    for nonce in 1..=10_000 {
        let _ = manager.unicast(address(1), &greedy.seal(ToManager::Resync { nonce, held: None }));
        manager.advance(Duration::from_millis(1));
    }
    let answered = manager.answers(greedy).len();
    assert!((10..=12).contains(&answered), "{answered} answers in 10 s");
    manager.unicast(address(2), &modest.seal(ToManager::Resync { nonce: 1, held: None })).unwrap();
    assert_eq!(manager.answers(modest).len(), 1);
}

#[test]
fn requests_a_second_apart_with_all_the_jitter_of_a_lan_are_all_answered() {
    let mut manager = Manager::start();
    let member = manager.with(&["a"]).remove(0);
    manager.forget();
    for nonce in 1..=20_u64 {
        manager.advance(Duration::from_millis(if nonce % 2 == 0 { 800 } else { 1_200 }));
        manager.unicast(address(1), &member.seal(ToManager::Resync { nonce, held: None })).unwrap();
    }
    assert_eq!(manager.answers(&member).len(), 20);
}
