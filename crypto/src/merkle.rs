use std::fmt;

use blake3::Hasher;
use sha2::{Digest, Sha256};

use crate::{
    Label, Suite,
    derive::{encode_parts, encode_prefix},
    hex::write_hex,
};

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

/// A tree over the packets of one message, so that one signature covers them all and each packet carries its
/// own proof (Key Graphs, section 4).
///
/// The shape is that of RFC 6962: the left part of n leaves is the largest power of two below n. Built level
/// by level that means: pair from the left, and a last odd node moves up unchanged. So the path of a leaf is
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

    /// The path of leaf `index`, from the leaf up: what [`merkle_verify`] takes. Empty for an index that is
    /// not in the tree, and for the only leaf.
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
/// `None` if the index is not below the total or the path is not exactly as long as this index and total
/// demand; nothing is hashed then. The caller compares the root with a signed one. A wrong answer here would
/// admit a packet its manager never sent.
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
            encode_hashed(suite, head, parts, |bytes| {
                hasher.update(bytes);
            });
            hasher.finalize().into()
        }
        Suite::Aes256Kw => {
            let mut hasher = Sha256::new();
            encode_hashed(suite, head, parts, |bytes| hasher.update(bytes));
            hasher.finalize().into()
        }
    };
    let mut short = MerkleHash::default();
    short.0.copy_from_slice(&full[..16]);
    short
}

fn encode_hashed(suite: Suite, head: &[u8], parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    encode_prefix(suite, Label::Merkle, &mut sink);
    sink(head);
    encode_parts(parts, sink);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [Suite; 2] = [Suite::Aes256Ctr, Suite::Aes256Kw];
    /// Every small number of leaves, and the edges of larger ones.
    const TOTALS: [u32; 24] =
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 255, 257, 1000, 1025];

    fn leaves(suite: Suite, total: u32) -> Vec<MerkleHash> {
        (0..total).map(|index| merkle_leaf(suite, index, total, &[&index.to_be_bytes()])).collect()
    }

    /// RFC 6962, section 2.1, written down as it stands there.
    fn root_by_definition(suite: Suite, leaves: &[MerkleHash]) -> MerkleHash {
        if let [only] = leaves {
            return *only;
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        node(suite, &root_by_definition(suite, left), &root_by_definition(suite, right))
    }

    #[test]
    fn the_shape_is_that_of_rfc_6962() {
        for (suite, total) in SUITES.iter().flat_map(|suite| TOTALS.map(|total| (*suite, total))) {
            let leaves = leaves(suite, total);
            assert_eq!(MerkleTree::new(suite, leaves.clone()).root(), root_by_definition(suite, &leaves));
        }
    }

    #[test]
    fn every_path_leads_to_the_root_and_has_the_one_length_possible() {
        for total in TOTALS {
            let leaves = leaves(Suite::Aes256Ctr, total);
            let tree = MerkleTree::new(Suite::Aes256Ctr, leaves.clone());
            for (index, leaf) in (0..total).zip(leaves) {
                let mut path = tree.path(index);
                assert_eq!(merkle_verify(Suite::Aes256Ctr, leaf, index, total, &path), Some(tree.root()));
                path.push(MerkleHash::default());
                assert_eq!(merkle_verify(Suite::Aes256Ctr, leaf, index, total, &path), None, "one node more");
                path.truncate(path.len().saturating_sub(2));
                let shorter = merkle_verify(Suite::Aes256Ctr, leaf, index, total, &path);
                assert_eq!(shorter.is_none(), total > 1, "one node less");
            }
        }
    }

    #[test]
    fn a_packet_proves_only_its_own_index_and_total() {
        let suite = Suite::Aes256Ctr;
        for total in 1..40 {
            let tree = MerkleTree::new(suite, leaves(suite, total));
            for (index, other_index, other_total) in
                (0..total).flat_map(|i| (0..45).flat_map(move |j| (1..45).map(move |t| (i, j, t))))
            {
                if (other_index, other_total) != (index, total) {
                    let leaf = merkle_leaf(suite, other_index, other_total, &[&index.to_be_bytes()]);
                    let root = merkle_verify(suite, leaf, other_index, other_total, &tree.path(index));
                    assert_ne!(root, Some(tree.root()), "{index}/{total} as {other_index}/{other_total}");
                }
            }
        }
    }

    #[test]
    fn no_leaf_can_be_a_node() {
        for suite in SUITES {
            let pair = leaves(suite, 2);
            let inner = node(suite, &pair[0], &pair[1]);
            let children = [pair[0].0, pair[1].0].concat();
            assert_ne!(merkle_leaf(suite, 0, 1, &[&children]), inner);
            assert_ne!(hash_short(suite, &[&[LEAF][..], &children].concat(), &[]), inner);
            assert_ne!(empty(suite), hash_short(suite, &[LEAF], &[]));
        }
    }

    #[test]
    fn a_byte_moved_between_parts_changes_the_leaf() {
        for suite in SUITES {
            let leaf = |parts: &[&[u8]]| merkle_leaf(suite, 0, 1, parts);
            assert_ne!(leaf(&[b"ab", b"c"]), leaf(&[b"a", b"bc"]));
            assert_ne!(leaf(&[b"abc"]), leaf(&[b"abc", b""]));
        }
    }

    #[test]
    fn the_largest_tree_of_a_message_proves_its_first_and_last_packet() {
        let suite = Suite::Aes256Ctr;
        let leaves = leaves(suite, 65_535);
        let tree = MerkleTree::new(suite, leaves.clone());
        for index in [0, 1, 32_767, 32_768, 65_533, 65_534] {
            let path = tree.path(index);
            assert!(path.len() <= 16);
            assert_eq!(merkle_verify(suite, leaves[index as usize], index, 65_535, &path), Some(tree.root()));
        }
        assert!(tree.path(65_535).is_empty() && tree.path(u32::MAX).is_empty());
        assert_eq!(merkle_verify(suite, leaves[0], u32::MAX, u32::MAX, &[]), None);
    }

    #[test]
    fn the_root_of_nothing_is_no_leaf_and_has_no_path() {
        let tree = MerkleTree::new(Suite::Aes256Ctr, Vec::new());
        assert_eq!(tree.root(), empty(Suite::Aes256Ctr));
        assert!(tree.path(0).is_empty());
        assert_eq!(merkle_verify(Suite::Aes256Ctr, tree.root(), 0, 0, &[]), None);
    }
}
