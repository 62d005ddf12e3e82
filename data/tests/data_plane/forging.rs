//! Packets made by hand from the layout's table and the key schedule: what an insider can send, and proof that the two
//! are all there is to it.

use crypto::{Aead, Label, Secret, derive, key_wrap};
use data::{Inner, Outer, Packet, StreamId};
use protocol::{SenderId, StateId, SubgroupId};

use crate::support::{ALICE, HERE, Place, group_key, state};

/// Everything a forger chooses. The default is an honest packet of Alice.
#[derive(Clone)]
pub(crate) struct Forgery {
    pub(crate) place: Place,
    pub(crate) state: StateId,
    pub(crate) outer_sender: SenderId,
    pub(crate) hop: u8,
    pub(crate) origin: SubgroupId,
    pub(crate) sender: SenderId,
    pub(crate) stream: StreamId,
    pub(crate) sequence: u64,
    pub(crate) data_key: Secret<32>,
    /// What stands for the commitment, when not the true one.
    pub(crate) commitment: Option<[u8; 16]>,
}

impl Default for Forgery {
    fn default() -> Self {
        Self {
            place: HERE,
            state: state(1),
            outer_sender: ALICE,
            hop: 0,
            origin: HERE.subgroup,
            sender: ALICE,
            stream: StreamId(77),
            sequence: 5,
            data_key: Secret::new([3; 32]),
            commitment: None,
        }
    }
}

impl Forgery {
    /// The packet, sealed as an insider of `place` can who holds the key of `state`.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let Self { place, state, outer_sender, hop, origin, sender, stream, sequence, .. } = self;
        let wrap_context: [&[u8]; 6] = [
            place.group.as_bytes(),
            &place.subgroup.0.to_be_bytes(),
            &state.to_bytes(),
            &outer_sender.0.to_be_bytes(),
            &[*hop],
            &stream.0.to_be_bytes(),
        ];
        let wrap_key = derive(place.suite, &group_key(*place, *state), Label::KrWrap, &wrap_context);
        let outer = Outer {
            suite: place.suite,
            group: place.group,
            subgroup: place.subgroup,
            key_id: state.key_id(),
            epoch: state.epoch,
            sender: *outer_sender,
            hop: *hop,
            wrapped: key_wrap(&wrap_key, &self.data_key),
        };
        let names: [&[u8]; 4] =
            [&origin.0.to_be_bytes(), &sender.0.to_be_bytes(), &stream.0.to_be_bytes(), &0_u32.to_be_bytes()];
        let commitment = *derive(place.suite, &self.data_key, Label::KrCommit, &names).expose();
        let inner = Inner {
            origin: *origin,
            sender: *sender,
            stream: *stream,
            generation: 0,
            sequence: *sequence,
            commitment: self.commitment.unwrap_or(commitment),
        };
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&sequence.to_be_bytes());
        let mut sealed = Vec::new();
        Aead::new().seal(&self.data_key, &nonce, &inner.to_bytes(), payload, &mut sealed);
        let mut packet = Vec::new();
        Packet { outer, inner, sealed: &sealed }.encode(&mut packet);
        packet
    }
}
