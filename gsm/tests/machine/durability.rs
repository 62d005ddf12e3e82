//! Durable before told: what a slow store, and one that fails, hold up and what they do not.

use std::time::Duration;

use crypto::{Ed25519Signer, Secret, Signer as _};
use gsm::{Departure, GsmEvent, JournalEntry};
use protocol::{DatagramKind, Frame, Input, Refusal, Revocation, SignedRevocation, ToManager, ToMember};

use super::support::{GROUP, Manager, Node, address};

#[test]
fn admitted_is_never_said_before_the_join_is_durable() {
    let mut manager = Manager::start();
    let node = Node::new("node");
    let conn = manager.connect(&node);
    let offered = manager.ask(conn, &node).unwrap();
    manager.storing = false;
    manager.forget();
    manager.frame(conn, &Frame::Confirm(offered.member)).unwrap();
    assert!(matches!(&manager.records[..], [JournalEntry::Joined(_), ..]), "{:?}", manager.records);
    manager.advance(Duration::from_secs(3));
    assert_eq!(manager.frames(conn), []);
    assert!(!manager.events.iter().any(|event| matches!(event, GsmEvent::Admitted { .. })));
    manager.store();
    assert_eq!(manager.frames(conn), [Frame::Admitted]);
    assert!(manager.events.iter().any(|event| matches!(event, GsmEvent::Admitted { .. })));
}

#[test]
fn a_key_update_is_never_sent_before_its_record_is_durable_and_alarms_wait_for_nothing() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a", "b"]);
    manager.storing = false;
    manager.forget();
    manager.evict("a");
    manager.advance(Duration::from_millis(1_500));
    assert!(manager.multicasts(DatagramKind::KeyUpdate).is_empty());
    assert_eq!(manager.multicasts(DatagramKind::Alarm).len(), 6, "one each 250 ms");
    let evicted = |event: &GsmEvent| matches!(event, GsmEvent::Departed { why: Departure::Evicted, .. });
    assert!(!manager.events.iter().any(evicted));
    manager.store();
    assert!(!manager.multicasts(DatagramKind::KeyUpdate).is_empty());
    assert!(manager.events.iter().any(evicted));
}

#[test]
fn nothing_is_sent_before_the_start_is_durable() {
    let mut manager = Manager::start();
    assert!(matches!(
        &manager.records[..],
        [JournalEntry::Started { .. }, JournalEntry::Joined(_), JournalEntry::Cut { .. }]
    ));
    manager.forget();
    // A second manager whose store never answers.
    let mut mute = Manager::start_with(|config| config.subgroup = protocol::SubgroupId(1));
    mute.storing = false;
    mute.forget();
    mute.gsm.rekey(mute.now);
    mute.advance(Duration::from_secs(2));
    assert!(mute.multicasts(DatagramKind::KeyUpdate).is_empty());
}

#[test]
fn an_eviction_that_waits_for_a_store_that_fails_is_cut_nevertheless() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a", "b"]);
    manager.storing = false;
    manager.forget();
    manager.evict("a");
    assert!(manager.multicasts(DatagramKind::KeyUpdate).is_empty());
    manager.input(Input::StoreFailed).unwrap();
    assert!(!manager.multicasts(DatagramKind::KeyUpdate).is_empty());
    assert!(manager.gsm.members().all(|listed| listed.identity != "a"));
}

#[test]
fn in_read_only_mode_evictions_leaves_and_alarms_go_on() {
    let mut manager = Manager::start();
    let members = manager.with(&["a", "b", "c"]);
    manager.storing = false;
    manager.input(Input::StoreFailed).unwrap();
    manager.forget();
    manager.evict("a");
    assert!(!manager.multicasts(DatagramKind::KeyUpdate).is_empty());
    assert!(manager.gsm.members().all(|listed| listed.identity != "a"));
    let leave = members[1].seal(ToManager::Leave { nonce: 5 });
    for _ in 0..2 {
        manager.forget();
        manager.unicast(address(2), &leave).unwrap();
        assert_eq!(manager.unicasts(&members[1]), [ToMember::LeaveTaken { nonce: 5 }]);
    }
    manager.forget();
    manager.advance(Duration::from_secs(6));
    assert_eq!(manager.multicasts(DatagramKind::KeyUpdate).len(), 1, "the leave is cut");
    assert!(manager.multicasts(DatagramKind::Alarm).len() >= 24);
    assert!(manager.gsm.status(manager.now).read_only);
}

