//! From one group key to the next, by time.

use std::collections::BTreeMap;

use data::{DropReason, KeyRing, SealError};
use proptest::prelude::*;
use protocol::Instant;

use crate::support::*;

/// What happens in a run, in the order of time.
enum Step {
    Ring(usize),
    Send(usize),
    Arrive(usize, usize),
}

/// Three nodes that all send and receive, one key update, and everything delayed as given.
struct Run {
    /// When each node first sees the new state and installs it.
    seen: [u64; 3],
    /// Delays of packets in turn, in microseconds.
    delays: Vec<u64>,
    /// Between two packets of a node, in microseconds.
    pace: u64,
    hard: bool,
}

impl Run {
    const NODES: [protocol::SenderId; 3] = [ALICE, BOB, CAROL];

    /// How many packets were sent to each receiver, and how often each came.
    fn play(&self, until: u64) -> (u64, BTreeMap<(usize, Vec<u8>), u32>) {
        let origin = at(0);
        let mut rings: Vec<KeyRing> = Self::NODES.iter().map(|own| steady(HERE, *own, 1)).collect();
        let mut sealers: Vec<_> = rings.iter().zip(0..).map(|(ring, seed)| sealer(seed, ring)).collect();
        let mut openers: Vec<_> = rings.iter().map(opener).collect();
        let mut agenda: BTreeMap<(u64, u64), Step> = BTreeMap::new();
        let mut order = 0;
        let mut plan = |agenda: &mut BTreeMap<_, _>, when: u64, step| {
            order += 1;
            agenda.insert((when, order), step);
        };
        self.seen.iter().enumerate().for_each(|(node, when)| plan(&mut agenda, *when, Step::Ring(node)));
        for when in (0..until).step_by(self.pace as usize) {
            (0..3).for_each(|node| plan(&mut agenda, when, Step::Send(node)));
        }
        let (mut packets, mut came, mut delays) = (Vec::new(), BTreeMap::new(), self.delays.iter().cycle());
        while let Some(((when, _), step)) = agenda.pop_first() {
            let now = origin + micros(when);
            match step {
                Step::Ring(node) => {
                    switch(&mut rings[node], 2, now, self.hard, None);
                    sealers[node].set_ring(&rings[node]);
                    openers[node].set_ring(now, &rings[node]);
                    for payload in drain(&mut openers[node], now) {
                        *came.entry((node, payload)).or_default() += 1;
                    }
                }
                Step::Send(node) => {
                    let payload = format!("{node} at {when}").into_bytes();
                    packets.push(sealed(&mut sealers[node], now, &payload));
                    for to in (0..3).filter(|to| *to != node) {
                        let delay = delays.next().expect("cyclic");
                        plan(&mut agenda, when + delay, Step::Arrive(to, packets.len() - 1));
                    }
                }
                Step::Arrive(node, packet) => {
                    if let Ok(payload) = open(&mut openers[node], now, &packets[packet]) {
                        *came.entry((node, payload)).or_default() += 1;
                    }
                }
            }
        }
        (packets.len() as u64 * 2, came)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Updates arrive within 200 ms of each other and packets within the rest of the second that is the soft grace.
    #[test]
    fn a_soft_switch_loses_and_doubles_nothing(
        seen in proptest::array::uniform3(300_000_u64..500_000),
        delays in proptest::collection::vec(0_u64..800_000, 1..50),
        pace in 5_000_u64..60_000,
    ) {
        let run = Run { seen, delays, pace, hard: false };
        let (expected, came) = run.play(2_500_000);
        prop_assert_eq!(came.len() as u64, expected);
        prop_assert!(came.values().all(|times| *times == 1));
    }

    /// On a LAN: updates within 10 ms, packets within 40 ms.
    #[test]
    fn a_hard_switch_on_a_lan_loses_and_doubles_nothing(
        seen in proptest::array::uniform3(300_000_u64..310_000),
        delays in proptest::collection::vec(0_u64..40_000, 1..50),
        pace in 500_u64..9_000,
    ) {
        let run = Run { seen, delays, pace, hard: true };
        let (expected, came) = run.play(600_000);
        prop_assert_eq!(came.len() as u64, expected);
        prop_assert!(came.values().all(|times| *times == 1));
    }

    /// A node that gets its key update up to 2.4 s after the others: what it cannot read yet waits for it.
    #[test]
    fn a_late_key_update_delays_packets_and_loses_none(late in 300_000_u64..2_700_000, pace in 45_000_u64..90_000) {
        let run = Run { seen: [300_000, 300_000, late], delays: vec![1_000], pace, hard: false };
        let (_, came) = run.play(800_000);
        let to_late: Vec<_> = came.iter().filter(|((node, _), _)| *node == 2).collect();
        prop_assert_eq!(to_late.len() as u64, 2 * 800_000_u64.div_ceil(pace));
        prop_assert!(came.values().all(|times| *times == 1));
    }
}

#[test]
fn a_hard_switch_keeps_its_instants_to_the_microsecond() {
    let (mut alices, mut bobs) = (steady(HERE, ALICE, 1), steady(HERE, BOB, 1));
    switch(&mut alices, 2, at(0), true, None);
    switch(&mut bobs, 2, at(0), true, None);
    let (mut alice, mut bob) = (sealer(1, &alices), opener(&bobs));
    let (activation, cut) = (at(100), at(150));
    let mut out = Vec::new();
    let last = alice.seal(activation - micros(1), b"old", &mut out).expect("a key is held");
    let (old, first) = (out.clone(), alice.seal(activation, b"new", &mut out).expect("a key is held"));
    assert_eq!((last.state, first.state), (state(1), state(2)));
    assert_eq!((first.stream, first.generation, first.sequence), (last.stream, last.generation + 1, 1));
    let new = &out[old.len()..];

    let twin = sealed(&mut sealer(9, &steady(HERE, CAROL, 1)), at(0), b"twin");
    assert_eq!(open(&mut bob, at(0), new), Ok(b"new".to_vec()), "received from the installation on");
    assert_eq!(open(&mut bob, cut - micros(1), &old), Ok(b"old".to_vec()));
    assert_eq!(open(&mut bob, cut, &twin), Err(Some(DropReason::OldKey)));
}

#[test]
fn a_soft_switch_keeps_its_instants_to_the_microsecond() {
    let mut ring = steady(HERE, ALICE, 1);
    switch(&mut ring, 2, at(0), false, None);
    let under = |now: Instant| sealer(1, &ring).seal(now, b"", &mut Vec::new()).map(|sealed| sealed.state);
    assert_eq!(under(at(500) - micros(1)), Ok(state(1)));
    assert_eq!(under(at(500)), Ok(state(2)));
    let mut bob = opener(&KeyRing { own: BOB, ..ring.clone() });
    let mut carol = sealer(2, &steady(HERE, CAROL, 1));
    let (in_time, late) = (sealed(&mut carol, at(0), b""), sealed(&mut carol, at(0), b""));
    assert!(open(&mut bob, at(1_500) - micros(1), &in_time).is_ok());
    assert_eq!(open(&mut bob, at(1_500), &late), Err(Some(DropReason::OldKey)));
}

#[test]
fn a_hard_cut_takes_every_older_key_however_soft_its_own_switch_was() {
    let mut ring = steady(HERE, BOB, 1);
    switch(&mut ring, 2, at(0), false, None);
    switch(&mut ring, 3, at(10), true, None);
    // What a machine could get wrong: the floor holds on its own.
    ring.receive.iter_mut().for_each(|key| key.until = None);
    let mut bob = opener(&ring);
    for (seed, epoch) in [(1, 1), (2, 2), (3, 3)] {
        let mut sender = sealer(seed, &steady(HERE, protocol::SenderId(seed + 100), epoch));
        assert!(open(&mut bob, at(160) - micros(1), &sealed(&mut sender, at(0), b"")).is_ok());
    }
    for (seed, epoch, expected) in [(1, 1, false), (2, 2, false), (3, 3, true)] {
        let mut sender = sealer(seed + 10, &steady(HERE, protocol::SenderId(seed + 200), epoch));
        assert_eq!(
            open(&mut bob, at(160), &sealed(&mut sender, at(0), b"")).is_ok(),
            expected,
            "epoch {epoch}"
        );
    }
    assert_eq!(
        ring.receive_key(state(3).key_id(), state(3).epoch, at(160)).map(|key| key.state),
        Some(state(3))
    );
    assert_eq!(ring.receive_key(state(2).key_id(), state(2).epoch, at(160)), None);
}

#[test]
fn a16_a_sender_that_knows_of_a_newer_state_queues_until_it_holds_it() {
    let mut ring = steady(HERE, ALICE, 1);
    ring.send[0].until = Some(at(100));
    let mut alice = sealer(1, &ring);
    let mut out = Vec::new();
    assert!(alice.seal(at(100) - micros(1), b"", &mut out).is_ok());
    let len = out.len();
    assert_eq!(alice.seal(at(100), b"", &mut out), Err(SealError::NoKey));
    assert_eq!((alice.next_key(at(100)), out.len()), (None, len));
    switch(&mut ring, 2, at(50), false, None);
    alice.set_ring(&ring);
    assert_eq!(alice.seal(at(110), b"", &mut out), Err(SealError::NoKey), "an older key is no way out");
    assert_eq!(alice.next_key(at(110)), Some(at(550)));
    assert_eq!(alice.seal(at(550), b"", &mut out).map(|sealed| sealed.state), Ok(state(2)));
    assert_eq!(alice.next_key(at(560)), Some(at(560)));
}

#[test]
fn a_newer_state_that_activates_first_is_sent_under_first() {
    let mut ring = steady(HERE, ALICE, 1);
    switch(&mut ring, 2, at(0), false, None);
    switch(&mut ring, 3, at(10), true, None);
    let mut alice = sealer(1, &ring);
    for (ms, epoch) in [(0, 1), (109, 1), (110, 3), (600, 3)] {
        let sealed = alice.seal(at(ms), b"", &mut Vec::new()).expect("a key is held");
        assert_eq!(sealed.state, state(epoch), "at {ms} ms");
    }
}
