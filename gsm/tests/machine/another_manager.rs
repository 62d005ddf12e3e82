//! Members that doubt their manager, and nodes that want its office (attacks A27, A28, A29, A30).

use std::time::Duration;

use crypto::{Ed25519Signer, Secret, Signer as _};
use gsm::{GsmEvent, JournalEntry};
use keytree::Epoch;
use protocol::{
    CloseReason, ConnId, DatagramKind, Follow, Frame, Grant, Handover, HandoverTaken, Input, Inst, Office,
    Rejected, Revocation, SenderId, SignedRevocation, StateId, StatePart, Suspicion, Takeover, Term,
    ToManager, ToMember,
};

use super::follower::Follower;
use super::renewal::with_standby;
use super::support::{GROUP, Manager, Node, OWN_IDENTITY, address};

/// As long as [`OWN_IDENTITY`].
const FORMER_IDENTITY: &str = "another.example";

/// The takeover that a member makes out of the others' suspicions.
fn takeover(by: &Follower, suspicions: &[Suspicion]) -> Vec<u8> {
    let signer = Ed25519Signer::from_seed(&Secret::new(by.offered.node));
    let (old, _) = by.key().unwrap();
    let office = Office {
        old,
        start: StateId { term: Term(old.term.0 + 1), inst: Inst(99), epoch: Epoch(0) },
        key: signer.public_key(),
        sender: by.offered.grant.sender,
        address: address(5),
        registrar: address(6),
    };
    let credential = by.offered.grant.credential;
    Takeover::suspected(&by.offered.grant.domain, office, credential, suspicions, &signer)
}

fn suspicions(members: &[Follower]) -> Vec<Suspicion> {
    let alarm = members[0].alarm();
    members.iter().map(|member| member.suspicion(&alarm)).collect()
}

fn stepped_down(manager: &Manager) -> bool {
    manager.events.iter().any(|event| matches!(event, GsmEvent::SteppedDown { .. }))
}

#[test]
fn a27_an_insiders_suspicions_alone_depose_nobody_and_bring_four_alarms_a_second() {
    let (mut manager, members) = with_standby(&["standby", "a", "b"]);
    let state = manager.gsm.status(manager.now).state;
    let alarm = members[1].alarm();
    let bytes = members[1].suspicion(&alarm).encode(&members[1].offered.grant.domain);
    for _ in 0..1_000 {
        let _ = manager.control(&bytes);
        manager.advance(Duration::from_millis(10));
    }
    let alarms = manager.multicasts(DatagramKind::Alarm).len();
    assert!((40..=90).contains(&alarms), "{alarms} alarms in ten seconds");
    assert_eq!(manager.gsm.status(manager.now).state, state);
    assert!(!stepped_down(&manager));
    let alone = takeover(&members[0], &suspicions(&members[1..2]));
    assert_eq!(manager.control(&alone), Err(Rejected::OutOfPlace));
}

#[test]
fn a_manager_that_members_rightly_held_for_lost_is_none_from_the_moment_it_hears_of_it() {
    let (mut manager, members) = with_standby(&["standby", "a", "b"]);
    let valid = takeover(&members[0], &suspicions(&members[1..]));
    manager.control(&valid).unwrap();
    let to = manager.events.iter().find_map(|event| match event {
        GsmEvent::SteppedDown { to, .. } => Some(*to),
        _ => None,
    });
    assert_eq!(to, Some(address(6)));
    assert_eq!(manager.records.last(), Some(&JournalEntry::SteppedDown));
    manager.forget();
    manager.advance(Duration::from_secs(10));
    assert!(manager.sent.is_empty(), "it says nothing: {:?}", manager.sent);
}

/// This one has no presence, and merges with nobody: it would stay for ever beside the one that its members follow.
#[test]
fn a_manager_that_merges_with_nobody_steps_down_though_its_successor_does_not_know_whom_it_evicted() {
    let (mut manager, members) = with_standby(&["standby", "a", "b", "c"]);
    let valid = takeover(&members[0], &suspicions(&members[1..3]));
    manager.evict("c");
    manager.advance(Duration::from_secs(1));
    let evicted = |event: &GsmEvent| matches!(event, GsmEvent::Departed { identity, .. } if identity == "c");
    assert!(manager.events.iter().any(evicted), "its operator was told");
    manager.control(&valid).unwrap();
    assert!(stepped_down(&manager));
}

