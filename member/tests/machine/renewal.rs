//! Leaf secrets and unicast keys that are renewed, because somebody who has known them all is out.

use std::time::Duration;

use crypto::{ExchangeSecret, Secret, Signer as _};
use keytree::{KeyPath, PathKey};
use protocol::{DatagramKind, Epoch, Inst, Rejected, Renewal, StateId, Term};

use super::manager::Manager;
use super::node::{Node, config};

const MILLI: Duration = Duration::from_millis(1);
/// The manager's fresh key of a renewal.
fn fresh(number: u16) -> ExchangeSecret {
    ExchangeSecret::from_bytes(Secret::new([0x60 + number as u8; 32]))
}

fn start(term: u32) -> StateId {
    StateId { term: Term(term), inst: Inst(0x6000 + u64::from(term)), epoch: Epoch(0) }
}

fn renewal(manager: &Manager, number: u16, term: u32) -> Vec<u8> {
    let leaf_steps = manager.tree.leaf_steps();
    let renewal = Renewal { start: start(term), number, leaf_steps, key: fresh(number).public_key() };
    renewal.encode(&manager.domain, &manager.signer)
}

/// The manager renews all secrets and starts anew. Returns RENEWAL and the key update under the new ones.
fn renew(manager: &mut Manager, path: &KeyPath, number: u16, term: u32) -> (Vec<u8>, Vec<u8>) {
    let bytes = renewal(manager, number, term);
    let steps = manager.tree.leaf_steps();
    let leaf = path.leaf_at(steps).unwrap();
    let keys = manager.keys.as_mut().unwrap();
    let theirs = config().exchange.public_key();
    let (leaf, unicast) =
        manager.domain.renew(number, &fresh(number), &theirs, (&leaf, &keys.unicast)).unwrap();
    keys.unicast = unicast;
    manager.renewals = number;
    let renewed = path.renewed(leaf, steps);
    let at = start(term);
    let update = manager.start_again(at.term.0, at.inst.0, &renewed);
    (bytes, update)
}

#[test]
fn a_member_goes_on_with_renewed_secrets_whichever_message_comes_first() {
    for update_first in [false, true] {
        let mut manager = Manager::new();
        let mut node = Node::inside(&mut manager);
        node.control(&manager.alarm()).unwrap();
        let path = node.member.key_path().unwrap().clone();
        let (bytes, update) = renew(&mut manager, &path, 1, 2);
        let old = manager.state;
        node.forget();
        if update_first {
            node.control(&update).unwrap();
            assert_ne!(node.member.held(), Some(manager.state), "under the old secret it does not open");
            node.control(&bytes).unwrap();
        } else {
            node.control(&bytes).unwrap();
            node.control(&update).unwrap();
        }
        assert_eq!(node.member.held(), Some(old));
        assert!(manager.agrees_with(node.member.key_path().unwrap()));
        node.control(&manager.alarm()).unwrap();
        // Again and again, until everybody has it.
        assert_eq!(node.refuses_control(&bytes), Rejected::Duplicate);
        node.forget();
        node.pass(2_900 * MILLI);
        assert!(!node.said(&manager).is_empty(), "it speaks under the new unicast key");
        assert_eq!(node.asked(), []);
        // And once more.
        let path = node.member.key_path().unwrap().clone();
        let (bytes, update) = renew(&mut manager, &path, 2, 3);
        node.control(&bytes).unwrap();
        node.control(&update).unwrap();
        assert_eq!(node.member.held(), Some(manager.state));
    }
}

#[test]
fn a_member_that_lags_behind_in_leaf_steps_renews_the_secret_that_was_meant() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.control(&manager.alarm()).unwrap();
    let path = node.member.key_path().unwrap().clone();
    // It misses two steps of the leaves.
    let _ = (manager.step_leaves(), manager.step_leaves());
    let (bytes, update) = renew(&mut manager, &path, 1, 2);
    node.control(&bytes).unwrap();
    node.control(&update).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert_eq!(node.member.key_path().unwrap().leaf_steps(), 2);
}

#[test]
fn a_member_that_missed_it_asks_under_its_old_key_and_goes_on_under_the_new_one() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.control(&manager.alarm()).unwrap();
    let path = node.member.key_path().unwrap().clone();
    let old = manager.keys.clone();
    let (bytes, _missed) = renew(&mut manager, &path, 1, 2);
    node.forget();
    node.control(&manager.alarm()).unwrap();
    let new = std::mem::replace(&mut manager.keys, old);
    node.pass(300 * MILLI);
    assert!(node.resync_asked(&manager).is_some(), "under the old key");
    manager.keys = new;
    node.forget();
    node.unicast(&bytes).unwrap();
    node.pass(300 * MILLI);
    let nonce = node.resync_asked(&manager).unwrap();
    let keys: Vec<PathKey> = manager.path(super::manager::MEMBER);
    let answer = manager.answer(nonce, keys);
    node.unicast(&answer).unwrap();
    assert_eq!(node.member.held(), Some(manager.state));
    assert_eq!(node.multicast(DatagramKind::Nak).len(), 0);
}

#[test]
fn forged_replayed_and_skipped_renewals_change_nothing() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.control(&manager.alarm()).unwrap();
    let stranger = Manager::of(0x5555, 0x52);
    assert_ne!(stranger.signer.public_key(), manager.signer.public_key());
    assert_eq!(node.refuses_control(&renewal(&stranger, 1, 2)), Rejected::NotAuthentic);
    assert_eq!(node.refuses_control(&renewal(&manager, 2, 3)), Rejected::OutOfPlace, "one was missed");
    // Of the start in which it registered: its secrets are of after that.
    assert_eq!(node.refuses_control(&renewal(&manager, 1, 1)), Rejected::Duplicate);
    let path = node.member.key_path().unwrap().clone();
    let (bytes, update) = renew(&mut manager, &path, 1, 2);
    node.control(&bytes).unwrap();
    node.control(&update).unwrap();
    assert_eq!(node.refuses_control(&bytes), Rejected::Duplicate);
    assert_eq!(node.refuses_control(&renewal(&manager, 1, 5)), Rejected::Duplicate);
    assert_eq!(node.member.held(), Some(manager.state));
    let next = manager.cut(&[], &[3]);
    node.control(&next).unwrap();
    assert!(manager.agrees_with(node.member.key_path().unwrap()));
}
