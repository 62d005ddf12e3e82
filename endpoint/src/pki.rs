//! Certificates: a small authority, and what a node loads at start.
//!
//! A certificate names a node (subject alternative name) and its roles (private OIDs in extended key usage, beside
//! serverAuth and clientAuth). Any authority that can set those serves as well; this one is for those who have none.

mod authority;
mod credentials;
mod files;
mod identity;

use std::io;
use std::path::PathBuf;

use openssl::error::ErrorStack;

pub use authority::{Authority, IssueRequest, Issued, KeyKind};
pub use credentials::{Credentials, ShownCertificate, read_certificates};
pub use identity::{Identity, IdentityError};

/// A certificate or key could not be made, written or read. Every text about a file names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The caller's fault: not a name a certificate can hold.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The caller's fault: the certificate would never be valid.
    #[error("a certificate cannot end before it begins")]
    EmptyValidity,
    /// The caller's fault: a file of that name is there, and an old key must not be lost by a slip.
    #[error("{} exists and is not overwritten", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read or change the key.
    #[error(
        "the key file {} is open to others (mode {mode:04o}); close it with: chmod 600 '{}'",
        .path.display(), .path.display()
    )]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key asks for a passphrase, which a daemon has nobody to ask for.
    #[error("the key in {} is encrypted; a daemon needs it without a passphrase", .path.display())]
    KeyEncrypted {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold what it should.
    #[error("{} holds no {what} in PEM", .path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Key and certificate are not a pair.
    #[error("the key in {} is not the one of the certificate in {}", .key.display(), .certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate that names no node.
    #[error("the certificate in {} is of no use here: {source}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: crypto::CertificateError,
    },
    /// OpenSSL failed, which on a sound installation it does not.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

#[cfg(test)]
mod tests;
