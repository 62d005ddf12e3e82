//! What members do for each other when a key update is lost: they ask once for all, and answer when nobody else does.

use std::time::Duration;

use protocol::{ALL_MISSING, ANY_BLOCK, DatagramKind, Nak, RegNo, Rejected, StateId};

use super::manager::Manager;
use super::node::Node;

const MS: Duration = Duration::from_millis(1);
const WAIT: Duration = Duration::from_millis(80);
const ROUND: Duration = Duration::from_millis(200);

/// A NAK of another member that lost an update in one packet.
fn nak(manager: &Manager, held: StateId, reg_no: u32, nonce: u64) -> Vec<u8> {
    let nak = Nak {
        wanted: manager.state,
        held: held.epoch,
        reg_no: RegNo(reg_no),
        block: ANY_BLOCK,
        missing: ALL_MISSING,
        loss: 0,
        nonce,
    };
    nak.encode(&manager.domain, &manager.prefilters[&held.epoch])
}

/// A member that heard only the alarm of an update in one packet.
fn lacking(seed: u64) -> (Manager, Node, StateId, Vec<u8>) {
    let mut manager = Manager::new();
    let mut node = Node::joining(seed);
    node.register(&mut manager);
    let mut node = node.let_in(&mut manager);
    let held = manager.state;
    let update = manager.cut(&[], &[5]);
    node.forget();
    node.control(&manager.alarm()).unwrap();
    (manager, node, held, update)
}

fn naks(node: &Node) -> usize {
    node.multicast(DatagramKind::Nak).len()
}

#[test]
fn who_lacks_the_same_as_somebody_that_asks_keeps_silent_for_a_round() {
    let (manager, mut node, held, update) = lacking(1);
    node.control(&nak(&manager, held, 3, 1)).unwrap();
    node.pass(WAIT);
    assert_eq!(naks(&node), 0);
    node.control(&update).unwrap();
    node.pass(ROUND * 5);
    assert_eq!(naks(&node), 0, "the answer served both");
    assert_eq!(node.member.held(), Some(manager.state));
}

#[test]
fn a_nak_for_something_else_silences_nobody() {
    let (manager, mut node, held, _) = lacking(1);
    let old =
        Nak::verify(&nak(&manager, held, 3, 1), &manager.domain, |_| Some(&manager.prefilters[&held.epoch]));
    let old = Nak { wanted: held, nonce: 9, ..old.unwrap().into_inner() };
    let old = old.encode(&manager.domain, &manager.prefilters[&held.epoch]);
    node.control(&old).unwrap();
    node.pass(WAIT);
    assert_eq!(naks(&node), 1);
}

/// Attack A19: NAKs that members hear and the manager does not. Forged ones silence nobody; genuine ones, by an insider, one
/// wait of each gap, so the member is whole within twice the time it takes without them.
#[test]
fn a_suppressor_every_ten_milliseconds_delays_a_member_by_one_round() {
    for (seed, insider) in (1..20).map(|seed| (seed, seed % 2 == 0)) {
        let (manager, mut node, held, _) = lacking(seed);
        let mut asked = None;
        for round in 0_u64..60 {
            let mut bytes = nak(&manager, held, 3, round);
            if !insider {
                *bytes.last_mut().unwrap() ^= 1;
                assert_eq!(node.refuses_control(&bytes), Rejected::BadMac);
            } else {
                let _ = node.control(&bytes);
            }
            node.pass(MS * 10);
            if naks(&node) > 0 {
                asked.get_or_insert(MS * 10 * (round as u32 + 1));
            }
        }
        let latest = if insider { (WAIT + ROUND / 2) * 2 } else { WAIT + MS * 10 };
        assert!(asked.is_some_and(|asked| asked <= latest), "seed {seed}: {asked:?}");
    }
}

