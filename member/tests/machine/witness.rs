//! What a member says for its silent manager, to whom, and how often.

use std::collections::BTreeSet;
use std::time::Duration;

use crypto::Ed25519Verifier;
use crypto::Signer as _;
use protocol::discovery::{Find, FindKind, Held};
use protocol::{
    Answer, DatagramKind, Inst, Question, Rejected, Revocation, SignedRevocation, SubgroupId,
    encode_revocations,
};

use super::manager::{GROUP, Manager};
use super::node::{Node, registrar};
use super::others::{holder, presence};

/// A member that knows its manager's presence, with that.
fn member(seed: u64) -> (Manager, Node, Vec<u8>) {
    let mut manager = Manager::new();
    let mut node = Node::with(seed, holder(1).config()).begun();
    let heard = presence(holder(2), &mut manager, &[registrar(1)]);
    node.discovery(&heard).unwrap();
    node.pass(Duration::ZERO);
    node.register(&mut manager);
    let mut node = node.let_in(&mut manager);
    node.forget();
    (manager, node, heard)
}

fn find(nonce: u64, kind: FindKind, path: Vec<SubgroupId>) -> Vec<u8> {
    Find { kind, ring: 1, nonce, path }.encode(GROUP)
}

pub(crate) fn question(manager: &Manager, share: u16) -> Vec<u8> {
    question_of(manager, Inst(9), share)
}

fn question_of(manager: &Manager, inst: Inst, share: u16) -> Vec<u8> {
    let question = Question { inst, nonce: inst.0 * 8 + 5, answer_to: registrar(9), share };
    question.encode(&manager.domain, &manager.signer)
}

pub(crate) fn answers(node: &Node, manager: &Manager) -> Vec<Answer> {
    let (key, domain) = (manager.signer.public_key(), &manager.domain);
    let opened = |bytes: &[u8]| Answer::open(bytes, domain, &key, &Ed25519Verifier).unwrap().into_inner();
    node.unicasts(DatagramKind::Answer).iter().map(|(.., bytes)| opened(bytes)).collect()
}

#[test]
fn a_newcomer_is_shown_the_last_presence_while_the_manager_is_silent_and_only_then() {
    let (mut manager, mut node, heard) = member(1);
    let asks = find(5, FindKind::Local, Vec::new());
    assert_eq!(node.refuses_discovery(&asks), Rejected::NotForUs, "the manager answers itself");
    node.pass(Duration::from_millis(3_100));
    node.forget();
    node.discovery(&asks).unwrap();
    node.pass(Duration::from_millis(50));
    let [(at, to, bytes)] = &node.unicasts(DatagramKind::Held)[..] else { panic!("{:?}", node.sent) };
    assert!(*at >= node.now - Duration::from_millis(50));
    assert_eq!(*to, ([10, 0, 0, 99], 7_000).into());
    assert!(bytes.len() <= asks.len(), "attack A3: no longer than the question");
    let held = Held::decode(bytes, GROUP).unwrap();
    assert_eq!((held.said().nonce, &held.said().presence), (5, &heard));
    let parent = find(6, FindKind::Parent, Vec::new());
    assert_eq!(node.refuses_discovery(&parent), Rejected::NotForUs);
    let own = find(7, FindKind::Local, vec![manager.domain.subgroup]);
    assert_eq!(node.refuses_discovery(&own), Rejected::NotForUs, "the asker knows as much");
    node.control(&manager.alarm()).unwrap();
    assert_eq!(node.refuses_discovery(&asks), Rejected::NotForUs);
}

#[test]
fn who_knows_no_presence_shows_none() {
    let mut node = Node::inside(&mut Manager::new());
    node.pass(Duration::from_secs(4));
    assert_eq!(node.refuses_discovery(&find(5, FindKind::Local, Vec::new())), Rejected::NotForUs);
}

/// Attack A3: a hundred thousand FINDs a second, to have somebody else flooded.
#[test]
fn a_flood_of_finds_gets_no_more_than_the_budgets_allow() {
    let (_, mut node, _) = member(2);
    node.pass(Duration::from_millis(3_100));
    node.forget();
    let mut asked = 0;
    for nonce in 0..100 {
        let asks = find(nonce, FindKind::Local, Vec::new());
        for _ in 0..100 {
            let _ = node.discovery(&asks);
            asked += asks.len();
        }
        node.pass(Duration::from_millis(10));
    }
    node.pass(Duration::from_millis(50));
    let held = node.unicasts(DatagramKind::Held);
    assert!(held.len() <= 31, "{} answers to one source in a second", held.len());
    assert!(held.iter().map(|(.., bytes)| bytes.len()).sum::<usize>() < asked);
}

#[test]
fn in_a_large_subgroup_not_everybody_answers() {
    let answered = (0..60).filter(|seed| {
        let (mut manager, mut node, _) = member(*seed);
        let tall = manager.alarm_with(|alarm| alarm.height = 5);
        node.control(&tall).unwrap();
        node.pass(Duration::from_millis(3_100));
        node.discovery(&find(5, FindKind::Local, Vec::new())).is_ok()
    });
    let answered = answered.count();
    assert!((0..12).contains(&answered), "{answered} of 60, of which 64 in 1,024 should");
}

