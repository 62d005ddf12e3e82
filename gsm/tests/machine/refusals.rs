//! Who is not let in, and why: every refusal leaves the manager as it was.

use gsm::{AccessList, AccessRule, GsmEvent};
use protocol::{Frame, GroupId, Input, Refusal, Rejected};

use super::support::{Manager, Node, OWN_IDENTITY};

/// The node asks, is refused for this reason, is closed, and nothing is kept of it.
fn is_refused(manager: &mut Manager, node: &Node, why: Refusal) {
    manager.forget();
    let members = manager.gsm.members().count();
    let conn = manager.connect(node);
    manager.frame(conn, &Frame::Join(node.join())).unwrap();
    assert_eq!(manager.frames(conn), [Frame::Refused(why)]);
    assert!(manager.is_closed(conn));
    assert_eq!(manager.refusals(), [(node.peer.identity.clone(), why)]);
    assert_eq!(manager.records, []);
    assert_eq!(manager.gsm.members().count(), members);
    assert_eq!(manager.refuses_frame(conn, &Frame::Join(node.join())), Rejected::UnknownConnection);
}

#[test]
fn a_certificate_without_the_member_role_is_refused() {
    let mut manager = Manager::start();
    let mut node = Node::new("server");
    node.peer.roles.member = false;
    node.peer.roles.manager = true;
    is_refused(&mut manager, &node, Refusal::NotCertified);
}

#[test]
fn who_the_access_list_denies_is_refused() {
    let mut manager = Manager::start_with(|config| {
        let rule = |allow, pattern: &str| AccessRule { allow, pattern: pattern.into() };
        config.access = AccessList::new([rule(false, "intruder.*"), rule(true, "*.example")]);
    });
    is_refused(&mut manager, &Node::new("intruder.example"), Refusal::Denied);
    is_refused(&mut manager, &Node::new("host.elsewhere"), Refusal::Denied);
    let _ = manager.admit(&Node::new("host.example"));
}

#[test]
fn who_was_evicted_is_refused_under_its_name_and_under_its_certificate() {
    let mut manager = Manager::start();
    let _ = manager.with(&["villain", "bystander"]);
    manager.evict("villain");
    is_refused(&mut manager, &Node::new("villain"), Refusal::Revoked);
    let mut renamed = Node::new("innocent");
    renamed.peer.certificate = Node::new("villain").peer.certificate;
    is_refused(&mut manager, &renamed, Refusal::Revoked);
    let mut renewed = Node::new("villain");
    renewed.peer.certificate = [0x12; 32];
    is_refused(&mut manager, &renewed, Refusal::Revoked);
    let _ = manager.admit(&Node::new("innocent"));
}

#[test]
fn a_join_to_another_group_is_refused() {
    let mut manager = Manager::start();
    let node = Node::new("lost");
    let conn = manager.connect(&node);
    let join = protocol::Join { group: GroupId::from_bytes([8; 16]), ..node.join() };
    manager.frame(conn, &Frame::Join(join)).unwrap();
    assert_eq!(manager.frames(conn), [Frame::Refused(Refusal::UnknownGroup)]);
    assert!(manager.is_closed(conn));
}

#[test]
fn nobody_is_admitted_once_the_store_failed() {
    let mut manager = Manager::start();
    let (early, late) = (Node::new("early"), Node::new("late"));
    let conn = manager.connect(&early);
    let offered = manager.ask(conn, &early).unwrap();
    manager.input(Input::StoreFailed).unwrap();
    assert_eq!(manager.events.pop(), Some(GsmEvent::ReadOnly));
    is_refused(&mut manager, &late, Refusal::ReadOnly);
    manager.frame(conn, &Frame::Confirm(offered.member)).unwrap();
    assert_eq!(manager.last_frame(conn), Some(Frame::Refused(Refusal::ReadOnly)));
    assert_eq!(manager.gsm.members().count(), 1);
}

#[test]
fn a_node_that_was_evicted_between_grant_and_confirm_is_refused() {
    let mut manager = Manager::start();
    let _ = manager.with(&["villain", "bystander"]);
    let villain = Node::new("villain");
    let conn = manager.connect(&villain);
    let offered = manager.ask(conn, &villain).unwrap();
    manager.evict("villain");
    manager.forget();
    manager.frame(conn, &Frame::Confirm(offered.member)).unwrap();
    assert_eq!(manager.frames(conn), [Frame::Refused(Refusal::Revoked)]);
    assert_eq!(manager.records, []);
    assert!(manager.gsm.members().all(|listed| listed.identity != "villain"));
}

#[test]
fn nobody_takes_the_managers_own_name() {
    let mut manager = Manager::start();
    let double = Node::new(OWN_IDENTITY);
    let conn = manager.connect(&double);
    let offered = manager.ask(conn, &double).unwrap();
    manager.forget();
    manager.frame(conn, &Frame::Confirm(offered.member)).unwrap();
    assert_eq!(manager.frames(conn), [Frame::Refused(Refusal::Denied)]);
    assert_eq!(manager.records, []);
    assert!(manager.gsm.members().any(|listed| listed.sender == manager.gsm.own_sender()));
    assert_eq!(manager.gsm.members().count(), 1);
}
