//! Attacks on data packets, named as the threat catalogue numbers them.

use crypto::{Aead, Secret, Suite, key_unwrap};
use data::{Departed, DropReason, MAX_HOPS, MIN_PACKET, Opened, Packet, StreamId};
use protocol::{GroupId, SenderId, SubgroupId};

use crate::forging::Forgery;
use crate::support::*;

const BOB_OF_AFAR: SenderId = SenderId(0x2_0000_0001);

#[test]
fn a43_a_packet_with_any_bit_flipped_opens_for_nobody() {
    for suite in [Suite::Aes256Ctr, Suite::Aes256Kw] {
        let place = Place { suite, ..HERE };
        let mut alice = sealer(1, &steady(place, ALICE, 1));
        let (first, packet) = (sealed(&mut alice, at(0), b"one"), sealed(&mut alice, at(0), b"two"));
        // Once with the data key of the generation known, once without.
        for known in [true, false] {
            let mut bob = opener(&steady(place, BOB, 1));
            if known {
                assert_eq!(open(&mut bob, at(0), &first), Ok(b"one".to_vec()));
            }
            for bit in 0..packet.len() * 8 {
                let mut flipped = packet.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&mut bob, at(0), &flipped).is_err(), "bit {bit}");
            }
            let mut ring = steady(place, BOB, 1);
            for epoch in 2..20 {
                first_of(&mut ring, epoch);
                bob.set_ring(at(1), &ring);
                assert!(drain(&mut bob, at(1)).is_empty(), "a flipped epoch only waits");
            }
            assert_eq!(open(&mut bob, at(1), &packet), Ok(b"two".to_vec()), "nothing was marked as seen");
        }
    }
}

#[test]
fn a42_a_packet_cut_short_or_drawn_out_or_zeroed_is_refused() {
    let mut alice = sealer(1, &steady(HERE, ALICE, 1));
    let mut bob = opener(&steady(HERE, BOB, 1));
    let packet = sealed(&mut alice, at(0), b"payload");
    for len in 0..packet.len() {
        let reason = if len < MIN_PACKET { DropReason::Malformed } else { DropReason::BadTag };
        assert_eq!(open(&mut bob, at(0), &packet[..len]), Err(Some(reason)), "{len} bytes");
    }
    let longer: Vec<u8> = packet.iter().copied().chain([0]).collect();
    assert_eq!(open(&mut bob, at(0), &longer), Err(Some(DropReason::BadTag)));
    let fields = [
        (0, 1),
        (1, 2),
        (2, 4),
        (4, 20),
        (20, 28),
        (28, 32),
        (32, 36),
        (36, 44),
        (45, 85),
        (85, 93),
        (93, 101),
    ];
    for (from, to) in fields.into_iter().chain([
        (101, 109),
        (121, 137),
        (138, packet.len() - 16),
        (packet.len() - 16, packet.len()),
    ]) {
        let mut zeroed = packet.clone();
        zeroed[from..to].fill(0);
        assert!(open(&mut bob, at(0), &zeroed).is_err(), "{from}..{to}");
    }
    assert!(open(&mut bob, at(0), &packet).is_ok());
}

#[test]
fn a14_a_replayed_capture_delivers_nothing_twice() {
    let (mut alices, mut bobs) = (steady(HERE, ALICE, 1), steady(HERE, BOB, 1));
    let (mut alice, mut bob) = (sealer(1, &alices), opener(&bobs));
    let mut capture = Vec::new();
    for ms in 0..400 {
        if ms == 100 {
            switch(&mut alices, 2, at(ms), false, None);
            switch(&mut bobs, 2, at(ms), false, None);
            alice.set_ring(&alices);
            bob.set_ring(at(ms), &bobs);
        }
        let packet = sealed(&mut alice, at(ms * 4), &ms.to_be_bytes());
        assert!(open(&mut bob, at(ms * 4), &packet).is_ok());
        capture.push(packet);
    }
    for now in [at(1_600), at(3_000), at(100_000)] {
        assert!(capture.iter().all(|packet| open(&mut bob, now, packet).is_err()));
    }
    assert_eq!(bob.counters().delivered, 400);
    assert_eq!(bob.counters().all_dropped(), 3 * 400);
}

