//! Attack A5: somebody stands between a node and the manager, with a TLS connection to each. The two ends then hold
//! different channel secrets, or saw different frames, and the key confirmation tells.

use crypto::Secret;
use protocol::{Confirm, Frame, GroupId, Refusal, confirmation};

use super::support::{Manager, Node, Offered};

/// What the member would confirm under other keys, another JOIN or another GRANT.
fn confirmed(offered: &Offered, channel: &Secret<32>) -> Confirm {
    let Offered { grant, join, .. } = offered;
    let keys = grant.domain.registration(channel, grant.state.inst, grant.reg_no);
    Confirm { mac: confirmation(grant.domain.suite, &keys.confirm_member, join, grant) }
}

#[test]
fn spliced_channels_are_refused_and_leave_nothing_behind() {
    let mut manager = Manager::start();
    let (victim, other_channel) = (Node::new("victim"), Secret::new([9; 32]));
    let members = manager.gsm.members().count();
    manager.forget();
    let conn = manager.connect(&victim);
    let offered = manager.ask(conn, &victim).unwrap();
    manager.frame(conn, &Frame::Confirm(confirmed(&offered, &other_channel))).unwrap();
    assert_eq!(manager.last_frame(conn), Some(Frame::Refused(Refusal::NotConfirmed)));
    assert!(manager.is_closed(conn));
    assert_eq!(manager.refusals(), [("victim".to_owned(), Refusal::NotConfirmed)]);
    assert_eq!(manager.records, []);
    assert_eq!(manager.gsm.members().count(), members);
    let again = manager.admit(&victim);
    assert_eq!(again.grant.reg_no, offered.grant.reg_no, "the leaf is free again");
    assert_ne!(again.grant.sender, offered.grant.sender, "the sender id is not");
}

#[test]
fn the_victim_sees_it_as_well() {
    let mut manager = Manager::start();
    let victim = Node::new("victim");
    let conn = manager.connect(&victim);
    let Offered { grant, join, keys, manager: confirm, .. } = manager.ask(conn, &victim).unwrap();
    let expected = |channel: &Secret<32>| {
        let keys = grant.domain.registration(channel, grant.state.inst, grant.reg_no);
        Confirm { mac: confirmation(grant.domain.suite, &keys.confirm_manager, &join, &grant) }
    };
    assert_eq!(expected(&victim.peer.channel), confirm);
    assert_ne!(expected(&Secret::new([9; 32])), confirm);
    assert_ne!(keys.leaf, keys.unicast);
}

/// The halves are not interchangeable: the manager's, sent back, confirms nothing.
#[test]
fn a_reflected_confirmation_is_refused() {
    let mut manager = Manager::start();
    let node = Node::new("mirror");
    let conn = manager.connect(&node);
    let offered = manager.ask(conn, &node).unwrap();
    manager.frame(conn, &Frame::Confirm(offered.manager)).unwrap();
    assert_eq!(manager.last_frame(conn), Some(Frame::Refused(Refusal::NotConfirmed)));
}

/// One field at a time, the two ends disagree on what was said.
#[test]
fn ends_that_saw_different_frames_do_not_confirm() {
    let spoils: [fn(&mut Offered); 9] = [
        |seen| seen.join.signing.0[0] ^= 1,
        |seen| seen.join.exchange.0[31] ^= 1,
        |seen| seen.join.group = GroupId::from_bytes([8; 16]),
        |seen| seen.grant.sender.0 ^= 1,
        |seen| seen.grant.manager.0[0] ^= 1,
        |seen| seen.grant.ttl ^= 1,
        |seen| seen.grant.control.set_port(1),
        |seen| seen.grant.leaf_steps ^= 1,
        |seen| seen.grant.prefilter = Secret::new([1; 32]),
    ];
    for spoil in spoils {
        let mut manager = Manager::start();
        let node = Node::new("victim");
        let conn = manager.connect(&node);
        let mut seen = manager.ask(conn, &node).unwrap();
        spoil(&mut seen);
        manager.frame(conn, &Frame::Confirm(confirmed(&seen, &node.peer.channel))).unwrap();
        assert_eq!(manager.last_frame(conn), Some(Frame::Refused(Refusal::NotConfirmed)), "{seen:?}");
    }
}

#[test]
fn a_confirmation_of_another_session_is_refused() {
    let mut manager = Manager::start();
    let (a, b) = (Node::new("a"), Node::new("b"));
    let (conn_a, conn_b) = (manager.connect(&a), manager.connect(&b));
    let offered_a = manager.ask(conn_a, &a).unwrap();
    let offered_b = manager.ask(conn_b, &b).unwrap();
    manager.frame(conn_b, &Frame::Confirm(offered_a.member)).unwrap();
    assert_eq!(manager.last_frame(conn_b), Some(Frame::Refused(Refusal::NotConfirmed)));
    manager.frame(conn_a, &Frame::Confirm(offered_a.member)).unwrap();
    assert_eq!(manager.last_frame(conn_a), Some(Frame::Admitted));
    assert_ne!(offered_a.grant.reg_no, offered_b.grant.reg_no);
}
