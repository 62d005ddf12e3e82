//! The anchor: a small file outside the data directory that says how far the journal went.
//!
//! It is what tells an old copy of the data directory from the newest one.

use std::path::Path;

use crypto::constant_time_eq;

use super::files::{FILE_MODE, read_private, write_whole};
use super::keys::StoreKeys;
use super::sealing::{Chain, StoreId};
use crate::StoreError;

/// The anchor's name.
pub(crate) const ANCHOR_FILE: &str = "anchor";
/// Format and version of the file.
const MAGIC: &[u8; 8] = b"cnclvan1";
const MAC_LEN: usize = 16;

/// The newest acknowledged record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Anchor {
    pub(crate) store: StoreId,
    /// Its commit; 0 while nothing was ever acknowledged.
    pub(crate) commit: u64,
    /// The chain value after it.
    pub(crate) chain: Chain,
}

/// What was found in place of an anchor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Missing,
    /// Not what this store, or any with this key, has written.
    Bad,
    Good(Anchor),
}

impl Anchor {
    pub(crate) fn read(dir: &Path, keys: &StoreKeys) -> Result<Found, StoreError> {
        let bytes = read_private(&dir.join(ANCHOR_FILE))?;
        Ok(bytes.map_or(Found::Missing, |bytes| Self::parse(&bytes, keys).map_or(Found::Bad, Found::Good)))
    }

    fn parse(bytes: &[u8], keys: &StoreKeys) -> Option<Self> {
        let (body, found) = bytes.strip_prefix(MAGIC)?.split_last_chunk::<MAC_LEN>()?;
        if !constant_time_eq(found, &keys.file_mac(MAGIC, body)) {
            return None;
        }
        let (store, rest) = body.split_first_chunk()?;
        let (commit, chain) = rest.split_first_chunk()?;
        Some(Self { store: *store, commit: u64::from_be_bytes(*commit), chain: chain.try_into().ok()? })
    }

    /// Makes this the anchor; on `Err` the old one still is.
    pub(crate) fn write(&self, dir: &Path, keys: &StoreKeys) -> Result<(), StoreError> {
        let body = [self.store.as_slice(), &self.commit.to_be_bytes(), &self.chain].concat();
        let bytes = [MAGIC.as_slice(), &body, &keys.file_mac(MAGIC, &body)].concat();
        Ok(write_whole(&dir.join(ANCHOR_FILE), &bytes, FILE_MODE)?)
    }
}
