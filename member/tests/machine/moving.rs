//! A member whose manager is silent, or sends it away: where it goes, when, and at whose word.

use std::time::Duration;

use member::{Ending, MemberEvent, Move};
use protocol::{
    CloseReason, DatagramKind, Farewell, Frame, Input, Machine as _, Refusal, Rejected, SubgroupId,
    ToManager, ToMember,
};

use super::manager::{GROUP, MEMBER, Manager};
use super::node::{Node, channel, peer, registrar};
use super::others::{holder, presence, reply};

const SECOND: Duration = Duration::from_secs(1);

/// A member of a manager that it has heard, and that manager.
fn member(seed: u64) -> (Manager, Node) {
    let mut manager = Manager::new();
    let mut node = Node::with(seed, holder(1).config()).begun();
    node.discovery(&presence(holder(2), &mut manager, &[registrar(1)])).unwrap();
    node.pass(Duration::ZERO);
    node.register(&mut manager);
    let mut node = node.let_in(&mut manager);
    node.forget();
    (manager, node)
}

/// The same, with a manager that has fallen silent.
fn left_alone(seed: u64) -> (Manager, Node) {
    let (manager, mut node) = member(seed);
    node.pass(Duration::from_millis(3_100));
    assert!(node.member.manager_silent());
    node.forget();
    (manager, node)
}

fn moves(node: &Node) -> Vec<Move> {
    let moves = node.events.iter().filter_map(|event| match event {
        MemberEvent::Moving(why) => Some(*why),
        _ => None,
    });
    moves.collect()
}

fn find_nonce(node: &mut Node) -> u64 {
    while node.nonces().is_empty() {
        node.pass_to_the_next_timer();
    }
    *node.nonces().last().unwrap()
}

#[test]
fn a_member_of_a_silent_manager_asks_around_keeps_its_keys_and_never_claims() {
    let (manager, mut node) = member(1);
    node.pass(590 * SECOND);
    assert_eq!(node.multicast(DatagramKind::Claim).len(), 0);
    let finds = node.multicast(DatagramKind::Find);
    assert!((100..240).contains(&finds.len()), "{} FINDs in ten minutes", finds.len());
    let find = protocol::discovery::Find::decode(&finds[0].1, GROUP).unwrap();
    assert_eq!(find.said().path, [manager.domain.subgroup], "members of the same need not answer");
    assert_eq!(node.asked(), []);
    assert_eq!(node.member.held(), Some(manager.state));
    assert!(node.ring().is_none(), "its keys are as they were");
}

/// Attack A16: without any alarm, too, an old key ends.
#[test]
fn after_t_hard_the_keys_are_given_up_and_the_search_begins_anew() {
    let (mut manager, mut node) = member(2);
    node.pass(300 * SECOND);
    node.control(&manager.alarm()).unwrap();
    node.pass(599 * SECOND);
    assert!(node.member.held().is_some(), "counted from the last valid alarm");
    node.forget();
    node.pass(3 * SECOND);
    assert!(node.events.contains(&MemberEvent::Ended(Ending::Orphaned)));
    let ring = node.ring().unwrap();
    assert!(ring.send.is_empty() && ring.receive.is_empty());
    assert!(node.member.held().is_none() && node.member.key_path().is_none());
    let newest = node.multicast(DatagramKind::Find).pop().unwrap().1;
    let find = protocol::discovery::Find::decode(&newest, GROUP).unwrap();
    assert!(find.said().path.is_empty(), "as a newcomer");
    assert_eq!(node.refuses_control(&manager.alarm()), Rejected::NotForUs);
    node.discovery(&presence(holder(2), &mut manager, &[registrar(1)])).unwrap();
    node.pass(SECOND);
    assert_eq!(node.tried(), [registrar(1)]);
}

#[test]
fn another_manager_of_the_group_is_gone_to_only_while_the_own_one_is_silent() {
    let mut other = Manager::of(0x7777, 0x71);
    let (mut manager, mut node) = member(3);
    node.discovery(&presence(holder(5), &mut other, &[registrar(5)])).unwrap();
    for _ in 0..20 {
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
    }
    assert_eq!((node.asked().len(), moves(&node).len()), (0, 0));
    let waits: Vec<_> = (0..20)
        .map(|seed| {
            let (mut manager, mut node) = left_alone(seed);
            let begun = node.now;
            node.discovery(&presence(holder(5), &mut other, &[registrar(5)])).unwrap();
            assert_eq!(moves(&node), [Move::ManagerLost]);
            while node.asked().is_empty() {
                node.pass_to_the_next_timer();
            }
            let (at, .., to) = node.asked()[0];
            assert_eq!(to, registrar(5));
            assert_eq!(node.member.held(), Some(manager.state), "kept until it is admitted there");
            if seed == 0 {
                node.register_at(to, &mut other);
                let mut node = node.let_in(&mut other);
                assert_eq!(node.refuses_control(&manager.alarm()), Rejected::OtherGroup);
                node.pass(SECOND);
            }
            at.saturating_since(begun)
        })
        .collect();
    assert!(waits.iter().all(|wait| *wait < SECOND));
    let spread = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
    assert!(spread > Duration::from_millis(500), "they do not all come at once: {waits:?}");
}

