use crypto::Secret;

use crate::{Epoch, RegNo};

/// The changes of one rekey interval, gathered by the manager and cut together (GSM 3.5).
///
/// The order within the lists does not matter. A reg-no in both lists is reused: its old holder leaves and another
/// member takes the leaf in the same batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Members to admit.
    pub joins: Vec<Join>,
    /// Members to remove, by choice or by eviction.
    pub leaves: Vec<RegNo>,
    /// Replace the root key at random even if nobody left, so that a root secret that leaked is worth nothing from
    /// here on. Due at least once a day; [`MAX_ROOT_STEPS`](crate::MAX_ROOT_STEPS) is kept by the tree itself.
    pub refresh_root: bool,
    /// Step every leaf secret, so that a later look into the manager's memory opens no earlier message. Due once a
    /// day and before a standby first receives state. Costs one one-way function a member at the merge.
    pub step_leaves: bool,
}

impl Batch {
    /// Whether the batch asks for nothing; [`KeyTree::stage`](crate::KeyTree::stage) refuses such a batch.
    pub fn is_empty(&self) -> bool {
        self.joins.is_empty() && self.leaves.is_empty() && !self.refresh_root && !self.step_leaves
    }
}

/// One member to admit.
#[derive(Clone, Debug)]
pub struct Join {
    /// The leaf it was given, from [`KeyTree::lowest_free`](crate::KeyTree::lowest_free). The tree keeps room for every
    /// leaf up to the highest: some 50 bytes each.
    pub reg_no: RegNo,
    /// Its leaf secret, shared by this member and the manager alone.
    pub leaf: Secret<32>,
    /// [`KeyTree::leaf_steps`](crate::KeyTree::leaf_steps) when it was admitted, as its grant told it. Leaf steps
    /// between then and the cut, this batch's own included, are taken on by the tree; the member follows when an
    /// entry names them.
    pub leaf_steps: u16,
}

/// Why a batch was not staged. All of these are faults of the caller; the tree is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The batch asks for nothing, so there is no epoch to cut.
    #[error("the batch asks for nothing")]
    Empty,
    /// Epochs must grow, or two keys of a node would carry one name.
    #[error("epoch {given} is not after {last}")]
    EpochNotAfter {
        /// The epoch asked for.
        given: Epoch,
        /// The epoch last merged.
        last: Epoch,
    },
    /// Above [`RegNo::MAX`].
    #[error("reg-no {0} is out of range")]
    OutOfRange(RegNo),
    /// Twice among the joins, or twice among the leaves.
    #[error("reg-no {0} is named twice")]
    Twice(RegNo),
    /// Joins a leaf that is taken and not left in this batch.
    #[error("reg-no {0} joins but is taken")]
    Occupied(RegNo),
    /// Leaves a leaf that nobody holds.
    #[error("reg-no {0} leaves but is free")]
    Vacant(RegNo),
    /// A join's leaf-step count lies ahead of the tree's, or more than [`MAX_NODE_STEPS`](crate::MAX_NODE_STEPS)
    /// behind it: admission is that old or comes from another tree.
    #[error("reg-no {0} joins with a leaf-step count of another time")]
    LeafSteps(RegNo),
    /// The tree-wide leaf-step count is at its maximum (65,535, some 180 years of daily steps).
    #[error("leaf secrets cannot be stepped any further")]
    LeafStepsExhausted,
}
