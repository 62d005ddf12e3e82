//! A whole key update packet: content, proof, MAC.
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | header | 112 | [`UpdateHeader`], envelope first |
//! | body length | 2 | |
//! | body | | [`Body`] |
//! | path length | 1 | how many hashes follow |
//! | path | 16 each | Merkle path from this packet's content to the root |
//! | signature | 64 | Ed25519 over label, suite, group, subgroup, state, number of packets, root |
//! | MAC | 8 | prefilter: under the key of the previous state, over everything before |

use crypto::{
    Label, MerkleHash, MerkleTree, Secret, Signature, Signer, constant_time_eq, mac, merkle_leaf,
    merkle_verify,
};

use super::body::Body;
use super::header::UpdateHeader;
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
    /// Its entries.
    pub body: Body,
    pub(crate) leaf: MerkleHash,
    pub(crate) path: Vec<MerkleHash>,
    pub(crate) signature: Signature,
}

impl UpdatePacket {
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
        let body = Body::decode(domain.suite, &header, Reader::new(body_bytes))?;
        let content = &datagram[..UpdateHeader::LEN + 2 + body_len];
        let leaf = merkle_leaf(domain.suite, u32::from(header.index), header.packets(), &[content]);
        Ok(Self { header, body, leaf, path, signature })
    }

    /// The root its path leads to; `None` when the path has the wrong shape for its place.
    pub(crate) fn root(&self, domain: &Domain) -> Option<UpdateRoot> {
        let packets = self.header.packets();
        let root = merkle_verify(domain.suite, self.leaf, u32::from(self.header.index), packets, &self.path)?;
        Some(UpdateRoot { state: self.header.state, packets, root })
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

/// Makes the packets of a key update: one signature for all of them (KG 4).
///
/// Called by the manager for each cut. `contents` are headers with bodies in the order of their index, at least one;
/// `None` without any. `prefilter` is the key of the previous state. Without it the MAC is zeros, which every member
/// that holds that key refuses: only for updates that nobody has a key for.
pub fn seal_update(
    domain: &Domain,
    contents: &[(UpdateHeader, Body)],
    signer: &dyn Signer,
    prefilter: Option<&Secret<32>>,
) -> Option<SealedUpdate> {
    let state = contents.first()?.0.state;
    let packets = u32::try_from(contents.len()).ok()?;
    let encoded: Vec<Writer> = contents.iter().map(|(header, body)| content(domain, header, body)).collect();
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
        .map(|(mut content, index)| {
            let path = tree.path(index);
            content
                .u8(u8::try_from(path.len())
                    .expect("invariant: a path of at most 65,535 leaves has 16 hashes"));
            path.iter().for_each(|hash| {
                content.bytes(&hash.0);
            });
            content.bytes(&signature.0);
            let tag = prefilter.map_or([0; MAC_LEN], |key| packet_mac(domain, key, content.as_bytes()));
            content.bytes(&tag);
            content.into_bytes()
        })
        .collect();
    Some(SealedUpdate { root, packets })
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
