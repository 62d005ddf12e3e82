//! The check can fail: an engine with a bug is caught. The bug is made by changing what was recorded.

use std::collections::BTreeMap;

use crate::disk::{Change, NodeId, Part};
use crate::events::Event;
use crate::images::{Tally, open};
use crate::promise::Verdict;
use crate::recorded::Recorded;
use crate::script::{Mark, Operation};
use crate::support::directory;

/// What becomes of a share of the images if the recorded events are these.
fn with(recorded: &mut Recorded, events: Vec<Event>) -> Tally {
    let right = std::mem::replace(&mut recorded.events, events);
    let tally = recorded.open(250);
    recorded.events = right;
    tally
}

/// The files that are made under a name for which `is` holds, or the directories.
fn made(recorded: &Recorded, directories: bool, is: fn(&str) -> bool) -> Vec<NodeId> {
    let made = recorded.events.iter().filter_map(|event| match event {
        Event::Change { change: Change::Make { name, node, directory, .. }, .. } => {
            (*directory == directories && is(&name.1)).then_some(*node)
        }
        _ => None,
    });
    made.collect()
}

/// The events without the syncs of these files and directories.
fn never_synced(recorded: &Recorded, nodes: &[NodeId]) -> Vec<Event> {
    assert!(!nodes.is_empty());
    let mut events = recorded.events.clone();
    events.retain(|event| !matches!(event, Event::Sync { node, .. } if nodes.contains(node)));
    assert!(events.len() < recorded.events.len());
    events
}

/// The events with each batch acknowledged as soon as it is handed in.
fn acknowledged_at_once(recorded: &Recorded) -> Vec<Event> {
    let mut events = Vec::new();
    let mut early = false;
    for event in &recorded.events {
        match event {
            Event::Mark(Mark::Done) if early => early = false,
            Event::Mark(Mark::Begun(Operation::Append(..))) => {
                early = true;
                events.extend([event.clone(), Event::Mark(Mark::Done)]);
            }
            event => events.push(event.clone()),
        }
    }
    events
}

#[test]
fn an_engine_that_acknowledges_too_early_is_caught() {
    let mut recorded = Recorded::script(40);
    assert_eq!(recorded.open(250).bad(), 0);

    let early = acknowledged_at_once(&recorded);
    let tally = with(&mut recorded, early);
    assert!(tally.silent > 0, "a batch that is acknowledged before it is written: {tally:?}");

    let mut never_synced = |directories, is: fn(&str) -> bool| {
        let events = never_synced(&recorded, &made(&recorded, directories, is));
        with(&mut recorded, events)
    };
    let tally = never_synced(false, |name| name == "db");
    assert!(tally.lost > 0, "a database that is never synced: {tally:?}");
    let tally = never_synced(false, |name| name == "conf");
    assert!(tally.lost > 0, "settings that are never synced: {tally:?}");
    let tally = never_synced(false, |name| name == "anchor.new");
    assert!(tally.bad() > 0, "an anchor that is renamed before its content is synced: {tally:?}");
    let tally = never_synced(false, |name| name.starts_with("snapshot-"));
    assert!(tally.bad() > 0, "a snapshot that is renamed before its content is synced: {tally:?}");
    let tally = never_synced(true, |_| true);
    assert!(tally.bad() > 0, "names that are never synced: {tally:?}");
}

/// Whether the newest change is one of sled's that makes a segment free, while its new snapshot may lose its name.
fn frees_too_early(changes: &BTreeMap<u64, &Change>) -> bool {
    let zeroes = |change: &&&Change| matches!(change, Change::Write { bytes, .. } if bytes.len() > 100_000 && bytes.iter().all(|byte| *byte == 0));
    changes.values().last().filter(zeroes).is_some() && changes.values().any(|change| names_snapshot(change))
}

fn names_snapshot(change: &Change) -> bool {
    matches!(change, Change::Move { to, .. } if to.1.starts_with("snap."))
}

/// What a start finds if everything reached the disk but the name of sled's new snapshot.
fn without_the_new_name(recorded: &Recorded) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    recorded.play(|disk, promise, _| {
        let changes: BTreeMap<_, _> = disk.unsafe_changes().collect();
        if frees_too_early(&changes) {
            let there = changes.iter().filter(|(_, change)| !names_snapshot(change));
            let kept = there.map(|(number, _)| (*number, Part::All)).collect();
            let root = directory();
            disk.image(&kept).write(root.path());
            verdicts.push(open(root.path(), promise, true));
        }
    });
    verdicts
}

/// sled removes its old snapshot and zeroes what only that one knew of before the new one's name is safe.
#[test]
fn a_snapshot_of_sleds_that_loses_its_name_costs_nothing() {
    let mut found = Vec::new();
    for length in [250, 400, 550, 700] {
        found.extend(without_the_new_name(&Recorded::long_life(length)));
    }
    assert!(!found.is_empty() && found.iter().all(|verdict| *verdict == Verdict::Kept), "{found:?}");
}
