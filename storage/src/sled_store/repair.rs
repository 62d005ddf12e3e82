//! Getting a database open, whatever state its files are in.

use std::fs;
use std::path::{Path, PathBuf};

use super::engine::{Engine, OpenFailure, Pair, SNAPSHOT, lock_database, with_prefix};
use super::files::{FILE_MODE, at, entries, name, private_dir, remove, sync_dir, write_new};
use super::journal::copy;
use crate::StoreError;

/// The engine's directory.
pub(crate) const DB: &str = "db";
/// A rebuilt one that has not taken its place yet.
const REBUILT: &str = "db.new";
/// A copy to be read.
const COPY: &str = "db.copy";
/// One that is being replaced by a new one.
const OLD: &str = "db.old";
/// How the names of databases put aside begin.
const BROKEN: &str = "db.broken-";
/// How many of them are kept. They are sealed as they always were.
const MAX_BROKEN: usize = 3;
/// How the names of sled's snapshots begin that a database did not open with.
const ASIDE: &str = "aside.";

/// Opens the database below `data` to be read; if its files are unusable, puts them aside and makes a new one, and says
/// why.
pub(crate) fn open(data: &Path) -> Result<(Engine, Option<String>), StoreError> {
    adopt(data)?;
    let db = data.join(DB);
    match open_copy(data) {
        Ok(engine) => Ok((engine, None)),
        Err(OpenFailure::Refused(error)) => Err(error),
        Err(OpenFailure::Unusable(why)) => {
            put_aside(data, &[])?;
            Ok((open_new(&db)?, Some(format!("the database does not open ({why})"))))
        }
    }
}

/// Opens the database to be read again while the store runs: with none of the steps that would change what it holds.
pub(crate) fn reopen(data: &Path) -> Result<Engine, StoreError> {
    open_copy(data).map_err(into_error)
}

/// Makes the database, where there is none.
pub(crate) fn make(data: &Path) -> Result<Engine, StoreError> {
    open_new(&data.join(DB))
}

/// Opens a copy of the database's files; if that fails, a copy without sled's snapshot.
///
/// Opening, sled zeroes what its new snapshot does not need before the snapshot's name is safe. If the power goes then,
/// the database opens older than it was, without an error. So the files themselves are only ever opened by the process
/// that made them. With no room for a copy they are opened as they are.
fn open_copy(data: &Path) -> Result<Engine, OpenFailure> {
    let (db, copied) = (data.join(DB), data.join(COPY));
    remove_all(&copied)?;
    if !db.exists() {
        return Engine::open(&db);
    }
    let dir = match copy_database(&db, &copied) {
        Ok(()) => copied,
        Err(StoreError::Medium(error)) => {
            tracing::warn!(%error, "the database is opened without a copy");
            remove_all(&copied)?;
            db
        }
        Err(error) => return Err(error.into()),
    };
    match Engine::open(&dir) {
        Err(OpenFailure::Unusable(why)) => {
            tracing::warn!(%why, "the database does not open; trying without sled's snapshot");
            set_snapshots_aside(&dir)?;
            Engine::open(&dir)
        }
        opened => opened,
    }
}

fn copy_database(from: &Path, to: &Path) -> Result<(), StoreError> {
    let _lock = lock_database(from)?;
    copy_files(from, to)
}

fn copy_files(from: &Path, to: &Path) -> Result<(), StoreError> {
    private_dir(to)?;
    for path in entries(from)? {
        let target = to.join(name(&path));
        if path.is_dir() {
            copy_files(&path, &target)?;
        } else {
            let bytes = fs::read(&path).map_err(at(&path))?;
            write_new(&target, &bytes, FILE_MODE).map_err(at(&target))?;
        }
    }
    Ok(())
}

/// Makes a new database of the pairs that are good and puts the present one aside. Whatever interrupts it, one of the
/// two is found under its name by the next [`open`].
pub(crate) fn rebuild(data: &Path, engine: Engine, good: &[Pair]) -> Result<Engine, StoreError> {
    let fresh = copy_pairs(data, engine, good)?;
    put_aside(data, &[])?;
    adopt(data)?;
    Ok(fresh)
}

