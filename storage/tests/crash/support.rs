//! Records, snapshots and directories of these tests.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use storage::{Loaded, Record, SledStore, Snapshot, StateDirs, Store, StoreError};
use tempfile::TempDir;

/// A directory in memory, if the system has a place for that.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The store's two directories below `root`.
pub(crate) fn dirs(root: &Path) -> StateDirs {
    StateDirs { data: root.join("data"), keys: root.join("keys") }
}

/// Opens and loads the store below `root`.
pub(crate) fn start(root: &Path) -> Result<(SledStore, Loaded), StoreError> {
    // A child that another test has just forked holds the lock until it becomes its program.
    let mut store = loop {
        // Randomness must differ between starts, as it does in life.
        let rng = ChaCha20Rng::seed_from_u64(NEXT.fetch_add(1, Ordering::Relaxed));
        match SledStore::open(dirs(root), Box::new(rng)) {
            Err(StoreError::Locked { .. }) => std::thread::yield_now(),
            opened => break opened?,
        }
    };
    let loaded = wait(store.load())?;
    Ok((store, loaded))
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The store never waits for anything but its disk, so a runtime is a formality.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A record whose bytes follow from its number. One of nine is longer than a piece of the engine's.
pub(crate) fn record(commit: u64) -> Record {
    let len = if commit % 9 == 4 { 5_000 + commit as usize * 13 } else { 40 + (commit % 7) as usize * 50 };
    let bytes = (0..len).map(|at| (commit as usize * 31 + at * 7) as u8).collect();
    Record { commit, bytes }
}

/// The records from `first` to `last`.
pub(crate) fn records(first: u64, last: u64) -> Vec<Record> {
    (first..=last).map(record).collect()
}

/// A snapshot whose bytes follow from its number.
pub(crate) fn snapshot(upto: u64) -> Snapshot {
    let bytes = (0..500 + upto as usize * 11).map(|at| (upto as usize * 17 + at * 5) as u8).collect();
    Snapshot { upto, bytes }
}

/// Copies what is in `from` into the directory `to`.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            fs::set_permissions(&target, fs::metadata(&path).unwrap().permissions()).unwrap();
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
