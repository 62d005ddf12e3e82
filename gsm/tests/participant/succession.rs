//! A standby takes the manager's place: when that one is lost, and when it hands its office on (DESIGN: failover).

use std::time::Duration;

use gsm::{GsmEvent, JournalEntry, Mode, Part, ParticipantEvent, Remembered, RequestError};
use member::MemberEvent;
use protocol::{Commit, Frame, Revocation, SenderId, Term};

use crate::following::{company, frames, holds_current, in_step, pair, sender};
use crate::handover::is_shut_out;
use crate::lan::{Certificates, Lan, address};

fn manages(lan: &Lan, index: usize) -> bool {
    lan.nodes[index].participant.mode() == Mode::Manager && lan.gsm(index).is_serving()
}

/// Whether a node has registered since its events were last cleared.
fn registered(lan: &Lan, index: usize) -> bool {
    let granted =
        |event: &ParticipantEvent| matches!(event, ParticipantEvent::Member(MemberEvent::Granted(_)));
    lan.nodes[index].events.iter().any(granted)
}

fn forget_events(lan: &mut Lan) {
    lan.nodes.iter_mut().for_each(|node| node.events.clear());
}

fn told(lan: &Lan, index: usize, is: impl Fn(&GsmEvent) -> bool) -> bool {
    lan.manager_events(index).any(is)
}

#[test]
fn a_lost_manager_is_replaced_by_its_standby_and_nobody_registers_again() {
    let (mut lan, boss, heir, ann, bob) = company();
    let subgroup = lan.gsm(boss).domain().subgroup;
    let own = sender(&lan, boss, "heir");
    let before = lan.gsm(boss).status(lan.now).state;
    let (ann_was, bob_was) = (sender(&lan, boss, "ann"), sender(&lan, boss, "bob"));
    forget_events(&mut lan);
    lan.kill(boss);
    let killed = lan.now;
    assert!(lan.until(|lan| manages(lan, heir)));
    let took = lan.now.saturating_since(killed);
    assert!(took <= Duration::from_millis(3_600), "{took:?}");
    assert_eq!(lan.gsm(heir).domain().subgroup, subgroup);
    assert_eq!(lan.gsm(heir).own_sender(), own);
    assert!(lan.gsm(heir).status(lan.now).state.term > before.term);
    assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, heir, *node))));
    assert_eq!((sender(&lan, heir, "ann"), sender(&lan, heir, "bob")), (ann_was, bob_was));
    assert!([heir, ann, bob].iter().all(|node| !registered(&lan, *node)));
    // The keys are those of the sender that was there before: streams and replay windows stay.
    let rings = lan.nodes[heir].events.iter().filter_map(ParticipantEvent::ring);
    assert!(rings.clone().count() > 0 && rings.clone().all(|ring| ring.own == own));
    assert_eq!(lan.listed(heir), ["ann", "bob", "heir"]);
    lan.run(Duration::from_secs(20));
    let named = MemberEvent::ManagerNamed { identity: "heir".into() };
    let names = |node: usize| {
        let events = lan.nodes[node].events.iter();
        events.filter(|event| **event == ParticipantEvent::Member(named.clone())).count()
    };
    assert_eq!((names(ann), names(bob)), (1, 1));
    assert_eq!(lan.managers(), [heir]);
    assert!([ann, bob].iter().all(|node| holds_current(&lan, heir, *node) && !registered(&lan, *node)));
}

