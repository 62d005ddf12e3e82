//! Fifty members, ten joins and ten leaves: one key update with exactly the rules' entries, counted here anew.

use std::collections::BTreeSet;
use std::time::Duration;

use gsm::{GsmEvent, RekeySummary};
use integration::{NodeId, World};

use crate::support::{SECOND, joined, quick, stand};

const DEGREE: u32 = 4;

/// The tree as sets of leaves.
struct Batch {
    before: BTreeSet<u32>,
    after: BTreeSet<u32>,
    joined: BTreeSet<u32>,
    left: BTreeSet<u32>,
}

impl Batch {
    fn height(members: &BTreeSet<u32>) -> u32 {
        let highest = members.last().copied().unwrap_or_default();
        (1..).find(|height| highest < DEGREE.pow(*height)).expect("a height")
    }

    fn any(members: &BTreeSet<u32>, level: u32, index: u32) -> bool {
        members.iter().any(|leaf| leaf / DEGREE.pow(level) == index)
    }

    fn children(members: &BTreeSet<u32>, level: u32, index: u32) -> usize {
        let children = index * DEGREE..(index + 1) * DEGREE;
        children.filter(|child| Self::any(members, level - 1, *child)).count()
    }

    /// Whether an inner node gets a key that does not follow from its old one.
    fn renewed(&self, level: u32, index: u32) -> bool {
        level > 0
            && Self::any(&self.after, level, index)
            && (!self.had_key(level, index) || Self::any(&self.left, level, index))
    }

    fn had_key(&self, level: u32, index: u32) -> bool {
        level <= Self::height(&self.before) && Self::any(&self.before, level, index)
    }

    /// Replaced: an entry for each occupied child, one saved by the chain. Fresh: an entry for each occupied child.
    /// Stepped: an entry for each child that leads to a joiner.
    fn entries(&self) -> usize {
        let height = Self::height(&self.before).max(Self::height(&self.after));
        let mut entries = 0;
        for level in 1..=height {
            for index in 0..DEGREE.pow(height - level) {
                if !Self::any(&self.after, level, index) {
                    continue;
                }
                let chain =
                    (index * DEGREE..(index + 1) * DEGREE).any(|child| self.renewed(level - 1, child));
                entries += if !self.had_key(level, index) {
                    Self::children(&self.after, level, index)
                } else if Self::any(&self.left, level, index) {
                    Self::children(&self.after, level, index) - usize::from(chain)
                } else if Self::any(&self.joined, level, index) {
                    Self::children(&self.joined, level, index)
                } else {
                    0
                };
            }
        }
        entries
    }
}

fn leaves(world: &World) -> BTreeSet<u32> {
    world.gsm().members().map(|listed| listed.reg_no.0).collect()
}

fn leaf_of(world: &World, node: NodeId) -> u32 {
    let identity = world.identity(node);
    let mut listed = world.gsm().members().filter(|listed| listed.identity == identity);
    listed.next().expect("a member").reg_no.0
}

fn rekeys(world: &World) -> Vec<RekeySummary> {
    let events = world.log().manager.iter();
    events
        .filter_map(|(_, event)| match event {
            GsmEvent::Rekeyed(summary) => Some(*summary),
            _ => None,
        })
        .collect()
}

#[test]
fn ten_joins_and_ten_leaves_among_fifty_are_one_key_update_of_exactly_the_rules_entries() {
    for seed in 0..10 {
        let mut world = stand(World::new(seed, quick(50)));
        world.set_rekey_interval(Duration::from_secs(60)).expect("in range");
        let members = joined(&world);
        assert_eq!(members.len(), 50);
        let before = leaves(&world);
        let seen = rekeys(&world).len();
        let place = seed as usize * 4;
        let leavers: Vec<_> = (0..10).map(|number| members[(place + number * 3) % 50]).collect();
        let left: BTreeSet<u32> = leavers.iter().map(|node| leaf_of(&world, *node)).collect();
        leavers.iter().for_each(|node| world.leave(*node));
        (51..61).for_each(|newcomer| world.join(NodeId(newcomer)));
        world.run_for(3 * SECOND);
        assert_eq!(rekeys(&world).len(), seen, "nothing is cut before its time");
        let taken = leaves(&world);
        let joined: BTreeSet<u32> = taken.difference(&before).copied().collect();
        let after = taken.difference(&left).copied().collect();
        let batch = Batch { before, after, joined, left };
        world.rekey();
        world.run_for(3 * SECOND);
        let [cut] = rekeys(&world)[seen..] else { panic!("more than one key update") };
        assert_eq!((cut.joins, cut.leaves, cut.hard), (10, 10, false));
        assert_eq!(cut.entries, batch.entries(), "seed {seed}");
        assert!(world.is_whole());
        assert_eq!(world.violations(), []);
    }
}

#[test]
fn fifty_members_hold_the_group_key_within_ten_seconds() {
    let mut scenario = quick(50);
    scenario.timing = protocol::Timing::default();
    let mut world = World::new(1, scenario);
    assert!(world.run_until(10 * SECOND, |world| world.now().micros() > 2_000_000 && world.is_whole()));
}