#[test]
fn the_starting_manager_is_told_what_it_last_said_and_whom_it_evicted() {
    let (mut manager, mut node, _) = member(3);
    let evicted: Vec<_> = (0..20_u8)
        .map(|number| {
            let revocation = Revocation { identity: [number; 32], certificate: [number ^ 0x80; 32] };
            SignedRevocation::sign(GROUP, revocation, &manager.signer)
        })
        .collect();
    for page in evicted.chunks(6) {
        node.control(&encode_revocations(&manager.domain, page)).unwrap();
    }
    let newest = manager.alarm();
    node.control(&newest).unwrap();
    let asks = question(&manager, u16::MAX);
    assert_eq!(node.refuses_control(&asks), Rejected::NotForUs, "a live manager asks nothing");
    node.pass(Duration::from_millis(500));
    node.forget();
    node.control(&asks).unwrap();
    node.pass(Duration::from_millis(100));
    let said = answers(&node, &manager);
    assert_eq!(said.len(), 4);
    assert!(said.iter().all(|answer| answer.nonce == 77 && answer.alarm.counter == manager.alarms));
    let named: Vec<_> = said.iter().flat_map(|answer| &answer.revocations).copied().collect();
    assert_eq!(named.first(), evicted.last(), "the newest first");
    assert_eq!(named.len(), evicted.len());
    assert!(node.unicasts(DatagramKind::Answer).iter().all(|(_, to, _)| *to == registrar(9)));
}

#[test]
fn an_answer_has_an_end() {
    let (manager, mut node, _) = member(3);
    for number in 0..40_u8 {
        let page: Vec<_> = (0..6_u8)
            .map(|at| {
                let revocation = Revocation { identity: [number; 32], certificate: [at; 32] };
                SignedRevocation::sign(GROUP, revocation, &manager.signer)
            })
            .collect();
        node.pass(Duration::from_millis(100));
        node.control(&encode_revocations(&manager.domain, &page)).unwrap();
    }
    node.forget();
    node.control(&question(&manager, u16::MAX)).unwrap();
    node.pass(Duration::from_millis(100));
    assert_eq!(answers(&node, &manager).len(), 32);
}

/// A question proves who asks, not when: a recorded one is answered once, and while no alarm is heard only.
#[test]
fn a_replayed_question_is_no_amplifier() {
    let (mut manager, mut node, _) = member(4);
    let recorded = question(&manager, u16::MAX);
    for _ in 0..40 {
        node.pass(Duration::from_millis(250));
        node.control(&manager.alarm()).unwrap();
        assert_eq!(node.refuses_control(&recorded), Rejected::NotForUs);
    }
    node.pass(Duration::from_millis(500));
    node.forget();
    for _ in 0..1_000 {
        let _ = node.control(&recorded);
        node.pass(Duration::from_millis(5));
    }
    assert_eq!(answers(&node, &manager).len(), 1);
    let recorded: Vec<_> = (100..2_100).map(|inst| question_of(&manager, Inst(inst), u16::MAX)).collect();
    node.forget();
    for question in &recorded {
        let _ = node.control(question);
        node.pass(Duration::from_millis(5));
    }
    assert!(answers(&node, &manager).len() <= 28, "{}", answers(&node, &manager).len());
}

/// Attack A35: whoever was evicted repeats the questions of earlier starts, so that no member tells a manager
/// with an old journal what it has forgotten.
#[test]
fn questions_of_earlier_starts_do_not_keep_the_new_one_from_its_answer() {
    let (manager, mut node, _) = member(6);
    let earlier = [1, 2, 3].map(|inst| question_of(&manager, Inst(inst), u16::MAX));
    let asked = question_of(&manager, Inst(4), u16::MAX);
    node.pass(Duration::from_millis(500));
    for _ in 0..50 {
        for question in &earlier {
            let _ = node.control(question);
        }
        node.pass(Duration::from_millis(10));
    }
    node.forget();
    for question in &earlier {
        assert_eq!(node.refuses_control(question), Rejected::NotForUs);
    }
    node.control(&asked).unwrap();
    node.pass(Duration::from_millis(100));
    let said: Vec<_> = answers(&node, &manager).iter().map(|answer| answer.nonce).collect();
    assert_eq!(said, [4 * 8 + 5]);
}

#[test]
fn a_question_of_another_manager_or_a_spoiled_one_is_not_answered() {
    let (manager, mut node, _) = member(5);
    node.pass(Duration::from_secs(1));
    let stranger = Manager::of(0x5555, 0x66);
    assert_eq!(node.refuses_control(&question(&stranger, u16::MAX)), Rejected::NotAuthentic);
    let mut elsewhere = question(&manager, u16::MAX);
    let at = elsewhere.len() - 70;
    elsewhere[at] ^= 1;
    assert_eq!(node.refuses_control(&elsewhere), Rejected::NotAuthentic);
    node.forget();
    node.pass(Duration::from_secs(1));
    assert_eq!(answers(&node, &manager).len(), 0);
}

#[test]
fn of_many_members_about_the_share_that_was_asked_answers() {
    let mut delays = BTreeSet::new();
    let answered = (0..100).filter(|seed| {
        let (manager, mut node, _) = member(*seed);
        node.pass(Duration::from_secs(1));
        node.forget();
        let asked = node.now;
        node.control(&question(&manager, 1 << 14)).unwrap();
        node.pass(Duration::from_millis(100));
        delays.extend(node.unicasts(DatagramKind::Answer).iter().map(|(at, ..)| at.saturating_since(asked)));
        !answers(&node, &manager).is_empty()
    });
    let answered = answered.count();
    assert!((12..=40).contains(&answered), "{answered} of 100, of which a quarter was asked");
    assert!(delays.len() > answered / 2, "they do not all speak at once");
}
