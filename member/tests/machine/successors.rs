//! Another manager of the same subgroup: who may be it, and what its members do (attacks A27, A28, A29).

use std::time::Duration;

use crypto::Signer as _;
use member::MemberEvent;
use protocol::{
    Credential, DatagramKind, Epoch, Inst, Office, Rejected, Revocation, SignedRevocation, StateId,
    Suspicion, Takeover, Term, ToManager, ToMember, encode_revocations, policy_digest,
};

use super::losing::{credential, key_of, lost, sender, word};
use super::manager::{GROUP, Manager};
use super::node::{Node, registrar, signer};
use super::witness::{answers, question};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const SUCCESSOR: u8 = 30;

fn office(manager: &Manager, number: u8) -> Office {
    Office {
        old: manager.state,
        start: StateId { term: Term(manager.state.term.0 + 1), inst: Inst(0x9999), epoch: Epoch(0) },
        key: key_of(number).public_key(),
        sender: sender(number.into()),
        address: ([10, 0, 0, number], 5_000).into(),
        registrar: registrar(number),
    }
}

/// A takeover as the successor with that number makes it.
pub(crate) fn takeover(manager: &Manager, number: u8, words: &[Suspicion]) -> Vec<u8> {
    let credential = credential(manager, number, true);
    Takeover::suspected(&manager.domain, office(manager, number), credential, words, &key_of(number))
}

fn handed(manager: &Manager) -> Vec<u8> {
    Takeover::handed(&manager.domain, office(manager, SUCCESSOR), &manager.signer)
}

/// A member whose manager names a successor in step, and is heard.
fn member() -> (Manager, Node) {
    let mut manager = Manager::new();
    manager.successors = vec![sender(SUCCESSOR.into()), sender(31)];
    let mut node = Node::inside(&mut manager);
    node.forget();
    (manager, node)
}

fn left_alone() -> (Manager, Node) {
    let (manager, mut node) = member();
    node.pass(3_001 * MILLI);
    node.forget();
    (manager, node)
}

fn words(manager: &Manager) -> Vec<Suspicion> {
    (20..22).map(|number| word(manager, number)).collect()
}

fn changes(node: &Node) -> Vec<StateId> {
    let changes = node.events.iter().filter_map(|event| match event {
        MemberEvent::ManagerChanged { start, .. } => Some(*start),
        _ => None,
    });
    changes.collect()
}

/// The successor is the manager from here on.
fn succeed(manager: &mut Manager, node: &Node) -> Vec<u8> {
    let office = office(manager, SUCCESSOR);
    manager.signer = key_of(SUCCESSOR);
    manager.start_again(office.start.term.0, office.start.inst.0, node.member.key_path().unwrap())
}

fn asks_for_a_credential(node: &Node, manager: &Manager) -> Option<u64> {
    node.said(manager).into_iter().rev().find_map(|said| match said {
        ToManager::Credential { nonce } => Some(nonce),
        _ => None,
    })
}

#[test]
fn a_successor_in_step_is_followed_and_nobody_registers_again() {
    let (mut manager, mut node) = left_alone();
    let held = manager.state;
    let bytes = takeover(&manager, SUCCESSOR, &words(&manager));
    let old = manager.signer.public_key();
    node.control(&bytes).unwrap();
    let start = office(&manager, SUCCESSOR).start;
    assert_eq!(changes(&node), [start]);
    assert!(!node.member.manager_silent());
    assert_eq!(node.member.held(), Some(held), "the keys stay");
    assert_eq!(node.refuses_control(&bytes), Rejected::Stale, "taken once");
    let update = succeed(&mut manager, &node);
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
    let following = node.member.following().unwrap();
    assert_eq!((following.manager, following.registrar), (key_of(SUCCESSOR).public_key(), registrar(30)));
    // It asks to be vouched for, until it is; what is not the new manager's word is not taken.
    for _ in 0..24 {
        node.pass(250 * MILLI);
        node.control(&manager.alarm()).unwrap();
    }
    let nonce = asks_for_a_credential(&node, &manager).unwrap();
    let (own, key) = (sender(2), signer().public_key());
    for (credential, taken) in [
        (Credential::sign(&manager.domain, own, key, false, &key_of(9)), false),
        (Credential::sign(&manager.domain, sender(3), key, false, &manager.signer), false),
        (Credential::sign(&manager.domain, own, old, false, &manager.signer), false),
        (Credential::sign(&manager.domain, own, key, false, &manager.signer), true),
    ] {
        let answer = manager.seal(&ToMember::Credential { nonce, credential });
        assert_eq!(node.unicast(&answer).is_ok(), taken);
    }
    node.forget();
    for _ in 0..40 {
        node.pass(250 * MILLI);
        node.control(&manager.alarm()).unwrap();
    }
    assert_eq!(asks_for_a_credential(&node, &manager), None);
    let to: Vec<_> = node.unicasts(DatagramKind::ToManager).iter().map(|(_, to, _)| *to).collect();
    assert!(!to.is_empty() && !to.iter().any(|to| to.ip() == registrar(1).ip()));
    assert_eq!(node.asked(), []);
}

