//! What a manager takes from another one that gives way to it, and from whom.

use std::time::Duration;

use crypto::{Roles, Secret};
use gsm::GsmEvent;
use protocol::{
    Epoch, Frame, GroupId, Handover, HandoverTaken, Inst, Join, JoinRole, Peer, Refusal, Revocation, StateId,
    SubgroupId, Term,
};

use crate::lan::{Certificates, GROUP, Lan, address, says};

/// Somebody as TLS shows it.
pub(crate) fn peer(identity: &str, manager: bool) -> Peer {
    let certificate = Certificates::certificate(identity, manager);
    Peer {
        identity: identity.into(),
        roles: Roles { member: true, manager, maa: false },
        certificate: Certificates::fingerprint(&certificate),
        valid_for: Duration::from_secs(3_600),
        address: address(90),
        channel: Secret::new([9; 32]),
    }
}

fn revocation(identity: &str) -> Revocation {
    Revocation { identity: Revocation::identity_hash(identity), certificate: [0; 32] }
}

fn handover(revocations: Vec<Revocation>, last: bool) -> Frame {
    let state = StateId { term: Term(1), inst: Inst(1), epoch: Epoch(1) };
    Frame::Handover(Handover {
        group: GROUP,
        subgroup: SubgroupId(3),
        state,
        revocations,
        departed: Vec::new(),
        members: Vec::new(),
        last,
    })
}

/// Has a manager shut these identities out, as if another manager had handed them over.
pub(crate) fn shut_out(lan: &mut Lan, manager: usize, identities: &[String]) {
    let all: Vec<_> = identities.iter().map(|identity| revocation(identity)).collect();
    for part in all.chunks(256) {
        let answers = says(lan, manager, peer("helper", true), &[handover(part.to_vec(), true)]);
        assert_eq!(answers, [Frame::HandoverTaken(HandoverTaken { office: None, strangers: Vec::new() })]);
    }
    lan.settle(manager);
}

/// Whether a manager refuses a node of this identity for having been evicted.
pub(crate) fn is_shut_out(lan: &mut Lan, manager: usize, identity: &str) -> bool {
    says(lan, manager, peer(identity, false), &[join()]) == [Frame::Refused(Refusal::Revoked)]
}

pub(crate) fn join() -> Frame {
    let signing = crypto::PublicKey([1; 32]);
    Frame::Join(Join {
        group: GROUP,
        role: JoinRole::Member,
        signing,
        exchange: crypto::ExchangePublic([2; 32]),
    })
}

fn manager() -> (Lan, usize) {
    let mut lan = Lan::new();
    let manager = lan.manager("one");
    lan.run(Duration::from_secs(3));
    (lan, manager)
}

#[test]
fn revocations_are_taken_durably_before_it_is_said() {
    let (mut lan, manager) = manager();
    lan.nodes[manager].stores = false;
    let conn = protocol::ConnId(2_000_000);
    let (participant, now) = (&mut lan.nodes[manager].participant, lan.now);
    use protocol::{Input, Machine as _, Transmit};
    participant.handle_input(now, Input::Accepted { conn, peer: peer("other", true) }).unwrap();
    let frame = handover(vec![revocation("x")], true).encode();
    participant.handle_input(now, Input::Frame { conn, bytes: &frame }).unwrap();
    let answered = |transmit: Transmit| matches!(transmit, Transmit::Frame { .. });
    assert!(!std::iter::from_fn(|| participant.poll_transmit()).any(answered));
    let record = std::iter::from_fn(|| participant.poll_record()).last().unwrap();
    participant.handle_input(now, Input::Stored { upto: record.commit }).unwrap();
    assert!(std::iter::from_fn(|| participant.poll_transmit()).any(answered));
}

#[test]
fn nobody_but_a_manager_in_good_standing_hands_anything_over() {
    let (mut lan, manager) = manager();
    shut_out(&mut lan, manager, &["evicted manager".into()]);
    let frame = handover(vec![revocation("victim")], true);
    let refusals =
        [(peer("member", false), Refusal::NotCertified), (peer("evicted manager", true), Refusal::Revoked)];
    for (peer, why) in refusals {
        assert_eq!(says(&mut lan, manager, peer, std::slice::from_ref(&frame)), [Frame::Refused(why)]);
    }
    assert!(!is_shut_out(&mut lan, manager, "victim"));
    assert_eq!(lan.gsm(manager).status(lan.now).revocations, 1);
}

#[test]
fn a_handover_has_its_place_and_its_group() {
    let (mut lan, manager) = manager();
    let frame = handover(vec![revocation("victim")], true);
    // Amid a registration.
    let answers = says(&mut lan, manager, peer("other", true), &[join(), frame.clone()]);
    assert!(matches!(answers[..], [Frame::Grant(..)]), "{answers:?}");
    let Frame::Handover(mut elsewhere) = frame else { panic!() };
    elsewhere.group = GroupId::from_bytes([8; 16]);
    let answers = says(&mut lan, manager, peer("other", true), &[Frame::Handover(elsewhere)]);
    assert_eq!(answers, [Frame::Refused(Refusal::UnknownGroup)]);
    assert_eq!(lan.gsm(manager).status(lan.now).revocations, 0);
}

#[test]
fn nobody_shuts_a_manager_out_of_its_own_subgroup() {
    let (mut lan, manager) = manager();
    let frame = handover(vec![revocation("victim"), revocation("one")], true);
    assert_eq!(says(&mut lan, manager, peer("other", true), &[frame]), [Frame::Refused(Refusal::Denied)]);
    assert_eq!(lan.gsm(manager).status(lan.now).revocations, 0);
    assert!(lan.nodes[manager].participant.accepts());
}

#[test]
fn what_was_handed_over_is_told_and_counts_once() {
    let (mut lan, manager) = manager();
    for _ in 0..3 {
        shut_out(&mut lan, manager, &["x".into()]);
    }
    assert_eq!(lan.gsm(manager).status(lan.now).revocations, 1);
    let took =
        |event: &&GsmEvent| matches!(event, GsmEvent::TookOver { identity, .. } if identity == "helper");
    assert_eq!(lan.manager_events(manager).filter(took).count(), 3);
    let told = |event: &&GsmEvent| matches!(event, GsmEvent::Revoked { .. });
    assert_eq!(lan.manager_events(manager).filter(told).count(), 1);
}

/// A manager that hears it was evicted is none any more: so it hears that from one that stays alone.
#[test]
fn only_a_manager_that_stays_tells_another_one_that_it_was_evicted() {
    let (mut lan, manager) = manager();
    shut_out(&mut lan, manager, &["other".into()]);
    let frame = handover(Vec::new(), true);
    let told = |lan: &mut Lan| says(lan, manager, peer("other", true), std::slice::from_ref(&frame));
    assert_eq!(told(&mut lan), [Frame::Refused(Refusal::Revoked)]);
    lan.nodes[manager].stores = false;
    let now = lan.now;
    let _ = lan.nodes[manager].participant.gsm_mut().unwrap().rekey(now);
    lan.settle(manager);
    assert!(!lan.nodes[manager].participant.accepts());
    assert_eq!(told(&mut lan), [Frame::Refused(Refusal::NotManager)]);
}
