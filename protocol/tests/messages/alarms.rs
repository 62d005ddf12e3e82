//! Alarms are taken in ascending order, once.

use std::sync::Arc;

use protocol::Rejected;

use super::subgroup::{ELSEWHERE, MANAGER, SUITES, Subgroup, at, domain, receive};
use super::verifiers::Counting;

#[test]
fn a_replayed_alarm_is_refused_without_a_signature_check() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let verifier = Arc::new(Counting::default());
    let mut gate = subgroup.gate_with(Arc::<Counting>::clone(&verifier));
    let alarms: Vec<_> = (0..5).map(|_| subgroup.signed_alarm()).collect();
    for alarm in &alarms {
        assert!(gate.alarm(at(0), MANAGER, alarm).is_ok());
    }
    for alarm in alarms.iter().cycle().take(10_000) {
        assert_eq!(gate.alarm(at(0), ELSEWHERE, alarm).map(drop), Err(Rejected::Stale));
    }
    assert_eq!(verifier.checks(), 5);
    assert!(gate.alarm(at(0), MANAGER, &subgroup.signed_alarm()).is_ok());
}

#[test]
fn an_alarm_of_an_older_state_is_refused_after_one_of_a_newer() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let mut gate = subgroup.gate();
    let older = subgroup.signed_alarm();
    let _ = subgroup.cut(&[9], &[], 1);
    let newer = subgroup.signed_alarm();
    assert!(gate.alarm(at(0), MANAGER, &newer).is_ok());
    assert_eq!(gate.alarm(at(0), MANAGER, &older).map(drop), Err(Rejected::Stale));
}

#[test]
fn an_alarm_admits_the_packets_it_names_without_another_signature_check() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let verifier = Arc::new(Counting::default());
    let (held, mut gate) = (subgroup.state, subgroup.gate_with(Arc::<Counting>::clone(&verifier)));
    let update = subgroup.cut(&[9], &[3], 7);
    assert!(gate.alarm(at(0), MANAGER, &subgroup.signed_alarm()).is_ok());
    for packet in &update.sealed.packets {
        assert!(receive(&mut gate, 0, held, packet).is_ok());
    }
    assert_eq!(verifier.checks(), 1);
}

#[test]
fn an_enclosed_alarm_moves_no_counter() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let mut gate = subgroup.gate();
    let (first, enclosed) = (subgroup.signed_alarm(), subgroup.signed_alarm());
    assert!(gate.enclosed_alarm(&enclosed).is_ok());
    assert!(gate.enclosed_alarm(&enclosed).is_ok(), "the answer may enclose one that was heard");
    assert!(gate.alarm(at(0), MANAGER, &first).is_ok());
}
