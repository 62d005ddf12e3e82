//! From a batch to a plan: check it, mark the tree, make the new keys bottom-up and seal them.

use crypto::{MessageXof, NodeKey, OneWay, Secret};

use crate::level::bits;
use crate::mark::{Mark, mark};
use crate::step::step;
use crate::tree::KeyTree;
use crate::{
    Batch, BatchError, Change, Entry, Epoch, MAX_NODE_STEPS, NodeId, RegNo, Sealed, StagedRekey, Target,
    Version,
};

/// How many nodes are read ahead of their work, children included: a few kilobytes, well within the first cache.
const READ_AHEAD: usize = 16;

/// Stages a batch: see [`KeyTree::stage`].
pub(crate) fn stage(
    tree: &KeyTree,
    epoch: Epoch,
    batch: &Batch,
    xof: &mut MessageXof,
) -> Result<StagedRekey, BatchError> {
    if batch.is_empty() {
        return Err(BatchError::Empty);
    }
    if epoch <= tree.epoch() {
        return Err(BatchError::EpochNotAfter { given: epoch, last: tree.epoch() });
    }
    let leaf_steps = tree.leaf_steps().checked_add(u16::from(batch.step_leaves));
    let leaf_steps = leaf_steps.ok_or(BatchError::LeafStepsExhausted)?;
    let changed = Changed::check(tree, batch)?;
    let height = changed.joins.last().map_or(1, |(highest, _)| tree.degree().height_for(*highest));
    let height = height.max(tree.height());
    let levels = mark(tree, changed.marks(), height, batch.refresh_root);
    let changes = levels[1..].iter().map(Vec::len).sum();
    let joined = changed.joins.iter().map(|(reg_no, at)| {
        let join = &batch.joins[*at as usize];
        let leaf = NodeId { level: 0, index: reg_no.0 };
        (*reg_no, step(tree.suite(), tree.tree_id(), leaf, &join.leaf, leaf_steps - join.leaf_steps))
    });
    let staged = StagedRekey {
        suite: tree.suite(),
        degree: tree.degree(),
        tree: tree.tree_id(),
        from: tree.epoch(),
        epoch,
        height,
        iv: xof.iv(),
        leaf_steps,
        step_leaves: batch.step_leaves,
        targets: Vec::with_capacity(changes),
        entries: Vec::with_capacity(levels[1..].iter().flatten().map(most_entries).sum()),
        secrets: Vec::with_capacity(changes),
        occupied: Vec::with_capacity(changes),
        emptied: Vec::new(),
        joined: joined.collect(),
        left: changed.leaves,
        root: None,
    };
    Ok(Planner { tree, staged, scratch: Vec::with_capacity(Sealed::MAX_LEN) }.plan(&levels, xof))
}

/// The leaves of a valid batch, sorted.
struct Changed {
    /// With the place in [`Batch::joins`].
    joins: Vec<(RegNo, u32)>,
    leaves: Vec<RegNo>,
}

