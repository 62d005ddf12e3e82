//! Attack A37: the disk is full. Nothing is acknowledged that is not safe, one more eviction fits, and a restart makes
//! nothing worse.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use storage::{Health, Loaded, Record, SledStore, StateDirs, Store, StoreError};

use crate::support::{self, Place, copy_dir, snapshot, wait};

/// A file system of 6 MiB if nothing else is said, gone with it.
struct Small {
    root: PathBuf,
    dirs: StateDirs,
    _dir: tempfile::TempDir,
}

impl Small {
    /// `None` where this process may not mount.
    fn new() -> Option<Self> {
        Self::of(6)
    }

    /// The same with so many MiB.
    fn of(size: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}m,mode=0700"), "tmpfs"]).arg(dir.path());
        let mounted = mount.output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let root = dir.path().to_owned();
        let dirs = StateDirs { data: root.join("data"), keys: root.join("keys") };
        Some(Self { root, dirs, _dir: dir })
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.root.join("ballast")).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Takes all but this many pages of 4 KiB.
    fn leave(&self, pages: u64) {
        self.fill();
        let file = File::options().write(true).open(self.root.join("ballast")).unwrap();
        let full = file.metadata().unwrap().len() / 4_096;
        file.set_len(full.saturating_sub(pages) * 4_096).unwrap();
    }

    /// Nothing but a copy of this store.
    fn reset(&self, from: &Path) {
        let _ = fs::remove_file(self.root.join("ballast"));
        for (name, dir) in [("data", &self.dirs.data), ("keys", &self.dirs.keys)] {
            let _ = fs::remove_dir_all(dir);
            if from.join(name).exists() {
                copy_dir(&from.join(name), dir);
            }
        }
    }

    fn empty(&self) {
        fs::remove_file(self.root.join("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.root).output();
    }
}

/// Starts the store. A child that another test has just forked holds the lock until it becomes its program.
fn start(dirs: &StateDirs) -> Result<(SledStore, Loaded), StoreError> {
    loop {
        match support::start(dirs) {
            Err(StoreError::Locked { .. }) => std::thread::yield_now(),
            started => return started,
        }
    }
}

fn big(commit: u64) -> Record {
    Record { commit, bytes: vec![commit as u8; 20_000] }
}

fn small(commit: u64) -> Record {
    Record { commit, bytes: vec![commit as u8; 100] }
}

/// Appends big records until the store says that the disk is full; the last commit it took.
fn append_until_full(store: &mut SledStore, mut last: u64) -> u64 {
    loop {
        match wait(store.append(&[big(last + 1)])) {
            Ok(()) => last += 1,
            Err(StoreError::Medium(_)) => return last,
            Err(other) => panic!("{other}"),
        }
    }
}

fn reserve(dirs: &StateDirs) -> bool {
    Path::new(&dirs.data.join("reserve")).exists()
}

#[test]
fn a_full_disk_costs_nothing_that_was_acknowledged_and_takes_one_more_eviction() {
    let Some(disk) = Small::new() else {
        eprintln!("skipped: this process may not mount a small file system");
        return;
    };
    let (mut store, _) = start(&disk.dirs).unwrap();
    wait(store.append(&[small(1)])).unwrap();
    assert!(reserve(&disk.dirs));
    disk.fill();
    // The engine may have room of its own left; sooner or later it needs more, and the reserve is given up.
    let mut last = 1;
    while reserve(&disk.dirs) {
        wait(store.append(&[small(last + 1)])).unwrap();
        last += 1;
    }
    let last = append_until_full(&mut store, last);
    assert!(last > 20, "the reserve gave room for {last} records only");
    // It stays full, and refusals stay refusals.
    for _ in 0..3 {
        assert!(matches!(wait(store.append(&[big(last + 1)])), Err(StoreError::Medium(_))));
    }
    drop(store);
    disk.empty();
    let (mut store, loaded) = start(&disk.dirs).unwrap();
    assert_eq!(loaded.health, Health::Whole);
    assert!(loaded.held() >= last);
    let next = loaded.next_commit();
    wait(store.append(&[small(next)])).unwrap();
    drop(store);
    assert_eq!(start(&disk.dirs).unwrap().1.held(), next);
}

#[test]
fn room_that_comes_back_is_used_without_a_restart_and_the_reserve_is_made_again() {
    let Some(disk) = Small::new() else {
        eprintln!("skipped: this process may not mount a small file system");
        return;
    };
    let (mut store, _) = start(&disk.dirs).unwrap();
    wait(store.append(&[small(1)])).unwrap();
    disk.fill();
    let last = append_until_full(&mut store, 1);
    assert!(!reserve(&disk.dirs));
    disk.empty();
    wait(store.append(&[small(last + 1)])).unwrap();
    wait(store.compact(storage::Snapshot { upto: last + 1, bytes: vec![7; 100] })).unwrap();
    drop(store);
    let (_, loaded) = start(&disk.dirs).unwrap();
    assert_eq!((loaded.health.clone(), loaded.held()), (Health::Whole, last + 1));
}

#[test]
fn restarting_on_a_full_disk_is_harmless() {
    let Some(disk) = Small::new() else {
        eprintln!("skipped: this process may not mount a small file system");
        return;
    };
    let (mut store, _) = start(&disk.dirs).unwrap();
    wait(store.append(&[small(1)])).unwrap();
    disk.fill();
    let last = append_until_full(&mut store, 1);
    drop(store);
    for _ in 0..10 {
        disk.fill();
        // It opens or says that there is no room; it never takes a full disk for a broken one.
        match start(&disk.dirs) {
            Ok((_, loaded)) => assert_eq!((&loaded.health, loaded.held() >= last), (&Health::Whole, true)),
            Err(StoreError::Medium(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    disk.empty();
    let (mut store, loaded) = start(&disk.dirs).unwrap();
    assert_eq!(loaded.health, Health::Whole);
    assert!(loaded.held() >= last);
    wait(store.append(&[small(loaded.next_commit())])).unwrap();
}

/// What the disk refused, and nothing else went wrong.
fn is_full<T>(result: Result<T, StoreError>) -> bool {
    match result {
        Ok(_) => false,
        Err(StoreError::Medium(_)) => true,
        Err(other) => panic!("{other}"),
    }
}

/// Whole, and with everything up to `last`.
fn assert_whole(dirs: &StateDirs, last: u64, what: &str) {
    let (_, loaded) = start(dirs).unwrap();
    assert_eq!(loaded.health, Health::Whole, "{what}");
    assert!(loaded.held() >= last, "{what}: {} of {last}", loaded.held());
    assert!(loaded.records.iter().all(|found| *found == big(found.commit)), "{what}");
}

/// Each write of an append and of a compaction meets the full disk for some amount of room: the small files with few
/// pages left, the engine's own with up to one of its segments. Whichever it is, what was acknowledged is in an image of
/// that moment, and the store goes on when there is room.
#[test]
fn a_disk_that_is_full_at_any_write_costs_nothing_and_room_is_used_as_soon_as_it_is_back() {
    let Some(disk) = Small::of(12) else {
        eprintln!("skipped: this process may not mount a small file system");
        return;
    };
    let pristine = Place::new();
    let (mut store, _) = pristine.start();
    (1..=6).for_each(|commit| wait(store.append(&[big(commit)])).unwrap());
    drop(store);
    let mut refused = [0; 2];
    for pages in (0..8).chain((16..=144).step_by(16)) {
        for with_reserve in [false, true] {
            disk.reset(pristine.dirs.data.parent().unwrap());
            let (mut store, _) = start(&disk.dirs).unwrap();
            if !with_reserve {
                fs::remove_file(disk.dirs.data.join("reserve")).unwrap();
            }
            disk.leave(pages);
            let what = format!("{pages} pages left, reserve: {with_reserve}");
            let (mut last, mut refusals) = (6, 0);
            for step in 0..80 {
                let compacts = step % 8 == 3;
                let full = if compacts {
                    is_full(wait(store.compact(snapshot(last - 2))))
                } else {
                    is_full(wait(store.append(&[big(last + 1)])))
                };
                last += u64::from(!compacts && !full);
                if full {
                    (refusals, refused[usize::from(compacts)]) =
                        (refusals + 1, refused[usize::from(compacts)] + 1);
                    let image = Place::new();
                    copy_dir(&disk.dirs.data, &image.dirs.data);
                    copy_dir(&disk.dirs.keys, &image.dirs.keys);
                    assert_whole(&image.dirs, last, &format!("{what}, step {step}"));
                }
                if refusals == 6 {
                    break;
                }
            }
            assert!(!with_reserve || last > 6, "{what}: one more eviction fits");
            disk.empty();
            wait(store.append(&[big(last + 1)])).unwrap();
            drop(store);
            assert_whole(&disk.dirs, last + 1, &what);
        }
    }
    assert!(refused.iter().all(|times| *times > 10), "the disk was hardly ever full: {refused:?}");
}

#[test]
fn ten_restarts_on_a_disk_with_any_room_left_are_harmless() {
    let Some(disk) = Small::of(12) else {
        eprintln!("skipped: this process may not mount a small file system");
        return;
    };
    let (pristine, nothing) = (Place::new(), Place::new());
    let (mut store, _) = pristine.start();
    (1..=12).for_each(|commit| wait(store.append(&[big(commit)])).unwrap());
    wait(store.compact(snapshot(2))).unwrap();
    (13..=30).for_each(|commit| wait(store.append(&[big(commit)])).unwrap());
    drop(store);
    for (from, last) in [(&pristine, 30), (&nothing, 0)] {
        for pages in 0..=16 {
            disk.reset(from.dirs.data.parent().unwrap());
            let _ = fs::remove_file(disk.dirs.data.join("reserve"));
            for _ in 0..10 {
                disk.leave(pages);
                match start(&disk.dirs) {
                    Ok((_, loaded)) => assert_eq!((loaded.held(), loaded.next_commit()), (last, last + 1)),
                    error => assert!(is_full(error), "{pages} pages"),
                }
            }
            disk.empty();
            let (mut store, loaded) = start(&disk.dirs).unwrap();
            assert_eq!((loaded.held(), loaded.next_commit()), (last, last + 1), "{pages} pages");
            wait(store.append(&[big(last + 1)])).unwrap();
            drop(store);
            assert_whole(&disk.dirs, last + 1, &format!("{pages} pages"));
        }
    }
}
