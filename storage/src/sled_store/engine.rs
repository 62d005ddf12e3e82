//! sled, held at arm's length.
//!
//! sled 0.34 panics on much of what it finds wrong with its files, while opening, reading and dropping. Every call is
//! made inside `catch_unwind`, and an engine that has failed once is closed and opened again rather than trusted. The
//! panic's message still goes to stderr: a library has no business with the process's panic hook. What cannot be caught
//! is a panic of one of sled's own threads; it can leave a flush that never returns, and then nothing is acknowledged.
//! An error of theirs can as well, and is brought to its end by [`woken`].
//!
//! sled's `flush` is no fsync on Linux, so every commit ends with a `sync_data` of our own on its file. Its background
//! thread is off: it would only repeat that, and dropping a database waits for it for ever once it has panicked.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::{Batch, Db, IVec, Mode};

use super::files::{
    at, entries, is_of_content, make_private, name, private_dir, remove, sync_dir, sync_files,
};
use super::waking::woken;
use crate::StoreError;

/// sled's page cache; the default would be a gigabyte.
const CACHE: u64 = 32 << 20;
/// How often a lock that only a handle of our own can hold is tried again, and how long is waited between.
const LOCK_TRIES: u32 = 400;
const LOCK_WAIT: Duration = Duration::from_millis(5);
/// How the names of sled's snapshots begin.
pub(crate) const SNAPSHOT: &str = "snap.";

/// A key and its value as sled has them.
pub(crate) type Pair = (IVec, IVec);

/// Why a database was not opened.
pub(crate) enum OpenFailure {
    /// Its files are not what sled wrote.
    Unusable(String),
    /// Something that says nothing of the files: no room, no permission, no file handles.
    Refused(StoreError),
}

impl From<StoreError> for OpenFailure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// An open database, with all that is needed to be sure of it.
pub(crate) struct Engine {
    /// Always there but while dropping.
    db: Option<Db>,
    file: File,
}

impl Engine {
    /// Opens or makes the database in `dir`, after removing what a process killed while opening has left there.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenFailure> {
        private_dir(dir)?;
        tidy(dir).map_err(StoreError::from)?;
        let config =
            sled::Config::new().path(dir).mode(Mode::LowSpace).cache_capacity(CACHE).flush_every_ms(None);
        let db = Some(open_unlocked(&config, dir)?);
        let path = dir.join("db");
        let file = File::open(&path).map_err(at(&path)).map_err(StoreError::from)?;
        let engine = Self { db, file };
        // sled never syncs the file that it keeps its settings in, and opens nothing without it.
        make_private(dir)
            .and_then(|()| sync_files(dir))
            .and_then(|()| sync_dir(dir))
            .map_err(StoreError::from)?;
        Ok(engine)
    }

    /// Makes all of `batch` safe, or an unknown part of nothing: after `Err` the engine must be opened again.
    pub(crate) fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let commit = || {
            guarded(|| {
                self.db().apply_batch(batch)?;
                self.db().flush()
            })
        };
        woken(self.db(), commit).map_err(Failure::into_store)?;
        Ok(self.file.sync_data()?)
    }

    /// All pairs whose key begins with `prefix`, in order, up to the first that cannot be read; and why not.
    pub(crate) fn read(&self, prefix: &[u8]) -> (Vec<Pair>, Option<String>) {
        let mut pairs = Vec::new();
        let walked = guarded(|| {
            for pair in self.db().scan_prefix(prefix) {
                pairs.push(pair?);
            }
            Ok(())
        });
        (pairs, walked.err().map(Failure::into_text))
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("invariant: only drop takes it")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let db = self.db.take();
        // Dropping writes and syncs, and panics if that fails.
        let _ = guarded(|| {
            drop(db);
            Ok(())
        });
        // sled's own threads may hold its file, and with it the lock, a moment longer.
        for _ in 0..LOCK_TRIES {
            match self.file.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_WAIT),
                Ok(()) | Err(TryLockError::Error(_)) => break,
            }
        }
    }
}

/// The directory's lock is ours, so sled's can only be held by a handle that sled itself has not let go of yet.
fn open_unlocked(config: &sled::Config, dir: &Path) -> Result<Db, OpenFailure> {
    let mut tries = 0;
    loop {
        match guarded(|| config.open()) {
            Err(failure) if failure.is_lock() && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::park_timeout(LOCK_WAIT);
            }
            Err(failure) if failure.is_lock() => {
                return Err(OpenFailure::Refused(StoreError::Locked { path: dir.to_owned() }));
            }
            opened => return opened.map_err(Failure::into_open),
        }
    }
}

/// Removes sled's unfinished snapshots and empty ones: it refuses to open beside either, and needs neither.
fn tidy(dir: &Path) -> io::Result<()> {
    for path in with_prefix(dir, SNAPSHOT)? {
        let empty = std::fs::metadata(&path).is_ok_and(|found| found.len() == 0);
        if name(&path).ends_with(".generating") || empty {
            remove(&path)?;
        }
    }
    Ok(())
}

/// The files of `dir` whose names begin so, in order of their names.
pub(crate) fn with_prefix(dir: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths = entries(dir)?;
    paths.retain(|path| name(path).starts_with(prefix));
    Ok(paths)
}

/// Takes the lock of the database in `dir`, so that nobody else writes to it; `None` if it has no file to lock.
pub(crate) fn lock_database(dir: &Path) -> Result<Option<File>, StoreError> {
    let path = dir.join("db");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path)(error).into()),
    };
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_WAIT),
            Err(TryLockError::Error(error)) => return Err(at(&path)(error).into()),
        }
    }
    Err(StoreError::Locked { path: dir.to_owned() })
}

/// What went wrong inside sled.
pub(crate) enum Failure {
    Error(sled::Error),
    Panic(String),
}

impl Failure {
    fn is_lock(&self) -> bool {
        matches!(self, Self::Error(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock"))
    }

    fn into_text(self) -> String {
        match self {
            Self::Error(error) => error.to_string(),
            Self::Panic(text) => format!("it panicked: {text}"),
        }
    }

    fn into_store(self) -> StoreError {
        match self {
            Self::Error(sled::Error::Io(error)) => StoreError::Medium(error),
            // Some of sled's panics are an `unwrap` of what the medium said.
            Self::Panic(text) if text.contains("StorageFull") || text.contains("No space left") => {
                StoreError::Medium(io::Error::new(ErrorKind::StorageFull, text))
            }
            other => StoreError::Engine(other.into_text()),
        }
    }

    /// Only what says that the files are wrong makes them unusable: a full disk must not cost a database.
    fn into_open(self) -> OpenFailure {
        match self.into_store() {
            StoreError::Medium(error) if !is_of_content(&error) => {
                OpenFailure::Refused(StoreError::Medium(error))
            }
            other => OpenFailure::Unusable(other.to_string()),
        }
    }
}

pub(crate) fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Failure::Error),
        Err(panic) => Err(Failure::Panic(panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".to_owned())
}
