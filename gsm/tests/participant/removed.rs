//! Who is out stays out: former managers and standbys with all they knew, and the evicted, whatever happens to the
//! managers (attack A29).

use std::collections::BTreeSet;
use std::time::Duration;

use gsm::{GsmEvent, Part};
use protocol::{StateId, Term};

use crate::following::{company, holds_current, in_step};
use crate::lan::Lan;
use crate::thief::Thief;

fn state(lan: &Lan, manager: usize) -> StateId {
    lan.gsm(manager).status(lan.now).state
}

fn told(lan: &Lan, index: usize, is: impl Fn(&GsmEvent) -> bool) -> bool {
    lan.manager_events(index).any(is)
}

/// Whether these hold the manager's key.
fn hold(lan: &Lan, manager: usize, nodes: &[usize]) -> bool {
    nodes.iter().all(|node| holds_current(lan, manager, *node))
}

/// The group lives on after somebody was removed: key updates, a newcomer, a member that leaves. All of it is of a later
/// term than any that the thief has a key of.
fn lives_on(lan: &mut Lan, manager: usize, members: &[usize], thief: &mut Thief) {
    let last = thief.term(lan);
    assert!(lan.until(|lan| lan.gsm(manager).is_serving() && state(lan, manager).term > last));
    assert!(lan.until(|lan| hold(lan, manager, members)), "nobody who stays is lost");
    let newcomer = lan.member("newcomer", &[manager]);
    assert!(lan.until(|lan| hold(lan, manager, &[newcomer])));
    for _ in 0..3 {
        let now = lan.now;
        let _ = lan.gsm_mut(manager).rekey(now);
        lan.settle(manager);
        lan.run(Duration::from_secs(2));
    }
    let now = lan.now;
    lan.nodes[newcomer].participant.leave(now);
    lan.settle(newcomer);
    lan.run(Duration::from_secs(20));
    assert!(hold(lan, manager, members));
    assert!(thief.term(lan) <= last, "{:?}", thief.knows(lan));
}

/// It derives every key as long as it is in: what comes out of it afterwards is no fault of this adversary.
fn works(lan: &Lan, manager: usize, thief: &mut Thief) {
    assert_eq!(thief.knows(lan), Some(state(lan, manager)));
}

#[test]
fn a_removed_former_manager_given_every_packet_derives_no_later_key() {
    for evicted in [true, false] {
        let (mut lan, boss, heir, ann, bob) = company();
        let now = lan.now;
        lan.gsm_mut(boss).hand_over(now, None).unwrap();
        lan.settle(boss);
        assert!(lan.until(|lan| lan.managers() == [heir] && in_step(lan, heir, "boss")));
        assert!(lan.until(|lan| hold(lan, heir, &[ann, bob, boss])));
        let mut thief = Thief::of(&lan, heir, boss);
        works(&lan, heir, &mut thief);
        if evicted {
            lan.evict(heir, "boss");
        } else {
            let now = lan.now;
            lan.nodes[boss].participant.leave(now);
            lan.settle(boss);
        }
        assert!(lan.until(|lan| told(lan, heir, |event| matches!(event, GsmEvent::Renewed { .. }))));
        lives_on(&mut lan, heir, &[ann, bob], &mut thief);
    }
}

#[test]
fn a_manager_that_was_lost_and_stays_away_derives_no_later_key() {
    let (mut lan, boss, heir, ann, bob) = company();
    let mut thief = Thief::of(&lan, boss, boss);
    works(&lan, boss, &mut thief);
    lan.kill(boss);
    assert!(lan.until(|lan| lan.managers() == [heir] && hold(lan, heir, &[ann, bob])));
    // It may come back for half a minute, and knows what there is until then.
    works(&lan, heir, &mut thief);
    let renewed = |event: &GsmEvent| matches!(event, GsmEvent::Renewed { number: 1, .. });
    assert!(lan.until(|lan| told(lan, heir, renewed)));
    lives_on(&mut lan, heir, &[ann, bob], &mut thief);
}

#[test]
fn a_removed_former_standby_given_every_packet_derives_no_later_key() {
    for how in ["evicted", "left", "silent", "evicted after a takeover"] {
        let (mut lan, boss, heir, ann, bob) = company();
        let second = lan.add("second", Part::Auto, true, &[boss], |_| {});
        assert!(lan.until(|lan| in_step(lan, boss, "second") && hold(lan, boss, &[second])));
        let mut thief = Thief::of(&lan, boss, heir);
        works(&lan, boss, &mut thief);
        let (mut manager, mut members) = (boss, vec![ann, bob, second]);
        match how {
            "evicted" => lan.evict(boss, "heir"),
            "left" => {
                let now = lan.now;
                lan.nodes[heir].participant.leave(now);
                lan.settle(heir);
            }
            "silent" => lan.kill(heir),
            _ => {
                lan.kill(boss);
                assert!(lan.until(|lan| lan.managers() == [heir] && in_step(lan, heir, "second")));
                lan.run(Duration::from_secs(1));
                // The other one takes over from it in turn, and puts it out.
                lan.kill(heir);
                (manager, members) = (second, vec![ann, bob]);
                assert!(lan.until(|lan| lan.managers() == [second]));
            }
        }
        let renewed = |event: &GsmEvent| matches!(event, GsmEvent::Renewed { .. });
        assert!(lan.until(|lan| told(lan, manager, renewed)), "{how}");
        lives_on(&mut lan, manager, &members, &mut thief);
    }
}

