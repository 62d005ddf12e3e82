//! A model of the disk: what is safe, and what may be there or not if the power goes now.
//!
//! It promises less than any file system of Linux does: a file's content is safe after a sync of the file, a name after
//! a sync of its directory, and of everything else any part may be there, in any combination. Only a rename is not
//! seen half, and a change of a file that was made later is not undone by one that was made earlier.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// A file or directory, whatever its names are.
pub(crate) type NodeId = usize;
/// The directory that everything is below.
pub(crate) const ROOT: NodeId = 0;
/// A name in a directory.
pub(crate) type Name = (NodeId, String);

/// What a disk reads and writes at once: it writes all of it or nothing.
const BLOCK: u64 = 512;

/// One change that a system call made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Make { name: Name, node: NodeId, mode: u32, directory: bool },
    Write { node: NodeId, at: u64, bytes: Arc<[u8]> },
    Resize { node: NodeId, len: u64 },
    Mode { node: NodeId, mode: u32 },
    Link { name: Name, node: NodeId },
    Move { from: Name, to: Name, node: NodeId },
    Remove { name: Name },
}

/// How much of a change is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Part {
    All,
    /// The first half of what was written.
    Half,
    /// Some blocks of what was written: those that this number draws.
    Blocks(u64),
}

/// What is in a file.
#[derive(Clone, Default)]
struct Content {
    bytes: Arc<Vec<u8>>,
    /// After this there are only zeros.
    used: usize,
}

#[derive(Clone)]
struct Node {
    mode: u32,
    directory: bool,
    content: Content,
}

/// Everything that has a name, and what is in it.
#[derive(Clone)]
struct Tree {
    names: BTreeMap<Name, NodeId>,
    nodes: BTreeMap<NodeId, Node>,
}

/// A change that no sync has made safe.
struct Pending {
    number: u64,
    ended: usize,
    change: Change,
}

/// The disk at one moment.
pub(crate) struct Disk {
    safe: Tree,
    pending: Vec<Pending>,
    changes: u64,
    /// Stands for all changes that are safe.
    signature: u64,
}

/// What a disk may hold after the power went.
pub(crate) struct Image {
    tree: Tree,
}

impl Disk {
    /// What is in `root` now, all of it safe.
    pub(crate) fn of(root: &Path) -> Self {
        let mut safe = Tree { names: BTreeMap::new(), nodes: BTreeMap::new() };
        safe.nodes.insert(ROOT, Node { mode: 0o700, directory: true, content: Content::default() });
        safe.read(root, ROOT);
        Self { safe, pending: Vec::new(), changes: 0, signature: 0 }
    }

    pub(crate) fn names(&self) -> BTreeMap<Name, NodeId> {
        self.safe.names.clone()
    }

    pub(crate) fn directories(&self) -> BTreeSet<NodeId> {
        let directories = self.safe.nodes.iter().filter(|(_, node)| node.directory);
        directories.map(|(id, _)| *id).collect()
    }

    /// How many files and directories there are.
    pub(crate) fn nodes(&self) -> usize {
        self.safe.nodes.len()
    }

    /// Something changed. It may be on the disk from now on. Hands back its number.
    pub(crate) fn change(&mut self, ended: usize, change: Change) -> u64 {
        // What is made is there from now on for whoever has it open; its name is what may be lost.
        if let Change::Make { node, mode, directory, .. } = &change {
            let new = Node { mode: *mode, directory: *directory, content: Content::default() };
            self.safe.nodes.insert(*node, new);
        }
        self.changes += 1;
        self.pending.push(Pending { number: self.changes, ended, change });
        self.changes
    }

    /// What had changed in this file or directory before `begun` is safe.
    pub(crate) fn sync(&mut self, begun: usize, node: NodeId) {
        let safe = &mut self.safe;
        let signature = &mut self.signature;
        self.pending.retain(|pending| {
            let is_safe = pending.ended < begun && pending.change.is_of(node);
            if is_safe {
                safe.apply(&pending.change, Part::All);
                *signature ^= signature_of(pending.number, Part::All);
            }
            !is_safe
        });
    }

    /// The numbers of the changes that may be there and may not, in order.
    pub(crate) fn unsafe_changes(&self) -> impl Iterator<Item = (u64, &Change)> {
        self.pending.iter().map(|pending| (pending.number, &pending.change))
    }

    /// Stands for what [`image`](Self::image) would make: equal if the same changes are in it.
    pub(crate) fn signature(&self, kept: &BTreeMap<u64, Part>) -> u64 {
        kept.iter().fold(self.signature, |all, (number, part)| all ^ signature_of(*number, *part))
    }

