//! A manager that is lost, or said to be: the silence, the probe, and the word of others (attacks A26, A27).

use std::time::Duration;

use crypto::{Ed25519Signer, Secret, Signer as _};
use member::MemberEvent;
use protocol::{
    Credential, DatagramKind, Epoch, Machine as _, Rejected, SenderId, StateId, Suspicion, ToManager,
    ToMember,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::manager::Manager;
use super::node::Node;
use super::others::holder;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Another member, by number.
pub(crate) const fn sender(number: u64) -> SenderId {
    SenderId(0xabcd_0000_0000 + number)
}

pub(crate) fn key_of(number: u8) -> Ed25519Signer {
    Ed25519Signer::from_seed(&Secret::new([number ^ 0x3c; 32]))
}

pub(crate) fn credential(manager: &Manager, number: u8, eligible: bool) -> Credential {
    let key = key_of(number).public_key();
    Credential::sign(&manager.domain, sender(number.into()), key, eligible, &manager.signer)
}

/// What that member says when it has heard nothing since the manager's newest alarm.
pub(crate) fn word(manager: &Manager, number: u8) -> Suspicion {
    word_of(manager, number, (manager.state, manager.alarms))
}

fn word_of(manager: &Manager, number: u8, (state, counter): (StateId, u64)) -> Suspicion {
    let prefilter = manager.prefilter(state.epoch);
    let credential = credential(manager, number, false);
    Suspicion::sign(&manager.domain, (state, counter), credential, prefilter, &key_of(number))
}

fn said(node: &Node) -> usize {
    node.multicast(DatagramKind::Suspicion).len()
}

pub(crate) fn lost(node: &Node) -> Vec<(Vec<Suspicion>, StateId, u64)> {
    let lost = node.events.iter().filter_map(|event| match event {
        MemberEvent::ManagerLost { suspicions, known, counter } => {
            Some((suspicions.clone(), *known, *counter))
        }
        _ => None,
    });
    lost.collect()
}

fn probes(node: &Node, manager: &Manager) -> Vec<u64> {
    let nonce = |said| match said {
        ToManager::Probe { nonce } => Some(nonce),
        _ => None,
    };
    node.said(manager).into_iter().filter_map(nonce).collect()
}

#[test]
fn a_manager_is_asked_twice_before_it_is_held_for_silent() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.forget();
    node.pass(2_699 * MILLI);
    assert_eq!(probes(&node, &manager), []);
    node.pass(2 * MILLI);
    assert_eq!(probes(&node, &manager).len(), 1);
    node.pass(150 * MILLI);
    assert_eq!(probes(&node, &manager).len(), 2);
    assert!(!node.member.manager_silent());
    let nonce = probes(&node, &manager)[0];
    // An answer with an alarm that was heard before proves nothing, nor does one to another question.
    let old = manager.alarm();
    node.control(&old).unwrap();
    node.pass(2_701 * MILLI);
    node.forget();
    let stale = manager.seal(&ToMember::Alive { nonce, alarm: old });
    assert_eq!(node.refuses_unicast(&stale), Rejected::OutOfPlace);
    node.pass(150 * MILLI);
    let nonce = probes(&node, &manager)[0];
    let fresh = manager.alarm();
    let answer = manager.seal(&ToMember::Alive { nonce, alarm: fresh });
    node.unicast(&answer).unwrap();
    assert_eq!(node.refuses_unicast(&answer), Rejected::OutOfPlace, "the probe is answered");
    node.pass(2_990 * MILLI);
    assert!(!node.events.contains(&MemberEvent::ManagerSilent));
    node.pass(20 * MILLI);
    assert!(node.events.contains(&MemberEvent::ManagerSilent));
}

#[test]
fn a_member_says_once_a_second_that_its_manager_is_silent_and_stops_when_it_is_not() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.forget();
    node.pass(3 * SECOND);
    assert_eq!(said(&node), 0);
    node.pass(60 * MILLI);
    assert_eq!(said(&node), 1);
    let (_, bytes) = node.multicast(DatagramKind::Suspicion).remove(0);
    let heard = Suspicion::heard(&bytes, &manager.domain, |epoch| Some(manager.prefilter(epoch))).unwrap();
    assert_eq!(*heard, manager.state);
    node.pass(5 * SECOND);
    assert_eq!(said(&node), 6);
    assert_eq!(lost(&node), [], "nobody else says so");
    assert!(!node.member.manager_lost());
    node.control(&manager.alarm()).unwrap();
    node.forget();
    node.pass(2_990 * MILLI);
    assert_eq!(said(&node), 0);
}