#[test]
fn an_eviction_that_was_told_survives_the_manager() {
    let (mut lan, boss, heir, ann, bob) = company();
    lan.evict(boss, "bob");
    assert!(lan.until(|lan| told(lan, boss, |event| matches!(event, GsmEvent::Departed { .. }))));
    lan.kill(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert!(lan.until(|lan| holds_current(lan, heir, ann)));
    lan.run(Duration::from_secs(10));
    assert_eq!(lan.listed(heir), ["ann", "heir"]);
    assert!(!holds_current(&lan, heir, bob));
}

/// Whether a manager's first key update was hard.
fn first_is_hard(lan: &Lan, manager: usize) -> Option<bool> {
    let mut updates = lan.manager_events(manager).filter_map(|event| match event {
        GsmEvent::Rekeyed(summary) => Some(summary.hard),
        _ => None,
    });
    updates.next()
}

#[test]
fn the_first_key_update_of_a_takeover_is_soft_unless_somebody_may_have_to_be_shut_out() {
    for evicts in [false, true] {
        let (mut lan, boss, heir, ann, _) = company();
        if evicts {
            lan.evict(boss, "bob");
            // All of these have its key update; somebody else may have missed it.
            assert!(lan.until(|lan| holds_current(lan, boss, ann) && holds_current(lan, boss, heir)));
        }
        lan.kill(boss);
        assert!(lan.until(|lan| manages(lan, heir)));
        assert_eq!(first_is_hard(&lan, heir), Some(evicts));
    }
}

#[test]
fn a_takeover_by_a_standby_that_knows_of_a_key_update_nobody_heard_is_hard() {
    let (mut lan, boss, heir, ann, bob) = company();
    // The eviction and its key update are on record here and there, and the manager dies with the packets in its hands.
    lan.deaf.extend([heir, ann, bob].map(|node| (boss, node)));
    lan.evict(boss, "bob");
    lan.run(Duration::from_millis(10));
    lan.kill(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert_eq!(first_is_hard(&lan, heir), Some(true));
    assert!(lan.until(|lan| holds_current(lan, heir, ann)) && !holds_current(&lan, heir, bob));
}

/// A company with another standby, both in step.
fn two_standbys() -> (Lan, usize, usize, usize, [usize; 2]) {
    let (mut lan, boss, heir, ann, bob) = company();
    let second = lan.add("second", Part::Auto, true, &[boss], |_| {});
    assert!(lan.until(|lan| in_step(lan, boss, "second") && holds_current(lan, boss, second)));
    (lan, boss, heir, second, [ann, bob])
}

#[test]
fn the_second_standby_takes_over_when_the_first_dies_with_the_manager() {
    let (mut lan, boss, heir, second, members) = two_standbys();
    lan.run(Duration::from_secs(1));
    forget_events(&mut lan);
    // The manager does not live to say that the first one is gone.
    lan.kill(boss);
    lan.kill(heir);
    let killed = lan.now;
    assert!(lan.until(|lan| manages(lan, second)));
    let took = lan.now.saturating_since(killed);
    assert!(took <= Duration::from_millis(4_500), "{took:?}");
    assert!(lan.until(|lan| members.iter().all(|node| holds_current(lan, second, *node))));
    assert!(members.iter().all(|node| !registered(&lan, *node)));
}

#[test]
fn of_two_standbys_the_first_takes_over_and_the_second_follows_it() {
    let (mut lan, boss, heir, second, members) = two_standbys();
    lan.run(Duration::from_secs(1));
    forget_events(&mut lan);
    lan.kill(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert!(lan.until(|lan| in_step(lan, heir, "second")));
    lan.run(Duration::from_secs(5));
    assert_eq!(lan.managers(), [heir]);
    assert!(members.iter().chain([&second]).all(|node| !registered(&lan, *node)));
    // And once more.
    lan.kill(heir);
    assert!(lan.until(|lan| manages(lan, second)));
    assert!(lan.until(|lan| members.iter().all(|node| holds_current(lan, second, *node))));
    assert!(members.iter().all(|node| !registered(&lan, *node)));
}

#[test]
fn a_standby_that_is_evicted_takes_nothing_along_and_the_other_one_still_takes_over() {
    let (mut lan, boss, heir, second, members) = two_standbys();
    lan.run(Duration::from_secs(1));
    forget_events(&mut lan);
    lan.evict(boss, "heir");
    assert!(lan.until(|lan| told(lan, boss, |event| matches!(event, GsmEvent::Renewed { .. }))));
    let both = [members[0], members[1], second];
    assert!(lan.until(|lan| both.iter().all(|node| holds_current(lan, boss, *node))));
    assert!(lan.until(|lan| in_step(lan, boss, "second")));
    lan.run(Duration::from_secs(1));
    lan.kill(boss);
    assert!(lan.until(|lan| manages(lan, second)));
    assert!(lan.until(|lan| members.iter().all(|node| holds_current(lan, second, *node))));
    assert!(both.iter().all(|node| !registered(&lan, *node)));
    assert_eq!(lan.managers().iter().filter(|manager| **manager != heir).count(), 1);
}

#[test]
fn a_standby_that_is_not_in_step_does_not_take_over() {
    let (mut lan, boss, heir, ..) = company();
    lan.stalled.insert(heir);
    lan.evict(boss, "bob");
    assert!(lan.until(|lan| !in_step(lan, boss, "heir")));
    lan.run(Duration::from_millis(300));
    let subgroup = lan.gsm(boss).domain().subgroup;
    lan.kill(boss);
    lan.run(Duration::from_secs(30));
    // Whoever manages now made a subgroup of its own, in which everybody is anew.
    let managers = lan.managers();
    assert!(managers.iter().all(|manager| lan.gsm(*manager).domain().subgroup != subgroup));
}

#[test]
fn a_manager_that_is_heard_again_in_time_is_not_replaced() {
    let (mut lan, boss, heir, ann, bob) = company();
    // Nobody hears it for a while, as when the network flaps.
    lan.deaf.extend([heir, ann, bob].map(|node| (boss, node)));
    lan.run(Duration::from_millis(2_500));
    lan.deaf.clear();
    lan.run(Duration::from_secs(10));
    assert_eq!(lan.managers(), [boss]);
}

#[test]
fn a_handover_keeps_everybody_and_takes_a_moment() {
    let (mut lan, boss, heir, ann, bob) = company();
    let subgroup = lan.gsm(boss).domain().subgroup;
    forget_events(&mut lan);
    let now = lan.now;
    let to = sender(&lan, boss, "heir");
    assert_eq!(lan.gsm_mut(boss).hand_over(now, None), Ok(to));
    lan.settle(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert!(lan.now.saturating_since(now) < Duration::from_millis(50));
    assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, heir, *node))));
    assert!(lan.now.saturating_since(now) < Duration::from_secs(1));
    assert!([heir, ann, bob].iter().all(|node| !registered(&lan, *node)));
    assert_eq!(lan.gsm(heir).domain().subgroup, subgroup);
    assert_eq!(lan.gsm(heir).own_sender(), to);
    let handed = GsmEvent::HandedOver { identity: "heir".into(), sender: to };
    assert!(told(&lan, boss, |event| *event == handed));
    // The manager before is a member now, and a standby before long.
    assert!(lan.until(|lan| lan.listed(heir) == ["ann", "bob", "boss", "heir"]));
    assert!(lan.until(|lan| holds_current(lan, heir, boss) && in_step(lan, heir, "boss")));
    lan.run(Duration::from_secs(60));
    assert_eq!(lan.managers(), [heir]);
    assert!([ann, bob].iter().all(|node| holds_current(&lan, heir, *node) && !registered(&lan, *node)));
}