/// Attack A28: nobody makes itself the successor.
#[test]
fn nobody_but_an_eligible_successor_in_step_is_followed() {
    let (manager, mut node) = left_alone();
    let domain = &manager.domain;
    let proof = words(&manager);
    let at = office(&manager, SUCCESSOR);
    let with = |office: Office, credential, words: &[Suspicion], by: u8| {
        Takeover::suspected(domain, office, credential, words, &key_of(by))
    };
    let good = credential(&manager, SUCCESSOR, true);
    let stranger = Manager::of(0x5555, 0x52);
    let far = StateId { term: Term(at.start.term.0 + 65_537), ..at.start };
    let forged = [
        ("not named in step", takeover(&manager, 40, &proof), Rejected::OutOfPlace),
        ("not eligible", with(at, credential(&manager, 30, false), &proof, 30), Rejected::Malformed),
        ("another one's place", with(at, credential(&manager, 31, true), &proof, 30), Rejected::Malformed),
        (
            "a credential by nobody",
            with(at, credential(&stranger, 30, true), &proof, 30),
            Rejected::NotAuthentic,
        ),
        ("signed by another key", with(at, good, &proof, 31), Rejected::NotAuthentic),
        ("too few", with(at, good, &proof[..1], 30), Rejected::OutOfPlace),
        ("one twice", with(at, good, &[proof[0], proof[0]], 30), Rejected::OutOfPlace),
        ("its own", with(at, good, &[proof[0], word(&manager, 30)], 30), Rejected::OutOfPlace),
        ("far ahead", with(Office { start: far, ..at }, good, &proof, 30), Rejected::Stale),
        ("handed by nobody", Takeover::handed(domain, at, &key_of(30)), Rejected::NotAuthentic),
    ];
    for (why, bytes, refused) in &forged {
        assert_eq!(node.refuses_control(bytes), *refused, "{why}");
        // Each check costs of a budget.
        node.pass(SECOND);
    }
    assert_eq!(changes(&node), []);
}

#[test]
fn a_takeover_needs_ones_own_silence_and_a_handed_one_does_not() {
    let (mut manager, mut node) = member();
    let bytes = takeover(&manager, SUCCESSOR, &words(&manager));
    assert_eq!(node.refuses_control(&bytes), Rejected::Stale);
    // It may well be true, but an alarm comes.
    node.pass(2 * SECOND);
    node.control(&bytes).unwrap();
    node.control(&manager.alarm()).unwrap();
    node.pass(2_990 * MILLI);
    assert_eq!(changes(&node), []);
    node.control(&manager.alarm()).unwrap();
    // It comes a little before this member's silence is over, and then waits for that.
    node.pass(2_800 * MILLI);
    let bytes = takeover(&manager, SUCCESSOR, &words(&manager));
    node.control(&bytes).unwrap();
    assert_eq!(node.refuses_control(&bytes), Rejected::Duplicate);
    assert_eq!(changes(&node), []);
    node.pass(201 * MILLI);
    assert_eq!(changes(&node), [office(&manager, SUCCESSOR).start]);

    let (manager, mut node) = member();
    node.control(&handed(&manager)).unwrap();
    assert_eq!(changes(&node), [office(&manager, SUCCESSOR).start]);
    assert_eq!(lost(&node), []);
}