#[test]
fn a_manager_that_is_heard_again_is_stayed_with() {
    let (mut manager, mut node) = left_alone(4);
    let mut other = Manager::of(0x7777, 0x71);
    node.discovery(&presence(holder(5), &mut other, &[registrar(5)])).unwrap();
    while node.asked().is_empty() {
        node.pass_to_the_next_timer();
    }
    let conn = node.asked()[0].1;
    node.input(Input::Opened { conn, peer: peer() }).unwrap();
    node.control(&manager.alarm()).unwrap();
    assert!(node.is_closed(conn), "asked, but not confirmed");
    node.forget();
    for _ in 0..20 {
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
    }
    assert_eq!(node.asked(), []);
    assert_eq!(node.multicast(DatagramKind::Find).len(), 0);
}

/// The other one cannot write it down, or dies: where this node has listened for it meanwhile, its own manager is not heard.
#[test]
fn a_place_elsewhere_that_comes_to_nothing_leads_back_to_where_the_own_manager_is_heard() {
    for fails in ["refused", "closed", "late", "left"] {
        let (manager, mut node) = left_alone(4);
        let mut other = Manager::of(0x7777, 0x71);
        node.discovery(&presence(holder(5), &mut other, &[registrar(5)])).unwrap();
        node.pass(SECOND);
        let conn = node.opened();
        let (grant, confirm) = other.grant(&node.join(), &channel(), |_, _| {});
        node.forget();
        node.frame(conn, &Frame::Grant(Box::new(grant.clone()), confirm)).unwrap();
        assert!(matches!(&node.events[..], [MemberEvent::Granted(place)] if place.control == grant.control));
        match fails {
            "refused" => node.frame(conn, &Frame::Refused(Refusal::ReadOnly)).unwrap(),
            "closed" => node.input(Input::Closed { conn, why: CloseReason::TimedOut }).unwrap(),
            "late" => node.pass(11 * SECOND),
            _ => {
                node.member.leave(node.now);
                node.drain();
            }
        }
        let stays = node.events.iter().filter_map(|event| match event {
            MemberEvent::Stays(place) => Some((place.subgroup, place.sender, place.manager.as_str())),
            _ => None,
        });
        let own = (manager.domain.subgroup, manager.registration().sender, "manager.example");
        assert_eq!(stays.collect::<Vec<_>>(), [own], "{fails}");
    }
}

/// What nobody vouches for is tried, and TLS decides; a name for the own subgroup's manager moves nobody at once.
#[test]
fn hints_move_a_member_only_elsewhere_or_after_ten_seconds() {
    let (manager, mut node) = left_alone(5);
    let nonce = find_nonce(&mut node);
    node.unicast_from(6, &reply(nonce, 0x9999, vec![registrar(6)])).unwrap();
    node.pass(SECOND);
    assert_eq!(node.tried(), [registrar(6)]);
    assert_eq!(node.member.held(), Some(manager.state));

    let (_, mut node) = left_alone(6);
    let begun = node.now;
    let mut answered = Vec::new();
    while node.asked().is_empty() {
        let nonce = find_nonce(&mut node);
        if !answered.contains(&nonce) {
            answered.push(nonce);
            node.unicast_from(6, &reply(nonce, 0x5555, vec![registrar(6)])).unwrap();
        }
        node.pass_to_the_next_timer();
    }
    let took = node.now.saturating_since(begun);
    assert!((10 * SECOND..20 * SECOND).contains(&took), "{took:?}");
    assert_eq!(moves(&node), [Move::NotKnown]);
}