impl Changed {
    fn check(tree: &KeyTree, batch: &Batch) -> Result<Self, BatchError> {
        let mut leaves = batch.leaves.clone();
        leaves.sort_unstable();
        let mut joins: Vec<_> = batch.joins.iter().zip(0..).map(|(join, at)| (join.reg_no, at)).collect();
        joins.sort_unstable();
        if let Some(pair) = leaves.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BatchError::Twice(pair[0]));
        }
        if let Some(pair) = joins.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(BatchError::Twice(pair[0].0));
        }
        if let Some(vacant) = leaves.iter().find(|reg_no| !tree.occupied(**reg_no)) {
            return Err(BatchError::Vacant(*vacant));
        }
        for (reg_no, at) in &joins {
            if *reg_no > RegNo::MAX {
                return Err(BatchError::OutOfRange(*reg_no));
            }
            if tree.occupied(*reg_no) && leaves.binary_search(reg_no).is_err() {
                return Err(BatchError::Occupied(*reg_no));
            }
            let behind = tree.leaf_steps().checked_sub(batch.joins[*at as usize].leaf_steps);
            if behind.is_none_or(|steps| steps > MAX_NODE_STEPS) {
                return Err(BatchError::LeafSteps(*reg_no));
            }
        }
        Ok(Self { joins, leaves })
    }

    /// One mark for each changed leaf, by reg-no: both sorted lists merged.
    fn marks(&self) -> Vec<Mark> {
        let mut marks = Vec::with_capacity(self.joins.len() + self.leaves.len());
        let mut joins = self.joins.iter().map(|(reg_no, _)| *reg_no).peekable();
        for left in &self.leaves {
            while let Some(joined) = joins.next_if(|joined| joined < left) {
                marks.push(Mark::leaf(joined.0, false, true));
            }
            let reused = joins.next_if_eq(left).is_some();
            marks.push(Mark::leaf(left.0, true, reused));
        }
        marks.extend(joins.map(|joined| Mark::leaf(joined.0, false, true)));
        marks
    }
}

/// An upper bound of a node's entries: a chain saves one.
fn most_entries(mark: &Mark) -> usize {
    let slots = if mark.change == Some(Change::Step) { mark.joined } else { mark.occupied };
    slots.count_ones() as usize
}

fn short(sealed: &[u8]) -> Sealed {
    Sealed::from_slice(sealed).expect("invariant: no suite seals a key longer")
}

/// Makes the keys of the marked nodes, level by level upwards, in the plan it is building.
struct Planner<'a> {
    tree: &'a KeyTree,
    staged: StagedRekey,
    scratch: Vec<u8>,
}

