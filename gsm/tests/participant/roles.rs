//! A node goes from member to manager and back.

use std::time::Duration;

use gsm::{
    Journal, JournalEntry, Mode, NotEligible, Part, Participant, ParticipantConfig, ParticipantEvent,
    Remembered, RequestError,
};
use protocol::{Commit, Frame, Instant, Machine as _, Refusal};

use crate::handover::{is_shut_out, peer, shut_out};
use crate::lan::{Lan, member_config, rng, says};

/// Two managers, of which the second has given way to the first and is its member.
fn demoted() -> (Lan, usize, usize) {
    let mut lan = Lan::new();
    let (one, two) = (lan.manager("one"), lan.manager("two"));
    assert!(lan.until(|lan| lan.managers().len() == 1));
    let [winner] = lan.managers()[..] else { panic!() };
    (lan, winner, one + two - winner)
}

fn entries(lan: &Lan, index: usize) -> Vec<JournalEntry> {
    lan.nodes[index].records.iter().map(|(_, bytes)| JournalEntry::decode(bytes).unwrap()).collect()
}

#[test]
fn a_node_without_the_manager_role_does_not_manage() {
    let config = ParticipantConfig { part: Part::Manager, member: member_config("x", false, &[]) };
    let built = Participant::new(Instant::ZERO, config, None, rng(0, 0), None, Journal::default());
    assert_eq!(built.unwrap_err(), NotEligible);
}

#[test]
fn the_first_event_is_the_mode_and_the_place_comes_before_the_keys() {
    let mut lan = Lan::new();
    let manager = lan.manager("one");
    lan.run(Duration::from_secs(1));
    let events = &lan.nodes[manager].events;
    assert_eq!(events[0], ParticipantEvent::Became(Mode::Manager));
    let place = events.iter().position(|event| event.place().is_some()).unwrap();
    let ring = events.iter().position(|event| event.ring().is_some()).unwrap();
    assert!(place < ring);
    let place = events[place].place().unwrap();
    let gsm = lan.gsm(manager);
    assert_eq!((place.subgroup, place.sender), (gsm.domain().subgroup, gsm.own_sender()));
    assert_eq!(place.control.ip(), gsm.domain().local_ip());
}

#[test]
fn a_manager_that_gives_way_makes_that_durable_before_it_says_so() {
    let (lan, _, loser) = demoted();
    // After it the store is only asked to report, so that its journal is made shorter.
    assert!(entries(&lan, loser).ends_with(&[JournalEntry::SteppedDown, JournalEntry::Probe]));
    // Nothing is numbered twice and nothing is left out.
    let numbers: Vec<_> = lan.nodes[loser].records.iter().map(|(commit, _)| commit.0).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let order = lan.nodes[loser].events.iter().filter_map(|event| match event {
        ParticipantEvent::Became(mode) => Some(format!("{mode:?}")),
        ParticipantEvent::Manager(gsm::GsmEvent::SteppedDown { .. }) => Some("stepped down".into()),
        _ => None,
    });
    assert_eq!(order.collect::<Vec<_>>(), ["Manager", "stepped down", "Member"]);
}

#[test]
fn a_node_that_gave_way_keeps_its_keys_until_it_has_others() {
    let (mut lan, _, loser) = demoted();
    assert!(
        lan.until(|lan| lan.nodes[loser].participant.member().is_some_and(|member| member.held().is_some()))
    );
    let events = &lan.nodes[loser].events;
    let ended = events.iter().rposition(|event| *event == ParticipantEvent::Became(Mode::Member)).unwrap();
    assert!(
        events[..ended]
            .iter()
            .rev()
            .find_map(ParticipantEvent::ring)
            .is_some_and(|ring| !ring.receive.is_empty())
    );
    let next = events[ended..].iter().find_map(ParticipantEvent::ring).unwrap();
    assert_ne!(
        next.subgroup,
        events[..ended].iter().rev().find_map(ParticipantEvent::ring).unwrap().subgroup
    );
}

