//! A whole key update packet: content, proof, MAC.
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | header | 112 | [`UpdateHeader`], envelope first |
//! | body length | 2 | |
//! | body | | [`Body`]; in a parity packet a shard, see below |
//! | path length | 1 | how many hashes follow |
//! | path | 16 each | Merkle path from this packet's content to the root |
//! | signature | 64 | Ed25519 over label, suite, group, subgroup, state, number of packets, root |
//! | MAC | 8 | prefilter: under the key of the previous state, over everything before |
//!
//! A data packet's shard is `first`, `last`, the length of its body and the body, and then zeros up to the longest shard of
//! its block, or one more to make the length even. The parity packets of the block hold its parity shards.

use crypto::{
    Label, MerkleHash, MerkleTree, Secret, Signature, Signer, constant_time_eq, mac, merkle_leaf,
    merkle_verify,
};

use super::block::{padded, shard_of};
use super::body::Body;
use super::header::UpdateHeader;
use super::parity;
use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::Envelope;
use crate::ids::StateId;
use crate::keys::Domain;
use crate::roster::signed;

/// Bytes of the prefilter MAC.
const MAC_LEN: usize = 8;
/// Bytes of an Ed25519 signature.
const SIGNATURE_LEN: usize = 64;
/// The longest Merkle path: 65,535 packets.
const MAX_PATH: usize = 16;

/// Everything of a packet but its body, in bytes, in a message of `packets` packets.
pub fn packet_overhead(packets: usize) -> usize {
    let path = packets.max(1).next_power_of_two().trailing_zeros() as usize;
    UpdateHeader::LEN + 2 + 1 + path * 16 + SIGNATURE_LEN + MAC_LEN
}

/// A packet as it was read; nothing in it is believed until the gate has verified it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpdatePacket {
    /// Its header.
    pub header: UpdateHeader,
    /// Its entries; none in a parity packet.
    pub body: Body,
    /// The root its path leads to; `None` when the path has the wrong shape for its place.
    pub(crate) root: Option<UpdateRoot>,
    pub(crate) signature: Signature,
    /// The bytes it was read from. Empty if it was decoded from the others of its block: then its proof is not known.
    pub(crate) datagram: Vec<u8>,
}

impl UpdatePacket {
    /// What a datagram claims to be. Nothing in it is believed: it says which verification is worth its cost.
    pub fn claimed(datagram: &[u8]) -> Option<UpdateHeader> {
        Self::header_of(datagram).ok()
    }

    /// Reads the header of a packet whose envelope was checked: all that is looked at before the MAC.
    pub(crate) fn header_of(datagram: &[u8]) -> Result<UpdateHeader, Malformed> {
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        UpdateHeader::read(&mut reader)
    }

    /// Reads a whole packet whose envelope was checked.
    pub(crate) fn decode(domain: &Domain, datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let header = UpdateHeader::read(&mut reader)?;
        let body_len = usize::from(reader.u16()?);
        let body_bytes = reader.take(body_len)?;
        let path_len = usize::from(reader.u8()?);
        if path_len > MAX_PATH {
            return Err(Malformed::TooLong("path"));
        }
        let path = (0..path_len).map(|_| reader.array().map(MerkleHash)).collect::<Result<Vec<_>, _>>()?;
        let signature = Signature(reader.array()?);
        reader.take(MAC_LEN)?;
        reader.finish()?;
        let body = if header.is_parity() {
            Body::default()
        } else {
            Body::decode(domain.suite, &header, Reader::new(body_bytes))?
        };
        let (index, packets) = (u32::from(header.index), header.packets());
        let content = &datagram[..UpdateHeader::LEN + 2 + body_len];
        let leaf = merkle_leaf(domain.suite, index, packets, &[content]);
        let root = merkle_verify(domain.suite, leaf, index, packets, &path);
        let root = root.map(|root| UpdateRoot { state: header.state, packets, root });
        Ok(Self { header, body, root, signature, datagram: datagram.to_vec() })
    }

    /// Whether the prefilter MAC at the end of `datagram` was made with `key`.
    pub(crate) fn mac_holds(domain: &Domain, key: &Secret<32>, datagram: &[u8]) -> bool {
        let Some(content_len) = datagram.len().checked_sub(MAC_LEN) else { return false };
        let (content, tag) = datagram.split_at(content_len);
        constant_time_eq(&packet_mac(domain, key, content), tag)
    }
}

/// What one signature covers: the Merkle root of all packets that lead to a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UpdateRoot {
    pub(crate) state: StateId,
    pub(crate) packets: u32,
    pub(crate) root: MerkleHash,
}