#[test]
fn a28_a_takeover_by_a_node_that_was_not_told_everything_moves_nobody() {
    let (mut manager, mut members) = with_standby(&["standby", "a", "b"]);
    let mut node = Node::new("eligible");
    node.peer.roles.manager = true;
    let mut eligible = Follower::new(manager.admit(&node));
    manager.rekey();
    members.push(Follower::new(eligible.offered.clone()));
    members.iter_mut().chain([&mut eligible]).for_each(|member| member.hear_all(&manager));
    let words = suspicions(&members[1..3]);
    assert_eq!(manager.control(&takeover(&eligible, &words)), Err(Rejected::OutOfPlace));
    // Not eligible at all, whatever its number.
    assert_eq!(manager.control(&takeover(&members[1], &words)), Err(Rejected::UnknownSender));
    // By the right one, but with the words of somebody who was put out.
    manager.evict("b");
    members.iter_mut().for_each(|member| member.hear_all(&manager));
    assert_eq!(manager.control(&takeover(&members[0], &words)), Err(Rejected::OutOfPlace));
    // And by the right one, put out itself.
    manager.evict("standby");
    let words = suspicions(&members[1..2]);
    assert_eq!(manager.control(&takeover(&members[0], &words)), Err(Rejected::UnknownSender));
    assert!(!stepped_down(&manager));
}

#[test]
fn a30_a_paused_manager_that_comes_back_says_nothing_before_it_has_listened() {
    for pause in [2, 5, 30] {
        let (mut manager, members) = with_standby(&["standby", "a", "b"]);
        manager.storing = false;
        manager.rekey();
        manager.forget();
        manager.now += Duration::from_secs(pause);
        manager.storing = true;
        manager.store();
        manager.advance(Duration::from_millis(499));
        assert!(manager.sent.is_empty(), "not even the key update that was on paper: {:?}", manager.sent);
        let valid = takeover(&members[0], &suspicions(&members[1..]));
        if pause == 2 {
            manager.advance(Duration::from_millis(300));
            assert!(!manager.multicasts(DatagramKind::Alarm).is_empty(), "nobody took over");
            assert!(!manager.multicasts(DatagramKind::KeyUpdate).is_empty());
        } else {
            manager.control(&valid).unwrap();
            manager.advance(Duration::from_secs(10));
            assert!(manager.sent.is_empty() && stepped_down(&manager));
        }
    }
}

/// The first of the members follows, as a standby in step.
fn follows(manager: &mut Manager, standby: &Follower) -> ConnId {
    let mut node = Node::new("standby");
    node.peer.roles.manager = true;
    let conn = manager.connect(&node);
    let Grant { domain, sender, .. } = standby.offered.grant;
    let follow = Follow { group: GROUP, subgroup: domain.subgroup, sender };
    manager.frame(conn, &Frame::Follow(follow)).unwrap();
    let mut answered = 0;
    while let Some(frame) = manager.frames(conn).get(answered).cloned() {
        let upto = match frame {
            Frame::State(StatePart { upto, .. }) | Frame::Change(upto, _) => upto,
            other => panic!("{other:?}"),
        };
        manager.frame(conn, &Frame::Followed(upto)).unwrap();
        answered += 1;
    }
    let in_step = |event: &GsmEvent| matches!(event, GsmEvent::StandbyInStep { .. });
    assert!(manager.events.iter().any(in_step), "{:?}", manager.events);
    conn
}

/// A manager with a standby in step, to whom a member has said that it leaves; the standby has not confirmed that.
fn with_a_leave_that_waits() -> (Manager, Vec<Follower>, ConnId) {
    let (mut manager, members) = with_standby(&["standby", "a", "b"]);
    let conn = follows(&mut manager, &members[0]);
    let leave = members[2].offered.seal(ToManager::Leave { nonce: 1 });
    manager.unicast(address(3), &leave).unwrap();
    assert_eq!(manager.unicasts(&members[2].offered), [], "it waits for the standby");
    manager.forget();
    (manager, members, conn)
}

