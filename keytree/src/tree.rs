use std::fmt;

use crypto::{MessageXof, Secret, Suite};

use crate::level::{InnerLevel, LeafLevel, Node};
use crate::stage::stage;
use crate::step::step;
use crate::{Batch, BatchError, Degree, Epoch, NodeId, PathKey, RegNo, StagedRekey, TreeId, Version};

/// The manager's key tree: every member's leaf secret and every key above them.
///
/// Node (level, index) has its parent at (level + 1, index / degree) and its keys in flat arrays by level, 44 bytes
/// an inner node and 32 a leaf. A root above the leaves always exists; when a reg-no does not fit, a new root goes
/// above the old one, so paths lengthen at the top and no member ever moves. The tree never shrinks.
///
/// Nothing here is stored: after a restart the caller makes a new tree and admits everybody in one batch.
pub struct KeyTree {
    suite: Suite,
    tree: TreeId,
    degree: Degree,
    /// The epoch last merged.
    epoch: Epoch,
    leaf_steps: u16,
    leaves: LeafLevel,
    /// Level 1 first; as long as the tree is high.
    inner: Vec<InnerLevel>,
}

/// A staged rekey does not follow on the tree it was to be merged into: it comes from another tree, or the tree has
/// merged another rekey since. A fault of the caller; the tree is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("staged from epoch {from} of a tree at epoch {at}")]
pub struct StaleStage {
    /// The epoch it was staged from.
    pub from: Epoch,
    /// The epoch the tree is at.
    pub at: Epoch,
}

impl KeyTree {
    /// An empty tree of height 1 at epoch 0. `tree` must differ between trees that one manager builds for one
    /// subgroup.
    pub fn new(suite: Suite, tree: TreeId, degree: Degree) -> Self {
        let leaves = LeafLevel::default();
        Self {
            suite,
            tree,
            degree,
            epoch: Epoch(0),
            leaf_steps: 0,
            leaves,
            inner: vec![InnerLevel::default()],
        }
    }

    /// The same after a restart: the leaf secrets that will join were stepped `leaf_steps` times by the trees before.
    pub fn resumed(suite: Suite, tree: TreeId, degree: Degree, leaf_steps: u16) -> Self {
        Self { leaf_steps, ..Self::new(suite, tree, degree) }
    }

    /// Computes what a batch does, on paper; called by the manager when an interval ends.
    ///
    /// `epoch` must be above the last merged one. Randomness comes from `xof` only: first the IV, then the secrets
    /// of replaced and fresh nodes by level and index. A batch that asks for nothing is refused: the caller keeps
    /// its state id then.
    ///
    /// The tree is unchanged, whatever the result; dropping the plan forgets it. Costs one key expansion and one
    /// wrap an entry: about 0.1 µs each in suite 0x0001.
    pub fn stage(
        &self,
        epoch: Epoch,
        batch: &Batch,
        xof: &mut MessageXof,
    ) -> Result<StagedRekey, BatchError> {
        stage(self, epoch, batch, xof)
    }

    /// Makes a staged rekey the tree's state; called once its record is durable and its packets may be sent.
    ///
    /// On `Err` the tree is unchanged. Merging a plan of another state would hand out keys nobody was told, so that
    /// is refused.
    pub fn merge(&mut self, staged: StagedRekey) -> Result<(), StaleStage> {
        if staged.tree != self.tree || staged.from != self.epoch {
            return Err(StaleStage { from: staged.from, at: self.epoch });
        }
        for reg_no in &staged.left {
            self.leaves.vacate(reg_no.0);
        }
        if staged.step_leaves {
            let (suite, tree) = (self.suite, self.tree);
            self.leaves.replace_all(|index, leaf| step(suite, tree, NodeId { level: 0, index }, leaf, 1));
        }
        for (reg_no, leaf) in staged.joined {
            self.leaves.put(reg_no.0, leaf);
        }
        self.inner.resize_with(usize::from(staged.height), InnerLevel::default);
        for node in &staged.emptied {
            self.inner[usize::from(node.level) - 1].clear(node.index);
        }
        let keys = staged.secrets.into_iter().zip(staged.occupied);
        for (target, (secret, occupied)) in staged.targets.iter().zip(keys) {
            let level = &mut self.inner[usize::from(target.node.level) - 1];
            level.set(target.node.index, Node { secret, version: target.version, occupied });
        }
        self.epoch = staged.epoch;
        self.leaf_steps = staged.leaf_steps;
        Ok(())
    }

