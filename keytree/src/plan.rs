use std::fmt;
use std::ops::Range;

use crypto::{EntryIv, Secret, Suite};

use crate::{Degree, Epoch, NodeId, RegNo, TreeId, Version};

/// What a batch does to the key of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// A member below left: a new key its old holders cannot compute (VersaKey's version change).
    Replace,
    /// Only joins below: the next key by the one-way function (VersaKey's revision change).
    Step,
    /// The node had no key: a random one.
    Fresh,
}

/// One node whose key a key update changes.
///
/// The manager's plan holds them by level, then index, ascending; a packet carries some of them. All fields are
/// public so that a codec can build one from bytes: a member checks what it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which node; its level is 1 or more.
    pub node: NodeId,
    /// What happened to its key.
    pub change: Change,
    /// The slot of the inner child whose new key this one is derived from; only with [`Change::Replace`]. Members
    /// below that child get no entry.
    pub chained_from: Option<u8>,
    /// The version the key has now.
    pub version: Version,
    /// Which of the entries beside this list are this target's, by child slot ascending.
    pub entries: Range<u32>,
}

/// A target's new key, sealed under the key of one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The child's slot: 0 .. degree.
    pub child: u8,
    /// Which key of the child opens it (after this batch, where the batch changed the child too).
    pub wrapping: Version,
    /// The sealed key.
    pub sealed: Sealed,
}

/// The bytes of a sealed node key: 32 or 40, as the suite has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    bytes: [u8; 40],
    len: u8,
}

impl Sealed {
    /// The longest sealed key of any suite.
    pub const MAX_LEN: usize = 40;

    /// Copies sealed bytes; `None` if there are more than [`MAX_LEN`](Self::MAX_LEN). Whether the length fits the
    /// suite is found out at unwrapping.
    pub fn from_slice(sealed: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..sealed.len())?.copy_from_slice(sealed);
        Some(Self { bytes, len: sealed.len() as u8 })
    }

    /// The sealed bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.len)
    }
}

/// The part of a key update that a member needs, as some packet (or the manager's plan) has it.
///
/// Built by the codec from a verified packet, for [`KeyPath::apply`](crate::KeyPath::apply). It may hold more targets
/// than this member's, in any order.
#[derive(Clone, Copy, Debug)]
pub struct RekeyView<'a> {
    /// The epoch this update leads to.
    pub epoch: Epoch,
    /// The IV of all entries of the message.
    pub iv: &'a EntryIv,
    /// The level of the root after this update.
    pub height: u8,
    /// The version of the root key after this update.
    pub root: Version,
    /// The tree-wide leaf-step count after this update.
    pub leaf_steps: u16,
    /// Changed nodes.
    pub targets: &'a [Target],
    /// The entries the targets point into.
    pub entries: &'a [Entry],
}

/// A batch rekey computed on paper: to be made durable, sent, and then merged, or dropped without a trace.
///
/// Holds the new secrets of every changed node; they are wiped when it is dropped.
#[must_use = "a staged rekey does nothing until it is merged"]
pub struct StagedRekey {
    pub(crate) suite: Suite,
    pub(crate) degree: Degree,
    pub(crate) tree: TreeId,
    /// Epoch and height of the tree it was staged from.
    pub(crate) from: Epoch,
    pub(crate) epoch: Epoch,
    pub(crate) height: u8,
    pub(crate) iv: EntryIv,
    pub(crate) leaf_steps: u16,
    pub(crate) step_leaves: bool,
    pub(crate) targets: Vec<Target>,
    pub(crate) entries: Vec<Entry>,
    /// New secret and occupied child slots of each target.
    pub(crate) secrets: Vec<Secret<32>>,
    pub(crate) occupied: Vec<u16>,
    /// Nodes that lose their key because nobody is left below.
    pub(crate) emptied: Vec<NodeId>,
    /// Leaves that changed hands: joined ones with their secrets (already stepped), left ones by reg-no.
    pub(crate) joined: Vec<(RegNo, Secret<32>)>,
    pub(crate) left: Vec<RegNo>,
    /// The root after the merge.
    pub(crate) root: Option<(Version, Secret<32>)>,
}

impl StagedRekey {
    /// The epoch it leads to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The level of the root after the merge.
    pub fn height(&self) -> u8 {
        self.height
    }

    /// The IV of all entries, drawn for this message alone.
    pub fn iv(&self) -> &EntryIv {
        &self.iv
    }

    /// The tree-wide leaf-step count after the merge.
    pub fn leaf_steps(&self) -> u16 {
        self.leaf_steps
    }

    /// The suite that sealed the entries.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The degree of the tree, for the arithmetic of positions.
    pub fn degree(&self) -> Degree {
        self.degree
    }

    /// The root key after the merge; `None` if the batch leaves the tree without members.
    pub fn root(&self) -> Option<(Version, &Secret<32>)> {
        self.root.as_ref().map(|(version, secret)| (*version, secret))
    }

    /// The changed nodes, by level, then index, ascending.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The entries of one of this plan's targets, by child slot ascending; none for a target of another plan that
    /// points outside.
    pub fn entries(&self, target: &Target) -> &[Entry] {
        slice(&self.entries, &target.entries).unwrap_or_default()
    }

    /// The entries of all targets, in their order: what the message costs.
    pub fn all_entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The whole plan as one view, as a member that received every packet has it; `None` if nobody is left to
    /// read it.
    pub fn view(&self) -> Option<RekeyView<'_>> {
        let (root, _) = self.root()?;
        Some(RekeyView {
            epoch: self.epoch,
            iv: &self.iv,
            height: self.height,
            root,
            leaf_steps: self.leaf_steps,
            targets: &self.targets,
            entries: &self.entries,
        })
    }
}

impl fmt::Debug for StagedRekey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedRekey")
            .field("tree", &self.tree)
            .field("epoch", &self.epoch)
            .field("height", &self.height)
            .field("targets", &self.targets.len())
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// The part of `entries` a target names, or `None` if it names what is not there.
pub(crate) fn slice<'a>(entries: &'a [Entry], range: &Range<u32>) -> Option<&'a [Entry]> {
    entries.get(range.start as usize..range.end as usize)
}
