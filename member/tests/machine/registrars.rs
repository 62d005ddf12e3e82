//! Looking for a manager: registrars in turn, waits that grow and differ, reasons that are told.

use std::collections::BTreeSet;
use std::time::Duration;

use member::{Ending, MemberEvent};
use protocol::{CloseReason, Frame, Input, Refusal};

use super::manager::Manager;
use super::node::{Node, registrar};

/// The waits between one failure and the next try, for as many failures.
fn waits(seed: u64, failures: usize) -> Vec<Duration> {
    let mut node = Node::joining(seed);
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
    for _ in 0..4 {
        let conn = node.asked().last().unwrap().1;
        node.input(Input::Closed { conn, why: CloseReason::TimedOut }).unwrap();
        node.pass_to_the_next_timer();
    }
    let tried: Vec<_> = node.asked().into_iter().map(|(.., to)| to).collect();
    assert_eq!(tried[..4], [registrar(1), registrar(2), registrar(3), registrar(1)]);
    let conns: BTreeSet<_> = node.asked().into_iter().map(|(_, conn, _)| conn).collect();
    assert_eq!(conns.len(), node.asked().len(), "no connection's number is used twice");
    let unreachable = MemberEvent::Unreachable { registrar: registrar(2), why: CloseReason::TimedOut };
    assert!(node.events.contains(&unreachable));
}

/// Attack A2: a registrar that accepts and then says nothing holds nobody up.
#[test]
fn a_tar_pit_is_given_up_in_six_seconds() {
    let mut node = Node::joining(1);
    let conn = node.opened();
    node.pass(Duration::from_millis(6_500));
    assert!(node.is_closed(conn));
    assert_eq!(node.asked().last().unwrap().2, registrar(2));
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
    assert_eq!(node.asked().len(), 2, "a full manager may have room again");
}

#[test]
fn a_member_that_is_told_it_was_put_out_drops_its_keys() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    // Its manager falls silent; it registers again and learns why.
    node.pass(Duration::from_secs(7));
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
        node.pass(Duration::from_secs(7));
        let conn = node.opened();
        node.frame(conn, &Frame::Refused(why)).unwrap();
        assert_eq!(node.member.held(), Some(manager.state), "{why}");
    }
}
