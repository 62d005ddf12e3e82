//! A member that lost its packet of a key update decodes it from others of its block, and from nothing that is not verified.

use std::time::Duration;

use protocol::{ALL_MISSING, ANY_BLOCK, DatagramKind, Epoch};

use super::manager::Manager;
use super::node::Node;

const WAIT: Duration = Duration::from_millis(80);

#[test]
fn a_member_that_lost_its_packet_decodes_it_from_any_others_of_its_block_and_asks_nobody() {
    // Any three of six in the block of the member; the other block is of no use.
    for pattern in (0_u32..64).filter(|pattern| pattern & 1 == 0) {
        let mut manager = Manager::new();
        let mut node = Node::inside(&mut manager);
        let packets = manager.evict_in_blocks(5, 6, (3, 3));
        let arriving = [0, 1, 2, 6, 7, 8].into_iter().enumerate().filter(|(at, _)| pattern & 1 << at != 0);
        node.forget();
        for index in [3, 4, 5, 9, 10].into_iter().chain(arriving.map(|(_, index)| index)) {
            let _ = node.control(&packets[index]);
        }
        let holds = node.member.held() == Some(manager.state);
        assert_eq!(holds, pattern.count_ones() >= 3, "{pattern:b}");
        node.pass(WAIT);
        assert_eq!(node.multicast(DatagramKind::Nak).len(), usize::from(!holds), "{pattern:b}");
    }
}

/// Attack A20: an insider forges parity at many times the true rate. Nothing of it is decoded, and the true packets do.
#[test]
fn forged_parity_is_not_decoded_and_delays_nothing() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let key = manager.prefilters[&manager.state.epoch].clone();
    let (held, packets) = (manager.state, manager.evict_in_blocks(5, 3, (3, 4)));
    for (place, packet) in packets.iter().enumerate().skip(1).take(3) {
        for bit in 0..10 {
            let mut forged = packet.clone();
            forged[130 + bit * 7 + place] ^= 1 << (bit % 8);
            let content = forged.len() - 8;
            let (content, tag) = forged.split_at_mut(content);
            let label = crypto::Label::PrefilterMac;
            tag.copy_from_slice(&crypto::mac(manager.domain.suite, &key, label, &[content])[..8]);
            assert!(node.control(&forged).is_err());
            node.pass(Duration::from_millis(5));
        }
        assert_eq!(node.member.held(), Some(held));
        node.control(packet).unwrap();
    }
    assert_eq!(node.member.held(), Some(manager.state), "with the third true packet");
}

#[test]
fn a_nak_names_the_block_and_what_is_missing_of_it_once_the_member_can_know() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let prefilter = manager.prefilters[&manager.state.epoch].clone();
    let packets = manager.evict_in_blocks(5, 6, (3, 3));
    node.forget();
    node.control(&manager.alarm()).unwrap();
    node.pass(WAIT);
    let naks = node.naks(|_: Epoch| prefilter.clone(), &manager);
    assert_eq!((naks[0].block, naks[0].missing), (ANY_BLOCK, ALL_MISSING), "it saw the alarm only");
    // Packet 2 serves a higher reg-no, so the own one is 0 or 1; packet 7 is parity.
    node.control(&packets[2]).unwrap();
    node.control(&packets[7]).unwrap();
    node.pass(WAIT * 4);
    let naks = node.naks(|_: Epoch| prefilter.clone(), &manager);
    assert_eq!((naks[1].block, naks[1].missing), (0, 0b10_1011));
}

/// A member keeps the packets of its own block of the newest updates, however much is sent.
#[test]
fn what_a_member_keeps_of_updates_is_bounded() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let mut sizes = Vec::new();
    for round in 0..8 {
        // The packet of the member and the parity of its block are lost, so nothing is decoded.
        let packets = manager.evict_in_blocks(1 + round, 600, (10, 1));
        for (index, packet) in packets.iter().enumerate().filter(|(index, _)| *index > 0 && *index != 600) {
            assert!(node.control(packet).is_ok(), "packet {index} of round {round}");
        }
        sizes.push(format!("{:?}", node.member).len());
    }
    let (early, late) = (sizes[4], sizes[7]);
    assert!(late < early + early / 10, "{sizes:?}");
}
