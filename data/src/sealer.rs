//! Sending: one stream, its generations, and the key of the instant.

use std::time::Duration;

use crypto::{Aead, Secret, WRAPPED_KEY_LEN, key_wrap};
use protocol::{Instant, StateId};
use rand_core::CryptoRng;

use crate::data_key::{self, KeySource};
use crate::packet::{
    COMMITMENT_LEN, HEADER_LEN, Inner, MAX_PAYLOAD, OUTER_LEN, Outer, SEQUENCE, StreamId, header,
};
use crate::ring::{KeyRing, SendKey};

/// How long one data key is sent under at most. Shorter costs a wrap and an unwrap each; longer lets a new member read
/// packets from before its join, since it is the generation it gets the key of.
pub const GENERATION_TIME: Duration = Duration::from_millis(50);

/// Seals an application's payloads as data packets.
///
/// A sealer owns one stream and its one sequence; it is not `Clone`, so no two packets ever share a data key and a
/// nonce. A generation lasts at most [`GENERATION_TIME`] from its first packet and never across two group keys; a rare
/// packet is a generation of its own.
pub struct Sealer {
    source: KeySource,
    aead: Aead,
    /// Only its sending half is kept.
    ring: Option<KeyRing>,
    stream: Option<Stream>,
}

/// What a payload was sealed as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The stream.
    pub stream: StreamId,
    /// The generation within it.
    pub generation: u32,
    /// The packet within the stream.
    pub sequence: u64,
    /// Whose group key wraps the generation's data key.
    pub state: StateId,
}

/// Why a payload was not sealed. Nothing was sent and nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// Nobody's fault: there is no key to send under at this instant. Queue the payload and try again at
    /// [`Sealer::next_key`] or after the next ring.
    #[error("no key to send under yet")]
    NoKey,
    /// The caller's: the payload does not fit a datagram.
    #[error("payload of {len} bytes, {max} fit")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit, [`MAX_PAYLOAD`].
        max: usize,
    },
}

impl Sealer {
    /// A sealer without keys. `boot` names this start of the system (a kernel's boot id, or random): it keeps two
    /// clones of a machine apart should their generators agree.
    pub fn new(rng: Box<dyn CryptoRng + Send>, boot: [u8; 16]) -> Self {
        Self { source: KeySource::new(rng, boot), aead: Aead::new(), ring: None, stream: None }
    }

    /// Replaces the keys. Another group, subgroup or registration of our own begins another stream.
    pub fn set_ring(&mut self, ring: &KeyRing) {
        let place = |ring: &KeyRing| (ring.suite, ring.group, ring.subgroup, ring.own);
        if self.ring.as_ref().map(place) != Some(place(ring)) {
            self.stream = None;
        }
        let mut sending = KeyRing::empty(ring.suite, ring.group, ring.subgroup, ring.own);
        sending.send.clone_from(&ring.send);
        self.ring = Some(sending);
    }

    /// Appends the packet with `payload` to `out`, sealed under the key of `now`.
    ///
    /// On `Err`, `out` is as it was and no sequence is used up.
    pub fn seal(&mut self, now: Instant, payload: &[u8], out: &mut Vec<u8>) -> Result<Sealed, SealError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(SealError::TooLong { len: payload.len(), max: MAX_PAYLOAD });
        }
        let Self { source, aead, ring, stream } = self;
        let ring = ring.as_mut().ok_or(SealError::NoKey)?;
        let state = ring.send_key_at(now).ok_or(SealError::NoKey)?.state;
        let stream = match stream {
            Some(current) if current.serves(now, state) => current,
            slot => {
                // Keys that were superseded are of no more use to us, only to a thief.
                ring.send.retain(|key| key.state >= state);
                let key = ring.send_key_at(now).ok_or(SealError::NoKey)?;
                let next = Stream::next(slot.take(), source, ring, key, now);
                slot.insert(next)
            }
        };
        Ok(stream.seal(aead, payload, out))
    }

    /// When to try again what [`SealError::NoKey`] refused at `now`, if no new ring comes before; `None`: not before.
    pub fn next_key(&self, now: Instant) -> Option<Instant> {
        self.ring.as_ref()?.next_send(now)
    }
}

struct Stream {
    id: StreamId,
    next_sequence: u64,
    generation: Generation,
}

impl Stream {
    /// The same stream in its next generation, or a new one when there is none or a counter is at its end.
    fn next(last: Option<Self>, source: &mut KeySource, ring: &KeyRing, key: &SendKey, now: Instant) -> Self {
        let (id, number, next_sequence) = match last {
            Some(last) if !last.is_spent() => (last.id, last.generation.number + 1, last.next_sequence),
            _ => (source.stream(), 0, 0),
        };
        Self { id, next_sequence, generation: Generation::new(source, ring, key, (id, number), now) }
    }

    /// Whether the current generation may still be sent under at `now`, when `state` is the one to send under.
    fn serves(&self, now: Instant, state: StateId) -> bool {
        let Generation { state: current, began, .. } = &self.generation;
        self.next_sequence < u64::MAX && *current == state && now.saturating_since(*began) < GENERATION_TIME
    }

    const fn is_spent(&self) -> bool {
        self.generation.number == u32::MAX || self.next_sequence == u64::MAX
    }

    fn seal(&mut self, aead: &mut Aead, payload: &[u8], out: &mut Vec<u8>) -> Sealed {
        let Generation { number, state, data_key, header, .. } = &mut self.generation;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        header[SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
        out.extend_from_slice(header);
        aead.seal(data_key, &data_key::nonce(sequence), &header[OUTER_LEN..], payload, out);
        Sealed { stream: self.id, generation: *number, sequence, state: *state }
    }
}

struct Generation {
    number: u32,
    state: StateId,
    began: Instant,
    data_key: Secret<32>,
    /// What all its packets begin with, but for the sequence.
    header: [u8; HEADER_LEN],
}

impl Generation {
    fn new(
        source: &mut KeySource,
        ring: &KeyRing,
        key: &SendKey,
        (stream, number): (StreamId, u32),
        now: Instant,
    ) -> Self {
        let mut inner = Inner {
            origin: ring.subgroup,
            sender: ring.own,
            stream,
            generation: number,
            sequence: 0,
            commitment: [0; COMMITMENT_LEN],
        };
        let data_key = source.data_key(ring.suite, &inner, now);
        inner.commitment = data_key::commitment(ring.suite, &data_key, &inner);
        let mut outer = Outer {
            suite: ring.suite,
            group: ring.group,
            subgroup: ring.subgroup,
            key_id: key.state.key_id(),
            epoch: key.state.epoch,
            sender: ring.own,
            hop: 0,
            wrapped: [0; WRAPPED_KEY_LEN],
        };
        outer.wrapped = key_wrap(&data_key::wrap_key(&key.key, key.state, &outer, stream), &data_key);
        Self { number, state: key.state, began: now, data_key, header: header(&outer, &inner) }
    }
}
