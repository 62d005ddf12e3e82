use crypto::Secret;

use crate::{Epoch, Version};

/// The nodes of one inner level, by index: 44 bytes each, side by side with their siblings.
#[derive(Default)]
pub(crate) struct InnerLevel(Nodes<Node>);

/// One inner node. It has a key exactly when some child of it is occupied.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) secret: Secret<32>,
    pub(crate) version: Version,
    /// The slots of its occupied children.
    pub(crate) occupied: u16,
}

impl Node {
    /// A node without a key.
    const VACANT: Self =
        Self { secret: Secret::new([0; 32]), version: Version { base: Epoch(0), steps: 0 }, occupied: 0 };
}

impl InnerLevel {
    /// The node at `index`, if it has a key.
    pub(crate) fn node(&self, index: u32) -> Option<&Node> {
        self.0.0.get(index as usize).filter(|node| node.occupied != 0)
    }

    pub(crate) fn set(&mut self, index: u32, node: Node) {
        self.0.grow(index as usize + 1, Node::VACANT);
        self.0.0[index as usize] = node;
    }

    /// Takes a node's key away.
    pub(crate) fn clear(&mut self, index: u32) {
        self.set(index, Node::VACANT);
    }
}

/// The leaf secrets by reg-no, and which reg-nos are taken.
#[derive(Default)]
pub(crate) struct LeafLevel {
    secrets: Nodes<Secret<32>>,
    /// One bit a reg-no; set: taken.
    taken: Vec<u64>,
    /// No word of `taken` below this one has a free bit.
    first_with_free: usize,
    count: u32,
}

impl LeafLevel {
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn is_taken(&self, index: u32) -> bool {
        let word = self.taken.get(index as usize / 64).copied().unwrap_or(0);
        word >> (index % 64) & 1 == 1
    }

    /// The secret of a taken leaf.
    pub(crate) fn secret(&self, index: u32) -> Option<&Secret<32>> {
        if self.is_taken(index) { self.secrets.0.get(index as usize) } else { None }
    }

    /// The taken leaves, ascending.
    pub(crate) fn taken(&self) -> impl Iterator<Item = u32> {
        self.taken.iter().enumerate().flat_map(|(at, word)| bits(*word).map(move |bit| at as u32 * 64 + bit))
    }

    /// The lowest free leaf at or above `from`; beyond the arrays everything is free.
    pub(crate) fn next_free(&self, from: u32) -> u32 {
        let start = (from as usize / 64).max(self.first_with_free);
        let mut below_from = if start == from as usize / 64 { !(u64::MAX << (from % 64)) } else { 0 };
        for (at, word) in self.taken.iter().enumerate().skip(start) {
            let blocked = word | below_from;
            if blocked != u64::MAX {
                return at as u32 * 64 + blocked.trailing_ones();
            }
            below_from = 0;
        }
        from.max(self.taken.len() as u32 * 64)
    }

    pub(crate) fn put(&mut self, index: u32, secret: Secret<32>) {
        if index as usize >= self.secrets.0.len() {
            self.secrets.grow(index as usize + 1, Secret::new([0; 32]));
            self.taken.resize(self.secrets.0.len().div_ceil(64), 0);
        }
        self.count += u32::from(!self.is_taken(index));
        self.secrets.0[index as usize] = secret;
        self.taken[index as usize / 64] |= 1 << (index % 64);
        while self.taken.get(self.first_with_free) == Some(&u64::MAX) {
            self.first_with_free += 1;
        }
    }

    pub(crate) fn vacate(&mut self, index: u32) {
        if !self.is_taken(index) {
            return;
        }
        self.count -= 1;
        self.secrets.0[index as usize] = Secret::new([0; 32]);
        self.taken[index as usize / 64] &= !(1 << (index % 64));
        self.first_with_free = self.first_with_free.min(index as usize / 64);
    }

    /// Replaces every taken leaf's secret.
    pub(crate) fn replace_all(&mut self, next: impl Fn(u32, &Secret<32>) -> Secret<32>) {
        for (at, word) in self.taken.iter().enumerate() {
            for bit in bits(*word) {
                let index = at * 64 + bit as usize;
                self.secrets.0[index] = next(index as u32, &self.secrets.0[index]);
            }
        }
    }
}

/// A growing array of secrets that leaves no copy behind: a plain `Vec` would free its old buffer unwiped.
struct Nodes<T>(Vec<T>);

impl<T> Default for Nodes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Nodes<T> {
    /// Makes room for `len` nodes, the new ones vacant.
    fn grow(&mut self, len: usize, vacant: T) {
        if len > self.0.capacity() {
            let mut larger = Vec::with_capacity(len.max(self.0.len() + self.0.len() / 2));
            larger.extend(self.0.iter().cloned());
            self.0 = larger;
        }
        if len > self.0.len() {
            self.0.resize(len, vacant);
        }
    }
}

/// The positions of the set bits, ascending.
pub(crate) fn bits(word: impl Into<u64>) -> impl Iterator<Item = u32> {
    let mut rest = word.into();
    std::iter::from_fn(move || {
        let bit = (rest != 0).then(|| rest.trailing_zeros())?;
        rest &= rest - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(taken: impl IntoIterator<Item = u32>) -> LeafLevel {
        let mut level = LeafLevel::default();
        for index in taken {
            level.put(index, Secret::new([1; 32]));
        }
        level
    }

    #[test]
    fn a_node_takes_44_bytes_and_a_leaf_32() {
        assert_eq!((size_of::<Node>(), size_of::<Secret<32>>()), (44, 32));
    }

    #[test]
    fn the_lowest_free_leaf_is_found_across_words() {
        let mut leaves = level(0..200);
        assert_eq!(leaves.next_free(0), 200);
        leaves.vacate(130);
        leaves.vacate(70);
        assert_eq!(leaves.next_free(0), 70);
        assert_eq!(leaves.next_free(71), 130);
        assert_eq!(leaves.next_free(131), 200);
        leaves.put(70, Secret::new([2; 32]));
        assert_eq!(leaves.next_free(0), 130);
        assert_eq!(leaves.next_free(5_000), 5_000);
        assert_eq!(level([]).next_free(3), 3);
        assert_eq!(level([3]).next_free(3), 4);
    }

    #[test]
    fn vacating_and_taking_keeps_the_count() {
        let mut leaves = level([0, 1, 64, 1]);
        assert_eq!(leaves.count(), 3);
        leaves.vacate(1);
        leaves.vacate(1);
        leaves.vacate(900);
        assert_eq!(leaves.taken().collect::<Vec<_>>(), [0, 64]);
        assert_eq!(leaves.count(), 2);
        assert!(leaves.secret(1).is_none());
    }
}
