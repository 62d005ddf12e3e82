use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::Roles;

/// The longest certificate read, 16 KiB: ten times a large one, little enough to parse for anybody.
pub const MAX_CERTIFICATE_LEN: usize = 16 * 1024;
/// The longest identity taken: that of an e-mail address, rounded up for URIs.
const MAX_IDENTITY_LEN: usize = 512;

/// What the cores need to know of a node's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The node's name: the first DNS name, e-mail address or URI among its subject alternative names.
    pub identity: String,
    /// All such names, in the certificate's order; the first is `identity`. A revocation of any of them
    /// holds.
    pub all_identities: Vec<String>,
    /// What the extended key usage allows.
    pub roles: Roles,
    /// SHA-256 over the certificate's DER.
    pub fingerprint: [u8; 32],
    /// First second of validity, counted from 1970 in UTC.
    pub not_before: i64,
    /// Last second of validity, counted from 1970 in UTC.
    pub not_after: i64,
}

/// Why a certificate cannot name a node: always its holder's or its CA's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Longer than [`MAX_CERTIFICATE_LEN`].
    #[error("a certificate of {0} bytes, {MAX_CERTIFICATE_LEN} are the limit")]
    TooLong(usize),
    /// Not a DER certificate, or something follows it, or an extension is malformed or there twice.
    #[error("not a well-formed X.509 certificate")]
    Malformed,
    /// No DNS name, e-mail address or URI among the subject alternative names.
    #[error("the certificate names no DNS name, e-mail address or URI")]
    NoIdentity,
    /// A name is empty, longer than 512 bytes, not printable ASCII, or in the form of another kind of name:
    /// it could be mistaken for another.
    #[error("a name in the certificate is empty, too long, not printable or not of its kind")]
    BadIdentity,
}

/// Reads identity, roles and validity out of a certificate.
///
/// Called by the driver for the peer's certificate once TLS has verified its chain, and for the node's own at
/// start; it verifies nothing itself, neither signature nor validity. DNS names and the domain of an e-mail
/// address are given in lower case, so that one node has one spelling. Any input is answered, none panics.
pub fn read_certificate(der: &[u8]) -> Result<CertificateFacts, CertificateError> {
    if der.len() > MAX_CERTIFICATE_LEN {
        return Err(CertificateError::TooLong(der.len()));
    }
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertificateError::Malformed);
    }
    let all_identities = identities(&certificate)?;
    let identity = all_identities.first().cloned().ok_or(CertificateError::NoIdentity)?;
    let usage = certificate.extended_key_usage().map_err(|_| CertificateError::Malformed)?;
    let validity = certificate.validity();
    Ok(CertificateFacts {
        identity,
        all_identities,
        roles: usage.map(|usage| Roles::among(&usage.value.other)).unwrap_or_default(),
        fingerprint: Sha256::digest(der).into(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// The names of a node, in the certificate's order. Names of other kinds are passed over.
fn identities(certificate: &X509Certificate<'_>) -> Result<Vec<String>, CertificateError> {
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    names.iter().filter_map(|name| identity(name).transpose()).collect()
}

/// One name as an identity. A colon and an at sign tell the three kinds apart, so that no name of one kind
/// can pass for one of another in an access list.
fn identity(name: &GeneralName<'_>) -> Result<Option<String>, CertificateError> {
    let (name, spelled) = match name {
        GeneralName::DNSName(name) if !name.contains(['@', ':']) => (*name, name.to_ascii_lowercase()),
        GeneralName::RFC822Name(name) if !name.contains(':') => {
            let (local, domain) = name.rsplit_once('@').ok_or(CertificateError::BadIdentity)?;
            (*name, format!("{local}@{}", domain.to_ascii_lowercase()))
        }
        GeneralName::URI(name) if name.contains(':') => (*name, (*name).to_owned()),
        GeneralName::DNSName(_) | GeneralName::RFC822Name(_) | GeneralName::URI(_) => {
            return Err(CertificateError::BadIdentity);
        }
        // One of the three, but not even text.
        GeneralName::Invalid(tag, _) if [1, 2, 6].contains(&tag.0) => {
            return Err(CertificateError::BadIdentity);
        }
        _ => return Ok(None),
    };
    let fits =
        (1..=MAX_IDENTITY_LEN).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(Some(spelled)) } else { Err(CertificateError::BadIdentity) }
}
