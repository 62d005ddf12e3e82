//! Attack A12: two groups of the same members, one authority, one address and even one signing key. Nothing of one is
//! taken in the other.

use crypto::{Ed25519Signer, Ed25519Verifier, Secret, Signer, Suite};
use protocol::{
    ALL_MISSING, ANY_BLOCK, Credential, Domain, Gate, GroupId, Inst, Nak, RegNo, Registration, Rejected,
    Roster, RosterVersion, SenderId, StateId, SubgroupId, Term, ToManager, ToMember,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::subgroup::{ELSEWHERE, Subgroup, at, domain, receive, remac};

/// The domains that differ from ours in one field.
fn others(ours: &Domain) -> [Domain; 3] {
    [
        Domain { group: GroupId::from_bytes([8; 16]), ..*ours },
        Domain { subgroup: SubgroupId(0x5556), ..*ours },
        Domain { suite: Suite::Aes256Kw, ..*ours },
    ]
}

/// A message with the envelope of another domain in front: what a forger who knows the format sends.
fn moved(bytes: &[u8], domain: &Domain) -> Vec<u8> {
    let mut moved = bytes.to_vec();
    moved[2..4].copy_from_slice(&domain.suite.code().to_be_bytes());
    moved[4..20].copy_from_slice(domain.group.as_bytes());
    moved[20..28].copy_from_slice(&domain.subgroup.0.to_be_bytes());
    moved
}

#[test]
fn nothing_of_one_group_is_taken_in_another() {
    let ours = domain(Suite::Aes256Ctr);
    let mut subgroup = Subgroup::new(ours);
    let held = subgroup.state;
    let gates = others(&ours).map(|other| {
        let (manager, prefilter) = (subgroup.signer.public_key(), subgroup.prefilter.clone());
        (other, Gate::new(other, manager, held, prefilter, std::sync::Arc::new(Ed25519Verifier)))
    });
    let update = subgroup.cut(&[9], &[3], 1);
    let (packet, alarm) = (&update.sealed.packets[0], subgroup.signed_alarm());
    for (other, mut gate) in gates {
        let refused = receive(&mut gate, 0, held, packet).map(drop).unwrap_err();
        assert!(matches!(refused, Rejected::OtherGroup | Rejected::Suite), "{refused}");
        let refused = gate.alarm(at(0), ELSEWHERE, &alarm).map(drop).unwrap_err();
        assert!(matches!(refused, Rejected::OtherGroup | Rejected::Suite), "{refused}");
        let mut relabelled = moved(packet, &other);
        assert!(receive(&mut gate, 1_000, held, &relabelled).is_err());
        remac(other.suite, &update.prefilter, &mut relabelled);
        assert!(receive(&mut gate, 2_000, held, &relabelled).is_err());
        assert_eq!(
            gate.alarm(at(3_000), ELSEWHERE, &moved(&alarm, &other)).map(drop),
            Err(Rejected::NotAuthentic)
        );
    }
}

#[test]
fn nothing_of_another_start_or_another_manager_is_taken() {
    let ours = domain(Suite::Aes256Ctr);
    let mut subgroup = Subgroup::new(ours);
    let verifier = std::sync::Arc::new(Ed25519Verifier);
    let gate = |start: StateId, manager| {
        Gate::new(
            ours,
            manager,
            start,
            subgroup.prefilter.clone(),
            std::sync::Arc::<Ed25519Verifier>::clone(&verifier),
        )
    };
    let held = subgroup.state;
    let other_inst = gate(StateId { inst: Inst(1), ..held }, subgroup.signer.public_key());
    let other_term = gate(StateId { term: Term(2), ..held }, subgroup.signer.public_key());
    let stranger = Ed25519Signer::from_seed(&Secret::new([0x77; 32])).public_key();
    let mut other_manager = gate(held, stranger);
    let packet = subgroup.cut(&[9], &[3], 1).sealed.packets.remove(0);
    let alarm = subgroup.signed_alarm();
    for mut gate in [other_inst, other_term] {
        assert_eq!(receive(&mut gate, 0, held, &packet).map(drop), Err(Rejected::Stale));
        assert_eq!(gate.alarm(at(0), ELSEWHERE, &alarm).map(drop), Err(Rejected::Stale));
        assert_eq!(gate.enclosed_alarm(&alarm).map(drop), Err(Rejected::Stale));
    }
    assert_eq!(receive(&mut other_manager, 0, held, &packet).map(drop), Err(Rejected::NotAuthentic));
    assert_eq!(other_manager.alarm(at(0), ELSEWHERE, &alarm).map(drop), Err(Rejected::NotAuthentic));
}

#[test]
fn naks_and_unicast_messages_of_one_group_are_refused_in_another() {
    let ours = domain(Suite::Aes256Ctr);
    let subgroup = Subgroup::new(ours);
    let key = Secret::new([5; 32]);
    let state = subgroup.state;
    let nak = Nak {
        wanted: state,
        held: state.epoch,
        reg_no: RegNo(1),
        block: ANY_BLOCK,
        missing: ALL_MISSING,
        loss: 0,
        nonce: 1,
    };
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let here = Registration { domain: &ours, sender: SenderId(1), key: &key };
    let nak = nak.encode(&ours, &key);
    let up = ToManager::Leave { nonce: 1 }.seal(&here, &mut rng);
    let down = ToMember::LeaveTaken { nonce: 1 }.seal(&here, &mut rng);
    for other in others(&ours) {
        let there = Registration { domain: &other, ..here };
        for (nak, up, down) in [
            (nak.clone(), up.clone(), down.clone()),
            (moved(&nak, &other), moved(&up, &other), moved(&down, &other)),
        ] {
            assert!(Nak::verify(&nak, &other, |_| Some(&key)).is_err());
            assert!(ToManager::open(&there, &up).is_err());
            assert!(ToMember::open(&there, &down).is_err());
        }
    }
}

#[test]
fn credentials_and_rosters_of_one_group_are_refused_in_another() {
    let ours = domain(Suite::Aes256Ctr);
    let signer = Ed25519Signer::from_seed(&Secret::new([1; 32]));
    let manager = signer.public_key();
    let credential = Credential::sign(&ours, SenderId(5), manager, true, &signer);
    let roster = Roster::sign(&ours, RosterVersion(1), vec![(SenderId(5), manager)], &signer);
    for other in others(&ours) {
        assert!(!credential.verify(&other, &manager, &Ed25519Verifier));
        assert!(!roster.verify(&other, &manager, &Ed25519Verifier));
    }
}

#[test]
fn no_key_of_one_place_is_a_key_of_another() {
    let ours = domain(Suite::Aes256Ctr);
    let [root, channel] = [Secret::new([1; 32]), Secret::new([1; 32])];
    let state = Subgroup::new(ours).state;
    let mut keys = Vec::new();
    for domain in others(&ours).into_iter().chain([ours]) {
        for state in [state, state.at(protocol::Epoch(9)), StateId { inst: Inst(9), ..state }] {
            let group_key = domain.group_key(&root, state);
            keys.push(*domain.prefilter(&group_key, state).expose());
            keys.push(*group_key.expose());
        }
        for (inst, reg_no) in [(Inst(1), RegNo(1)), (Inst(2), RegNo(1)), (Inst(1), RegNo(2))] {
            let of = domain.registration(&channel, inst, reg_no);
            keys.extend(
                [of.leaf, of.unicast, of.confirm_manager, of.confirm_member].map(|key| *key.expose()),
            );
        }
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}
