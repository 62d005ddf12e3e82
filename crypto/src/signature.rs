use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::{Secret, hex::write_hex};

/// An Ed25519 public key as it travels; not yet known to be a point of the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature as it travels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Signs for one node. Handed to a machine at construction.
///
/// It holds both halves of its key: a signature is never made with a public key from elsewhere, which would
/// give the private one away.
pub trait Signer: Send + Sync {
    /// The key that checks what [`sign`](Self::sign) makes.
    fn public_key(&self) -> PublicKey;

    /// Signs `message`, which the caller has begun with its label so that it can be taken for nothing else.
    fn sign(&self, message: &[u8]) -> Signature;
}

impl<S: Signer + ?Sized> Signer for std::sync::Arc<S> {
    fn public_key(&self) -> PublicKey {
        (**self).public_key()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        (**self).sign(message)
    }
}

/// Checks signatures. Handed to a machine at construction; the caller decides how often it may be asked.
pub trait Verifier: Send + Sync {
    /// Whether `signature` is `key`'s over `message`. A wrong yes admits a forged message, a wrong no costs a
    /// repair.
    #[must_use]
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool;
}

/// The program's [`Signer`]: Ed25519 (RFC 8032). Its key is wiped on drop.
pub struct Ed25519Signer(SigningKey);

impl Ed25519Signer {
    /// The signer whose private key is `seed`.
    #[must_use]
    pub fn from_seed(seed: &Secret<32>) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }
}

impl Signer for Ed25519Signer {
    fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

/// The program's [`Verifier`]: Ed25519, strict.
///
/// Keys and nonces of small order and scalars that are not reduced are refused, so everyone agrees on what is
/// valid and no signature has a second form.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ed25519Verifier;

impl Verifier for Ed25519Verifier {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&key.0).is_ok_and(|key| {
            key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
        })
    }
}
