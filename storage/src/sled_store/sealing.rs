//! Sealing: what leaves the process for the disk, and what of it is taken back.

use crypto::{Aead, Secret};
use rand_core::{CryptoRng, Rng};

/// Tells stores apart, so that a record of one is nothing in another. Random, drawn when a store is made.
pub(crate) type StoreId = [u8; 16];
/// Where the chain of records stands. Each record is bound to the value before it.
pub(crate) type Chain = [u8; 32];

const NONCE_LEN: usize = 12;

/// What kind of thing is sealed; part of the associated data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Table {
    /// A record whose number follows on the one before it.
    Next = 1,
    /// A record after a gap: the first of a store, or the first after a loss that was said.
    Jump = 2,
    /// A snapshot.
    Snapshot = 3,
    /// The beginning of a generation that has no snapshot.
    Nothing = 4,
}

impl Table {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Next, Self::Jump, Self::Snapshot, Self::Nothing].into_iter().find(|table| *table as u8 == byte)
    }
}

/// The one place in one store that a sealed value belongs to. All of it is associated data, so a value that was moved,
/// or that lost the one before it, does not open.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) store: &'a StoreId,
    pub(crate) table: Table,
    pub(crate) generation: u64,
    pub(crate) commit: u64,
    pub(crate) before: &'a Chain,
}

impl Place<'_> {
    fn bytes(&self) -> Vec<u8> {
        let numbers = [self.generation.to_be_bytes(), self.commit.to_be_bytes()].concat();
        [self.store.as_slice(), &[self.table as u8], &numbers, self.before].concat()
    }
}

/// AES-256-GCM with nonces of 96 random bits; a data key seals far fewer than 2^32 values.
pub(crate) struct Sealing {
    aead: Aead,
    rng: Box<dyn CryptoRng + Send>,
}

impl Sealing {
    pub(crate) fn new(rng: Box<dyn CryptoRng + Send>) -> Self {
        Self { aead: Aead::new(), rng }
    }

    /// The generator handed in, for keys.
    pub(crate) fn rng(&mut self) -> &mut dyn CryptoRng {
        &mut *self.rng
    }

    /// Nonce, ciphertext and tag.
    pub(crate) fn seal(&mut self, key: &Secret<32>, place: &Place<'_>, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.rng.fill_bytes(&mut nonce);
        let mut sealed = nonce.to_vec();
        self.aead.seal(key, &nonce, &place.bytes(), plain, &mut sealed);
        sealed
    }

    /// What was sealed for this place; `None` if this is anything else.
    pub(crate) fn open(&mut self, key: &Secret<32>, place: &Place<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut plain = Vec::new();
        self.aead.open(key, nonce, &place.bytes(), text, &mut plain).ok()?;
        Some(plain)
    }

    /// Forgets the keys it has used.
    pub(crate) fn forget(&mut self) {
        self.aead = Aead::new();
    }
}