#[test]
fn whoever_is_no_manager_any_more_keeps_no_key_of_the_subgroup_on_its_disk() {
    let (mut lan, boss, heir, ..) = company();
    let now = lan.now;
    lan.gsm_mut(boss).hand_over(now, None).unwrap();
    lan.settle(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    lan.run(Duration::from_millis(100));
    let last = lan.nodes[boss].records.last().unwrap().0;
    let (upto, snapshot) = lan.nodes[boss].participant.compaction().unwrap();
    assert_eq!(upto, last);
    let remembered = Remembered::from_loaded(Some((upto, &snapshot)), [], false).unwrap().unwrap();
    assert_eq!((remembered.place(), remembered.members()), (None, 0));
    assert_eq!(remembered.term(), before_handover(&lan, boss));
    assert_eq!(lan.nodes[boss].participant.compaction(), None);
}

/// The term of the last start in a node's journal.
fn before_handover(lan: &Lan, index: usize) -> Term {
    let entries = lan.nodes[index].records.iter().filter_map(|(_, bytes)| JournalEntry::decode(bytes).ok());
    let terms = entries.filter_map(|entry| match entry {
        JournalEntry::Started { term, .. } => Some(term),
        _ => None,
    });
    terms.max().unwrap()
}

#[test]
fn a_handover_goes_back_and_forth() {
    let (mut lan, boss, heir, ann, bob) = company();
    for (from, to, name) in [(boss, heir, "heir"), (heir, boss, "boss"), (boss, heir, "heir")] {
        forget_events(&mut lan);
        let now = lan.now;
        let sender = sender(&lan, from, name);
        assert_eq!(lan.gsm_mut(from).hand_over(now, Some(sender)), Ok(sender));
        lan.settle(from);
        let before = if from == boss { "boss" } else { "heir" };
        assert!(lan.until(|lan| manages(lan, to) && in_step(lan, to, before)));
        assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, to, *node))));
        assert!([ann, bob].iter().all(|node| !registered(&lan, *node)));
    }
}

