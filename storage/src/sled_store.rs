//! The engine on disk: a sealed journal whose loss, damage or age is noticed.
//!
//! ```text
//! data directory              keys directory
//!   lock                        lock
//!   db/            sled         store.key   32 random bytes, made at the first start
//!   snapshot-*     the base     data.keys   a key for each generation, wrapped under store.key
//!   reserve        4 MiB        anchor      the newest acknowledged commit, and the chain up to it
//!                               snapshot-*  a second copy of the base
//!   db.broken-*    put aside
//!   db.copy, .new, .old  meanwhile
//! ```
//!
//! A *generation* is a base (a snapshot, or nothing) and the records after it, all sealed under one data key. A
//! compaction begins the next generation: its key, its records, its base, in this order. The base's file appears under
//! its name in one step, and from then on the old generation is rubbish; its key is destroyed first of all.
//!
//! Each record is bound to its number and to the chain of all records before it. The anchor holds the end of that
//! chain, and is written after the record is safe and before anybody is told. So a record that was altered, moved or
//! left out does not open, and a journal that ends early is older than its anchor. Whoever can put an old copy of
//! *both* directories back is not noticed here: only other machines can tell then.

use std::fs::File;
use std::path::Path;

use async_trait::async_trait;
use rand_core::CryptoRng;
use sled::Batch;

use crate::{Health, Loaded, Record, Snapshot, StateDirs, Store, StoreError, StoreKind};
use anchor::{ANCHOR_FILE, Anchor, Found};
use engine::Engine;
use files::{is_full, lock, private_dir, remove, sync_dir};
use journal::{Position, Scribe, Walk, clear_from, clear_others};
use keys::{DATA_KEYS_FILE, DataKeys, KEY_FILE, StoreKeys};
use reserve::Reserve;
use sealing::Sealing;
use snapshot::{Base, Bases};

mod anchor;
mod engine;
mod files;
mod journal;
mod keys;
mod repair;
mod reserve;
mod sealing;
mod snapshot;
mod waking;

/// Keeps records on this machine's disk, sealed, in a sled database.
///
/// What [`Store::append`] acknowledged survives the end of the process and of the machine's power. It does not survive
/// the loss of the disk or of the keys directory.
pub struct SledStore {
    dirs: StateDirs,
    keys: StoreKeys,
    data_keys: DataKeys,
    sealing: Sealing,
    reserve: Reserve,
    /// Closed after a failure, until the next call.
    engine: Option<Engine>,
    /// Whether the database is to be copied to new files before anything is added to it: it has lost something, or a
    /// write failed for another reason than lack of room, and the kernel may have dropped pages that look written.
    distrusted: bool,
    /// Since [`Store::load`].
    state: Option<State>,
    /// Given back last.
    _locks: [File; 2],
}

/// What is known of the journal.
struct State {
    position: Position,
    /// The newest commit known to have been acknowledged: nothing up to it may be written again.
    floor: u64,
    /// Whether the next record may leave a gap, since something is missing and that was said.
    may_jump: bool,
    /// Whether the database may hold records of an append that failed.
    untidy: bool,
}

impl SledStore {
    /// Opens a group's directories, or makes them at the very first start. Called once a start, before
    /// [`load`](Store::load), on a thread that may wait for a disk.
    ///
    /// Fails if another process has them open, if others on this machine could read them, or if the keys do not belong
    /// to the data. It never replaces a key that is missing or does not fit: that would be to forget every eviction.
    pub fn open(dirs: StateDirs, rng: Box<dyn CryptoRng + Send>) -> Result<Self, StoreError> {
        private_dir(&dirs.data)?;
        private_dir(&dirs.keys)?;
        if dirs.keys.canonicalize()?.starts_with(dirs.data.canonicalize()?) {
            return Err(StoreError::KeysInside { path: dirs.keys });
        }
        let locks = [lock(&dirs.data)?, lock(&dirs.keys)?];
        let mut sealing = Sealing::new(rng);
        let (keys, data_keys) = unlock(&dirs, &mut sealing)?;
        let reserve = Reserve::new(&dirs.data);
        Ok(Self {
            dirs,
            keys,
            data_keys,
            sealing,
            reserve,
            engine: None,
            distrusted: false,
            state: None,
            _locks: locks,
        })
    }

