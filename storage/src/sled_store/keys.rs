//! The key file, and the data keys wrapped under it.
//!
//! A data key seals one generation: a snapshot and the records after it. When a compaction has begun the next
//! generation the old key is destroyed, and with it whatever the disk still has of records that were dropped.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crypto::{
    Label, Secret, Suite, WRAPPED_KEY_LEN, constant_time_eq, derive, key_unwrap, key_wrap, mac, wipe,
};
use rand_core::CryptoRng;

use super::files::{FILE_MODE, read_private, write_whole};
use super::sealing::{Chain, StoreId};
use crate::StoreError;

/// What the store derives and authenticates with, whatever the group uses: NIST algorithms only.
pub(crate) const SUITE: Suite = Suite::Aes256Kw;

/// The key file's name.
pub(crate) const KEY_FILE: &str = "store.key";
/// The wrapped data keys' file's name.
pub(crate) const DATA_KEYS_FILE: &str = "data.keys";
/// Format and version of the wrapped data keys.
const MAGIC: &[u8; 8] = b"cnclvdk1";
const MAC_LEN: usize = 16;
/// Keys held at once: one, and those of compactions that were begun and failed.
const MAX_KEYS: usize = 8;
const ENTRY_LEN: usize = 8 + WRAPPED_KEY_LEN;

/// Everything that follows from the key file.
pub(crate) struct StoreKeys {
    wrap: Secret<32>,
    files: Secret<32>,
    chain: Secret<32>,
}

impl StoreKeys {
    /// Reads the key file; `None` if there is none. A file of another length is not a key.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(KEY_FILE);
        let Some(mut bytes) = read_private(&path)? else { return Ok(None) };
        let key = Secret::from_slice(&bytes);
        wipe(&mut bytes);
        key.map(|key| Some(Self::from_key(&key))).ok_or(StoreError::WrongKey { path })
    }

    /// Makes the key file, for its owner to read and for nobody to write.
    pub(crate) fn make(dir: &Path, rng: &mut dyn CryptoRng) -> Result<Self, StoreError> {
        let key = Secret::random(rng);
        write_whole(&dir.join(KEY_FILE), key.expose(), 0o400)?;
        Ok(Self::from_key(&key))
    }

    fn from_key(key: &Secret<32>) -> Self {
        let part = |what: &[u8]| derive(SUITE, key, Label::StoreKey, &[what]);
        Self { wrap: part(b"wrap"), files: part(b"files"), chain: part(b"chain") }
    }

    /// The MAC of a small file of this store; `what` is its format.
    pub(crate) fn file_mac(&self, what: &[u8; 8], body: &[u8]) -> [u8; MAC_LEN] {
        mac(SUITE, &self.files, Label::StoreMac, &[what, body])
    }

    /// The chain value a generation without a snapshot begins with.
    pub(crate) fn chain_start(&self, store: &StoreId, generation: u64) -> Chain {
        self.chain_next(&[0; 32], generation, store)
    }

    /// The chain value after one more record. Keyed, so that it tells nothing of the record.
    pub(crate) fn chain_next(&self, before: &Chain, commit: u64, record: &[u8]) -> Chain {
        let next = derive(SUITE, &self.chain, Label::StoreChain, &[before, &commit.to_be_bytes(), record]);
        *next.expose()
    }
}

/// The store's name and the keys of the generations that can still be opened.
pub(crate) struct DataKeys {
    path: PathBuf,
    pub(crate) store: StoreId,
    keys: BTreeMap<u64, Secret<32>>,
}

impl DataKeys {
    /// The first generation of a store that never was. Nothing is written yet.
    pub(crate) fn new(dir: &Path, store: StoreId, rng: &mut dyn CryptoRng) -> Self {
        let keys = BTreeMap::from([(1, Secret::random(rng))]);
        Self { path: dir.join(DATA_KEYS_FILE), store, keys }
    }

    /// Reads and unwraps the file; `None` if there is none. What does not open is never replaced.
    pub(crate) fn read(dir: &Path, keys: &StoreKeys) -> Result<Option<Self>, StoreError> {
        let path = dir.join(DATA_KEYS_FILE);
        let Some(bytes) = read_private(&path)? else { return Ok(None) };
        match Self::parse(&path, &bytes, keys) {
            Some(read) => Ok(Some(read)),
            None => Err(StoreError::WrongKey { path }),
        }
    }

    fn parse(path: &Path, bytes: &[u8], keys: &StoreKeys) -> Option<Self> {
        let (body, found) = bytes.split_last_chunk::<MAC_LEN>()?;
        let rest = body.strip_prefix(MAGIC)?;
        if !constant_time_eq(found, &keys.file_mac(MAGIC, rest)) {
            return None;
        }
        let (store, entries) = rest.split_first_chunk::<16>()?;
        let (entries, odd) = entries.as_chunks::<ENTRY_LEN>();
        let unwrapped = entries.iter().map(|entry| {
            let (generation, wrapped) = entry.split_first_chunk::<8>()?;
            let key = key_unwrap(&keys.wrap, wrapped.try_into().ok()?).ok()?;
            Some((u64::from_be_bytes(*generation), key))
        });
        let keys: BTreeMap<_, _> = unwrapped.collect::<Option<_>>()?;
        (odd.is_empty() && !keys.is_empty()).then(|| Self { path: path.to_owned(), store: *store, keys })
    }

    /// Makes the file what this is, and overwrites what the file was: a key that is left out is then gone, as far as
    /// the file system overwrites in place.
    pub(crate) fn write(&self, keys: &StoreKeys) -> Result<(), StoreError> {
        let mut body = self.store.to_vec();
        for (generation, key) in &self.keys {
            body.extend_from_slice(&generation.to_be_bytes());
            body.extend_from_slice(&key_wrap(&keys.wrap, key));
        }
        let bytes = [MAGIC.as_slice(), &body, &keys.file_mac(MAGIC, &body)].concat();
        let old = OpenOptions::new().write(true).open(&self.path).ok();
        write_whole(&self.path, &bytes, FILE_MODE)?;
        if let Some(old) = old {
            let len = usize::try_from(old.metadata()?.len()).unwrap_or(0);
            old.write_all_at(&vec![0; len], 0)?;
            old.sync_all()?;
        }
        Ok(())
    }

    /// The key of a generation; `None` if it was destroyed or never was.
    pub(crate) fn of(&self, generation: u64) -> Option<&Secret<32>> {
        self.keys.get(&generation)
    }

    /// The oldest generation that can be opened.
    pub(crate) fn oldest(&self) -> u64 {
        self.keys.keys().next().copied().unwrap_or(1)
    }

    /// Draws the key of the next generation, beside that of `current`, and returns its number.
    pub(crate) fn begin(&mut self, current: u64, rng: &mut dyn CryptoRng) -> u64 {
        let next = self.keys.keys().next_back().map_or(1, |newest| newest.saturating_add(1));
        if self.keys.len() >= MAX_KEYS {
            self.keep(current);
        }
        self.keys.insert(next, Secret::random(rng));
        next
    }

    /// Drops every key but one; destroyed once [`write`](Self::write) has returned. Tells whether there were others.
    pub(crate) fn keep(&mut self, generation: u64) -> bool {
        let before = self.keys.len();
        self.keys.retain(|held, _| *held == generation);
        self.keys.len() != before
    }
}
