//! Signatures of the simulation: a keyed hash in place of Ed25519, which would be nine tenths of a run's time.

use crypto::{Label, PublicKey, Secret, Signature, Signer, Suite, Verifier, mac};

/// Signs with a keyed hash. The key is the simulation's: no node of a run forges, and what a forger could do is tested
/// with real signatures elsewhere.
#[derive(Clone, Debug)]
pub struct FakeSigner {
    public: PublicKey,
    key: Secret<32>,
}

/// Checks what a [`FakeSigner`] of the same run signed.
#[derive(Clone, Debug)]
pub struct FakeVerifier {
    key: Secret<32>,
}

impl FakeSigner {
    /// A signer that is known as `public`.
    pub const fn new(public: PublicKey, key: Secret<32>) -> Self {
        Self { public, key }
    }
}

impl FakeVerifier {
    /// The verifier of a run whose signers hold `key`.
    pub const fn new(key: Secret<32>) -> Self {
        Self { key }
    }
}

impl Signer for FakeSigner {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Signature {
        tag(&self.key, &self.public, message)
    }
}

impl Verifier for FakeVerifier {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        tag(&self.key, key, message) == *signature
    }
}

fn tag(key: &Secret<32>, public: &PublicKey, message: &[u8]) -> Signature {
    let short = mac(Suite::Aes256Ctr, key, Label::SignAlarm, &[&public.0, message]);
    let mut signature = [0; 64];
    signature[..16].copy_from_slice(&short);
    Signature(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_message_verify() {
        let (signer, verifier) = (
            FakeSigner::new(PublicKey([1; 32]), Secret::new([9; 32])),
            FakeVerifier::new(Secret::new([9; 32])),
        );
        let signature = signer.sign(b"message");
        assert!(verifier.verify(&PublicKey([1; 32]), b"message", &signature));
        assert!(!verifier.verify(&PublicKey([2; 32]), b"message", &signature));
        assert!(!verifier.verify(&PublicKey([1; 32]), b"massage", &signature));
    }
}
