//! Which nodes a batch changes, and how: a pass a level, from the changed leaves up.

use crate::tree::KeyTree;
use crate::{Change, MAX_NODE_STEPS, MAX_ROOT_STEPS, Version};

/// What the batch does to one node. Slots are bit sets over its children.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) index: u32,
    /// Children (of a leaf: itself) occupied after the batch.
    pub(crate) occupied: u16,
    /// Children (of a leaf: itself) that lead to a joiner.
    pub(crate) joined: u16,
    /// Inner children that are replaced or fresh: candidates for the chain.
    pub(crate) renewed: u16,
    /// Children with a mark of their own. They follow each other on the level below, so a cursor finds them.
    pub(crate) changed: u16,
    /// Whether a leaf below left (or was reused).
    pub(crate) left: bool,
    /// `None`: nobody is left below, the node loses its key.
    pub(crate) change: Option<Change>,
}

impl Mark {
    /// The mark of a changed leaf.
    pub(crate) fn leaf(index: u32, left: bool, joined: bool) -> Self {
        let slot = u16::from(joined);
        let change = joined.then_some(Change::Fresh);
        Self { occupied: slot, joined: slot, left, change, ..Self::blank(index) }
    }

    /// A node nothing is known of yet.
    fn blank(index: u32) -> Self {
        Self { index, occupied: 0, joined: 0, renewed: 0, changed: 0, left: false, change: None }
    }
}

/// The marks of every level, leaves first, up to `height`; each level sorted by index, as `leaves` must be.
pub(crate) fn mark(tree: &KeyTree, leaves: Vec<Mark>, height: u8, refresh_root: bool) -> Vec<Vec<Mark>> {
    let mut levels = Vec::with_capacity(usize::from(height) + 1);
    levels.push(leaves);
    for level in 1..=height {
        let marks = raise(tree, level, height, &levels[usize::from(level) - 1]);
        levels.push(marks);
    }
    if refresh_root {
        refresh(tree, height, &mut levels[usize::from(height)]);
    }
    levels
}

/// The marks of one level from those of the level below.
fn raise(tree: &KeyTree, level: u8, height: u8, lower: &[Mark]) -> Vec<Mark> {
    let degree = u32::from(tree.degree().get());
    let mut marks = Vec::with_capacity(lower.len() + 1);
    // A new root right above an old one that the batch does not change: nobody joins below, but it needs a key.
    if level == tree.height() + 1 && lower.iter().all(|mark| mark.index >= degree) {
        marks.push(Mark::blank(0));
    }
    for children in lower.chunk_by(|a, b| a.index / degree == b.index / degree) {
        let index = children[0].index / degree;
        let mut mark = Mark::blank(index);
        for child in children {
            gather(&mut mark, child, 1 << (child.index - index * degree), level > 1);
        }
        marks.push(mark);
    }
    // Apart from the loop above, so that a core has many of these reads from all over the tree under way at once.
    let limit = if level == height { MAX_ROOT_STEPS } else { MAX_NODE_STEPS };
    for mark in &mut marks {
        let (occupied, key) = before(tree, level, mark.index);
        mark.occupied |= occupied & !mark.changed;
        mark.change = change(mark, key, limit);
    }
    marks
}

/// Adds what a changed child means for its parent.
fn gather(mark: &mut Mark, child: &Mark, slot: u16, inner: bool) {
    mark.changed |= slot;
    mark.left |= child.left;
    if child.occupied != 0 {
        mark.occupied |= slot;
    }
    if child.joined != 0 {
        mark.joined |= slot;
    }
    if inner && matches!(child.change, Some(Change::Replace | Change::Fresh)) {
        mark.renewed |= slot;
    }
}

/// A node's occupied children and its key, both before the batch.
fn before(tree: &KeyTree, level: u8, index: u32) -> (u16, Option<Version>) {
    if let Some(node) = tree.node(level, index) {
        return (node.occupied, Some(node.version));
    }
    let above_old_root = level == tree.height() + 1 && index == 0 && tree.root().is_some();
    (u16::from(above_old_root), None)
}

/// The rule. A key that a leaver held is replaced, never stepped.
fn change(mark: &Mark, key: Option<Version>, limit: u16) -> Option<Change> {
    if mark.occupied == 0 {
        return None;
    }
    Some(match key {
        None => Change::Fresh,
        Some(_) if mark.left => Change::Replace,
        Some(version) if version.steps >= limit => Change::Replace,
        Some(_) => Change::Step,
    })
}

/// Makes the root random in this batch, marked so far or not.
fn refresh(tree: &KeyTree, height: u8, top: &mut Vec<Mark>) {
    if let Some(root) = top.first_mut() {
        if root.change == Some(Change::Step) {
            root.change = Some(Change::Replace);
        }
    } else if let Some(root) = tree.node(height, 0) {
        let change = Some(Change::Replace);
        top.push(Mark { occupied: root.occupied, change, ..Mark::blank(0) });
    }
}
