//! A plan holds exactly the targets and entries that the rules ask for, counted here anew from sets of members.

use std::collections::{BTreeMap, BTreeSet};

use keytree::{Batch, Change, Degree, KeyTree, NodeId, StagedRekey};
use proptest::prelude::*;

use crate::support::{World, cases, histories};

/// What the rules ask for at one node: the change, the child it is chained from, the children with an entry.
type Rule = (Change, Option<u8>, BTreeSet<u8>);

/// The tree as sets of reg-nos, before and after a batch.
struct Rules<'a> {
    degree: Degree,
    old_height: u8,
    before: BTreeSet<u32>,
    after: BTreeSet<u32>,
    joined: BTreeSet<u32>,
    left: BTreeSet<u32>,
    batch: &'a Batch,
}

impl<'a> Rules<'a> {
    fn new(tree: &KeyTree, batch: &'a Batch) -> Self {
        let before: BTreeSet<u32> = tree.reg_nos().map(|reg_no| reg_no.0).collect();
        let joined: BTreeSet<u32> = batch.joins.iter().map(|join| join.reg_no.0).collect();
        let left: BTreeSet<u32> = batch.leaves.iter().map(|reg_no| reg_no.0).collect();
        let after = before.difference(&left).chain(&joined).copied().collect();
        Self { degree: tree.degree(), old_height: tree.height(), before, after, joined, left, batch }
    }

    /// The height after: the lowest that seats every joiner, and never lower than before.
    fn height(&self) -> u8 {
        let seats = |height: u8| u64::from(self.degree.get()).pow(u32::from(height));
        let mut height = self.old_height;
        while self.joined.last().is_some_and(|highest| u64::from(*highest) >= seats(height)) {
            height += 1;
        }
        height
    }

    fn any(&self, members: &BTreeSet<u32>, node: NodeId) -> bool {
        let width = u64::from(self.degree.get()).pow(u32::from(node.level));
        members.iter().any(|member| u64::from(*member) / width == u64::from(node.index))
    }

    /// What happens to an inner node's key; `None`: nothing, or nobody is left to have one.
    fn change(&self, node: NodeId, height: u8) -> Option<Change> {
        if node.level == 0 || !self.any(&self.after, node) {
            return None;
        }
        let had_key = node.level <= self.old_height && self.any(&self.before, node);
        let leaver = self.any(&self.left, node);
        let refreshed = node.level == height && self.batch.refresh_root;
        match (had_key, leaver || refreshed, self.any(&self.joined, node)) {
            (false, _, _) => Some(Change::Fresh),
            (true, true, _) => Some(Change::Replace),
            (true, false, true) => Some(Change::Step),
            (true, false, false) => None,
        }
    }

    fn children(&self, node: NodeId) -> impl Iterator<Item = (u8, NodeId)> {
        let (level, first) = (node.level - 1, node.index * u32::from(self.degree.get()));
        (0..self.degree.get()).map(move |slot| (slot, NodeId { level, index: first + u32::from(slot) }))
    }

    fn collect(&self, node: NodeId, height: u8, rules: &mut BTreeMap<NodeId, Rule>) {
        if node.level == 0 {
            return;
        }
        if let Some(change) = self.change(node, height) {
            let renewed = |child: &(u8, NodeId)| {
                matches!(self.change(child.1, height), Some(Change::Replace | Change::Fresh))
            };
            let chained = match change {
                Change::Replace => self.children(node).find(renewed).map(|(slot, _)| slot),
                _ => None,
            };
            let needs = if change == Change::Step { &self.joined } else { &self.after };
            let entries =
                self.children(node).filter(|(_, child)| self.any(needs, *child)).map(|(slot, _)| slot);
            let entries = entries.filter(|slot| Some(*slot) != chained).collect();
            rules.insert(node, (change, chained, entries));
        }
        for (_, child) in self.children(node) {
            let touched = [&self.before, &self.after].into_iter().any(|members| self.any(members, child));
            if touched {
                self.collect(child, height, rules);
            }
        }
    }
}

fn planned(staged: &StagedRekey) -> BTreeMap<NodeId, Rule> {
    let rule = |target: &keytree::Target| {
        let slots = staged.entries(target).iter().map(|entry| entry.child).collect();
        (target.node, (target.change, target.chained_from, slots))
    };
    staged.targets().iter().map(rule).collect()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_plan_has_exactly_the_rules_entries(history in histories(60, 16)) {
        let mut world = World::new(&history);
        for round in &history.rounds {
            let (batch, joiners) = world.batch(round, 60);
            if batch.is_empty() {
                continue;
            }
            let rules = Rules::new(&world.tree, &batch);
            let (height, mut expected) = (rules.height(), BTreeMap::new());
            rules.collect(NodeId { level: height, index: 0 }, height, &mut expected);
            let staged = world.stage(&batch);
            prop_assert_eq!(staged.height(), height);
            prop_assert_eq!(staged.targets().len(), expected.len());
            let count: usize = expected.values().map(|(_, _, entries)| entries.len()).sum();
            prop_assert_eq!(staged.all_entries().len(), count);
            prop_assert_eq!(planned(&staged), expected);
            let nodes: Vec<_> = staged.targets().iter().map(|target| target.node).collect();
            prop_assert!(nodes.is_sorted());
            world.cut(&batch, joiners);
        }
    }
}
