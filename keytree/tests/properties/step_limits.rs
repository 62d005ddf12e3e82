//! Steps end: a root is replaced after 256, any node after 1,024, and a member follows no further than that.

use crypto::{Secret, Suite};
use keytree::{Batch, Change, Degree, Join, MAX_NODE_STEPS, MAX_ROOT_STEPS, RegNo, Version};

use crate::support::{History, World};

fn world(degree: u8) -> World {
    World::new(&History {
        suite: Suite::Aes256Ctr,
        degree: Degree::new(degree).unwrap(),
        seed: 1,
        rounds: vec![],
    })
}

fn join(world: &mut World, reg_no: u32) -> crate::support::Record {
    let member = world.admit(RegNo(reg_no));
    let batch = Batch {
        joins: vec![Join {
            reg_no: member.reg_no,
            leaf: member.leaf.clone(),
            leaf_steps: member.path.leaf_steps(),
        }],
        ..Batch::default()
    };
    world.cut(&batch, vec![member]).unwrap()
}

#[test]
fn a_root_is_replaced_after_256_steps() {
    let mut world = world(16);
    let mut changes = Vec::new();
    // Height 3 from the start, so that no growth makes a fresh root in between.
    for reg_no in std::iter::once(4_000).chain(0..u32::from(MAX_ROOT_STEPS) + 2) {
        let record = join(&mut world, reg_no);
        assert!(record.root.steps <= MAX_ROOT_STEPS);
        changes.push(record.targets.last().unwrap().change);
        world.deliver(&record);
    }
    let replaced = usize::from(MAX_ROOT_STEPS) + 1;
    assert_eq!(changes[0], Change::Fresh);
    assert!(changes[1..replaced].iter().all(|change| *change == Change::Step));
    assert_eq!(changes[replaced..], [Change::Replace, Change::Step]);
    let members: Vec<_> = world.members.values().map(|member| member.path.root()).collect();
    assert!(members.iter().all(|root| *root == world.tree.root()));
}

#[test]
fn a_node_below_the_root_is_replaced_after_1024_steps() {
    let mut world = world(16);
    join(&mut world, 5_000);
    let mut replaced = Vec::new();
    for reg_no in 0..=u32::from(MAX_NODE_STEPS) + 1 {
        let record = join(&mut world, reg_no);
        let below = record.targets.iter().find(|target| target.node.level == 3).unwrap();
        assert!(below.version.steps <= MAX_NODE_STEPS);
        if below.change == Change::Replace {
            replaced.push(reg_no);
        }
    }
    assert_eq!(replaced, [u32::from(MAX_NODE_STEPS) + 1]);
}

#[test]
fn no_version_named_makes_a_member_step_without_end() {
    let mut world = world(4);
    let record = join(&mut world, 0);
    world.deliver(&record);
    let member = world.members.get_mut(&RegNo(0)).unwrap();
    let far = Version { steps: MAX_NODE_STEPS + 1, ..record.root };
    assert!(member.path.step_root(far).is_err());
    assert_eq!(member.path.root(), Some((record.root, &record.root_secret)));
    assert!(member.path.step_root(Version { steps: MAX_NODE_STEPS, ..record.root }).is_ok());
}

#[test]
fn leaf_secrets_step_between_admission_and_cut_and_after() {
    let mut world = world(4);
    let record = join(&mut world, 0);
    world.deliver(&record);
    let waiting = world.admit(RegNo(1));
    for _ in 0..3 {
        let batch = Batch { step_leaves: true, ..Batch::default() };
        let record = world.cut(&batch, vec![]).unwrap();
        assert!(record.targets.is_empty());
        world.deliver(&record);
    }
    let join = Join { reg_no: waiting.reg_no, leaf: waiting.leaf.clone(), leaf_steps: 0 };
    let batch = Batch { joins: vec![join], step_leaves: true, ..Batch::default() };
    let record = world.cut(&batch, vec![waiting]).unwrap();
    world.deliver(&record);
    for member in world.members.values() {
        assert_eq!(member.path.leaf_steps(), 4);
        assert_eq!(member.path.root(), world.tree.root());
    }
    let ahead = Join { reg_no: RegNo(2), leaf: Secret::new([9; 32]), leaf_steps: 5 };
    let batch = Batch { joins: vec![ahead], ..Batch::default() };
    let refused = world.tree.stage(world.next_epoch(), &batch, &mut world.xof(b"message", 9));
    assert!(refused.is_err());
}
