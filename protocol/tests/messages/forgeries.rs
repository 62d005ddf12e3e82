//! Attack A13: key updates by those who are not the manager.

use std::sync::Arc;

use crypto::{Ed25519Signer, Secret};
use protocol::{Epoch, Rejected, UpdateHeader, seal_update};

use super::subgroup::{ELSEWHERE, MAC_LEN, SUITES, Subgroup, Update, at, domain, receive, remac};
use super::verifiers::Counting;

/// A key update that an insider made: everything right but the signature.
fn forge(subgroup: &Subgroup, update: &Update) -> Vec<u8> {
    let insider = Ed25519Signer::from_seed(&Secret::new([0x66; 32]));
    let (header, body) = update.contents[0].clone();
    let header = UpdateHeader { key_check: [0x66; 8], ..header };
    let sealed = seal_update(&subgroup.domain, &[(header, body)], &insider, Some(&update.prefilter));
    sealed.unwrap().packets.remove(0)
}

#[test]
fn a_member_that_knows_the_prefilter_forges_nothing() {
    for suite in SUITES {
        let mut subgroup = Subgroup::new(domain(suite));
        let (held, mut gate) = (subgroup.state, subgroup.gate());
        let update = subgroup.cut(&[9], &[3], 1);
        let forged = forge(&subgroup, &update);
        assert_eq!(receive(&mut gate, 0, held, &forged).map(drop), Err(Rejected::NotAuthentic));
        // Not marked as seen: the copy is judged anew, and the genuine one is taken.
        assert_eq!(receive(&mut gate, 0, held, &forged).map(drop), Err(Rejected::NotAuthentic));
        assert!(receive(&mut gate, 0, held, &update.sealed.packets[0]).is_ok());
        assert_eq!(receive(&mut gate, 0, held, &forged).map(drop), Err(Rejected::NotAuthentic));
    }
}

#[test]
fn a_stranger_without_the_prefilter_costs_no_signature_check() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let verifier = Arc::new(Counting::default());
    let (held, mut gate) = (subgroup.state, subgroup.gate_with(Arc::<Counting>::clone(&verifier)));
    let update = subgroup.cut(&[9], &[3], 1);
    let mut forged = forge(&subgroup, &update);
    for attempt in 0..10_000_u64 {
        let tag = forged.len() - MAC_LEN;
        forged[tag..].copy_from_slice(&attempt.to_be_bytes());
        assert_eq!(receive(&mut gate, 0, held, &forged).map(drop), Err(Rejected::BadMac));
    }
    assert_eq!(verifier.checks(), 0);
    assert!(receive(&mut gate, 0, held, &update.sealed.packets[0]).is_ok());
    assert_eq!(verifier.checks(), 1);
}

/// A header is under the MAC like everything else: a stranger does not get past it by naming an epoch whose key the
/// member cannot have, unless that is an epoch the member may truly have missed.
#[test]
fn a_stranger_does_not_talk_its_way_past_the_prefilter_by_naming_an_old_epoch() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    for _ in 0..20 {
        let _ = subgroup.cut(&[], &[], 1);
    }
    let verifier = Arc::new(Counting::default());
    let (held, mut gate) = (subgroup.state, subgroup.gate_with(Arc::<Counting>::clone(&verifier)));
    let update = subgroup.cut(&[9], &[3], 1);
    for previous in 0..held.epoch.0 {
        let (header, body) = update.contents[0].clone();
        let header = UpdateHeader { previous: Epoch(previous), ..header };
        let stranger = Ed25519Signer::from_seed(&Secret::new([0x66; 32]));
        let sealed = seal_update(&subgroup.domain, &[(header, body)], &stranger, None).unwrap();
        assert!(receive(&mut gate, 0, held, &sealed.packets[0]).is_err());
    }
    assert_eq!(verifier.checks(), 0);
}

#[test]
fn a_member_that_missed_an_epoch_still_checks_the_update_after_it() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let verifier = Arc::new(Counting::default());
    let (held, mut gate) = (subgroup.state, subgroup.gate_with(Arc::<Counting>::clone(&verifier)));
    let _missed = subgroup.cut(&[9], &[3], 1);
    let update = subgroup.cut(&[3], &[4], 1);
    let forged = forge(&subgroup, &update);
    assert_eq!(receive(&mut gate, 0, held, &forged).map(drop), Err(Rejected::NotAuthentic));
    let mut spoiled = update.sealed.packets[0].clone();
    spoiled[130] ^= 1;
    remac(subgroup.domain.suite, &update.prefilter, &mut spoiled);
    assert!(receive(&mut gate, 0, held, &spoiled).is_err());
    assert!(gate.key_update(at(0), ELSEWHERE, Some(held.epoch), &update.sealed.packets[0]).is_ok());
    assert!(verifier.checks() <= 3);
}
