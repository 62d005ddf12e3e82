//! Attack A20: parity that is forged, moved or of another message never reaches the decoder. And what honest parity is for:
//! any as many packets of a block as it has data packets give each packet of it that was lost.

use crypto::Suite;
use proptest::prelude::*;
use protocol::limits::MAX_BLOCK_PACKETS;
use protocol::{Block, Gate, PARITY_EXCESS, RegNo, Rejected, StateId, UpdatePacket, Verified};

use super::subgroup::{SUITES, Subgroup, Update, domain, flipped, receive, remac};

/// All packets of an update, verified.
fn verified(gate: &mut Gate, held: StateId, update: &Update) -> Vec<Verified<UpdatePacket>> {
    update.sealed.packets.iter().map(|packet| receive(gate, 0, held, packet).unwrap()).collect()
}

/// A block of these packets.
fn block<'p>(mut packets: impl Iterator<Item = &'p Verified<UpdatePacket>>) -> Block {
    let mut block = Block::of(packets.next().unwrap().clone()).unwrap();
    packets.for_each(|packet| assert!(block.add(packet.clone())));
    block
}

/// The packets of one block, with their positions.
fn of_block(packets: &[Verified<UpdatePacket>], number: u16) -> Vec<&Verified<UpdatePacket>> {
    packets.iter().filter(|packet| packet.header.place(packet.header.index).0 == number).collect()
}

/// Whoever the data packet with this index serves.
fn served(index: usize) -> RegNo {
    RegNo(index as u32 * 10 + 3)
}

#[test]
fn any_packets_of_a_block_as_many_as_its_data_give_each_lost_one_for_every_loss_pattern() {
    for suite in SUITES {
        let mut subgroup = Subgroup::new(domain(suite));
        let (held, mut gate) = (subgroup.state, subgroup.gate());
        // Two blocks, of four and of three data packets, with four parity packets each.
        let update = subgroup.cut_in_blocks(3, 7, 4, 4);
        let packets = verified(&mut gate, held, &update);
        assert_eq!(packets.len(), 15);
        for (number, data) in [(0, 0..4_usize), (1, 4..7)] {
            let all = of_block(&packets, number);
            for pattern in 1_u64..1 << all.len() {
                let arrived = (0..all.len()).filter(|position| pattern & 1 << position != 0);
                let block = block(arrived.map(|position| all[position]));
                assert_eq!(block.missing(), !pattern & ((1 << all.len()) - 1));
                let enough = pattern.count_ones() as usize >= data.len();
                assert_eq!(block.deficit() == 0, enough);
                for index in data.clone().filter(|index| pattern & 1 << (index - data.start) == 0) {
                    let recovered = block.recover(&subgroup.domain, served(index));
                    assert_eq!(recovered.is_some(), enough, "{pattern:b}");
                    if let Some(recovered) = recovered {
                        assert_eq!(
                            (&recovered.header, &recovered.body),
                            content(&update, index),
                            "{pattern:b}"
                        );
                    }
                }
            }
        }
    }
}

fn content(update: &Update, index: usize) -> (&protocol::UpdateHeader, &protocol::Body) {
    let (header, body) = &update.contents[index];
    (header, body)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    /// Blocks of all sizes, and losses at random.
    #[test]
    fn whoever_gets_enough_of_its_block_gets_its_packet(
        packets in 1..=24_u16,
        block_data in 1..=10_u8,
        block_parity in 1..=22_u8,
        losses in any::<u64>(),
    ) {
        let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
        let (held, mut gate) = (subgroup.state, subgroup.gate());
        let update = subgroup.cut_in_blocks(3, packets, block_data, block_parity);
        let packets = verified(&mut gate, held, &update);
        for number in 0..packets[0].header.blocks() {
            let all = of_block(&packets, number);
            prop_assert!(all.len() <= MAX_BLOCK_PACKETS);
            let arrived: Vec<_> = all.iter().enumerate().filter(|(at, _)| losses >> at & 1 == 0).collect();
            let Some((_, first)) = arrived.first() else { continue };
            let mut block = Block::of((**first).clone()).unwrap();
            arrived[1..].iter().for_each(|(_, packet)| assert!(block.add((**packet).clone())));
            let data = all.iter().filter(|packet| !packet.header.is_parity()).count();
            for packet in all.iter().filter(|packet| !packet.header.is_parity()) {
                let index = usize::from(packet.header.index);
                prop_assert_eq!(block.has(packet.header.index), block.datagram_for(served(index)).is_some());
                if arrived.len() >= data && !block.has(packet.header.index) {
                    let recovered = block.recover(&subgroup.domain, served(index)).unwrap();
                    prop_assert_eq!((&recovered.header, &recovered.body), content(&update, index));
                }
            }
        }
    }
}

#[test]
fn a_parity_packet_is_little_longer_than_the_longest_of_its_block_and_serves_the_block() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let (held, mut gate) = (subgroup.state, subgroup.gate());
    let update = subgroup.cut_in_blocks(3, 7, 4, 3);
    let longest = update.sealed.packets[..7].iter().map(Vec::len).max().unwrap();
    // A path of 13 leaves has one hash more or less from place to place.
    assert!(update.sealed.packets.iter().all(|packet| packet.len() <= longest + PARITY_EXCESS + 16));
    let packets = verified(&mut gate, held, &update);
    for parity in packets.iter().filter(|packet| packet.header.is_parity()) {
        let range =
            if parity.header.place(parity.header.index).0 == 0 { (0, 39) } else { (40, RegNo::MAX.0) };
        assert_eq!((parity.header.first.0, parity.header.last.0), range);
        assert_eq!(parity.body, protocol::Body::default());
    }
}