#[test]
fn a14_a_key_that_was_cut_is_not_taken_up_again() {
    let mut bob = opener(&steady(HERE, BOB, 1));
    let mut alice = sealer(1, &steady(HERE, ALICE, 1));
    bob.set_ring(at(10), &steady(HERE, BOB, 2));
    let mut both = steady(HERE, BOB, 1);
    first_of(&mut both, 2);
    bob.set_ring(at(20), &both);
    let old = sealed(&mut alice, at(20), b"old");
    assert_eq!(open(&mut bob, at(20), &old), Err(Some(DropReason::OldKey)));
}

#[test]
fn a12_a_packet_of_one_group_is_nothing_in_another() {
    let other = Place { group: GroupId::from_bytes([8; 16]), ..HERE };
    let cousin = Place { subgroup: SubgroupId(0x6666), ..HERE };
    let mut alice = sealer(1, &steady(HERE, ALICE, 1));
    let packet = sealed(&mut alice, at(0), b"payload");
    for place in [other, cousin] {
        // The very same group key, as a cloned group would have.
        let mut ring = steady(HERE, BOB, 1);
        (ring.group, ring.subgroup) = (place.group, place.subgroup);
        let mut bob = opener(&ring);
        assert_eq!(open(&mut bob, at(0), &packet), Err(Some(DropReason::OtherGroup)));
        let mut readdressed = packet.clone();
        readdressed[4..20].copy_from_slice(place.group.as_bytes());
        readdressed[20..28].copy_from_slice(&place.subgroup.0.to_be_bytes());
        assert!(open(&mut bob, at(0), &readdressed).is_err());
        readdressed[85..93].copy_from_slice(&place.subgroup.0.to_be_bytes());
        assert_eq!(open(&mut bob, at(0), &readdressed), Err(Some(DropReason::BadWrap)));
    }
    let mut ring = steady(HERE, BOB, 1);
    ring.suite = Suite::Aes256Kw;
    assert_eq!(open(&mut opener(&ring), at(0), &packet), Err(Some(DropReason::OtherSuite)));
}

#[test]
fn a_packet_made_by_hand_from_the_documents_opens() {
    for suite in [Suite::Aes256Ctr, Suite::Aes256Kw] {
        let place = Place { suite, ..HERE };
        let mut bob = opener(&steady(place, BOB, 1));
        let packet = Forgery { place, ..Forgery::default() }.packet(b"by hand");
        assert_eq!(open(&mut bob, at(0), &packet), Ok(b"by hand".to_vec()));
    }
}

#[test]
fn a11_outer_and_inner_part_that_disagree_are_refused() {
    let far = SubgroupId(0x9999);
    let mut bob = opener(&steady(HERE, BOB, 1));
    let wrong = [
        Forgery { outer_sender: CAROL, ..Forgery::default() },
        Forgery { sender: CAROL, ..Forgery::default() },
        Forgery { origin: far, ..Forgery::default() },
        Forgery { hop: 1, ..Forgery::default() },
        Forgery { hop: 1, sender: CAROL, ..Forgery::default() },
    ];
    for forgery in wrong {
        assert_eq!(open(&mut bob, at(0), &forgery.packet(b"x")), Err(Some(DropReason::Mismatch)));
    }
    for hop in 1..=MAX_HOPS + 1 {
        let relayed = Forgery { hop, origin: far, sender: CAROL, sequence: hop.into(), ..Forgery::default() };
        let opened = open(&mut bob, at(0), &relayed.packet(b"x"));
        let expected = if hop <= MAX_HOPS { Ok(b"x".to_vec()) } else { Err(Some(DropReason::Malformed)) };
        assert_eq!(opened, expected, "hop {hop}");
    }
}

