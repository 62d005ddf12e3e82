//! Looking for a manager: registrars in turn, waits that grow and differ, reasons that are told.

use std::collections::BTreeSet;
use std::time::Duration;

use member::{Ending, MemberConfig, MemberEvent};
use protocol::{CloseReason, Frame, Input, Refusal, Rejected};

use super::manager::Manager;
use super::node::{Node, config, peer, registrar};

/// The waits between one failure of the only registrar and the next try, for as many failures.
fn waits(seed: u64, failures: usize) -> Vec<Duration> {
    let only = MemberConfig { registrars: vec![registrar(1)], ..config() };
    let mut node = Node::with(seed, only).begun();
    for _ in 0..failures {
        let conn = node.asked().last().unwrap().1;
        let why = CloseReason::Unreachable("refused".into());
        node.input(Input::Closed { conn, why }).unwrap();
        let tries = node.asked().len();
        node.pass_to_the_next_timer();
        assert_eq!(node.asked().len(), tries + 1);
    }
    let at: Vec<_> = node.asked().iter().map(|(at, ..)| *at).collect();
    at.windows(2).map(|pair| pair[1].saturating_since(pair[0])).collect()
}

#[test]
fn waits_double_up_to_eight_seconds() {
    for seed in 0..20 {
        let waits = waits(seed, 12);
        for (failures, wait) in (0..).zip(&waits) {
            let longest =
                Duration::from_millis(250).saturating_mul(1 << failures.min(5)).min(Duration::from_secs(8));
            assert!(
                (longest / 2..=longest).contains(wait),
                "failure {failures}: {wait:?}, at most {longest:?}"
            );
        }
        assert!(waits[11] > waits[0]);
    }
}

#[test]
fn members_that_lost_their_manager_together_do_not_come_back_together() {
    let first: BTreeSet<Duration> = (0..100).map(|seed| waits(seed, 1)[0]).collect();
    assert!(first.len() >= 95, "{} different waits of 100", first.len());
    let spread = *first.last().unwrap() - *first.first().unwrap();
    assert!(spread > Duration::from_millis(90), "{spread:?}");
}

#[test]
fn registrars_are_tried_in_turn() {
    let mut node = Node::joining(1);
    for _ in 0..3 {
        let conn = node.asked().last().unwrap().1;
        node.input(Input::Closed { conn, why: CloseReason::TimedOut }).unwrap();
        node.pass_to_the_next_timer();
    }
    let tried: Vec<_> = node.asked().into_iter().map(|(.., to)| to).collect();
    assert_eq!(tried[..3], [registrar(1), registrar(2), registrar(3)]);
    let conns: BTreeSet<_> = node.asked().into_iter().map(|(_, conn, _)| conn).collect();
    assert_eq!(conns.len(), node.asked().len(), "no connection's number is used twice");
    let unreachable = MemberEvent::Unreachable { registrar: registrar(2), why: CloseReason::TimedOut };
    assert!(node.events.contains(&unreachable));
}

/// Attack A2: a registrar that accepts and then says nothing holds nobody up, before TLS or after it.
#[test]
fn a_tar_pit_is_given_up_and_delays_no_other() {
    let mut node = Node::joining(1);
    let silent = node.asked()[0].1;
    node.pass(Duration::from_millis(250));
    assert_eq!(node.asked()[1].2, registrar(2), "the next one is tried beside it");
    node.pass(Duration::from_millis(1_800));
    assert!(node.is_closed(silent));
    let conn = node.asked()[1].1;
    node.input(Input::Opened { conn, peer: peer() }).unwrap();
    node.pass(Duration::from_millis(2_900));
    assert!(!node.is_closed(conn));
    let tries = node.asked().len();
    node.pass(Duration::from_millis(500));
    assert!(node.is_closed(conn), "a manager that says nothing to a JOIN");
    assert!(node.asked().len() > tries);
}

/// Attack A1: only one of those that answer is told who asks.
#[test]
fn join_goes_to_the_first_that_opens_and_the_others_are_closed() {
    let mut node = Node::joining(1);
    node.pass(Duration::from_millis(600));
    let [(_, first, _), (_, second, _), (_, third, _)] = node.asked()[..] else {
        panic!("{:?}", node.asked())
    };
    node.input(Input::Opened { conn: second, peer: peer() }).unwrap();
    assert!(node.is_closed(first) && node.is_closed(third));
    let late = node.refuses(Input::Opened { conn: first, peer: peer() });
    assert_eq!(late, Rejected::UnknownConnection);
    assert_eq!(node.frames().len(), 1);
    node.pass(Duration::from_secs(1));
    assert_eq!(node.asked().len(), 3, "nobody else is tried while one is asked");
    node.frame(second, &Frame::Refused(Refusal::NotManager)).unwrap();
    node.pass(Duration::ZERO);
    assert_eq!(node.asked()[3].2, registrar(1), "who was closed for another one has not failed");
}

#[test]
fn a_reason_that_only_an_operator_changes_is_asked_about_once_a_minute() {
    for why in [Refusal::Denied, Refusal::NotCertified, Refusal::Revoked] {
        let mut node = Node::joining(1);
        let conn = node.opened();
        node.frame(conn, &Frame::Refused(why)).unwrap();
        assert_eq!(node.events, [MemberEvent::Refused { registrar: registrar(1), why }]);
        assert!(node.is_closed(conn));
        node.pass_to_the_next_timer();
        let [(first, ..), (second, ..)] = node.asked()[..] else { panic!("{:?}", node.asked()) };
        let wait = second.saturating_since(first);
        assert!((Duration::from_secs(30)..=Duration::from_secs(60)).contains(&wait), "{why}: {wait:?}");
    }
    let mut node = Node::joining(1);
    let conn = node.opened();
    node.frame(conn, &Frame::Refused(Refusal::Full)).unwrap();
    node.pass(Duration::from_millis(250));
    assert!(node.asked().len() > 1, "a full manager may have room again");
}

#[test]
fn a_member_that_is_told_it_was_put_out_drops_its_keys() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    // Its manager falls silent for long; it registers again and learns why.
    node.pass(Duration::from_secs(17));
    let conn = node.opened();
    node.forget();
    node.frame(conn, &Frame::Refused(Refusal::Revoked)).unwrap();
    assert!(node.events.contains(&MemberEvent::Ended(Ending::PutOut)));
    let ring = node.ring().unwrap();
    assert!(ring.send.is_empty() && ring.receive.is_empty());
    assert_eq!((node.member.held(), node.member.known()), (None, None));
    assert!(node.member.key_path().is_none());
}

#[test]
fn a_passing_reason_ends_no_membership() {
    for why in [Refusal::Full, Refusal::ReadOnly, Refusal::NotConfirmed, Refusal::UnknownGroup] {
        let mut manager = Manager::new();
        let mut node = Node::inside(&mut manager);
        node.pass(Duration::from_secs(17));
        let conn = node.opened();
        node.frame(conn, &Frame::Refused(why)).unwrap();
        assert_eq!(node.member.held(), Some(manager.state), "{why}");
    }
}
