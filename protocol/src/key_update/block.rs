//! A block of a key update at a member: verified packets of it, and the packet that was lost, decoded from the others.
//!
//! Only [`Verified`] packets of one signed message get in, so nothing a stranger or an insider sent reaches the decoder
//! (attack A20). What comes out is the manager's as well: of the shards of a block, any as many as it has data packets
//! determine all others, and each of those put in is a leaf of the tree that the manager signed.

use std::collections::BTreeMap;

use crypto::Signature;
use keytree::RegNo;

use super::body::Body;
use super::header::UpdateHeader;
use super::packet::{UpdatePacket, UpdateRoot};
use super::parity;
use crate::codec::{Malformed, Reader};
use crate::envelope::Verified;
use crate::keys::Domain;
use crate::limits::MAX_BLOCK_PACKETS;

/// Where `first` and `last` stand in a header.
const RANGE: std::ops::Range<usize> = 56..64;

/// What was verified of one block of one key update. At most [`crate::limits::MAX_BLOCK_PACKETS`] datagrams.
#[derive(Clone, Debug)]
pub struct Block {
    root: UpdateRoot,
    /// That of any packet of the block.
    header: UpdateHeader,
    number: u16,
    /// The datagrams, by position.
    packets: BTreeMap<u8, Vec<u8>>,
}

impl Block {
    /// A block of which one packet is known. `None` for a packet that was decoded itself.
    pub fn of(packet: Verified<UpdatePacket>) -> Option<Self> {
        let packet = packet.into_inner();
        let (number, position) = packet.header.place(packet.header.index);
        if packet.datagram.is_empty() {
            return None;
        }
        let packets = BTreeMap::from([(position, packet.datagram)]);
        Some(Self { root: packet.root?, header: packet.header, number, packets })
    }

    /// Takes another packet. `false` if it is of another block or another message, or known already.
    pub fn add(&mut self, packet: Verified<UpdatePacket>) -> bool {
        let packet = packet.into_inner();
        let (number, position) = packet.header.place(packet.header.index);
        let fits = packet.root == Some(self.root) && number == self.number && !packet.datagram.is_empty();
        fits && self.packets.insert(position, packet.datagram).is_none()
    }

    /// Its number in the message.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// How many packets of it are known.
    pub fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Whether it has the packet with this index, which is one of its own.
    pub fn has(&self, index: u16) -> bool {
        self.packets.contains_key(&self.header.place(index).1)
    }

    /// The packets it lacks, parity included, a bit for each position: what a NAK says.
    pub fn missing(&self) -> u64 {
        let all = self.header.data_of(self.number).len() + usize::from(self.header.block_parity);
        (0..all.min(MAX_BLOCK_PACKETS)).fold(0, |missing, position| {
            let held = u8::try_from(position).is_ok_and(|position| self.packets.contains_key(&position));
            if held { missing } else { missing | 1 << position }
        })
    }

    /// How many more packets it takes to decode the data.
    pub fn deficit(&self) -> usize {
        self.header.data_of(self.number).len().saturating_sub(self.packets.len())
    }

    /// The datagram with this index, which is one of its own.
    pub fn datagram(&self, index: u16) -> Option<&[u8]> {
        self.packets.get(&self.header.place(index).1).map(Vec::as_slice)
    }

    /// The datagram of the data packet that serves a member, to be passed on to it.
    pub fn datagram_for(&self, reg_no: RegNo) -> Option<&[u8]> {
        let data = self.header.data_of(self.number).len();
        let mut held = self.packets.iter().filter(|(position, _)| usize::from(**position) < data);
        let serves = |datagram: &[u8]| {
            UpdatePacket::header_of(datagram).is_ok_and(|header| !header.is_parity() && header.serves(reg_no))
        };
        held.find(|(_, datagram)| serves(datagram)).map(|(_, datagram)| datagram.as_slice())
    }