#[test]
fn a_generation_cannot_be_given_a_data_key_that_was_not_committed_to() {
    let mut bob = opener(&steady(HERE, BOB, 1));
    let relay = Forgery { hop: 1, outer_sender: CAROL, origin: SubgroupId(1), ..Forgery::default() };
    let honest = relay.packet(b"x");
    let commitment = Packet::decode(&honest).expect("whole").inner.commitment;
    let next = Forgery { sequence: 6, ..relay };
    let forged = [
        Forgery { commitment: Some([7; 16]), ..next.clone() },
        Forgery { commitment: Some(commitment), data_key: Secret::new([4; 32]), ..next.clone() },
        Forgery { commitment: Some(commitment), sender: BOB_OF_AFAR, ..next.clone() },
        Forgery { commitment: Some(commitment), origin: SubgroupId(2), ..next.clone() },
    ];
    let refuse_all = |bob: &mut _| {
        for (which, forgery) in forged.iter().enumerate() {
            assert_eq!(
                open(bob, at(0), &forgery.packet(b"x")),
                Err(Some(DropReason::BadCommitment)),
                "{which}"
            );
        }
    };
    // Both before and after the true data key is known.
    refuse_all(&mut bob);
    assert!(open(&mut bob, at(0), &honest).is_ok());
    refuse_all(&mut bob);
    assert!(open(&mut bob, at(0), &next.packet(b"x")).is_ok());
}

#[test]
fn an_evicted_member_with_every_key_it_ever_held_reads_nothing_after_the_switch() {
    let (mut alices, mut mallorys) = (steady(HERE, ALICE, 1), steady(HERE, CAROL, 1));
    for ring in [&mut alices, &mut mallorys] {
        first_of(ring, 2);
        first_of(ring, 3);
    }
    switch(&mut alices, 4, at(100), true, Some(CAROL));
    let (mut alice, mut mallory) = (sealer(1, &alices), opener(&mallorys));
    let mut data_keys = Vec::new();
    let (mut before, mut after) = (0, 0);
    for ms in 0..600 {
        let packet = sealed(&mut alice, at(ms), b"secret");
        let held: Vec<_> = (1..=3).filter_map(|epoch| unwrap_by_hand(&packet, epoch)).collect();
        let read = open(&mut mallory, at(ms), &packet).is_ok()
            || !held.is_empty()
            || opens_by_hand(&packet, &data_keys);
        data_keys.extend(held);
        *(if ms < 200 { &mut before } else { &mut after }) += u32::from(read);
    }
    assert_eq!((before, after), (200, 0));
}

/// The data key of a packet, if the group key of `epoch` opens it.
fn unwrap_by_hand(packet: &[u8], epoch: u32) -> Option<Secret<32>> {
    let Packet { outer, inner, .. } = Packet::decode(packet).ok()?;
    let context: [&[u8]; 6] = [
        outer.group.as_bytes(),
        &outer.subgroup.0.to_be_bytes(),
        &state(epoch).to_bytes(),
        &outer.sender.0.to_be_bytes(),
        &[outer.hop],
        &inner.stream.0.to_be_bytes(),
    ];
    let key = crypto::derive(outer.suite, &group_key(HERE, state(epoch)), crypto::Label::KrWrap, &context);
    key_unwrap(&key, &outer.wrapped).ok()
}

fn opens_by_hand(packet: &[u8], data_keys: &[Secret<32>]) -> bool {
    let Ok(Packet { inner, sealed, .. }) = Packet::decode(packet) else { return false };
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&inner.sequence.to_be_bytes());
    let opens =
        |key: &Secret<32>| Aead::new().open(key, &nonce, &inner.to_bytes(), sealed, &mut Vec::new()).is_ok();
    data_keys.iter().any(opens)
}

