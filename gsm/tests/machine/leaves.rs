//! Leaving, keeping alive and falling silent: only the member itself can say so, and only once.

use std::time::Duration;

use gsm::{Departure, GsmEvent, JournalEntry, RequestError, Standing};
use protocol::{Registration, Rejected, SenderId, ToManager, ToMember};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::support::{Manager, Node, OWN_IDENTITY, address};

fn departures(manager: &Manager) -> Vec<(SenderId, Departure)> {
    let departed = manager.events.iter().filter_map(|event| match event {
        GsmEvent::Departed { sender, why, .. } => Some((*sender, *why)),
        _ => None,
    });
    departed.collect()
}

#[test]
fn a_leave_is_answered_once_it_is_durable_and_again_when_the_answer_was_lost() {
    let mut manager = Manager::start();
    let leaver = manager.with(&["leaver", "other"]).remove(0);
    let leave = leaver.seal(ToManager::Leave { nonce: 77 });
    manager.storing = false;
    manager.forget();
    for _ in 0..3 {
        manager.unicast(address(1), &leave).unwrap();
    }
    assert_eq!(manager.unicasts(&leaver), []);
    assert_eq!(manager.records, [JournalEntry::Departed { sender: leaver.grant.sender }], "recorded once");
    manager.store();
    let taken = ToMember::LeaveTaken { nonce: 77 };
    assert_eq!(
        manager.unicasts(&leaver),
        std::slice::from_ref(&taken),
        "one answer waits, however often it asks"
    );
    manager.forget();
    manager.unicast(address(1), &leave).unwrap();
    assert_eq!(manager.unicasts(&leaver), [taken]);
    assert_eq!(departures(&manager), []);
    manager.storing = true;
    manager.advance(Duration::from_secs(6));
    assert!(manager.listed(&leaver).is_none());
    assert_eq!(manager.unicast(address(1), &leave), Err(Rejected::UnknownSender));
}

#[test]
fn nobody_leaves_for_somebody_else() {
    let mut manager = Manager::start();
    let members = manager.with(&["victim", "forger"]);
    let (victim, forger) = (&members[0], &members[1]);
    // The forger's own key under the victim's registration, and its own message with the victim's number in front.
    let at = Registration { sender: victim.grant.sender, ..forger.registration() };
    let forged = ToManager::Leave { nonce: 1 }.seal(&at, &mut ChaCha12Rng::seed_from_u64(9));
    let mut renamed = forger.seal(ToManager::Leave { nonce: 1 });
    renamed[28..36].copy_from_slice(&victim.grant.sender.0.to_be_bytes());
    for bytes in [forged, renamed] {
        let input =
            protocol::Input::Datagram { lane: protocol::Lane::Unicast, from: address(2), bytes: &bytes };
        assert_eq!(manager.refuses(input), Rejected::NotAuthentic);
    }
    assert_eq!(manager.listed(victim).unwrap().standing, Standing::In);
    let unknown = Registration { sender: SenderId(1), ..forger.registration() };
    let stray = ToManager::Leave { nonce: 1 }.seal(&unknown, &mut ChaCha12Rng::seed_from_u64(9));
    assert_eq!(manager.unicast(address(2), &stray), Err(Rejected::UnknownSender));
}

#[test]
fn a_member_that_was_never_cut_in_leaves_without_a_key_update() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a"]);
    let pending = manager.admit(&Node::new("pending"));
    manager.forget();
    manager.unicast(address(1), &pending.seal(ToManager::Leave { nonce: 3 })).unwrap();
    assert_eq!(manager.unicasts(&pending), [ToMember::LeaveTaken { nonce: 3 }]);
    assert!(manager.listed(&pending).is_none());
    manager.advance(Duration::from_secs(20));
    assert!(manager.multicasts(protocol::DatagramKind::KeyUpdate).is_empty());
    assert_eq!(manager.admit(&Node::new("next")).grant.reg_no, pending.grant.reg_no);
}

#[test]
fn a_replayed_keepalive_is_refused_and_keeps_nobody_alive() {
    let mut manager = Manager::start();
    let members = manager.with(&["dead", "alive"]);
    let (dead, alive) = (&members[0], &members[1]);
    let first = dead.seal(ToManager::Keepalive { counter: 1, held: None });
    let last = dead.seal(ToManager::Keepalive { counter: 2, held: Some(dead.grant.state) });
    for keepalive in [&first, &last] {
        manager.unicast(address(1), keepalive).unwrap();
    }
    assert_eq!(manager.listed(dead).unwrap().address, Some(address(1)));
    for tick in 0..50 {
        manager.advance(Duration::from_secs(1));
        for replayed in [&first, &last] {
            let refused = manager.unicast(address(66), replayed);
            assert!(matches!(refused, Err(Rejected::Stale | Rejected::UnknownSender)), "{refused:?}");
        }
        let counter = 10 + tick;
        manager.unicast(address(2), &alive.seal(ToManager::Keepalive { counter, held: None })).unwrap();
    }
    assert!(departures(&manager).contains(&(dead.grant.sender, Departure::Silent)));
    assert!(manager.listed(dead).is_none());
    assert!(manager.listed(alive).is_some());
    assert!(manager.listed(alive).unwrap().address == Some(address(2)));
}

#[test]
fn a_member_unheard_for_three_keepalives_leaves_and_the_own_node_never_does() {
    let mut manager = Manager::start();
    let quiet = manager.with(&["quiet"]).remove(0);
    manager.advance(Duration::from_secs(25));
    assert!(manager.listed(&quiet).is_some());
    manager.advance(Duration::from_secs(25));
    assert!(manager.listed(&quiet).is_none());
    manager.advance(Duration::from_secs(3_600));
    assert!(manager.gsm.members().any(|listed| listed.sender == manager.gsm.own_sender()));
}

#[test]
fn an_eviction_names_who_it_cannot_reach() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a"]);
    let now = manager.now;
    assert_eq!(manager.gsm.evict(now, "nobody"), Err(RequestError::NoSuchMember("nobody".into())));
    assert_eq!(manager.gsm.evict(now, OWN_IDENTITY), Err(RequestError::OwnNode(OWN_IDENTITY.into())));
    manager.evict("a");
    assert_eq!(manager.gsm.evict(now, "a"), Err(RequestError::NoSuchMember("a".into())));
}

#[test]
fn a_member_that_registered_again_just_before_its_eviction_is_cut_off_hard() {
    let mut manager = Manager::start();
    let _ = manager.with(&["evicted", "other"]);
    let _ = manager.admit(&Node::new("evicted"));
    manager.forget();
    manager.evict("evicted");
    let cuts = manager.events.iter().filter_map(|event| match event {
        GsmEvent::Rekeyed(summary) => Some((summary.hard, summary.leaves)),
        _ => None,
    });
    assert_eq!(cuts.collect::<Vec<_>>(), [(true, 1)], "its older registration still holds the key");
}

#[test]
fn an_evicted_member_is_heard_no_more() {
    let mut manager = Manager::start();
    let evicted = manager.with(&["evicted", "other"]).remove(0);
    let messages = [
        evicted.seal(ToManager::Keepalive { counter: 9, held: None }),
        evicted.seal(ToManager::Resync { nonce: 9, held: None }),
        evicted.seal(ToManager::Leave { nonce: 9 }),
    ];
    manager.evict("evicted");
    manager.forget();
    for bytes in &messages {
        let input = protocol::Input::Datagram { lane: protocol::Lane::Unicast, from: address(1), bytes };
        assert_eq!(manager.refuses(input), Rejected::UnknownSender);
    }
    assert_eq!(manager.unicasts(&evicted), []);
}
