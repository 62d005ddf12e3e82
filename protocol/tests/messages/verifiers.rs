//! Verifiers and signers that do what a test needs: count, believe everything, repeat a signature.

use std::sync::atomic::{AtomicUsize, Ordering};

use crypto::{Ed25519Verifier, PublicKey, Signature, Signer, Verifier};

/// Ed25519 that counts how often it was asked.
#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicUsize);

impl Counting {
    pub(crate) fn checks(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Verifier for Counting {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ed25519Verifier.verify(key, message, signature)
    }
}

/// Believes every signature, so that arbitrary bytes get as far as their form lets them.
#[derive(Debug)]
pub(crate) struct Credulous;

impl Verifier for Credulous {
    fn verify(&self, _: &PublicKey, _: &[u8], _: &Signature) -> bool {
        true
    }
}

/// Signs everything with the same bytes: those that stood in a message that is encoded again.
#[derive(Debug)]
pub(crate) struct Repeating(pub(crate) Signature);

impl Signer for Repeating {
    fn public_key(&self) -> PublicKey {
        PublicKey([0; 32])
    }

    fn sign(&self, _: &[u8]) -> Signature {
        self.0
    }
}
