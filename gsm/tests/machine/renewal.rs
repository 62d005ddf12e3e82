//! Who has held every leaf secret is out: what it knows opens nothing any more.

use std::time::Duration;

use crypto::Secret;
use gsm::{GsmEvent, JournalEntry};
use protocol::{
    ALL_MISSING, ANY_BLOCK, Commit, DatagramKind, Epoch, Nak, Rejected, SenderId, ToManager, Transmit,
};

use super::follower::Follower;
use super::support::{Manager, Node, Offered, address};

/// A manager that came back and has these members, of whom the first has followed it as a standby.
pub(crate) fn with_standby(identities: &[&str]) -> (Manager, Vec<Follower>) {
    let mut manager = Manager::start();
    let mut offered = Vec::new();
    for (place, identity) in identities.iter().enumerate() {
        let mut node = Node::new(identity);
        node.peer.roles.manager = place == 0;
        offered.push(manager.admit(&node));
    }
    manager.rekey();
    let (now, mut journal) = manager.crash();
    let last = journal.last().unwrap().0;
    let trusted = JournalEntry::Trusted { sender: offered[0].grant.sender };
    journal.push((Commit(last.0 + 1), trusted.encode()));
    let mut manager = Manager::resume(now, journal, false);
    manager.advance(super::support::START);
    let mut followers: Vec<_> = offered.into_iter().map(Follower::new).collect();
    followers.iter_mut().for_each(|follower| follower.hear_all(&manager));
    assert!(followers.iter().all(|follower| follower.is_with(&manager)));
    manager.forget();
    (manager, followers)
}

/// What somebody can follow that knows the leaf secrets of the journal and no X25519 key.
fn spies(manager: &Manager, like: &Offered) -> Vec<Follower> {
    let entries = manager.journal.iter().map(|(_, bytes)| JournalEntry::decode(bytes).unwrap());
    let joined = entries.filter_map(|entry| match entry {
        JournalEntry::Joined(joined) => Some(*joined),
        _ => None,
    });
    let spy = |joined: gsm::JoinedEntry| {
        let mut offered = like.clone();
        offered.grant.reg_no = joined.reg_no;
        offered.grant.leaf_steps = joined.leaf_steps;
        (offered.keys.leaf, offered.keys.unicast) = (joined.leaf, joined.unicast);
        let mut spy = Follower::new(offered);
        spy.renews = false;
        spy
    };
    joined.map(spy).collect()
}

#[test]
fn a_removed_standby_given_every_packet_and_every_secret_it_has_seen_derives_no_later_key() {
    for evicted in [true, false] {
        let (mut manager, mut members) = with_standby(&["standby", "a", "b"]);
        let mut spies = spies(&manager, &members[0].offered);
        let standby = members.remove(0);
        if evicted {
            manager.evict("standby");
        } else {
            let leave = standby.offered.seal(ToManager::Leave { nonce: 1 });
            manager.unicast(address(1), &leave).unwrap();
            manager.advance(Duration::from_secs(5));
        }
        assert!(matches!(
            &manager.records[..],
            [
                JournalEntry::Evicted { .. } | JournalEntry::Departed { .. },
                JournalEntry::Renewed { number: 1, .. },
                JournalEntry::Started { .. },
                JournalEntry::Cut { .. },
            ]
        ));
        assert!(manager.events.iter().any(|event| matches!(event, GsmEvent::Renewed { number: 1, .. })));
        let _ = manager.admit(&Node::new("later"));
        manager.rekey();
        manager.advance(Duration::from_secs(1));
        spies.push(standby);
        spies.iter_mut().for_each(|spy| spy.hear_all(&manager));
        assert!(!spies.iter().any(|spy| spy.is_with(&manager)));
        let term = manager.gsm.status(manager.now).state.term;
        assert!(spies.iter().all(|spy| spy.key().is_none_or(|(state, _)| state.term < term)));
        members.iter_mut().for_each(|member| member.hear_all(&manager));
        assert!(members.iter().all(|member| member.is_with(&manager)), "nobody registers again");
        assert_eq!(members[0].alarm().renewals, 1);
        let manager = manager.restart();
        members.iter_mut().for_each(|member| member.hear_all(&manager));
        assert!(members.iter().all(|member| member.is_with(&manager)), "the journal says the same");
    }
}

#[test]
fn an_eviction_of_a_standby_that_a_crash_cut_short_is_made_up_for_by_the_next_start() {
    let (mut manager, mut members) = with_standby(&["standby", "a"]);
    let mut spies = spies(&manager, &members[0].offered);
    manager.storing = false;
    manager.evict("standby");
    manager.store_some(1);
    let mut manager = manager.restart();
    spies.iter_mut().for_each(|spy| spy.hear_all(&manager));
    members[1].hear_all(&manager);
    assert!(members[1].is_with(&manager) && !spies.iter().any(|spy| spy.is_with(&manager)));
    manager.forget();
}

