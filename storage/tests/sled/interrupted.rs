//! Writes that fail or stop half way: nothing that was acknowledged is lost, nothing half is seen, and trying again
//! works. A directory where a file is to be written makes that write fail.

use std::fs;
use std::path::{Path, PathBuf};

use storage::{Health, Loaded, Record, Store, StoreError};

use crate::support::{Place, append, compact, copy_dir, record, records, snapshot, start, wait, whole};

/// Makes every write to `path` fail until it is dropped.
struct Obstacle(PathBuf);

impl Obstacle {
    fn at(path: &Path) -> Self {
        let path = path.with_extension("new");
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Obstacle {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).unwrap();
    }
}

fn refused(result: Result<(), StoreError>) {
    assert!(matches!(result, Err(StoreError::Medium(_))), "{result:?}");
}

/// What a start would find in a copy of the running store's directories: the image of a crash at this moment.
fn crashed(place: &Place) -> Loaded {
    let image = Place::new();
    copy_dir(&place.dirs.data, &image.dirs.data);
    copy_dir(&place.dirs.keys, &image.dirs.keys);
    start(&image.dirs).unwrap().1
}

#[test]
fn an_append_whose_anchor_fails_is_not_acknowledged_and_may_be_repeated() {
    let place = Place::with_records(1..=5);
    let (mut store, _) = place.start();
    let obstacle = Obstacle::at(&place.keys("anchor"));
    refused(wait(store.append(&records(6..=8))));
    refused(wait(store.append(&records(6..=9))));
    drop(obstacle);
    let loaded = crashed(&place);
    assert_eq!(loaded, whole(1..=loaded.held()), "all of it or none");
    wait(store.append(&records(6..=10))).unwrap();
    assert_eq!(crashed(&place), whole(1..=10));
    append(&mut store, 11..=12);
    drop(store);
    assert_eq!(place.look(), whole(1..=12));
}

#[test]
fn what_replaces_a_failed_append_replaces_all_of_it() {
    let place = Place::with_records(1..=5);
    let (mut store, _) = place.start();
    let obstacle = Obstacle::at(&place.keys("anchor"));
    let long = Record { commit: 6, bytes: vec![1; 30_000] };
    refused(wait(store.append(&[long, record(7), record(8)])));
    drop(obstacle);
    append(&mut store, 6..=6);
    assert_eq!(crashed(&place), whole(1..=6));
    drop(store);
    assert_eq!(place.look(), whole(1..=6));
}

#[test]
fn an_append_that_failed_before_the_end_of_the_process_is_seen_whole_or_not_at_all() {
    let place = Place::with_records(1..=5);
    let (mut store, _) = place.start();
    let obstacle = Obstacle::at(&place.keys("anchor"));
    refused(wait(store.append(&records(6..=8))));
    drop(store);
    drop(obstacle);
    let (mut store, loaded) = place.start();
    assert!(loaded == whole(1..=8) || loaded == whole(1..=5), "{loaded:?}");
    append(&mut store, loaded.next_commit()..=20);
    drop(store);
    assert_eq!(place.look(), whole(1..=20));
}

#[test]
fn a_compaction_that_fails_at_any_write_leaves_every_record_and_can_be_repeated() {
    for name in ["data.keys", "snapshot"] {
        let place = Place::with_records(1..=9);
        let (mut store, _) = place.start();
        let path = match name {
            "snapshot" => place.data("snapshot-0000000000000002"),
            name => place.keys(name),
        };
        let obstacle = Obstacle::at(&path);
        refused(wait(store.compact(snapshot(6))));
        drop(obstacle);
        assert_eq!(crashed(&place), whole(1..=9), "{name}");
        append(&mut store, 10..=11);
        assert_eq!(crashed(&place), whole(1..=11), "{name}");
        compact(&mut store, 10);
        append(&mut store, 12..=12);
        let kept = Loaded { snapshot: Some(snapshot(10)), records: records(11..=12), health: Health::Whole };
        assert_eq!(crashed(&place), kept, "{name}");
        drop(store);
        assert_eq!(place.look(), kept, "{name}");
    }
}

#[test]
fn many_failed_compactions_do_not_add_up() {
    let place = Place::with_records(1..=9);
    let (mut store, _) = place.start();
    for generation in 2..=30_u64 {
        let obstacle = Obstacle::at(&place.data(&format!("snapshot-{generation:016x}")));
        refused(wait(store.compact(snapshot(6))));
        drop(obstacle);
    }
    assert!(fs::metadata(place.keys("data.keys")).unwrap().len() < 600);
    compact(&mut store, 6);
    drop(store);
    assert_eq!(place.look().records, records(7..=9));
    assert_eq!(fs::metadata(place.keys("data.keys")).unwrap().len(), 88, "one key");
}

#[test]
fn what_a_compaction_did_not_come_to_clear_is_cleared_at_the_next_start() {
    let place = Place::with_records(1..=9);
    let old_base = fs::read(place.data("snapshot-0000000000000001")).unwrap();
    let old: Vec<_> = place.raw().iter().map(|pair| pair.unwrap()).collect();
    let (mut store, _) = place.start();
    compact(&mut store, 6);
    drop(store);
    fs::write(place.data("snapshot-0000000000000001"), old_base).unwrap();
    place.tamper(|db| old.iter().for_each(|(key, value)| drop(db.insert(key, value).unwrap())));
    let kept = Loaded { snapshot: Some(snapshot(6)), records: records(7..=9), health: Health::Whole };
    assert_eq!(place.look(), kept);
    assert!(!place.data("snapshot-0000000000000001").exists());
    assert_eq!(place.raw().len(), 3);
    assert_eq!(place.look(), kept);
}

#[test]
fn a_first_start_that_stopped_half_way_is_a_first_start_again() {
    let made = Place::new();
    made.look();
    let steps: [&[&str]; 3] =
        [&["store.key"], &["store.key", "anchor"], &["store.key", "anchor", "data.keys"]];
    for files in steps {
        let place = Place::new();
        copy_dir(&made.dirs.keys, &place.dirs.keys);
        for entry in fs::read_dir(&place.dirs.keys).unwrap() {
            let path = entry.unwrap().path();
            if !files.iter().any(|name| path.ends_with(name)) {
                fs::remove_file(path).unwrap();
            }
        }
        let (mut store, loaded) = place.start();
        assert_eq!(loaded, Loaded::default(), "{files:?}");
        append(&mut store, 1..=2);
        drop(store);
        assert_eq!(place.look(), whole(1..=2));
    }
    // All the keys, and a data directory that was only just begun.
    fs::remove_file(made.data("snapshot-0000000000000001")).unwrap();
    assert_eq!(made.look(), Loaded::default());
    // The same with a database that was never made safe.
    fs::remove_file(made.data("snapshot-0000000000000001")).unwrap();
    fs::write(made.data("db/conf"), b"").unwrap();
    assert_eq!(made.look(), Loaded::default());
    assert_eq!(made.look(), Loaded::default());
}
