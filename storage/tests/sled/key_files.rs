//! Keys are beside the data and not in it, are nobody else's to read, and are never silently replaced.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use storage::{Health, SledStore, StateDirs, StoreError};

use crate::support::{Place, append, compact, copy_dir, open, whole};

fn error(place: &Place) -> StoreError {
    place.open().err().expect("the store must not open")
}

#[test]
fn a_missing_key_file_with_state_beside_it_is_an_error_and_no_new_key() {
    for name in ["store.key", "data.keys"] {
        let place = Place::with_records(1..=5);
        let kept = fs::read(place.keys(name)).unwrap();
        fs::remove_file(place.keys(name)).unwrap();
        assert!(matches!(error(&place), StoreError::MissingKey { path } if path == place.keys(name)));
        assert!(!place.keys(name).exists());
        fs::write(place.keys(name), kept).unwrap();
        fs::set_permissions(place.keys(name), Permissions::from_mode(0o400)).unwrap();
        assert_eq!(place.look(), whole(1..=5));
    }
}

#[test]
fn a_keys_directory_that_is_gone_is_an_error() {
    let place = Place::with_records(1..=5);
    fs::remove_dir_all(&place.dirs.keys).unwrap();
    assert!(matches!(error(&place), StoreError::MissingKey { .. }));
    assert!(matches!(error(&place), StoreError::MissingKey { .. }), "the first refusal made no key");
}

#[test]
fn a_wrong_key_opens_nothing_and_changes_nothing() {
    let place = Place::with_records(1..=5);
    let path = place.keys("store.key");
    let right = fs::read(&path).unwrap();
    let mut wrong = vec![vec![7; 32], right[..31].to_vec(), Vec::new()];
    wrong.extend((0..32).map(|at| {
        let mut key = right.clone();
        key[at] ^= 0x10;
        key
    }));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for key in wrong {
        fs::write(&path, key).unwrap();
        assert!(matches!(error(&place), StoreError::WrongKey { .. }));
    }
    fs::write(&path, right).unwrap();
    assert_eq!(place.look(), whole(1..=5));
}

#[test]
fn every_bit_of_the_wrapped_keys_is_protected() {
    let place = Place::with_records(1..=5);
    let path = place.keys("data.keys");
    let right = fs::read(&path).unwrap();
    for at in 0..right.len() {
        let mut changed = right.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&path, changed).unwrap();
        assert!(matches!(error(&place), StoreError::WrongKey { .. }), "byte {at}");
    }
    fs::write(&path, right).unwrap();
    assert_eq!(place.look(), whole(1..=5));
}

#[test]
fn what_others_could_read_is_refused() {
    let place = Place::with_records(1..=5);
    let paths =
        [place.dirs.data.clone(), place.dirs.keys.clone(), place.keys("store.key"), place.keys("data.keys")];
    for path in paths {
        let right = fs::metadata(&path).unwrap().permissions();
        for foreign in [0o040, 0o004, 0o020, 0o001] {
            fs::set_permissions(&path, Permissions::from_mode(right.mode() & 0o777 | foreign)).unwrap();
            assert!(matches!(error(&place), StoreError::TooOpen { path: named, .. } if named == path));
        }
        fs::set_permissions(&path, right).unwrap();
    }
    assert_eq!(place.look(), whole(1..=5));
}

#[test]
fn everything_the_store_makes_is_the_owners_alone() {
    fn check(dir: &Path) {
        assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o7777, 0o700, "{}", dir.display());
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                check(&path);
            } else {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                let right = if path.ends_with("store.key") { 0o400 } else { 0o600 };
                assert_eq!(mode, right, "{}", path.display());
            }
        }
    }
    let place = Place::with_records(1..=5);
    let (mut store, _) = place.start();
    append(&mut store, 6..=9);
    compact(&mut store, 7);
    check(&place.dirs.data);
    check(&place.dirs.keys);
}

#[test]
fn a_directory_belongs_to_one_process_at_a_time() {
    let place = Place::with_records(1..=5);
    let (store, _) = place.start();
    assert!(matches!(error(&place), StoreError::Locked { .. }));
    let crossed = StateDirs { data: place.dirs.data.with_extension("other"), ..place.dirs.clone() };
    assert!(matches!(open(&crossed), Err(StoreError::Locked { path }) if path == place.dirs.keys));
    drop(store);
    assert_eq!(place.look().health, Health::Whole);
}

#[test]
fn a_database_that_somebody_else_has_open_is_not_taken_for_a_broken_one() {
    let place = Place::with_records(1..=5);
    let held = place.raw();
    let mut store = place.open().unwrap();
    let refused = crate::support::wait(storage::Store::load(&mut store));
    assert!(matches!(refused, Err(StoreError::Locked { .. })), "{refused:?}");
    drop((held, store));
    assert_eq!(place.look(), whole(1..=5));
}

#[test]
fn keys_inside_the_data_directory_are_refused() {
    let place = Place::new();
    let dirs = StateDirs { keys: place.data("keys"), ..place.dirs.clone() };
    assert!(matches!(open(&dirs), Err(StoreError::KeysInside { .. })));
}

#[test]
fn keys_of_another_store_do_not_fit() {
    let (place, other) = (Place::with_records(1..=5), Place::with_records(1..=5));
    let crossed = StateDirs { data: place.dirs.data.clone(), keys: other.dirs.keys.clone() };
    let kept = Place::new();
    copy_dir(&place.dirs.data, &kept.dirs.data);
    let mut store: SledStore = open(&crossed).unwrap();
    let loaded = crate::support::wait(storage::Store::load(&mut store)).unwrap();
    assert!(matches!(loaded.health, Health::Damaged { held: 0, anchored: 5, .. }), "{:?}", loaded.health);
    drop(store);
    // Nothing was destroyed: the database was put aside.
    assert!(place.data("db.broken-1").exists());
}