#[test]
fn without_a_standby_in_step_no_office_is_handed_on() {
    let (mut lan, boss, _) = pair();
    assert!(lan.until(|lan| lan.gsm(boss).is_serving()));
    let now = lan.now;
    assert_eq!(lan.gsm_mut(boss).hand_over(now, None), Err(RequestError::NoStandby));
    assert!(lan.until(|lan| in_step(lan, boss, "heir")));
    let now = lan.now;
    let nobody = lan.gsm_mut(boss).hand_over(now, Some(SenderId(1)));
    assert_eq!(nobody, Err(RequestError::NotInStep));
}

#[test]
fn a_standby_that_dies_when_it_is_asked_leaves_the_office_where_it_is() {
    let (mut lan, boss, heir, ann, bob) = company();
    forget_events(&mut lan);
    let now = lan.now;
    lan.gsm_mut(boss).hand_over(now, None).unwrap();
    assert_eq!(lan.gsm_mut(boss).hand_over(now, None), Err(RequestError::HandingOver));
    lan.settle(boss);
    lan.kill(heir);
    assert!(lan.until(|lan| told(lan, boss, |event| matches!(event, GsmEvent::NotHandedOver { .. }))));
    lan.evict(boss, "bob");
    assert!(lan.until(|lan| holds_current(lan, boss, ann) && !holds_current(lan, boss, bob)));
    assert_eq!(lan.managers(), [boss]);
}

#[test]
fn a_standby_whose_start_is_never_warranted_goes_on_as_a_member() {
    let (mut lan, boss, heir, ann, bob) = company();
    let now = lan.now;
    lan.gsm_mut(boss).hand_over(now, None).unwrap();
    // Its word that the start is durable never arrives.
    lan.stalled.insert(heir);
    lan.settle(boss);
    assert!(lan.until(|lan| told(lan, boss, |event| matches!(event, GsmEvent::NotHandedOver { .. }))));
    lan.stalled.clear();
    assert!(lan.until(|lan| in_step(lan, boss, "heir")));
    assert_eq!(lan.managers(), [boss]);
    // Its journal says that it is no manager, whatever it had prepared; and it still takes over when it must.
    lan.run(Duration::from_secs(5));
    lan.kill(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, heir, *node))));
}

#[test]
fn a_manager_that_dies_between_its_end_and_its_warrant_is_replaced_once_it_is_lost() {
    let (mut lan, boss, heir, ann, bob) = company();
    forget_events(&mut lan);
    let now = lan.now;
    lan.gsm_mut(boss).hand_over(now, None).unwrap();
    lan.settle(boss);
    let ended = |lan: &Lan| {
        let mut entries =
            lan.nodes[boss].records.iter().map(|(_, bytes)| JournalEntry::decode(bytes).unwrap());
        entries.any(|entry| entry == JournalEntry::SteppedDown)
    };
    assert!(lan.until(ended));
    // Its end is on its disk, and it lives to say so to nobody.
    lan.kill(boss);
    let killed = lan.now;
    lan.run(Duration::from_millis(2_500));
    assert_eq!(lan.managers(), [], "nobody may manage yet: who handed over may be alive");
    assert!(lan.until(|lan| manages(lan, heir)));
    let took = lan.now.saturating_since(killed);
    assert!(took <= Duration::from_millis(4_500), "{took:?}");
    assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, heir, *node))));
    assert!([heir, ann, bob].iter().all(|node| !registered(&lan, *node)));
    // It finds that it manages no more, and is a member.
    lan.nodes[boss].up = true;
    lan.restart(boss, Part::Auto);
    assert!(lan.until(|lan| lan.listed(heir) == ["ann", "bob", "boss", "heir"]));
    lan.run(Duration::from_secs(40));
    assert_eq!(lan.managers(), [heir]);
}

