//! The data packet, byte by byte. This file is the only place that knows its layout.
//!
//! All numbers are big-endian. The *outer part* belongs to one subgroup and is rewritten by every relay; the *inner
//! part* goes unchanged from the sender to the last receiver.
//!
//! | offset | bytes | part | field | meaning |
//! |---:|---:|---|---|---|
//! | 0 | 1 | outer | version | 1 |
//! | 1 | 1 | outer | kind | 0x20, a data packet |
//! | 2 | 2 | outer | suite | [`Suite::code`] of the group |
//! | 4 | 16 | outer | group | [`GroupId`] |
//! | 20 | 8 | outer | subgroup | whose group key wraps the data key |
//! | 28 | 4 | outer | key id | [`StateId::key_id`] of the wrapping state |
//! | 32 | 4 | outer | epoch hint | epoch of the wrapping state |
//! | 36 | 8 | outer | outer sender | who wrapped the data key: the sender, or the last relay |
//! | 44 | 1 | outer | hop | relays passed so far, 0 to [`MAX_HOPS`] |
//! | 45 | 40 | outer | {Kr} | the data key by AES-256-KW under the wrap key |
//! | 85 | 8 | inner | origin | subgroup the packet was first sent in |
//! | 93 | 8 | inner | sender | the sender's registration there |
//! | 101 | 8 | inner | stream | random, one for each run of a sender |
//! | 109 | 4 | inner | generation | counts data keys within the stream, from 0 |
//! | 113 | 8 | inner | sequence | counts packets within the stream, from 0 |
//! | 121 | 16 | inner | commitment | binds the data key to origin, sender, stream and generation |
//! | 137 | 1 | inner | flags | 0; any other value is refused |
//! | 138 | … | inner | ciphertext | AES-256-GCM, nonce = 0³² ‖ sequence, AAD = offsets 85 to 137 |
//! | end | 16 | inner | tag | of the ciphertext |
//!
//! There is no MAC over the outer part. Each of its fields is either compared with the ring, or an input of the wrap
//! key (group, subgroup, state id, outer sender, hop, and the stream of the inner part), so that a packet with any bit
//! changed opens for nobody.
//!
//! Paper: GSM 3.7 (a data key of its own, wrapped for each subgroup).

use crypto::{Suite, TAG_LEN, WRAPPED_KEY_LEN};
use protocol::{Epoch, GroupId, Malformed, Reader, SenderId, StateId, SubgroupId};

/// The version of the data packet's format.
pub const VERSION: u8 = 1;
/// The second byte of a data packet; control datagrams use 0x01 to 0x1f.
pub const KIND_DATA: u8 = 0x20;
/// Bytes of a commitment to a data key.
pub const COMMITMENT_LEN: usize = 16;
/// Bytes of the outer part.
pub const OUTER_LEN: usize = 85;
/// Bytes of the inner part before the ciphertext: the additional data of the AEAD.
pub const INNER_LEN: usize = 53;
/// Bytes before the ciphertext.
pub const HEADER_LEN: usize = OUTER_LEN + INNER_LEN;
/// Bytes of a packet with an empty payload, the shortest there is.
pub const MIN_PACKET: usize = HEADER_LEN + TAG_LEN;
/// The largest data packet sent, in bytes of UDP payload: with IPv6 and UDP headers and a tunnel's it fits a frame of
/// Ethernet, so no packet is fragmented. Receivers take larger ones.
pub const MAX_DATAGRAM: usize = 1_400;
/// The largest payload of one packet, in bytes.
pub const MAX_PAYLOAD: usize = MAX_DATAGRAM - MIN_PACKET;
/// How many relays a packet may pass. It ends loops that de-duplication missed.
pub const MAX_HOPS: u8 = 8;
/// Where the sequence stands: all other bytes before the ciphertext are the same throughout a generation.
pub(crate) const SEQUENCE: std::ops::Range<usize> = 113..121;

/// One run of one sender: a random name under which sequences count from 0 and are never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl std::fmt::Debug for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The outer part: under which key of which subgroup the data key is wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outer {
    /// The group's suite.
    pub suite: Suite,
    /// The group.
    pub group: GroupId,
    /// The subgroup whose group key wraps.
    pub subgroup: SubgroupId,
    /// Which state's group key, as [`StateId::key_id`].
    pub key_id: u32,
    /// The epoch of that state. A hint: before the data key is unwrapped it proves nothing.
    pub epoch: Epoch,
    /// Who wrapped.
    pub sender: SenderId,
    /// Relays passed.
    pub hop: u8,
    /// {Kr}.
    pub wrapped: [u8; WRAPPED_KEY_LEN],
}

