//! Standbys follow their manager: what they hold, who waits for them and for how long, and who may not (attacks A26, A33).

use std::time::Duration;

use gsm::{Departure, GsmEvent, JournalEntry, Part, StandbyGone};
use protocol::{Commit, ConnId, Follow, Frame, Instant, Peer, Refusal, Rejected, SenderId};

use crate::handover::peer;
use crate::lan::{Certificates, GROUP, Lan, says};

/// Frames are read here as whoever they came for reads them.
pub(crate) fn frames(lan: &Lan, from: usize, to: usize) -> Vec<Frame> {
    let of = |frame: &&(usize, usize, ConnId, Vec<u8>)| frame.0 == from && frame.1 == to;
    let decode = |frame: &(usize, usize, ConnId, Vec<u8>)| {
        Frame::decode(&frame.3, &peer("whoever", true)).unwrap().into_inner()
    };
    lan.framed.iter().filter(of).map(decode).collect()
}

/// A manager and an eligible member.
pub(crate) fn pair() -> (Lan, usize, usize) {
    let mut lan = Lan::new();
    let boss = lan.manager("boss");
    let heir = lan.add("heir", Part::Auto, true, &[boss], |_| {});
    (lan, boss, heir)
}

pub(crate) fn in_step(lan: &Lan, manager: usize, identity: &str) -> bool {
    let standbys = lan.gsm(manager).status(lan.now).standbys;
    standbys.iter().any(|standby| standby.identity == identity && standby.in_step.is_some())
}

/// The same with the standby in step, and two plain members that hold the key.
pub(crate) fn company() -> (Lan, usize, usize, usize, usize) {
    let (mut lan, boss, heir) = pair();
    let (ann, bob) = (lan.member("ann", &[boss]), lan.member("bob", &[boss]));
    assert!(lan.until(|lan| in_step(lan, boss, "heir")));
    assert!(lan.until(|lan| [heir, ann, bob].iter().all(|node| holds_current(lan, boss, *node))));
    (lan, boss, heir, ann, bob)
}

pub(crate) fn holds_current(lan: &Lan, manager: usize, node: usize) -> bool {
    let state = lan.gsm(manager).status(lan.now).state;
    lan.nodes[node].participant.member().is_some_and(|member| member.held() == Some(state))
}

pub(crate) fn sender(lan: &Lan, manager: usize, identity: &str) -> SenderId {
    lan.gsm(manager).members().find(|listed| listed.identity == identity).unwrap().sender
}

/// The number of the first record of this kind in a node's journal.
fn recorded(lan: &Lan, index: usize, is: impl Fn(&JournalEntry) -> bool) -> Commit {
    let entries = lan.nodes[index].records.iter();
    let found = entries.filter(|(_, bytes)| is(&JournalEntry::decode(bytes).unwrap()));
    found.map(|(commit, _)| *commit).next().unwrap()
}

fn told(lan: &Lan, index: usize, is: impl Fn(&GsmEvent) -> bool) -> bool {
    lan.manager_events(index).any(is)
}

#[test]
fn a_newcomer_that_may_manage_asks_to_follow_once_its_join_is_cut_and_is_not_refused() {
    let (mut lan, boss, ..) = company();
    lan.add("second", Part::Auto, true, &[boss], |_| {});
    assert!(lan.until(|lan| in_step(lan, boss, "second")));
    let refused = |event: &GsmEvent| matches!(event, GsmEvent::Refused { .. });
    assert!(!told(&lan, boss, refused));
}

#[test]
fn a_join_a_leave_and_an_eviction_are_at_the_standby_before_anybody_is_told() {
    let (mut lan, boss, heir, ann, _) = company();
    let followed = |lan: &Lan| lan.nodes[heir].participant.followed().unwrap();

    let joiner = lan.member("joiner", &[boss]);
    let admitted = |lan: &Lan| {
        told(lan, boss, |event| matches!(event, GsmEvent::Admitted { identity, .. } if identity == "joiner"))
    };
    assert!(lan.until(admitted));
    let joined =
        |entry: &JournalEntry| matches!(entry, JournalEntry::Joined(joined) if joined.identity == "joiner");
    assert!(followed(&lan) >= recorded(&lan, boss, joined));
    assert!(lan.until(|lan| lan.nodes[joiner].participant.member().unwrap().held().is_some()));

    let now = lan.now;
    let left = sender(&lan, boss, "ann");
    lan.nodes[ann].participant.leave(now);
    lan.settle(ann);
    let departed = |lan: &Lan, why: Departure| {
        told(lan, boss, |event| matches!(event, GsmEvent::Departed { why: is, .. } if *is == why))
    };
    assert!(lan.until(|lan| departed(lan, Departure::Left)));
    let gone = |entry: &JournalEntry| *entry == JournalEntry::Departed { sender: left };
    assert!(followed(&lan) >= recorded(&lan, boss, gone));

    lan.evict(boss, "bob");
    assert!(lan.until(|lan| departed(lan, Departure::Evicted)));
    let evicted = |entry: &JournalEntry| matches!(entry, JournalEntry::Evicted { .. });
    assert!(followed(&lan) >= recorded(&lan, boss, evicted));
    // The standby's key update followed on that record, which it held by then too.
    assert!(in_step(&lan, boss, "heir"));
}

