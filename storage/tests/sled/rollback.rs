//! Attack A35: an old copy of the state is put back, so that an evicted node comes in again.

use std::fs;

use storage::{Health, Loaded};

use crate::support::{Place, append, compact, copy_dir, records, replace_dir, snapshot, start, whole};

#[test]
fn an_old_copy_is_behind_and_the_store_goes_on_above_both() {
    let place = Place::with_records(1..=10);
    let copy = Place::new();
    copy_dir(&place.dirs.data, &copy.dirs.data);
    let (mut store, _) = place.start();
    append(&mut store, 11..=25);
    drop(store);
    replace_dir(&copy.dirs.data, &place.dirs.data);
    let (mut store, loaded) = place.start();
    assert_eq!(loaded.health, Health::Behind { held: 10, anchored: 25 });
    assert_eq!((loaded.records.clone(), loaded.next_commit()), (records(1..=10), 26));
    drop(store);
    // It is not forgotten by being read once.
    (store, _) = place.start();
    assert_eq!(place.keys("anchor").metadata().unwrap().len(), 80);
    append(&mut store, 26..=27);
    drop(store);
    let loaded = place.look();
    assert_eq!(loaded.health, Health::Whole);
    assert_eq!(loaded.records, [records(1..=10), records(26..=27)].concat());
}

#[test]
fn what_was_lost_and_is_put_back_later_is_behind_again() {
    let place = Place::with_records(1..=10);
    let (old, newer) = (Place::new(), Place::new());
    copy_dir(&place.dirs.data, &old.dirs.data);
    let (mut store, _) = place.start();
    append(&mut store, 11..=12);
    drop(store);
    copy_dir(&place.dirs.data, &newer.dirs.data);
    replace_dir(&old.dirs.data, &place.dirs.data);
    let (mut store, _) = place.start();
    append(&mut store, 13..=13);
    drop(store);
    replace_dir(&newer.dirs.data, &place.dirs.data);
    assert_eq!(place.look().health, Health::Behind { held: 12, anchored: 13 });
}

#[test]
fn a_copy_from_before_a_compaction_opens_no_more_and_the_snapshot_is_kept() {
    let place = Place::with_records(1..=10);
    let copy = Place::new();
    copy_dir(&place.dirs.data, &copy.dirs.data);
    let (mut store, _) = place.start();
    compact(&mut store, 10);
    append(&mut store, 11..=11);
    drop(store);
    replace_dir(&copy.dirs.data, &place.dirs.data);
    let (mut store, loaded) = place.start();
    assert_eq!(loaded.health, Health::Behind { held: 10, anchored: 11 });
    assert_eq!(loaded.snapshot, Some(snapshot(10)));
    assert_eq!((loaded.held(), loaded.next_commit()), (10, 12));
    drop(store);
    assert_eq!(place.look().health, Health::Behind { held: 10, anchored: 11 });
    (store, _) = place.start();
    append(&mut store, 12..=14);
    compact(&mut store, 13);
    drop(store);
    let whole = Loaded { snapshot: Some(snapshot(13)), records: records(14..=14), health: Health::Whole };
    assert_eq!(place.look(), whole);
}

#[test]
fn a_data_directory_that_is_gone_is_not_a_fresh_start() {
    let place = Place::with_records(1..=10);
    fs::remove_dir_all(&place.dirs.data).unwrap();
    let loaded = place.look();
    assert!(matches!(loaded.health, Health::Damaged { held: 0, anchored: 10, .. }), "{:?}", loaded.health);
    assert_eq!(loaded.next_commit(), 11);
    assert!(!matches!(place.look().health, Health::Fresh | Health::Whole));
}

#[test]
fn a_snapshot_outlives_its_data_directory() {
    let place = Place::with_records(1..=10);
    let (mut store, _) = place.start();
    compact(&mut store, 10);
    append(&mut store, 11..=12);
    drop(store);
    fs::remove_dir_all(&place.dirs.data).unwrap();
    let loaded = place.look();
    assert_eq!((loaded.snapshot.clone(), loaded.next_commit()), (Some(snapshot(10)), 13));
    assert!(!matches!(loaded.health, Health::Fresh | Health::Whole), "{:?}", loaded.health);
    // It is back where it belongs, and the store goes on.
    let (mut store, _) = place.start();
    append(&mut store, 13..=13);
    drop(store);
    let loaded = place.look();
    assert_eq!((loaded.snapshot, loaded.records), (Some(snapshot(10)), records(13..=13)));
    assert_eq!(loaded.health, Health::Whole);
}

#[test]
fn a_snapshot_whose_file_is_spoiled_is_read_from_its_copy_and_nothing_is_lost() {
    let place = Place::with_records(1..=10);
    let (mut store, _) = place.start();
    compact(&mut store, 8);
    append(&mut store, 11..=12);
    drop(store);
    let file = fs::read_dir(&place.dirs.data).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.to_string_lossy().contains("snapshot-")).unwrap();
    fs::write(&file, b"spoiled").unwrap();
    let whole = Loaded { snapshot: Some(snapshot(8)), records: records(9..=12), health: Health::Whole };
    assert_eq!(place.look(), whole);
    assert_eq!(place.look(), whole);
}

#[test]
fn an_anchor_that_is_gone_old_or_foreign_is_noticed() {
    let place = Place::with_records(1..=10);
    let old = fs::read(place.keys("anchor")).unwrap();
    let (mut store, _) = place.start();
    append(&mut store, 11..=12);
    compact(&mut store, 12);
    append(&mut store, 13..=13);
    drop(store);
    let good = fs::read(place.keys("anchor")).unwrap();
    let other = fs::read(Place::with_records(1..=13).keys("anchor")).unwrap();
    let mut flipped = Vec::new();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        flipped.push(bytes);
    }
    for wrong in [vec![Vec::new(), old, other], flipped].concat() {
        fs::write(place.keys("anchor"), wrong).unwrap();
        let loaded = place.look();
        assert!(matches!(loaded.health, Health::Damaged { held: 13, .. }), "{:?}", loaded.health);
        assert_eq!((loaded.snapshot, loaded.records), (Some(snapshot(12)), records(13..=13)));
    }
    fs::remove_file(place.keys("anchor")).unwrap();
    let (mut store, loaded) = place.start();
    assert!(matches!(loaded.health, Health::Damaged { held: 13, anchored: 0, .. }));
    append(&mut store, 14..=14);
    drop(store);
    assert_eq!(place.look().health, Health::Whole);
}

#[test]
fn a_record_that_was_safe_and_not_acknowledged_is_no_rollback() {
    // The process died between the record and its anchor.
    let place = Place::with_records(1..=10);
    let anchor = fs::read(place.keys("anchor")).unwrap();
    let (mut store, _) = place.start();
    append(&mut store, 11..=11);
    drop(store);
    fs::write(place.keys("anchor"), anchor).unwrap();
    assert_eq!(place.look(), whole(1..=11));
}

#[test]
fn both_directories_put_back_look_whole() {
    // The limit of what one machine can know; the manager asks its members.
    let place = Place::with_records(1..=10);
    let copy = Place::new();
    copy_dir(&place.dirs.data, &copy.dirs.data);
    copy_dir(&place.dirs.keys, &copy.dirs.keys);
    let (mut store, _) = place.start();
    append(&mut store, 11..=12);
    drop(store);
    assert_eq!(start(&copy.dirs).unwrap().1, whole(1..=10));
}
