//! Fifty members at once, and ten joins with ten leaves as one key update of exactly the rules' size.

use std::collections::BTreeSet;
use std::time::Duration;

use conclave::{Clock, Group, GroupHandle};
use gsm::Standing;

use crate::support::{Site, joined, registrar, within};

#[tokio::test]
async fn fifty_members_hold_the_key_within_ten_seconds_and_ten_joins_and_leaves_are_one_key_update() {
    let site = Site::new();
    let manager = site.manager().await;
    let handle = manager.handle();
    let credentials: Vec<_> = (0..60)
        .map(|number| site.credentials(&format!("m{number}.example"), crate::support::MEMBER))
        .collect();
    let (first, later) = credentials.split_at(50);

    let started = Clock.now();
    let mut members: Vec<Group> = Vec::new();
    for own in first {
        members.push(site.member_with(own.clone(), registrar(&manager)).await);
    }
    for member in &mut members {
        joined(member).await;
    }
    let took = Clock.now().saturating_since(started);
    println!("fifty_members_hold_the_key_ms {}", took.as_millis());
    assert!(took <= Duration::from_secs(10), "took {took:?}");

    quiet(&handle).await;
    let before = leaves(&handle).await;
    for member in members.drain(..10) {
        assert!(within(member.leave()).await);
    }
    let mut joiners: Vec<Group> = Vec::new();
    for own in later {
        joiners.push(site.member_with(own.clone(), registrar(&manager)).await);
    }
    until_pending(&handle, 20).await;
    let update = within(handle.rekey()).await.unwrap();
    let after = leaves(&handle).await;

    assert_eq!((update.joins, update.leaves), (10, 10));
    let expected = entries_by_the_rules(&before, &after);
    println!("ten_joins_ten_leaves_entries {} expected {expected}", update.entries);
    assert_eq!(update.entries, expected);
    let next = within(handle.rekey()).await.unwrap();
    assert_eq!(next.state.epoch.0, update.state.epoch.0 + 1, "one key update, not several");
    drop(joiners);
    within(manager.stop()).await;
}

/// Lets what waits be cut, then keeps the manager from cutting by itself.
async fn quiet(handle: &GroupHandle) {
    within(handle.rekey()).await.unwrap();
    within(handle.set_rekey_interval(Duration::from_secs(3_600))).await.unwrap();
}

/// Until this many joins and leaves wait for the next cut.
async fn until_pending(handle: &GroupHandle, wanted: usize) {
    let mut events = handle.events();
    while within(handle.manager_status()).await.unwrap().pending < wanted {
        within(events.recv()).await.unwrap();
    }
}

/// Who holds which leaf: (reg-no, registration).
async fn leaves(handle: &GroupHandle) -> BTreeSet<(u32, u64)> {
    let members = within(handle.members()).await.unwrap();
    let held = members.iter().filter(|member| member.standing == Standing::In);
    held.map(|member| (member.reg_no.0, member.sender.0)).collect()
}

/// Counts the entries a key tree of degree 4 must send, straight from the rules of the design: by sets, top-down, with
/// no tree.
fn entries_by_the_rules(before: &BTreeSet<(u32, u64)>, after: &BTreeSet<(u32, u64)>) -> usize {
    let reg_nos =
        |set: &BTreeSet<(u32, u64)>| set.iter().map(|(reg_no, _)| *reg_no).collect::<BTreeSet<u32>>();
    let rules = Rules {
        before: reg_nos(before),
        after: reg_nos(after),
        left: before.difference(after).map(|(reg_no, _)| *reg_no).collect(),
        joined: after.difference(before).map(|(reg_no, _)| *reg_no).collect(),
    };
    let height = |set: &BTreeSet<u32>| {
        let highest = set.last().copied().unwrap_or(0);
        (1..).find(|level| highest < 4_u32.pow(*level)).unwrap_or(1)
    };
    let top = height(&rules.after).max(height(&rules.before));
    (1..=top)
        .flat_map(|level| (0..4_u32.pow(top - level)).map(move |index| (level, index)))
        .map(|(level, index)| rules.entries(level, index, height(&rules.before)))
        .sum()
}

struct Rules {
    before: BTreeSet<u32>,
    after: BTreeSet<u32>,
    left: BTreeSet<u32>,
    joined: BTreeSet<u32>,
}

#[derive(PartialEq)]
enum Change {
    None,
    Replace,
    Step,
    Fresh,
}

impl Rules {
    fn any(set: &BTreeSet<u32>, level: u32, index: u32) -> bool {
        let width = 4_u32.pow(level);
        set.range(index * width..(index + 1) * width).next().is_some()
    }

    fn change(&self, level: u32, index: u32, old_height: u32) -> Change {
        let had_key = level <= old_height && Self::any(&self.before, level, index);
        if !Self::any(&self.after, level, index) {
            Change::None
        } else if !had_key {
            Change::Fresh
        } else if Self::any(&self.left, level, index) {
            Change::Replace
        } else if Self::any(&self.joined, level, index) {
            Change::Step
        } else {
            Change::None
        }
    }

    fn entries(&self, level: u32, index: u32, old_height: u32) -> usize {
        let children = index * 4..index * 4 + 4;
        let occupied = children.clone().filter(|child| Self::any(&self.after, level - 1, *child)).count();
        match self.change(level, index, old_height) {
            Change::None => 0,
            Change::Fresh => occupied,
            Change::Step => children.filter(|child| Self::any(&self.joined, level - 1, *child)).count(),
            Change::Replace => {
                let mut changed = children.filter(|child| {
                    level > 1
                        && matches!(
                            self.change(level - 1, *child, old_height),
                            Change::Replace | Change::Fresh
                        )
                });
                occupied - usize::from(changed.next().is_some())
            }
        }
    }
}