/// The time from an instant to the first event of this kind.
fn waited(lan: &mut Lan, manager: usize, from: Instant, is: impl Fn(&GsmEvent) -> bool) -> Duration {
    assert!(lan.until(|lan| told(lan, manager, &is)));
    lan.now.saturating_since(from)
}

#[test]
fn a_standby_that_hangs_blocks_a_join_for_300_ms_at_most_and_is_named_no_more() {
    let (mut lan, boss, heir, ..) = company();
    lan.stalled.insert(heir);
    let start = lan.now;
    let joiner = lan.member("joiner", &[boss]);
    let admitted =
        |event: &GsmEvent| matches!(event, GsmEvent::Admitted { identity, .. } if identity == "joiner");
    let took = waited(&mut lan, boss, start, admitted);
    let (least, most) = (Duration::from_millis(300), Duration::from_millis(330));
    assert!((least..=most).contains(&took), "{took:?}");
    let lost = GsmEvent::StandbyLost {
        identity: "heir".into(),
        sender: sender(&lan, boss, "heir"),
        why: StandbyGone::Silent,
    };
    assert!(told(&lan, boss, |event| *event == lost));
    // Whoever heard the word of admission has heard before that the standby is out of step.
    assert!(lan.until(|lan| lan.nodes[joiner].participant.member().unwrap().following().is_some()));
    for node in [heir, joiner] {
        let member = lan.nodes[node].participant.member().unwrap();
        assert_eq!(member.following().unwrap().alarm.in_step, 0);
    }
}

#[test]
fn a_standby_that_hangs_blocks_a_key_update_for_50_ms_at_most() {
    let (mut lan, boss, heir, ..) = company();
    lan.stalled.insert(heir);
    let start = lan.now;
    lan.evict(boss, "bob");
    let next = lan.gsm(boss).status(lan.now).state;
    let rekeyed = move |event: &GsmEvent| matches!(event, GsmEvent::Rekeyed(summary) if summary.state > next);
    let took = waited(&mut lan, boss, start, rekeyed);
    assert!((Duration::from_millis(50)..=Duration::from_millis(55)).contains(&took), "{took:?}");
    let why = |event: &GsmEvent| matches!(event, GsmEvent::StandbyLost { why: StandbyGone::Late, .. });
    assert!(told(&lan, boss, why));
}

#[test]
fn a_standby_that_died_blocks_nothing() {
    let (mut lan, boss, heir, ..) = company();
    lan.kill(heir);
    lan.run(Duration::from_millis(2));
    let start = lan.now;
    lan.member("joiner", &[boss]);
    let admitted =
        |event: &GsmEvent| matches!(event, GsmEvent::Admitted { identity, .. } if identity == "joiner");
    assert!(waited(&mut lan, boss, start, admitted) < Duration::from_millis(20));
}

#[test]
fn a_standby_that_was_behind_is_in_step_again_when_it_holds_everything() {
    let (mut lan, boss, heir, ..) = company();
    lan.stalled.insert(heir);
    lan.evict(boss, "bob");
    assert!(lan.until(|lan| !in_step(lan, boss, "heir")));
    lan.stalled.clear();
    assert!(lan.until(|lan| in_step(lan, boss, "heir")));
    lan.run(Duration::from_secs(1));
    let following = lan.nodes[heir].participant.member().unwrap().following().unwrap();
    assert_eq!(following.alarm.successors_in_step(), [following.sender]);
    assert!(lan.nodes[heir].participant.followed().unwrap().0 >= following.alarm.journal);
}