#[test]
fn an_evicted_member_injects_nothing_from_the_activation_on() {
    let mut bobs = steady(HERE, BOB, 1);
    switch(&mut bobs, 2, at(100), true, Some(CAROL));
    let (mut mallory, mut bob) = (sealer(1, &steady(HERE, CAROL, 1)), opener(&bobs));
    for ms in 0..400 {
        // Under its own name, and under another's as only a key that is cut stops.
        let own = open(&mut bob, at(ms), &sealed(&mut mallory, at(ms), b"x"));
        let forged = Forgery { sequence: ms, stream: StreamId(1), ..Forgery::default() }.packet(b"x");
        let forged = open(&mut bob, at(ms), &forged);
        match ms {
            0..200 => assert!(own.is_ok() && forged.is_ok(), "{ms}"),
            200..250 => assert!(own == Err(Some(DropReason::Departed)) && forged.is_ok(), "{ms}"),
            _ => assert!(own.is_err() && forged == Err(Some(DropReason::OldKey)), "{ms}"),
        }
    }
}

#[test]
fn a_member_that_left_is_not_heard_in_the_soft_grace_though_its_key_still_opens() {
    let mut bobs = steady(HERE, BOB, 1);
    switch(&mut bobs, 2, at(0), false, Some(CAROL));
    // Named once more for a later state, it is still out from the first.
    bobs.departed.extend([at(900), at(100_000)].map(|from| Departed { sender: CAROL, from }));
    bobs.departed.reverse();
    let mut bob = opener(&bobs);
    let (mut alice, mut carol) = (sealer(1, &steady(HERE, ALICE, 1)), sealer(2, &steady(HERE, CAROL, 1)));
    let activation = at(500);
    assert!(open(&mut bob, activation - micros(1), &sealed(&mut carol, at(0), b"x")).is_ok());
    let late = sealed(&mut carol, at(0), b"x");
    assert_eq!(open(&mut bob, activation, &late), Err(Some(DropReason::Departed)));
    assert!(open(&mut bob, activation, &sealed(&mut alice, at(0), b"x")).is_ok());
    let relayed =
        Forgery { hop: 1, origin: SubgroupId(1), outer_sender: CAROL, sender: ALICE, ..Forgery::default() };
    assert_eq!(open(&mut bob, activation, &relayed.packet(b"x")), Err(Some(DropReason::Departed)));
}

#[test]
fn a_nodes_own_packets_come_back_to_nothing() {
    let ring = steady(HERE, ALICE, 1);
    let (mut alice, mut own) = (sealer(1, &ring), opener(&ring));
    assert_eq!(open(&mut own, at(0), &sealed(&mut alice, at(0), b"x")), Err(Some(DropReason::Own)));
    let from_afar = Forgery { hop: 2, origin: SubgroupId(1), outer_sender: BOB, ..Forgery::default() };
    assert_eq!(open(&mut own, at(0), &from_afar.packet(b"x")), Err(Some(DropReason::Own)));
}

#[test]
fn lies_about_the_epoch_take_a_bounded_place_and_move_nothing() {
    let mut bob = opener(&steady(HERE, BOB, 5));
    let mut alice = sealer(1, &steady(HERE, ALICE, 5));
    let template = sealed(&mut alice, at(0), b"true");
    let mut hints = 0;
    for n in 0..20_000_u32 {
        let mut lie = template.clone();
        lie[28..32].copy_from_slice(&n.to_be_bytes());
        lie[32..36].copy_from_slice(&[n % 4, 6, 1_000, u32::MAX][n as usize % 4].to_be_bytes());
        let _ = bob.open(at(u64::from(n / 20)), &lie, from((n % 50) as u16));
        hints += u32::from(bob.poll_hint(at(u64::from(n / 20))).is_some());
    }
    assert_eq!(bob.counters().waited, 256);
    assert!((10..=11).contains(&hints), "{hints} hints in a second");
    assert!(drain(&mut bob, at(1_000)).is_empty());
    assert_eq!(open(&mut bob, at(1_000), &template), Ok(b"true".to_vec()));
    assert!(matches!(bob.open(at(5_000), &template, from(1)), Opened::Dropped(DropReason::Replayed)));
    assert!(drain(&mut bob, at(5_000)).is_empty());
    assert_eq!(bob.counters().dropped(DropReason::WaitedTooLong), 256);
}
