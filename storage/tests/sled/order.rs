//! Numbers are never left out, never used twice, and a refusal changes nothing.

use storage::{Record, Store, StoreError};

use crate::support::{Place, append, compact, record, snapshot, wait, whole};

#[test]
fn a_gap_or_a_repetition_is_refused_and_changes_nothing() {
    let place = Place::new();
    let (mut store, _) = place.start();
    assert!(matches!(wait(store.append(&[record(0)])), Err(StoreError::OutOfOrder { .. })));
    append(&mut store, 1..=2);
    for wrong in [vec![record(4)], vec![record(2)], vec![record(3), record(5)], vec![record(3), record(3)]] {
        assert!(matches!(wait(store.append(&wrong)), Err(StoreError::OutOfOrder { .. })));
    }
    append(&mut store, 3..=3);
    drop(store);
    assert_eq!(place.look(), whole(1..=3));
}

#[test]
fn the_first_record_may_have_any_number_and_the_last_one_ends_the_journal() {
    let place = Place::new();
    let (mut store, _) = place.start();
    wait(store.append(&[record(700), record(701)])).unwrap();
    drop(store);
    assert_eq!(place.look(), whole(700..=701));
    let full = Place::new();
    let (mut store, _) = full.start();
    let last = Record { commit: u64::MAX, bytes: Vec::new() };
    wait(store.append(std::slice::from_ref(&last))).unwrap();
    wait(store.append(&[last])).unwrap_err();
}

#[test]
fn a_snapshot_of_unseen_or_older_records_is_refused() {
    let place = Place::new();
    let (mut store, _) = place.start();
    let refused =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::SnapshotOutside { .. })));
    refused(wait(store.compact(snapshot(1))));
    append(&mut store, 1..=5);
    compact(&mut store, 4);
    refused(wait(store.compact(snapshot(3))));
    refused(wait(store.compact(snapshot(6))));
    append(&mut store, 6..=6);
    drop(store);
    assert_eq!(place.look().records.len(), 2);
}