#[test]
fn forged_parity_never_gets_past_the_gate() {
    let suite = Suite::Aes256Ctr;
    let mut subgroup = Subgroup::new(domain(suite));
    let (held, mut gate) = (subgroup.state, subgroup.gate());
    let update = subgroup.cut_in_blocks(3, 4, 4, 4);
    let parity = &update.sealed.packets[5];
    // An insider has the key of the MAC: every bit of what the tree covers, with a MAC that holds.
    for bit in 0..(parity.len() - 64 - 8) * 8 {
        let mut forged = flipped(parity, bit);
        remac(suite, &update.prefilter, &mut forged);
        let refused = receive(&mut gate, bit as u64 * 20, held, &forged);
        assert!(refused.is_err(), "bit {bit}");
    }
    assert!(receive(&mut gate, 1_000_000, held, parity).is_ok());
}

/// A data packet whose index says parity, and the other way round: the index is in the leaf.
#[test]
fn a_data_packet_is_not_taken_for_parity_nor_parity_for_data() {
    let suite = Suite::Aes256Ctr;
    let mut subgroup = Subgroup::new(domain(suite));
    let (held, mut gate) = (subgroup.state, subgroup.gate());
    let update = subgroup.cut_in_blocks(3, 4, 4, 4);
    for (packet, index) in [(1, 5), (1, 4), (5, 1), (4, 0), (5, 6)] {
        let mut moved = update.sealed.packets[packet].clone();
        moved[51] = index;
        remac(suite, &update.prefilter, &mut moved);
        assert!(receive(&mut gate, u64::from(index) * 1_000, held, &moved).is_err(), "{packet} as {index}");
    }
    // Fewer parity packets a block would move all of them; their number is in what is signed.
    for parity in [0, 1, 3, 5] {
        let mut fewer = update.sealed.packets[5].clone();
        fewer[55] = parity;
        remac(suite, &update.prefilter, &mut fewer);
        let refused = receive(&mut gate, 20_000 + u64::from(parity) * 1_000, held, &fewer).map(drop);
        assert!(matches!(refused, Err(Rejected::NotAuthentic | Rejected::Malformed)), "{parity} of 4");
    }
}

/// A manager rolled back signs two messages of one state. Both are genuine; mixed they would decode to neither.
#[test]
fn packets_of_two_messages_are_never_decoded_together() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let mut twin = Subgroup::new(domain(Suite::Aes256Ctr));
    let (held, mut gate) = (subgroup.state, subgroup.gate());
    let ours = subgroup.cut_in_blocks(3, 3, 3, 3);
    let theirs = twin.cut_in_blocks(5, 3, 3, 3);
    let ours = verified(&mut gate, held, &ours);
    let theirs = verified(&mut gate, held, &theirs);
    assert_eq!(ours[0].header.state, theirs[0].header.state);
    let mut block = Block::of(ours[0].clone()).unwrap();
    for packet in &theirs {
        assert!(!block.add(packet.clone()));
    }
    assert!(!block.add(ours[0].clone()), "nor the same packet twice");
    assert!(block.add(ours[3].clone()) && block.add(ours[5].clone()));
    assert!(block.recover(&subgroup.domain, served(2)).is_some());
    let recovered = block.recover(&subgroup.domain, served(1)).unwrap();
    assert!(!block.add(recovered.clone()) && Block::of(recovered).is_none(), "its proof is not known");
}

#[test]
fn a_packet_of_another_block_is_not_added() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let (held, mut gate) = (subgroup.state, subgroup.gate());
    let update = subgroup.cut_in_blocks(3, 6, 3, 2);
    let packets = verified(&mut gate, held, &update);
    let mut block = Block::of(packets[0].clone()).unwrap();
    for (index, taken) in [(1, true), (3, false), (5, false), (6, true), (7, true), (8, false), (9, false)] {
        assert_eq!(block.add(packets[index].clone()), taken, "packet {index}");
    }
    block.drop_parity();
    assert_eq!(block.deficit(), 1);
}

/// What is passed on to others is verified like anything else, and costs no signature check.
#[test]
fn a_spare_packet_must_be_of_a_message_verified_before() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let (held, mut gate) = (subgroup.state, subgroup.gate());
    let update = subgroup.cut_in_blocks(3, 4, 4, 2);
    let packets = &update.sealed.packets;
    assert_eq!(gate.spare(&packets[1]), Err(Rejected::NotAuthentic), "its signature was not checked yet");
    assert!(receive(&mut gate, 0, held, &packets[0]).is_ok());
    assert!(gate.spare(&packets[1]).is_ok());
    assert_eq!(gate.spare(&packets[1]), Err(Rejected::Duplicate));
    assert_eq!(gate.spare(&flipped(&packets[2], packets[2].len() * 8 - 1)), Err(Rejected::BadMac));
    let mut forged = flipped(&packets[2], 130 * 8);
    remac(Suite::Aes256Ctr, &update.prefilter, &mut forged);
    assert_eq!(gate.spare(&forged).map(drop), Err(Rejected::NotAuthentic));
}
