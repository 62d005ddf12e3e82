//! Whatever is refused leaves the member as it was, and nothing makes it panic.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use protocol::{Commit, ConnId, DatagramKind, Envelope, Frame, Input, Lane, Rejected};

use super::manager::Manager;
use super::node::{Node, peer};

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
    fn random_bytes_change_nothing(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..8_u8, begun: bool, admitted: bool
    ) {
        let mut manager = Manager::new();
        let mut node = if admitted { Node::inside(&mut manager) } else { Node::joining(3) };
        if begun {
            bytes.splice(0..0, Envelope::begin(DatagramKind::Alarm, &manager.domain).into_bytes());
            bytes[1] = kind;
        }
        let _ = node.refuses_control(&bytes);
        let _ = node.refuses_unicast(&bytes);
        if !admitted {
            let conn = node.opened();
            let _ = node.refuses(Input::Frame { conn, bytes: &bytes });
        }
    }

    #[test]
    fn a_spoiled_message_changes_nothing(
        place in any::<prop::sample::Index>(), value in 1..=255_u8, cut: bool, short in any::<prop::sample::Index>()
    ) {
        let mut manager = Manager::new();
        let mut node = Node::inside(&mut manager);
        let update = manager.cut(&[], &[1]);
        let alarm = manager.alarm();
        let answer = manager.answer(1, Vec::new());
        for message in [&update, &alarm, &answer] {
            let mut spoiled = message.clone();
            if cut {
                spoiled.truncate(short.index(spoiled.len()));
            } else {
                let place = place.index(spoiled.len());
                spoiled[place] ^= value;
            }
            let _ = node.refuses_control(&spoiled);
            let _ = node.refuses_unicast(&spoiled);
        }
        prop_assert!(node.control(&update).is_ok());
        prop_assert_eq!(node.member.held(), Some(manager.state));
    }
}

#[test]
fn inputs_for_other_roles_change_nothing() {
    let mut manager = Manager::new();
    for mut node in [Node::new(1), Node::joining(1), Node::inside(&mut manager)] {
        assert_eq!(node.refuses(Input::Accepted { conn: ConnId(2), peer: peer() }), Rejected::NotForUs);
        assert_eq!(node.refuses(Input::Stored { upto: Commit(1) }), Rejected::NotForUs);
        assert_eq!(node.refuses(Input::StoreFailed), Rejected::NotForUs);
        let frame = Frame::Admitted.encode();
        let stray = Input::Frame { conn: ConnId(44), bytes: &frame };
        assert_eq!(node.refuses(stray), Rejected::UnknownConnection);
    }
    let mut node = Node::new(1);
    assert_eq!(node.refuses(Input::Hint(protocol::DataHint::UnknownKey)), Rejected::NotForUs);
}

#[test]
fn a_message_on_the_wrong_lane_changes_nothing() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let (update, alarm) = (manager.cut(&[], &[1]), manager.alarm());
    let answer = manager.answer(1, Vec::new());
    for (lane, bytes) in [(Lane::Unicast, &update), (Lane::Unicast, &alarm), (Lane::Control, &answer)] {
        let input = Input::Datagram { lane, from: ([10, 0, 0, 200], 5_000).into(), bytes };
        assert_eq!(node.refuses(input), Rejected::NotForUs);
    }
}
