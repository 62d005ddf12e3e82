//! Reading is the inverse of writing, in both directions.

use std::sync::Arc;

use crypto::{PublicKey, Signature};
use proptest::prelude::*;
use protocol::{
    Body, Credential, Domain, Epoch, Frame, Gate, Nak, Reader, Registration, Revocation, Roster, SenderId,
    ToManager, ToMember, UpdateHeader, Writer,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::kinds::{PREFILTER, messages, peer, reencode};
use super::subgroup::{ELSEWHERE, SUITES, Subgroup, at, domain, receive};
use super::verifiers::{Credulous, Repeating};
use super::{arbitrary, kinds};

proptest! {
    #![proptest_config(arbitrary::cases(512))]

    #[test]
    fn a_frame_reads_back(frame in arbitrary::frame()) {
        let read = Frame::decode(&frame.encode(), &peer()).map(protocol::Verified::into_inner);
        prop_assert_eq!(read, Ok(frame));
    }

    #[test]
    fn an_alarm_reads_back(domain in arbitrary::domain(), alarm in arbitrary::alarm()) {
        let bytes = alarm.encode(&domain, &Repeating(Signature([5; 64])));
        let mut gate = Gate::new(domain, PublicKey([0; 32]), alarm.state, PREFILTER.clone(), Arc::new(Credulous));
        prop_assert_eq!(gate.alarm(at(0), ELSEWHERE, &bytes).map(protocol::Verified::into_inner), Ok(alarm));
    }

    #[test]
    fn a_body_reads_back(
        suite in arbitrary::suite(), header in arbitrary::header(), raw in arbitrary::raw_body()
    ) {
        let body = arbitrary::body(suite, &header, &raw);
        let mut writer = Writer::new();
        body.encode(&header, &mut writer);
        prop_assert_eq!(Body::decode(suite, &header, Reader::new(writer.as_bytes())), Ok(body));
    }

    #[test]
    fn a_nak_reads_back(domain in arbitrary::domain(), nak in arbitrary::nak()) {
        let read = Nak::verify(&nak.encode(&domain, &PREFILTER), &domain, |held| {
            (held == nak.held).then_some(&PREFILTER)
        });
        prop_assert_eq!(read.map(protocol::Verified::into_inner), Ok(nak));
    }

    #[test]
    fn unicast_messages_read_back(
        domain in arbitrary::domain(), up in arbitrary::to_manager(), down in arbitrary::to_member(), seed: u64
    ) {
        let registration = Registration { domain: &domain, sender: SenderId(seed), key: &PREFILTER };
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let sealed = up.seal(&registration, &mut rng);
        prop_assert_eq!(protocol::claimed_sender(&sealed), Ok(SenderId(seed)));
        prop_assert_eq!(ToManager::open(&registration, &sealed).map(protocol::Verified::into_inner), Ok(up));
        let sealed = down.seal(&registration, &mut rng);
        prop_assert_eq!(ToMember::open(&registration, &sealed).map(protocol::Verified::into_inner), Ok(down));
    }

    #[test]
    fn credentials_rosters_and_revocations_read_back(
        credential in arbitrary::credential(), roster in arbitrary::roster(), revocation in arbitrary::revocation()
    ) {
        let mut writer = Writer::new();
        credential.encode(&mut writer);
        roster.encode(&mut writer);
        revocation.encode(&mut writer);
        let mut reader = Reader::new(writer.as_bytes());
        prop_assert_eq!(Credential::decode(&mut reader), Ok(credential));
        prop_assert_eq!(Roster::decode(&mut reader), Ok(roster));
        prop_assert_eq!(Revocation::decode(&mut reader), Ok(revocation));
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn whatever_is_written_is_written_again_the_same((kind, bytes) in messages()) {
        prop_assert_eq!(reencode(kind, &bytes), Some(bytes));
    }

    /// No message has two forms: bytes that are not refused are exactly what their meaning is written as.
    #[test]
    fn bytes_that_are_read_are_written_again_the_same(
        (kind, mut bytes) in messages(),
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (place, value) in &spoils {
            let place = place.index(bytes.len());
            bytes[place] = *value;
            if let Some(again) = reencode(kind, &bytes) {
                prop_assert_eq!(&again, &bytes, "{:?}", kind);
            }
        }
    }

    #[test]
    fn a_spoiled_body_is_refused_or_has_one_form(
        suite in arbitrary::suite(), header in arbitrary::header(), raw in arbitrary::raw_body(),
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut writer = Writer::new();
        arbitrary::body(suite, &header, &raw).encode(&header, &mut writer);
        let mut bytes = writer.into_bytes();
        prop_assume!(!bytes.is_empty());
        for (place, value) in &spoils {
            let place = place.index(bytes.len());
            let kept = std::mem::replace(&mut bytes[place], *value);
            if let Ok(body) = Body::decode(suite, &header, Reader::new(&bytes)) {
                let mut again = Writer::new();
                body.encode(&header, &mut again);
                prop_assert_eq!(again.as_bytes(), &bytes);
            }
            bytes[place] = kept;
        }
    }

    #[test]
    fn random_bytes_never_panic_and_have_one_form(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400), domain in arbitrary::domain(), code in 0..8_u8
    ) {
        let envelope = protocol::Envelope::begin(protocol::DatagramKind::Alarm, &domain).into_bytes();
        for begun in [false, true] {
            if begun && bytes.len() >= envelope.len() {
                bytes[..envelope.len()].copy_from_slice(&envelope);
                bytes[1] = code;
            }
            for kind in ALL {
                if let Some(again) = reencode(kind, &bytes) {
                    prop_assert_eq!(&again, &bytes, "{:?}", kind);
                }
            }
        }
    }
}

const ALL: [kinds::Kind; 10] = [
    kinds::Kind::Frame,
    kinds::Kind::Alarm,
    kinds::Kind::KeyUpdate,
    kinds::Kind::Nak,
    kinds::Kind::ToManager,
    kinds::Kind::ToMember,
    kinds::Kind::Credential,
    kinds::Kind::Roster,
    kinds::Kind::Revocation,
    kinds::Kind::Envelope,
];

#[test]
fn a_real_plan_reads_back_through_the_gate() {
    for suite in SUITES {
        let mut subgroup = Subgroup::new(domain(suite));
        let (held, mut gate) = (subgroup.state, subgroup.gate());
        let update = subgroup.cut(&[9, 10, 40], &[3, 4], 3);
        for (packet, (header, body)) in update.sealed.packets.iter().zip(&update.contents) {
            let read = receive(&mut gate, 0, held, packet).unwrap().into_inner();
            assert_eq!((&read.header, &read.body), (header, body));
        }
    }
}

#[test]
fn a_header_takes_112_bytes() {
    let domain: Domain = domain(SUITES[0]);
    let mut subgroup = Subgroup::new(domain);
    let update = subgroup.cut(&[9], &[], 2);
    let (header, _) = &update.contents[1];
    assert_eq!(header.encode(&domain).as_bytes().len(), UpdateHeader::LEN);
    assert_eq!(UpdateHeader::LEN, 112);
    assert_eq!(header.state.epoch, Epoch(2));
}