/// While a manager restarts, an outsider says that it manages another subgroup: nobody registers anew for that.
#[test]
fn a_hint_that_leads_back_to_the_own_manager_ends_before_it_is_confirmed() {
    let (mut manager, mut node) = left_alone(7);
    let nonce = find_nonce(&mut node);
    node.unicast_from(6, &reply(nonce, 0x9999, vec![registrar(1)])).unwrap();
    node.pass(SECOND);
    let conn = node.opened();
    let (grant, confirm) = manager.grant(&node.join(), &channel(), |_, _| {});
    node.frame(conn, &Frame::Grant(Box::new(grant), confirm)).unwrap();
    assert!(node.is_closed(conn));
    assert!(!node.frames().iter().any(|frame| matches!(frame, Frame::Confirm(_))));
    assert_eq!(node.member.held(), Some(manager.state));
}

#[test]
fn another_managers_access_list_ends_no_membership_and_a_revocation_does() {
    for (why, stays) in [(Refusal::Denied, true), (Refusal::NotManager, true), (Refusal::Revoked, false)] {
        let (manager, mut node) = left_alone(8);
        let mut other = Manager::of(0x7777, 0x71);
        node.discovery(&presence(holder(5), &mut other, &[registrar(5)])).unwrap();
        node.pass(SECOND);
        let conn = node.opened();
        node.frame(conn, &Frame::Refused(why)).unwrap();
        assert_eq!(node.member.held(), stays.then_some(manager.state), "{why}");
        assert_eq!(node.events.contains(&MemberEvent::Ended(Ending::PutOut)), !stays, "{why}");
    }
}

#[test]
fn a_farewell_of_the_own_manager_is_followed_and_of_nobody_else() {
    let (mut manager, mut node) = member(9);
    let farewell = Farewell { subgroup: SubgroupId(0x7777), registrar: registrar(7) };
    let stranger = Manager::of(0x5555, 0x66);
    let forged = farewell.encode(&manager.domain, &stranger.signer);
    assert_eq!(node.refuses_control(&forged), Rejected::NotAuthentic);
    let elsewhere = Manager::of(0x5556, 0x51);
    let other = farewell.encode(&elsewhere.domain, &elsewhere.signer);
    assert_eq!(node.refuses_control(&other), Rejected::OtherGroup);
    assert_eq!(node.asked(), []);

    node.control(&farewell.encode(&manager.domain, &manager.signer)).unwrap();
    // It may go on for a moment; nobody stays for that.
    node.control(&manager.alarm()).unwrap();
    node.pass(Duration::from_millis(500));
    assert_eq!(moves(&node), [Move::SentAway]);
    assert_eq!(node.tried()[0], registrar(7));
    assert_eq!(node.member.held(), Some(manager.state));
    // Not there yet: it is tried again, and the keys stay meanwhile.
    let conn = node.asked()[0].1;
    node.input(Input::Closed { conn, why: CloseReason::TimedOut }).unwrap();
    node.pass(SECOND);
    assert!(node.tried()[1..].contains(&registrar(7)));
    let mut next = Manager::of(0x7777, 0x71);
    node.register_at(registrar(7), &mut next);
    let node = node.let_in(&mut next);
    assert_eq!(node.member.held(), Some(next.state));
}

#[test]
fn a_member_on_its_way_out_goes_nowhere_else() {
    let (manager, mut node) = member(10);
    node.member.leave(node.now);
    node.drain();
    let farewell = Farewell { subgroup: SubgroupId(0x7777), registrar: registrar(7) };
    node.control(&farewell.encode(&manager.domain, &manager.signer)).unwrap();
    node.pass(4 * SECOND);
    assert_eq!(node.asked(), []);
    assert!(node.events.contains(&MemberEvent::Ended(Ending::LeftUnheard)));
    assert_eq!(node.member.poll_timeout(), None);
}

/// A manager that was started again may take registrations at another port.
#[test]
fn whoever_must_register_again_learns_where_from_its_managers_presence() {
    let (mut manager, mut node) = member(5);
    let update = manager.cut(&[], &[MEMBER.0]);
    node.control(&update).unwrap();
    for _ in 0..40 {
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
    }
    assert_eq!(moves(&node), [Move::NotKnown]);
    assert!(!node.tried().contains(&registrar(7)));
    node.discovery(&presence(holder(2), &mut manager, &[registrar(7)])).unwrap();
    node.pass(Duration::from_secs(2));
    assert!(node.tried().contains(&registrar(7)));
}

/// Probes are answered for so many tenths of a second, and nothing comes by multicast.
fn answer_for(manager: &mut Manager, node: &mut Node, tenths: u32) {
    for _ in 0..tenths {
        node.pass(SECOND / 10);
        let said = node.said(manager).into_iter().rev();
        let newest = said.filter_map(|said| match said {
            ToManager::Probe { nonce } => Some(nonce),
            _ => None,
        });
        for nonce in newest.take(2).collect::<Vec<_>>() {
            let alarm = manager.alarm();
            let _ = node.unicast(&manager.seal(&ToMember::Alive { nonce, alarm }));
        }
    }
}