#[test]
fn a_member_that_missed_the_takeover_follows_a_repeat_and_a_presence_does_not_move_it() {
    let (mut manager, mut node) = left_alone();
    let bytes = takeover(&manager, SUCCESSOR, &words(&manager));
    let update = succeed(&mut manager, &node);
    // What the new manager signs is a stranger's as long as the takeover is not known.
    assert_eq!(node.refuses_control(&update), Rejected::NotAuthentic);
    assert_eq!(node.refuses_control(&manager.alarm()), Rejected::NotAuthentic);
    node.pass(4 * SECOND);
    node.unicast(&bytes).unwrap();
    node.control(&update).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert_eq!(node.asked(), []);
}

/// The manager before comes back and knows nothing of it.
#[test]
fn the_manager_before_is_not_followed_any_more() {
    let (mut manager, mut node) = left_alone();
    let mut before = Manager::new();
    let bytes = takeover(&manager, SUCCESSOR, &words(&manager));
    node.control(&bytes).unwrap();
    before.alarms = 1_000;
    let path = node.member.key_path().unwrap().clone();
    assert!(node.control(&before.alarm()).is_err());
    let update = before.start_again(9, 0x1, &path);
    assert_eq!(node.refuses_control(&update), Rejected::NotAuthentic);
    assert_eq!(node.refuses_control(&before.alarm()), Rejected::NotAuthentic);
    let update = succeed(&mut manager, &node);
    node.control(&update).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
}

/// A manager that was taken over from manages again, and its store is put back to before it evicted anybody. Its members show
/// it its own word, though the one in between has signed the same since, and not all of that was signed anew.
#[test]
fn a_manager_that_manages_again_is_shown_whom_it_evicted_long_ago() {
    let (mut manager, mut node) = member();
    let evicted: Vec<_> = (0..3_u8)
        .map(|number| Revocation { identity: [number; 32], certificate: [number ^ 0x80; 32] })
        .collect();
    let announce = |manager: &Manager, evicted: &[Revocation]| {
        let sign = |revocation| SignedRevocation::sign(GROUP, revocation, &manager.signer);
        let signed: Vec<_> = evicted.iter().copied().map(sign).collect();
        encode_revocations(&manager.domain, &signed)
    };
    node.control(&announce(&manager, &evicted)).unwrap();
    node.control(&handed(&manager)).unwrap();
    let update = succeed(&mut manager, &node);
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    node.control(&announce(&manager, &evicted)).unwrap();

    let first = Manager::new().signer;
    let again = Office { key: first.public_key(), ..office(&manager, 31) };
    node.control(&Takeover::handed(&manager.domain, again, &manager.signer)).unwrap();
    manager.signer = first;
    let path = node.member.key_path().unwrap();
    let update = manager.start_again(again.start.term.0, again.start.inst.0, path);
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    assert_eq!(changes(&node).last(), Some(&again.start));
    node.control(&announce(&manager, &evicted[..1])).unwrap();
    node.pass(500 * MILLI);
    node.forget();
    node.control(&question(&manager, u16::MAX)).unwrap();
    node.pass(100 * MILLI);
    let mut shown: Vec<_> = answers(&node, &manager)
        .iter()
        .flat_map(|answer| &answer.revocations)
        .map(|signed| signed.revocation)
        .collect();
    shown.sort_unstable();
    assert_eq!(shown, evicted);
}

/// Of two successors that take over, the one that is heard first is followed.
#[test]
fn a_second_takeover_of_the_same_manager_is_not_followed() {
    let (manager, mut node) = left_alone();
    let proof = words(&manager);
    node.control(&takeover(&manager, SUCCESSOR, &proof)).unwrap();
    node.pass(SECOND);
    let second = Office {
        start: StateId { inst: Inst(0x8888), ..office(&manager, 31).start },
        ..office(&manager, 31)
    };
    let credential = credential(&manager, 31, true);
    let second = Takeover::suspected(&manager.domain, second, credential, &proof, &key_of(31));
    assert!(node.control(&second).is_err());
    assert_eq!(changes(&node).len(), 1);
}

