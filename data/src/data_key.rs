//! The data key Kr of one generation: how it comes about, what it is bound to, and what wraps it.
//!
//! Paper: GSM 3.7. Each generation has a data key of its own, so that who is evicted cannot go on reading a stream
//! whose key it holds.

use crypto::{Label, Secret, Suite, derive};
use protocol::{Instant, StateId};
use rand_core::CryptoRng;

use crate::packet::{COMMITMENT_LEN, Inner, Outer, StreamId};

/// Where data keys and stream ids come from: the generator, hedged.
///
/// Each data key is mixed with the start of the system, its place and the time. So if the generator repeats (a cloned
/// machine, a poor seed at boot), two places or instants still get two keys, and no key meets one nonce twice.
pub(crate) struct KeySource {
    rng: Box<dyn CryptoRng + Send>,
    boot: [u8; 16],
}

impl KeySource {
    pub(crate) const fn new(rng: Box<dyn CryptoRng + Send>, boot: [u8; 16]) -> Self {
        Self { rng, boot }
    }

    /// A fresh name for a run of a sender.
    pub(crate) fn stream(&mut self) -> StreamId {
        StreamId(self.rng.next_u64())
    }

    /// A fresh data key for the generation `inner` names.
    pub(crate) fn data_key(&mut self, suite: Suite, inner: &Inner, now: Instant) -> Secret<32> {
        let context: [&[u8]; 5] = [
            &self.boot,
            &inner.sender.0.to_be_bytes(),
            &inner.stream.0.to_be_bytes(),
            &inner.generation.to_be_bytes(),
            &now.micros().to_be_bytes(),
        ];
        derive(suite, &Secret::random(self.rng.as_mut()), Label::Kr, &context)
    }
}

/// What the data key is bound to, for all to check: the same generation cannot be given two keys, as AES-GCM alone
/// would let a relay do.
pub(crate) fn commitment(suite: Suite, data_key: &Secret<32>, inner: &Inner) -> [u8; COMMITMENT_LEN] {
    let context: [&[u8]; 4] = [
        &inner.origin.0.to_be_bytes(),
        &inner.sender.0.to_be_bytes(),
        &inner.stream.0.to_be_bytes(),
        &inner.generation.to_be_bytes(),
    ];
    *derive::<COMMITMENT_LEN>(suite, data_key, Label::KrCommit, &context).expose()
}

/// The key that wraps the data key: of one group key, for one outer sender, hop and stream.
///
/// Everything of the outer part that is not compared with the ring goes in, so a changed bit gives another key.
pub(crate) fn wrap_key(
    group_key: &Secret<32>,
    state: StateId,
    outer: &Outer,
    stream: StreamId,
) -> Secret<32> {
    let context: [&[u8]; 6] = [
        outer.group.as_bytes(),
        &outer.subgroup.0.to_be_bytes(),
        &state.to_bytes(),
        &outer.sender.0.to_be_bytes(),
        &[outer.hop],
        &stream.0.to_be_bytes(),
    ];
    derive(outer.suite, group_key, Label::KrWrap, &context)
}

/// The nonce of a packet: 32 zero bits and its sequence. A data key meets each sequence once.
pub(crate) fn nonce(sequence: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&sequence.to_be_bytes());
    nonce
}