#[test]
fn a30_a_paused_manager_whose_standby_has_gone_says_nothing_either_and_acknowledges_nothing() {
    for taken_over in [true, false] {
        let (mut manager, members, conn) = with_a_leave_that_waits();
        let told = |manager: &Manager| manager.unicasts(&members[2].offered);
        manager.now += Duration::from_secs(5);
        let closed = manager.input(Input::Closed { conn, why: CloseReason::ByPeer });
        closed.unwrap();
        manager.rekey();
        manager.advance(Duration::from_millis(499));
        assert!(manager.all_multicasts().is_empty(), "it only listens");
        assert_eq!(told(&manager), [], "whoever took over may not know");
        if taken_over {
            manager.control(&takeover(&members[0], &suspicions(&members[1..]))).unwrap();
            manager.advance(Duration::from_secs(10));
            assert!(manager.all_multicasts().is_empty() && stepped_down(&manager));
            assert_eq!(told(&manager), []);
        } else {
            manager.advance(Duration::from_millis(1));
            let alarms = manager.multicasts(DatagramKind::Alarm);
            let in_step = members[0].offered.alarm(&alarms[0]).into_inner().in_step;
            assert_eq!(in_step, 0, "the first alarm says that nobody is in step");
            assert_eq!(told(&manager), [ToMember::LeaveTaken { nonce: 1 }]);
            assert!(!manager.multicasts(DatagramKind::KeyUpdate).is_empty());
        }
    }
}

#[test]
fn a_manager_that_steps_down_acknowledges_nothing_that_its_standby_was_not_told() {
    let (mut manager, members, conn) = with_a_leave_that_waits();
    manager.control(&takeover(&members[0], &suspicions(&members[1..]))).unwrap();
    manager.close(conn);
    manager.advance(Duration::from_secs(10));
    assert!(manager.all_multicasts().is_empty() && stepped_down(&manager));
    assert_eq!(manager.unicasts(&members[2].offered), []);
}

#[test]
fn a_probe_is_answered_with_an_alarm_that_is_newer_than_any_before_and_once() {
    let (mut manager, mut members) = with_standby(&["standby", "a"]);
    let probe = members[1].offered.seal(ToManager::Probe { nonce: 4 });
    manager.unicast(address(3), &probe).unwrap();
    let [ToMember::Alive { nonce: 4, alarm }] = &manager.unicasts(&members[1].offered)[..] else { panic!() };
    let before = members[1].alarm().counter;
    members[1].hear(manager.now, alarm);
    assert!(members[1].alarm().counter > before);
    assert_eq!(manager.unicast(address(3), &probe), Err(Rejected::Stale), "a recorded one brings nothing");
    let flood = (5..30).map(|nonce| members[1].offered.seal(ToManager::Probe { nonce }));
    let refused = flood.filter(|probe| manager.unicast(address(3), probe).is_err()).count();
    assert!(refused >= 20, "{refused}");
}

#[test]
fn a_member_gets_its_credential_by_the_manager_it_has_now() {
    let (mut manager, members) = with_standby(&["standby", "a"]);
    let ask = members[1].offered.seal(ToManager::Credential { nonce: 1 });
    manager.unicast(address(3), &ask).unwrap();
    let [ToMember::Credential { nonce: 1, credential }] = manager.unicasts(&members[1].offered)[..] else {
        panic!()
    };
    let grant = &members[1].offered.grant;
    assert_eq!(credential, grant.credential);
}

#[test]
fn evidence_of_an_eviction_is_taken_if_a_manager_of_this_subgroup_signed_it_and_of_nobody_else() {
    let (mut manager, members) = with_standby(&["standby", "a", "b"]);
    let named =
        |identity: &str| Revocation { identity: Revocation::identity_hash(identity), certificate: [0; 32] };
    let stranger = Ed25519Signer::from_seed(&Secret::new([0x77; 32]));
    let own = Ed25519Signer::from_seed(&Secret::new([0x51; 32]));
    let evidence = |nonce, signer: &Ed25519Signer, issuer: &Ed25519Signer| {
        let revocations = vec![SignedRevocation::sign(GROUP, named("b"), signer)];
        members[1].offered.seal(ToManager::Evidence { nonce, issuer: issuer.public_key(), revocations })
    };
    for (nonce, issuer) in [(1, &stranger), (2, &own)] {
        let forged = evidence(nonce, &stranger, issuer);
        assert_eq!(manager.unicast(address(3), &forged), Err(Rejected::NotAuthentic));
    }
    assert_eq!(manager.gsm.status(manager.now).revocations, 0);
    manager.unicast(address(3), &evidence(3, &own, &own)).unwrap();
    manager.advance(Duration::ZERO);
    assert_eq!(manager.unicasts(&members[1].offered), [ToMember::EvidenceTaken { nonce: 3 }]);
    assert!(manager.listed(&members[2].offered).is_none(), "b was a member: it is out");
}

