use std::fmt;

use x25519_dalek::{PublicKey, StaticSecret};

use crate::{Secret, hex::write_hex};

/// An X25519 public key as it travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExchangePublic(pub [u8; 32]);

impl fmt::Debug for ExchangePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// An X25519 private key (RFC 7748), by which a manager and each of its members come to a secret that a
/// former manager does not know. Wiped on drop.
pub struct ExchangeSecret(StaticSecret);

impl ExchangeSecret {
    /// Takes 32 random bytes as a private key.
    #[must_use]
    pub fn from_bytes(bytes: Secret<32>) -> Self {
        Self(StaticSecret::from(*bytes.expose()))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> ExchangePublic {
        ExchangePublic(PublicKey::from(&self.0).to_bytes())
    }

    /// The secret shared with the holder of `theirs`; derive from it, do not use it as it is.
    ///
    /// `None` if `theirs` is a point of small order: the secret would be known to everyone.
    #[must_use]
    pub fn agree(&self, theirs: &ExchangePublic) -> Option<Secret<32>> {
        let shared = self.0.diffie_hellman(&PublicKey::from(theirs.0));
        shared.was_contributory().then(|| Secret::new(shared.to_bytes()))
    }
}
