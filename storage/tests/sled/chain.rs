//! Somebody who has sled and no key changes the journal: every change is noticed, and the store goes on.

use storage::{Health, Loaded, Store, StoreError};

use crate::support::{Place, append, compact, record, records, snapshot, wait, whole};

/// A record's key in sled: generation, commit, piece.
fn key(generation: u64, commit: u64) -> Vec<u8> {
    [&generation.to_be_bytes()[..], &commit.to_be_bytes(), &[0; 4]].concat()
}

/// Damaged, and read back up to `held`.
fn assert_damaged(loaded: &Loaded, held: u64) {
    let Health::Damaged { held: said, .. } = &loaded.health else { panic!("{:?}", loaded.health) };
    assert_eq!((*said, loaded.held()), (held, held));
    assert_eq!(loaded.records, records(1..=held));
}

/// After whatever loss: the next start still knows, the next record closes the matter.
fn assert_goes_on(place: &Place, held: u64) {
    let (mut store, loaded) = place.start();
    assert!(!matches!(loaded.health, Health::Fresh | Health::Whole), "{:?}", loaded.health);
    let next = loaded.next_commit();
    assert!(next > held);
    for used in 1..next {
        assert!(matches!(wait(store.append(&[record(used)])), Err(StoreError::OutOfOrder { .. })));
    }
    append(&mut store, next..=next + 2);
    drop(store);
    let (mut store, loaded) = place.start();
    assert_eq!(loaded.health, Health::Whole);
    assert_eq!(loaded.records, [records(1..=held), records(next..=next + 2)].concat());
    compact(&mut store, next + 1);
    drop(store);
    let loaded = place.look();
    assert_eq!(loaded.health, Health::Whole);
    assert_eq!((loaded.snapshot, loaded.records), (Some(snapshot(next + 1)), records(next + 2..=next + 2)));
}

#[test]
fn two_records_that_changed_places_are_noticed() {
    let place = Place::with_records(1..=9);
    place.tamper(|db| {
        let [a, b] = [4, 6].map(|commit| db.get(key(1, commit)).unwrap().unwrap());
        db.insert(key(1, 4), b).unwrap();
        db.insert(key(1, 6), a).unwrap();
    });
    assert_damaged(&place.look(), 3);
    assert_goes_on(&place, 3);
}

#[test]
fn a_record_copied_to_another_number_is_noticed() {
    let place = Place::with_records(1..=9);
    place.tamper(|db| {
        let old = db.get(key(1, 2)).unwrap().unwrap();
        db.insert(key(1, 10), old).unwrap();
    });
    assert_damaged(&place.look(), 9);
    // Nothing that was acknowledged is missing: the next record follows as if nothing had been.
    let (mut store, loaded) = place.start();
    append(&mut store, loaded.next_commit()..=10);
    drop(store);
    assert_eq!(place.look(), whole(1..=10));
}

#[test]
fn a_record_of_another_store_under_the_same_number_is_noticed() {
    let (place, other) = (Place::with_records(1..=9), Place::with_records(1..=9));
    let foreign = other.raw().get(key(1, 9)).unwrap().unwrap();
    place.tamper(|db| drop(db.insert(key(1, 9), foreign).unwrap()));
    assert_damaged(&place.look(), 8);
    assert_goes_on(&place, 8);
}

#[test]
fn a_record_taken_out_of_the_middle_is_noticed() {
    let place = Place::with_records(1..=9);
    place.tamper(|db| drop(db.remove(key(1, 5)).unwrap()));
    assert_damaged(&place.look(), 4);
    assert_goes_on(&place, 4);
}

#[test]
fn the_newest_record_deleted_is_noticed() {
    let place = Place::with_records(1..=9);
    place.tamper(|db| drop(db.remove(key(1, 9)).unwrap()));
    assert_eq!(place.look().health, Health::Behind { held: 8, anchored: 9 });
    assert_goes_on(&place, 8);
}

#[test]
fn all_records_deleted_are_noticed() {
    let place = Place::with_records(1..=9);
    place.tamper(|db| db.clear().unwrap());
    assert_eq!(place.look().health, Health::Behind { held: 0, anchored: 9 });
    assert_goes_on(&place, 0);
}

#[test]
fn a_key_that_is_none_of_ours_is_noticed() {
    let place = Place::with_records(1..=9);
    place.tamper(|db| drop(db.insert([&1_u64.to_be_bytes()[..], &[9; 5]].concat(), b"x").unwrap()));
    assert_damaged(&place.look(), 9);
    assert_goes_on(&place, 9);
}

#[test]
fn a_record_cut_short_is_noticed() {
    let place = Place::with_records(1..=3);
    place.tamper(|db| {
        let value = db.get(key(1, 3)).unwrap().unwrap();
        db.insert(key(1, 3), &value[..value.len() - 1]).unwrap();
    });
    assert_damaged(&place.look(), 2);
    assert_goes_on(&place, 2);
}

#[test]
fn every_bit_of_a_record_is_protected() {
    let place = Place::with_records(1..=3);
    let value = place.raw().get(key(1, 3)).unwrap().unwrap().to_vec();
    let pristine = Place::new();
    crate::support::copy_dir(&place.dirs.data, &pristine.dirs.data);
    crate::support::copy_dir(&place.dirs.keys, &pristine.dirs.keys);
    // What `load` puts aside is put back by hand, which is quicker than a store for each byte.
    for at in 0..value.len() {
        let mut changed = value.clone();
        changed[at] ^= 1 << (at % 8);
        crate::support::replace_dir(&pristine.dirs.data, &place.dirs.data);
        place.tamper(|db| drop(db.insert(key(1, 3), changed).unwrap()));
        assert_damaged(&place.look(), 2);
    }
}