#[test]
fn a_standby_that_is_evicted_while_a_start_listens_has_no_key_of_that_start_either() {
    let (manager, mut members) = with_standby(&["standby", "a"]);
    let mut spies = spies(&manager, &members[0].offered);
    let (now, journal) = manager.crash();
    let mut manager = Manager::resume(now, journal, false);
    // Its start is not durable yet when the operator speaks.
    manager.storing = false;
    manager.advance(super::support::START);
    manager.evict("standby");
    (0..20).for_each(|_| manager.store_some(1));
    manager.storing = true;
    manager.advance(Duration::from_secs(1));
    spies.iter_mut().for_each(|spy| spy.hear_all(&manager));
    let before = spies.iter().filter_map(|spy| spy.key().map(|(state, _)| state.term)).max();
    members[1].hear_all(&manager);
    assert!(members[1].is_with(&manager));
    let cut = manager.records.iter().filter_map(|entry| match entry {
        JournalEntry::Cut { state, .. } => Some(state.term),
        _ => None,
    });
    assert!(cut.min() > before, "a key update of this start opens with what the standby has");
}

#[test]
fn a_standby_that_registers_again_causes_no_renewal() {
    let (mut manager, _members) = with_standby(&["standby", "a"]);
    let _ = manager.admit(&Node::new("standby"));
    manager.advance(Duration::from_secs(5));
    assert!(manager.multicasts(DatagramKind::Renewal).is_empty());
    manager.evict("standby");
    manager.advance(Duration::ZERO);
    assert!(!manager.multicasts(DatagramKind::Renewal).is_empty(), "it still knows what it knew");
}

#[test]
fn a_renewal_reaches_a_member_that_missed_it_when_it_speaks_and_nobody_who_only_knows_its_old_key() {
    let (mut manager, mut members) = with_standby(&["standby", "a", "b"]);
    manager.evict("standby");
    manager.advance(Duration::from_secs(20));
    let update = manager.all_multicasts();
    manager.forget();
    let member = &mut members[1];
    let keepalive =
        |member: &Follower, counter| member.offered.seal(ToManager::Keepalive { counter, held: None });
    let heard = manager.listed(&member.offered).unwrap().heard;
    manager.unicast(address(4), &keepalive(member, 1)).unwrap();
    let [Transmit::Unicast { to, bytes }] = &manager.sent[..] else { panic!("{:?}", manager.sent) };
    assert_eq!(*to, address(4));
    assert_eq!(manager.listed(&member.offered).unwrap().heard, heard, "an old key brings nothing else");
    member.hear(manager.now, bytes);
    update.iter().for_each(|packet| member.hear(manager.now, packet));
    assert!(member.is_with(&manager));
    let old = keepalive(&members[2], 1);
    manager.unicast(address(4), &keepalive(&members[1], 2)).unwrap();
    let mut late = members[1].offered.clone();
    late.keys.unicast = Secret::new([0; 32]);
    assert_eq!(
        manager.unicast(address(4), &late.seal(ToManager::Leave { nonce: 9 })),
        Err(Rejected::NotAuthentic)
    );
    manager.unicast(address(5), &old).unwrap();
}

#[test]
fn a_new_term_keeps_everybody_their_questions_and_the_own_registration() {
    let (mut manager, members) = with_standby(&["standby", "a", "b"]);
    let own = manager.gsm.own_sender();
    let probe = |nonce| members[1].offered.seal(ToManager::Probe { nonce });
    manager.unicast(address(2), &probe(7)).unwrap();
    manager.evict("standby");
    manager.advance(Duration::ZERO);
    assert_eq!(manager.gsm.own_sender(), own);
    let kept: Vec<SenderId> = manager.gsm.members().map(|listed| listed.sender).collect();
    assert_eq!(kept.len(), 3);
    assert!(kept.contains(&own) && kept.contains(&members[1].offered.grant.sender));
}

#[test]
fn alarms_go_on_while_the_store_takes_its_time_with_a_new_term() {
    let (mut manager, mut members) = with_standby(&["standby", "a"]);
    manager.storing = false;
    manager.evict("standby");
    let before = members[1].alarm();
    manager.advance(Duration::from_secs(1));
    assert!(manager.multicasts(DatagramKind::KeyUpdate).is_empty());
    assert!(manager.multicasts(DatagramKind::Renewal).is_empty());
    members[1].hear_all(&manager);
    let after = members[1].alarm();
    assert_eq!(after.state, before.state);
    assert!(after.counter >= before.counter + 3);
    manager.storing = true;
    manager.store();
    members[1].hear_all(&manager);
    assert!(members[1].is_with(&manager));
}

#[test]
fn what_the_members_lose_stays_known_in_the_new_term() {
    let (mut manager, _) = with_standby(&["standby", "a", "b"]);
    let witness = manager.admit(&Node::new("witness"));
    manager.rekey();
    let (held, reg_no) = (witness.grant.state, witness.grant.reg_no);
    let wanted = held.at(Epoch(held.epoch.0 + 1));
    let (block, missing) = (ANY_BLOCK, ALL_MISSING);
    let nak = Nak { wanted, held: held.epoch, reg_no, block, missing, loss: 40, nonce: 1 };
    manager.control(&nak.encode(&witness.grant.domain, &witness.grant.prefilter)).unwrap();
    manager.evict("standby");
    assert!(manager.events.iter().any(|event| matches!(event, GsmEvent::Renewed { number: 1, .. })));
    manager.advance(Duration::from_millis(20));
    manager.forget();
    manager.rekey();
    manager.advance(Duration::from_millis(20));
    let copies = manager.multicasts(DatagramKind::KeyUpdate).len();
    assert_eq!(copies, 4, "what 35 % ask for: nobody has asked since");
}
