//! The journal's form in the engine: each record sealed, bound to the one before it, and cut into pieces.
//!
//! ```text
//! key    generation (u64) ‖ commit (u64) ‖ piece (u32)
//! value  the piece's part of: version 1 ‖ table (1) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! Pieces are small because sled keeps nodes of more than 128 KiB, up to 16 values together, in files of their own
//! that it never syncs.

use std::collections::BTreeMap;

use sled::Batch;

use super::engine::{Engine, Pair};
use super::keys::{DataKeys, StoreKeys};
use super::sealing::{Chain, Place, Sealing, Table};
use super::snapshot::Base;
use crate::Record;

const VERSION: u8 = 1;
const PIECE: usize = 4_096;
const KEY_LEN: usize = 20;

/// Where the journal stands: its base, and the chain after each record that follows.
pub(crate) struct Position {
    pub(crate) generation: u64,
    /// The last commit the base contains, and the chain value after it.
    pub(crate) base: (u64, Chain),
    /// The chain value after each record.
    pub(crate) chains: BTreeMap<u64, Chain>,
}

impl Position {
    pub(crate) fn at(base: &Base) -> Self {
        Self { generation: base.generation, base: (base.upto(), base.chain), chains: BTreeMap::new() }
    }

    /// The same base, and no record yet.
    pub(crate) fn restarted(&self) -> Self {
        Self { generation: self.generation, base: self.base, chains: BTreeMap::new() }
    }

    /// The newest commit and the chain value after it.
    pub(crate) fn last(&self) -> (u64, Chain) {
        self.chains.last_key_value().map_or(self.base, |(commit, chain)| (*commit, *chain))
    }

    /// The chain value after the newest record that is not above `commit`; `None` below the base.
    pub(crate) fn chain_at(&self, commit: u64) -> Option<Chain> {
        if commit < self.base.0 {
            return None;
        }
        Some(self.chains.range(..=commit).next_back().map_or(self.base.1, |(_, chain)| *chain))
    }
}

/// What seals and opens records of one store.
pub(crate) struct Scribe<'a> {
    pub(crate) keys: &'a StoreKeys,
    pub(crate) data_keys: &'a DataKeys,
    pub(crate) sealing: &'a mut Sealing,
}

/// What a walk over the journal found.
pub(crate) struct Walk {
    pub(crate) records: Vec<Record>,
    pub(crate) position: Position,
    /// The pairs that make up `records`.
    pub(crate) pairs: Vec<Pair>,
    /// Why the walk ended before the end of the journal.
    pub(crate) flaw: Option<String>,
}

impl Walk {
    /// The pairs of all records up to `last`.
    pub(crate) fn pairs_upto(&self, last: u64) -> &[Pair] {
        let end = self.pairs.partition_point(|pair| commit_of(pair) <= Some(last));
        &self.pairs[..end]
    }
}

impl Scribe<'_> {
    /// Adds `record` to `batch` and to `position`. Its number is the caller's to check.
    pub(crate) fn write(&mut self, record: &Record, position: &mut Position, batch: &mut Batch) {
        let (last, before) = position.last();
        let table =
            if last != 0 && last.checked_add(1) == Some(record.commit) { Table::Next } else { Table::Jump };
        let generation = position.generation;
        let place =
            Place { store: &self.data_keys.store, table, generation, commit: record.commit, before: &before };
        let key = self.data_keys.of(generation).expect("invariant: the journal's generation has a key");
        let mut value = vec![VERSION, table as u8];
        value.extend(self.sealing.seal(key, &place, &record.bytes));
        for (piece, part) in (0_u32..).zip(value.chunks(PIECE)) {
            batch.insert(key_of(generation, record.commit, piece).as_slice(), part);
        }
        let after = self.keys.chain_next(&before, record.commit, &record.bytes);
        position.chains.insert(record.commit, after);
    }

    /// Reads the records that follow on `base`, a position without records, up to the first that is not what was written there.
    pub(crate) fn walk(&mut self, engine: &Engine, base: Position) -> Walk {
        let (pairs, mut flaw) = engine.read(&base.generation.to_be_bytes());
        let mut walk = Walk { records: Vec::new(), position: base, pairs: Vec::new(), flaw: None };
        for group in pairs.chunk_by(|a, b| commit_of(a) == commit_of(b)) {
            match self.open(group, &walk.position) {
                Ok((record, after)) => {
                    walk.position.chains.insert(record.commit, after);
                    walk.records.push(record);
                    walk.pairs.extend_from_slice(group);
                }
                Err(why) => {
                    flaw = Some(why);
                    break;
                }
            }
        }
        walk.flaw = flaw;
        walk
    }

    fn open(&mut self, group: &[Pair], position: &Position) -> Result<(Record, Chain), String> {
        let (last, before) = position.last();
        let commit = commit_of(&group[0]).ok_or_else(|| format!("a foreign key after record {last}"))?;
        let value = (0..).zip(group).try_fold(Vec::new(), |mut value, (piece, (key, part))| {
            (key[..] == key_of(position.generation, commit, piece)).then(|| {
                value.extend_from_slice(part);
                value
            })
        });
        let opened = value.and_then(|value| {
            let [VERSION, table, sealed @ ..] = value.as_slice() else { return None };
            let table = Table::from_byte(*table)?;
            let due = match table {
                Table::Next => last.checked_add(1) == Some(commit),
                Table::Jump => commit > last,
                Table::Snapshot | Table::Nothing => false,
            };
            let (store, generation) = (&self.data_keys.store, position.generation);
            let place = Place { store, table, generation, commit, before: &before };
            due.then(|| self.sealing.open(self.data_keys.of(generation)?, &place, sealed))?
        });
        let bytes =
            opened.ok_or_else(|| format!("record {commit} after {last} is not what was written there"))?;
        let after = self.keys.chain_next(&before, commit, &bytes);
        Ok((Record { commit, bytes }, after))
    }
}

/// A batch of exactly these pairs.
pub(crate) fn copy(pairs: &[Pair]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.insert(key, value);
    }
    batch
}

/// Adds to `batch` the removal of every pair of `generation` from `commit` on.
pub(crate) fn clear_from(engine: &Engine, generation: u64, commit: u64, batch: &mut Batch) {
    for (key, _) in engine.read(&generation.to_be_bytes()).0 {
        if key[..] >= key_of(generation, commit, 0)[..] {
            batch.remove(key);
        }
    }
}

/// The removal of every pair that is not of `generation`; `None` if there is none.
pub(crate) fn clear_others(engine: &Engine, generation: u64) -> Option<Batch> {
    let mut batch = Batch::default();
    let mut some = false;
    for (key, _) in engine.read(&[]).0 {
        if !key.starts_with(&generation.to_be_bytes()) {
            batch.remove(key);
            some = true;
        }
    }
    some.then_some(batch)
}

fn key_of(generation: u64, commit: u64, piece: u32) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&generation.to_be_bytes());
    key[8..16].copy_from_slice(&commit.to_be_bytes());
    key[16..].copy_from_slice(&piece.to_be_bytes());
    key
}

/// The commit a key belongs to; `None` if it is none of ours.
fn commit_of((key, _): &Pair) -> Option<u64> {
    let key: &[u8; KEY_LEN] = key[..].try_into().ok()?;
    Some(u64::from_be_bytes(*key[8..].first_chunk()?))
}