    fn load_now(&mut self) -> Result<Loaded, StoreError> {
        (self.engine, self.state) = (None, None);
        self.reserve.ensure();
        let anchor = Anchor::read(&self.dirs.keys, &self.keys)?;
        let bases = self.read_bases()?;
        let (engine, unusable) = repair::open(&self.dirs.data)?;
        let Some(base) = bases.newest else { return self.begin_anew(engine, unusable, &bases, anchor) };
        let mut walk = self.scribe().walk(&engine, Position::at(&base));
        let made_anew = unusable.is_some();
        let flaw = unusable.or_else(|| walk.flaw.take());
        let health = judge(&walk.position, flaw, anchor, &self.data_keys);
        self.adopt(engine, made_anew, base.snapshot, walk, health)
    }

    /// The bases of the data directory. Where it has none that is as new as the copy beside the keys, for it was damaged
    /// or put back, the copy is the newest, and is put in its place.
    fn read_bases(&mut self) -> Result<Bases, StoreError> {
        let mut bases = snapshot::read(&self.dirs.data, &self.data_keys, &mut self.sealing)?;
        let copy = snapshot::read(&self.dirs.keys, &self.data_keys, &mut self.sealing)?.newest;
        let held = bases.newest.as_ref().map(|base| base.generation);
        if let Some(copy) = copy.filter(|copy| held.is_none_or(|held| held < copy.generation)) {
            tracing::error!(dir = %self.dirs.data.display(), "the snapshot is gone or an old one; its copy is taken");
            copy.write(&self.dirs.data, &self.data_keys, &mut self.sealing)?;
            bases.unreadable.clear();
            bases.newest = Some(copy);
        }
        Ok(bases)
    }

    /// Takes what was read as the present state. An engine that was not made anew may lose what is added to it: it is
    /// copied, at once if it has everything, and else before anything is added.
    fn adopt(
        &mut self,
        engine: Engine,
        made_anew: bool,
        snapshot: Option<Snapshot>,
        walk: Walk,
        health: Health,
    ) -> Result<Loaded, StoreError> {
        let good = matches!(health, Health::Fresh | Health::Whole);
        let engine =
            if good && !made_anew { repair::renew(&self.dirs.data, engine, &walk.pairs)? } else { engine };
        let loaded = Loaded { snapshot, records: walk.records, health };
        self.distrusted = !good && !made_anew;
        self.engine = (!self.distrusted).then_some(engine);
        self.state = Some(State {
            position: walk.position,
            floor: loaded.next_commit() - 1,
            may_jump: !good,
            untidy: true,
        });
        if good {
            self.clear_old_generations();
        } else {
            tracing::error!(health = %loaded.health, dir = %self.dirs.data.display(), "the store is not whole");
        }
        Ok(loaded)
    }

    /// Begins a generation with nothing, because no base can be read: at the very first start, or after a loss.
    fn begin_anew(
        &mut self,
        engine: Engine,
        unusable: Option<String>,
        bases: &Bases,
        anchor: Found,
    ) -> Result<Loaded, StoreError> {
        let mut empty = Loaded::default();
        // A database without a base is one that the first start was still making, whatever became of it.
        let untouched = engine.read(&[]).0.is_empty() && bases.unreadable.is_empty();
        let first = untouched && matches!(anchor, Found::Good(anchor) if anchor.commit == 0);
        let (engine, generation) = if first {
            (engine, self.data_keys.oldest())
        } else {
            let what = unusable.unwrap_or_else(|| "no snapshot file can be read".to_owned());
            let flaw = (!bases.outdated).then_some(what);
            empty.health = missing(flaw, anchor);
            drop(engine);
            repair::put_aside(&self.dirs.data, &bases.unreadable)?;
            let generation = self.data_keys.begin(0, self.sealing.rng());
            self.data_keys.write(&self.keys)?;
            (repair::make(&self.dirs.data)?, generation)
        };
        let chain = self.keys.chain_start(&self.data_keys.store, generation);
        let base = Base { generation, chain, snapshot: None };
        base.write(&self.dirs.data, &self.data_keys, &mut self.sealing)?;
        let walk = self.scribe().walk(&engine, Position::at(&base));
        self.adopt(engine, !first, None, walk, empty.health)
    }

