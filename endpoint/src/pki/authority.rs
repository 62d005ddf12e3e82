use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crypto::Roles;
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, PKeyRef, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef};
use zeroize::Zeroizing;

use super::files::{self, Access};
use super::identity::Kind;
use super::{Credentials, Identity, PkiError, credentials};
use crate::unix_now;

const CERTIFICATE_FILE: &str = "ca-cert.pem";
const KEY_FILE: &str = "ca-key.pem";

/// How far a certificate's beginning is put back by default: a node whose clock is a little behind can use it at once.
const BACKDATED: i64 = 300;

/// Longest common name X.520 allows; a longer identity is in the subject alternative name alone.
const MAX_COMMON_NAME: usize = 64;

/// The kind of key a certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA over P-256: every TLS library and every authority takes it.
    #[default]
    P256,
    /// Ed25519: smaller and simpler, refused by some older authorities.
    Ed25519,
}

/// A certificate authority for one group: issues the certificates of its nodes.
///
/// Whoever holds its key can make members and managers at will, so it belongs on no node; `conclave pki` uses it where
/// an operator runs it, and a demonstration throws it away.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// The node's name.
    pub identity: Identity,
    /// What the node may be.
    pub roles: Roles,
    /// The kind of the node's key.
    pub key: KeyKind,
    /// From when it is valid, seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid, seconds since 1970; never longer than the authority's own certificate.
    pub not_after: i64,
}

/// A new certificate and its key.
pub struct Issued {
    certificate: X509,
    key: PKey<Private>,
    authority: X509,
}

impl Authority {
    /// Makes a new authority with a new key, valid from five minutes ago for `lifetime`.
    ///
    /// `name` is what certificates show as their issuer, up to 64 characters. Its certificate allows no authority
    /// below it.
    pub fn create(name: &str, key: KeyKind, lifetime: Duration) -> Result<Self, PkiError> {
        let now = unix_now();
        let key = key.generate()?;
        let subject = common_name(name)?;
        let mut builder = begin(&subject, &subject, &key, now - BACKDATED, after(now, lifetime))?;
        builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
        let key_id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(key_id)?;
        builder.sign(&key, digest(&key))?;
        Ok(Self { certificate: builder.build(), key })
    }

    /// Reads the authority that [`Authority::save`] wrote; a key open to others is refused.
    pub fn load(directory: &Path) -> Result<Self, PkiError> {
        let (certificate_file, key_file) = authority_files(directory);
        let (mut chain, key) = credentials::load_pair(&certificate_file, &key_file)?;
        Ok(Self { certificate: chain.remove(0), key })
    }

    /// Writes `ca-cert.pem` and `ca-key.pem` (0600) into `directory`, which is made if it is not there.
    ///
    /// If either file exists nothing is written.
    pub fn save(&self, directory: &Path) -> Result<(), PkiError> {
        make_directory(directory)?;
        let (certificate_file, key_file) = authority_files(directory);
        save_pair(&self.certificate, &self.key, &certificate_file, &key_file)
    }

    /// Issues one certificate with a new key.
    pub fn issue(&self, request: &IssueRequest) -> Result<Issued, PkiError> {
        let key = request.key.generate()?;
        let identity = request.identity.as_str();
        let named = identity.len() <= MAX_COMMON_NAME;
        let subject = if named { common_name(identity)? } else { X509Name::builder()?.build() };
        let not_after = request.not_after.min(unix_of(self.certificate.not_after())?);
        if not_after <= request.not_before {
            return Err(PkiError::EmptyValidity);
        }
        let issuer = self.certificate.subject_name();
        let mut builder = begin(&subject, issuer, &key, request.not_before, not_after)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        builder.append_extension(usage_of(request.roles).build()?)?;
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let extensions = [
            alternative_name(&request.identity, !named).build(&context)?,
            SubjectKeyIdentifier::new().build(&context)?,
            AuthorityKeyIdentifier::new().keyid(true).build(&context)?,
        ];
        for extension in extensions {
            builder.append_extension(extension)?;
        }
        builder.sign(&self.key, digest(&self.key))?;
        Ok(Issued { certificate: builder.build(), key, authority: self.certificate.clone() })
    }

    /// Its certificate in PEM, which every node of the group needs.
    pub fn certificate_pem(&self) -> Result<String, PkiError> {
        pem_of(&self.certificate)
    }
}

impl IssueRequest {
    /// A certificate valid from five minutes ago for `lifetime`, with a P-256 key.
    #[must_use]
    pub fn new(identity: Identity, roles: Roles, lifetime: Duration) -> Self {
        let now = unix_now();
        Self {
            identity,
            roles,
            key: KeyKind::default(),
            not_before: now - BACKDATED,
            not_after: after(now, lifetime),
        }
    }
}

