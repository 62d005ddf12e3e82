//! Runs of the real engine in child processes, as what they did to the disk.

use std::fs;

use storage::{Loaded, SledStore, Store};
use tempfile::TempDir;

use crate::disk::Disk;
use crate::events::{Event, events};
use crate::promise::Promise;
use crate::script::record_calls;
use crate::support::{copy_dir, directory, dirs, record, records, snapshot, start, wait};

/// What became of a store before the script runs.
#[derive(Clone, Copy, Debug)]
enum Damage {
    OldCopy,
    NoDatabase,
    BrokenRecord,
    NoData,
    NoBase,
}

/// Recorded runs, one after another: what was there, what was promised, and what happened.
pub(crate) struct Recorded {
    pub(crate) name: String,
    /// What was in `root` at the beginning, as a start finds it.
    before: Loaded,
    root: TempDir,
    pub(crate) events: Vec<Event>,
}

/// The numbers of the first and the last operation, and the sync at which the process is killed, if it is.
type Run = (u64, u64, Option<u64>);

impl Recorded {
    /// Runs the script on the store that is in `root`.
    fn of(name: String, root: TempDir, runs: &[Run]) -> Self {
        let copy = || {
            let copy = directory();
            copy_dir(root.path(), copy.path());
            copy
        };
        let before = start(copy().path()).unwrap().1;
        // What it begins with is needed again for each look at the events.
        let work = copy();
        let record = |(from, to, killed_at): &Run| record_calls(work.path(), *from, *to, *killed_at);
        let records: Vec<_> = runs.iter().map(record).collect();
        let events = events(&records, work.path(), &Disk::of(root.path()));
        Self { name, before, root, events }
    }

    /// The script up to operation `last`, on an empty directory.
    pub(crate) fn script(last: u64) -> Self {
        Self::of("script".to_owned(), directory(), &[(1, last, None)])
    }

    /// Starts after crashes and damage: five damaged stores, six that are killed again and again, and two long lives.
    pub(crate) fn all_others() -> Vec<Self> {
        let damages =
            [Damage::OldCopy, Damage::NoDatabase, Damage::BrokenRecord, Damage::NoData, Damage::NoBase];
        // Counted in syncs: the first start has 20 or so, an append three, a compaction a dozen.
        let times = [[9, 24, 33], [22, 31, 52], [30, 14, 60], [41, 17, 27], [47, 50, 12], [58, 23, 19]];
        let lives = [300, 500].map(Self::long_life);
        damages.map(Self::damaged).into_iter().chain(times.map(Self::killed)).chain(lives).collect()
    }

    /// One of each kind.
    pub(crate) fn some_others() -> Vec<Self> {
        vec![Self::damaged(Damage::NoData), Self::killed([22, 31, 52]), Self::long_life(400)]
    }

    /// A process that is killed at a sync, and so are the next ones: what was not synced then is as unsafe as before.
    fn killed(times: [u64; 3]) -> Self {
        let killed = times.map(|time| (5, 40, Some(time)));
        Self::of(format!("killed at {times:?}"), directory(), &[killed.as_slice(), &[(5, 30, None)]].concat())
    }

    /// A start of a store that ran for long, so that the engine has room to give back.
    pub(crate) fn long_life(length: u64) -> Self {
        let root = directory();
        let (mut store, _) = start(root.path()).unwrap();
        for last in (5..=length).step_by(5) {
            wait(store.append(&records(last - 4, last))).unwrap();
            if last % 50 == 0 {
                wait(store.compact(snapshot(last - 2))).unwrap();
            }
        }
        drop(store);
        Self::of(format!("life of {length}"), root, &[(1, 3, None)])
    }

    /// A store that has lost something.
    fn damaged(damage: Damage) -> Self {
        let root = directory();
        let older = directory();
        let (mut store, _) = start(root.path()).unwrap();
        let append = |store: &mut SledStore, first, last| {
            (first..=last).for_each(|commit| wait(store.append(&[record(commit)])).unwrap());
        };
        append(&mut store, 1, 12);
        wait(store.compact(snapshot(5))).unwrap();
        copy_dir(root.path(), older.path());
        append(&mut store, 13, 25);
        drop(store);
        let data = dirs(root.path()).data;
        match damage {
            Damage::OldCopy => {
                fs::remove_dir_all(&data).unwrap();
                fs::rename(dirs(older.path()).data, &data).unwrap();
            }
            Damage::NoDatabase => fs::write(data.join("db/conf"), "segment_size: 7\n").unwrap(),
            Damage::BrokenRecord => {
                let db = data.join("db/db");
                let mut bytes = fs::read(&db).unwrap();
                let at = bytes.iter().rposition(|byte| *byte != 0).unwrap() - 700;
                bytes[at] ^= 1;
                fs::write(&db, bytes).unwrap();
            }
            Damage::NoData => fs::remove_dir_all(&data).unwrap(),
            Damage::NoBase => {
                for dir in [&data, &dirs(root.path()).keys] {
                    fs::remove_file(dir.join("snapshot-0000000000000002")).unwrap();
                }
            }
        }
        Self::of(format!("{damage:?}"), root, &[(1, 24, None)])
    }

    /// Goes through the events, and stops after each change.
    pub(crate) fn play(&self, mut at_change: impl FnMut(&Disk, &Promise, u64)) {
        let mut disk = Disk::of(self.root.path());
        let mut promise = Promise::of(&self.before);
        for event in &self.events {
            match event {
                Event::Mark(mark) => promise.mark(*mark),
                Event::Sync { begun, node } => disk.sync(*begun, *node),
                Event::Change { ended, change } => {
                    let number = disk.change(*ended, change.clone());
                    at_change(&disk, &promise, number);
                }
            }
        }
    }
}
