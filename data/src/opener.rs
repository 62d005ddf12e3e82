//! Receiving: from a datagram of anybody to a payload of a member, once.

use std::net::SocketAddr;

use crypto::{Aead, Secret, constant_time_eq, key_unwrap};
use protocol::{Budget, DataHint, Instant, StateId};

use crate::cache::DataKeyCache;
use crate::data_key;
use crate::held_keys::HeldKeys;
use crate::outcome::{Delivery, DropReason, OpenCounters, Opened};
use crate::packet::{Inner, KeyName, Packet};
use crate::replay::Seen;
use crate::ring::KeyRing;
use crate::waiting::Waiting;
use crate::windows::{Horizon, MAX_WINDOWS, StreamKey, Verdict, Windows};

/// Hints a second at most: an outsider can cause them.
const HINTS_PER_SECOND: u32 = 10;

/// Opens data packets: authenticates each, and delivers it at most once.
///
/// One opener serves one group on one node for as long as the node runs. Its replay windows are what "at most once"
/// rests on, so they outlive every change of keys, of registration and of role: a driver keeps the opener and replaces
/// the ring. A new opener must get no state that another one of this node has received under.
///
/// Nothing an unauthenticated packet says is remembered, but for the packet itself while it waits for its key.
pub struct Opener {
    keys: Option<HeldKeys>,
    /// The node went to another subgroup, and no key of it has come yet.
    moved: bool,
    cache: DataKeyCache,
    windows: Windows,
    waiting: Waiting,
    aead: Aead,
    payload: Vec<u8>,
    counters: OpenCounters,
    hints: Budget,
    hint: bool,
}

/// Why a packet goes no further for now.
enum Stop {
    /// Its key may be still to come.
    Wait(KeyName),
    Drop(DropReason),
}

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

impl Opener {
    /// An opener without keys.
    pub fn new() -> Self {
        Self::with_windows(MAX_WINDOWS)
    }

    fn with_windows(limit: usize) -> Self {
        Self {
            keys: None,
            moved: false,
            cache: DataKeyCache::default(),
            windows: Windows::new(limit),
            waiting: Waiting::default(),
            aead: Aead::new(),
            payload: Vec::new(),
            counters: OpenCounters::default(),
            hints: Budget::new(HINTS_PER_SECOND, 1),
            hint: false,
        }
    }

    /// Replaces the keys. Drain [`Opener::poll_waiting`] afterwards, before the next datagram.
    ///
    /// A key that was cut, or that a ring between did not name, is not taken up again.
    pub fn set_ring(&mut self, now: Instant, ring: &KeyRing) {
        self.moved |= self.keys.as_ref().is_some_and(|keys| !keys.is_of(ring));
        let keys = HeldKeys::new(now, ring, self.keys.as_ref());
        if self.moved
            && let Some(newest) = keys.newest()
        {
            self.windows.restate(newest);
            self.moved = false;
        }
        self.cache.retain(|state| keys.holds(state));
        self.waiting.release(|name| keys.is_to_come(name));
        self.keys = Some(keys);
        self.expire(now);
    }

