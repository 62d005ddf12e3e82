//! Floods: what a forger can make a member spend, and whom it can starve.

use std::sync::Arc;

use protocol::limits::SIGNATURE_CHECKS_PER_SECOND;
use protocol::{Epoch, Rejected};

use super::subgroup::{ELSEWHERE, MANAGER, SUITES, Subgroup, at, domain};
use super::verifiers::{Counting, Repeating};

/// Alarms that are right but for the signature; anyone can make them.
fn forged_alarm(subgroup: &mut Subgroup) -> Vec<u8> {
    let alarm = subgroup.alarm();
    alarm.encode(&subgroup.domain, &Repeating(crypto::Signature([9; 64])))
}

#[test]
fn a_flood_from_elsewhere_does_not_starve_the_managers_address() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let mut gate = subgroup.gate();
    assert!(gate.alarm(at(0), MANAGER, &subgroup.signed_alarm()).is_ok());
    for second in 1..5_u64 {
        let mut over = 0;
        for _ in 0..2_000 {
            let forged = forged_alarm(&mut subgroup);
            over += usize::from(
                gate.alarm(at(second * 1_000), ELSEWHERE, &forged).map(drop) == Err(Rejected::OverBudget),
            );
        }
        assert!(over > 1_000, "the flood is cut off");
        let alarm = subgroup.signed_alarm();
        assert!(gate.alarm(at(second * 1_000), MANAGER, &alarm).is_ok(), "second {second}");
    }
}

#[test]
fn a_second_of_flood_costs_no_more_than_its_budget() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let verifier = Arc::new(Counting::default());
    let mut gate = subgroup.gate_with(Arc::<Counting>::clone(&verifier));
    assert!(gate.alarm(at(0), MANAGER, &subgroup.signed_alarm()).is_ok());
    let forged = forged_alarm(&mut subgroup);
    // Ten thousand a second, for ten seconds, from both addresses: the source of a datagram is easily forged.
    for tick in 0..100_000_u64 {
        let from = if tick % 2 == 0 { MANAGER } else { ELSEWHERE };
        let _ = gate.alarm(at(tick / 10), from, &forged);
    }
    let per_second = SIGNATURE_CHECKS_PER_SECOND as usize;
    assert!(verifier.checks() <= 11 * per_second, "{} checks in 10 s", verifier.checks());
}

#[test]
fn forged_key_updates_of_a_missed_epoch_are_under_the_budget_too() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let verifier = Arc::new(Counting::default());
    let (held, mut gate) = (subgroup.state, subgroup.gate_with(Arc::<Counting>::clone(&verifier)));
    assert!(gate.alarm(at(0), MANAGER, &subgroup.signed_alarm()).is_ok());
    let _missed = subgroup.cut(&[9], &[], 1);
    let genuine = subgroup.cut(&[10], &[3], 1);
    let packet = &genuine.sealed.packets[0];
    let mut refusals = std::collections::BTreeMap::new();
    for attempt in 0..5_000_u16 {
        let mut forged = packet.clone();
        let place = forged.len() - 20;
        forged[place..place + 2].copy_from_slice(&attempt.to_be_bytes());
        if forged == *packet {
            continue;
        }
        let refused = gate.key_update(at(1_000), ELSEWHERE, Some(held.epoch), &forged).map(drop).unwrap_err();
        *refusals.entry(refused).or_insert(0_u32) += 1;
    }
    assert!(refusals[&Rejected::OverBudget] > refusals[&Rejected::NotAuthentic], "{refusals:?}");
    assert!(verifier.checks() <= SIGNATURE_CHECKS_PER_SECOND as usize);
    assert_eq!(held.epoch, Epoch(1));
    assert!(gate.key_update(at(1_000), MANAGER, Some(held.epoch), packet).is_ok());
}
