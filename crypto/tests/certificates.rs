//! What is read out of a certificate, by certificates made with OpenSSL.

#![expect(clippy::unwrap_used, reason = "a test helper that cannot do its work fails the test")]

use crypto::{
    CertificateError, MAX_CERTIFICATE_LEN, ROLE_ARC, ROLE_MAA, ROLE_MANAGER, ROLE_MEMBER, Roles,
    read_certificate,
};
use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::BigNum,
    hash::MessageDigest,
    pkey::PKey,
    x509::{
        X509, X509Builder,
        extension::{ExtendedKeyUsage, SubjectAlternativeName},
    },
};
use proptest::prelude::*;

/// One second after the turn of 2024 and of 2034.
const NOT_BEFORE: i64 = 1_704_067_201;
const NOT_AFTER: i64 = 2_019_686_401;

/// A certificate with these names and extended key usages.
fn certificate(names: Option<&SubjectAlternativeName>, usages: Option<&ExtendedKeyUsage>) -> X509 {
    let key = PKey::generate_ed25519().unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&BigNum::from_u32(7).unwrap()).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(NOT_BEFORE).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(NOT_AFTER).unwrap()).unwrap();
    if let Some(names) = names {
        append_names(&mut builder, names);
    }
    if let Some(usages) = usages {
        builder.append_extension(usages.build().unwrap()).unwrap();
    }
    builder.sign(&key, MessageDigest::null()).unwrap();
    builder.build()
}

fn append_names(builder: &mut X509Builder, names: &SubjectAlternativeName) {
    let extension = names.build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(extension).unwrap();
}

fn named(names: impl FnOnce(&mut SubjectAlternativeName)) -> Vec<u8> {
    let mut san = SubjectAlternativeName::new();
    names(&mut san);
    certificate(Some(&san), None).to_der().unwrap()
}

fn used_for(oids: &[&str]) -> Roles {
    let mut usages = ExtendedKeyUsage::new();
    usages.server_auth().client_auth();
    for oid in oids {
        usages.other(oid);
    }
    let certificate = certificate(Some(SubjectAlternativeName::new().dns("node.example")), Some(&usages));
    read_certificate(&certificate.to_der().unwrap()).unwrap().roles
}

#[test]
fn the_first_name_is_the_identity_and_all_are_listed_in_order() {
    let der = named(|san| {
        san.ip("192.0.2.1").email("Ops@Example.ORG").dns("GSM-1.Example.org").uri("urn:Site:1").rid("1.2.3");
    });
    let facts = read_certificate(&der).unwrap();
    assert_eq!(facts.identity, "Ops@example.org");
    assert_eq!(facts.all_identities, ["Ops@example.org", "gsm-1.example.org", "urn:Site:1"]);
}

#[test]
fn validity_and_fingerprint_are_those_openssl_sees() {
    let certificate = certificate(Some(SubjectAlternativeName::new().dns("node")), None);
    let facts = read_certificate(&certificate.to_der().unwrap()).unwrap();
    assert_eq!(facts.fingerprint[..], certificate.digest(MessageDigest::sha256()).unwrap()[..]);
    assert_eq!((facts.not_before, facts.not_after), (NOT_BEFORE, NOT_AFTER));
}

#[test]
fn each_role_is_its_own_object_identifier() {
    let none = Roles::default();
    assert_eq!(used_for(&[]), none);
    assert_eq!(used_for(&[ROLE_MEMBER]), Roles { member: true, ..none });
    assert_eq!(used_for(&[ROLE_MANAGER]), Roles { manager: true, ..none });
    assert_eq!(used_for(&[ROLE_MAA]), Roles { maa: true, ..none });
    assert_eq!(
        used_for(&[ROLE_MAA, "1.2.3.4", ROLE_MEMBER]),
        Roles { member: true, maa: true, manager: false }
    );
}

#[test]
fn no_other_usage_grants_a_role() {
    let near =
        [ROLE_ARC.to_owned(), format!("{ROLE_ARC}.0"), format!("{ROLE_ARC}.4"), format!("{ROLE_MEMBER}.1")];
    for oid in near.iter().map(String::as_str).chain(["2.5.29.37.0", "1.3.6.1.5.5.7.3.9", "2.25.1.1"]) {
        assert_eq!(used_for(&[oid]), Roles::default(), "{oid}");
    }
}

#[test]
fn without_extended_key_usage_there_is_no_role() {
    assert_eq!(read_certificate(&named(|san| _ = san.dns("node"))).unwrap().roles, Roles::default());
}

#[test]
fn a_certificate_that_names_nobody_is_refused() {
    let nameless = certificate(None, None).to_der().unwrap();
    assert_eq!(read_certificate(&nameless), Err(CertificateError::NoIdentity));
    let address = named(|san| _ = san.ip("192.0.2.1"));
    assert_eq!(read_certificate(&address), Err(CertificateError::NoIdentity));
}

#[test]
fn a_name_that_could_pass_for_another_is_refused() {
    let long = "a".repeat(513);
    for name in ["", "two words", "caf\u{e9}.example", "node\u{7}", "node@example", "urn:node", &long] {
        // One good name beside it does not help.
        let der = named(|san| _ = san.dns("good.example").dns(name));
        assert_eq!(read_certificate(&der), Err(CertificateError::BadIdentity), "{name:?}");
    }
    for name in ["nobody", "a:b@example"] {
        assert_eq!(
            read_certificate(&named(|san| _ = san.email(name))),
            Err(CertificateError::BadIdentity),
            "{name}"
        );
    }
    let der = named(|san| _ = san.uri("node.example"));
    assert_eq!(read_certificate(&der), Err(CertificateError::BadIdentity));
}

#[test]
fn names_in_two_extensions_are_refused() {
    let key = PKey::generate_ed25519().unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(NOT_BEFORE).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(NOT_AFTER).unwrap()).unwrap();
    append_names(&mut builder, SubjectAlternativeName::new().dns("one.example"));
    append_names(&mut builder, SubjectAlternativeName::new().dns("two.example"));
    builder.sign(&key, MessageDigest::null()).unwrap();
    let der = builder.build().to_der().unwrap();
    assert_eq!(read_certificate(&der), Err(CertificateError::Malformed));
}

#[test]
fn what_follows_a_certificate_or_is_too_long_is_refused() {
    let mut der = named(|san| _ = san.dns("node"));
    der.push(0);
    assert_eq!(read_certificate(&der), Err(CertificateError::Malformed));
    der.resize(MAX_CERTIFICATE_LEN + 1, 0);
    assert_eq!(read_certificate(&der), Err(CertificateError::TooLong(MAX_CERTIFICATE_LEN + 1)));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_certificate(&bytes);
    }

    #[test]
    fn no_damaged_certificate_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), len in any::<prop::sample::Index>()
    ) {
        let mut names = SubjectAlternativeName::new();
        names.dns("node.example").email("a@b.example").uri("urn:x");
        let mut usages = ExtendedKeyUsage::new();
        usages.client_auth().other(ROLE_MANAGER);
        let mut der = certificate(Some(&names), Some(&usages)).to_der().unwrap();
        for (at, byte) in damage {
            let at = at.index(der.len());
            der[at] = byte;
        }
        let _ = read_certificate(&der);
        der.truncate(len.index(der.len()));
        prop_assert!(read_certificate(&der).is_err());
    }
}
