//! The base of a generation, as a plain sealed file: a snapshot, or the statement that there is none.
//!
//! It is readable without the engine, so a dead database can be rebuilt from it. The file's appearance under its name
//! is the one step by which a compaction becomes true.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::{FILE_MODE, at, entries, is_of_content, name, remove, sync_dir, write_whole};
use super::keys::DataKeys;
use super::sealing::{Chain, Place, Sealing, Table};
use crate::{Snapshot, StoreError};

/// Format and version of the file.
const MAGIC: &[u8; 8] = b"cnclvsn1";
/// How the files' names begin.
const PREFIX: &str = "snapshot-";

/// What the records of a generation follow on.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) generation: u64,
    /// The chain value the first record is bound to.
    pub(crate) chain: Chain,
    /// The snapshot; `None` if the generation begins with nothing.
    pub(crate) snapshot: Option<Snapshot>,
}

impl Base {
    /// The last commit contained; 0 if none is.
    pub(crate) fn upto(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.upto)
    }

    /// Writes the file and returns when it is safe. From then on it is the newest base.
    pub(crate) fn write(&self, dir: &Path, keys: &DataKeys, sealing: &mut Sealing) -> Result<(), StoreError> {
        let key = keys.of(self.generation).expect("invariant: a generation's key is made before its base");
        let (table, bytes) = match &self.snapshot {
            Some(snapshot) => (Table::Snapshot, snapshot.bytes.as_slice()),
            None => (Table::Nothing, [].as_slice()),
        };
        let sealed = sealing.seal(key, &self.place(keys, table), bytes);
        let head = [self.generation, self.upto()].map(u64::to_be_bytes).concat();
        let file = [MAGIC.as_slice(), &[table as u8], &head, &self.chain, &sealed].concat();
        Ok(write_whole(&dir.join(file_name(self.generation)), &file, FILE_MODE)?)
    }

    /// Removes the file, if it is there, and returns when that is safe.
    pub(crate) fn remove(&self, dir: &Path) -> Result<(), StoreError> {
        remove(&dir.join(file_name(self.generation)))?;
        Ok(sync_dir(dir)?)
    }

    /// Opens one file; `None` if it is not what was written, or its key is gone.
    fn parse(bytes: &[u8], keys: &DataKeys, sealing: &mut Sealing) -> Option<Self> {
        let (table, rest) = bytes.strip_prefix(MAGIC)?.split_first()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (upto, rest) = rest.split_first_chunk()?;
        let (chain, sealed) = rest.split_first_chunk()?;
        let (generation, upto) = (u64::from_be_bytes(*generation), u64::from_be_bytes(*upto));
        let place = Place {
            store: &keys.store,
            table: Table::from_byte(*table)?,
            generation,
            commit: upto,
            before: chain,
        };
        let bytes = sealing.open(keys.of(generation)?, &place, sealed)?;
        let snapshot = match place.table {
            Table::Snapshot => Some(Snapshot { upto, bytes }),
            Table::Nothing => None,
            Table::Next | Table::Jump => return None,
        };
        Some(Self { generation, chain: *chain, snapshot })
    }

    fn place<'a>(&'a self, keys: &'a DataKeys, table: Table) -> Place<'a> {
        Place {
            store: &keys.store,
            table,
            generation: self.generation,
            commit: self.upto(),
            before: &self.chain,
        }
    }
}

/// What the data directory has of bases.
pub(crate) struct Bases {
    /// The newest that opens.
    pub(crate) newest: Option<Base>,
    /// Files that do not open, newest first.
    pub(crate) unreadable: Vec<PathBuf>,
    /// Of those, whether one is of a generation whose key was destroyed: an old copy, not a broken file.
    pub(crate) outdated: bool,
}

/// Reads the bases, newest first, up to the first that opens.
pub(crate) fn read(dir: &Path, keys: &DataKeys, sealing: &mut Sealing) -> Result<Bases, StoreError> {
    let mut found = Bases { newest: None, unreadable: Vec::new(), outdated: false };
    for path in files(dir)?.into_iter().rev() {
        found.newest = match fs::read(&path) {
            Ok(bytes) => Base::parse(&bytes, keys, sealing),
            Err(error) if is_of_content(&error) => None,
            Err(error) => return Err(at(&path)(error).into()),
        };
        if found.newest.is_some() {
            break;
        }
        found.outdated |= generation_of(&path).is_some_and(|generation| generation < keys.oldest());
        found.unreadable.push(path);
    }
    Ok(found)
}

/// The files of all bases, oldest first.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = entries(dir)?;
    paths.retain(|path| generation_of(path).is_some());
    Ok(paths)
}

/// The generation a base's file is named after.
pub(crate) fn generation_of(path: &Path) -> Option<u64> {
    let digits = name(path).strip_prefix(PREFIX)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

fn file_name(generation: u64) -> String {
    format!("{PREFIX}{generation:016x}")
}
