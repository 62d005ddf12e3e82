//! Signatures of the simulation: a keyed hash in place of Ed25519, which would be nine tenths of a run's time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crypto::{Label, PublicKey, Secret, Signature, Signer, Suite, Verifier, mac};
use protocol::discovery::{Certified, Certifier};

/// Signs with a keyed hash. The key is the simulation's: no node of a run forges, and what a forger could do is tested
/// with real signatures elsewhere.
#[derive(Clone, Debug)]
pub struct FakeSigner {
    public: PublicKey,
    key: Secret<32>,
}

/// Checks what a [`FakeSigner`] of the same run signed.
#[derive(Debug)]
pub struct FakeVerifier {
    key: Secret<32>,
    genuine: Mutex<VecDeque<Signed>>,
}

/// What was found genuine lately: a manager's message is checked by each of its members.
#[derive(PartialEq, Eq, Debug)]
struct Signed {
    signature: Signature,
    key: PublicKey,
    message: Vec<u8>,
}

/// Messages remembered: those that arrive at different members at about the same time.
const REMEMBERED: usize = 8;

impl FakeSigner {
    /// A signer that is known as `public`.
    pub const fn new(public: PublicKey, key: Secret<32>) -> Self {
        Self { public, key }
    }
}

impl FakeVerifier {
    /// The verifier of a run whose signers hold `key`.
    pub const fn new(key: Secret<32>) -> Self {
        Self { key, genuine: Mutex::new(VecDeque::new()) }
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
        let known = |signed: &Signed| {
            signed.signature == *signature && signed.key == *key && signed.message == message
        };
        let mut remembered = self.genuine.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.iter().any(known) {
            return true;
        }
        let genuine = tag(&self.key, key, message) == *signature;
        if genuine {
            remembered.truncate(REMEMBERED - 1);
            remembered.push_front(Signed { signature: *signature, key: *key, message: message.to_vec() });
        }
        genuine
    }
}

/// Counts how often a verifier is asked.
pub(crate) struct CountingVerifier {
    inner: Arc<dyn Verifier>,
    asked: AtomicU64,
}

impl CountingVerifier {
    pub(crate) const fn new(inner: Arc<dyn Verifier>) -> Self {
        Self { inner, asked: AtomicU64::new(0) }
    }

    /// How often it was asked so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Verifier for CountingVerifier {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.verify(key, message, signature)
    }
}

/// Knows the certificates of a run, and checks what their keys signed: OpenSSL's part in the program.
#[derive(Clone, Debug)]
pub struct FakeCertifier {
    authority: Secret<32>,
    issued: BTreeMap<Vec<u8>, Certified>,
}

impl FakeCertifier {
    /// The certifier of an authority that has issued these certificates.
    pub const fn new(authority: Secret<32>, issued: BTreeMap<Vec<u8>, Certified>) -> Self {
        Self { authority, issued }
    }
}

impl Certifier for FakeCertifier {
    fn certify(&self, certificate: &[u8], message: &[u8], signature: &[u8]) -> Option<Certified> {
        let genuine = mandate_signature(&self.authority, certificate, message) == signature;
        self.issued.get(certificate).filter(|_| genuine).cloned()
    }
}

/// What a certificate's key would sign: a keyed hash, and no node of a run forges one.
pub(crate) fn mandate_signature(authority: &Secret<32>, certificate: &[u8], message: &[u8]) -> Vec<u8> {
    mac(Suite::Aes256Ctr, authority, Label::SignMandate, &[certificate, message]).to_vec()
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
    fn a_certifier_takes_only_what_the_certificates_own_key_signed() {
        let authority = Secret::new([9; 32]);
        let roles = crypto::Roles { member: true, manager: true, maa: false };
        let certified = Certified { identity: "n1".into(), roles, fingerprint: [1; 32] };
        let issued = BTreeMap::from([(vec![1], certified.clone()), (vec![2], certified.clone())]);
        let certifier = FakeCertifier::new(authority.clone(), issued);
        let signature = mandate_signature(&authority, &[1], b"message");
        assert_eq!(certifier.certify(&[1], b"message", &signature), Some(certified));
        assert_eq!(certifier.certify(&[2], b"message", &signature), None, "another certificate");
        assert_eq!(certifier.certify(&[1], b"massage", &signature), None, "another message");
        let unknown = mandate_signature(&authority, &[3], b"message");
        assert_eq!(certifier.certify(&[3], b"message", &unknown), None, "never issued");
    }

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
        let mut forged = signature;
        forged.0[3] ^= 1;
        assert!(
            !verifier.verify(&PublicKey([1; 32]), b"message", &forged),
            "what is remembered helps no forger"
        );
        assert!(verifier.verify(&PublicKey([1; 32]), b"message", &signature));
    }
}
