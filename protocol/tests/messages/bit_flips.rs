//! Attacks A42 and A43: no bit of a signed, authenticated or sealed message can be changed unnoticed.

use std::sync::Arc;

use crypto::{Ed25519Signer, Ed25519Verifier, Secret, Signer, Suite};
use protocol::{
    Credential, Epoch, Nak, RegNo, Registration, Rejected, Roster, RosterVersion, SenderId, ToManager,
    ToMember,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::kinds::PREFILTER;
use super::subgroup::{
    ELSEWHERE, MAC_LEN, SIGNATURE_LEN, SUITES, Subgroup, at, domain, flipped, receive, remac,
};
use super::verifiers::Counting;

/// Milliseconds between two tries, so that the budget for signatures is never what refuses.
const PACE: u64 = 100;

#[test]
fn a_stranger_changes_no_bit_of_a_key_update() {
    for suite in SUITES {
        let mut subgroup = Subgroup::new(domain(suite));
        let verifier = Arc::new(Counting::default());
        let (held, mut gate) = (subgroup.state, subgroup.gate_with(Arc::<Counting>::clone(&verifier)));
        let packet = subgroup.cut(&[9], &[3], 3).sealed.packets.remove(1);
        for bit in 0..packet.len() * 8 {
            let refused = receive(&mut gate, bit as u64 * PACE, held, &flipped(&packet, bit));
            assert!(refused.is_err(), "bit {bit} of {}", packet.len() * 8);
        }
        // Only a bit of the epoch before leads past the prefilter, for a member may not hold that epoch's key.
        assert!(verifier.checks() <= 32, "{} signature checks", verifier.checks());
        assert!(receive(&mut gate, 0, held, &packet).is_ok(), "and the genuine packet is still taken");
    }
}

/// A member of the state before holds the key of the prefilter; what it cannot make is path and signature.
#[test]
fn a_member_changes_no_bit_of_a_key_update() {
    for suite in SUITES {
        let mut subgroup = Subgroup::new(domain(suite));
        let (held, mut gate) = (subgroup.state, subgroup.gate());
        let update = subgroup.cut(&[9], &[3], 3);
        let packet = &update.sealed.packets[1];
        for bit in 0..(packet.len() - MAC_LEN) * 8 {
            let mut forged = flipped(packet, bit);
            remac(suite, &update.prefilter, &mut forged);
            let refused = receive(&mut gate, bit as u64 * PACE, held, &forged);
            assert!(refused.is_err(), "bit {bit} of {}", packet.len() * 8);
        }
        assert!(receive(&mut gate, 0, held, packet).is_ok());
    }
}

/// Once an alarm has named the root, the signature in a packet is not looked at: the path proves the content.
#[test]
fn a_packet_whose_root_the_alarm_named_is_proven_by_its_path_alone() {
    let suite = Suite::Aes256Ctr;
    let mut subgroup = Subgroup::new(domain(suite));
    let (held, mut gate) = (subgroup.state, subgroup.gate());
    let update = subgroup.cut(&[9], &[3], 3);
    gate.alarm(at(0), ELSEWHERE, &subgroup.signed_alarm()).unwrap();
    let packet = &update.sealed.packets[1];
    let signature = packet.len() - MAC_LEN - SIGNATURE_LEN;
    for bit in 0..signature * 8 {
        let mut forged = flipped(packet, bit);
        remac(suite, &update.prefilter, &mut forged);
        assert!(receive(&mut gate, bit as u64 * PACE, held, &forged).is_err(), "bit {bit}");
    }
    let mut resigned = flipped(packet, signature * 8);
    remac(suite, &update.prefilter, &mut resigned);
    let taken = receive(&mut gate, 0, held, &resigned).unwrap();
    assert_eq!((&taken.header, &taken.body), (&update.contents[1].0, &update.contents[1].1));
}

#[test]
fn no_bit_of_an_alarm_changes_unnoticed() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let mut gate = subgroup.gate();
    let alarm = subgroup.signed_alarm();
    for bit in 0..alarm.len() * 8 {
        let refused = gate.alarm(at(bit as u64 * PACE), ELSEWHERE, &flipped(&alarm, bit));
        assert!(refused.is_err(), "bit {bit}");
        assert!(gate.enclosed_alarm(&flipped(&alarm, bit)).is_err(), "bit {bit}, enclosed");
    }
    assert!(gate.alarm(at(0), ELSEWHERE, &alarm).is_ok());
}

