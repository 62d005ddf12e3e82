//! Getting a database open, whatever state its files are in.

use std::fs;
use std::path::{Path, PathBuf};

use super::engine::{Engine, KEPT, OpenFailure, Pair, SNAPSHOT, renamed, with_prefix};
use super::files::{at, entries, name, remove, sync_dir};
use super::journal::copy;
use crate::StoreError;

/// The engine's directory.
pub(crate) const DB: &str = "db";
/// A rebuilt one that has not taken its place yet.
const REBUILT: &str = "db.new";
/// How the names of databases put aside begin.
const BROKEN: &str = "db.broken-";
/// How many of them are kept. They are sealed as they always were.
const MAX_BROKEN: usize = 3;
/// How the names of sled's snapshots begin that a database did not open with.
const ASIDE: &str = "aside.";

/// Opens the database below `data`; if its files are unusable, puts them aside and makes a new one, and says why.
pub(crate) fn open(data: &Path) -> Result<(Engine, Option<String>), StoreError> {
    adopt(data)?;
    let db = data.join(DB);
    match Engine::open(&db) {
        Ok(engine) => return Ok((engine, None)),
        Err(OpenFailure::Refused(error)) => return Err(error),
        Err(OpenFailure::Unusable(why)) => {
            tracing::warn!(%why, "the database does not open; trying without sled's snapshot");
        }
    }
    set_snapshots_aside(&db)?;
    match Engine::open(&db) {
        Ok(engine) => Ok((engine, None)),
        Err(OpenFailure::Refused(error)) => Err(error),
        Err(OpenFailure::Unusable(why)) => {
            put_aside(data, &[])?;
            Ok((open_new(&db)?, Some(format!("the database does not open ({why})"))))
        }
    }
}

/// Opens the database again while the store runs: with none of the steps that would change what it holds.
pub(crate) fn reopen(data: &Path) -> Result<Engine, StoreError> {
    open_new(&data.join(DB))
}

/// Makes a new database of the pairs that are good and puts the present one aside. Whatever interrupts it, one of the
/// two is found under its name by the next [`open`].
pub(crate) fn rebuild(data: &Path, engine: Engine, good: &[Pair]) -> Result<Engine, StoreError> {
    drop(engine);
    let (db, rebuilt) = (data.join(DB), data.join(REBUILT));
    remove_all(&rebuilt)?;
    let fresh = open_new(&rebuilt)?;
    fresh.commit(copy(good))?;
    drop(fresh);
    put_aside(data, &[])?;
    fs::rename(&rebuilt, &db).map_err(at(&rebuilt))?;
    sync_dir(data)?;
    open_new(&db)
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
        super::files::private_dir(&aside)?;
    }
    for path in with {
        fs::rename(path, aside.join(name(path))).map_err(at(path))?;
    }
    tracing::error!(kept = %aside.display(), "the database is damaged and was put aside");
    Ok(sync_dir(data)?)
}

/// Finishes or takes back a [`rebuild`] that was interrupted.
fn adopt(data: &Path) -> Result<(), StoreError> {
    let (db, rebuilt) = (data.join(DB), data.join(REBUILT));
    if !rebuilt.exists() {
        return Ok(());
    }
    if db.exists() {
        return remove_all(&rebuilt);
    }
    fs::rename(&rebuilt, &db).map_err(at(&rebuilt))?;
    Ok(sync_dir(data)?)
}

/// sled can do without its snapshot in most cases: it reads its whole log then.
fn set_snapshots_aside(db: &Path) -> Result<(), StoreError> {
    for path in with_prefix(db, ASIDE)?.iter().chain(&with_prefix(db, KEPT)?) {
        remove(path)?;
    }
    for path in with_prefix(db, SNAPSHOT)? {
        fs::rename(&path, renamed(&path, SNAPSHOT, ASIDE)).map_err(at(&path))?;
    }
    Ok(())
}

fn open_new(db: &Path) -> Result<Engine, StoreError> {
    Engine::open(db).map_err(|failure| match failure {
        OpenFailure::Refused(error) => error,
        OpenFailure::Unusable(why) => StoreError::Engine(why),
    })
}

fn remove_all(dir: &Path) -> Result<(), StoreError> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(at(dir))?;
    }
    Ok(())
}
