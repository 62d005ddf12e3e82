use std::sync::LazyLock;

use aes_kw::{KeyInit, KwAes256, cipher::consts::U32};
use thiserror::Error;
use zeroize::optimization_barrier;

use crate::Secret;

/// Bytes of a 32-byte key wrapped by AES-256-KW.
pub const WRAPPED_KEY_LEN: usize = 40;

/// Why a wrapped key was not opened. Nothing of the key is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnwrapError {
    /// The sealed bytes are not as long as an entry of this suite: the message is malformed.
    #[error("a sealed entry of {found} bytes where {expected} were due")]
    Length {
        /// Bytes of an entry in this suite.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// The target lies outside the block format: the message is malformed.
    #[error("the target lies outside the key tree's bounds")]
    Position,
    /// The integrity check failed: another key wrapped this, or it was altered.
    #[error("the wrapped key does not open under this key")]
    Integrity,
}

/// Wraps `key` under `kek` by AES-256-KW (RFC 3394, SP 800-38F), in both suites: how {Kr} travels.
///
/// Deterministic: equal output means equal key under equal KEK, which is all it reveals. `kek` must be derived
/// for wrapping only.
#[must_use]
pub fn key_wrap(kek: &Secret<32>, key: &Secret<32>) -> [u8; WRAPPED_KEY_LEN] {
    Wrapper::new(kek).0.wrap_fixed_key::<U32>(key.expose().into()).into()
}

/// Opens what [`key_wrap()`] made; refuses everything else, with 64 bits of certainty.
pub fn key_unwrap(kek: &Secret<32>, wrapped: &[u8; WRAPPED_KEY_LEN]) -> Result<Secret<32>, UnwrapError> {
    let mut failed = false;
    let key = Secret::filled_by(|out| failed = Wrapper::new(kek).0.unwrap_key(wrapped, out).is_err());
    if failed { Err(UnwrapError::Integrity) } else { Ok(key) }
}

/// Written over the schedules of others.
static BLANK: LazyLock<KwAes256> = LazyLock::new(|| KwAes256::new(&[0; 32].into()));

/// AES-256-KW under one key, wiped on drop.
struct Wrapper(KwAes256);

impl Wrapper {
    fn new(kek: &Secret<32>) -> Self {
        Self(KwAes256::new(kek.expose().into()))
    }
}

impl Drop for Wrapper {
    fn drop(&mut self) {
        self.0.clone_from(&BLANK);
        optimization_barrier(&self.0);
    }
}
