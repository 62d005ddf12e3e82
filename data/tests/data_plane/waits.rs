//! Packets that come before their key.

use data::{DropReason, Opened, ReceiveKey, SendKey};
use protocol::{DataHint, Epoch, Inst, Instant, SenderId, StateId, Term};

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
    unknown.send[0].state.inst = Inst(1);
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

/// Epochs begin anew when a manager is started again: the first of a new start is no older than the fiftieth of the one
/// before.
#[test]
fn packets_under_the_first_key_of_a_restarted_manager_wait_for_it() {
    let restarted = |epoch: u32| StateId { term: Term(2), inst: Inst(0x99), epoch: Epoch(epoch) };
    let after = |own: SenderId, epoch: u32| {
        let (mut ring, state) = (empty(HERE, own), restarted(epoch));
        let key = group_key(HERE, state);
        ring.send.push(SendKey { state, key: key.clone(), from: Instant::ZERO, until: None });
        ring.receive.push(ReceiveKey { state, key, until: None });
        ring
    };
    let mut bobs = steady(HERE, BOB, 50);
    let mut bob = opener(&bobs);
    let early = sealed(&mut sealer(1, &after(ALICE, 1)), at(0), b"early");
    assert_eq!(
        open(&mut bob, at(0), &early),
        Err(Some(DropReason::OldKey)),
        "nothing tells of a new start yet"
    );
    bobs.known = Some(restarted(1));
    bob.set_ring(at(1), &bobs);
    let mut alice = sealer(2, &after(ALICE, 1));
    let (first, second) = (sealed(&mut alice, at(2), b"1"), sealed(&mut alice, at(3), b"2"));
    assert_eq!(bob.open(at(3), &first, from(1)), Opened::Waiting);
    // Bob sends and receives under the old key meanwhile.
    let old = sealed(&mut sealer(3, &steady(HERE, CAROL, 50)), at(4), b"old");
    assert_eq!(open(&mut bob, at(4), &old), Ok(b"old".to_vec()));
    // The manager has gone on before Bob heard anything but its first alarm.
    let later = sealed(&mut sealer(4, &after(CAROL, 2)), at(5), b"3");
    assert_eq!(bob.open(at(5), &later, from(2)), Opened::Waiting);
    let mut held = after(BOB, 1);
    held.receive.extend(bobs.receive.clone());
    held.known = Some(restarted(2));
    bob.set_ring(at(500), &held);
    assert_eq!(drain(&mut bob, at(500)), [b"1".to_vec()]);
    assert_eq!(open(&mut bob, at(501), &second), Ok(b"2".to_vec()));
    held.receive.extend(after(BOB, 2).receive);
    bob.set_ring(at(600), &held);
    assert_eq!(drain(&mut bob, at(600)), [b"3".to_vec()]);
    let replayed = open(&mut bob, at(601), &first);
    assert_eq!(replayed, Err(Some(DropReason::Replayed)));
}
