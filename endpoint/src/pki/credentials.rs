use std::fmt;
use std::path::Path;

use crypto::{CertificateError, CertificateFacts, read_certificate};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Ref};

use super::authority::unix_of;
use super::{PkiError, files};

/// What a node proves itself with, and whom it believes: its certificate chain, its key, and the group's authority.
#[derive(Clone)]
pub struct Credentials {
    chain: Vec<X509>,
    key: PKey<Private>,
    authorities: Vec<X509>,
}

impl Credentials {
    /// Reads the three PEM files a configuration names. Called once at start, and again on reload.
    ///
    /// `certificate` holds the node's certificate first, then any intermediate ones. `key` must be closed to group and
    /// others: a key that others could read is refused, not merely warned about, and the text says how to mend it.
    /// `ca` holds the group's authority; nothing else on the host is believed.
    pub fn load(certificate: &Path, key: &Path, ca: &Path) -> Result<Self, PkiError> {
        let (chain, private) = load_pair(certificate, key)?;
        facts_in(certificate, &chain[0])?;
        Ok(Self::new(chain, private, certificates_in(ca)?))
    }

    /// What the node's own certificate says.
    pub fn facts(&self) -> Result<CertificateFacts, CertificateError> {
        read_certificate(&self.leaf().to_der().unwrap_or_default())
    }

    /// The authority's public key (DER of its SubjectPublicKeyInfo), which goes into the group's id.
    ///
    /// The key and not the certificate: renewing the certificate of the same authority does not make another group.
    pub fn authority_key(&self) -> Result<Vec<u8>, PkiError> {
        Ok(self.authorities[0].public_key()?.public_key_to_der()?)
    }

    /// From parts that fit together: neither list is empty, and the key is the first certificate's.
    pub(crate) fn new(chain: Vec<X509>, key: PKey<Private>, authorities: Vec<X509>) -> Self {
        Self { chain, key, authorities }
    }

    pub(crate) fn leaf(&self) -> &X509Ref {
        &self.chain[0]
    }

    pub(crate) fn intermediates(&self) -> &[X509] {
        &self.chain[1..]
    }

    pub(crate) fn authorities(&self) -> &[X509] {
        &self.authorities
    }

    pub(crate) const fn key(&self) -> &PKey<Private> {
        &self.key
    }
}

/// What the certificates in a PEM file say, in the file's order. For `conclave pki show`.
///
/// An authority's certificate names no node, so there the name is its issuer name and the facts are absent.
pub fn read_certificates(path: &Path) -> Result<Vec<ShownCertificate>, PkiError> {
    certificates_in(path)?.iter().map(|certificate| shown(path, certificate)).collect()
}

/// A certificate to look at.
#[derive(Clone, Debug)]
pub struct ShownCertificate {
    /// The common name of its subject; empty where it has none.
    pub name: String,
    /// What a node's certificate says; `None` for one that names no node.
    pub node: Option<CertificateFacts>,
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// First second of validity, counted from 1970 in UTC.
    pub not_before: i64,
    /// Last second of validity, counted from 1970 in UTC.
    pub not_after: i64,
}

/// A certificate chain and the key of its first certificate.
pub(super) fn load_pair(certificate: &Path, key: &Path) -> Result<(Vec<X509>, PKey<Private>), PkiError> {
    let chain = certificates_in(certificate)?;
    let private = key_in(key)?;
    if !chain[0].public_key()?.public_eq(&private) {
        return Err(PkiError::KeyMismatch { certificate: certificate.to_owned(), key: key.to_owned() });
    }
    Ok((chain, private))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.leaf().subject_name())
    }
}

/// All certificates of a file, at least one.
fn certificates_in(path: &Path) -> Result<Vec<X509>, PkiError> {
    let none = || PkiError::NotPem { path: path.to_owned(), what: "certificate" };
    let certificates = X509::stack_from_pem(&files::read(path)?).map_err(|_| none())?;
    if certificates.is_empty() { Err(none()) } else { Ok(certificates) }
}

fn key_in(path: &Path) -> Result<PKey<Private>, PkiError> {
    let pem = files::read_key(path)?;
    let mut encrypted = false;
    // Without an answer of our own OpenSSL would ask for the passphrase on the terminal and wait.
    let key = PKey::private_key_from_pem_callback(&pem, |_| {
        encrypted = true;
        Err(ErrorStack::get())
    });
    key.map_err(|_| match encrypted {
        true => PkiError::KeyEncrypted { path: path.to_owned() },
        false => PkiError::NotPem { path: path.to_owned(), what: "private key" },
    })
}

fn shown(path: &Path, certificate: &X509Ref) -> Result<ShownCertificate, PkiError> {
    let node = match facts_in(path, certificate) {
        Err(PkiError::Certificate { source: CertificateError::NoIdentity, .. }) => None,
        facts => Some(facts?),
    };
    let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
    let name = names.next().and_then(|entry| entry.data().to_string().ok()).unwrap_or_default();
    let digest = certificate.digest(MessageDigest::sha256())?;
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(&digest);
    Ok(ShownCertificate {
        name,
        node,
        fingerprint,
        not_before: unix_of(certificate.not_before())?,
        not_after: unix_of(certificate.not_after())?,
    })
}

fn facts_in(path: &Path, certificate: &X509Ref) -> Result<CertificateFacts, PkiError> {
    read_certificate(&certificate.to_der()?)
        .map_err(|source| PkiError::Certificate { path: path.to_owned(), source })
}