#[test]
fn nobody_takes_an_office_that_was_not_offered_to_it() {
    let (mut lan, boss, heir, ..) = company();
    let conn = lan.framed.iter().rfind(|frame| frame.0 == heir && frame.1 == boss).unwrap().2;
    let following = lan.nodes[heir].participant.member().unwrap().following().unwrap();
    let mut start = following.alarm.state;
    start.term.0 += 1;
    start.epoch.0 = 0;
    let taken = protocol::OfficeTaken {
        start,
        key: following.manager,
        address: address(heir),
        registrar: address(heir),
    };
    assert!(lan.inject_frame(boss, conn, &Frame::OfficeTaken(taken).encode()).is_err());
    assert_eq!(lan.managers(), [boss]);
    assert!(frames(&lan, boss, heir).iter().all(|frame| !matches!(frame, Frame::Warrant(_))));
}

/// What a node's journal says by now.
fn journal(lan: &Lan, index: usize) -> impl Iterator<Item = JournalEntry> {
    lan.nodes[index].records.iter().map(|(_, bytes)| JournalEntry::decode(bytes).unwrap())
}

/// The manager before had not heard that a standby of it is shut out. It is out of the new manager's journal too, with its leaf,
/// and what it knew of the others is renewed.
#[test]
fn whom_the_successor_alone_has_shut_out_is_out_of_its_journal() {
    let (mut lan, boss, heir, ann, bob) = company();
    let second = lan.add("second", Part::Auto, true, &[boss], |_| {});
    let certificate = Certificates::fingerprint(&Certificates::certificate("second", true));
    let revocation = Revocation { identity: Revocation::identity_hash("second"), certificate };
    let last = lan.nodes[heir].records.last().map_or(Commit(0), |(commit, _)| *commit);
    lan.nodes[heir].records.push((Commit(last.0 + 1), JournalEntry::Revoked { revocation }.encode()));
    lan.kill(heir);
    lan.nodes[heir].up = true;
    lan.restart(heir, Part::Auto);
    assert!(lan.until(|lan| in_step(lan, boss, "second") && in_step(lan, boss, "heir")));
    assert!(lan.until(|lan| [ann, bob, heir].iter().all(|node| holds_current(lan, boss, *node))));
    lan.run(Duration::from_secs(1));
    let out = sender(&lan, boss, "second");
    lan.kill(boss);
    lan.kill(second);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, heir, *node))));
    assert_eq!(lan.listed(heir), ["ann", "bob", "heir"]);
    assert!(journal(&lan, heir).any(|entry| entry == JournalEntry::Evicted { sender: out, revocation }));
    assert!(journal(&lan, heir).any(|entry| matches!(entry, JournalEntry::Renewed { .. })));
    let records = lan.nodes[heir].records.iter().map(|(commit, bytes)| (*commit, bytes.as_slice()));
    let remembered = Remembered::from_loaded(None, records, false).unwrap().unwrap();
    assert!(remembered.registrations().all(|sender| sender != out));
}

/// The manager has lost its whole store and lets in again whom it had evicted. That node knows better: it never comes into
/// the place of the one that shut it out, and does not ask for what a standby is told.
#[test]
fn a_node_that_knows_that_it_was_evicted_neither_follows_nor_takes_over() {
    let (mut lan, boss, heir, ann, _) = company();
    lan.evict(boss, "heir");
    lan.run(Duration::from_secs(5));
    let knows = lan.nodes[heir].participant.member().is_some_and(|member| {
        member.revocations().any(|known| known.identity == Revocation::identity_hash("heir"))
    });
    assert!(knows);
    lan.kill(boss);
    lan.nodes[ann].up = false;
    lan.restore(boss, 0, false);
    assert!(lan.until(|lan| manages(lan, boss) && lan.listed(boss).contains(&"heir".into())));
    assert!(lan.until(|lan| holds_current(lan, boss, heir)));
    lan.run(Duration::from_secs(5));
    assert!(!in_step(&lan, boss, "heir"));
    lan.kill(boss);
    lan.run(Duration::from_secs(30));
    assert_eq!(lan.managers(), []);
}

