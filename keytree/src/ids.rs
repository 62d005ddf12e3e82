use std::fmt;
use std::ops::Range;

use crypto::Position;

/// Steps after which a root is replaced at random instead of stepped once more.
///
/// Bounds how long one broken root secret stays useful; the caller adds a bound in time (once a day) through
/// [`Batch::refresh_root`](crate::Batch::refresh_root).
pub const MAX_ROOT_STEPS: u16 = 256;

/// Steps after which any node is replaced instead of stepped, and the most steps a member takes to reach a version
/// named to it, so a forged version costs it at most about a tenth of a millisecond.
pub const MAX_NODE_STEPS: u16 = 1_024;

/// A member's leaf in the key tree: 0 ..= [`RegNo::MAX`], reused after a leave (GSM 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegNo(pub u32);

impl RegNo {
    /// The highest reg-no: node indices take 26 bits in the counter block of an entry.
    pub const MAX: Self = Self((1 << 26) - 1);
}

impl fmt::Display for RegNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Counts the key updates of one manager term (the papers' Klg-ver); the first is 1, and 0 means "before any".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Tells the trees of one manager apart in every one-way derivation, so equal secrets at equal positions of two
/// trees still part ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub u32);

/// Names one key of a node: the epoch in which it was last made at random (or chained), and how often it was
/// stepped since.
///
/// Two versions with the same base differ only by steps, which a holder of the older one takes alone. A leaf secret
/// has base 0 and counts the tree-wide leaf steps. Epochs grow without repeating within a manager term, so a
/// base names one secret of a node and no other; a new term needs [`KeyPath::forget`](crate::KeyPath::forget).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Epoch in which the key was replaced or fresh; 0 for leaf secrets.
    pub base: Epoch,
    /// One-way steps taken since: at most [`MAX_NODE_STEPS`] for a node, any number for leaf secrets.
    pub steps: u16,
}

impl Version {
    /// The version of a key made in `epoch`.
    pub fn made(epoch: Epoch) -> Self {
        Self { base: epoch, steps: 0 }
    }

    /// The version of a leaf secret after `steps` tree-wide leaf steps.
    pub fn leaf(steps: u16) -> Self {
        Self { base: Epoch(0), steps }
    }

    /// How many steps lead from `self` to `later`; `None` if none do (another base, or `later` lies behind).
    pub fn steps_to(self, later: Self) -> Option<u16> {
        if self.base == later.base { later.steps.checked_sub(self.steps) } else { None }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.base, self.steps)
    }
}

/// How many children a node of the tree has: 2 ..= 16, default 4.
///
/// 4 is the optimum of KG 5 for the number of entries; lower degrees lengthen paths, higher ones widen each
/// replaced node. Also holds the arithmetic of positions, which manager, member and packet layout must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Degree(u8);

impl Degree {
    /// A degree, or `None` outside 2 ..= 16.
    pub fn new(degree: u8) -> Option<Self> {
        (2..=16).contains(&degree).then_some(Self(degree))
    }

    /// The number of children.
    pub fn get(self) -> u8 {
        self.0
    }

    /// The node at `level` above (or, at level 0, of) a member's leaf.
    pub fn ancestor(self, reg_no: RegNo, level: u8) -> Position {
        let mut index = reg_no.0;
        for _ in 0..level {
            index /= u32::from(self.0);
        }
        Position { level, index }
    }

    /// The parent of a node. Every node has one here; whether the tree is that high is the tree's affair.
    pub fn parent(self, node: Position) -> Position {
        Position { level: node.level.saturating_add(1), index: node.index / u32::from(self.0) }
    }

    /// Which child of its parent a node is: 0 .. degree.
    pub fn slot(self, node: Position) -> u8 {
        (node.index % u32::from(self.0)) as u8
    }

    /// The child of a node in one slot; the index saturates outside any tree.
    ///
    /// # Panics
    /// At level 0, which has no children.
    pub fn child(self, node: Position, slot: u8) -> Position {
        assert!(node.level > 0, "a leaf has no children");
        Position {
            level: node.level - 1,
            index: node.index.saturating_mul(u32::from(self.0)).saturating_add(slot.into()),
        }
    }

    /// The reg-nos of the leaves below a node (of a leaf: itself), occupied or not, cut at [`RegNo::MAX`].
    pub fn reg_nos(self, node: Position) -> Range<u32> {
        let limit = u64::from(RegNo::MAX.0) + 1;
        let width = u64::from(self.0).saturating_pow(u32::from(node.level));
        let first = u64::from(node.index).saturating_mul(width).min(limit);
        let end = first.saturating_add(width).min(limit);
        first as u32..end as u32
    }

    /// The lowest height, at least 1, of a tree that has a leaf for `reg_no`.
    pub fn height_for(self, reg_no: RegNo) -> u8 {
        let mut height = 1;
        while self.ancestor(reg_no, height).index > 0 {
            height += 1;
        }
        height
    }
}

impl Default for Degree {
    fn default() -> Self {
        Self(4)
    }
}