/// It was found by somebody in two LANs: probes get there and answers come back, and nothing that is said to all.
#[test]
fn a_manager_that_only_answers_is_left_for_one_that_is_near() {
    let mut other = Manager::of(0x7777, 0x71);
    let mut near = || presence(holder(5), &mut other, &[registrar(5)]);
    let (mut manager, mut node) = member(6);
    answer_for(&mut manager, &mut node, 95);
    node.discovery(&near()).unwrap();
    assert_eq!(moves(&node), [], "a network may lose as much for a while");
    answer_for(&mut manager, &mut node, 10);
    assert!(!node.member.manager_silent());
    node.discovery(&near()).unwrap();
    assert_eq!(moves(&node), [Move::OutOfReach]);
    answer_for(&mut manager, &mut node, 30);
    assert_eq!(node.tried().first(), Some(&registrar(5)), "answers to probes change nothing");
    node.register_at(registrar(5), &mut other);
    node.let_in(&mut other);
}

/// A member that may manage.
fn eligible(seed: u64) -> (Manager, Node) {
    let mut manager = Manager::new();
    let mut node = Node::with(seed, holder(1).config());
    node.member.stand(holder(1).candidacy(5));
    let mut node = node.begun();
    node.discovery(&presence(holder(2), &mut manager, &[registrar(1)])).unwrap();
    node.pass(Duration::ZERO);
    node.register(&mut manager);
    let mut node = node.let_in(&mut manager);
    node.forget();
    (manager, node)
}

/// Those around it may have nobody else: it would stay for ever with a manager that is in another LAN.
#[test]
fn who_may_manage_and_hears_its_manager_by_unicast_alone_stands_where_nobody_is_near() {
    let (mut manager, mut node) = eligible(11);
    answer_for(&mut manager, &mut node, 95);
    assert_eq!(node.nonces(), [], "a network may lose as much for a while");
    for _ in 0..75 {
        if !node.events.contains(&MemberEvent::Elected) {
            answer_for(&mut manager, &mut node, 1);
        }
    }
    assert_eq!(node.events, [MemberEvent::Standing, MemberEvent::Elected]);
    // Who may not manage goes on as it is.
    let (mut manager, mut node) = member(12);
    answer_for(&mut manager, &mut node, 300);
    assert!(node.nonces().is_empty() && !node.events.contains(&MemberEvent::Elected));
}

#[test]
fn who_is_heard_by_its_manager_or_hears_it_again_does_not_stand() {
    let (mut manager, mut node) = eligible(13);
    let own = manager.domain.subgroup.0;
    let mut answered = 0;
    for _ in 0..400 {
        answer_for(&mut manager, &mut node, 1);
        let nonces = node.nonces();
        for nonce in &nonces[answered..] {
            node.unicast_from(1, &reply(*nonce, own, vec![registrar(1)])).unwrap();
        }
        answered = nonces.len();
    }
    assert!(answered > 3 && !node.events.contains(&MemberEvent::Standing));
    assert_eq!(moves(&node), []);

    let (mut manager, mut node) = eligible(14);
    while !node.events.contains(&MemberEvent::Standing) {
        answer_for(&mut manager, &mut node, 1);
    }
    node.control(&manager.alarm()).unwrap();
    node.forget();
    answer_for(&mut manager, &mut node, 90);
    assert!(node.nonces().is_empty() && !node.events.contains(&MemberEvent::Elected));
}

/// Members of another manager that is silent say so; it may come back, or somebody follow it.
#[test]
fn who_is_out_of_reach_leaves_the_turn_to_those_who_hold_a_state() {
    use protocol::discovery::Held;
    let (mut manager, mut node) = eligible(15);
    let held = presence(holder(2), &mut Manager::of(0x7777, 0x71), &[registrar(5)]);
    let mut answered = 0;
    for _ in 0..400 {
        answer_for(&mut manager, &mut node, 1);
        let nonces = node.nonces();
        for nonce in &nonces[answered..] {
            let answer = Held { nonce: *nonce, presence: held.clone() };
            node.unicast_from(7, &answer.encode(GROUP)).unwrap();
        }
        answered = nonces.len();
    }
    assert!(answered > 3 && !node.events.contains(&MemberEvent::Elected));
}