#[test]
fn two_others_prove_the_loss_and_three_silence_a_member_in_each_round() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.pass(2 * SECOND);
    let words: Vec<_> = (20..23).map(|number| word(&manager, number).encode(&manager.domain)).collect();
    node.forget();
    node.control(&words[0]).unwrap();
    node.control(&words[1]).unwrap();
    node.pass(999 * MILLI);
    assert_eq!(lost(&node), [], "a takeover needs one's own silence");
    node.pass(MILLI);
    let [(suspicions, known, counter)] = &lost(&node)[..] else { panic!("{:?}", node.events) };
    assert_eq!((suspicions.len(), *known, *counter), (2, manager.state, manager.alarms));
    assert!(node.member.manager_lost());
    node.control(&words[2]).unwrap();
    node.pass(SECOND);
    assert_eq!(said(&node), 0, "three others have said it");
    node.control(&words[0]).unwrap();
    node.pass(SECOND);
    assert_eq!(said(&node), 1, "one does not do");
    for _ in 0..5 {
        words.iter().for_each(|word| node.control(word).unwrap());
        node.pass(SECOND);
    }
    assert_eq!(said(&node), 1);
    assert_eq!(lost(&node).len(), 1, "told once");
    node.control(&manager.alarm()).unwrap();
    assert!(!node.member.manager_lost());
}

/// With a manager, a successor and nobody else, there is nobody to ask.
#[test]
fn in_a_small_subgroup_all_that_there_are_must_say_so() {
    for (members, needed) in [(2, 0), (3, 1), (4, 2), (1_000, 2)] {
        let mut manager = Manager::new();
        manager.members = members;
        let mut node = Node::inside(&mut manager);
        node.pass(3 * SECOND);
        for number in 0..needed {
            assert_eq!(lost(&node), [], "{members}");
            node.control(&word(&manager, 20 + number).encode(&manager.domain)).unwrap();
        }
        assert_eq!(lost(&node).len(), 1, "{members}");
    }
}

/// Attack A27: colluding members say all the time that the manager is lost, and show a takeover that would hold.
#[test]
fn a_thousand_suspicions_a_second_take_no_manager_down_whose_alarms_come() {
    for (loss, seconds) in [(0, 60), (20, 600)] {
        let mut manager = Manager::new();
        manager.successors = vec![sender(30)];
        let mut node = Node::inside(&mut manager);
        let mut rng = ChaCha12Rng::seed_from_u64(loss);
        node.forget();
        for _ in 0..4 * seconds {
            let alarm = manager.alarm();
            if rng.next_u64() % 100 >= loss {
                node.control(&alarm).unwrap();
            }
            let words: Vec<_> = (20..24).map(|number| word(&manager, number)).collect();
            let takeover = super::successors::takeover(&manager, 30, &words);
            for _ in 0..5 {
                for _ in 0..10 {
                    words.iter().for_each(|word| {
                        let _ = node.control(&word.encode(&manager.domain));
                    });
                }
                let _ = node.control(&takeover);
                node.pass(50 * MILLI);
            }
        }
        assert_eq!(lost(&node), [], "{loss} %");
        let changed = |event: &MemberEvent| matches!(event, MemberEvent::ManagerChanged { .. });
        assert!(!node.events.iter().any(changed), "{loss} %");
        assert_eq!(said(&node), 0, "{loss} %");
    }
}