/// The same for a database that nothing is known to be wrong with: the present one is removed, and stays if there is no
/// room for two.
///
/// A bit that has turned in the header of a segment of sled's hides nothing that its snapshot knows of, so all is there.
/// What is added to that segment is not found again. Only bytes that were just written are known to be good.
pub(crate) fn renew(data: &Path, engine: Engine, good: &[Pair]) -> Result<Engine, StoreError> {
    let (db, old) = (data.join(DB), data.join(OLD));
    let renewed = copy_pairs(data, engine, good).and_then(|fresh| {
        remove_all(&old)?;
        fs::rename(&db, &old).map_err(at(&db))?;
        sync_dir(data)?;
        Ok(fresh)
    });
    match renewed {
        Ok(fresh) => adopt(data).map(|()| fresh),
        Err(error) => {
            tracing::warn!(%error, "the database is not copied to new files: it is used as it is");
            adopt(data)?;
            open_new(&db)
        }
    }
}

/// Writes the pairs to a new database beside the present one. It stays open while it is renamed: sled needs its path no
/// more, and would write to it in an unsafe order if it opened it again.
fn copy_pairs(data: &Path, engine: Engine, good: &[Pair]) -> Result<Engine, StoreError> {
    drop(engine);
    remove_all(&data.join(COPY))?;
    let rebuilt = data.join(REBUILT);
    remove_all(&rebuilt)?;
    let fresh = open_new(&rebuilt)?;
    fresh.commit(copy(good))?;
    Ok(fresh)
}

/// Puts the database aside, and other files of `data` with it.
pub(crate) fn put_aside(data: &Path, with: &[PathBuf]) -> Result<(), StoreError> {
    let number = |path: &PathBuf| name(path).strip_prefix(BROKEN)?.parse::<u64>().ok();
    let mut kept: Vec<_> =
        entries(data)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    kept.sort();
    let next = kept.last().map_or(1, |(newest, _)| newest.saturating_add(1));
    let excess = (kept.len() + 1).saturating_sub(MAX_BROKEN);
    for (_, path) in kept.drain(..excess) {
        remove_all(&path)?;
    }
    let (db, aside) = (data.join(DB), data.join(format!("{BROKEN}{next}")));
    if db.exists() {
        fs::rename(&db, &aside).map_err(at(&db))?;
    } else {
        private_dir(&aside)?;
    }
    for path in with {
        fs::rename(path, aside.join(name(path))).map_err(at(path))?;
    }
    tracing::error!(kept = %aside.display(), "the database is damaged and was put aside");
    Ok(sync_dir(data)?)
}

/// Finishes or takes back a [`rebuild`] or [`renew`] that was interrupted.
fn adopt(data: &Path) -> Result<(), StoreError> {
    let (db, rebuilt, old) = (data.join(DB), data.join(REBUILT), data.join(OLD));
    if db.exists() {
        remove_all(&rebuilt)?;
    } else if let Some(whole) = [&rebuilt, &old].into_iter().find(|path| path.exists()) {
        fs::rename(whole, &db).map_err(at(whole))?;
        sync_dir(data)?;
    }
    remove_all(&old)?;
    remove_all(&data.join(COPY))
}

/// sled can do without its snapshot in most cases: it reads its whole log then.
fn set_snapshots_aside(db: &Path) -> Result<(), StoreError> {
    for path in with_prefix(db, ASIDE)? {
        remove(&path)?;
    }
    for path in with_prefix(db, SNAPSHOT)? {
        let aside = path.with_file_name(name(&path).replacen(SNAPSHOT, ASIDE, 1));
        fs::rename(&path, aside).map_err(at(&path))?;
    }
    Ok(())
}

fn open_new(db: &Path) -> Result<Engine, StoreError> {
    Engine::open(db).map_err(into_error)
}

fn into_error(failure: OpenFailure) -> StoreError {
    match failure {
        OpenFailure::Refused(error) => error,
        OpenFailure::Unusable(why) => StoreError::Engine(why),
    }
}

fn remove_all(dir: &Path) -> Result<(), StoreError> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(at(dir))?;
    }
    Ok(())
}
