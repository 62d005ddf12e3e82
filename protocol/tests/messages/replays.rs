//! Attack A14: what was sent once is sent again.

use std::sync::Arc;

use protocol::Rejected;

use super::subgroup::{ELSEWHERE, SUITES, Subgroup, domain, receive, remac};
use super::verifiers::Counting;

#[test]
fn a_copy_costs_no_signature_check_and_no_budget() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let verifier = Arc::new(Counting::default());
    let (held, mut gate) = (subgroup.state, subgroup.gate_with(Arc::<Counting>::clone(&verifier)));
    let update = subgroup.cut(&[9], &[3], 5);
    for packet in &update.sealed.packets {
        assert!(receive(&mut gate, 0, held, packet).is_ok());
    }
    assert_eq!(verifier.checks(), 1, "one signature for the whole message");
    for _ in 0..2_000 {
        for packet in &update.sealed.packets {
            assert_eq!(receive(&mut gate, 0, held, packet).map(drop), Err(Rejected::Duplicate));
        }
    }
    assert_eq!(verifier.checks(), 1);
}

#[test]
fn a_forged_copy_that_comes_first_does_not_shut_the_genuine_packet_out() {
    for suite in SUITES {
        let mut subgroup = Subgroup::new(domain(suite));
        let (held, mut gate) = (subgroup.state, subgroup.gate());
        let update = subgroup.cut(&[9], &[3], 2);
        for packet in &update.sealed.packets {
            let mut forged = packet.clone();
            forged[120] ^= 0x40;
            assert!(receive(&mut gate, 0, held, &forged).is_err());
            remac(suite, &update.prefilter, &mut forged);
            assert!(receive(&mut gate, 0, held, &forged).is_err());
            assert!(receive(&mut gate, 0, held, packet).is_ok());
        }
    }
}

#[test]
fn a_key_update_of_an_epoch_that_is_held_is_stale() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let mut gate = subgroup.gate();
    let old = subgroup.cut(&[9], &[3], 1).sealed.packets.remove(0);
    let held = subgroup.state;
    let older = subgroup.cut(&[10], &[], 1).sealed.packets.remove(0);
    assert_eq!(receive(&mut gate, 0, held, &old).map(drop), Err(Rejected::Stale));
    assert!(receive(&mut gate, 0, held, &older).is_ok());
    assert_eq!(receive(&mut gate, 0, subgroup.state, &older).map(drop), Err(Rejected::Stale));
}

/// The first key update that concerns a joiner comes after its grant. Older ones can only do harm.
#[test]
fn a_key_update_from_before_the_grant_is_stale_for_a_joiner() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let before = subgroup.cut(&[9], &[3], 1).sealed.packets.remove(0);
    let mut gate = subgroup.gate();
    let after = subgroup.cut(&[10], &[], 1).sealed.packets.remove(0);
    let mut receive =
        |packet: &[u8]| gate.key_update(super::subgroup::at(0), ELSEWHERE, None, packet).map(drop);
    assert_eq!(receive(&before), Err(Rejected::Stale));
    assert_eq!(receive(&after), Ok(()));
}
