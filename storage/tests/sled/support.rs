//! A store in a directory of its own, and what one does to its files.

use std::fs;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use storage::{Health, Loaded, Record, SledStore, Snapshot, StateDirs, Store, StoreError};
use tempfile::TempDir;

/// Two directories that go away with it.
pub(crate) struct Place {
    pub(crate) dirs: StateDirs,
    _dir: TempDir,
}

impl Place {
    /// In memory if the system has a place for that: most tests look at bytes, and syncing them takes long.
    pub(crate) fn new() -> Self {
        Self::within(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    /// Where temporary files usually are: on a disk, most likely.
    pub(crate) fn on_disk() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    fn within(dir: TempDir) -> Self {
        let dirs = StateDirs { data: dir.path().join("data"), keys: dir.path().join("keys") };
        Self { dirs, _dir: dir }
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dirs.data.join(name)
    }

    pub(crate) fn keys(&self, name: &str) -> PathBuf {
        self.dirs.keys.join(name)
    }

    pub(crate) fn open(&self) -> Result<SledStore, StoreError> {
        open(&self.dirs)
    }

    /// Opens and loads.
    pub(crate) fn start(&self) -> (SledStore, Loaded) {
        // A child that another test has just forked holds the lock until it becomes its program.
        loop {
            match start(&self.dirs) {
                Err(StoreError::Locked { .. }) => std::thread::yield_now(),
                started => return started.unwrap(),
            }
        }
    }

    /// What a start would find; the store is closed again.
    pub(crate) fn look(&self) -> Loaded {
        self.start().1
    }

    /// A store with these records, closed.
    pub(crate) fn with_records(commits: std::ops::RangeInclusive<u64>) -> Self {
        let place = Self::new();
        let (mut store, _) = place.start();
        append(&mut store, commits);
        place
    }

    /// sled itself, on the closed store's database.
    pub(crate) fn raw(&self) -> sled::Db {
        let config = sled::Config::new().path(self.data("db")).flush_every_ms(None);
        // A handle that was just dropped may hold its lock a moment longer.
        loop {
            match config.open() {
                Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                    std::thread::yield_now();
                }
                opened => return opened.unwrap(),
            }
        }
    }

    /// Changes the closed database as somebody would who has sled but no key.
    pub(crate) fn tamper(&self, change: impl FnOnce(&sled::Db)) {
        let db = self.raw();
        change(&db);
        db.flush().unwrap();
    }
}

pub(crate) fn open(dirs: &StateDirs) -> Result<SledStore, StoreError> {
    // Randomness must differ between starts, as it does in life.
    let mut seed = [0; 32];
    seed[..8]
        .copy_from_slice(&fs::read_dir(&dirs.data).map_or(0, |found| found.count() as u64).to_be_bytes());
    seed[8..16].copy_from_slice(&NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes());
    SledStore::open(dirs.clone(), Box::new(ChaCha20Rng::from_seed(seed)))
}

static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

pub(crate) fn start(dirs: &StateDirs) -> Result<(SledStore, Loaded), StoreError> {
    let mut store = open(dirs)?;
    let loaded = wait(store.load())?;
    Ok((store, loaded))
}

/// The store never waits for anything but its disk, so a runtime is a formality.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A record whose bytes follow from its number.
pub(crate) fn record(commit: u64) -> Record {
    let len = 40 + usize::try_from(commit % 7).unwrap() * 50;
    let bytes = (0..len).map(|at| (commit as usize * 31 + at * 7) as u8).collect();
    Record { commit, bytes }
}

pub(crate) fn records(commits: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    commits.map(record).collect()
}

/// Appends one by one.
pub(crate) fn append(store: &mut SledStore, commits: std::ops::RangeInclusive<u64>) {
    for commit in commits {
        wait(store.append(&[record(commit)])).unwrap();
    }
}

pub(crate) fn compact(store: &mut SledStore, upto: u64) {
    wait(store.compact(snapshot(upto))).unwrap();
}

pub(crate) fn snapshot(upto: u64) -> Snapshot {
    Snapshot { upto, bytes: format!("everything up to {upto}").into_bytes() }
}

/// Whole, with these records and no snapshot.
pub(crate) fn whole(commits: std::ops::RangeInclusive<u64>) -> Loaded {
    Loaded { snapshot: None, records: records(commits), health: Health::Whole }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Makes `to` an exact copy of `from`.
pub(crate) fn replace_dir(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy_dir(from, to);
}
