use std::collections::BTreeSet;

use proptest::prelude::*;
use protocol::{Epoch, Inst, Term};

use super::*;

const fn state(epoch: u32) -> StateId {
    StateId { term: Term(1), inst: Inst(1), epoch: Epoch(epoch) }
}

const fn key(sender: u64, stream: u64) -> StreamKey {
    StreamKey { origin: SubgroupId(1), sender: SenderId(sender), stream: StreamId(stream) }
}

const fn horizon(newest: u32, cut: Option<u32>) -> Horizon {
    let cut = match cut {
        Some(cut) => Some(state(cut)),
        None => None,
    };
    Horizon { newest: state(newest), cut }
}

/// Delivers a packet if the windows let it through.
fn offer(windows: &mut Windows, key: StreamKey, epoch: u32, sequence: u64, horizon: Horizon) -> Verdict {
    let verdict = windows.check(key, state(epoch), sequence);
    if verdict == Verdict::Fresh {
        windows.accept(key, state(epoch), sequence, horizon);
    }
    verdict
}

proptest! {
    /// Few windows, many streams, packets in any order and as often as an attacker likes, rekeys in between.
    #[test]
    fn no_packet_is_let_through_twice_whatever_is_evicted(
        limit in 1_usize..7,
        steps in proptest::collection::vec((0_u64..2, 0_u64..6, 0_u64..2, 0_u32..3, 0_u8..12), 1..400),
    ) {
        let mut windows = Windows::new(limit);
        let mut delivered = BTreeSet::new();
        let mut newest = 3;
        for (sender, stream, sequence, age, dice) in steps {
            newest += u32::from(dice == 0);
            let cut = newest - 3;
            if dice == 1 {
                // Another subgroup: nothing of before can be received any more.
                newest += 4;
                windows.restate(state(newest));
            }
            // A sender uses each sequence once, so the state it is sent under belongs to the packet's name.
            let epoch = newest - age;
            if epoch <= cut {
                continue;
            }
            let packet = (sender, stream, sequence, epoch);
            let verdict = offer(&mut windows, key(sender, stream), epoch, sequence, horizon(newest, Some(cut)));
            if verdict == Verdict::Fresh {
                prop_assert!(delivered.insert(packet), "{packet:?} twice");
            }
            prop_assert!(windows.slots.len() <= limit);
            prop_assert_eq!(windows.index.len(), windows.slots.len());
            prop_assert!(windows.sender_floors.len() <= windows.slots.len());
        }
    }
}

#[test]
fn the_window_used_longest_ago_makes_room() {
    let mut windows = Windows::new(3);
    let now = horizon(5, None);
    for (sequence, sender) in [1, 2, 3, 1].into_iter().enumerate() {
        offer(&mut windows, key(sender, 9), 5, sequence as u64, now);
    }
    offer(&mut windows, key(4, 9), 5, 0, now);
    assert_eq!(windows.check(key(2, 9), state(5), 77), Verdict::Closed);
    assert_eq!(windows.check(key(1, 9), state(5), 77), Verdict::Fresh);
    assert_eq!(windows.check(key(3, 9), state(5), 77), Verdict::Fresh);
}

#[test]
fn a_fifth_stream_closes_the_oldest_of_its_sender_and_nobody_elses() {
    let mut windows = Windows::new(100);
    let now = horizon(5, None);
    offer(&mut windows, key(7, 1), 5, 0, now);
    for (stream, sequence) in [(1, 0), (2, 0), (3, 0), (4, 0), (1, 1), (5, 0)] {
        assert_eq!(offer(&mut windows, key(1, stream), 5, sequence, now), Verdict::Fresh);
    }
    assert_eq!(windows.check(key(1, 1), state(5), 2), Verdict::Fresh);
    assert_eq!(windows.check(key(1, 2), state(5), 1), Verdict::Closed);
    assert_eq!(windows.check(key(1, 6), state(5), 0), Verdict::Closed, "it could be the one forgotten");
    assert_eq!(windows.check(key(7, 2), state(5), 0), Verdict::Fresh);
    assert_eq!(windows.check(key(1, 2), state(6), 1), Verdict::Fresh, "a newer state is proof");
}

#[test]
fn only_a_state_newer_than_all_held_at_the_loss_is_proof() {
    let mut windows = Windows::new(1);
    offer(&mut windows, key(1, 1), 5, 0, horizon(7, None));
    offer(&mut windows, key(2, 1), 5, 0, horizon(7, None));
    let verdicts = [5, 6, 7, 8].map(|epoch| windows.check(key(1, 1), state(epoch), 1));
    assert_eq!(verdicts, [Verdict::Closed, Verdict::Closed, Verdict::Closed, Verdict::Fresh]);
}

#[test]
fn a_reopened_window_goes_on_refusing_what_it_forgot() {
    let mut windows = Windows::new(1);
    offer(&mut windows, key(1, 1), 5, 40, horizon(5, None));
    offer(&mut windows, key(2, 1), 5, 0, horizon(5, None));
    assert_eq!(offer(&mut windows, key(1, 1), 5, 40, horizon(5, None)), Verdict::Closed);
    assert_eq!(offer(&mut windows, key(1, 1), 6, 41, horizon(6, None)), Verdict::Fresh);
    assert_eq!(offer(&mut windows, key(1, 1), 5, 40, horizon(6, None)), Verdict::Closed);
    assert_eq!(offer(&mut windows, key(1, 1), 6, 42, horizon(6, None)), Verdict::Fresh);
}

#[test]
fn a_window_whose_keys_are_cut_goes_without_closing_anything() {
    let mut windows = Windows::new(1);
    offer(&mut windows, key(1, 1), 5, 0, horizon(5, None));
    assert_eq!(offer(&mut windows, key(2, 1), 6, 0, horizon(6, Some(5))), Verdict::Fresh);
    assert_eq!(offer(&mut windows, key(3, 1), 7, 0, horizon(7, Some(6))), Verdict::Fresh);
    assert_eq!(windows.check(key(4, 1), state(7), 0), Verdict::Fresh);
}

#[test]
fn a_window_is_closed_by_the_newest_state_it_has_seen_not_by_the_first() {
    let mut windows = Windows::new(1);
    offer(&mut windows, key(1, 1), 5, 0, horizon(6, None));
    offer(&mut windows, key(1, 1), 6, 1, horizon(6, None));
    offer(&mut windows, key(2, 1), 6, 0, horizon(6, Some(5)));
    assert_eq!(windows.check(key(1, 1), state(6), 1), Verdict::Closed);
}