    fn append_now(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let Some(first) = records.first() else { return Ok(()) };
        self.state.as_ref().ok_or(StoreError::NotLoaded)?.check_order(records)?;
        self.with_reserve(|store| {
            let appended = store.try_append(records);
            if appended.is_err() {
                store.take_back(first.commit);
            }
            appended
        })?;
        self.reserve.ensure();
        Ok(())
    }

    fn try_append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.ensure_engine()?;
        let (Some(engine), Some(state)) = (&self.engine, &mut self.state) else {
            return Err(StoreError::NotLoaded);
        };
        let mut batch = Batch::default();
        if state.untidy {
            clear_from(engine, state.position.generation, records[0].commit, &mut batch);
        }
        let mut scribe = Scribe { keys: &self.keys, data_keys: &self.data_keys, sealing: &mut self.sealing };
        for record in records {
            scribe.write(record, &mut state.position, &mut batch);
        }
        let (commit, chain) = state.position.last();
        self.commit(batch)?;
        Anchor { store: self.data_keys.store, commit, chain }.write(&self.dirs.keys, &self.keys)?;
        if let Some(state) = &mut self.state {
            (state.floor, state.may_jump, state.untidy) = (commit, false, false);
        }
        Ok(())
    }

    /// Forgets records that were not acknowledged.
    fn take_back(&mut self, from: u64) {
        if let Some(state) = &mut self.state {
            drop(state.position.chains.split_off(&from));
            state.untidy = true;
        }
    }

    /// Makes a batch safe; an engine that could not is closed.
    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        let engine = self.engine.as_ref().ok_or(StoreError::NotLoaded)?;
        let committed = engine.commit(batch);
        if let Err(error) = &committed {
            self.distrusted |= !is_full(error);
            self.engine = None;
        }
        committed
    }

    fn compact_now(&mut self, snapshot: Snapshot) -> Result<(), StoreError> {
        let state = self.state.as_ref().ok_or(StoreError::NotLoaded)?;
        let (upto, chain) = (snapshot.upto, state.check_snapshot(snapshot.upto)?);
        self.ensure_engine()?;
        let (Some(engine), Some(state)) = (&self.engine, &self.state) else {
            return Err(StoreError::NotLoaded);
        };
        let current = state.position.generation;
        let (last, end) = state.position.last();
        let generation = self.data_keys.begin(current, self.sealing.rng());
        self.data_keys.write(&self.keys)?;
        let mut scribe = Scribe { keys: &self.keys, data_keys: &self.data_keys, sealing: &mut self.sealing };
        let walk = scribe.walk(engine, state.position.restarted());
        if walk.position.chain_at(last) != Some(end) {
            return Err(lost(last));
        }
        let mut next = Position { generation, base: (upto, chain), chains: Default::default() };
        let mut batch = clear_others(engine, current).unwrap_or_default();
        for record in walk.records.iter().filter(|record| upto < record.commit && record.commit <= last) {
            scribe.write(record, &mut next, &mut batch);
        }
        self.commit(batch)?;
        self.switch(&Base { generation, chain, snapshot: Some(snapshot) })?;
        if let Some(state) = &mut self.state {
            (state.position, state.untidy) = (next, false);
        }
        self.clear_old_generations();
        Ok(())
    }

    /// Makes `base` the newest. On `Err` it must not be there: records are still added to the old one.
    fn switch(&mut self, base: &Base) -> Result<(), StoreError> {
        let written = base.write(&self.dirs.data, &self.data_keys, &mut self.sealing);
        if written.is_err() && base.remove(&self.dirs.data).is_err() {
            // Nobody can say which of the two the next start finds: nothing more is acknowledged until then.
            (self.engine, self.state) = (None, None);
        }
        written?;
        // A second one beside the keys: whatever becomes of the data directory, who was evicted stays known. Without it
        // the store is as good as one that was never damaged.
        if let Err(error) = base.write(&self.dirs.keys, &self.data_keys, &mut self.sealing) {
            tracing::warn!(%error, dir = %self.dirs.keys.display(), "no copy of the snapshot is kept beside the keys");
        }
        Ok(())
    }

    /// Destroys the keys of old generations, then what they sealed. What fails is done at the next compaction or start.
    fn clear_old_generations(&mut self) {
        let (Some(engine), Some(state)) = (&self.engine, &self.state) else { return };
        let generation = state.position.generation;
        let mut clear = || {
            if self.data_keys.keep(generation) {
                self.data_keys.write(&self.keys)?;
                self.sealing.forget();
            }
            for dir in [&self.dirs.data, &self.dirs.keys] {
                for path in snapshot::files(dir)? {
                    if snapshot::generation_of(&path) != Some(generation) {
                        remove(&path)?;
                    }
                }
                sync_dir(dir)?;
            }
            clear_others(engine, generation).map_or(Ok(()), |batch| engine.commit(batch))
        };
        if let Err(error) = clear() {
            tracing::warn!(%error, "what was compacted away is not cleared yet");
            self.engine = None;
        }
    }

    /// Opens the engine again after a failure, and makes sure it still has what was acknowledged.
    fn ensure_engine(&mut self) -> Result<(), StoreError> {
        if self.engine.is_some() {
            return Ok(());
        }
        let state = self.state.as_ref().ok_or(StoreError::NotLoaded)?;
        let ((last, end), base) = (state.position.last(), state.position.restarted());
        let engine = repair::reopen(&self.dirs.data)?;
        let walk = self.scribe().walk(&engine, base);
        if walk.position.chain_at(last) != Some(end) {
            return Err(lost(last));
        }
        let good = walk.pairs_upto(last);
        self.engine = Some(if self.distrusted {
            repair::rebuild(&self.dirs.data, engine, good)?
        } else {
            repair::renew(&self.dirs.data, engine, good)?
        });
        self.distrusted = false;
        Ok(())
    }

    /// Does it again with the reserve given up, if the medium is full and there is one.
    fn with_reserve<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match attempt(self) {
            Err(error) if is_full(&error) && self.reserve.release()? => {
                tracing::warn!(%error, "the disk is full: the reserve is given up");
                attempt(self)
            }
            done => done,
        }
    }

    fn scribe(&mut self) -> Scribe<'_> {
        Scribe { keys: &self.keys, data_keys: &self.data_keys, sealing: &mut self.sealing }
    }
}