#[test]
fn keys_of_a_managership_that_ended_do_not_outlive_t_hard() {
    let mut lan = Lan::new();
    let short = |config: &mut gsm::ManagerConfig| config.timing.t_hard = Duration::from_secs(1);
    let (one, two) =
        (lan.add("one", Part::Manager, true, &[], short), lan.add("two", Part::Manager, true, &[], short));
    assert!(lan.until(|lan| lan.managers().len() == 1));
    let [winner] = lan.managers()[..] else { panic!() };
    let loser = one + two - winner;
    lan.nodes[winner].up = false;
    lan.nodes[loser].events.clear();
    lan.run(Duration::from_millis(1_001));
    let rings: Vec<_> = lan.nodes[loser].events.iter().filter_map(ParticipantEvent::ring).collect();
    assert!(rings.first().is_some_and(|ring| ring.receive.is_empty() && ring.send.is_empty()), "{rings:?}");
}

#[test]
fn a_member_refuses_who_wants_to_register_with_it() {
    let (mut lan, _, loser) = demoted();
    let join = crate::handover::join();
    assert_eq!(says(&mut lan, loser, peer("x", false), &[join]), [Frame::Refused(Refusal::NotManager)]);
    assert!(!lan.nodes[loser].participant.accepts());
}

#[test]
fn a_manager_on_its_way_out_evicts_nobody() {
    let mut lan = Lan::new();
    let (one, two) = (lan.manager("one"), lan.manager("two"));
    // Its end is in the journal, and it is still a manager.
    let leaving = |lan: &Lan, index: usize| {
        lan.managers().contains(&index) && entries(lan, index).last() == Some(&JournalEntry::SteppedDown)
    };
    assert!(lan.until(|lan| leaving(lan, one) || leaving(lan, two)));
    let loser = if leaving(&lan, one) { one } else { two };
    let now = lan.now;
    let gsm = lan.nodes[loser].participant.gsm_mut().unwrap();
    assert_eq!(gsm.evict(now, "x"), Err(RequestError::GivingWay));
    let records = lan.nodes[loser].records.len();
    lan.run(Duration::from_millis(100));
    assert_eq!(lan.nodes[loser].records.len(), records);
}

#[test]
fn who_stepped_down_comes_back_as_no_manager_of_that_subgroup_and_forgets_nobody_it_had_evicted() {
    let mut lan = Lan::new();
    let (one, two) = (lan.manager("one"), lan.manager("two"));
    lan.deaf.extend([(one, two), (two, one)]);
    lan.run(Duration::from_secs(1));
    for manager in [one, two] {
        shut_out(&mut lan, manager, &["x".into()]);
    }
    let subgroups = [lan.gsm(one).domain().subgroup, lan.gsm(two).domain().subgroup];
    lan.deaf.clear();
    assert!(lan.until(|lan| lan.managers().len() == 1));
    let [winner] = lan.managers()[..] else { panic!() };
    let loser = one + two - winner;
    let before = entries(&lan, loser).into_iter().filter_map(|entry| match entry {
        JournalEntry::Started { term, .. } => Some(term),
        _ => None,
    });
    let before = before.max().unwrap();
    let records = lan.nodes[loser].records.iter().map(|(commit, bytes)| (*commit, bytes.as_slice()));
    let remembered = Remembered::from_loaded(None, records, false).unwrap().unwrap();
    assert!(remembered.place().is_none() && remembered.revocations().len() == 1);
    lan.nodes[winner].up = false;
    lan.restart(loser, Part::Member);
    assert_eq!(lan.managers(), [0; 0]);
    lan.restart(loser, Part::Manager);
    assert!(lan.until(|lan| lan.nodes[loser].participant.accepts()));
    assert!(!subgroups.contains(&lan.gsm(loser).domain().subgroup));
    assert!(lan.gsm(loser).status(lan.now).state.term > before);
    assert!(is_shut_out(&mut lan, loser, "x"));
    assert!(lan.nodes[loser].records.last().is_some_and(|(commit, _)| *commit > Commit(3)));
    assert!(lan.nodes[loser].participant.poll_record().is_none());
}
