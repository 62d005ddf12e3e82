//! Signatures by certificates outside of TLS: what discovery and election are believed by.

use std::fmt;

use crypto::read_certificate;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{HasPublic, Id, PKeyRef};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509PurposeId, X509StoreContext};
use protocol::discovery::{Certified, Certifier};

use super::TlsConfig;
use super::config::{MAX_INTERMEDIATES, only};
use crate::pki::Credentials;

/// Signs `message` with the key of a node's own certificate. Called at a node's start, once for each group it may manage.
///
/// ECDSA or RSA-PSS with SHA-256, or Ed25519, whichever the key is. On error OpenSSL does not sign with such a key: the
/// node then cannot stand for election.
pub fn sign_with_certificate_key(credentials: &Credentials, message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = credentials.key();
    let mut signer = match digest(key) {
        Some(digest) => Signer::new(digest, key)?,
        None => Signer::new_without_digest(key)?,
    };
    if key.id() == Id::RSA {
        signer.set_rsa_padding(Padding::PKCS1_PSS)?;
        signer.set_rsa_mgf1_md(MessageDigest::sha256())?;
        signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
    }
    signer.sign_oneshot_to_vec(message)
}

/// Checks what the keys of other nodes' certificates signed, by the rules that [`TlsConfig`] has for a server: a chain
/// to the group's authority, times, key strengths, purpose.
///
/// A claim carries its certificate alone. Those between it and the authority must be this node's own, so where nodes are
/// issued by several intermediate authorities some cannot be elected by all; TLS is not affected.
pub struct CertificateCheck {
    store: X509Store,
    intermediates: Vec<X509>,
}

impl CertificateCheck {
    /// A check against the authority of `credentials`, with the strengths `tls` asks for.
    pub fn new(credentials: &Credentials, tls: &TlsConfig) -> Result<Self, ErrorStack> {
        let mut store: X509StoreBuilder = only(credentials)?;
        let mut rules = X509VerifyParam::new()?;
        rules.set_purpose(X509PurposeId::SSL_SERVER)?;
        rules.set_depth(i32::try_from(MAX_INTERMEDIATES).unwrap_or(0));
        rules.set_auth_level(i32::try_from(tls.security_level()).unwrap_or(i32::MAX));
        store.set_param(&rules)?;
        Ok(Self { store: store.build(), intermediates: credentials.intermediates().to_vec() })
    }

    fn check(&self, certificate: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        let shown = X509::from_der(certificate)?;
        // The chain first: no key of a stranger's choice is ever put to work.
        Ok(self.is_ours(&shown)? && signed(&*shown.public_key()?, message, signature)?)
    }

    fn is_ours(&self, certificate: &X509) -> Result<bool, ErrorStack> {
        let mut between = Stack::new()?;
        for intermediate in &self.intermediates {
            between.push(intermediate.clone())?;
        }
        X509StoreContext::new()?.init(&self.store, certificate, &between, |chain| chain.verify_cert())
    }
}

impl Certifier for CertificateCheck {
    /// About a quarter of a millisecond with keys on P-256.
    fn certify(&self, certificate: &[u8], message: &[u8], signature: &[u8]) -> Option<Certified> {
        // Strict about what follows the certificate and about its names, which OpenSSL is not.
        let facts = read_certificate(certificate).ok()?;
        let holds = self.check(certificate, message, signature).unwrap_or(false);
        // What a refusal leaves behind on this thread must not be taken for another call's.
        drop(ErrorStack::get());
        holds.then_some(Certified {
            identity: facts.identity,
            roles: facts.roles,
            fingerprint: facts.fingerprint,
        })
    }
}

impl fmt::Debug for CertificateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateCheck")
    }
}

/// Whether `signature` is by `key`. Only the three kinds of keys that nodes have are believed.
fn signed<K: HasPublic>(key: &PKeyRef<K>, message: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
    let mut verifier = match key.id() {
        Id::ED25519 => Verifier::new_without_digest(key)?,
        Id::EC | Id::RSA => Verifier::new(MessageDigest::sha256(), key)?,
        _ => return Ok(false),
    };
    if key.id() == Id::RSA {
        verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
        verifier.set_rsa_mgf1_md(MessageDigest::sha256())?;
        verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
    }
    verifier.verify_oneshot(signature, message)
}

/// Ed25519 hashes by itself and takes no digest.
fn digest<K>(key: &PKeyRef<K>) -> Option<MessageDigest> {
    (key.id() != Id::ED25519).then(MessageDigest::sha256)
}

#[cfg(test)]
mod tests;
