use std::time::Duration;

use crypto::Roles;
use openssl::asn1::Asn1Time;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509Name};

use super::*;
use crate::pki::{Authority, IssueRequest, KeyKind};
use crate::unix_now;

const HOUR: Duration = Duration::from_secs(3_600);
const MANAGER: Roles = Roles { member: true, manager: true, maa: false };
const MEMBER: Roles = Roles { member: true, manager: false, maa: false };
const MESSAGE: &[u8] = b"group and key";

fn authority() -> Authority {
    Authority::create("Site", KeyKind::P256, 10 * HOUR).unwrap()
}

fn request(roles: Roles) -> IssueRequest {
    IssueRequest::new("node.example".parse().unwrap(), roles, HOUR)
}

fn node(authority: &Authority, request: &IssueRequest) -> Credentials {
    authority.issue(request).unwrap().into_credentials()
}

fn check(own: &Credentials) -> CertificateCheck {
    CertificateCheck::new(own, &TlsConfig::new(own).unwrap()).unwrap()
}

/// What a node of `authority` makes of `signer`'s signature over [`MESSAGE`].
fn certified(authority: &Authority, signer: &Credentials) -> Option<Certified> {
    let signature = sign_with_certificate_key(signer, MESSAGE).unwrap();
    check(&node(authority, &request(MEMBER))).certify(&signer.leaf().to_der().unwrap(), MESSAGE, &signature)
}

#[test]
fn what_a_nodes_key_signed_is_certified_with_its_name_and_roles() {
    for kind in [KeyKind::P256, KeyKind::Ed25519] {
        let authority = Authority::create("Site", kind, 10 * HOUR).unwrap();
        for roles in [MANAGER, MEMBER] {
            let signer = node(&authority, &IssueRequest { key: kind, ..request(roles) });
            let certified = certified(&authority, &signer).unwrap();
            let facts = signer.facts().unwrap();
            assert_eq!((certified.identity.as_str(), certified.roles), ("node.example", roles));
            assert_eq!(certified.fingerprint, facts.fingerprint);
        }
    }
}

#[test]
fn a_certificate_of_another_authority_is_nobodys_even_under_the_same_name() {
    let (ours, theirs) = (authority(), authority());
    assert_eq!(certified(&ours, &node(&theirs, &request(MANAGER))), None);
}

#[test]
fn an_expired_certificate_and_one_that_is_not_valid_yet_are_nobodys() {
    let authority = authority();
    let now = unix_now();
    for (from, until) in [(now - 7_200, now - 60), (now + 60, now + 7_200)] {
        let request = IssueRequest { not_before: from, not_after: until, ..request(MANAGER) };
        assert_eq!(certified(&authority, &node(&authority, &request)), None);
    }
}

#[test]
fn a_signature_over_something_else_or_by_another_key_is_nobodys() {
    let authority = authority();
    let (signer, other) = (node(&authority, &request(MANAGER)), node(&authority, &request(MANAGER)));
    let check = check(&other);
    let certificate = signer.leaf().to_der().unwrap();
    let good = sign_with_certificate_key(&signer, MESSAGE).unwrap();
    assert!(check.certify(&certificate, MESSAGE, &good).is_some());
    assert_eq!(check.certify(&certificate, b"another group and key", &good), None);
    assert_eq!(check.certify(&other.leaf().to_der().unwrap(), MESSAGE, &good), None);
    for byte in 0..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 1;
        assert_eq!(check.certify(&certificate, MESSAGE, &bad), None, "byte {byte}");
    }
}

#[test]
fn garbage_is_nobodys_and_breaks_nothing() {
    let authority = authority();
    let signer = node(&authority, &request(MANAGER));
    let check = check(&signer);
    let certificate = signer.leaf().to_der().unwrap();
    let signature = sign_with_certificate_key(&signer, MESSAGE).unwrap();
    for len in 0..certificate.len() {
        assert_eq!(check.certify(&certificate[..len], MESSAGE, &signature), None);
    }
    for byte in 0..certificate.len() {
        let mut bad = certificate.clone();
        bad[byte] ^= 0x55;
        assert_eq!(check.certify(&bad, MESSAGE, &signature), None, "byte {byte}");
    }
    let longer = [&certificate[..], b"x"].concat();
    assert_eq!(check.certify(&longer, MESSAGE, &signature), None);
    for signature in [&b""[..], &[0; 64], &[0x30; 600], &signature[..9]] {
        assert_eq!(check.certify(&certificate, MESSAGE, signature), None);
    }
    assert!(ErrorStack::get().errors().is_empty(), "nothing is left for another call to stumble over");
    assert!(check.certify(&certificate, MESSAGE, &signature).is_some());
}

/// An authority that issues whatever it is asked for, and its key.
struct Lax {
    certificate: X509,
    key: PKey<Private>,
}

fn begin(subject: &str, issuer: &str, key: &PKey<Private>) -> X509Builder {
    let name = |text| {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("CN", text).unwrap();
        name.build()
    };
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name(subject)).unwrap();
    builder.set_issuer_name(&name(issuer)).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(unix_now() - 60).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(unix_now() + 3_600).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

impl Lax {
    fn new() -> Self {
        let key = rsa(2_048);
        let mut builder = begin("Lax", "Lax", &key);
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    fn issue(&self, key: PKey<Private>, digest: MessageDigest, server: bool) -> Credentials {
        let mut builder = begin("node.example", "Lax", &key);
        let mut usage = ExtendedKeyUsage::new();
        usage.client_auth().other(crypto::ROLE_MANAGER);
        if server {
            usage.server_auth();
        }
        builder.append_extension(usage.build().unwrap()).unwrap();
        let names =
            SubjectAlternativeName::new().dns("node.example").build(&builder.x509v3_context(None, None));
        builder.append_extension(names.unwrap()).unwrap();
        builder.sign(&self.key, digest).unwrap();
        Credentials::new(vec![builder.build()], key, vec![self.certificate.clone()])
    }
}

#[test]
fn rsa_keys_sign_and_weak_ones_are_refused() {
    let lax = Lax::new();
    let own = lax.issue(rsa(2_048), MessageDigest::sha256(), true);
    let certified = |signer: &Credentials| {
        let signature = sign_with_certificate_key(signer, MESSAGE).unwrap();
        check(&own).certify(&signer.leaf().to_der().unwrap(), MESSAGE, &signature)
    };
    assert!(certified(&own).is_some());
    assert_eq!(certified(&lax.issue(rsa(1_024), MessageDigest::sha256(), true)), None, "RSA-1024");
    assert_eq!(certified(&lax.issue(rsa(2_048), MessageDigest::sha1(), true)), None, "SHA-1");
    assert_eq!(certified(&lax.issue(rsa(2_048), MessageDigest::sha256(), false)), None, "not for a server");
}