impl Issued {
    /// The certificate in PEM.
    pub fn certificate_pem(&self) -> Result<String, PkiError> {
        pem_of(&self.certificate)
    }

    /// The key in PEM (PKCS #8, not encrypted). Wiped when dropped; it goes into a file of mode 0600 or nowhere.
    pub fn key_pem(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        Ok(Zeroizing::new(self.key.private_key_to_pem_pkcs8()?))
    }

    /// Writes `<stem>-cert.pem` and `<stem>-key.pem` (0600) into `directory` and returns both paths.
    ///
    /// If either file exists nothing is written. The directory is made if it is not there.
    pub fn save(&self, directory: &Path, stem: &str) -> Result<(PathBuf, PathBuf), PkiError> {
        make_directory(directory)?;
        let certificate_file = directory.join(format!("{stem}-cert.pem"));
        let key_file = directory.join(format!("{stem}-key.pem"));
        save_pair(&self.certificate, &self.key, &certificate_file, &key_file)?;
        Ok((certificate_file, key_file))
    }

    /// The same without a detour over files, for a process that issues its own certificate.
    #[must_use]
    pub fn into_credentials(self) -> Credentials {
        Credentials::new(vec![self.certificate], self.key, vec![self.authority])
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?})", self.certificate.subject_name())
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued({:?})", self.certificate.subject_name())
    }
}

impl KeyKind {
    fn generate(self) -> Result<PKey<Private>, ErrorStack> {
        match self {
            Self::P256 => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
                PKey::from_ec_key(EcKey::generate(&group)?)
            }
            Self::Ed25519 => PKey::generate_ed25519(),
        }
    }
}

/// What all certificates have in common: version 3, a random serial number, names, dates and key.
fn begin(
    subject: &X509NameRef,
    issuer: &X509NameRef,
    key: &PKeyRef<Private>,
    not_before: i64,
    not_after: i64,
) -> Result<X509Builder, PkiError> {
    let mut builder = X509Builder::new()?;
    // The version field counts from zero.
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    // The top bit set keeps the length constant; ASN.1 puts a zero byte before it.
    serial.rand(128, MsbOption::ONE, false)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_not_before(&*Asn1Time::from_unix(not_before)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(not_after)?)?;
    builder.set_pubkey(key)?;
    Ok(builder)
}

fn common_name(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(builder.build())
}

fn usage_of(roles: Roles) -> ExtendedKeyUsage {
    let mut usage = ExtendedKeyUsage::new();
    usage.server_auth().client_auth();
    for (held, oid) in [
        (roles.member, crypto::ROLE_MEMBER),
        (roles.manager, crypto::ROLE_MANAGER),
        (roles.maa, crypto::ROLE_MAA),
    ] {
        if held {
            usage.other(oid);
        }
    }
    usage
}

/// The identity; critical when the subject is empty, as RFC 5280 4.2.1.6 asks.
fn alternative_name(identity: &Identity, critical: bool) -> SubjectAlternativeName {
    let mut name = SubjectAlternativeName::new();
    match identity.kind() {
        Kind::Dns => name.dns(identity.as_str()),
        Kind::Email => name.email(identity.as_str()),
        Kind::Uri => name.uri(identity.as_str()),
    };
    if critical {
        name.critical();
    }
    name
}

/// Ed25519 hashes by itself and takes no digest.
fn digest(key: &PKeyRef<Private>) -> MessageDigest {
    if key.id() == Id::ED25519 { MessageDigest::null() } else { MessageDigest::sha256() }
}

fn after(now: i64, lifetime: Duration) -> i64 {
    now.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX))
}

/// Seconds since 1970.
pub(super) fn unix_of(time: &openssl::asn1::Asn1TimeRef) -> Result<i64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

fn pem_of(certificate: &X509) -> Result<String, PkiError> {
    Ok(String::from_utf8(certificate.to_pem()?).expect("invariant: PEM is ASCII"))
}

fn authority_files(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE))
}

fn make_directory(directory: &Path) -> Result<(), PkiError> {
    fs::create_dir_all(directory).map_err(|source| PkiError::Write { path: directory.to_owned(), source })
}

fn save_pair(
    certificate: &X509,
    key: &PKeyRef<Private>,
    certificate_file: &Path,
    key_file: &Path,
) -> Result<(), PkiError> {
    files::refuse_existing([certificate_file, key_file])?;
    let key_pem = Zeroizing::new(key.private_key_to_pem_pkcs8()?);
    files::write_new(key_file, &key_pem, Access::Owner)?;
    files::write_new(certificate_file, &certificate.to_pem()?, Access::Everyone)
}
