//! What no test from outside can bring about.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

fn records(commits: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    commits.map(|commit| Record { commit, bytes: vec![commit as u8; 9_000] }).collect()
}

#[test]
fn a_database_that_failed_a_write_is_copied_before_it_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = StateDirs { data: dir.path().join("data"), keys: dir.path().join("keys") };
    let open = |seed| SledStore::open(dirs.clone(), Box::new(ChaCha20Rng::seed_from_u64(seed))).unwrap();
    let mut store = open(1);
    store.load_now().unwrap();
    store.append_now(&records(1..=6)).unwrap();
    // As after a write that failed: its records may be there, and count for nothing.
    store.append_now(&records(7..=8)).unwrap();
    store.take_back(7);
    store.state.as_mut().unwrap().floor = 6;
    (store.engine, store.distrusted) = (None, true);
    store.append_now(&records(7..=7)).unwrap();
    assert!(!store.distrusted && dirs.data.join("db.broken-1").exists());
    drop(store);
    let loaded = open(2).load_now().unwrap();
    assert_eq!((loaded.health, loaded.records), (Health::Whole, records(1..=7)));
}