/// A manager that follows another one: that one's start is the first of its journal, and its node was a member.
fn that_follows(former: &Ed25519Signer, identities: &[&str]) -> (Manager, Vec<Follower>) {
    let (manager, members) = with_standby(identities);
    let (now, mut journal) = manager.crash();
    let own = Ed25519Signer::from_seed(&Secret::new([0x51; 32])).public_key();
    let replace = |bytes: &mut Vec<u8>, old: &[u8], new: &[u8]| {
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        bytes.splice(at..at + old.len(), new.iter().copied());
    };
    replace(&mut journal[0].1, &own.0, &former.public_key().0);
    replace(&mut journal[1].1, OWN_IDENTITY.as_bytes(), FORMER_IDENTITY.as_bytes());
    let mut manager = Manager::resume(now, journal, false);
    manager.advance(super::support::START);
    (manager, members)
}

/// Attack A29, by a manager of before that was put out itself: with an insider who shows what it signs, it would put out
/// whom it likes.
#[test]
fn what_a_manager_before_signed_about_evictions_counts_until_it_is_put_out_itself() {
    let former = Ed25519Signer::from_seed(&Secret::new([0x77; 32]));
    for put_out in [false, true] {
        let (mut manager, mut members) = that_follows(&former, &["standby", "a", "b"]);
        if put_out {
            manager.gsm.revoke_identity(manager.now, FORMER_IDENTITY).unwrap();
            manager.advance(Duration::from_secs(1));
            members.iter_mut().for_each(|member| member.hear_all(&manager));
        }
        let listed = manager.gsm.status(manager.now).revocations;
        let b = Revocation { identity: Revocation::identity_hash("b"), certificate: [0; 32] };
        let revocations = vec![SignedRevocation::sign(GROUP, b, &former)];
        let shown = ToManager::Evidence { nonce: 1, issuer: former.public_key(), revocations };
        let taken = manager.unicast(address(3), &members[1].offered.seal(shown));
        let expected = if put_out { Err(Rejected::Refused) } else { Ok(()) };
        assert_eq!(taken, expected);
        manager.advance(Duration::ZERO);
        let more = manager.gsm.status(manager.now).revocations - listed;
        assert_eq!(more == 0, put_out, "{more}");
        assert_eq!(manager.listed(&members[2].offered).is_none(), !put_out, "b");
    }
}

#[test]
fn a29_of_two_managers_of_one_subgroup_the_winner_takes_over_evictions_and_departures_and_begins_anew() {
    let (mut manager, mut members) = with_standby(&["standby", "a", "b", "c", "d"]);
    // They are heard no more: all but "a", which is heard until it leaves on the other side.
    for _ in 0..3 {
        manager.advance(Duration::from_secs(4));
        let alive =
            members[1].offered.seal(ToManager::Keepalive { counter: manager.now.micros(), held: None });
        manager.unicast(address(3), &alive).unwrap();
    }
    manager.forget();
    let sender = |place: usize| members[place].offered.grant.sender;
    let mut other = Node::new("standby");
    other.peer.roles.manager = true;
    let conn = manager.connect(&other);
    let state = StateId { term: Term(9), inst: Inst(1), epoch: Epoch(4) };
    let handover = Handover {
        group: GROUP,
        subgroup: manager.gsm.domain().subgroup,
        state,
        revocations: vec![Revocation {
            identity: Revocation::identity_hash("b"),
            certificate: Node::new("b").peer.certificate,
        }],
        departed: vec![sender(1), sender(3), manager.gsm.own_sender()],
        members: vec![sender(0), sender(4), SenderId(0x77)],
        last: true,
    };
    manager.input(Input::Frame { conn, bytes: &Frame::Handover(handover).encode() }).unwrap();
    let Some(Frame::HandoverTaken(HandoverTaken { office: Some(office), strangers })) =
        manager.last_frame(conn)
    else {
        panic!("{:?}", manager.last_frame(conn))
    };
    assert_eq!(strangers, [SenderId(0x77)]);
    let now = manager.gsm.status(manager.now).state;
    assert!(office.start.same_start(now) && now.term > state.term && office.old == state);
    let kept = |place: usize| manager.listed(&members[place].offered).is_some();
    assert_eq!([0, 1, 2, 3, 4].map(kept), [true, false, false, false, true]);
    let renewed = |event: &GsmEvent| matches!(event, GsmEvent::Renewed { number: 1, .. });
    assert!(manager.events.iter().any(renewed), "who stood by on the other side alone is not known here");
    members.iter_mut().for_each(|member| member.hear_all(&manager));
    let with: Vec<_> = members.iter().map(|member| member.is_with(&manager)).collect();
    assert_eq!(with, [true, false, false, false, true]);
}
