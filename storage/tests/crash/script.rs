//! What the store is asked to do while its system calls are recorded.
//!
//! The child is this test program again, asked for one test that does nothing unless it is a child. It writes a line
//! to the file of marks before and after each operation, so the record has each of them in its place.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use storage::{Health, Loaded, Store};

use crate::support::{records, snapshot, start, wait};

/// Tells the child which directory to write into.
const CHILD: &str = "CONCLAVE_CRASH_CHILD";
/// Tells the child which operations to do.
const FROM_TO: &str = "CONCLAVE_CRASH_OPERATIONS";
/// The file of marks, beside the store's directories.
pub(crate) const MARKS: &str = "marks";
/// How many operations the script has.
pub(crate) const OPERATIONS: u64 = 200;

/// Every system call that changes a file or says which file is meant. One that the model cannot follow is here too: it
/// ends the test rather than being overlooked.
const CALLS: &str = "trace=open,openat,openat2,creat,close,dup,dup2,dup3,fcntl,lseek,write,pwrite64,writev,pwritev,\
    pwritev2,fsync,fdatasync,sync,syncfs,sync_file_range,ftruncate,truncate,fallocate,rename,renameat,renameat2,unlink,\
    unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat,mmap,sendfile,copy_file_range,\
    splice,chdir";

/// One line of the marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// An operation begins.
    Begun(Operation),
    /// The one that ran is acknowledged.
    Done,
    /// The store was opened, and this was in it.
    Found(Found),
}

/// What an opened store holds, by numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// The last commit its snapshot contains; 0 if there is no snapshot.
    pub(crate) snapshot: u64,
    /// The newest commit.
    pub(crate) held: u64,
    /// The newest commit that was acknowledged and is said to be missing; 0 if nothing is.
    pub(crate) lost: u64,
}

/// One thing the store is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// Close the store and open it again.
    Open,
    /// Append the records of these numbers, as one batch.
    Append(u64, u64),
    /// Make a snapshot up to here.
    Compact(u64),
}

impl Mark {
    pub(crate) fn line(self) -> String {
        match self {
            Self::Begun(Operation::Open) => "open\n".to_owned(),
            Self::Begun(Operation::Append(first, last)) => format!("append {first} {last}\n"),
            Self::Begun(Operation::Compact(upto)) => format!("compact {upto}\n"),
            Self::Done => "done\n".to_owned(),
            Self::Found(Found { snapshot, held, lost }) => format!("found {snapshot} {held} {lost}\n"),
        }
    }

    pub(crate) fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "open" => Self::Begun(Operation::Open),
            "append" => Self::Begun(Operation::Append(number(1), number(2))),
            "compact" => Self::Begun(Operation::Compact(number(1))),
            "done" => Self::Done,
            "found" => Self::Found(Found { snapshot: number(1), held: number(2), lost: number(3) }),
            other => panic!("a mark that nobody made: {other}"),
        }
    }
}

impl Found {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let snapshot = loaded.snapshot.as_ref().map_or(0, |snapshot| snapshot.upto);
        let lost = match loaded.health {
            Health::Fresh | Health::Whole => 0,
            Health::Behind { .. } | Health::Damaged { .. } => loaded.next_commit() - 1,
        };
        Self { snapshot, held: loaded.held(), lost }
    }
}

/// The operations number `from` to `to`, of a store whose next record has number `next`: batches of one to six
/// records, a compaction after each eleven operations, another start after each twenty.
pub(crate) fn operations(from: u64, to: u64, mut next: u64) -> Vec<Operation> {
    let operation = |number: u64| match number {
        _ if number.is_multiple_of(20) => Operation::Open,
        _ if number % 11 == 9 => Operation::Compact(next - 1 - number % 5),
        _ => {
            let batch = Operation::Append(next, next + (number * number) % 6);
            next += 1 + (number * number) % 6;
            batch
        }
    };
    (from..=to).map(operation).collect()
}

fn run(root: &Path, from: u64, to: u64) {
    let mut marks = File::create(root.join(MARKS)).unwrap();
    let mut mark = |mark: Mark| marks.write_all(mark.line().as_bytes()).unwrap();
    mark(Mark::Begun(Operation::Open));
    let (mut store, loaded) = start(root).unwrap();
    mark(Mark::Found(Found::of(&loaded)));
    for operation in operations(from, to, loaded.next_commit()) {
        mark(Mark::Begun(operation));
        match operation {
            Operation::Open => {
                drop(store);
                let loaded;
                (store, loaded) = start(root).unwrap();
                mark(Mark::Found(Found::of(&loaded)));
                continue;
            }
            Operation::Append(first, last) => wait(store.append(&records(first, last))).unwrap(),
            Operation::Compact(upto) => wait(store.compact(snapshot(upto))).unwrap(),
        }
        mark(Mark::Done);
    }
}

#[test]
fn child_that_does_what_the_script_says() {
    let Some(root) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let numbers = std::env::var(FROM_TO).unwrap();
    let (from, to) = numbers.split_once(' ').unwrap();
    run(&root, from.parse().unwrap(), to.parse().unwrap());
}

/// Runs operations `from` to `to` on the store below `root` in a child, and hands back the record of its system calls.
/// If `killed_at` says so, the child is killed when it is about to sync something for that time.
pub(crate) fn record_calls(root: &Path, from: u64, to: u64, killed_at: Option<u64>) -> String {
    let out = tempfile::NamedTempFile::new_in(root.parent().unwrap()).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-xx", "-s", "16777216", "-e", CALLS, "-e", "signal=none", "-o"]).arg(out.path());
    if let Some(time) = killed_at {
        strace.args(["-e", &format!("inject=fsync,fdatasync:signal=SIGKILL:when={time}")]);
    }
    let child = strace
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "script::child_that_does_what_the_script_says", "--nocapture", "--test-threads=1"])
        .env(CHILD, root)
        .env(FROM_TO, format!("{from} {to}"))
        .stdin(Stdio::null())
        .output()
        .expect("strace is not there: `make needs` installs it");
    let done = child.status.success() || (killed_at.is_some() && child.status.code().is_none());
    assert!(done, "{}", String::from_utf8_lossy(&child.stderr));
    fs::read_to_string(out.path()).unwrap()
}
