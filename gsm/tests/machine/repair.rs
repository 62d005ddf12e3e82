//! Attack A18: NAKs by the thousand. Repair of an epoch costs at most three times its key update.

use std::time::Duration;

use protocol::limits::REPAIR_BYTES_FACTOR;
use protocol::{ALL_MISSING, ANY_BLOCK, DatagramKind, Domain, Epoch, Input, Lane, Nak, RegNo, Rejected};

use super::support::{Manager, Node, Offered, address};

/// Six members and a key update they all should have heard; `Offered` holds the prefilter key of the epoch before.
fn lost_update() -> (Manager, Offered, Vec<Vec<u8>>) {
    let mut manager = Manager::start();
    let _ = manager.with(&["a", "b", "c", "d", "e"]);
    // Its grant tells the prefilter key of the state that the others hold.
    let witness = manager.admit(&Node::new("witness"));
    manager.forget();
    manager.evict("c");
    let update = manager.multicasts(DatagramKind::KeyUpdate);
    // What follows of it unasked.
    manager.advance(Duration::from_millis(20));
    manager.forget();
    (manager, witness, update)
}

fn nak(witness: &Offered, nonce: u64, reg_no: RegNo) -> Nak {
    let held = witness.grant.state;
    Nak {
        wanted: held.at(Epoch(held.epoch.0 + 1)),
        held: held.epoch,
        reg_no,
        block: ANY_BLOCK,
        missing: ALL_MISSING,
        loss: 0,
        nonce,
    }
}

fn repairs(manager: &Manager) -> usize {
    manager.multicasts(DatagramKind::KeyUpdate).iter().map(Vec::len).sum()
}

#[test]
fn a_nak_brings_the_packet_again() {
    let (mut manager, witness, update) = lost_update();
    let bytes = nak(&witness, 1, RegNo(1)).encode(&witness.grant.domain, &witness.grant.prefilter);
    manager.control(&bytes).unwrap();
    let repaired = manager.multicasts(DatagramKind::KeyUpdate);
    assert_eq!(repaired.len(), 1);
    assert!(update.contains(&repaired[0]), "byte for byte: it carries its own proof");
}

#[test]
fn a_storm_of_genuine_naks_stays_under_the_cap() {
    let (mut manager, witness, update) = lost_update();
    let cap = update.iter().map(Vec::len).sum::<usize>() * REPAIR_BYTES_FACTOR;
    for nonce in 0..10_000 {
        let nak = nak(&witness, nonce, RegNo(nonce as u32 % 9));
        let _ = manager.control(&nak.encode(&witness.grant.domain, &witness.grant.prefilter));
        manager.advance(Duration::from_millis(1));
    }
    let spent = repairs(&manager);
    assert!(spent > 0 && spent <= cap, "{spent} of {cap} bytes");
}

#[test]
fn naks_without_the_key_bring_nothing() {
    let (mut manager, witness, _) = lost_update();
    let Domain { .. } = witness.grant.domain;
    for nonce in 0..2_000 {
        let forged = nak(&witness, nonce, RegNo(1)).encode(&witness.grant.domain, &witness.keys.leaf);
        assert_eq!(manager.control(&forged), Err(Rejected::BadMac));
    }
    assert_eq!(repairs(&manager), 0);
    let genuine = nak(&witness, 1, RegNo(1)).encode(&witness.grant.domain, &witness.grant.prefilter);
    manager.control(&genuine).unwrap();
    assert_ne!(repairs(&manager), 0, "and cost the genuine ones nothing");
}

/// A recorded NAK sent again and again must not use up what the members that truly lost something have.
#[test]
fn a_replayed_nak_brings_nothing() {
    let (mut manager, witness, _) = lost_update();
    let first = nak(&witness, 1, RegNo(1)).encode(&witness.grant.domain, &witness.grant.prefilter);
    manager.control(&first).unwrap();
    let once = repairs(&manager);
    for _ in 0..1_000 {
        manager.advance(Duration::from_millis(1));
        let _ = manager.control(&first);
    }
    assert_eq!(repairs(&manager), once);
    let second = nak(&witness, 2, RegNo(2)).encode(&witness.grant.domain, &witness.grant.prefilter);
    manager.control(&second).unwrap();
    assert_eq!(repairs(&manager), 2 * once);
}