/// A recorded NAK is not heard twice.
#[test]
fn a_replayed_nak_silences_nobody() {
    let (manager, mut node, held, _) = lacking(2);
    node.control(&nak(&manager, held, 3, 7)).unwrap();
    for _ in 0..50 {
        assert_eq!(node.refuses_control(&nak(&manager, held, 3, 7)), Rejected::Stale);
        node.pass(MS * 10);
    }
    assert!(naks(&node) >= 1);
}

/// A member that holds an update which others lost.
fn holding(seed: u64) -> (Manager, Node, StateId, Vec<u8>) {
    let (mut manager, mut node, held, update) = lacking(seed);
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    // The manager is not heard any more.
    node.pass(ROUND * 5);
    node.forget();
    (manager, node, held, update)
}

fn answers(node: &Node) -> Vec<Vec<u8>> {
    node.multicast(DatagramKind::KeyUpdate).into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn who_asks_again_and_was_not_answered_is_answered_by_a_member() {
    let (manager, mut node, held, update) = holding(1);
    node.control(&nak(&manager, held, 3, 1)).unwrap();
    node.pass(ROUND);
    assert_eq!(answers(&node).len(), 0, "a manager answers at once");
    node.control(&nak(&manager, held, 3, 2)).unwrap();
    node.pass(WAIT);
    assert_eq!(answers(&node), [update], "byte for byte: it carries its own proof");
}

#[test]
fn members_leave_it_to_a_manager_that_is_heard() {
    let (mut manager, mut node, held, _) = holding(1);
    for round in 0..10 {
        node.control(&manager.alarm()).unwrap();
        node.control(&nak(&manager, held, 3, round)).unwrap();
        node.pass(ROUND);
    }
    assert_eq!(answers(&node).len(), 0);
}

#[test]
fn members_keep_silent_when_the_answer_is_heard() {
    let (manager, mut node, held, update) = holding(1);
    node.control(&nak(&manager, held, 3, 1)).unwrap();
    node.control(&update).unwrap();
    node.pass(ROUND);
    node.control(&nak(&manager, held, 3, 2)).unwrap();
    node.pass(WAIT * 2);
    assert_eq!(answers(&node).len(), 0, "the first one was answered, the second one is of a new round");
    node.control(&nak(&manager, held, 3, 3)).unwrap();
    node.pass(MS);
    node.control(&update).unwrap();
    node.pass(WAIT * 2);
    assert_eq!(answers(&node).len(), 0, "cancelled");
}

/// Attack A18: an insider that asks a thousand times a second gets one packet from each member, and from all together no
/// more than they hear of each other.
#[test]
fn a_storm_of_naks_gets_little_from_members() {
    let (manager, mut node, held, update) = holding(1);
    for nonce in 0..5_000 {
        let _ = node.control(&nak(&manager, held, 3, nonce));
        node.pass(MS);
    }
    assert_eq!(answers(&node).len(), 1);
    let (manager, mut node, held, _) = holding(2);
    for nonce in 0..2_000 {
        let _ = node.control(&nak(&manager, held, 3, nonce));
        if nonce % 100 < 3 {
            let _ = node.control(&update);
        }
        node.pass(MS);
    }
    assert_eq!(answers(&node).len(), 0, "others answer all the time");
}

#[test]
fn a_nak_under_a_key_that_is_not_known_is_not_answered() {
    let (manager, mut node, held, _) = holding(1);
    for nonce in 0..50 {
        let mut bytes = nak(&manager, held, 3, nonce);
        bytes[80] ^= 1;
        assert_eq!(node.refuses_control(&bytes), Rejected::BadMac);
        node.pass(MS * 20);
    }
    assert_eq!(answers(&node).len(), 0);
}

/// Who holds its packet and finds nothing for it in it was evicted, or cannot follow: a NAK would bring the same again.
#[test]
fn whoever_has_its_packet_and_cannot_use_it_asks_by_unicast_alone() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let update = manager.cut(&[], &[0]);
    node.forget();
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    node.pass(ROUND * 3);
    assert_eq!(naks(&node), 0);
    assert!(node.resync_asked(&manager).is_some());
}
