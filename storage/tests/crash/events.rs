//! From system calls to what they do to the disk: which file each one means, and what it changes there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::disk::{Change, Disk, Name, NodeId, ROOT};
use crate::script::{MARKS, Mark};
use crate::trace::{Argument, Call, parse};

/// What happened, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The script said something.
    Mark(Mark),
    /// Something changed that may be on the disk from now on, and may not.
    Change { ended: usize, change: Change },
    /// What had changed before `begun` in this file or directory is safe from now on.
    Sync { begun: usize, node: NodeId },
}

/// An open file.
#[derive(Clone, Copy)]
enum Open {
    File { node: NodeId, at: u64 },
    Directory(NodeId),
    Marks,
}

/// Follows the calls: which names there are, and which file each descriptor means.
struct Follower<'a> {
    root: &'a str,
    names: BTreeMap<Name, NodeId>,
    directories: BTreeSet<NodeId>,
    nodes: NodeId,
    open: BTreeMap<u64, Open>,
    events: Vec<Event>,
    ended: usize,
}

/// The events of processes that ran below `root` one after another, from the records of their calls. `disk` is what was
/// there at the beginning.
pub(crate) fn events(records: &[String], root: &Path, disk: &Disk) -> Vec<Event> {
    let mut follower = Follower {
        root: root.to_str().unwrap(),
        names: disk.names(),
        directories: disk.directories(),
        nodes: disk.nodes(),
        open: BTreeMap::new(),
        events: Vec::new(),
        ended: 0,
    };
    for record in records {
        let before = follower.ended + 1;
        for mut call in parse(record) {
            (call.begun, call.ended) = (before + call.begun, before + call.ended);
            follower.ended = call.ended;
            follower.follow(&call);
        }
        follower.open.clear();
    }
    follower.events
}