#[test]
fn suspicions_of_an_outage_that_is_over_do_not_count_in_the_next_one() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.pass(3 * SECOND);
    let old: Vec<_> = (20..24).map(|number| word(&manager, number).encode(&manager.domain)).collect();
    node.control(&old[0]).unwrap();
    // The manager is back, for a while.
    for _ in 0..20 {
        node.pass(250 * MILLI);
        node.control(&manager.alarm()).unwrap();
    }
    node.forget();
    node.pass(4 * SECOND);
    for word in &old {
        assert_eq!(node.refuses_control(word), Rejected::Stale);
    }
    assert_eq!(lost(&node), []);
    // Nor do those of a start before.
    let held = manager.state;
    let update = manager.start_again(2, 0x77, node.member.key_path().unwrap());
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    node.pass(4 * SECOND);
    manager.signer = key_of(9);
    assert_eq!(node.refuses_control(&old[1]), Rejected::Stale);
    assert_ne!(node.member.held(), Some(held));
}

#[test]
fn the_word_of_one_that_was_evicted_counts_for_nothing() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    let held = manager.state;
    let update = manager.cut(&[], &[4]);
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    node.pass(3 * SECOND);
    let counter = manager.alarms;
    // It has the key of the state before, and its credential.
    let old = word_of(&manager, 20, (held, counter)).encode(&manager.domain);
    assert_eq!(node.refuses_control(&old), Rejected::Stale);
    // It names the new state, and makes the MAC with what it has.
    let stolen = manager.prefilter(held.epoch).clone();
    let credential = credential(&manager, 21, false);
    let bad = Suspicion::sign(&manager.domain, (manager.state, counter), credential, &stolen, &key_of(21));
    assert_eq!(node.refuses_control(&bad.encode(&manager.domain)), Rejected::BadMac);
    // Whoever holds the state needs a credential of the manager, and its key.
    let prefilter = manager.prefilter(manager.state.epoch).clone();
    let at = (manager.state, counter);
    let stranger = Manager::of(0x5555, 0x52);
    let forged = self::credential(&stranger, 22, false);
    let forged = Suspicion::sign(&manager.domain, at, forged, &prefilter, &key_of(22));
    assert_eq!(node.refuses_control(&forged.encode(&manager.domain)), Rejected::NotAuthentic);
    let credential = self::credential(&manager, 23, false);
    let unsigned = Suspicion::sign(&manager.domain, at, credential, &prefilter, &key_of(24));
    assert_eq!(node.refuses_control(&unsigned.encode(&manager.domain)), Rejected::NotAuthentic);
    assert_eq!(lost(&node), []);
}

#[test]
fn who_missed_an_epoch_speaks_with_the_state_it_holds_and_who_missed_an_eviction_is_quiet() {
    for (leaves, speaks) in [(vec![], true), (vec![4], false)] {
        let mut manager = Manager::new();
        let mut node = Node::inside(&mut manager);
        let held = manager.state;
        // A root made anew needs a message; a member cannot step to it.
        let _missed = manager.cut(&[], &leaves);
        node.control(&manager.alarm()).unwrap();
        node.forget();
        node.pass(3_060 * MILLI);
        assert_eq!(said(&node), usize::from(speaks), "{leaves:?}");
        if speaks {
            let (_, bytes) = node.multicast(DatagramKind::Suspicion).remove(0);
            let heard = Suspicion::heard(&bytes, &manager.domain, |epoch| Some(manager.prefilter(epoch)));
            assert_eq!(*heard.unwrap(), held);
        }
    }
}

/// Attack A26: the alarms of a dead manager, sent again a hundred times a second, delay nothing.
#[test]
fn replayed_alarms_do_not_hide_a_dead_manager() {
    let times: Vec<_> = [false, true]
        .into_iter()
        .map(|replays| {
            let mut manager = Manager::new();
            let mut node = Node::inside(&mut manager);
            let recorded: Vec<_> = (0..100).map(|_| manager.alarm()).collect();
            recorded.iter().for_each(|alarm| node.control(alarm).unwrap());
            let killed = node.now;
            for round in 0..400 {
                if replays {
                    assert_eq!(node.refuses_control(&recorded[round % 100]), Rejected::Stale);
                }
                for number in 20..23 {
                    let _ = node.control(&word(&manager, number).encode(&manager.domain));
                }
                if !lost(&node).is_empty() {
                    break;
                }
                node.pass(10 * MILLI);
            }
            assert!(node.member.manager_lost());
            node.now.saturating_since(killed)
        })
        .collect();
    assert_eq!(times[0], times[1]);
    assert!(times[0] <= 3_010 * MILLI, "{times:?}");
}

