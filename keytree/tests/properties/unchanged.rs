//! An error changes nothing: neither the manager's tree nor a member's path. Nor does a plan that is dropped.

use std::ops::Range;

use crypto::{EntryIv, Secret, Suite};
use keytree::{
    Batch, BatchError, Change, Degree, Entry, Epoch, Join, KeyPath, PathError, RegNo, RekeyView, Sealed,
    Target, Version,
};
use proptest::prelude::*;

use crate::support::{History, Record, World, cases, histories, play};

/// Everything a tree can tell, and what it does next: equal before and after means nothing moved.
fn fingerprint(world: &World) -> impl PartialEq + std::fmt::Debug + use<> {
    let paths: Vec<_> = world.tree.reg_nos().map(|reg_no| (reg_no, world.tree.path(reg_no))).collect();
    let plan = world.stage(&Batch { refresh_root: true, step_leaves: true, ..Batch::default() });
    let plan = (plan.targets().to_vec(), plan.all_entries().to_vec());
    let tree = &world.tree;
    (paths, plan, tree.epoch(), tree.height(), tree.members(), tree.leaf_steps(), tree.lowest_free(|_| false))
}

fn join(reg_no: u32) -> Join {
    Join { reg_no: RegNo(reg_no), leaf: Secret::new([3; 32]), leaf_steps: 0 }
}

fn batch(joins: &[u32], leaves: &[u32]) -> Batch {
    let joins = joins.iter().copied().map(join).collect();
    Batch { joins, leaves: leaves.iter().copied().map(RegNo).collect(), ..Batch::default() }
}

fn small_world() -> (World, Record) {
    let history =
        History { suite: Suite::Aes256Kw, degree: Degree::new(2).unwrap(), seed: 5, rounds: vec![] };
    let mut world = World::new(&history);
    let joiners: Vec<_> = (0..5).map(|reg_no| world.admit(RegNo(reg_no))).collect();
    let joins = joiners.iter().map(|member| Join { leaf: member.leaf.clone(), ..join(member.reg_no.0) });
    let first = Batch { joins: joins.collect(), ..Batch::default() };
    let record = world.cut(&first, joiners).unwrap();
    world.deliver(&record);
    (world, record)
}

#[test]
fn a_batch_that_is_refused_leaves_the_tree_as_it_was() {
    let (world, _) = small_world();
    let before = fingerprint(&world);
    let high = RegNo::MAX.0 + 1;
    let late = Batch { joins: vec![Join { leaf_steps: 1, ..join(6) }], ..Batch::default() };
    let refused = [
        (batch(&[], &[]), BatchError::Empty),
        (batch(&[4], &[]), BatchError::Occupied(RegNo(4))),
        (batch(&[6, 7, 6], &[]), BatchError::Twice(RegNo(6))),
        (batch(&[], &[2, 3, 2]), BatchError::Twice(RegNo(2))),
        (batch(&[], &[9]), BatchError::Vacant(RegNo(9))),
        (batch(&[high], &[]), BatchError::OutOfRange(RegNo(high))),
        (batch(&[], &[u32::MAX]), BatchError::Vacant(RegNo(u32::MAX))),
        (late, BatchError::LeafSteps(RegNo(6))),
    ];
    for (batch, error) in refused {
        let staged = world.tree.stage(Epoch(2), &batch, &mut world.xof(b"message", 2));
        assert_eq!(staged.map(|_| ()).unwrap_err(), error);
    }
    let again = world.tree.stage(Epoch(1), &batch(&[6], &[]), &mut world.xof(b"message", 1));
    let stale = BatchError::EpochNotAfter { given: Epoch(1), last: Epoch(1) };
    assert_eq!(again.map(|_| ()).unwrap_err(), stale);
    assert_eq!(fingerprint(&world), before);
}

#[test]
fn a_plan_follows_only_on_the_state_it_was_staged_from() {
    let (mut world, _) = small_world();
    let first = world.stage(&batch(&[5], &[]));
    let second = world.stage(&batch(&[6], &[0]));
    world.tree.merge(second).unwrap();
    let before = fingerprint(&world);
    assert!(world.tree.merge(first).is_err());
    assert_eq!(fingerprint(&world), before);
}

#[test]
fn a_tree_that_lost_everybody_has_no_root_and_starts_afresh() {
    let (mut world, old) = small_world();
    let staged = world.stage(&batch(&[], &[0, 1, 2, 3, 4]));
    assert!(staged.root().is_none() && staged.view().is_none() && staged.targets().is_empty());
    world.tree.merge(staged).unwrap();
    assert!(world.tree.root().is_none());
    let staged = world.stage(&batch(&[0], &[]));
    assert!(staged.targets().iter().all(|target| target.change == Change::Fresh));
    let (_, root) = staged.root().unwrap();
    assert!(*root != old.root_secret);
    assert_eq!(staged.height(), old.height, "a tree does not shrink");
}

/// A message to be spoiled.
struct Message {
    targets: Vec<Target>,
    entries: Vec<Entry>,
    epoch: Epoch,
    height: u8,
    root: Version,
    leaf_steps: u16,
}