/// What the outer part says of its key: enough to pick it from a ring, and no proof of anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyName {
    pub(crate) id: u32,
    pub(crate) epoch: Epoch,
}

impl KeyName {
    /// The name of `state`'s group key.
    pub(crate) fn of(state: StateId) -> Self {
        Self { id: state.key_id(), epoch: state.epoch }
    }
}

impl Outer {
    pub(crate) const fn key_name(&self) -> KeyName {
        KeyName { id: self.key_id, epoch: self.epoch }
    }

    /// The bytes that stand in the packet.
    pub fn to_bytes(&self) -> [u8; OUTER_LEN] {
        let mut bytes = [0; OUTER_LEN];
        (bytes[0], bytes[1], bytes[44]) = (VERSION, KIND_DATA, self.hop);
        bytes[2..4].copy_from_slice(&self.suite.code().to_be_bytes());
        bytes[4..20].copy_from_slice(self.group.as_bytes());
        bytes[20..28].copy_from_slice(&self.subgroup.0.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.key_id.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[36..44].copy_from_slice(&self.sender.0.to_be_bytes());
        bytes[45..].copy_from_slice(&self.wrapped);
        bytes
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.u8()? != VERSION {
            return Err(Malformed::Invalid("version"));
        }
        if from.u8()? != KIND_DATA {
            return Err(Malformed::Invalid("kind"));
        }
        let suite = Suite::from_code(from.u16()?).ok_or(Malformed::Invalid("suite"))?;
        let (group, subgroup) = (from.group()?, from.subgroup()?);
        let (key_id, epoch, sender) = (from.u32()?, from.epoch()?, from.sender()?);
        let hop = from.u8()?;
        if hop > MAX_HOPS {
            return Err(Malformed::Invalid("hop"));
        }
        Ok(Self { suite, group, subgroup, key_id, epoch, sender, hop, wrapped: from.array()? })
    }
}

/// The inner part before the ciphertext: whose packet it is, and which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inner {
    /// The subgroup it was first sent in.
    pub origin: SubgroupId,
    /// Its sender there.
    pub sender: SenderId,
    /// The sender's stream.
    pub stream: StreamId,
    /// Which data key of the stream.
    pub generation: u32,
    /// Which packet of the stream.
    pub sequence: u64,
    /// To what the data key is bound.
    pub commitment: [u8; COMMITMENT_LEN],
}

impl Inner {
    /// The bytes that stand in the packet and are the additional data of its AEAD.
    pub fn to_bytes(&self) -> [u8; INNER_LEN] {
        let mut bytes = [0; INNER_LEN];
        bytes[..8].copy_from_slice(&self.origin.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sender.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.stream.0.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.generation.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[36..52].copy_from_slice(&self.commitment);
        bytes
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (origin, sender, stream) = (from.subgroup()?, from.sender()?, StreamId(from.u64()?));
        let (generation, sequence, commitment) = (from.u32()?, from.u64()?, from.array()?);
        if from.u8()? != 0 {
            return Err(Malformed::Invalid("flags"));
        }
        Ok(Self { origin, sender, stream, generation, sequence, commitment })
    }
}

/// A data packet taken apart. Nothing in it is proven yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// The outer part.
    pub outer: Outer,
    /// The inner part before the ciphertext.
    pub inner: Inner,
    /// The ciphertext and its tag.
    pub sealed: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes `datagram` apart. Every datagram has at most one reading, and [`Packet::encode`] gives it back.
    ///
    /// A version, kind, suite, hop or flag that this program does not know makes it malformed.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(datagram);
        let (outer, inner) = (Outer::decode(&mut from)?, Inner::decode(&mut from)?);
        if from.remaining() < TAG_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self { outer, inner, sealed: from.rest() })
    }

    /// Appends the packet's bytes to `to`.
    pub fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&header(&self.outer, &self.inner));
        to.extend_from_slice(self.sealed);
    }
}

/// What stands before the ciphertext.
pub(crate) fn header(outer: &Outer, inner: &Inner) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..OUTER_LEN].copy_from_slice(&outer.to_bytes());
    bytes[OUTER_LEN..].copy_from_slice(&inner.to_bytes());
    bytes
}

