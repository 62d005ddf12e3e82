//! All members agree with the manager, whatever happened and whatever step-only epochs they slept through.

use keytree::{Change, KeyPath, KeyTree, NodeId, PathError, RekeyView, Target, Version};
use proptest::prelude::*;

use crate::support::{Member, Record, cases, histories, play};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn every_member_that_follows_holds_the_managers_keys(history in histories(200, 24)) {
        play(&history, 200, |world, record| {
            world.deliver(record);
            for member in world.members.values() {
                agrees(member, &world.tree);
            }
            for departed in &mut world.departed {
                let root = &record.root_secret;
                let outcome = departed.path.apply_if(&record.view(), |_, secret| secret == root);
                assert!(outcome.is_err(), "{:?} read epoch {}", departed.path, record.epoch);
            }
        });
    }

    #[test]
    fn a_packet_of_ones_own_targets_is_enough(history in histories(60, 16)) {
        play(&history, 60, |world, record| {
            for member in world.members.values_mut() {
                let own = own_targets(&member.path, record);
                member.path.apply(&RekeyView { targets: &own, ..record.view() }).unwrap();
                agrees(member, &world.tree);
            }
        });
    }

    #[test]
    fn members_that_skipped_step_only_epochs_catch_up_alone(history in histories(120, 24)) {
        play(&history, 120, |world, record| {
            for member in world.members.values_mut() {
                if sleeps(history.seed, member.identity, record) {
                    member.behind |= missed_a_key(&member.path, record);
                    if !member.behind {
                        let mut alarmed = member.path.clone();
                        alarmed.step_root(record.root).unwrap();
                        assert_eq!(alarmed.root(), world.tree.root());
                    }
                } else {
                    wake(member, record, &world.tree);
                    agrees(member, &world.tree);
                }
            }
        });
    }
}

/// Whether a member misses an epoch: about every other one.
fn sleeps(seed: u64, identity: u32, record: &Record) -> bool {
    let mixed =
        (seed ^ (u64::from(identity) << 32 | u64::from(record.epoch.0))).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed >> 60 < 9
}

fn own_targets(path: &KeyPath, record: &Record) -> Vec<Target> {
    let on_path = |node: NodeId| nodes(path, record).any(|own| own == node);
    record.targets.iter().filter(|target| on_path(target.node)).cloned().collect()
}

fn nodes(path: &KeyPath, record: &Record) -> impl Iterator<Item = NodeId> {
    let (leaf, degree) = (path.reg_no(), path.degree());
    (1..=record.height).map(move |level| degree.ancestor(leaf, level))
}

/// Whether an epoch gives this member a key that it could not make by stepping: new ones, or its first.
fn missed_a_key(path: &KeyPath, record: &Record) -> bool {
    path.root().is_none() || own_targets(path, record).iter().any(|target| target.change != Change::Step)
}

/// A member that may have slept gets one update; if that does not do, a resync. Either way it ends with the root.
fn wake(member: &mut Member, record: &Record, tree: &KeyTree) {
    let before: Vec<_> = held(&member.path);
    let root = &record.root_secret;
    let alone = member.path.clone().step_root(record.root).is_ok();
    match member.path.apply_if(&record.view(), |_, secret| secret == root) {
        Ok(()) => {}
        Err(error) => {
            assert!(member.behind, "{:?} missed steps only: {error}", member.path);
            assert!(matches!(error, PathError::NeedsRepair { .. }), "{error}");
            assert!(!alone, "an alarm cannot do what an update cannot");
            assert_eq!(held(&member.path), before, "an error changed the path");
            let keys = tree.path(member.reg_no).unwrap();
            member.path.install(record.height, record.epoch, keys).unwrap();
        }
    }
    member.behind = false;
}

fn held(path: &KeyPath) -> Vec<(NodeId, Version, [u8; 32])> {
    path.keys().map(|(node, version, secret)| (node, version, *secret.expose())).collect()
}

/// The root is the manager's, and every other key is, up to steps yet to take.
fn agrees(member: &Member, tree: &KeyTree) {
    let path = &member.path;
    assert_eq!(path.root(), tree.root(), "{path:?}");
    let keys = tree.path(member.reg_no).unwrap();
    assert_eq!(path.height(), tree.height());
    for (node, version, secret) in path.keys().skip(1) {
        let manager = &keys[usize::from(node.level) - 1];
        match version.steps_to(manager.version) {
            Some(0) => assert_eq!(secret, &manager.secret, "{path:?} {node:?}"),
            steps => assert!(steps.is_some() || member.behind, "{path:?} {node:?} {version}"),
        }
    }
}
