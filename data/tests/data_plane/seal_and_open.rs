//! What is sealed opens as what it was, once, and generations keep their bounds.

use crypto::Suite;
use data::{
    DropReason, GENERATION_TIME, KeyRing, MAX_DATAGRAM, MAX_PAYLOAD, MIN_PACKET, Opened, SealError, Sealer,
};
use proptest::prelude::*;
use protocol::SubgroupId;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::support::*;

proptest! {
    #[test]
    fn opening_is_the_inverse_of_sealing(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD), 1..8),
        kw: bool,
        seed: u64,
        gap in 0_u64..60_000,
    ) {
        let place = Place { suite: if kw { Suite::Aes256Kw } else { Suite::Aes256Ctr }, ..HERE };
        let mut alice = sealer(seed, &steady(place, ALICE, 1));
        let mut bob = opener(&steady(place, BOB, 1));
        let mut now = at(0);
        for (count, payload) in payloads.iter().enumerate() {
            let mut packet = Vec::new();
            let sealed = alice.seal(now, payload, &mut packet).expect("a key is held");
            prop_assert_eq!(packet.len(), MIN_PACKET + payload.len());
            prop_assert_eq!(sealed.sequence, count as u64);
            let Opened::Delivered(delivery) = bob.open(now, &packet, from(1)) else {
                return Err(TestCaseError::fail("not delivered"));
            };
            prop_assert_eq!(delivery.payload, payload);
            prop_assert_eq!((delivery.origin, delivery.sender, delivery.state), (place.subgroup, ALICE, state(1)));
            prop_assert_eq!(
                (delivery.stream, delivery.generation, delivery.sequence),
                (sealed.stream, sealed.generation, sealed.sequence)
            );
            now += micros(gap);
        }
    }

    #[test]
    fn random_datagrams_never_panic_and_never_deliver(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        header in 0_usize..=138,
    ) {
        let mut alice = sealer(1, &steady(HERE, ALICE, 1));
        let mut bob = opener(&steady(HERE, BOB, 1));
        let packet = sealed(&mut alice, at(0), b"payload");
        // The first bytes of a true packet carry the rest further in.
        let known = header.min(bytes.len());
        bytes[..known].copy_from_slice(&packet[..known]);
        prop_assume!(bytes != packet);
        prop_assert!(!matches!(bob.open(at(0), &bytes, from(1)), Opened::Delivered(_)));
        prop_assert_eq!(open(&mut bob, at(0), &packet), Ok(b"payload".to_vec()));
    }
}

#[test]
fn reordered_packets_within_the_window_are_delivered_once_each() {
    let mut alice = sealer(1, &steady(HERE, ALICE, 1));
    let mut bob = opener(&steady(HERE, BOB, 1));
    let packets: Vec<_> = (0..8_129_u64).map(|n| sealed(&mut alice, at(n / 10), &n.to_be_bytes())).collect();
    let (first, rest) = packets.split_first().expect("many");
    let mut delivered = 0;
    for packet in rest.iter().rev().chain(rest) {
        delivered += u32::from(open(&mut bob, at(0), packet).is_ok());
    }
    assert_eq!(delivered, 8_128);
    assert_eq!(open(&mut bob, at(0), first), Err(Some(DropReason::BehindWindow)));
}

#[test]
fn two_senders_do_not_disturb_each_other() {
    let mut bob = opener(&steady(HERE, BOB, 1));
    let mut senders = [sealer(1, &steady(HERE, ALICE, 1)), sealer(2, &steady(HERE, CAROL, 1))];
    for ms in 0..200 {
        for (sender, name) in senders.iter_mut().zip([ALICE, CAROL]) {
            let packet = sealed(sender, at(ms), b"x");
            let Opened::Delivered(delivery) = bob.open(at(ms), &packet, from(1)) else {
                panic!("not delivered");
            };
            assert_eq!((delivery.sender, delivery.sequence), (name, ms));
        }
    }
}

#[test]
fn a_generation_lasts_fifty_milliseconds_at_most_and_each_has_its_own_key() {
    let mut alice = sealer(1, &steady(HERE, ALICE, 1));
    let (mut generations, mut wrapped) = (Vec::new(), Vec::new());
    let instants = [
        at(0),
        at(30),
        at(0) + GENERATION_TIME - micros(1),
        at(0) + GENERATION_TIME,
        at(90),
        at(5_000),
        at(9_000),
    ];
    for now in instants {
        let mut packet = Vec::new();
        generations.push(alice.seal(now, b"x", &mut packet).expect("a key is held").generation);
        wrapped.push(packet[45..85].to_vec());
    }
    assert_eq!(generations, [0, 0, 0, 1, 1, 2, 3]);
    wrapped.dedup();
    assert_eq!(wrapped.len(), 4);
}

#[test]
fn a_payload_that_does_not_fit_is_the_callers_error_and_sends_nothing() {
    let mut alice = sealer(1, &steady(HERE, ALICE, 1));
    let mut out = vec![1, 2, 3];
    let too_long = SealError::TooLong { len: MAX_PAYLOAD + 1, max: MAX_PAYLOAD };
    assert_eq!(alice.seal(at(0), &[0; MAX_PAYLOAD + 1], &mut out), Err(too_long));
    assert_eq!(out, [1, 2, 3]);
    out.clear();
    let sealed = alice.seal(at(0), &[0; MAX_PAYLOAD], &mut out).expect("it fits");
    assert_eq!((sealed.sequence, out.len()), (0, MAX_DATAGRAM));
}

#[test]
fn without_a_key_nothing_is_sent() {
    let mut out = Vec::new();
    let mut fresh = Sealer::new(Box::new(ChaCha12Rng::seed_from_u64(1)), [0; 16]);
    assert_eq!(fresh.seal(at(0), b"x", &mut out), Err(SealError::NoKey));
    assert_eq!(sealer(1, &empty(HERE, ALICE)).seal(at(0), b"x", &mut out), Err(SealError::NoKey));
    assert!(out.is_empty());
}

#[test]
fn another_registration_or_subgroup_begins_another_stream() {
    let mut alice = sealer(1, &steady(HERE, ALICE, 1));
    let mut next = |ring: &KeyRing| {
        alice.set_ring(ring);
        let sealed = alice.seal(at(0), b"x", &mut Vec::new()).expect("a key is held");
        (sealed.stream, sealed.sequence)
    };
    let first = next(&steady(HERE, ALICE, 1));
    assert_eq!(next(&steady(HERE, ALICE, 2)), (first.0, 1), "another state does not");
    let away = Place { subgroup: SubgroupId(9), ..HERE };
    let others = [next(&steady(HERE, BOB, 2)), next(&steady(away, BOB, 2)), next(&steady(HERE, ALICE, 2))];
    assert!(others.iter().all(|(stream, sequence)| *stream != first.0 && *sequence == 0));
}

#[test]
fn clones_of_a_machine_with_equal_generators_use_different_data_keys() {
    let ring = steady(HERE, ALICE, 1);
    let packet = |boot: u8, now| {
        let mut sealer = Sealer::new(Box::new(ChaCha12Rng::seed_from_u64(1)), [boot; 16]);
        sealer.set_ring(&ring);
        sealed(&mut sealer, now, b"x")
    };
    let packets = [packet(1, at(0)), packet(2, at(0)), packet(1, at(0) + micros(1))];
    let data_keys: std::collections::BTreeSet<_> = packets.iter().map(|packet| &packet[121..137]).collect();
    assert_eq!(data_keys.len(), 3);
}
