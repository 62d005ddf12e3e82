use std::sync::LazyLock;

use openssl::{
    cipher::Cipher,
    cipher_ctx::{CipherCtx, CipherCtxRef},
    error::ErrorStack,
};
use thiserror::Error;
use zeroize::Zeroize;

use crate::Secret;

/// Bytes that sealing adds: the tag, after the ciphertext.
pub const TAG_LEN: usize = 16;
/// The longest plaintext or associated data taken, 1 GiB: OpenSSL counts in `int`, and nothing here comes
/// near.
pub const MAX_SEALED_LEN: usize = 1 << 30;

/// The cipher, fetched once: OpenSSL looks through its providers for each fetch, under a lock that all threads share.
static GCM: LazyLock<Cipher> = LazyLock::new(|| {
    Cipher::fetch(None, "AES-256-GCM", None).expect("invariant: every OpenSSL 3 provider has AES-256-GCM")
});

/// Why a sealed text was not opened: always the sender's or the network's doing, never told apart further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the sealed text does not open under this key, nonce and associated data")]
pub struct OpenError;

/// AES-256-GCM (SP 800-38D) by OpenSSL, with one context for each direction that is kept and used again.
///
/// One belongs to each thread that seals or opens. The key of the last call is remembered, so a run of
/// packets under one key costs one key schedule; the contexts and the remembered keys are wiped on drop.
pub struct Aead {
    seal: Direction,
    open: Direction,
}

impl Aead {
    /// Makes both contexts.
    ///
    /// # Panics
    ///
    /// If OpenSSL has no AES-256-GCM or no memory: nothing of this project can run then.
    #[must_use]
    pub fn new() -> Self {
        Self::contexts().expect("invariant: OpenSSL makes a context where there is memory for one")
    }

    /// Seals `plain` and appends ciphertext and tag to `out`: `plain.len() + TAG_LEN` bytes.
    ///
    /// A (key, nonce) pair must never come twice with different content: one repetition gives away both
    /// plaintexts' XOR and the key of the tag. Callers use a fresh random key and a sequence number.
    ///
    /// # Panics
    ///
    /// If `plain` or `aad` is longer than [`MAX_SEALED_LEN`].
    pub fn seal(&mut self, key: &Secret<32>, nonce: &[u8; 12], aad: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        assert!(plain.len().max(aad.len()) <= MAX_SEALED_LEN, "invariant: callers bound what they seal");
        self.try_seal(key, nonce, aad, plain, out)
            .expect("invariant: AES-256-GCM does not fail on lengths that were checked");
    }

    /// Opens what [`seal`](Self::seal) made and appends the plaintext to `out`.
    ///
    /// On `Err` whatever was written is wiped and `out` is as long as before; unverified plaintext is never
    /// seen.
    pub fn open(
        &mut self,
        key: &Secret<32>,
        nonce: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let (text, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(OpenError)?;
        if text.len().max(aad.len()) > MAX_SEALED_LEN {
            return Err(OpenError);
        }
        let start = out.len();
        self.try_open(key, nonce, aad, text, tag, out).map_err(|_| {
            out[start..].zeroize();
            out.truncate(start);
            OpenError
        })
    }

    fn contexts() -> Result<Self, ErrorStack> {
        let mut seal = CipherCtx::new()?;
        seal.encrypt_init(Some(&GCM), None, None)?;
        let mut open = CipherCtx::new()?;
        open.decrypt_init(Some(&GCM), None, None)?;
        Ok(Self { seal: Direction { ctx: seal, key: None }, open: Direction { ctx: open, key: None } })
    }

    fn try_seal(
        &mut self,
        key: &Secret<32>,
        nonce: &[u8; 12],
        aad: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorStack> {
        let new_key = self.seal.rekey(key);
        let ctx = &mut self.seal.ctx;
        ctx.encrypt_init(None, new_key, Some(nonce))?;
        let start = out.len();
        out.resize(start + plain.len() + TAG_LEN, 0);
        let (text, tag) = out[start..].split_at_mut(plain.len());
        update(ctx, aad, plain, text)?;
        ctx.cipher_final(&mut [])?;
        ctx.tag(tag)
    }

    fn try_open(
        &mut self,
        key: &Secret<32>,
        nonce: &[u8; 12],
        aad: &[u8],
        text: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorStack> {
        let new_key = self.open.rekey(key);
        let ctx = &mut self.open.ctx;
        ctx.decrypt_init(None, new_key, Some(nonce))?;
        let start = out.len();
        out.resize(start + text.len(), 0);
        update(ctx, aad, text, &mut out[start..])?;
        ctx.set_tag(tag)?;
        ctx.cipher_final(&mut []).map(|_| ())
    }
}

impl Default for Aead {
    fn default() -> Self {
        Self::new()
    }
}

/// A context and the key it was last given.
struct Direction {
    ctx: CipherCtx,
    key: Option<Secret<32>>,
}

impl Direction {
    /// The key to hand to the context: none if it has this one already.
    fn rekey<'a>(&mut self, key: &'a Secret<32>) -> Option<&'a [u8]> {
        if self.key.as_ref() == Some(key) {
            return None;
        }
        self.key = Some(key.clone());
        Some(key.expose())
    }
}

fn update(ctx: &mut CipherCtxRef, aad: &[u8], input: &[u8], output: &mut [u8]) -> Result<(), ErrorStack> {
    if !aad.is_empty() {
        ctx.cipher_update(aad, None)?;
    }
    if !input.is_empty() {
        ctx.cipher_update(input, Some(output))?;
    }
    Ok(())
}