/// While it started it heard nothing of the takeover, and its new term is no lower than its successor's.
#[test]
fn a_manager_that_comes_back_too_late_steps_down_at_the_first_proof_though_it_is_in_office_again() {
    let (mut lan, boss, heir, ann, bob) = company();
    lan.run(Duration::from_secs(1));
    forget_events(&mut lan);
    lan.kill(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, heir, *node))));
    let term = lan.gsm(heir).status(lan.now).state.term;
    lan.deaf.extend([(heir, boss), (boss, heir)]);
    lan.nodes[boss].up = true;
    lan.restart(boss, Part::Auto);
    assert!(lan.until(|lan| manages(lan, boss)));
    assert_eq!(lan.gsm(boss).status(lan.now).state.term, term);
    lan.deaf.clear();
    assert!(lan.until(|lan| lan.managers() == [heir]));
    assert!(!told(&lan, heir, |event| matches!(event, GsmEvent::TookOver { .. })));
    assert!(lan.until(|lan| [ann, bob, boss].iter().all(|node| holds_current(lan, heir, *node))));
    assert!([ann, bob].iter().all(|node| !registered(&lan, *node)));
}

/// A manager came back that the other nodes do not hear, while its successor manages: it evicts bob, after so long in office.
fn evicts_after_it_came_back(in_office: Duration) {
    let (mut lan, boss, heir, ann, bob) = company();
    lan.run(Duration::from_secs(1));
    lan.kill(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, heir, *node))));
    lan.deaf.extend([heir, ann, bob].iter().flat_map(|other| [(*other, boss), (boss, *other)]));
    lan.nodes[boss].up = true;
    lan.restart(boss, Part::Auto);
    assert!(lan.until(|lan| manages(lan, boss)));
    lan.run(in_office);
    lan.evict(boss, "bob");
    lan.run(Duration::from_millis(500));
    assert!(is_shut_out(&mut lan, boss, "bob") && !is_shut_out(&mut lan, heir, "bob"));
    lan.deaf.clear();
    assert!(lan.until(|lan| lan.managers().len() == 1));
    let left = lan.managers()[0];
    assert!(lan.until(|lan| lan.nodes[left].participant.accepts()));
    assert!(is_shut_out(&mut lan, left, "bob"));
    assert!(!lan.listed(left).contains(&"bob".into()));
}

/// It was in office for longer than a proof of that silence counts, and hands over whom it evicted.
#[test]
fn a_manager_that_was_in_office_again_for_long_goes_with_all_that_it_did_there() {
    evicts_after_it_came_back(Duration::from_secs(3));
}

/// The proof would count: but whoever follows does not know of the eviction.
#[test]
fn a_manager_that_evicted_somebody_as_soon_as_it_was_back_does_not_go_before_that_is_handed_over() {
    evicts_after_it_came_back(Duration::ZERO);
}

/// It has not even begun to speak.
#[test]
fn nor_one_that_evicted_somebody_while_it_only_listened() {
    let (mut lan, boss, heir, ann, bob) = company();
    lan.run(Duration::from_secs(1));
    lan.kill(boss);
    assert!(lan.until(|lan| manages(lan, heir)));
    assert!(lan.until(|lan| [ann, bob].iter().all(|node| holds_current(lan, heir, *node))));
    lan.nodes[boss].up = true;
    lan.restart(boss, Part::Auto);
    assert!(!lan.nodes[boss].participant.accepts());
    lan.evict(boss, "bob");
    assert!(!is_shut_out(&mut lan, heir, "bob"));
    lan.run(Duration::from_secs(20));
    let [left] = lan.managers()[..] else { panic!("{:?} manage", lan.managers()) };
    assert!(lan.nodes[left].participant.accepts());
    assert!(is_shut_out(&mut lan, left, "bob"));
}