/// Attack A31: who hears its manager says nothing against it; who is heard by it hears so by the answer to its probe.
#[test]
fn one_way_silence_alone_loses_no_manager() {
    // It does not hear the multicasts, but the manager hears it, and answers.
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    for _ in 0..600 {
        node.forget();
        node.pass(100 * MILLI);
        for nonce in probes(&node, &manager) {
            let alarm = manager.alarm();
            let answer = manager.seal(&ToMember::Alive { nonce, alarm });
            let _ = node.unicast(&answer);
        }
        assert!(!node.member.manager_silent());
        for number in 20..23 {
            let _ = node.control(&word(&manager, number).encode(&manager.domain));
        }
    }
    assert_eq!(lost(&node), []);
    // It hears the manager, which hears nothing of it.
    for _ in 0..240 {
        node.control(&manager.alarm()).unwrap();
        node.pass(250 * MILLI);
    }
    assert_eq!(said(&node), 0);
    assert_eq!(lost(&node), []);
}

#[test]
fn a_member_that_slept_asks_before_it_says_anything() {
    let mut manager = Manager::new();
    let mut node = Node::inside(&mut manager);
    node.forget();
    node.now += 30 * SECOND;
    node.member.handle_timeout(node.now);
    node.drain();
    assert!(!node.member.manager_silent());
    node.control(&manager.alarm()).unwrap();
    node.pass(SECOND);
    assert_eq!(said(&node), 0);
    assert!(!node.events.contains(&MemberEvent::ManagerSilent));
}

/// No proof and nobody to ask: an eligible node goes on alone, but late.
#[test]
fn an_eligible_member_stands_when_nobody_takes_over_and_not_before() {
    for proven in [true, false] {
        let mut manager = Manager::new();
        let mut node = Node::with(1, holder(1).config());
        node.member.stand(holder(1).candidacy(9));
        let mut node = node.begun();
        node.discovery(&super::others::presence(holder(2), &mut manager, &[super::node::registrar(1)]))
            .unwrap();
        node.pass(Duration::ZERO);
        node.register(&mut manager);
        let mut node = node.let_in(&mut manager);
        node.forget();
        let killed = node.now;
        node.pass(3 * SECOND);
        if proven {
            for number in 20..22 {
                node.control(&word(&manager, number).encode(&manager.domain)).unwrap();
            }
        }
        while !node.events.contains(&MemberEvent::Elected) {
            node.pass_to_the_next_timer();
        }
        let took = node.now.saturating_since(killed);
        let expected = if proven { 7 * SECOND..8 * SECOND } else { 34 * SECOND..36 * SECOND };
        assert!(expected.contains(&took), "{proven}: {took:?}");
        let place = node.member.into_promotion().place.unwrap();
        assert_eq!((place.known, place.alarm.counter), (manager.state, manager.alarms));
    }
}

/// As in 01b: nobody registers, and nobody is elected.
#[test]
fn a_manager_that_is_back_within_the_time_of_its_successors_keeps_everybody() {
    let mut manager = Manager::new();
    manager.successors = vec![sender(30)];
    let mut node = Node::with(1, holder(1).config());
    node.member.stand(holder(1).candidacy(9));
    let mut node = node.begun();
    node.discovery(&super::others::presence(holder(2), &mut manager, &[super::node::registrar(1)])).unwrap();
    node.pass(Duration::ZERO);
    node.register(&mut manager);
    let mut node = node.let_in(&mut manager);
    node.forget();
    node.pass(3 * SECOND);
    for number in 20..22 {
        node.control(&word(&manager, number).encode(&manager.domain)).unwrap();
    }
    assert_eq!(lost(&node).len(), 1);
    node.pass(3_600 * MILLI);
    let update = manager.start_again(2, 0x77, node.member.key_path().unwrap());
    node.control(&update).unwrap();
    node.control(&manager.alarm()).unwrap();
    for _ in 0..60 {
        node.pass(250 * MILLI);
        node.control(&manager.alarm()).unwrap();
    }
    assert_eq!(node.asked(), []);
    assert_eq!(node.multicast(DatagramKind::Claim).len(), 0);
    assert_eq!(node.member.held(), Some(manager.state));
    assert!(node.member.held().unwrap().epoch > Epoch(0));
}