/// Fifty members that lost one packet ask within 60 ms; one copy serves them all.
#[test]
fn naks_for_one_packet_within_a_round_bring_it_once() {
    let (mut manager, witness, update) = lost_update();
    assert_eq!(update.len(), 1);
    for nonce in 0..50 {
        let nak = nak(&witness, nonce, RegNo(nonce as u32));
        let _ = manager.control(&nak.encode(&witness.grant.domain, &witness.grant.prefilter));
        manager.advance(Duration::from_millis(1));
    }
    assert_eq!(repairs(&manager), update[0].len());
    manager.advance(Duration::from_millis(200));
    let nak = nak(&witness, 99, RegNo(3));
    manager.control(&nak.encode(&witness.grant.domain, &witness.grant.prefilter)).unwrap();
    assert_eq!(repairs(&manager), 2 * update[0].len(), "the next round gets another");
}

/// An insider that asks a thousand times a second uses up what its address may ask for, and not the repair of the others.
#[test]
fn a_flood_from_one_address_leaves_repair_for_the_others() {
    let (mut manager, witness, update) = lost_update();
    let ask = |manager: &mut Manager, host, nonce| {
        let bytes = nak(&witness, nonce, RegNo(1)).encode(&witness.grant.domain, &witness.grant.prefilter);
        manager.input(Input::Datagram { lane: Lane::Control, from: address(host), bytes: &bytes })
    };
    for nonce in 0..600 {
        ask(&mut manager, 66, nonce).unwrap();
        manager.advance(Duration::from_millis(1));
    }
    assert_eq!(repairs(&manager), 2 * update[0].len(), "as often as there are rounds");
    manager.forget();
    ask(&mut manager, 7, 10_000).unwrap();
    assert_eq!(repairs(&manager), update[0].len());
}

/// What is sent unasked follows the loss that NAKs report, up at once and down while nobody asks.
#[test]
fn repeats_follow_the_loss_that_members_report() {
    let (mut manager, witness, _) = lost_update();
    let copies = |manager: &mut Manager| {
        manager.forget();
        manager.rekey();
        manager.advance(Duration::from_millis(20));
        manager.multicasts(DatagramKind::KeyUpdate).len()
    };
    assert_eq!(copies(&mut manager), 1);
    let lossy = Nak { loss: 40, ..nak(&witness, 1, RegNo(1)) };
    manager.control(&lossy.encode(&witness.grant.domain, &witness.grant.prefilter)).unwrap();
    assert_eq!(copies(&mut manager), 5, "at 40 % one in a hundred loses all five");
    let quiet: Vec<_> = (0..12).map(|_| copies(&mut manager)).collect();
    assert_eq!(quiet.last(), Some(&2), "{quiet:?}");
    let quieter: Vec<_> = (0..12).map(|_| copies(&mut manager)).collect();
    assert_eq!(quieter.last(), Some(&1), "{quieter:?}");
}

#[test]
fn naks_for_epochs_that_are_gone_or_never_were_bring_nothing() {
    let (mut manager, witness, _) = lost_update();
    for _ in 0..12 {
        manager.rekey();
    }
    manager.forget();
    let old = nak(&witness, 1, RegNo(1)).encode(&witness.grant.domain, &witness.grant.prefilter);
    assert_eq!(manager.control(&old), Err(Rejected::Stale));
    assert_eq!(repairs(&manager), 0);
    let far = Nak { wanted: witness.grant.state.at(Epoch(u32::MAX)), ..nak(&witness, 2, RegNo(1)) };
    let far = Nak { held: Epoch(u32::MAX), ..far };
    let far = far.encode(&witness.grant.domain, &witness.grant.prefilter);
    assert_eq!(manager.control(&far), Err(Rejected::Stale));
    let unicast = nak(&witness, 3, RegNo(1)).encode(&witness.grant.domain, &witness.grant.prefilter);
    assert_eq!(manager.unicast(address(1), &unicast), Err(Rejected::NotForUs));
}
