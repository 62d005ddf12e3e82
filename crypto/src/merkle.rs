use std::fmt;

use blake3::Hasher;
use sha2::{Digest, Sha256};

use crate::{Label, Suite, derive::encode, hex::write_hex};

const LEAF: u8 = 0x00;
const NODE: u8 = 0x01;
const EMPTY: u8 = 0x02;

/// A node of a Merkle tree: a hash cut to 16 bytes.
///
/// Finding a packet for a given node takes 2^128 work. Two packets with the same hash take 2^64, but only the
/// signer chooses what is in the tree, and it gains nothing by it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MerkleHash(pub [u8; 16]);

impl fmt::Debug for MerkleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// A tree over the packets of one message, so that one signature covers them all and each packet carries its own
/// proof (Key Graphs, section 4).
///
/// The shape is that of RFC 6962: the left part of n leaves is the largest power of two below n. Built level by
/// level that means: pair from the left, and a last odd node moves up unchanged. So the path of a leaf is
/// determined by its index and the number of leaves, both of which are hashed into the leaf:
///
/// ```text
/// prefix = "conclave merkle" ‖ 0x00 ‖ suite (u16)
/// leaf   = H(prefix ‖ 0x00 ‖ index (u32) ‖ total (u32) ‖ { length (u32) ‖ bytes } for each part)
/// node   = H(prefix ‖ 0x01 ‖ left (16) ‖ right (16))
/// ```
///
/// with H BLAKE3 or SHA-256 by suite, cut to 16 bytes. The root of no leaves is H(prefix ‖ 0x02).
#[derive(Clone, Debug)]
pub struct MerkleTree {
    /// The leaves, then each level above them, the root last.
    levels: Vec<Vec<MerkleHash>>,
    root: MerkleHash,
}

impl MerkleTree {
    /// Builds the tree over leaves made by [`merkle_leaf`] with index 0, 1, … and their common total.
    #[must_use]
    pub fn new(suite: Suite, leaves: Vec<MerkleHash>) -> Self {
        let mut levels = Vec::with_capacity(17);
        let mut level = leaves;
        while level.len() > 1 {
            let above = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node(suite, left, right),
                    promoted => promoted[0],
                })
                .collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        let root = level.first().copied().unwrap_or_else(|| empty(suite));
        Self { levels, root }
    }

    /// The hash to be signed.
    #[must_use]
    pub const fn root(&self) -> MerkleHash {
        self.root
    }

    /// The path of leaf `index`, from the leaf up: what [`merkle_verify`] takes. Empty for an index that is not in
    /// the tree, and for the only leaf.
    #[must_use]
    pub fn path(&self, index: u32) -> Vec<MerkleHash> {
        let mut at = index as usize;
        let mut path = Vec::with_capacity(self.levels.len());
        if self.levels.first().is_some_and(|leaves| at < leaves.len()) {
            for level in &self.levels {
                path.extend(level.get(at ^ 1));
                at /= 2;
            }
        }
        path
    }
}

/// The leaf of packet `index` out of `total`, over its parts.
#[must_use]
pub fn merkle_leaf(suite: Suite, index: u32, total: u32, parts: &[&[u8]]) -> MerkleHash {
    let [i, t] = [index, total].map(u32::to_be_bytes);
    let head = [LEAF, i[0], i[1], i[2], i[3], t[0], t[1], t[2], t[3]];
    hash_short(suite, &head, parts)
}

/// The root that `leaf`, packet `index` of `total`, and `path` lead to.
///
/// `None` if the index is not below the total or the path is not exactly as long as this index and total demand;
/// nothing is hashed then. The caller compares the root with a signed one. A wrong answer here would admit a
/// packet its manager never sent.
#[must_use]
pub fn merkle_verify(
    suite: Suite,
    leaf: MerkleHash,
    index: u32,
    total: u32,
    path: &[MerkleHash],
) -> Option<MerkleHash> {
    if path.len() != path_len(index, total)? {
        return None;
    }
    let mut hash = leaf;
    let mut siblings = path.iter();
    for (at, width) in levels_of(index, total) {
        if at % 2 == 1 {
            hash = node(suite, siblings.next()?, &hash);
        } else if at + 1 < width {
            hash = node(suite, &hash, siblings.next()?);
        }
    }
    Some(hash)
}

/// Nodes on the path of `index` in a tree of `total` leaves; `None` if there is no such leaf.
fn path_len(index: u32, total: u32) -> Option<usize> {
    (index < total).then(|| levels_of(index, total).filter(|(at, width)| at ^ 1 < *width).count())
}

/// Place of the leaf's ancestor and width of the level, from the leaves to below the root.
fn levels_of(index: u32, total: u32) -> impl Iterator<Item = (u32, u32)> {
    std::iter::successors(Some((index, total)), |(at, width)| Some((at / 2, width.div_ceil(2))))
        .take_while(|(_, width)| *width > 1)
}

fn node(suite: Suite, left: &MerkleHash, right: &MerkleHash) -> MerkleHash {
    let mut bytes = [NODE; 33];
    bytes[1..17].copy_from_slice(&left.0);
    bytes[17..].copy_from_slice(&right.0);
    hash_short(suite, &bytes, &[])
}

fn empty(suite: Suite) -> MerkleHash {
    hash_short(suite, &[EMPTY], &[])
}

/// H(prefix ‖ head ‖ parts with their lengths), cut to 16 bytes.
fn hash_short(suite: Suite, head: &[u8], parts: &[&[u8]]) -> MerkleHash {
    let full: [u8; 32] = match suite {
        Suite::Aes256Ctr => {
            let mut hasher = Hasher::new();
            write_leaf_or_node(suite, head, parts, |bytes| {
                hasher.update(bytes);
            });
            hasher.finalize().into()
        }
        Suite::Aes256Kw => {
            let mut hasher = Sha256::new();
            write_leaf_or_node(suite, head, parts, |bytes| hasher.update(bytes));
            hasher.finalize().into()
        }
    };
    let mut short = MerkleHash::default();
    short.0.copy_from_slice(&full[..16]);
    short
}

fn write_leaf_or_node(suite: Suite, head: &[u8], parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    encode(suite, Label::Merkle, &[], &mut sink);
    sink(head);
    for part in parts {
        let len = u32::try_from(part.len()).expect("invariant: a part of a packet is below 4 GiB");
        sink(&len.to_be_bytes());
        sink(part);
    }
}