impl Follower<'_> {
    fn follow(&mut self, call: &Call) {
        let file = |at: usize| self.open.get(&call.args[at].number()).copied();
        match call.name.as_str() {
            "openat" => self.open(call),
            "close" => drop(self.open.remove(&call.args[0].number())),
            "fcntl" => {
                let twice = call.args[1].word().starts_with("F_DUPFD") && file(0).is_some();
                assert!(!twice, "a position in a file that two descriptors share is not followed: {call:?}");
            }
            "write" => match file(0) {
                Some(Open::Marks) => self.mark(&call.args[1]),
                Some(Open::File { node, at }) => {
                    self.put(node, at, call);
                    let at = at + call.result.cast_unsigned();
                    self.open.insert(call.args[0].number(), Open::File { node, at });
                }
                Some(Open::Directory(_)) | None => {}
            },
            "pwrite64" => {
                if let Some(Open::File { node, .. }) = file(0) {
                    self.put(node, call.args[3].number(), call);
                }
            }
            "lseek" => {
                if let Some(Open::File { node, .. }) = file(0) {
                    let at = call.result.cast_unsigned();
                    self.open.insert(call.args[0].number(), Open::File { node, at });
                }
            }
            "ftruncate" => {
                if let Some(Open::File { node, .. }) = file(0) {
                    self.change(Change::Resize { node, len: call.args[1].number() });
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(Open::File { node, .. } | Open::Directory(node)) = file(0) {
                    self.events.push(Event::Sync { begun: call.begun, node });
                }
            }
            // It starts writing, and promises nothing of the disk's own cache or of the file's length.
            "sync_file_range" => {}
            "mkdir" | "rename" | "unlink" | "rmdir" | "unlinkat" | "chmod" | "linkat" => self.rename(call),
            _ => self.refuse(call),
        }
    }

    /// A call that the model does not know must not be about the store's files.
    fn refuse(&self, call: &Call) {
        let below = |arg: &Argument| match arg {
            Argument::Bytes(path) => path.starts_with(self.root.as_bytes()),
            Argument::Word(word) => word.parse().is_ok_and(|file| self.open.contains_key(&file)),
        };
        let about = match call.name.as_str() {
            "mmap" => call.args.get(4).is_some_and(below),
            _ => call.args.iter().any(below),
        };
        assert!(!about, "the model does not know this call: {call:?}");
    }

    fn open(&mut self, call: &Call) {
        let Some((dir, name)) = self.place(&call.args[0], call.args[1].bytes()) else { return };
        if dir == ROOT && name == MARKS {
            self.open.insert(call.result.cast_unsigned(), Open::Marks);
            return;
        }
        let flags = call.args[2].word();
        assert!(!flags.contains("O_APPEND") && !flags.contains("O_DSYNC"), "{call:?}");
        let known = if name.is_empty() { Some(dir) } else { self.names.get(&(dir, name.clone())).copied() };
        if let Some(node) = known.filter(|node| self.directories.contains(node)) {
            self.open.insert(call.result.cast_unsigned(), Open::Directory(node));
            return;
        }
        let node = known.unwrap_or_else(|| {
            let mode = u32::from_str_radix(call.args[3].word(), 8).unwrap();
            self.make(dir, name, mode, false)
        });
        if known.is_some() && flags.contains("O_TRUNC") {
            self.change(Change::Resize { node, len: 0 });
        }
        self.open.insert(call.result.cast_unsigned(), Open::File { node, at: 0 });
    }

    fn rename(&mut self, call: &Call) {
        let cwd = Argument::Word("AT_FDCWD".to_owned());
        let (dir, path) = match call.name.as_str() {
            "unlinkat" | "linkat" => (&call.args[0], &call.args[1]),
            _ => (&cwd, &call.args[0]),
        };
        let Some((dir, name)) = self.place(dir, path.bytes()) else { return };
        match call.name.as_str() {
            "mkdir" => {
                let mode = u32::from_str_radix(call.args[1].word(), 8).unwrap();
                self.make(dir, name, mode, true);
            }
            "rename" => {
                let to = self.place(&cwd, call.args[1].bytes()).unwrap();
                let node = self.names.remove(&(dir, name.clone())).unwrap();
                self.names.insert(to.clone(), node);
                self.change(Change::Move { from: (dir, name), to, node });
            }
            "linkat" => {
                let second = self.place(&call.args[2], call.args[3].bytes()).unwrap();
                let node = self.node(dir, name);
                self.names.insert(second.clone(), node);
                self.change(Change::Link { name: second, node });
            }
            "chmod" => {
                let node = self.node(dir, name);
                let mode = u32::from_str_radix(call.args[1].word(), 8).unwrap();
                self.change(Change::Mode { node, mode });
            }
            _ => {
                self.names.remove(&(dir, name.clone())).unwrap();
                self.change(Change::Remove { name: (dir, name) });
            }
        }
    }

    /// A new file or directory. The process's umask has been 022 for all that matters here.
    fn make(&mut self, dir: NodeId, name: String, mode: u32, directory: bool) -> NodeId {
        let node = self.nodes;
        self.nodes += 1;
        self.names.insert((dir, name.clone()), node);
        if directory {
            self.directories.insert(node);
        }
        self.change(Change::Make { name: (dir, name), node, mode: mode & !0o022, directory });
        node
    }

    fn put(&mut self, node: NodeId, at: u64, call: &Call) {
        let bytes = call.args[1].bytes();
        let written = usize::try_from(call.result).unwrap();
        self.change(Change::Write { node, at, bytes: bytes[..written].into() });
    }

    fn mark(&mut self, line: &Argument) {
        let line = std::str::from_utf8(line.bytes()).unwrap();
        self.events.push(Event::Mark(Mark::parse(line)));
    }

    fn change(&mut self, change: Change) {
        self.events.push(Event::Change { ended: self.ended, change });
    }

    /// The directory and the name a path means; `None` if it is not below the root. The root has no name.
    fn place(&self, start: &Argument, path: &[u8]) -> Option<Name> {
        let path = std::str::from_utf8(path).unwrap();
        let (mut dir, rest) = match path.strip_prefix(self.root) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => (ROOT, rest),
            _ if path.starts_with('/') || start.word() == "AT_FDCWD" => return None,
            _ => match self.open.get(&start.number()) {
                Some(Open::Directory(dir)) => (*dir, path),
                _ => return None,
            },
        };
        let mut parts: Vec<_> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            dir = *self.names.get(&(dir, part.to_owned()))?;
        }
        Some((dir, name.to_owned()))
    }

    fn node(&self, dir: NodeId, name: String) -> NodeId {
        if name.is_empty() { dir } else { self.names[&(dir, name)] }
    }
}
