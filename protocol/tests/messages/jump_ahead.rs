//! Attack A15: numbers at the end of their range. Unsigned they have no effect; signed they do no harm.

use protocol::{Alarm, Epoch, Inst, Rejected, StateId, Term, UpdateHeader, Version, seal_update};

use super::subgroup::{ELSEWHERE, MANAGER, SUITES, Subgroup, at, domain, receive};
use super::verifiers::Repeating;

/// Alarms whose numbers are as high as they go, one at a time and all together.
fn jumps(alarm: &Alarm) -> Vec<Alarm> {
    let last = Epoch(u32::MAX);
    let state = alarm.state;
    vec![
        Alarm { state: state.at(last), ..alarm.clone() },
        Alarm { state: StateId { term: Term(u32::MAX), ..state }, ..alarm.clone() },
        Alarm { state: StateId { inst: Inst(0), ..state }, ..alarm.clone() },
        Alarm { state: StateId { inst: Inst(u64::MAX), ..state }, ..alarm.clone() },
        Alarm { counter: u64::MAX, ..alarm.clone() },
        Alarm { root: Version { base: last, steps: u16::MAX }, ..alarm.clone() },
        Alarm { oldest: last, ..alarm.clone() },
        Alarm { state: state.at(last), counter: u64::MAX, journal: u64::MAX, ..alarm.clone() },
    ]
}

#[test]
fn unsigned_numbers_in_alarms_have_no_effect() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let mut gate = subgroup.gate();
    assert!(gate.alarm(at(0), MANAGER, &subgroup.signed_alarm()).is_ok());
    let before = format!("{gate:?}");
    let signature = Repeating(crypto::Signature([9; 64]));
    for forged in jumps(&subgroup.alarm()) {
        let refused = gate.alarm(at(0), ELSEWHERE, &forged.encode(&subgroup.domain, &signature)).map(drop);
        assert!(matches!(refused, Err(Rejected::NotAuthentic | Rejected::Stale)), "{refused:?}");
    }
    assert_eq!(format!("{gate:?}"), before);
    assert!(gate.alarm(at(0), MANAGER, &subgroup.signed_alarm()).is_ok(), "the next alarm counts on");
}

#[test]
fn unsigned_numbers_in_key_updates_have_no_effect() {
    for suite in SUITES {
        let mut subgroup = Subgroup::new(domain(suite));
        let (held, mut gate) = (subgroup.state, subgroup.gate());
        let update = subgroup.cut(&[9], &[3], 1);
        let (header, body) = &update.contents[0];
        let last = header.state.at(Epoch(u32::MAX));
        let far = [
            UpdateHeader { state: last, ..header.clone() },
            UpdateHeader { state: last, previous: Epoch(u32::MAX - 1), ..header.clone() },
            UpdateHeader { root: Version { base: last.epoch, steps: u16::MAX }, ..header.clone() },
            UpdateHeader { leaf_steps: u16::MAX, ..header.clone() },
            UpdateHeader { height: u8::MAX, ..header.clone() },
        ];
        for header in far {
            // An insider makes the MAC right; the signature is what it lacks.
            let content = [(header, body.clone())];
            let signature = Repeating(crypto::Signature([9; 64]));
            let sealed =
                seal_update(&subgroup.domain, &content, &signature, Some(&update.prefilter)).unwrap();
            let refused = receive(&mut gate, 0, held, &sealed.packets[0]).map(drop);
            assert_eq!(refused, Err(Rejected::NotAuthentic));
        }
        assert!(receive(&mut gate, 0, held, &update.sealed.packets[0]).is_ok());
    }
}

#[test]
fn signed_numbers_at_the_end_of_their_range_are_read_and_do_not_panic() {
    let mut subgroup = Subgroup::new(domain(SUITES[0]));
    let alarm = subgroup.alarm();
    for jump in jumps(&alarm) {
        let mut gate = subgroup.gate();
        let same_start = jump.state.same_start(alarm.state);
        let taken = gate.alarm(at(0), MANAGER, &jump.encode(&subgroup.domain, &subgroup.signer));
        assert_eq!(taken.is_ok(), same_start);
    }
}