/// Bob was evicted and keeps asking: he is not in and has no key of the newest term, and all others have it.
fn is_out(lan: &mut Lan, manager: usize, bob: usize, others: &[usize]) {
    lan.run(Duration::from_secs(40));
    assert!(!lan.listed(manager).contains(&"bob".into()));
    assert!(hold(lan, manager, others));
    let held = lan.nodes[bob].participant.member().and_then(|member| member.held());
    assert!(held.is_none_or(|held| held.term < state(lan, manager).term), "{held:?}");
}

#[test]
fn a_revoked_member_stays_out_across_a_failover() {
    // The manager is killed at each moment from the word to the end of the key update.
    for wait in 0..12 {
        let (mut lan, boss, heir, ann, bob) = company();
        lan.evict(boss, "bob");
        let out = |lan: &Lan| told(lan, boss, |event| matches!(event, GsmEvent::Departed { .. }));
        assert!(lan.until(out));
        lan.run(Duration::from_millis(wait));
        lan.kill(boss);
        assert!(lan.until(|lan| lan.managers() == [heir]), "{wait}");
        is_out(&mut lan, heir, bob, &[ann]);
    }
}

#[test]
fn a_revoked_member_stays_out_across_a_restart_from_an_older_store() {
    for knows in [true, false] {
        let (mut lan, boss, heir, ann, bob) = company();
        let older = lan.nodes[boss].records.len();
        lan.evict(boss, "bob");
        lan.run(Duration::from_secs(5));
        // Before a standby takes its place, the manager is back with what it knew before. It may not know that.
        lan.kill(boss);
        lan.restore(boss, older, knows);
        assert!(lan.until(|lan| lan.managers().len() == 1 && lan.gsm(lan.managers()[0]).is_serving()));
        let manager = lan.managers()[0];
        let others: Vec<_> = [boss, heir, ann].into_iter().filter(|node| *node != manager).collect();
        is_out(&mut lan, manager, bob, &others);
    }
}

#[test]
fn a_leave_at_any_moment_of_a_merge_reaches_the_one_that_stays_or_is_not_taken() {
    for wait in (0..300).step_by(4).map(Duration::from_millis) {
        let (mut lan, boss, heir, ..) = company();
        let cid = lan.member("cid", &[boss]);
        let dan = lan.member("dan", &[boss]);
        assert!(lan.until(|lan| hold(lan, boss, &[cid, dan])));
        lan.run(Duration::from_secs(2));
        lan.apart = BTreeSet::from([boss, cid]);
        assert!(lan.until(|lan| lan.managers() == [boss, heir]));
        lan.run(Duration::from_secs(3));
        lan.apart.clear();
        let heard = |event: &GsmEvent| matches!(event, GsmEvent::OtherManager { .. });
        assert!(lan.until(|lan| told(lan, boss, heard) || told(lan, heir, heard)));
        lan.run(wait);
        let now = lan.now;
        lan.nodes[cid].participant.leave(now);
        lan.settle(cid);
        assert!(lan.until(|lan| lan.managers().len() == 1), "{wait:?}");
        let left =
            |event: &GsmEvent| matches!(event, GsmEvent::Departed { identity, .. } if identity == "cid");
        let taken = told(&lan, boss, left);
        let manager = lan.managers()[0];
        lan.run(Duration::from_millis(100));
        assert!(!taken || !lan.listed(manager).contains(&"cid".into()), "{wait:?}");
    }
}

#[test]
fn a_revoked_member_of_either_side_stays_out_across_a_partition_and_a_merge() {
    let (mut lan, boss, heir, ann, bob) = company();
    let more = ["cid", "dan", "eve", "fay"].map(|identity| lan.member(identity, &[boss]));
    let [cid, dan, eve, fay] = more;
    assert!(lan.until(|lan| hold(lan, boss, &more)));
    lan.run(Duration::from_secs(2));
    lan.apart = BTreeSet::from([boss, bob, cid, dan]);
    assert!(lan.until(|lan| lan.managers() == [boss, heir]));
    lan.evict(boss, "bob");
    lan.evict(heir, "eve");
    for (left, manager) in [(cid, boss), (fay, heir)] {
        let now = lan.now;
        lan.nodes[left].participant.leave(now);
        lan.settle(left);
        let gone = |event: &GsmEvent| matches!(event, GsmEvent::Departed { why: gsm::Departure::Left, .. });
        assert!(lan.until(|lan| told(lan, manager, gone)));
    }
    lan.run(Duration::from_secs(6));
    assert!(hold(&lan, boss, &[dan]) && hold(&lan, heir, &[ann]));
    let terms: Vec<Term> = [boss, heir].iter().map(|manager| state(&lan, *manager).term).collect();
    lan.apart.clear();
    assert!(lan.until(|lan| lan.managers().len() == 1));
    let manager = lan.managers()[0];
    let other = if manager == boss { heir } else { boss };
    assert!(lan.until(|lan| hold(lan, manager, &[ann, dan, other])));
    assert!(terms.iter().all(|term| *term < state(&lan, manager).term));
    for node in [bob, eve] {
        is_out(&mut lan, manager, node, &[ann, dan, other]);
    }
    assert_eq!(lan.listed(manager), ["ann", "boss", "dan", "heir"]);
}
