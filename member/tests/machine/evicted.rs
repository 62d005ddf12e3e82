//! A member that was evicted hears everything and goes on asking. It learns nothing, and in the end why.

use std::time::Duration;

use member::{Ending, MemberEvent};
use protocol::{DatagramKind, Frame, Refusal, ToManager};

use super::manager::{MEMBER, Manager};
use super::node::Node;

#[test]
fn an_evicted_member_that_hears_every_update_and_repair_holds_no_later_key() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let last = node.member.held();
    let mut traffic = vec![manager.cut(&[], &[MEMBER.0])];
    for round in 0..12 {
        traffic.push(if round % 2 == 0 {
            manager.cut(&[], &[round / 2 + 1])
        } else {
            manager.cut(&[40 + round], &[])
        });
    }
    for _ in 0..3 {
        for datagram in &traffic {
            let _ = node.control(datagram);
            let _ = node.control(&manager.alarm());
            node.pass(Duration::from_millis(40));
            assert!(node.member.held() <= last);
            assert!(!manager.agrees_with(node.member.key_path().unwrap()));
        }
    }
    let ring = node.ring().unwrap();
    assert!(ring.receive.iter().all(|key| Some(key.state) <= last));
    assert!(ring.send_key_at(node.now).is_none(), "and what it sends, it sends no more");
}

/// The leaf of the evicted member is given to somebody else at once.
#[test]
fn the_next_holder_of_its_leaf_does_not_let_an_evicted_member_in() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let last = node.member.held();
    let update = manager.cut(&[MEMBER.0], &[MEMBER.0]);
    node.control(&update).unwrap();
    assert_eq!(node.member.held(), last);
    for newcomer in 20..30 {
        let update = manager.cut(&[newcomer], &[]);
        let _ = node.control(&update);
        node.control(&manager.alarm()).unwrap();
        assert_eq!(node.member.held(), last);
        assert!(!manager.agrees_with(node.member.key_path().unwrap()));
    }
}

#[test]
fn an_evicted_member_asks_registers_again_and_is_told() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let update = manager.cut(&[], &[MEMBER.0]);
    node.control(&update).unwrap();
    node.forget();
    let mut rounds = 0..40;
    while node.asked().is_empty() && rounds.next().is_some() {
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
    }
    assert_eq!(
        node.multicast(DatagramKind::Nak).len(),
        0,
        "it has its packet, and finds nothing for it in it"
    );
    let asked = node.said(&manager).iter().filter(|said| matches!(said, ToManager::Resync { .. })).count();
    assert!((5..=11).contains(&asked), "{asked} requests in 10 s");
    let conn = node.opened();
    node.frame(conn, &Frame::Refused(Refusal::Revoked)).unwrap();
    assert!(node.events.contains(&MemberEvent::Ended(Ending::PutOut)));
    assert_eq!(node.member.held(), None);
}
