use protocol::{Epoch, GroupId, Inst, SenderId, SubgroupId, Term};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::ring::{ReceiveKey, SendKey};
use crate::sealer::Sealer;

const SOURCE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// A ring that holds all of `epochs` and sends under the last.
fn ring(own: u64, epochs: &[u32]) -> KeyRing {
    let mut ring =
        KeyRing::empty(crypto::Suite::Aes256Ctr, GroupId::from_bytes([1; 16]), SubgroupId(2), SenderId(own));
    for epoch in epochs {
        let state = StateId { term: Term(1), inst: Inst(1), epoch: Epoch(*epoch) };
        let key = Secret::new([*epoch as u8; 32]);
        ring.send.push(SendKey { state, key: key.clone(), from: Instant::ZERO, until: None });
        ring.receive.push(ReceiveKey { state, key, until: None });
    }
    ring
}

fn sender(own: u64, epoch: u32) -> impl FnMut() -> Vec<u8> {
    let mut sealer = Sealer::new(Box::new(ChaCha12Rng::seed_from_u64(own)), [0; 16]);
    sealer.set_ring(&ring(own, &[epoch]));
    move || {
        let mut packet = Vec::new();
        sealer.seal(Instant::ZERO, b"payload", &mut packet).expect("a key is held");
        packet
    }
}

fn outcome(opener: &mut Opener, packet: &[u8]) -> Result<(), DropReason> {
    match opener.open(Instant::ZERO, packet, SOURCE) {
        Opened::Delivered(_) => Ok(()),
        Opened::Dropped(reason) => Err(reason),
        Opened::Waiting => panic!("every key is held"),
    }
}

#[test]
fn a14_a_replay_after_its_window_was_evicted_is_refused() {
    let mut opener = Opener::with_windows(2);
    opener.set_ring(Instant::ZERO, &ring(99, &[1]));
    let mut victim = sender(1, 1);
    let capture: Vec<_> = (0..5).map(|_| victim()).collect();
    assert!(capture.iter().all(|packet| outcome(&mut opener, packet) == Ok(())));
    for other in 2..4 {
        assert_eq!(outcome(&mut opener, &sender(other, 1)()), Ok(()));
    }
    for packet in capture.iter().chain([&victim()]) {
        assert_eq!(outcome(&mut opener, packet), Err(DropReason::ClosedStream));
    }
    assert_eq!(
        outcome(&mut opener, &sender(4, 1)()),
        Err(DropReason::ClosedStream),
        "it could be a forgotten one"
    );

    opener.set_ring(Instant::ZERO, &ring(99, &[1, 2]));
    let mut fresh = sender(1, 2);
    assert_eq!(outcome(&mut opener, &fresh()), Ok(()));
    assert!(capture.iter().all(|packet| outcome(&mut opener, packet).is_err()));
    assert_eq!(outcome(&mut opener, &fresh()), Ok(()));
}

#[test]
fn data_keys_of_a_cut_state_are_forgotten_at_the_cut() {
    let cut = Instant::from_micros(1_000);
    let mut switching = ring(99, &[1, 2]);
    switching.receive[0].until = Some(cut);
    let mut opener = Opener::new();
    opener.set_ring(Instant::ZERO, &switching);
    let (mut old, mut new) = (sender(1, 1), sender(2, 2));
    assert_eq!((outcome(&mut opener, &old()), outcome(&mut opener, &new())), (Ok(()), Ok(())));
    assert_eq!(opener.cache.len(), 2);
    let late = opener.open(cut, &old(), SOURCE);
    assert_eq!(late, Opened::Dropped(DropReason::OldKey));
    assert_eq!(opener.cache.len(), 1);
    let keys = opener.keys.as_ref().expect("set");
    assert_eq!(keys.candidates(KeyName::of(switching.receive[0].state)).count(), 0);
}

#[test]
fn the_cache_of_data_keys_is_bounded() {
    let mut opener = Opener::new();
    opener.set_ring(Instant::ZERO, &ring(1, &[1]));
    let mut sealer = Sealer::new(Box::new(ChaCha12Rng::seed_from_u64(7)), [0; 16]);
    sealer.set_ring(&ring(2, &[1]));
    for count in 0..(crate::cache::MAX_CACHED as u64 + 20) {
        let now = Instant::from_micros(count * 100_000);
        let mut packet = Vec::new();
        sealer.seal(now, b"", &mut packet).expect("a key is held");
        assert!(matches!(opener.open(now, &packet, SOURCE), Opened::Delivered(_)));
    }
    assert_eq!(opener.cache.len(), crate::cache::MAX_CACHED);
}

#[test]
fn two_states_of_one_key_name_both_open() {
    // The names differ; a coincidence is made by hand.
    let mut opener = Opener::new();
    let mut both = ring(99, &[1]);
    let twin = StateId { inst: Inst(2), ..both.receive[0].state };
    both.receive.push(ReceiveKey { state: twin, key: Secret::new([77; 32]), until: None });
    opener.set_ring(Instant::ZERO, &both);
    let name = KeyName::of(both.receive[0].state);
    opener.keys.as_mut().expect("set").rename_all(name);
    assert_eq!(outcome(&mut opener, &sender(1, 1)()), Ok(()));
}

#[test]
fn windows_go_along_to_another_subgroup_and_what_was_closed_stays_closed() {
    let mut opener = Opener::with_windows(1);
    opener.set_ring(Instant::ZERO, &ring(99, &[1]));
    assert_eq!(outcome(&mut opener, &sender(1, 1)()), Ok(()));
    assert_eq!(outcome(&mut opener, &sender(2, 1)()), Ok(()));
    let away = KeyRing { subgroup: SubgroupId(3), ..ring(99, &[4]) };
    opener.set_ring(Instant::ZERO, &KeyRing { receive: Vec::new(), ..away.clone() });
    opener.set_ring(Instant::ZERO, &away);
    let mut sealer = Sealer::new(Box::new(ChaCha12Rng::seed_from_u64(5)), [0; 16]);
    sealer.set_ring(&KeyRing { own: SenderId(5), ..away.clone() });
    let mut packet = Vec::new();
    sealer.seal(Instant::ZERO, b"", &mut packet).expect("a key is held");
    assert_eq!(outcome(&mut opener, &packet), Err(DropReason::ClosedStream));
    let later = KeyRing { subgroup: SubgroupId(3), ..ring(5, &[4, 5]) };
    sealer.set_ring(&later);
    opener.set_ring(Instant::ZERO, &KeyRing { own: SenderId(99), ..later });
    packet.clear();
    sealer.seal(Instant::ZERO, b"", &mut packet).expect("a key is held");
    assert_eq!(outcome(&mut opener, &packet), Ok(()));
}
