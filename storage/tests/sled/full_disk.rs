//! Attack A37: the disk is full. Nothing is acknowledged that is not safe, one more eviction fits, and a restart makes
//! nothing worse.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use storage::{Health, Record, SledStore, StateDirs, Store, StoreError};

use crate::support::{start, wait};

/// A file system of 6 MiB, gone with it.
struct Small {
    root: PathBuf,
    dirs: StateDirs,
    _dir: tempfile::TempDir,
}

impl Small {
    /// `None` where this process may not mount.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs"]).arg(dir.path());
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

    fn empty(&self) {
        fs::remove_file(self.root.join("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.root).output();
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
