//! What is sealed opens as what it was, once, and generations keep their bounds.

use crate::support::*;
use crypto::Suite;
use data::{DropReason, GENERATION_TIME, MAX_DATAGRAM, MAX_PAYLOAD, MIN_PACKET, Opened, SealError};
use proptest::prelude::*;

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
