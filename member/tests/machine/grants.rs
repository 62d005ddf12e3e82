//! A grant is believed only if everything in it holds together: the confirmation, the signatures, the addresses.

use crypto::{Ed25519Signer, PublicKey, Secret, Signer};
use member::MemberEvent;
use protocol::{
    Confirm, ConnId, Credential, Domain, Frame, Grant, GroupId, Input, Refusal, Rejected, Roster,
    RosterVersion, SenderId,
};

use super::manager::Manager;
use super::node::{Node, channel, peer, plain_grant, registrar, signer};

type Spoil = fn(&mut Grant, &Manager);
type Way<'a> = &'a dyn Fn(&Node, &mut Manager) -> (Grant, Confirm);

/// The member hangs up, tells that it distrusts the registrar, and has no membership.
fn is_distrusted(node: &mut Node, conn: ConnId, frame: &Frame) {
    node.frame(conn, frame).unwrap();
    assert_eq!(node.events, [MemberEvent::Distrusted { registrar: registrar(1) }]);
    assert!(node.is_closed(conn));
    assert!(!node.frames().iter().any(|frame| matches!(frame, Frame::Confirm(_))), "nothing is confirmed");
    assert_eq!(node.refuses_frame(conn, &Frame::Admitted), Rejected::UnknownConnection);
    assert_eq!((node.member.held(), node.member.known()), (None, None));
    let alarm = Manager::new().alarm();
    assert_eq!(node.refuses_control(&alarm), Rejected::NotForUs);
}

/// The manager confirms what it says; what it says is wrong.
#[test]
fn a_grant_that_does_not_hold_together_is_distrusted() {
    let spoils: [(&str, Spoil); 12] = [
        ("another group", |grant, _| {
            grant.domain = Domain { group: GroupId::from_bytes([8; 16]), ..grant.domain };
        }),
        ("control is not multicast", |grant, _| grant.control.set_ip([10, 0, 0, 1].into())),
        ("data is not multicast", |grant, _| grant.data.set_ip([10, 0, 0, 1].into())),
        ("control is unspecified", |grant, _| grant.control.set_ip([0, 0, 0, 0].into())),
        ("the credential is another's", |grant, manager| {
            grant.credential =
                Credential::sign(&grant.domain, SenderId(9), signer().public_key(), false, &manager.signer);
        }),
        ("the sender id is another's", |grant, _| grant.sender = SenderId(9)),
        ("the credential is for another key", |grant, manager| {
            let key = PublicKey([9; 32]);
            grant.credential = Credential::sign(&grant.domain, grant.sender, key, false, &manager.signer);
        }),
        ("the credential is not the manager's", |grant, _| {
            let stranger = Ed25519Signer::from_seed(&Secret::new([0x66; 32]));
            grant.credential =
                Credential::sign(&grant.domain, grant.sender, signer().public_key(), false, &stranger);
        }),
        ("eligibility is made up", |grant, _| grant.credential.eligible = true),
        ("the roster is not signed", |grant, _| grant.roster.version = RosterVersion(8)),
        ("the roster is not the manager's", |grant, _| {
            let stranger = Ed25519Signer::from_seed(&Secret::new([0x66; 32]));
            let listed = vec![(SenderId(1), PublicKey([1; 32]))];
            grant.roster = Roster::sign(&grant.domain, RosterVersion(1), listed, &stranger);
        }),
        ("the manager's key is another", |grant, _| grant.manager = PublicKey([9; 32])),
    ];
    for (what, spoil) in spoils {
        let (mut manager, mut node) = (Manager::new(), Node::joining(1));
        let conn = node.opened();
        let (grant, confirm) = manager.grant(&node.join(), &channel(), spoil);
        println!("{what}");
        is_distrusted(&mut node, conn, &Frame::Grant(Box::new(grant), confirm));
    }
}

/// Attack A5: the two ends hold different channel secrets, or saw different frames.
#[test]
fn a_grant_with_a_confirmation_that_does_not_hold_is_distrusted() {
    let spliced =
        |node: &Node, manager: &mut Manager| manager.grant(&node.join(), &Secret::new([9; 32]), |_, _| {});
    let altered = |node: &Node, manager: &mut Manager| {
        let (mut grant, confirm) = plain_grant(node, manager);
        grant.ttl += 1;
        (grant, confirm)
    };
    let other_join = |node: &Node, manager: &mut Manager| {
        let join = protocol::Join { exchange: crypto::ExchangePublic([9; 32]), ..node.join() };
        manager.grant(&join, &channel(), |_, _| {})
    };
    let none = |node: &Node, manager: &mut Manager| (plain_grant(node, manager).0, Confirm { mac: [0; 16] });
    let ways: [Way<'_>; 4] = [&spliced, &altered, &other_join, &none];
    for way in ways {
        let (mut manager, mut node) = (Manager::new(), Node::joining(1));
        let conn = node.opened();
        let (grant, confirm) = way(&node, &mut manager);
        is_distrusted(&mut node, conn, &Frame::Grant(Box::new(grant), confirm));
    }
}

#[test]
fn a_peer_without_the_manager_role_is_not_asked() {
    let mut node = Node::joining(1);
    let conn = node.asked()[0].1;
    let mut server = peer();
    server.roles.manager = false;
    assert_eq!(node.refuses(Input::Opened { conn, peer: server }), Rejected::NotAuthentic);
    assert_eq!(node.frames(), []);
}

#[test]
fn frames_out_of_place_change_nothing() {
    let (mut manager, mut node) = (Manager::new(), Node::joining(1));
    let connecting = node.asked()[0].1;
    assert_eq!(node.refuses_frame(connecting, &Frame::Admitted), Rejected::OutOfPlace);
    let conn = node.opened();
    let (grant, confirm) = plain_grant(&node, &mut manager);
    let grant = Frame::Grant(Box::new(grant), confirm);
    for frame in [Frame::Admitted, Frame::Confirm(confirm), Frame::Join(node.join())] {
        assert_eq!(node.refuses_frame(conn, &frame), Rejected::OutOfPlace, "{frame:?}");
    }
    node.frame(conn, &grant).unwrap();
    for frame in [&grant, &Frame::Confirm(confirm), &Frame::Join(node.join())] {
        assert_eq!(node.refuses_frame(conn, frame), Rejected::OutOfPlace, "{frame:?}");
    }
    assert_eq!(node.member.held(), None, "granted is not admitted");
    assert_eq!(node.member.known(), None);
    node.frame(conn, &Frame::Admitted).unwrap();
    for frame in [grant, Frame::Admitted, Frame::Refused(Refusal::Revoked)] {
        assert_eq!(node.refuses_frame(conn, &frame), Rejected::UnknownConnection, "{frame:?}");
    }
    let other = Input::Opened { conn: ConnId(99), peer: peer() };
    assert_eq!(node.refuses(other), Rejected::UnknownConnection);
}