#[test]
fn no_bit_of_a_nak_changes_unnoticed() {
    for suite in SUITES {
        let subgroup = Subgroup::new(domain(suite));
        let nak = Nak {
            wanted: subgroup.state,
            held: Epoch(1),
            reg_no: RegNo(3),
            block: protocol::ANY_BLOCK,
            missing: protocol::ALL_MISSING,
            nonce: 5,
        };
        let bytes = nak.encode(&subgroup.domain, &PREFILTER);
        // Even a manager that takes one key for every epoch: the epoch is under the MAC.
        let verify = |bytes: &[u8]| Nak::verify(bytes, &subgroup.domain, |_| Some(&PREFILTER)).map(drop);
        assert_eq!(verify(&bytes), Ok(()));
        for bit in 0..bytes.len() * 8 {
            assert!(verify(&flipped(&bytes, bit)).is_err(), "bit {bit}");
        }
        let unknown = Nak::verify(&bytes, &subgroup.domain, |_| None);
        assert_eq!(unknown.map(drop), Err(Rejected::Stale));
    }
}

#[test]
fn no_bit_of_a_sealed_message_changes_unnoticed() {
    let domain = domain(Suite::Aes256Ctr);
    let at = Registration { domain: &domain, sender: SenderId(9), key: &PREFILTER };
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let up = ToManager::Resync { nonce: 7, held: None }.seal(&at, &mut rng);
    let down = ToMember::LeaveTaken { nonce: 7 }.seal(&at, &mut rng);
    for bit in 0..up.len() * 8 {
        assert!(ToManager::open(&at, &flipped(&up, bit)).is_err(), "bit {bit} to the manager");
    }
    for bit in 0..down.len() * 8 {
        assert!(ToMember::open(&at, &flipped(&down, bit)).is_err(), "bit {bit} to the member");
    }
    for len in 0..up.len() {
        assert!(ToManager::open(&at, &up[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_sealed_message_is_not_turned_around_nor_given_to_another_member() {
    let domain = domain(Suite::Aes256Ctr);
    let at = Registration { domain: &domain, sender: SenderId(9), key: &PREFILTER };
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let up = ToManager::Leave { nonce: 7 }.seal(&at, &mut rng);
    assert_eq!(ToMember::open(&at, &up).map(drop), Err(Rejected::NotForUs));
    let mut turned = up.clone();
    turned[1] = protocol::DatagramKind::ToMember.code();
    assert_eq!(ToMember::open(&at, &turned).map(drop), Err(Rejected::NotAuthentic));
    let other_sender = Registration { sender: SenderId(10), ..at };
    assert_eq!(ToManager::open(&other_sender, &up).map(drop), Err(Rejected::NotForUs));
    let mut claimed = up.clone();
    claimed[28..36].copy_from_slice(&10_u64.to_be_bytes());
    assert_eq!(ToManager::open(&other_sender, &claimed).map(drop), Err(Rejected::NotAuthentic));
    let key = Secret::new([1; 32]);
    assert_eq!(
        ToManager::open(&Registration { key: &key, ..at }, &up).map(drop),
        Err(Rejected::NotAuthentic)
    );
}

#[test]
fn no_field_of_a_credential_or_roster_changes_unnoticed() {
    let (domain, signer) = (domain(Suite::Aes256Ctr), Ed25519Signer::from_seed(&Secret::new([1; 32])));
    let manager = signer.public_key();
    let good = Credential::sign(&domain, SenderId(5), manager, false, &signer);
    let holds = |credential: &Credential| credential.verify(&domain, &manager, &Ed25519Verifier);
    assert!(holds(&good));
    assert!(!holds(&Credential { sender: SenderId(6), ..good }));
    assert!(!holds(&Credential { eligible: true, ..good }), "nobody makes itself eligible");
    let other = Ed25519Signer::from_seed(&Secret::new([2; 32])).public_key();
    assert!(!holds(&Credential { key: other, ..good }));
    assert!(!good.verify(&domain, &other, &Ed25519Verifier));

    let listed = vec![(SenderId(5), manager), (SenderId(6), other)];
    let good = Roster::sign(&domain, RosterVersion(3), listed, &signer);
    let holds = |roster: &Roster| roster.verify(&domain, &manager, &Ed25519Verifier);
    assert!(holds(&good));
    assert!(!holds(&Roster { version: RosterVersion(4), ..good.clone() }));
    assert!(!holds(&Roster { eligible: good.eligible[..1].to_vec(), ..good.clone() }));
    let swapped = vec![(SenderId(5), other), (SenderId(6), manager)];
    assert!(!holds(&Roster { eligible: swapped, ..good }));
}