#[test]
fn a_standby_is_told_nothing_before_its_mark_is_durable_and_the_leaf_secrets_have_stepped() {
    let (mut lan, boss, heir) = pair();
    let told_state = |lan: &Lan| frames(lan, boss, heir).iter().any(|frame| matches!(frame, Frame::State(_)));
    assert!(lan.until(told_state));
    let trusted = recorded(&lan, boss, |entry| matches!(entry, JournalEntry::Trusted { .. }));
    let stepped = recorded(&lan, boss, |entry| matches!(entry, JournalEntry::Cut { leaf_steps: 1.., .. }));
    assert!(lan.gsm(boss).status(lan.now).journal >= trusted.max(stepped));
}

/// If the manager is lost before, its successor would not know that the secrets must move on once that one is out.
#[test]
fn a_standby_is_told_nothing_before_the_other_one_holds_its_mark_or_is_out_of_step() {
    let (mut lan, boss, heir, ..) = company();
    let second = lan.add("second", Part::Auto, true, &[boss], |_| {});
    let marked = |lan: &Lan| {
        let entries = lan.nodes[boss].records.iter().map(|(_, bytes)| JournalEntry::decode(bytes).unwrap());
        entries.filter(|entry| matches!(entry, JournalEntry::Trusted { .. })).count() == 2
    };
    assert!(lan.until(marked));
    lan.stalled.insert(heir);
    let told = |lan: &Lan| frames(lan, boss, second).iter().any(|frame| matches!(frame, Frame::State(_)));
    assert!(in_step(&lan, boss, "heir") && !told(&lan));
    assert!(lan.until(told));
    assert!(!in_step(&lan, boss, "heir"));
    assert!(lan.until(|lan| in_step(lan, boss, "second")));
}

fn follow(lan: &Lan, manager: usize, sender: SenderId) -> Frame {
    Frame::Follow(Follow { group: GROUP, subgroup: lan.gsm(manager).domain().subgroup, sender })
}

/// What a manager answers to somebody who wants to follow as `sender`.
fn asks(lan: &mut Lan, manager: usize, peer: Peer, sender: SenderId) -> Vec<Frame> {
    let asked = follow(lan, manager, sender);
    says(lan, manager, peer, &[asked])
}

#[test]
fn nobody_follows_but_the_very_node_that_was_registered_and_may_manage() {
    let (mut lan, boss, ..) = company();
    let (heir, ann) = (sender(&lan, boss, "heir"), sender(&lan, boss, "ann"));
    let own = lan.gsm(boss).own_sender();
    // A plain member, as itself and as the successor.
    assert_eq!(asks(&mut lan, boss, peer("ann", false), ann), [Frame::Refused(Refusal::NotCertified)]);
    assert_eq!(asks(&mut lan, boss, peer("ann", false), heir), [Frame::Refused(Refusal::NotCertified)]);
    // Another manager of the group, that is no member; and one that says it is the manager itself.
    assert_eq!(asks(&mut lan, boss, peer("other", true), heir), [Frame::Refused(Refusal::Denied)]);
    assert_eq!(asks(&mut lan, boss, peer("boss", true), own), [Frame::Refused(Refusal::Denied)]);
    // The successor's name with another certificate than it registered with.
    let mut renewed = peer("heir", true);
    renewed.certificate = Certificates::fingerprint(b"+another");
    assert_eq!(asks(&mut lan, boss, renewed, heir), [Frame::Refused(Refusal::Denied)]);
    // A node that was evicted.
    lan.evict(boss, "heir");
    assert_eq!(asks(&mut lan, boss, peer("heir", true), heir), [Frame::Refused(Refusal::Revoked)]);
}

#[test]
fn an_evicted_standby_is_cut_off_at_once_and_not_even_told_of_it() {
    let (mut lan, boss, heir, ..) = company();
    lan.framed.clear();
    lan.evict(boss, "heir");
    assert!(lan.until(|lan| told(lan, boss, |event| matches!(event, GsmEvent::Departed { .. }))));
    lan.run(Duration::from_secs(2));
    assert!(
        !frames(&lan, boss, heir).iter().any(|frame| matches!(frame, Frame::Change(..) | Frame::State(_)))
    );
    assert!(!in_step(&lan, boss, "heir"));
}

#[test]
fn a_standby_that_acknowledges_what_it_was_never_sent_is_cut_off() {
    let (mut lan, boss, heir, ..) = company();
    let conn = lan.framed.iter().rfind(|frame| frame.0 == heir && frame.1 == boss).unwrap().2;
    let bytes = Frame::Followed(Commit(u64::MAX)).encode();
    assert_eq!(lan.inject_frame(boss, conn, &bytes), Err(Rejected::OutOfPlace));
    assert!(!in_step(&lan, boss, "heir"));
}