/// A way to spoil a message, and what is wrong then.
type Spoiler = (&'static str, fn(&mut Message));

const SPOILERS: [Spoiler; 18] = [
    ("entries out of reach", |message| message.targets[0].entries = 0..10_000),
    ("entries backwards", |message| message.targets[0].entries = Range { start: 5, end: 2 }),
    ("a target twice", |message| message.targets.push(message.targets[0].clone())),
    ("a target above the root", |message| message.targets[0].node.level = 31),
    ("a leaf as target", |message| message.targets[0].node.level = 0),
    ("a version of another epoch", |message| message.targets[0].version.base = Epoch(77)),
    ("another wrapping key", |message| {
        message.entries.iter_mut().for_each(|entry| entry.wrapping.base.0 += 9)
    }),
    ("too many steps", |message| message.entries.iter_mut().for_each(|entry| entry.wrapping.steps += 5_000)),
    ("no entries", |message| message.targets.iter_mut().for_each(|target| target.entries = 0..0)),
    ("a chain without its child", |message| message.targets = message.targets.split_off(1)),
    ("a root never made", |message| message.root = Version { base: Epoch(99), steps: 0 }),
    ("entries cut short", |message| message.seal(&[0; 5])),
    ("entries of zeros", |message| message.seal(&[0; 40])),
    ("a lower tree", |message| message.height -= 1),
    ("a tree too high", |message| message.height = 200),
    ("an earlier epoch", |message| message.epoch = Epoch(0)),
    ("leaf steps to come", |message| message.leaf_steps = u16::MAX),
    ("chained from the leaf", |message| {
        let target = &mut message.targets[0];
        (target.change, target.chained_from, target.entries) = (Change::Replace, Some(0), 0..0);
    }),
];

impl Message {
    fn of(record: &Record) -> Self {
        let Record { epoch, height, root, leaf_steps, .. } = *record;
        let (targets, entries) = (record.targets.clone(), record.entries.clone());
        Self { targets, entries, epoch, height, root, leaf_steps }
    }

    fn view<'a>(&'a self, iv: &'a EntryIv) -> RekeyView<'a> {
        let Self { epoch, height, root, leaf_steps, .. } = *self;
        RekeyView { epoch, iv, height, root, leaf_steps, targets: &self.targets, entries: &self.entries }
    }

    fn seal(&mut self, bytes: &[u8]) {
        self.entries.iter_mut().for_each(|entry| entry.sealed = Sealed::from_slice(bytes).unwrap());
    }
}

fn held(path: &KeyPath) -> impl PartialEq + std::fmt::Debug + use<> {
    let keys: Vec<_> = path.keys().map(|(node, version, secret)| (node, version, *secret.expose())).collect();
    (keys, path.epoch(), path.height())
}

#[test]
fn a_message_no_plan_holds_leaves_the_path_as_it_was() {
    let (mut world, _) = small_world();
    let record = world.cut(&batch(&[], &[1]), vec![]).unwrap();
    let path = &mut world.members.get_mut(&RegNo(0)).unwrap().path;
    let before = held(path);
    for (what, spoil) in SPOILERS {
        let mut message = Message::of(&record);
        spoil(&mut message);
        assert!(path.apply(&message.view(&record.iv)).is_err(), "{what}");
        assert_eq!(held(path), before, "{what}");
    }
    assert_eq!(path.apply_if(&record.view(), |_, _| false), Err(PathError::Refused));
    assert_eq!(held(path), before);
    path.apply(&record.view()).unwrap();
    assert!(matches!(path.apply(&record.view()), Err(PathError::Stale { .. })));
}

#[test]
fn a_resync_that_does_not_fit_leaves_the_path_as_it_was() {
    let (mut world, record) = small_world();
    let keys = world.tree.path(RegNo(0)).unwrap();
    let path = &mut world.members.get_mut(&RegNo(0)).unwrap().path;
    let before = held(path);
    assert!(path.install(record.height, Epoch(0), keys.clone()).is_err());
    assert!(path.install(record.height + 1, Epoch(5), keys.clone()).is_err());
    assert!(path.install(record.height - 1, Epoch(5), keys[1..].to_vec()).is_err());
    assert!(path.install(record.height, Epoch(5), keys.iter().rev().cloned().collect()).is_err());
    assert!(path.install(0, Epoch(5), vec![]).is_err());
    assert_eq!(held(path), before);
    path.install(record.height, record.epoch, keys).unwrap();
    assert_eq!(path.root(), world.tree.root());
    assert!(world.tree.path(RegNo(99)).is_none(), "who is not cut yet gets no keys");
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_dropped_plan_changes_nothing(history in histories(60, 12)) {
        let mut world = play(&history, 60, |world, record| world.deliver(record));
        let before = fingerprint(&world);
        for round in &history.rounds {
            let (batch, _) = world.batch(round, 60);
            if !batch.is_empty() {
                drop(world.stage(&batch));
            }
        }
        prop_assert_eq!(fingerprint(&world), before);
    }
}