impl Planner<'_> {
    fn plan(mut self, levels: &[Vec<Mark>], xof: &mut MessageXof) -> StagedRekey {
        // Where the level below has its new keys: among the joined leaves, then among the targets.
        let mut lower_keys = 0;
        for (level, pair) in (1..).zip(levels.windows(2)) {
            let first = self.staged.targets.len();
            let mut below = Below { marks: &pair[0], next_key: lower_keys, key_of_slot: [0; 16], changed: 0 };
            for marks in pair[1].chunks(READ_AHEAD) {
                self.tree.read_ahead(level, marks.iter().map(|mark| mark.index));
                for mark in marks {
                    let node = NodeId { level, index: mark.index };
                    below.advance(mark, u32::from(self.staged.degree.get()));
                    match mark.change {
                        Some(change) => self.renew(node, mark, change, &below, xof),
                        None => self.staged.emptied.push(node),
                    }
                }
            }
            lower_keys = first;
        }
        self.staged.root = self.root();
        self.staged
    }

    /// Gives one node its new key and seals that for whoever needs it.
    fn renew(&mut self, node: NodeId, mark: &Mark, change: Change, below: &Below<'_>, xof: &mut MessageXof) {
        let chained_from =
            (change == Change::Replace && mark.renewed != 0).then(|| mark.renewed.trailing_zeros());
        let (version, secret) = match (change, chained_from) {
            (Change::Step, _) => self.stepped(node),
            (_, None) => (Version::made(self.staged.epoch), xof.secret()),
            (_, Some(slot)) => {
                let tree = self.staged.tree.0;
                let chain = |_, child: &NodeKey| child.one_way(OneWay::Chain, tree, node);
                (Version::made(self.staged.epoch), self.with_child(node, slot, below, chain))
            }
        };
        let sealed_for = match (change, chained_from) {
            (Change::Step, _) => mark.joined,
            (_, None) => mark.occupied,
            (_, Some(slot)) => mark.occupied & !(1 << slot),
        };
        let first = self.staged.entries.len() as u32;
        for slot in bits(sealed_for) {
            let mut wrapping = Version::default();
            let mut sealed = std::mem::take(&mut self.scratch);
            sealed.clear();
            self.with_child(node, slot, below, |version, key| {
                wrapping = version;
                key.wrap(&self.staged.iv, node, &secret, &mut sealed);
            });
            self.staged.entries.push(Entry { child: slot as u8, wrapping, sealed: short(&sealed) });
            self.scratch = sealed;
        }
        let entries = first..self.staged.entries.len() as u32;
        let chained_from = chained_from.map(|slot| slot as u8);
        self.staged.targets.push(Target { node, change, chained_from, version, entries });
        self.staged.secrets.push(secret);
        self.staged.occupied.push(mark.occupied);
    }

    /// The next key of a node that has one.
    fn stepped(&self, node: NodeId) -> (Version, Secret<32>) {
        let old =
            self.tree.node(node.level, node.index).expect("invariant: only a node with a key is stepped");
        let key = NodeKey::new(self.staged.suite, &old.secret);
        let version = Version { base: old.version.base, steps: old.version.steps + 1 };
        (version, key.one_way(OneWay::Step, self.staged.tree.0, node))
    }

    /// Hands the key of an occupied child, as it is after the batch, to `with`.
    fn with_child<R>(
        &self,
        node: NodeId,
        slot: u32,
        below: &Below<'_>,
        with: impl FnOnce(Version, &NodeKey) -> R,
    ) -> R {
        let staged = &self.staged;
        let child = staged.degree.child(node, slot as u8);
        let leaf_version = Version::leaf(staged.leaf_steps);
        let (version, secret) = match (child.level, below.key(slot)) {
            (0, Some(at)) => (leaf_version, &staged.joined[at].1),
            (0, None) => {
                let leaf =
                    self.tree.leaf(RegNo(child.index)).expect("invariant: an occupied leaf has a secret");
                if staged.step_leaves {
                    let stepped = step(staged.suite, staged.tree, child, leaf, 1);
                    return with(leaf_version, &NodeKey::new(staged.suite, &stepped));
                }
                (leaf_version, leaf)
            }
            (_, Some(at)) => (staged.targets[at].version, &staged.secrets[at]),
            (level, None) => {
                let old = self.tree.node(level, child.index).expect("invariant: an occupied node has a key");
                (old.version, &old.secret)
            }
        };
        with(version, &NodeKey::new(staged.suite, secret))
    }

    /// The root after the batch: the last target if it is the root, else the old one unless it was emptied.
    fn root(&self) -> Option<(Version, Secret<32>)> {
        let staged = &self.staged;
        if let (Some(target), Some(secret)) = (staged.targets.last(), staged.secrets.last())
            && target.node.level == staged.height
        {
            return Some((target.version, secret.clone()));
        }
        if staged.emptied.last().is_some_and(|node| node.level == staged.height) {
            return None;
        }
        self.tree.root().map(|(version, secret)| (version, secret.clone()))
    }
}

/// The changed children of the node at hand: a cursor over the marks of the level below, which parents use up in
/// order.
struct Below<'a> {
    marks: &'a [Mark],
    /// Where the next mark's new key lies; emptied nodes have none.
    next_key: usize,
    key_of_slot: [usize; 16],
    /// The slots that `key_of_slot` holds.
    changed: u16,
}

impl Below<'_> {
    /// Moves on to the children of `parent`.
    fn advance(&mut self, parent: &Mark, degree: u32) {
        let (children, rest) = self.marks.split_at(parent.changed.count_ones() as usize);
        self.marks = rest;
        self.changed = 0;
        for child in children.iter().filter(|child| child.change.is_some()) {
            let slot = child.index - parent.index * degree;
            self.key_of_slot[slot as usize] = self.next_key;
            self.changed |= 1 << slot;
            self.next_key += 1;
        }
    }

    /// Where the new key of the child in `slot` lies, if the batch changed it.
    fn key(&self, slot: u32) -> Option<usize> {
        (self.changed >> slot & 1 == 1).then(|| self.key_of_slot[slot as usize])
    }
}
