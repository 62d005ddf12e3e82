//! The medium's own doing: bits that turn, ends that are missing, blocks of zeros, what a crash left behind.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use storage::{Health, Loaded};

use crate::support::{Place, append, compact, copy_dir, record, records, replace_dir, snapshot, whole};

/// Records, a compaction, more records: 11 to 40 after a snapshot up to 10.
fn filled() -> Place {
    let place = Place::with_records(1..=20);
    let (mut store, _) = place.start();
    compact(&mut store, 10);
    append(&mut store, 21..=40);
    drop(store);
    place
}

fn everything() -> Loaded {
    Loaded { snapshot: Some(snapshot(10)), records: records(11..=40), health: Health::Whole }
}

/// All of it, or less and said so: never silently older, never another content, and it goes on.
fn assert_honest(place: &Place, what: &str) {
    let (mut store, loaded) = place.start();
    let held = loaded.held();
    match &loaded.health {
        Health::Whole => assert_eq!(loaded, everything(), "{what}"),
        Health::Behind { held: said, anchored } => assert_eq!((*said, *anchored), (held, 40), "{what}"),
        Health::Damaged { held: said, anchored, .. } => {
            assert_eq!((*said, *anchored), (held, 40), "{what}");
        }
        Health::Fresh => panic!("{what}: fresh"),
    }
    if loaded.snapshot.is_some() {
        assert_eq!(loaded.snapshot, Some(snapshot(10)), "{what}");
        assert_eq!(loaded.records, records(11..=held), "{what}");
    } else {
        assert!(loaded.records.is_empty(), "{what}");
    }
    assert_eq!(loaded.next_commit(), 41, "{what}");
    append(&mut store, 41..=41);
    drop(store);
    let after = place.look();
    assert_eq!(after.health, Health::Whole, "{what}");
    assert_eq!(after.records.last(), Some(&record(41)), "{what}");
}

/// Calls `damage` with a number and a fresh copy of the same closed store, `times` times.
fn repeatedly(times: u64, mut damage: impl FnMut(u64, &Place) -> String) {
    let (pristine, place) = (filled(), filled());
    for round in 0..times {
        replace_dir(&pristine.dirs.data, &place.dirs.data);
        replace_dir(&pristine.dirs.keys, &place.dirs.keys);
        let what = damage(round, &place);
        assert_honest(&place, &what);
    }
}

#[test]
fn one_turned_bit_anywhere_in_the_database_is_harmless_or_noticed() {
    repeatedly(500, |round, place| {
        let mut rng = ChaCha20Rng::seed_from_u64(round);
        let file = fs::File::options().write(true).open(place.data("db/db")).unwrap();
        let bytes = fs::read(place.data("db/db")).unwrap();
        // Most of the file is room for more; three bits of four turn where there is something.
        let used: Vec<_> = (0..bytes.len()).filter(|at| round % 4 == 0 || bytes[*at] != 0).collect();
        let at = used[rng.next_u32() as usize % used.len()];
        file.write_all_at(&[bytes[at] ^ 1 << (rng.next_u32() % 8)], at as u64).unwrap();
        format!("seed {round}: bit at {at}")
    });
}

#[test]
fn a_block_of_zeros_anywhere_in_the_database_is_harmless_or_noticed() {
    repeatedly(40, |round, place| {
        let mut rng = ChaCha20Rng::seed_from_u64(1_000 + round);
        let file = fs::File::options().write(true).open(place.data("db/db")).unwrap();
        let bytes = fs::read(place.data("db/db")).unwrap();
        let used = |at: &usize| bytes[*at..].iter().take(512).any(|byte| *byte != 0);
        let used: Vec<_> = (0..bytes.len()).step_by(512).filter(used).collect();
        let at = used[rng.next_u32() as usize % used.len()] as u64;
        file.write_all_at(&[0; 512], at).unwrap();
        format!("seed {round}: zeros at {at}")
    });
}

#[test]
fn a_database_cut_short_is_noticed() {
    repeatedly(24, |round, place| {
        let bytes = fs::read(place.data("db/db")).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let len = if round % 2 == 0 { used * round / 24 } else { bytes.len() as u64 * round / 24 };
        fs::File::options().write(true).open(place.data("db/db")).unwrap().set_len(len).unwrap();
        format!("cut to {len}")
    });
}

#[test]
fn any_file_of_sled_that_is_gone_or_rubbish_is_harmless_or_noticed() {
    let place = filled();
    let files: Vec<_> =
        fs::read_dir(place.data("db")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let files: Vec<_> = files.into_iter().filter(|name| name != "blobs").collect();
    assert!(files.len() >= 2);
    repeatedly(3 * files.len() as u64, |round, place| {
        let path = place.data("db").join(&files[(round / 3) as usize]);
        // sled's snapshot is named after its content, which differs from store to store.
        if !path.exists() {
            return "nothing".to_owned();
        }
        match round % 3 {
            0 => fs::remove_file(&path).unwrap(),
            1 => fs::write(&path, b"").unwrap(),
            _ => fs::write(&path, [0xA5; 700]).unwrap(),
        }
        format!("{} after {}", path.display(), round % 3)
    });
}

#[test]
fn every_byte_of_the_snapshot_file_is_protected() {
    let path = |place: &Place| {
        let mut found = fs::read_dir(&place.dirs.data).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snapshot-")).unwrap()
    };
    let len = fs::metadata(path(&filled())).unwrap().len();
    repeatedly(len, |at, place| {
        let path = path(place);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at as usize] ^= 1 << (at % 8);
        fs::write(&path, bytes).unwrap();
        format!("snapshot byte {at}")
    });
}

#[test]
fn what_a_process_killed_while_opening_leaves_behind_costs_nothing() {
    let place = filled();
    fs::write(place.data("db/snap.0000000000001234.generating"), b"half").unwrap();
    fs::write(place.data("db/snap.0000000000001235"), b"").unwrap();
    fs::write(place.data("snapshot-0000000000000009.new"), b"half").unwrap();
    fs::write(place.keys("anchor.new"), b"half").unwrap();
    assert_eq!(place.look(), everything());
}

#[test]
fn a_rebuild_that_was_interrupted_is_finished_or_taken_back() {
    let place = filled();
    copy_dir(&place.data("db"), &place.data("db.new"));
    assert_eq!(place.look(), everything());
    assert!(!place.data("db.new").exists());
    fs::rename(place.data("db"), place.data("db.new")).unwrap();
    assert_eq!(place.look(), everything());
    assert!(!place.data("db.new").exists());
}

#[test]
fn no_more_than_three_broken_databases_are_kept() {
    let place = Place::with_records(1..=5);
    for _ in 0..5 {
        fs::remove_dir_all(place.data("db")).unwrap();
        drop(sled::Config::new().path(place.data("db")).segment_size(1 << 16).open().unwrap());
        fs::set_permissions(place.data("db"), fs::Permissions::from_mode(0o700)).unwrap();
        place.look();
    }
    let kept = fs::read_dir(&place.dirs.data).unwrap().map(|entry| entry.unwrap().file_name());
    let mut kept: Vec<_> = kept.filter(|name| name.to_str().unwrap().starts_with("db.broken-")).collect();
    kept.sort();
    assert_eq!(kept, ["db.broken-3", "db.broken-4", "db.broken-5"]);
    let (mut store, loaded) = place.start();
    assert_eq!(loaded.next_commit(), 6);
    append(&mut store, 6..=6);
    drop(store);
    assert_eq!(place.look(), whole(6..=6));
}
