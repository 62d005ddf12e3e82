//! A subgroup with its keys, and nodes that seal and open in it.

use std::net::SocketAddr;
use std::time::Duration;

use crypto::{Secret, Suite};
use data::{Delivery, Departed, DropReason, HardFloor, KeyRing, Opened, Opener, ReceiveKey, Sealer, SendKey};
use protocol::{Epoch, GroupId, Inst, Instant, SenderId, StateId, SubgroupId, Term, Timing};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) const ALICE: SenderId = SenderId(0x1_0000_0001);
pub(crate) const BOB: SenderId = SenderId(0x1_0000_0002);
pub(crate) const CAROL: SenderId = SenderId(0x1_0000_0003);

/// What a packet carried, and when it was sent.
pub(crate) type Payload = Vec<u8>;

/// The instant `ms` milliseconds after the tests begin.
pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000_000) + Duration::from_millis(ms)
}

pub(crate) const fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// Where packets come from, as node `n`.
pub(crate) fn from(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

/// Where a subgroup is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) suite: Suite,
    pub(crate) group: GroupId,
    pub(crate) subgroup: SubgroupId,
}

pub(crate) const HERE: Place =
    Place { suite: Suite::Aes256Ctr, group: GroupId::from_bytes([7; 16]), subgroup: SubgroupId(0x5555) };

pub(crate) const fn state(epoch: u32) -> StateId {
    StateId { term: Term(1), inst: Inst(0xabcd), epoch: Epoch(epoch) }
}

/// The group key of an epoch, the same for all who were in it.
pub(crate) fn group_key(place: Place, state: StateId) -> Secret<32> {
    let seed = Secret::new([9; 32]);
    let context: [&[u8]; 3] = [place.group.as_bytes(), &place.subgroup.0.to_be_bytes(), &state.to_bytes()];
    crypto::derive(place.suite, &seed, crypto::Label::Group, &context)
}

/// The ring of `own` with no key yet.
pub(crate) const fn empty(place: Place, own: SenderId) -> KeyRing {
    KeyRing::empty(place.suite, place.group, place.subgroup, own)
}

/// The ring of `own` that holds one state for good.
pub(crate) fn steady(place: Place, own: SenderId, epoch: u32) -> KeyRing {
    let mut ring = empty(place, own);
    first_of(&mut ring, epoch);
    ring
}

/// Puts the first state into a ring.
pub(crate) fn first_of(ring: &mut KeyRing, epoch: u32) {
    let place = Place { suite: ring.suite, group: ring.group, subgroup: ring.subgroup };
    let (state, key) = (state(epoch), group_key(place, state(epoch)));
    ring.send.push(SendKey { state, key: key.clone(), from: Instant::ZERO, until: None });
    ring.receive.push(ReceiveKey { state, key, until: None });
}

/// Switches a ring to the next state, first seen at `seen`, by the default times; `left` leaves with it.
pub(crate) fn switch(ring: &mut KeyRing, epoch: u32, seen: Instant, hard: bool, left: Option<SenderId>) {
    let timing = Timing::default();
    let activation = seen + timing.activation(hard);
    let cut = activation + timing.cut(hard);
    first_of(ring, epoch);
    let state = state(epoch);
    for key in ring.send.iter_mut().filter(|key| key.state < state) {
        key.until = Some(key.until.map_or(activation, |until| until.min(activation)));
    }
    for key in ring.receive.iter_mut().filter(|key| key.state < state) {
        key.until = Some(key.until.map_or(cut, |until| until.min(cut)));
    }
    if let Some(newest) = ring.send.last_mut() {
        newest.from = activation;
    }
    if hard {
        ring.hard_floor = Some(HardFloor { state, at: cut });
    }
    ring.departed.extend(left.map(|sender| Departed { sender, from: activation }));
}

/// A sealer with the generator seeded by `seed`.
pub(crate) fn sealer(seed: u64, ring: &KeyRing) -> Sealer {
    let mut sealer = Sealer::new(Box::new(ChaCha12Rng::seed_from_u64(seed)), [seed as u8; 16]);
    sealer.set_ring(ring);
    sealer
}

/// An opener with `ring` from the beginning.
pub(crate) fn opener(ring: &KeyRing) -> Opener {
    let mut opener = Opener::new();
    opener.set_ring(at(0), ring);
    opener
}

/// One sealed packet.
pub(crate) fn sealed(sealer: &mut Sealer, now: Instant, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    sealer.seal(now, payload, &mut packet).expect("a key is held");
    packet
}

/// The payload delivered, or why not.
pub(crate) fn open(opener: &mut Opener, now: Instant, packet: &[u8]) -> Result<Payload, Option<DropReason>> {
    match opener.open(now, packet, from(1)) {
        Opened::Delivered(delivery) => Ok(delivery.payload.to_vec()),
        Opened::Waiting => Err(None),
        Opened::Dropped(reason) => Err(Some(reason)),
    }
}

/// All payloads whose wait is over.
pub(crate) fn drain(opener: &mut Opener, now: Instant) -> Vec<Payload> {
    let mut payloads = Vec::new();
    while let Some(Delivery { payload, .. }) = opener.poll_waiting(now) {
        payloads.push(payload.to_vec());
    }
    payloads
}