/// The bytes the manager signs for a root.
pub(crate) fn signed_root(domain: &Domain, root: &UpdateRoot) -> Vec<u8> {
    let mut writer = signed(Label::SignKeyUpdate, domain);
    writer.state(root.state).u32(root.packets).bytes(&root.root.0);
    writer.into_bytes()
}

/// A key update ready to be sent.
#[derive(Clone, Debug)]
pub struct SealedUpdate {
    /// The Merkle root, for the alarm.
    pub root: MerkleHash,
    /// The datagrams, in the order of their index.
    pub packets: Vec<Vec<u8>>,
}

/// Makes the packets of a key update, parity included: one signature for all of them (KG 4, KS 4.1).
///
/// Called by the manager for each cut. `contents` are the headers with bodies of all data packets in the order of their
/// index, at least one; their headers say how many parity packets a block gets. `None` if there are none, or not as many as
/// the headers say. `prefilter` is the key of the previous state. Without it the MAC is zeros, which every member that
/// holds that key refuses: only for updates that nobody has a key for.
pub fn seal_update(
    domain: &Domain,
    contents: &[(UpdateHeader, Body)],
    signer: &dyn Signer,
    prefilter: Option<&Secret<32>>,
) -> Option<SealedUpdate> {
    let header = &contents.first()?.0;
    let mut encoded: Vec<Writer> =
        contents.iter().map(|(header, body)| content(domain, header, body)).collect();
    if header.block_parity > 0 {
        let headers: Vec<_> = contents.iter().map(|(header, _)| header).collect();
        let parity = parity_contents(domain, &headers, &encoded)?;
        encoded.extend(parity);
    }
    let (state, packets) = (header.state, u32::try_from(encoded.len()).ok()?);
    let leaves = encoded
        .iter()
        .zip(0..)
        .map(|(content, index)| merkle_leaf(domain.suite, index, packets, &[content.as_bytes()]))
        .collect();
    let tree = MerkleTree::new(domain.suite, leaves);
    let root = tree.root();
    let signature = signer.sign(&signed_root(domain, &UpdateRoot { state, packets, root }));
    let packets = encoded
        .into_iter()
        .zip(0..)
        .map(|(content, index)| with_proof(domain, content, &tree.path(index), &signature, prefilter))
        .collect();
    Some(SealedUpdate { root, packets })
}

/// A packet's content with path, signature and MAC behind it.
fn with_proof(
    domain: &Domain,
    mut content: Writer,
    path: &[MerkleHash],
    signature: &Signature,
    prefilter: Option<&Secret<32>>,
) -> Vec<u8> {
    content.u8(u8::try_from(path.len()).expect("invariant: a path of at most 65,535 leaves has 16 hashes"));
    path.iter().for_each(|hash| {
        content.bytes(&hash.0);
    });
    content.bytes(&signature.0);
    let tag = prefilter.map_or([0; MAC_LEN], |key| packet_mac(domain, key, content.as_bytes()));
    content.bytes(&tag);
    content.into_bytes()
}

/// The contents of all parity packets, in the order of their index.
fn parity_contents(domain: &Domain, headers: &[&UpdateHeader], data: &[Writer]) -> Option<Vec<Writer>> {
    let common = *headers.first()?;
    if headers.len() != usize::from(common.data_packets) {
        return None;
    }
    let mut contents = Vec::new();
    for block in 0..common.blocks() {
        let range = common.data_of(block);
        let places = usize::from(range.start)..usize::from(range.end);
        let shards = padded(data[places.clone()].iter().map(|content| shard_of(content.as_bytes())));
        let (first, last) = (headers[places.start].first, headers[places.end - 1].last);
        for (index, shard) in
            common.parity_of(block).zip(parity::encode(&shards, common.block_parity.into())?)
        {
            let mut writer = UpdateHeader { index, first, last, ..common.clone() }.encode(domain);
            writer.opaque(&shard);
            contents.push(writer);
        }
    }
    Some(contents)
}

fn content(domain: &Domain, header: &UpdateHeader, body: &Body) -> Writer {
    let mut encoded_body = Writer::new();
    body.encode(header, &mut encoded_body);
    let mut writer = header.encode(domain);
    writer.opaque(encoded_body.as_bytes());
    writer
}

fn packet_mac(domain: &Domain, key: &Secret<32>, content: &[u8]) -> [u8; MAC_LEN] {
    let full = mac(domain.suite, key, Label::PrefilterMac, &[content]);
    let mut tag = [0; MAC_LEN];
    tag.copy_from_slice(&full[..MAC_LEN]);
    tag
}