#[async_trait]
impl Store for SledStore {
    async fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.append_now(records)
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        self.with_reserve(Self::load_now)
    }

    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.compact_now(snapshot)
    }

    fn describe(&self) -> StoreKind {
        StoreKind::Sled
    }
}

impl State {
    /// Refuses records that do not follow on what was acknowledged.
    fn check_order(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut last = self.position.last().0.max(self.floor);
        let mut may_jump = self.may_jump || last == 0;
        for record in records {
            let expected = last.saturating_add(1);
            let follows = record.commit == expected || may_jump;
            if record.commit <= last || !follows {
                return Err(StoreError::OutOfOrder { expected, found: record.commit });
            }
            (last, may_jump) = (record.commit, false);
        }
        Ok(())
    }

    /// The chain value a snapshot up to `upto` ends with, if one may be made.
    fn check_snapshot(&self, upto: u64) -> Result<[u8; 32], StoreError> {
        let (base, last) = (self.position.base.0, self.position.last().0);
        let outside = || {
            let held = if last == 0 { "nothing".to_owned() } else { format!("{base} to {last}") };
            StoreError::SnapshotOutside { upto, held }
        };
        if upto == 0 || upto > last {
            return Err(outside());
        }
        self.position.chain_at(upto).ok_or_else(outside)
    }
}

