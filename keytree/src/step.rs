use crypto::{NodeKey, OneWay, Secret, Suite};

use crate::{NodeId, RegNo, TreeId};

/// A key moved on by `steps` one-way steps: leaf steps at level 0, node steps above.
pub(crate) fn step(suite: Suite, tree: TreeId, at: NodeId, key: &Secret<32>, steps: u16) -> Secret<32> {
    let kind = if at.level == 0 { OneWay::LeafStep } else { OneWay::Step };
    let mut key = key.clone();
    for _ in 0..steps {
        key = NodeKey::new(suite, &key).one_way(kind, tree.0, at);
    }
    key
}

/// A leaf secret moved on by `steps` leaf steps, for a manager that keeps leaf secrets outside of a tree: in its journal,
/// for the restart. One block cipher call or one derivation a step.
pub fn step_leaf(suite: Suite, tree: TreeId, reg_no: RegNo, leaf: &Secret<32>, steps: u16) -> Secret<32> {
    step(suite, tree, NodeId { level: 0, index: reg_no.0 }, leaf, steps)
}
