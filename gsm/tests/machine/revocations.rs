//! Who must never come back: recorded, told to every member, and checked wherever a key could be had.

use std::time::Duration;

use gsm::{GsmEvent, JournalEntry, RequestError};
use protocol::{DatagramKind, Frame, Refusal, Rejected, Revocation, ToManager, ToMember};

use super::follower::Follower;
use super::support::{Manager, Node, OWN_IDENTITY, Offered, address};

fn pages(manager: &Manager, of: &Offered) -> Vec<(u32, usize)> {
    let pages = manager.unicasts(of).into_iter().filter_map(|message| match message {
        ToMember::Revocations { from, revocations, .. } => Some((from, revocations.len())),
        _ => None,
    });
    pages.collect()
}

#[test]
fn an_eviction_is_multicast_with_its_key_update_and_the_next_two_alarms() {
    let mut manager = Manager::start();
    let mut witness = Follower::new(manager.with(&["witness", "a", "b"]).remove(0));
    manager.forget();
    manager.evict("a");
    assert_eq!(manager.multicasts(DatagramKind::Revocations).len(), 1);
    manager.advance(Duration::from_secs(2));
    assert_eq!(manager.multicasts(DatagramKind::Revocations).len(), 3);
    witness.hear_all(&manager);
    assert_eq!(witness.revocations().len(), 1);
    for number in 0..8 {
        let name = format!("guest {number}");
        let _ = manager.admit(&Node::new(&name));
        manager.evict(&name);
    }
    witness.hear_all(&manager);
    assert_eq!(witness.revocations().len(), 9, "each announcement names the newest six");
}

#[test]
fn no_revocation_is_told_before_it_is_durable() {
    let mut manager = Manager::start();
    let member = manager.with(&["member", "a"]).remove(0);
    manager.storing = false;
    manager.forget();
    manager.evict("a");
    assert_eq!(manager.gsm.revoke_identity(manager.now, "stranger"), Ok(None));
    manager.advance(Duration::from_secs(2));
    manager.unicast(address(1), &member.seal(ToManager::Revocations { nonce: 1, from: 0 })).unwrap();
    let node = Node::new("newcomer");
    let conn = manager.connect(&node);
    assert!(manager.ask(conn, &node).is_none());
    assert!(manager.multicasts(DatagramKind::Revocations).is_empty());
    assert_eq!(pages(&manager, &member), []);
    manager.store();
    assert!(!manager.multicasts(DatagramKind::Revocations).is_empty());
    assert_eq!(pages(&manager, &member), [(0, 2)]);
    assert!(matches!(manager.last_frame(conn), Some(Frame::Grant(grant, _)) if grant.revocations.len() == 2));
}

#[test]
fn a_member_that_missed_revocations_gets_them_in_the_managers_order_page_by_page() {
    let mut manager = Manager::start();
    let member = manager.with(&["member"]).remove(0);
    for number in 0..14 {
        manager.gsm.revoke_identity(manager.now, &format!("stranger {number}")).unwrap();
    }
    manager.advance(Duration::from_millis(300));
    manager.forget();
    for (nonce, from) in [(1, 0), (2, 6), (3, 12), (4, 14), (5, u32::MAX)] {
        manager.unicast(address(1), &member.seal(ToManager::Revocations { nonce, from })).unwrap();
        manager.advance(Duration::from_secs(1));
    }
    assert_eq!(pages(&manager, &member), [(0, 6), (6, 6), (12, 2), (14, 0), (u32::MAX, 0)]);
    let again = member.seal(ToManager::Revocations { nonce: 5, from: 0 });
    assert_eq!(manager.unicast(address(1), &again), Err(Rejected::Stale));
    let greedy = |nonce| member.seal(ToManager::Revocations { nonce, from: 0 });
    let refused = (6..20).filter(|nonce| manager.unicast(address(1), &greedy(*nonce)).is_err()).count();
    assert_eq!(refused, 12, "one a second, and one more");
}

#[test]
fn an_identity_that_is_no_member_can_be_shut_out_by_its_name_alone() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a"]);
    assert_eq!(manager.gsm.revoke_identity(manager.now, "stranger"), Ok(None));
    manager.advance(Duration::ZERO);
    let revocation = Revocation { identity: Revocation::identity_hash("stranger"), certificate: [0; 32] };
    assert_eq!(manager.records.last(), Some(&JournalEntry::Revoked { revocation }));
    assert!(manager.events.contains(&GsmEvent::Revoked { revocation }));
    assert_eq!(manager.gsm.revoke_identity(manager.now, "stranger"), Ok(None));
    assert_eq!(manager.gsm.status(manager.now).revocations, 1, "once");
    for mut manager in [manager.restart(), Manager::start()] {
        // Nobody is shut out for having no certificate that was ever seen.
        let mut blank = Node::new("blank");
        blank.peer.certificate = [0; 32];
        let _ = manager.admit(&blank);
        let restarted = manager.gsm.status(manager.now).revocations == 1;
        let conn = manager.connect(&Node::new("stranger"));
        assert_eq!(manager.ask(conn, &Node::new("stranger")).is_none(), restarted);
        let refused = Some(Frame::Refused(Refusal::Revoked));
        assert_eq!(manager.last_frame(conn) == refused, restarted);
    }
}

#[test]
fn to_shut_out_a_member_is_to_evict_it_and_nobody_shuts_out_himself() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a"]);
    let state = manager.gsm.revoke_identity(manager.now, "a").unwrap();
    manager.advance(Duration::ZERO);
    assert_eq!(state, Some(manager.gsm.status(manager.now).state));
    let own = Err(RequestError::OwnNode(OWN_IDENTITY.into()));
    assert_eq!(manager.gsm.revoke_identity(manager.now, OWN_IDENTITY), own);
    assert!(matches!(manager.gsm.evict(manager.now, "a"), Err(RequestError::NoSuchMember(_))));
}

#[test]
fn a_snapshot_is_due_after_the_start_and_each_eviction_and_a_restart_from_it_knows_them_all() {
    let mut manager = Manager::start();
    assert!(manager.gsm.compaction().is_some());
    let mut kept = Follower::new(manager.with(&["kept"]).remove(0));
    assert!(manager.gsm.compaction().is_none());
    for number in 0..256 {
        let name = format!("guest {number}");
        let _ = manager.admit(&Node::new(&name));
        manager.evict(&name);
    }
    kept.hear_all(&manager);
    let (upto, bytes) = manager.gsm.compaction().unwrap();
    assert_eq!(Some(upto), manager.journal.last().map(|(commit, _)| *commit));
    assert_eq!(manager.gsm.compaction(), None);
    let _ = manager.admit(&Node::new("later"));
    let mut manager = manager.restart_from((upto, bytes));
    kept.hear_all(&manager);
    assert!(kept.is_with(&manager));
    assert_eq!((manager.gsm.members().count(), manager.gsm.status(manager.now).revocations), (3, 256));
    let conn = manager.connect(&Node::new("guest 7"));
    assert!(manager.ask(conn, &Node::new("guest 7")).is_none());
}
