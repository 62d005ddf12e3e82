//! What somebody finds who has the disk.

use std::fs;
use std::path::Path;

use storage::{Health, Record, Snapshot, Store};

use crate::support::{Place, append, compact, copy_dir, record, replace_dir, snapshot, start, wait};

/// How often `needle` is in any file below `dir`.
fn occurrences(dir: &Path, needle: &[u8]) -> usize {
    let count = |path: &Path| {
        if path.is_dir() {
            return occurrences(path, needle);
        }
        fs::read(path).unwrap().windows(needle.len()).filter(|window| *window == needle).count()
    };
    fs::read_dir(dir).unwrap().map(|entry| count(&entry.unwrap().path())).sum()
}

/// 16 bytes that occur nowhere by chance.
fn marked(commit: u64) -> [u8; 16] {
    u128::from(commit).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes()
}

#[test]
fn nothing_of_a_record_or_a_snapshot_is_on_disk_in_the_clear() {
    let place = Place::new();
    let (mut store, _) = place.start();
    for commit in 1..=60 {
        let bytes = [&[0; 5][..], &marked(commit), &[0; 5]].concat();
        wait(store.append(&[Record { commit, bytes }])).unwrap();
        if commit % 25 == 0 {
            let bytes = (1..=commit).flat_map(marked).collect();
            wait(store.compact(Snapshot { upto: commit - 5, bytes })).unwrap();
        }
    }
    drop(store);
    let key = fs::read(place.keys("store.key")).unwrap();
    for commit in 1..=60 {
        assert_eq!(occurrences(&place.dirs.data, &marked(commit)), 0);
        assert_eq!(occurrences(&place.dirs.keys, &marked(commit)), 0);
    }
    assert_eq!(occurrences(&place.dirs.data, &key), 0);
    assert_eq!(occurrences(&place.dirs.keys, &key), 1);
}

#[test]
fn what_was_compacted_away_opens_no_more_whatever_files_are_left_of_it() {
    // Attack A38: a copy of every file of the data directory before the compaction, and every key after it.
    let place = Place::with_records(1..=10);
    let before = Place::new();
    copy_dir(&place.dirs.data, &before.dirs.data);
    copy_dir(&place.dirs.keys, &before.dirs.keys);
    let (mut store, _) = place.start();
    compact(&mut store, 10);
    append(&mut store, 11..=11);
    drop(store);
    let old = fs::read(before.keys("data.keys")).unwrap();
    let new = fs::read(place.keys("data.keys")).unwrap();
    assert_eq!(old.len(), new.len(), "one key before, one key after");
    // The wrapped key, 40 bytes before the MAC, is another one, and the old one is nowhere.
    let wrapped = |file: &[u8]| file[file.len() - 56..file.len() - 16].to_vec();
    assert_eq!(occurrences(&place.dirs.keys, &wrapped(&new)), 1);
    assert_eq!(occurrences(&place.dirs.keys, &wrapped(&old)), 0);
    // With the keys of that time the copy opens: it is the key that is gone, not the record.
    assert_eq!(start(&before.dirs).unwrap().1.records.last(), Some(&record(10)));
    replace_dir(&before.dirs.data, &place.dirs.data);
    let loaded = place.look();
    // What is there is the new snapshot, out of its copy; no old record is.
    assert_eq!((loaded.records, loaded.snapshot), (Vec::new(), Some(snapshot(10))));
    assert_eq!(loaded.health, Health::Behind { held: 10, anchored: 11 });
}

#[test]
fn records_that_are_kept_are_sealed_anew() {
    let place = Place::with_records(1..=10);
    let sealed = |generation: u64, commit: u64| {
        let key = [&generation.to_be_bytes()[..], &commit.to_be_bytes(), &[0; 4]].concat();
        place.raw().get(key).unwrap().map(|value| value.to_vec())
    };
    let old = sealed(1, 9).unwrap();
    let (mut store, _) = place.start();
    compact(&mut store, 5);
    drop(store);
    let new = sealed(2, 9).unwrap();
    assert_eq!((old.len(), sealed(1, 9)), (new.len(), None));
    assert!(old[2..14] != new[2..14] && old[14..] != new[14..]);
}

#[test]
fn no_nonce_is_used_twice_under_one_key() {
    // Attack A34: across restarts, repeated appends and copies of a record, every value has a nonce of its own.
    let place = Place::new();
    let mut nonces = std::collections::BTreeSet::new();
    let mut sealed = 0;
    for round in 0..4_u64 {
        let (mut store, loaded) = place.start();
        let next = loaded.next_commit();
        fs::create_dir(place.keys("anchor.new")).unwrap();
        wait(store.append(&[record(next)])).unwrap_err();
        drop(store);
        fs::remove_dir(place.keys("anchor.new")).unwrap();
        nonces.extend(place.raw().iter().map(|pair| pair.unwrap().1[2..14].to_vec()));
        let (mut store, loaded) = place.start();
        append(&mut store, loaded.next_commit()..=loaded.next_commit() + round);
        sealed = loaded.next_commit() + round;
    }
    nonces.extend(place.raw().iter().map(|pair| pair.unwrap().1[2..14].to_vec()));
    assert_eq!(nonces.len() as u64, sealed, "one for each value that was ever there");
}