/// Reads what opens the store, or makes it where there was never anything.
fn unlock(dirs: &StateDirs, sealing: &mut Sealing) -> Result<(StoreKeys, DataKeys), StoreError> {
    let [data_keys_path, anchor_path] = [DATA_KEYS_FILE, ANCHOR_FILE].map(|name| dirs.keys.join(name));
    let begun = has_state(&dirs.data)?;
    let keys = match StoreKeys::read(&dirs.keys)? {
        Some(keys) => keys,
        None if begun || data_keys_path.exists() || anchor_path.exists() => {
            return Err(StoreError::MissingKey { path: dirs.keys.join(KEY_FILE) });
        }
        None => StoreKeys::make(&dirs.keys, sealing.rng())?,
    };
    if let Some(data_keys) = DataKeys::read(&dirs.keys, &keys)? {
        return Ok((keys, data_keys));
    }
    let anchor = Anchor::read(&dirs.keys, &keys)?;
    let never =
        matches!(anchor, Found::Missing) || matches!(anchor, Found::Good(anchor) if anchor.commit == 0);
    if begun || !never {
        return Err(StoreError::MissingKey { path: data_keys_path });
    }
    let mut store = [0; 16];
    sealing.rng().fill_bytes(&mut store);
    let data_keys = DataKeys::new(&dirs.keys, store, sealing.rng());
    // The anchor first: keys without an anchor mean that somebody has removed it.
    Anchor { store, commit: 0, chain: [0; 32] }.write(&dirs.keys, &keys)?;
    data_keys.write(&keys)?;
    Ok((keys, data_keys))
}

/// Whether anything was ever kept in this data directory.
fn has_state(data: &Path) -> Result<bool, StoreError> {
    let paths = files::entries(data)?;
    Ok(paths
        .iter()
        .any(|path| files::name(path).starts_with(repair::DB) || snapshot::generation_of(path).is_some()))
}

/// Holds what was read against the anchor.
fn judge(position: &Position, flaw: Option<String>, anchor: Found, keys: &DataKeys) -> Health {
    let (held, _) = position.last();
    let damaged = |what: &str, anchored| Health::Damaged { what: what.to_owned(), held, anchored };
    let anchor = match anchor {
        Found::Good(anchor) if anchor.store == keys.store => anchor,
        Found::Missing => return damaged("the anchor file is missing", 0),
        Found::Bad | Found::Good(_) => return damaged("the anchor file is not this store's", 0),
    };
    let anchored = anchor.commit;
    if let Some(flaw) = flaw {
        return damaged(&flaw, anchored);
    }
    match position.chain_at(anchored) {
        None => damaged("the anchor file is older than the snapshot", anchored),
        Some(_) if anchored == 0 && held == 0 => Health::Fresh,
        Some(_) if anchored == 0 => Health::Whole,
        Some(_) if anchored > held => Health::Behind { held, anchored },
        Some(chain) if chain == anchor.chain => Health::Whole,
        Some(_) => damaged(&format!("record {anchored} is not the one that was acknowledged"), anchored),
    }
}

/// The health of a store that has nothing left; without a flaw it is an old copy.
fn missing(flaw: Option<String>, anchor: Found) -> Health {
    let anchored = match anchor {
        Found::Good(anchor) => anchor.commit,
        Found::Missing | Found::Bad => 0,
    };
    match flaw {
        None if anchored > 0 => Health::Behind { held: 0, anchored },
        flaw => {
            let what = flaw.unwrap_or_else(|| "an old copy, and no anchor file that fits".to_owned());
            Health::Damaged { what, held: 0, anchored }
        }
    }
}

fn lost(last: u64) -> StoreError {
    StoreError::Engine(format!("the database no longer has record {last}: start again to see what is left"))
}

#[cfg(test)]
mod tests;
