//! Leaving: asked for until it is answered, answered only by the manager, and final.

use std::time::Duration;

use member::{Ending, MemberEvent};
use protocol::{Frame, Rejected, ToManager, ToMember};

use super::manager::Manager;
use super::node::{Node, plain_grant};

fn leave_nonces(node: &Node, manager: &Manager) -> Vec<u64> {
    let leaves = node.said(manager).into_iter().filter_map(|said| match said {
        ToManager::Leave { nonce } => Some(nonce),
        _ => None,
    });
    leaves.collect()
}

#[test]
fn a_leave_is_repeated_until_it_is_answered_and_then_the_keys_are_gone() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.forget();
    node.member.leave(node.now);
    node.drain();
    node.pass(Duration::from_millis(1_000));
    let asked = leave_nonces(&node, &manager);
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|nonce| *nonce == asked[0]));
    assert_eq!(node.member.held(), Some(manager.state), "data goes on until the answer");
    let taken = manager.seal(&ToMember::LeaveTaken { nonce: asked[0] });
    node.unicast(&taken).unwrap();
    assert_eq!(node.events.last(), Some(&MemberEvent::Ended(Ending::Left)));
    assert!(node.ring().unwrap().receive.is_empty());
    node.forget();
    node.pass(Duration::from_secs(120));
    assert!(node.sent.is_empty(), "it says nothing more: {:?}", node.sent);
}

#[test]
fn an_unheard_leave_ends_after_three_seconds() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.member.leave(node.now);
    node.drain();
    node.pass(Duration::from_millis(2_900));
    assert!(node.member.held().is_some());
    node.pass(Duration::from_millis(200));
    assert_eq!(node.events.last(), Some(&MemberEvent::Ended(Ending::LeftUnheard)));
    assert_eq!(node.member.held(), None);
    node.forget();
    node.pass(Duration::from_secs(120));
    assert!(node.sent.is_empty(), "{:?}", node.sent);
}

#[test]
fn nobody_ends_a_membership_with_an_answer_nobody_asked_for() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    for nonce in [0, 1, u64::MAX] {
        let taken = manager.seal(&ToMember::LeaveTaken { nonce });
        assert_eq!(node.refuses_unicast(&taken), Rejected::OutOfPlace);
    }
    node.member.leave(node.now);
    node.drain();
    let nonce = leave_nonces(&node, &manager)[0];
    let wrong = manager.seal(&ToMember::LeaveTaken { nonce: nonce ^ 1 });
    assert_eq!(node.refuses_unicast(&wrong), Rejected::OutOfPlace);
    assert!(node.member.held().is_some());
}

#[test]
fn a_node_that_leaves_in_the_middle_of_a_registration_is_not_admitted() {
    let mut manager = Manager::new();
    for stage in 0..4 {
        let mut node = Node::joining(1);
        let conn = node.asked()[0].1;
        if stage > 0 {
            node.opened();
        }
        if stage > 1 {
            let (grant, confirm) = plain_grant(&node, &mut manager);
            node.frame(conn, &Frame::Grant(Box::new(grant), confirm)).unwrap();
        }
        node.member.leave(node.now);
        node.drain();
        assert!(node.is_closed(conn), "stage {stage}");
        assert_eq!(node.refuses_frame(conn, &Frame::Admitted), Rejected::UnknownConnection);
        node.forget();
        node.pass(Duration::from_secs(120));
        assert!(node.sent.is_empty(), "{:?}", node.sent);
    }
}
