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

/// How long one data key is sent under at most. Shorter costs everybody a wrap and an unwrap each; longer lets a member
/// evicted in another subgroup, where this sender's own key does not change, read on for as long.
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

#[cfg(test)]
mod tests {
    use crypto::Suite;
    use protocol::{Epoch, GroupId, Inst, SenderId, SubgroupId, Term};
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn sealer() -> Sealer {
        let mut ring =
            KeyRing::empty(Suite::Aes256Ctr, GroupId::from_bytes([1; 16]), SubgroupId(2), SenderId(3));
        let state = StateId { term: Term(1), inst: Inst(1), epoch: Epoch(1) };
        ring.send.push(SendKey { state, key: Secret::new([4; 32]), from: Instant::ZERO, until: None });
        let mut sealer = Sealer::new(Box::new(ChaCha12Rng::seed_from_u64(5)), [6; 16]);
        sealer.set_ring(&ring);
        sealer
    }

    #[test]
    fn a_counter_at_its_end_begins_a_new_stream_and_never_wraps() {
        let (mut sealer, mut out) = (sealer(), Vec::new());
        let first = sealer.seal(Instant::ZERO, b"", &mut out).expect("a key is held");
        sealer.stream.as_mut().expect("begun").next_sequence = u64::MAX - 1;
        let last = sealer.seal(Instant::ZERO, b"", &mut out).expect("a key is held");
        assert_eq!((last.stream, last.sequence), (first.stream, u64::MAX - 1));
        let second = sealer.seal(Instant::ZERO, b"", &mut out).expect("a key is held");
        assert_ne!(second.stream, first.stream);
        assert_eq!((second.generation, second.sequence), (0, 0));

        sealer.stream.as_mut().expect("begun").generation.number = u32::MAX;
        let third = sealer.seal(Instant::ZERO + GENERATION_TIME, b"", &mut out).expect("a key is held");
        assert_ne!(third.stream, second.stream);
        assert_eq!((third.generation, third.sequence), (0, 0));
    }

    #[test]
    fn a_sealer_moves_between_threads() {
        fn sent<T: Send>(_: &T) {}
        sent(&sealer());
        sent(&crate::Opener::new());
    }
}