    /// Drops the parity packets, once nothing is to be decoded any more.
    pub fn drop_parity(&mut self) {
        let data = self.header.data_of(self.number).len();
        self.packets.retain(|position, _| usize::from(*position) < data);
    }

    /// Decodes the packet that serves a member, from any as many packets as the block has data packets.
    ///
    /// `None` with fewer, and if what comes out is no packet for this member: then the manager signed parity of something
    /// else, and only its resync can help. Costs up to a millisecond, so it is called when there are just enough.
    pub fn recover(&self, domain: &Domain, reg_no: RegNo) -> Option<Verified<UpdatePacket>> {
        let range = self.header.data_of(self.number);
        let data = range.len();
        if self.packets.len() < data {
            return None;
        }
        let shards = self.packets.iter().map(|(position, datagram)| {
            let content = content_of(datagram)?;
            let position = usize::from(*position);
            let shard = if position < data { shard_of(content) } else { body_of(content).to_vec() };
            Some((position, shard))
        });
        let mut shards = shards.collect::<Option<Vec<_>>>()?;
        let len = shards.iter().find(|(position, _)| *position >= data)?.1.len();
        if shards.iter().any(|(_, shard)| shard.len() > len) {
            return None;
        }
        shards.iter_mut().for_each(|(_, shard)| shard.resize(len, 0));
        let held: Vec<_> = shards.iter().map(|(position, shard)| (*position, shard.as_slice())).collect();
        let decoded = parity::decode(data, self.header.block_parity.into(), &held)?;
        let rebuilt = decoded.iter().filter_map(|(position, shard)| {
            let index = range.start.checked_add(u16::try_from(*position).ok()?)?;
            self.rebuild(domain, index, shard).ok()
        });
        let own = rebuilt.into_iter().find(|packet| packet.header.serves(reg_no))?;
        Some(Verified::new(own))
    }

    /// The data packet whose shard this is.
    fn rebuild(&self, domain: &Domain, index: u16, shard: &[u8]) -> Result<UpdatePacket, Malformed> {
        let mut reader = Reader::new(shard);
        let (first, last) = (reader.reg_no()?, reader.reg_no()?);
        let body_len = usize::from(reader.u16()?);
        let body_bytes = reader.take(body_len)?;
        let padding = reader.take(reader.remaining())?;
        if first > last || padding.iter().any(|byte| *byte != 0) {
            return Err(Malformed::Invalid("shard"));
        }
        let header = UpdateHeader { index, first, last, ..self.header.clone() };
        let body = Body::decode(domain.suite, &header, Reader::new(body_bytes))?;
        let signature = Signature([0; 64]);
        Ok(UpdatePacket { header, body, root: Some(self.root), signature, datagram: Vec::new() })
    }
}

/// Header, body length and body of a datagram that was read before.
fn content_of(datagram: &[u8]) -> Option<&[u8]> {
    let len = datagram.get(UpdateHeader::LEN..UpdateHeader::LEN + 2)?;
    let body_len = usize::from(u16::from_be_bytes([len[0], len[1]]));
    datagram.get(..UpdateHeader::LEN + 2 + body_len)
}

/// The shard of a data packet with this content, not padded yet.
pub(super) fn shard_of(content: &[u8]) -> Vec<u8> {
    [&content[RANGE], &content[UpdateHeader::LEN..]].concat()
}

/// What a packet with this content has after the length: of a parity packet, its shard.
fn body_of(content: &[u8]) -> &[u8] {
    &content[UpdateHeader::LEN + 2..]
}

/// Shards brought to one even length, as the code takes them.
pub(super) fn padded(shards: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut shards: Vec<_> = shards.collect();
    let longest = shards.iter().map(Vec::len).max().unwrap_or(0);
    shards.iter_mut().for_each(|shard| shard.resize(longest.next_multiple_of(2), 0));
    shards
}

/// How much longer a parity packet can be than the longest data packet of its block: it has the range in its shard, and one
/// byte to make the length even.
pub const PARITY_EXCESS: usize = RANGE.end - RANGE.start + 2 + 1;