    /// What is safe, and these changes.
    pub(crate) fn image(&self, kept: &BTreeMap<u64, Part>) -> Image {
        let mut tree = self.safe.clone();
        for pending in &self.pending {
            if let Some(part) = kept.get(&pending.number) {
                tree.apply(&pending.change, *part);
            }
        }
        Image { tree }
    }
}

fn signature_of(number: u64, part: Part) -> u64 {
    let mut hasher = DefaultHasher::new();
    (number, part).hash(&mut hasher);
    hasher.finish()
}

impl Change {
    /// Whether a sync of `node` makes it safe.
    fn is_of(&self, node: NodeId) -> bool {
        match self {
            Self::Make { name, .. } | Self::Link { name, .. } | Self::Remove { name } => name.0 == node,
            Self::Move { from, to, .. } => from.0 == node || to.0 == node,
            Self::Write { node: file, .. }
            | Self::Resize { node: file, .. }
            | Self::Mode { node: file, .. } => *file == node,
        }
    }
}

impl Tree {
    fn read(&mut self, path: &Path, dir: NodeId) {
        let mut paths: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let metadata = fs::metadata(&path).unwrap();
            let (mode, directory) = (metadata.permissions().mode() & 0o7777, metadata.is_dir());
            let mut content = Content::default();
            if !directory {
                content.write(0, &fs::read(&path).unwrap());
            }
            let node = self.nodes.len();
            self.nodes.insert(node, Node { mode, directory, content });
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            self.names.insert((dir, name), node);
            if directory {
                self.read(&path, node);
            }
        }
    }

    fn apply(&mut self, change: &Change, part: Part) {
        match change {
            Change::Make { name, node, .. } | Change::Link { name, node } => {
                self.names.insert(name.clone(), *node);
            }
            Change::Write { node, at, bytes } => {
                self.node(*node).content.write_part(*at, bytes, part);
            }
            Change::Resize { node, len } => self.node(*node).content.resize(*len),
            Change::Mode { node, mode } => self.node(*node).mode = *mode,
            Change::Move { from, to, node } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *node);
            }
            Change::Remove { name } => {
                self.names.remove(name);
            }
        }
    }

    fn node(&mut self, node: NodeId) -> &mut Node {
        self.nodes.get_mut(&node).unwrap()
    }
}

impl Content {
    fn write_part(&mut self, at: u64, bytes: &[u8], part: Part) {
        match part {
            Part::All => self.write(at, bytes),
            Part::Half => self.write(at, &bytes[..bytes.len() / 2]),
            Part::Blocks(drawn) => {
                let mut from = 0;
                while from < bytes.len() {
                    let block = (at + from as u64) / BLOCK;
                    let left = ((block + 1) * BLOCK - at) as usize;
                    let to = left.min(bytes.len());
                    if signature_of(drawn, Part::Blocks(block)).is_multiple_of(2) {
                        self.write(at + from as u64, &bytes[from..to]);
                    }
                    from = to;
                }
            }
        }
    }

    fn write(&mut self, at: u64, new: &[u8]) {
        let at = usize::try_from(at).unwrap();
        let bytes = Arc::make_mut(&mut self.bytes);
        bytes.resize(bytes.len().max(at + new.len()), 0);
        bytes[at..at + new.len()].copy_from_slice(new);
        if let Some(last) = new.iter().rposition(|byte| *byte != 0) {
            self.used = self.used.max(at + last + 1);
        }
    }

    fn resize(&mut self, len: u64) {
        let len = usize::try_from(len).unwrap();
        Arc::make_mut(&mut self.bytes).resize(len, 0);
        self.used = self.used.min(len);
    }
}

impl Image {
    /// Makes `root`, an empty directory, what the disk would be.
    pub(crate) fn write(&self, root: &Path) {
        self.write_dir(root, ROOT);
    }

    fn write_dir(&self, path: &Path, dir: NodeId) {
        for ((_, name), id) in self.tree.names.range((dir, String::new())..(dir + 1, String::new())) {
            let (path, node) = (path.join(name), &self.tree.nodes[id]);
            if node.directory {
                DirBuilder::new().mode(0o700).create(&path).unwrap();
                self.write_dir(&path, *id);
                fs::set_permissions(&path, Permissions::from_mode(node.mode)).unwrap();
            } else {
                let mut options = OpenOptions::new();
                let file: File = options.write(true).create_new(true).mode(node.mode).open(&path).unwrap();
                file.write_all_at(&node.content.bytes[..node.content.used], 0).unwrap();
                file.set_len(node.content.bytes.len() as u64).unwrap();
            }
        }
    }
}
