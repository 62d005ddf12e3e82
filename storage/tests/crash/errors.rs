//! The medium refuses one call of the real engine, each in its turn, and works again.
//!
//! strace makes the call fail. It counts each thread's calls apart, so a number stands for that call of whichever thread
//! makes it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use storage::{Loaded, SledStore, Store, StoreError};

use crate::promise::{Promise, Verdict};
use crate::script::{Found, MARKS, Mark, Operation, operations};
use crate::support::{directory, records, snapshot, start, wait};

/// Tells the child which directory to write into.
const CHILD: &str = "CONCLAVE_ERRORS_CHILD";
/// Whether every call is made to fail, and not only one of some.
const ALL: &str = "CONCLAVE_ERRORS_ALL";
/// One of so many calls is made to fail otherwise.
const STRIDE: usize = 23;
/// How many operations the child does.
const OPERATIONS: u64 = 24;
/// How often an operation is tried before the store is opened again, and how often it is opened.
const TRIES: u32 = 3;
const OPENINGS: u32 = 3;
/// What the child writes before it begins, so that the test harness's own few writes are not what fails.
const IDLE_WRITES: u64 = 16;

/// The child's store and its marks.
struct Session {
    root: PathBuf,
    marks: File,
    store: Option<SledStore>,
}

impl Session {
    /// A mark that is refused is written again: it is not what is tested.
    fn mark(&mut self, mark: Mark) {
        while self.marks.write_all(mark.line().as_bytes()).is_err() {}
    }

    fn open(&mut self) -> Loaded {
        self.mark(Mark::Begun(Operation::Open));
        self.store = None;
        let mut tries = 0;
        let (store, loaded) = loop {
            match start(&self.root) {
                Ok(started) => break started,
                Err(error) => assert!(tries < TRIES, "opened for the {tries}th time: {error}"),
            }
            tries += 1;
        };
        self.store = Some(store);
        self.mark(Mark::Found(Found::of(&loaded)));
        loaded
    }

    fn attempt(&mut self, operation: Operation) -> Result<(), StoreError> {
        let store = self.store.as_mut().unwrap();
        match operation {
            Operation::Open => Ok(()),
            Operation::Append(first, last) => wait(store.append(&records(first, last))),
            Operation::Compact(upto) => wait(store.compact(snapshot(upto))),
        }
    }

    /// Tries until it is done; opens the store again if trying does not help.
    fn perform(&mut self, operation: Operation) {
        for _ in 0..OPENINGS {
            self.mark(Mark::Begun(operation));
            if (0..TRIES).any(|_| self.attempt(operation).is_ok()) {
                self.mark(Mark::Done);
                return;
            }
            let loaded = self.open();
            // What was refused may be there all the same.
            let there = match operation {
                Operation::Open => true,
                Operation::Append(_, last) => loaded.held() >= last,
                Operation::Compact(upto) => loaded.snapshot.is_some_and(|found| found.upto >= upto),
            };
            if there {
                return;
            }
        }
        panic!("{operation:?} is refused for ever");
    }
}

#[test]
fn child_whose_calls_are_refused() {
    let Some(root) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let mut idle = File::create("/dev/null").unwrap();
    (0..IDLE_WRITES).for_each(|_| idle.write_all(&[0]).unwrap());
    let marks = File::create(root.join(MARKS)).unwrap();
    let mut session = Session { root, marks, store: None };
    let next = session.open().next_commit();
    for operation in operations(1, OPERATIONS, next) {
        match operation {
            Operation::Open => drop(session.open()),
            operation => session.perform(operation),
        }
    }
}

/// Runs the child below `root` with the `time`th `call` of each thread refused; whether there was such a call.
fn run(root: &Path, call: &str, error: &str, time: usize) -> Result<bool, String> {
    let out = tempfile::NamedTempFile::new_in(root.parent().unwrap()).unwrap();
    // What hangs has failed.
    let child = Command::new("timeout")
        .args(["--kill-after", "5", "90", "strace"])
        .args(["-f", "-e", &format!("trace={call}"), "-e", "signal=none", "-o"])
        .arg(out.path())
        .args(["-e", &format!("inject={call}:error={error}:when={time}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "errors::child_whose_calls_are_refused", "--nocapture", "--test-threads=1"])
        .env(CHILD, root)
        .stdin(Stdio::null())
        .output()
        .expect("strace is not there: `make needs` installs it");
    if !child.status.success() {
        if child.status.code() == Some(124) {
            return Err("it hangs".to_owned());
        }
        return Err(String::from_utf8_lossy(&child.stderr).into_owned());
    }
    Ok(fs::read_to_string(out.path()).unwrap().contains("(INJECTED)"))
}

/// Whether every start, and the last one, found all that was acknowledged.
fn judge(root: &Path) -> Verdict {
    let mut promise = Promise::of(&Loaded::default());
    for line in fs::read_to_string(root.join(MARKS)).unwrap().lines() {
        let mark = Mark::parse(line);
        if let Mark::Found(Found { lost, .. }) = mark
            && lost != 0
        {
            return Verdict::Lost(format!("record {lost} while the script ran"));
        }
        promise.mark(mark);
    }
    match start(root) {
        Ok((_, loaded)) => promise.judge(&loaded),
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

/// Each call in its turn, up to the first number that no thread comes to.
fn refuse_each(call: &str, error: &str, stride: usize) -> (usize, Vec<String>) {
    let (mut refused, mut bad) = (0, Vec::new());
    let first = if call == "write" { IDLE_WRITES as usize + 1 } else { 1 };
    for time in (first..).step_by(stride) {
        let root = directory();
        match run(root.path(), call, error, time) {
            Ok(false) => break,
            Ok(true) => match judge(root.path()) {
                Verdict::Kept => {}
                verdict => bad.push(format!("{error} at {call} {time}: {verdict:?}")),
            },
            Err(said) => bad.push(format!("{error} at {call} {time}: {said}")),
        }
        refused += 1;
    }
    (refused, bad)
}

/// sled wakes nobody when the write that begins a batch fails; a flush that waits already would wait for ever.
#[test]
fn a_write_of_the_engines_that_fails_hangs_nothing() {
    for error in ["EIO", "ENOSPC"] {
        for _ in 0..6 {
            let root = directory();
            assert_eq!(run(root.path(), "pwrite64", error, 1), Ok(true));
            assert_eq!(judge(root.path()), Verdict::Kept);
        }
    }
}

#[test]
fn a_call_that_is_refused_costs_nothing_that_was_acknowledged_and_the_store_goes_on() {
    let stride = if std::env::var_os(ALL).is_some() { 1 } else { STRIDE };
    let cases = [
        ("write", "ENOSPC"),
        ("write", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("fsync", "EIO"),
        ("fdatasync", "EIO"),
        ("sync_file_range", "EIO"),
        ("rename", "EIO"),
        ("unlink", "EIO"),
        ("linkat", "EPERM"),
        ("mkdir", "ENOSPC"),
    ];
    let (mut refused, mut bad) = (0, Vec::new());
    for (call, error) in cases {
        let (times, found) = refuse_each(call, error, stride);
        refused += times;
        bad.extend(found);
    }
    println!("refused calls: {refused}, not as they should be: {}", bad.len());
    println!("refused_calls {refused}");
    assert!(refused >= 20 && bad.is_empty(), "{refused} {bad:#?}");
}