/// The group and subgroup a datagram claims to be for; `None` when it is no data packet of ours.
///
/// Called by a driver that serves several groups on one port, to pick the [`Opener`](crate::Opener). A wrong answer
/// costs nothing: the opener compares again.
pub fn addressed_to(datagram: &[u8]) -> Option<(GroupId, SubgroupId)> {
    let mut from = Reader::new(datagram);
    let data = from.u8() == Ok(VERSION) && from.u8() == Ok(KIND_DATA);
    let _suite = from.u16().ok()?;
    let to = (from.group().ok()?, from.subgroup().ok()?);
    data.then_some(to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outer() -> impl Strategy<Value = Outer> {
        let suite = prop_oneof![Just(Suite::Aes256Ctr), Just(Suite::Aes256Kw)];
        let ids = any::<([u8; 16], u64, u32, u32, u64)>();
        (suite, ids, 0..=MAX_HOPS, any::<[u8; WRAPPED_KEY_LEN]>()).prop_map(|(suite, ids, hop, wrapped)| {
            Outer {
                suite,
                group: GroupId::from_bytes(ids.0),
                subgroup: SubgroupId(ids.1),
                key_id: ids.2,
                epoch: Epoch(ids.3),
                sender: SenderId(ids.4),
                hop,
                wrapped,
            }
        })
    }

    fn inner() -> impl Strategy<Value = Inner> {
        any::<(u64, u64, u64, u32, u64, [u8; COMMITMENT_LEN])>().prop_map(|ids| Inner {
            origin: SubgroupId(ids.0),
            sender: SenderId(ids.1),
            stream: StreamId(ids.2),
            generation: ids.3,
            sequence: ids.4,
            commitment: ids.5,
        })
    }

    proptest! {
        #[test]
        fn a_packet_reads_back_and_every_truncation_is_refused(
            outer in outer(),
            inner in inner(),
            sealed in proptest::collection::vec(any::<u8>(), TAG_LEN..80),
        ) {
            let packet = Packet { outer, inner, sealed: &sealed };
            let mut bytes = Vec::new();
            packet.encode(&mut bytes);
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
            prop_assert_eq!(addressed_to(&bytes), Some((outer.group, outer.subgroup)));
            for len in 0..MIN_PACKET {
                prop_assert_eq!(Packet::decode(&bytes[..len]), Err(Malformed::Truncated));
            }
        }

        #[test]
        fn random_bytes_never_panic_and_have_one_reading(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
            repair: bool,
        ) {
            // Without the first bytes mended nearly every case would end at the version.
            if repair && bytes.len() > 137 {
                bytes[..4].copy_from_slice(&[VERSION, KIND_DATA, 0, 1]);
                (bytes[44], bytes[137]) = (bytes[44] % 12, bytes[137] % 2);
            }
            let _ = addressed_to(&bytes);
            if let Ok(packet) = Packet::decode(&bytes) {
                let mut again = Vec::new();
                packet.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn the_fields_stand_where_the_table_says() {
        let outer = Outer {
            suite: Suite::Aes256Kw,
            group: GroupId::from_bytes([0xa1; 16]),
            subgroup: SubgroupId(0xa2a2_a2a2_a2a2_a2a2),
            key_id: 0xa3a3_a3a3,
            epoch: Epoch(0xa4a4_a4a4),
            sender: SenderId(0xa5a5_a5a5_a5a5_a5a5),
            hop: 6,
            wrapped: [0xa7; WRAPPED_KEY_LEN],
        };
        let inner = Inner {
            origin: SubgroupId(0xb1b1_b1b1_b1b1_b1b1),
            sender: SenderId(0xb2b2_b2b2_b2b2_b2b2),
            stream: StreamId(0xb3b3_b3b3_b3b3_b3b3),
            generation: 0xb4b4_b4b4,
            sequence: 0xb5b5_b5b5_b5b5_b5b5,
            commitment: [0xb6; COMMITMENT_LEN],
        };
        let mut bytes = Vec::new();
        Packet { outer, inner, sealed: &[0xb8; TAG_LEN] }.encode(&mut bytes);
        let runs = [
            (1, 1),
            (1, 0x20),
            (1, 0),
            (1, 2),
            (16, 0xa1),
            (8, 0xa2),
            (4, 0xa3),
            (4, 0xa4),
            (8, 0xa5),
            (1, 6),
            (40, 0xa7),
            (8, 0xb1),
            (8, 0xb2),
            (8, 0xb3),
            (4, 0xb4),
            (8, 0xb5),
            (16, 0xb6),
            (1, 0),
            (16, 0xb8),
        ];
        let expected: Vec<u8> = runs.iter().flat_map(|&(len, byte)| std::iter::repeat_n(byte, len)).collect();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_limits_add_up() {
        assert_eq!((OUTER_LEN, HEADER_LEN, MIN_PACKET, MAX_PAYLOAD), (85, 138, 154, 1_246));
        assert_eq!(SEQUENCE, OUTER_LEN + 28..OUTER_LEN + 36);
    }
}