/// Credentials of the manager before count for a minute, and then no more: a second loss is proven with them at first.
#[test]
fn the_word_of_members_with_an_old_credential_counts_for_a_minute() {
    for (after, counts) in [(10, true), (65, false)] {
        let (mut manager, mut node) = left_alone();
        let before = Manager::new();
        node.control(&takeover(&manager, SUCCESSOR, &words(&manager))).unwrap();
        let update = succeed(&mut manager, &node);
        node.control(&update).unwrap();
        for _ in 0..4 * after {
            node.control(&manager.alarm()).unwrap();
            node.pass(250 * MILLI);
        }
        node.pass(3 * SECOND);
        let prefilter = manager.prefilter(manager.state.epoch);
        let at = (manager.state, manager.alarms);
        let old = credential(&before, 20, false);
        let old = Suspicion::sign(&manager.domain, at, old, prefilter, &key_of(20));
        assert_eq!(node.control(&old.encode(&manager.domain)).is_ok(), counts, "{after} s");
        let new = word(&manager, 21);
        node.control(&new.encode(&manager.domain)).unwrap();
        assert_eq!(lost(&node).len(), usize::from(counts), "{after} s");
    }
}

/// Attack A29: whom the manager before evicted, the new one hears of, though its own state does not say so.
#[test]
fn evictions_that_the_new_manager_does_not_name_are_shown_to_it_until_it_takes_them() {
    let (mut manager, mut node) = member();
    let evicted: Vec<_> = (0..8_u8)
        .map(|number| {
            let revocation = Revocation { identity: [number; 32], certificate: [number ^ 0x80; 32] };
            SignedRevocation::sign(GROUP, revocation, &manager.signer)
        })
        .collect();
    for page in evicted.chunks(6) {
        node.control(&encode_revocations(&manager.domain, page)).unwrap();
    }
    let former = manager.signer.public_key();
    node.pass(3_001 * MILLI);
    node.control(&takeover(&manager, SUCCESSOR, &words(&manager))).unwrap();
    let update = succeed(&mut manager, &node);
    node.control(&update).unwrap();
    node.forget();
    // The new manager knows of one of them.
    let known = SignedRevocation::sign(GROUP, evicted[0].revocation, &manager.signer);
    node.control(&encode_revocations(&manager.domain, &[known])).unwrap();
    manager.policy = policy_digest(&manager.domain, manager.roster, [known.revocation].iter());
    let (mut shown, mut silent) = (Vec::new(), 0);
    for round in 0..100 {
        node.control(&manager.alarm()).unwrap();
        node.forget();
        node.pass(250 * MILLI);
        for said in node.said(&manager) {
            let ToManager::Evidence { nonce, issuer, revocations } = said else { continue };
            assert_eq!(issuer, former);
            assert!(revocations.iter().all(|signed| evicted.contains(signed)));
            if round < 20 {
                silent += 1;
                continue;
            }
            shown.extend(revocations.iter().map(|signed| signed.revocation));
            let answer = manager.seal(&ToMember::EvidenceTaken { nonce });
            node.unicast(&answer).unwrap();
            assert_eq!(node.refuses_unicast(&answer), Rejected::OutOfPlace);
        }
    }
    assert!(silent >= 2, "again until it is taken");
    shown.sort();
    let mut lacking: Vec<_> = evicted[1..].iter().map(|signed| signed.revocation).collect();
    lacking.sort();
    assert_eq!(shown, lacking, "each once");
}

/// Else each of its evictions would come back to it from every member.
#[test]
fn what_a_manager_evicts_that_has_managed_before_is_not_shown_to_it() {
    let (mut manager, mut node) = member();
    node.control(&handed(&manager)).unwrap();
    let first = std::mem::replace(&mut manager.signer, key_of(SUCCESSOR));
    let update = succeed(&mut manager, &node);
    node.control(&update).unwrap();
    let back = Office { key: first.public_key(), sender: sender(31), ..office(&manager, SUCCESSOR) };
    let back = Office { start: StateId { inst: Inst(0xaaaa), ..back.start }, ..back };
    node.control(&Takeover::handed(&manager.domain, back, &manager.signer)).unwrap();
    manager.signer = first;
    let path = node.member.key_path().unwrap();
    let update = manager.start_again(back.start.term.0, back.start.inst.0, path);
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    let evicted = Revocation { identity: [7; 32], certificate: [8; 32] };
    let signed = SignedRevocation::sign(GROUP, evicted, &manager.signer);
    node.control(&encode_revocations(&manager.domain, &[signed])).unwrap();
    manager.policy = policy_digest(&manager.domain, manager.roster, [evicted].iter());
    for _ in 0..20 {
        node.control(&manager.alarm()).unwrap();
        node.forget();
        node.pass(250 * MILLI);
        let said = node.said(&manager);
        assert!(!said.iter().any(|said| matches!(said, ToManager::Evidence { .. })), "{said:?}");
    }
}