    /// Takes one datagram that came from `source`, which may be anybody.
    pub fn open(&mut self, now: Instant, datagram: &[u8], source: SocketAddr) -> Opened<'_> {
        match self.verify(now, datagram) {
            Ok((inner, state)) => Opened::Delivered(self.deliver(inner, state)),
            Err(Stop::Wait(key)) => self.wait(now, key, datagram, source),
            Err(Stop::Drop(reason)) => self.drop_packet(reason),
        }
    }

    /// The next packet that waited for a key and opens now; call until `None` after [`Opener::set_ring`].
    pub fn poll_waiting(&mut self, now: Instant) -> Option<Delivery<'_>> {
        self.expire(now);
        while let Some(held) = self.waiting.next() {
            let verified = if held.is_expired(now) {
                Err(DropReason::WaitedTooLong.into())
            } else {
                self.verify(now, &held.datagram)
            };
            match verified {
                Ok((inner, state)) => return Some(self.deliver(inner, state)),
                Err(Stop::Drop(reason)) => self.counters.count_drops(reason, 1),
                Err(Stop::Wait(_)) => self.counters.count_drops(DropReason::OldKey, 1),
            }
        }
        None
    }

    /// A hint for the machine, if packets came under a key that is not held; at most ten a second.
    pub fn poll_hint(&mut self, now: Instant) -> Option<DataHint> {
        let due = self.hint && self.hints.take(now);
        self.hint &= !due;
        due.then_some(DataHint::UnknownKey)
    }

    /// What became of all datagrams so far.
    pub const fn counters(&self) -> &OpenCounters {
        &self.counters
    }

    /// Everything between a datagram and its payload, which is left in `self.payload`. Cheap checks come first, and
    /// nothing is marked before the tag has been verified.
    fn verify(&mut self, now: Instant, datagram: &[u8]) -> Result<(Inner, StateId), Stop> {
        let packet = Packet::decode(datagram).map_err(|_| DropReason::Malformed)?;
        let Self { keys, cache, windows, aead, payload, .. } = self;
        let keys = keys.as_mut().ok_or(DropReason::NotReady)?;
        if keys.cut_is_due(now) {
            keys.cut_at(now);
            cache.retain(|state| keys.holds(state));
        }
        keys.admit(now, &packet)?;
        let inner = packet.inner;
        let stream = StreamKey::of(&inner);
        if cache.find(&packet).is_none() {
            let (state, data_key) = unwrap(keys, windows, &packet)?;
            cache.keep(&packet, state, data_key);
        }
        let (state, data_key) = cache.find(&packet).ok_or(DropReason::BadWrap)?;
        refuse_repeat(windows.check(stream, state, inner.sequence))?;
        payload.clear();
        let nonce = data_key::nonce(inner.sequence);
        aead.open(data_key, &nonce, &inner.to_bytes(), packet.sealed, payload)
            .map_err(|_| DropReason::BadTag)?;
        let horizon = Horizon { newest: keys.newest().unwrap_or(state), cut: keys.cut() };
        windows.accept(stream, state, inner.sequence, horizon);
        Ok((inner, state))
    }

    const fn deliver(&mut self, inner: Inner, state: StateId) -> Delivery<'_> {
        self.counters.delivered += 1;
        let Inner { origin, sender, stream, generation, sequence, .. } = inner;
        Delivery { origin, sender, stream, generation, sequence, state, payload: self.payload.as_slice() }
    }

    fn wait(&mut self, now: Instant, key: KeyName, datagram: &[u8], source: SocketAddr) -> Opened<'static> {
        self.hint = true;
        self.expire(now);
        if self.waiting.push(now, source, key, datagram) {
            self.counters.waited += 1;
            Opened::Waiting
        } else {
            self.drop_packet(DropReason::WaitingFull)
        }
    }

    const fn drop_packet(&mut self, reason: DropReason) -> Opened<'static> {
        self.counters.count_drops(reason, 1);
        Opened::Dropped(reason)
    }

    fn expire(&mut self, now: Instant) {
        let expired = self.waiting.expire(now);
        self.counters.count_drops(DropReason::WaitedTooLong, expired);
    }
}

impl Default for Opener {
    fn default() -> Self {
        Self::new()
    }
}

/// The data key of a packet whose generation is not known, and the state it was wrapped under.
fn unwrap(keys: &HeldKeys, windows: &Windows, packet: &Packet<'_>) -> Result<(StateId, Secret<32>), Stop> {
    let Packet { outer, inner, .. } = packet;
    let name = outer.key_name();
    let mut stop = if keys.is_to_come(name) { Stop::Wait(name) } else { DropReason::OldKey.into() };
    for held in keys.candidates(name) {
        if let Err(reason) = refuse_repeat(windows.check(StreamKey::of(inner), held.state, inner.sequence)) {
            stop = reason.into();
            continue;
        }
        let wrap_key = data_key::wrap_key(&held.key, held.state, outer, inner.stream);
        let Ok(data_key) = key_unwrap(&wrap_key, &outer.wrapped) else {
            stop = DropReason::BadWrap.into();
            continue;
        };
        let commitment = data_key::commitment(outer.suite, &data_key, inner);
        if constant_time_eq(&commitment, &inner.commitment) {
            return Ok((held.state, data_key));
        }
        stop = DropReason::BadCommitment.into();
    }
    Err(stop)
}

const fn refuse_repeat(verdict: Verdict) -> Result<(), DropReason> {
    match verdict {
        Verdict::Fresh => Ok(()),
        Verdict::Closed => Err(DropReason::ClosedStream),
        Verdict::Seen(Seen::TooOld) => Err(DropReason::BehindWindow),
        Verdict::Seen(_) => Err(DropReason::Replayed),
    }
}

#[cfg(test)]
mod tests;
