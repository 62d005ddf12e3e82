//! What was acknowledged comes back, in order and unchanged.

use storage::{Health, Loaded, Record, Store, StoreError, StoreKind};

use crate::support::{Place, append, compact, record, records, snapshot, wait, whole};

#[test]
fn a_new_store_is_fresh_and_stays_so_until_something_is_stored() {
    let place = Place::on_disk();
    assert_eq!(place.look(), Loaded::default());
    let (mut store, loaded) = place.start();
    assert_eq!((&loaded.health, loaded.next_commit()), (&Health::Fresh, 1));
    append(&mut store, 1..=1);
    drop(store);
    assert_eq!(place.look(), whole(1..=1));
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let place = Place::on_disk();
    let (mut store, _) = place.start();
    append(&mut store, 1..=3);
    wait(store.append(&records(4..=50))).unwrap();
    drop(store);
    let (mut store, loaded) = place.start();
    assert_eq!(loaded, whole(1..=50));
    assert_eq!(loaded.next_commit(), 51);
    append(&mut store, 51..=52);
    drop(store);
    assert_eq!(place.look(), whole(1..=52));
}

#[test]
fn long_records_and_long_batches_come_back() {
    let place = Place::on_disk();
    let (mut store, _) = place.start();
    let long: Vec<_> = [0, 1, 4_095, 4_096, 4_097, 300_000, 2_000_000]
        .into_iter()
        .zip(1..)
        .map(|(len, commit)| Record { commit, bytes: (0..len).map(|at| (at * 7 % 251) as u8).collect() })
        .collect();
    wait(store.append(&long)).unwrap();
    let many: Vec<_> = (8..=5_000).map(|commit| Record { commit, bytes: vec![commit as u8; 60] }).collect();
    wait(store.append(&many)).unwrap();
    drop(store);
    let loaded = place.look();
    assert_eq!(loaded.health, Health::Whole);
    assert_eq!(loaded.records, [long, many].concat());
    // Nothing may lie in files that are never synced.
    assert_eq!(std::fs::read_dir(place.data("db/blobs")).unwrap().count(), 0);
}

#[test]
fn a_snapshot_replaces_the_records_it_contains_and_no_others() {
    let place = Place::on_disk();
    let (mut store, _) = place.start();
    append(&mut store, 1..=20);
    compact(&mut store, 15);
    append(&mut store, 21..=22);
    drop(store);
    let kept = Loaded { snapshot: Some(snapshot(15)), records: records(16..=22), health: Health::Whole };
    let (mut store, loaded) = place.start();
    assert_eq!(loaded, kept);
    compact(&mut store, 22);
    compact(&mut store, 22);
    drop(store);
    let (mut store, loaded) = place.start();
    assert_eq!(loaded, Loaded { snapshot: Some(snapshot(22)), records: Vec::new(), health: Health::Whole });
    assert_eq!(loaded.next_commit(), 23);
    append(&mut store, 23..=24);
    drop(store);
    let kept = Loaded { snapshot: Some(snapshot(22)), records: records(23..=24), health: Health::Whole };
    assert_eq!(place.look(), kept);
}

#[test]
fn the_store_says_what_it_is_and_is_loaded_first() {
    let place = Place::on_disk();
    let mut store = place.open().unwrap();
    assert_eq!(store.describe(), StoreKind::Sled);
    assert!(store.describe().survives_restart());
    assert!(matches!(wait(store.append(&[record(1)])), Err(StoreError::NotLoaded)));
    assert!(matches!(wait(store.compact(snapshot(1))), Err(StoreError::NotLoaded)));
}
