//! Attacks A42 and A43: no bit of a signed, authenticated or sealed message can be changed unnoticed.

use std::sync::Arc;

use crypto::{Ed25519Signer, Ed25519Verifier, PublicKey, Roles, Secret, Signature, Signer, Suite, Verifier};
use protocol::discovery::{Certified, Certifier, Claim, DiscoveryGate, Mandate, Presence};
use protocol::{
    Answer, Credential, Envelope, Epoch, Farewell, Inst, Nak, Question, RegNo, Registration, Rejected,
    Revocation, Roster, RosterVersion, SenderId, SignedRevocation, SubgroupId, ToManager, ToMember,
    encode_revocations,
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
            loss: 0,
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

/// An authority whose certificates are the keys themselves.
struct KeysAreCertificates;

impl Certifier for KeysAreCertificates {
    fn certify(&self, certificate: &[u8], message: &[u8], signature: &[u8]) -> Option<Certified> {
        let key = PublicKey(certificate.try_into().ok()?);
        let signature = Signature(signature.try_into().ok()?);
        let roles = Roles { member: true, manager: true, maa: false };
        let certified = Certified { identity: "host.example".into(), roles, fingerprint: key.0 };
        Ed25519Verifier.verify(&key, message, &signature).then_some(certified)
    }
}

#[test]
fn no_bit_of_a_claim_or_a_presence_changes_unnoticed() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let group = subgroup.domain.group;
    let holder = Ed25519Signer::from_seed(&Secret::new([0x31; 32]));
    let signer = Ed25519Signer::from_seed(&Secret::new([0x32; 32]));
    let key = signer.public_key();
    let signature = holder.sign(&Mandate::message(group, &key)).0.to_vec();
    let mandate = Mandate { key, certificate: holder.public_key().0.to_vec(), signature };
    let registrar = ([10, 0, 0, 1], 7_400).into();
    let claim = Claim { mandate: mandate.clone(), priority: 5, registrar }.encode(group, &signer);
    let alarm = subgroup.signed_alarm();
    let presence = Presence::encode(group, &mandate, &[registrar], &alarm, &signer).unwrap();
    let gate = || DiscoveryGate::new(group, Arc::new(Ed25519Verifier), Arc::new(KeysAreCertificates));
    // Once with mandates still to be checked, once with the genuine one known.
    let mut known = gate();
    assert!(known.claim(at(0), &claim).is_ok());
    for bit in 0..claim.len() * 8 {
        let now = at(bit as u64 * PACE);
        assert!(gate().claim(now, &flipped(&claim, bit)).is_err(), "bit {bit} of a claim");
        assert!(known.claim(now, &flipped(&claim, bit)).is_err(), "bit {bit} of a claim");
    }
    for bit in 0..presence.len() * 8 {
        let now = at(bit as u64 * PACE);
        assert!(gate().presence(now, &flipped(&presence, bit)).is_err(), "bit {bit} of a presence");
        assert!(known.presence(now, &flipped(&presence, bit)).is_err(), "bit {bit} of a presence");
    }
    assert!(known.presence(at(0), &presence).is_ok());
    let elsewhere = Mandate::message(protocol::GroupId::from_bytes([9; 16]), &key);
    assert!(KeysAreCertificates.certify(&mandate.certificate, &elsewhere, &mandate.signature).is_none());
}

#[test]
fn no_bit_of_what_a_manager_says_on_its_return_changes_unnoticed() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let (domain, alarm) = (subgroup.domain, subgroup.signed_alarm());
    let signer = &subgroup.signer;
    let manager = signer.public_key();
    let registrar = ([10, 0, 0, 1], 7_400).into();
    let asked = Question { inst: Inst(3), nonce: 7, answer_to: registrar, share: 9 }.encode(&domain, signer);
    let farewell = Farewell { subgroup: SubgroupId(4), registrar }.encode(&domain, signer);
    let revocation = Revocation { identity: [1; 32], certificate: [2; 32] };
    let list = [SignedRevocation::sign(domain.group, revocation, signer)];
    let named = encode_revocations(&domain, &list);
    let answer = Answer::encode(&domain, 7, &alarm, &list);
    let mut gate = subgroup.gate();
    for bit in 0..asked.len() * 8 {
        let now = at(bit as u64 * PACE);
        assert!(gate.question(now, ELSEWHERE, &flipped(&asked, bit)).is_err(), "bit {bit}");
    }
    for bit in 0..farewell.len() * 8 {
        let now = at(bit as u64 * PACE);
        assert!(gate.farewell(now, ELSEWHERE, &flipped(&farewell, bit)).is_err(), "bit {bit}");
    }
    for bit in 0..named.len() * 8 {
        let now = at(bit as u64 * PACE);
        assert!(gate.revocations(now, ELSEWHERE, |_| false, &flipped(&named, bit)).is_err(), "bit {bit}");
    }
    // The nonce is echoed, not signed: a wrong one answers no question.
    let nonce = Envelope::LEN * 8..(Envelope::LEN + 8) * 8;
    for bit in (0..answer.len() * 8).filter(|bit| !nonce.contains(bit)) {
        let opened = Answer::open(&flipped(&answer, bit), &domain, &manager, &Ed25519Verifier);
        assert!(opened.is_err(), "bit {bit}");
    }
    assert!(gate.question(at(0), ELSEWHERE, &asked).is_ok());
    assert!(gate.farewell(at(0), ELSEWHERE, &farewell).is_ok());
    assert!(Answer::open(&answer, &domain, &manager, &Ed25519Verifier).is_ok());
}