/// The driver keeps what could not be written, and tries again.
#[test]
fn a_store_that_works_again_ends_read_only_mode_and_nothing_told_meanwhile_is_lost() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a", "b"]);
    manager.storing = false;
    manager.input(Input::StoreFailed).unwrap();
    manager.evict("a");
    let node = Node::new("node");
    let conn = manager.connect(&node);
    assert!(manager.ask(conn, &node).is_none());
    assert_eq!(manager.last_frame(conn), Some(Frame::Refused(Refusal::ReadOnly)));
    manager.store_some(1);
    assert!(manager.gsm.status(manager.now).read_only, "a part is not all");
    manager.storing = true;
    manager.store();
    assert!(!manager.gsm.status(manager.now).read_only);
    assert_eq!(manager.events.last(), Some(&GsmEvent::Writable));
    let _ = manager.admit(&node);
    let manager = manager.restart();
    let names: Vec<_> = manager.gsm.members().map(|listed| listed.identity.clone()).collect();
    assert_eq!(names, ["manager.example", "node", "b"]);
    assert_eq!(manager.gsm.status(manager.now).revocations, 1);
}

/// It says so with the report that the first key update of the start waited for.
#[test]
fn what_waits_behind_a_key_update_when_the_store_works_again_waits_for_its_own_record() {
    let epochs = |manager: &Manager| -> Vec<u64> {
        let rekeyed = manager.events.iter().filter_map(|event| match event {
            GsmEvent::Rekeyed(summary) => Some(summary.state.epoch.0.into()),
            _ => None,
        });
        rekeyed.collect()
    };
    let mut manager = Manager::start_unstored();
    manager.input(Input::StoreFailed).unwrap();
    manager.gsm.rekey(manager.now);
    assert_eq!(epochs(&manager), [], "nothing of a start that is not durable");
    manager.store();
    assert!(!manager.gsm.status(manager.now).read_only);
    assert_eq!(epochs(&manager), [1]);
    assert!(matches!(manager.records.last(), Some(JournalEntry::Cut { state, .. }) if state.epoch.0 == 2));
    manager.advance(Duration::from_secs(1));
    assert_eq!(epochs(&manager), [1]);
    manager.store();
    assert_eq!(epochs(&manager), [1, 2]);
}

/// Members repeat what they ask until it is answered: without that, all the answers went out in one moment.
#[test]
fn a_store_that_is_down_for_long_leaves_one_answer_of_a_kind_to_a_member() {
    let own = Ed25519Signer::from_seed(&Secret::new([0x51; 32]));
    let evidence = |nonce| {
        let put_out = Revocation { identity: Revocation::identity_hash("x"), certificate: [0; 32] };
        let revocations = vec![SignedRevocation::sign(GROUP, put_out, &own)];
        ToManager::Evidence { nonce, issuer: own.public_key(), revocations }
    };
    let mut manager = Manager::start();
    let members = manager.with(&["a", "b"]);
    manager.storing = false;
    for nonce in 1..30 {
        manager.unicast(address(2), &members[0].seal(ToManager::Leave { nonce })).unwrap();
        manager.unicast(address(3), &members[1].seal(evidence(nonce))).unwrap();
        manager.advance(Duration::from_secs(1));
    }
    manager.forget();
    manager.storing = true;
    manager.store();
    assert_eq!(manager.unicasts(&members[0]), [ToMember::LeaveTaken { nonce: 29 }], "the newest");
    assert_eq!(manager.unicasts(&members[1]), [ToMember::EvidenceTaken { nonce: 29 }]);
}

#[test]
fn a_store_that_failed_with_nothing_to_write_is_asked_until_it_works() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a"]);
    manager.storing = false;
    manager.input(Input::StoreFailed).unwrap();
    manager.forget();
    manager.advance(Duration::from_secs(16));
    assert_eq!(manager.records, [JournalEntry::Probe], "one question waits for its answer");
    manager.store();
    assert_eq!(manager.events.last(), Some(&GsmEvent::Writable));
}

#[test]
fn joins_and_leaves_of_one_interval_are_one_key_update() {
    let mut manager = Manager::start();
    let members = manager.with(&["a", "b", "c"]);
    manager.forget();
    for name in ["d", "e", "f"] {
        let _ = manager.admit(&Node::new(name));
    }
    for leaver in &members[..2] {
        manager.unicast(address(2), &leaver.seal(ToManager::Leave { nonce: 1 })).unwrap();
    }
    manager.advance(Duration::from_secs(20));
    let rekeyed = manager.events.iter().filter_map(|event| match event {
        GsmEvent::Rekeyed(summary) => Some((summary.joins, summary.leaves, summary.hard)),
        _ => None,
    });
    assert_eq!(rekeyed.collect::<Vec<_>>(), [(3, 2, false)]);
}
