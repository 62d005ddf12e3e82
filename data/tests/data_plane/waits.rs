//! Packets that come before their key.

use data::{DropReason, Opened};
use protocol::DataHint;

use crate::support::*;

#[test]
fn packets_that_came_before_their_key_are_delivered_in_order_when_it_comes() {
    let mut bobs = steady(HERE, BOB, 1);
    let mut bob = opener(&bobs);
    let mut alice = sealer(1, &steady(HERE, ALICE, 2));
    let packets: Vec<_> = (0..5_u8).map(|n| sealed(&mut alice, at(0), &[n])).collect();
    for packet in packets.iter().chain(&packets) {
        assert_eq!(bob.open(at(0), packet, from(1)), Opened::Waiting);
    }
    assert!(drain(&mut bob, at(1)).is_empty());
    first_of(&mut bobs, 2);
    bob.set_ring(at(3_999), &bobs);
    assert_eq!(
        drain(&mut bob, at(3_999)),
        [[0], [1], [2], [3], [4]],
        "duplicates waited and came to nothing"
    );
    assert_eq!(bob.counters().dropped(DropReason::Replayed), 5);
}

#[test]
fn a_packet_waits_four_seconds_and_no_longer() {
    let mut bobs = steady(HERE, BOB, 1);
    let mut bob = opener(&bobs);
    let mut alice = sealer(1, &steady(HERE, ALICE, 2));
    assert_eq!(bob.open(at(0), &sealed(&mut alice, at(0), b"x"), from(1)), Opened::Waiting);
    first_of(&mut bobs, 2);
    bob.set_ring(at(100), &bobs);
    assert!(drain(&mut bob, at(4_000)).is_empty(), "not even when its key came in time");
    assert_eq!(bob.counters().dropped(DropReason::WaitedTooLong), 1);
}

#[test]
fn one_source_cannot_take_the_places_of_all() {
    let mut bob = opener(&empty(HERE, BOB));
    let mut alice = sealer(1, &steady(HERE, ALICE, 2));
    for _ in 0..100 {
        let _ = bob.open(at(0), &sealed(&mut alice, at(0), b"x"), from(1));
    }
    assert_eq!(bob.counters().waited, 64);
    assert_eq!(bob.counters().dropped(DropReason::WaitingFull), 36);
    assert_eq!(bob.open(at(0), &sealed(&mut alice, at(0), b"x"), from(2)), Opened::Waiting);
}

#[test]
fn a_packet_that_waited_is_still_refused_when_its_sender_has_left_by_then() {
    let mut bobs = steady(HERE, BOB, 1);
    let mut bob = opener(&bobs);
    let mut carol = sealer(1, &steady(HERE, CAROL, 2));
    assert_eq!(bob.open(at(0), &sealed(&mut carol, at(0), b"x"), from(1)), Opened::Waiting);
    first_of(&mut bobs, 2);
    switch(&mut bobs, 3, at(10), true, Some(CAROL));
    bob.set_ring(at(200), &bobs);
    assert!(drain(&mut bob, at(200)).is_empty());
    assert_eq!(bob.counters().dropped(DropReason::Departed), 1);
}

#[test]
fn packets_under_an_old_key_or_for_others_do_not_wait() {
    let mut bob = opener(&steady(HERE, BOB, 5));
    let mut old = sealer(1, &steady(HERE, ALICE, 4));
    assert_eq!(open(&mut bob, at(0), &sealed(&mut old, at(0), b"x")), Err(Some(DropReason::OldKey)));
    let mut unknown = steady(HERE, ALICE, 5);
    unknown.send[0].state.inst = protocol::Inst(1);
    assert_eq!(
        open(&mut bob, at(0), &sealed(&mut sealer(2, &unknown), at(0), b"x")),
        Err(Some(DropReason::OldKey))
    );
    let elsewhere = Place { subgroup: protocol::SubgroupId(1), ..HERE };
    let mut other = sealer(1, &steady(elsewhere, ALICE, 9));
    assert_eq!(open(&mut bob, at(0), &sealed(&mut other, at(0), b"x")), Err(Some(DropReason::OtherGroup)));
    assert_eq!(bob.poll_hint(at(0)), None);
    let mut fresh = data::Opener::new();
    assert_eq!(open(&mut fresh, at(0), &sealed(&mut old, at(0), b"x")), Err(Some(DropReason::NotReady)));
}

#[test]
fn an_unknown_key_gives_a_hint_and_at_most_ten_a_second() {
    let mut bob = opener(&steady(HERE, BOB, 1));
    let mut alice = sealer(1, &steady(HERE, ALICE, 2));
    let mut hints = 0;
    for ms in 0..1_000 {
        let _ = bob.open(at(ms), &sealed(&mut alice, at(ms), b"x"), from(1));
        hints += u32::from(bob.poll_hint(at(ms)) == Some(DataHint::UnknownKey));
    }
    assert!((9..=11).contains(&hints), "{hints}");
    while bob.poll_hint(at(9_000)).is_some() {}
    assert_eq!(bob.poll_hint(at(10_000)), None, "nothing new, no hint");
}