/// The state as a manager sent it to its standby, on which connection.
fn state_sent(lan: &Lan, from: usize, to: usize) -> (ConnId, Vec<u8>) {
    let is_state = |bytes: &[u8]| {
        matches!(Frame::decode(bytes, &peer("whoever", true)).unwrap().into_inner(), Frame::State(_))
    };
    let sent =
        lan.framed.iter().rfind(|frame| (frame.0, frame.1) == (from, to) && is_state(&frame.3)).unwrap();
    (sent.2, sent.3.clone())
}

#[test]
fn a33_the_state_of_an_older_start_is_refused_and_nothing_is_held() {
    let (mut lan, boss, heir, ..) = company();
    let (_, old) = state_sent(&lan, boss, heir);
    lan.kill(boss);
    lan.run(Duration::from_millis(100));
    lan.nodes[boss].up = true;
    lan.restart(boss, Part::Auto);
    assert!(lan.until(|lan| in_step(lan, boss, "heir")));
    let (conn, _) = state_sent(&lan, boss, heir);
    assert_eq!(lan.inject_frame(heir, conn, &old), Err(Rejected::Stale));
    assert_eq!(lan.nodes[heir].participant.followed(), None);
}

#[test]
fn a33_a_record_that_does_not_follow_on_what_is_held_ends_it_and_the_whole_state_comes_again() {
    let (mut lan, boss, heir, ..) = company();
    let (conn, _) = state_sent(&lan, boss, heir);
    let probe = JournalEntry::Probe.encode();
    for beyond in [0, 2] {
        let wrong = lan.nodes[heir].participant.followed().unwrap().0 + beyond;
        let conn = lan.framed.iter().rfind(|frame| (frame.0, frame.1) == (boss, heir)).unwrap().2;
        let change = Frame::Change(Commit(wrong), probe.clone()).encode();
        assert_eq!(lan.inject_frame(heir, conn, &change), Err(Rejected::OutOfPlace));
        assert_eq!(lan.nodes[heir].participant.followed(), None);
        assert!(lan.until(|lan| !in_step(lan, boss, "heir")));
        assert!(lan.until(|lan| in_step(lan, boss, "heir")));
    }
    assert!(state_sent(&lan, boss, heir).0 != conn);
}

#[test]
fn a_state_in_which_the_standby_has_another_unicast_key_is_not_its_managers_and_is_refused() {
    let (mut lan, boss, heir, ..) = company();
    let (conn, mut state) = state_sent(&lan, boss, heir);
    let unicast = lan.nodes[boss].records.iter().find_map(|(_, bytes)| match JournalEntry::decode(bytes) {
        Ok(JournalEntry::Joined(joined)) if joined.identity == "heir" => Some(joined.unicast.clone()),
        _ => None,
    });
    let unicast = unicast.unwrap();
    let at = state.windows(32).position(|window| window == unicast.expose()).unwrap();
    state[at] ^= 1;
    assert_eq!(lan.inject_frame(heir, conn, &state), Err(Rejected::NotAuthentic));
    assert_eq!(lan.nodes[heir].participant.followed(), None);
}

#[test]
fn a_node_that_is_no_successor_any_more_holds_nothing() {
    let (mut lan, boss, heir, ..) = company();
    let now = lan.now;
    assert!(lan.nodes[heir].participant.followed().is_some());
    lan.nodes[heir].participant.leave(now);
    lan.settle(heir);
    assert_eq!(lan.nodes[heir].participant.followed(), None);
    assert!(lan.until(|lan| !in_step(lan, boss, "heir")));
}

#[test]
fn no_more_than_two_follow_and_the_first_successors_are_they() {
    let (mut lan, boss, ..) = company();
    for identity in ["second", "third", "fourth"] {
        lan.add(identity, Part::Auto, true, &[boss], |_| {});
        lan.run(Duration::from_secs(8));
    }
    let standbys = lan.gsm(boss).status(lan.now).standbys;
    let names: Vec<_> = standbys.iter().map(|standby| standby.identity.as_str()).collect();
    assert_eq!(names, ["heir", "second"]);
    assert!(standbys.iter().all(|standby| standby.in_step.is_some()));
}

#[test]
fn with_a_store_that_failed_nothing_waits_for_a_standby() {
    let (mut lan, boss, heir, ..) = company();
    lan.nodes[boss].stores = false;
    lan.stalled.insert(heir);
    let start = lan.now;
    lan.evict(boss, "bob");
    let departed = |event: &GsmEvent| matches!(event, GsmEvent::Departed { .. });
    lan.evict(boss, "ann");
    assert!(waited(&mut lan, boss, start, departed) < Duration::from_millis(5));
}
