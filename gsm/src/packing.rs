//! User-oriented key assignment (KG 3.3, 3.4): each packet serves a range of reg-nos and holds every entry they need.
//!
//! The changed nodes form a tree of their own. Walking it in the order of reg-nos meets *terminals*: subtrees whose
//! own keys did not change. All members of a terminal need the same entries, namely those on the way up to the root,
//! so a packet is filled terminal by terminal, and what two terminals share stands in it once.

use std::ops::Range;

use keytree::{Degree, Entry, NodeId, RegNo, StagedRekey, Target};
use protocol::{Body, entry_bound, target_bound};

/// One packet's share of a key update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    /// The first reg-no it serves.
    pub(crate) first: RegNo,
    /// The last one.
    pub(crate) last: RegNo,
    /// The entries they need.
    pub(crate) body: Body,
}

/// Splits a staged rekey into packets whose bodies take at most `room` bytes each.
///
/// The ranges follow each other without a gap from reg-no 0 to the highest. A terminal that alone exceeds `room`
/// (only with a tree far higher and a packet far smaller than configurable) gets a packet of its own.
pub(crate) fn pack(staged: &StagedRekey, room: usize) -> Vec<Share> {
    let mut packer = Packer::new(staged, room);
    if let Some(root) = staged.targets().last() {
        packer.visit(root.node);
    }
    packer.finish()
}

/// A step on the way from the root down: a changed node and the child the way goes on by.
struct Step {
    /// The node's place in the plan.
    target: usize,
    /// The entry for that child, if there is one.
    entry: Option<usize>,
    /// Whether members below that child need to hear of the node: there is an entry, or they chain.
    needed: bool,
    /// The packet that holds this step already.
    packed_in: Option<usize>,
}

struct Packer<'a> {
    staged: &'a StagedRekey,
    degree: Degree,
    room: usize,
    /// The next target of each level that the walk has not met; the walk meets them in ascending order.
    cursors: Vec<Range<usize>>,
    way: Vec<Step>,
    /// In which packet each target's head stands.
    heads: Vec<Option<usize>>,
    shares: Vec<Share>,
    first: u32,
    filled: usize,
    picked: Vec<(usize, Option<usize>)>,
}

impl<'a> Packer<'a> {
    fn new(staged: &'a StagedRekey, room: usize) -> Self {
        let targets = staged.targets();
        let cursors = (0..=staged.height())
            .map(|level| {
                let begin = targets.partition_point(|target| target.node.level < level);
                begin..targets.partition_point(|target| target.node.level <= level)
            })
            .collect();
        Self {
            staged,
            degree: staged.degree(),
            room,
            cursors,
            way: Vec::new(),
            heads: vec![None; targets.len()],
            shares: Vec::new(),
            first: 0,
            filled: 0,
            picked: Vec::new(),
        }
    }

    /// Walks below a changed node; the cursors stand on it and on the first changed node below it.
    fn visit(&mut self, node: NodeId) {
        let Some(place) = self.cursors[usize::from(node.level)].next() else { return };
        let staged = self.staged;
        let target = &staged.targets()[place];
        for slot in 0..self.degree.get() {
            let child = self.degree.child(node, slot);
            let entry = entry_of(staged, target, slot);
            let needed = entry.is_some() || target.chained_from == Some(slot);
            self.way.push(Step { target: place, entry, needed, packed_in: None });
            if self.is_changed(child) {
                self.visit(child)
            } else {
                self.terminal(child)
            }
            self.way.pop();
        }
    }

    fn is_changed(&self, node: NodeId) -> bool {
        let cursor = &self.cursors[usize::from(node.level)];
        !cursor.is_empty() && self.staged.targets()[cursor.start].node == node
    }

    /// Adds what the members below `node` need, in a new packet if it does not fit.
    fn terminal(&mut self, node: NodeId) {
        let served = self.degree.reg_nos(node);
        if served.is_empty() {
            return;
        }
        if self.filled > 0 && self.filled + self.cost() > self.room {
            self.close(served.start.saturating_sub(1));
        }
        self.filled += self.cost();
        let packet = self.shares.len();
        for step in self.way.iter_mut().filter(|step| step.needed && step.packed_in != Some(packet)) {
            step.packed_in = Some(packet);
            self.heads[step.target] = Some(packet);
            self.picked.push((step.target, step.entry));
        }
    }

    /// The bytes that the way to the current terminal adds to the packet being filled.
    fn cost(&self) -> usize {
        let packet = Some(self.shares.len());
        let new = self.way.iter().filter(|step| step.needed && step.packed_in != packet);
        new.map(|step| {
            let target = &self.staged.targets()[step.target];
            let head = if self.heads[step.target] == packet { 0 } else { target_bound(target) };
            head + step.entry.map_or(0, |entry| self.entry_cost(target, entry))
        })
        .sum()
    }

    fn entry_cost(&self, target: &Target, entry: usize) -> usize {
        let wrapping = self.staged.all_entries()[entry].wrapping;
        entry_bound(self.staged.suite(), self.staged.epoch(), target.node.level, wrapping)
    }

    /// Ends the packet being filled with `last` as the last reg-no it serves.
    fn close(&mut self, last: u32) {
        let mut picked = std::mem::take(&mut self.picked);
        picked.sort_unstable();
        let mut body = Body::default();
        for (place, entry) in picked {
            let target = &self.staged.targets()[place];
            let start = count(&body.entries);
            if body.targets.last().map(|last| last.node) != Some(target.node) {
                body.targets.push(Target { entries: start..start, ..target.clone() });
            }
            if let (Some(entry), Some(head)) = (entry, body.targets.last_mut()) {
                body.entries.push(self.staged.all_entries()[entry].clone());
                head.entries.end = start + 1;
            }
        }
        self.shares.push(Share { first: RegNo(self.first), last: RegNo(last), body });
        self.first = last.saturating_add(1);
        self.filled = 0;
    }

    fn finish(mut self) -> Vec<Share> {
        self.close(RegNo::MAX.0);
        self.shares
    }
}

/// The place of a target's entry for one child among all entries of the plan.
fn entry_of(staged: &StagedRekey, target: &Target, slot: u8) -> Option<usize> {
    let start = target.entries.start as usize;
    staged.entries(target).iter().position(|entry| entry.child == slot).map(|at| start + at)
}

fn count(entries: &[Entry]) -> u32 {
    u32::try_from(entries.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
