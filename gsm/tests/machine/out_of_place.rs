//! Frames that have no place where they come: refused, and the machine as it was.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use protocol::{Confirm, ConnId, DataHint, Frame, Input, Lane, Refusal, Rejected};

use super::support::{Manager, Node, address};

#[test]
fn a_confirmation_before_the_grant_is_out_of_place() {
    let mut manager = Manager::start();
    let node = Node::new("hasty");
    let conn = manager.connect(&node);
    let frame = Frame::Confirm(Confirm { mac: [0; 16] });
    assert_eq!(manager.refuses_frame(conn, &frame), Rejected::OutOfPlace);
    assert!(manager.ask(conn, &node).is_some(), "the exchange goes on");
}

#[test]
fn a_second_join_is_out_of_place() {
    let mut manager = Manager::start();
    let node = Node::new("hasty");
    let conn = manager.connect(&node);
    let offered = manager.ask(conn, &node).unwrap();
    assert_eq!(manager.refuses_frame(conn, &Frame::Join(node.join())), Rejected::OutOfPlace);
    manager.frame(conn, &Frame::Confirm(offered.member)).unwrap();
    assert_eq!(manager.last_frame(conn), Some(Frame::Admitted));
}

#[test]
fn every_frame_after_the_confirmation_is_out_of_place() {
    for storing in [false, true] {
        let mut manager = Manager::start();
        manager.storing = storing;
        let node = Node::new("chatty");
        let conn = manager.connect(&node);
        let offered = manager.ask(conn, &node).unwrap();
        manager.frame(conn, &Frame::Confirm(offered.member)).unwrap();
        let frames = [
            Frame::Join(node.join()),
            Frame::Confirm(offered.member),
            Frame::Admitted,
            Frame::Refused(Refusal::Full),
            Frame::Grant(Box::new(offered.grant.clone()), offered.manager),
        ];
        for frame in frames {
            assert_eq!(manager.refuses_frame(conn, &frame), Rejected::OutOfPlace, "{frame:?}");
        }
    }
}

#[test]
fn what_only_a_manager_says_is_out_of_place_at_every_stage() {
    let mut manager = Manager::start();
    let node = Node::new("pretender");
    let conn = manager.connect(&node);
    let other = manager.connect(&Node::new("other"));
    let offered = manager.ask(other, &Node::new("other")).unwrap();
    for _ in 0..2 {
        for frame in [
            Frame::Admitted,
            Frame::Refused(Refusal::Denied),
            Frame::Grant(Box::new(offered.grant.clone()), offered.manager),
        ] {
            assert_eq!(manager.refuses_frame(conn, &frame), Rejected::OutOfPlace);
        }
        let _ = manager.frame(conn, &Frame::Join(node.join()));
    }
}

#[test]
fn inputs_for_nobody_change_nothing() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a", "b"]);
    let peer = Node::new("x").peer;
    assert_eq!(
        manager.refuses(Input::Frame { conn: ConnId(999), bytes: &[1, 0x84] }),
        Rejected::UnknownConnection
    );
    assert_eq!(manager.refuses(Input::Opened { conn: ConnId(1), peer }), Rejected::UnknownConnection);
    assert_eq!(manager.refuses(Input::Hint(DataHint::UnknownKey)), Rejected::NotForUs);
    let closed = Input::Closed { conn: ConnId(999), why: protocol::CloseReason::ByPeer };
    assert_eq!(manager.refuses(closed), Rejected::UnknownConnection);
    let conn = manager.connect(&Node::new("garbler"));
    assert_eq!(manager.refuses(Input::Frame { conn, bytes: &[] }), Rejected::Malformed);
    assert_eq!(manager.refuses(Input::Frame { conn, bytes: &[9, 0x81] }), Rejected::Version);
}

#[test]
fn its_own_multicasts_looped_back_are_not_for_the_manager() {
    let mut manager = Manager::start();
    manager.advance(Duration::from_secs(1));
    let datagrams = manager.sent.iter().filter_map(|transmit| match transmit {
        protocol::Transmit::Multicast { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    for bytes in datagrams.collect::<Vec<_>>() {
        for lane in [Lane::Control, Lane::Unicast] {
            let input = Input::Datagram { lane, from: address(200), bytes: &bytes };
            assert_eq!(manager.refuses(input), Rejected::NotForUs);
        }
    }
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn no_bytes_make_the_manager_panic_or_change_it_when_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..8_u8, framed: bool, begun: bool
    ) {
        let mut manager = Manager::start();
        let member = manager.with(&["a", "b"]).remove(0);
        let conn = manager.connect(&Node::new("garbler"));
        if begun {
            let head = protocol::Envelope::begin(protocol::DatagramKind::Nak, &member.grant.domain).into_bytes();
            bytes.splice(0..0, head);
            bytes[1] = kind;
        }
        let before = format!("{:?}", manager.gsm);
        for lane in [Lane::Control, Lane::Unicast] {
            let refused = manager.input(Input::Datagram { lane, from: address(3), bytes: &bytes });
            prop_assert!(refused.is_err());
        }
        if framed {
            let refused = manager.input(Input::Frame { conn, bytes: &bytes });
            prop_assert!(refused.is_err());
        }
        prop_assert_eq!(format!("{:?}", manager.gsm), before);
    }
}