    /// The lowest free reg-no that `skip` does not refuse (the caller's: given out, but not cut yet); `None` if
    /// there is none up to [`RegNo::MAX`].
    ///
    /// Lowest first keeps the tree packed. `skip` is asked for free reg-nos only, ascending; with many of them
    /// pending, go on from the last one with [`next_free`](Self::next_free) instead.
    pub fn lowest_free(&self, skip: impl Fn(RegNo) -> bool) -> Option<RegNo> {
        let mut free = self.next_free(RegNo(0))?;
        while skip(free) {
            free = self.next_free(RegNo(free.0 + 1))?;
        }
        Some(free)
    }

    /// The lowest free reg-no at or above `from`.
    pub fn next_free(&self, from: RegNo) -> Option<RegNo> {
        let free = RegNo(self.leaves.next_free(from.0));
        (free <= RegNo::MAX).then_some(free)
    }

    /// Whether a member holds this reg-no.
    pub fn occupied(&self, reg_no: RegNo) -> bool {
        self.leaves.is_taken(reg_no.0)
    }

    /// How many members the tree has.
    pub fn members(&self) -> usize {
        self.leaves.count() as usize
    }

    /// The reg-nos in use, ascending.
    pub fn reg_nos(&self) -> impl Iterator<Item = RegNo> {
        self.leaves.taken().map(RegNo)
    }

    /// The level of the root: at least 1.
    pub fn height(&self) -> u8 {
        self.inner.len() as u8
    }

    /// The root key; `None` while the tree has no members.
    pub fn root(&self) -> Option<(Version, &Secret<32>)> {
        self.node(self.height(), 0).map(|root| (root.version, &root.secret))
    }

    /// What a unicast resync tells a member (KS 4.2): the keys above its leaf, from level 1 to the root. `None` if
    /// nobody holds the reg-no, so a member whose join is not cut yet gets nothing.
    pub fn path(&self, reg_no: RegNo) -> Option<Vec<PathKey>> {
        self.leaf(reg_no)?;
        (1..=self.height())
            .map(|level| {
                let node = self.node(level, self.degree.ancestor(reg_no, level).index)?;
                Some(PathKey { level, version: node.version, secret: node.secret.clone() })
            })
            .collect()
    }

    /// How often the leaf secrets have been stepped since the tree was made; told to a member at admission.
    pub fn leaf_steps(&self) -> u16 {
        self.leaf_steps
    }

    /// The epoch last merged; 0 before any.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The suite that wraps and steps.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The degree.
    pub fn degree(&self) -> Degree {
        self.degree
    }

    /// The name of this tree in derivations.
    pub fn tree_id(&self) -> TreeId {
        self.tree
    }

    /// Brings nodes and their children into the cache. In a large tree each is a miss of its own; asked for together
    /// they come together, which saves about a sixth of a batch at a million members.
    pub(crate) fn read_ahead(&self, level: u8, nodes: impl Iterator<Item = u32>) {
        let degree = u32::from(self.degree.get());
        let mut read = 0;
        for index in nodes {
            read ^= self.node(level, index).map_or(0, |node| node.occupied);
            for child in index * degree..(index + 1) * degree {
                read ^= match level {
                    1 => self.leaves.secret(child).map_or(0, |leaf| u16::from(leaf.expose()[0])),
                    _ => self.node(level - 1, child).map_or(0, |node| node.occupied),
                };
            }
        }
        std::hint::black_box(read);
    }

    /// The secret of an occupied leaf.
    pub(crate) fn leaf(&self, reg_no: RegNo) -> Option<&Secret<32>> {
        self.leaves.secret(reg_no.0)
    }

    /// An inner node, if it has a key.
    pub(crate) fn node(&self, level: u8, index: u32) -> Option<&Node> {
        self.inner.get(usize::from(level).checked_sub(1)?)?.node(index)
    }
}

impl fmt::Debug for KeyTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTree")
            .field("tree", &self.tree)
            .field("degree", &self.degree)
            .field("epoch", &self.epoch)
            .field("height", &self.height())
            .field("members", &self.members())
            .finish_non_exhaustive()
    }
}
