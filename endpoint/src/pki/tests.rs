use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crypto::Roles;
use openssl::pkey::PKey;
use openssl::symm::Cipher;
use openssl::x509::X509;

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn request(identity: &str) -> IssueRequest {
    let roles = Roles { member: true, manager: false, maa: true };
    IssueRequest::new(identity.parse().unwrap(), roles, YEAR)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// An authority and one node's files in a directory.
struct Files {
    directory: tempfile::TempDir,
    authority: Authority,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create("Test", KeyKind::P256, YEAR).unwrap();
        authority.save(directory.path()).unwrap();
        let (certificate, key) =
            authority.issue(&request("alice")).unwrap().save(directory.path(), "alice").unwrap();
        Self { directory, authority, certificate, key }
    }

    fn ca(&self) -> PathBuf {
        self.directory.path().join("ca-cert.pem")
    }

    fn load(&self) -> Result<Credentials, PkiError> {
        Credentials::load(&self.certificate, &self.key, &self.ca())
    }
}

#[test]
fn a_certificate_says_what_was_asked_for() {
    for kind in [KeyKind::P256, KeyKind::Ed25519] {
        let authority = Authority::create("Test", kind, 2 * YEAR).unwrap();
        let long = format!("urn:{}", "x".repeat(100));
        for identity in ["alice.example.org", "alice@example.org", "urn:example:alice", &long] {
            let request = IssueRequest { key: kind, ..request(identity) };
            let facts = authority.issue(&request).unwrap().into_credentials().facts().unwrap();
            assert_eq!(facts.identity, identity);
            assert_eq!(facts.roles, request.roles);
            assert_eq!((facts.not_before, facts.not_after), (request.not_before, request.not_after));
        }
    }
}

#[test]
fn a_certificate_is_usable_at_once_by_a_node_whose_clock_is_behind() {
    assert!(request("alice").not_before <= crate::unix_now() - 299);
}

#[test]
fn serial_numbers_are_positive_random_and_never_repeat() {
    let authority = Authority::create("Test", KeyKind::P256, YEAR).unwrap();
    let serial = || {
        let pem = authority.issue(&request("alice")).unwrap().certificate_pem().unwrap();
        let number = X509::from_pem(pem.as_bytes()).unwrap().serial_number().to_bn().unwrap();
        assert!(!number.is_negative() && number.num_bits() == 128);
        number.to_vec()
    };
    assert_ne!(serial(), serial());
}

#[test]
fn no_certificate_outlives_its_authority() {
    let authority = Authority::create("Test", KeyKind::P256, Duration::from_secs(3_600)).unwrap();
    let facts = authority.issue(&request("alice")).unwrap().into_credentials().facts().unwrap();
    assert!(facts.not_after <= crate::unix_now() + 3_600);
    let never = IssueRequest { not_before: 2_000, not_after: 1_000, ..request("alice") };
    assert!(matches!(authority.issue(&never), Err(PkiError::EmptyValidity)));
}

#[test]
fn an_authority_that_was_saved_issues_on() {
    let files = Files::new();
    let again = Authority::load(files.directory.path()).unwrap();
    let bob = again.issue(&request("bob")).unwrap().into_credentials();
    assert_eq!(bob.authority_key().unwrap(), files.load().unwrap().authority_key().unwrap());
    assert_eq!(again.certificate_pem().unwrap(), files.authority.certificate_pem().unwrap());
}

#[test]
fn keys_are_for_their_owner_and_nothing_is_overwritten() {
    let files = Files::new();
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!(mode(&files.directory.path().join("ca-key.pem")), 0o600);
    let before = fs::read(&files.key).unwrap();
    let again = files.authority.issue(&request("alice")).unwrap().save(files.directory.path(), "alice");
    assert!(matches!(again, Err(PkiError::Exists { .. })));
    assert!(matches!(files.authority.save(files.directory.path()), Err(PkiError::Exists { .. })));
    assert_eq!(fs::read(&files.key).unwrap(), before);
    // A key without its certificate is not overwritten either, nor is the certificate written.
    fs::remove_file(&files.certificate).unwrap();
    let again = files.authority.issue(&request("alice")).unwrap().save(files.directory.path(), "alice");
    assert!(matches!(again, Err(PkiError::Exists { .. })));
    assert!(!files.certificate.exists());
    let names: Vec<_> =
        fs::read_dir(files.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_and_the_text_mends_it() {
    let files = Files::new();
    for exposed in [0o644, 0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&files.key, Permissions::from_mode(exposed)).unwrap();
        let refused = files.load().unwrap_err();
        assert!(matches!(refused, PkiError::KeyExposed { mode, .. } if mode == exposed));
        assert!(refused.to_string().contains(&format!("chmod 600 '{}'", files.key.display())), "{refused}");
    }
    for closed in [0o600, 0o400] {
        fs::set_permissions(&files.key, Permissions::from_mode(closed)).unwrap();
        files.load().unwrap();
    }
}

#[test]
fn every_error_names_the_file() {
    let files = Files::new();
    let named = |path: &Path, result: Result<Credentials, PkiError>| {
        let text = result.unwrap_err().to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
    };
    let absent = files.directory.path().join("absent.pem");
    named(&absent, Credentials::load(&absent, &files.key, &files.ca()));
    named(&absent, Credentials::load(&files.certificate, &absent, &files.ca()));
    named(&files.key, Credentials::load(&files.key, &files.key, &files.ca()));
    let other = files.directory.path().join("ca-key.pem");
    named(&other, Credentials::load(&files.certificate, &other, &files.ca()));
    named(&files.ca(), Credentials::load(&files.ca(), &other, &files.ca()));
    let empty = files.directory.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    named(&empty, Credentials::load(&files.certificate, &files.key, &empty));
}

#[test]
fn an_encrypted_key_is_refused_and_nobody_is_asked_for_a_passphrase() {
    let files = Files::new();
    let key = PKey::private_key_from_pem(&fs::read(&files.key).unwrap()).unwrap();
    let pem = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap();
    fs::write(&files.key, pem).unwrap();
    assert!(matches!(files.load(), Err(PkiError::KeyEncrypted { .. })));
}

#[test]
fn debug_output_holds_no_key() {
    let files = Files::new();
    let shown = format!("{:?} {:?}", files.authority, files.load().unwrap());
    assert!(!shown.to_lowercase().contains("key"), "{shown}");
}

#[test]
fn what_a_file_holds_can_be_shown() {
    let files = Files::new();
    let shown = read_certificates(&files.certificate).unwrap().remove(0);
    let node = shown.node.unwrap();
    assert_eq!((node.identity.as_str(), shown.name.as_str()), ("alice", "alice"));
    assert_eq!(
        (shown.fingerprint, shown.not_before, shown.not_after),
        (node.fingerprint, node.not_before, node.not_after)
    );
    let authority = read_certificates(&files.ca()).unwrap().remove(0);
    assert!(authority.node.is_none() && !authority.name.is_empty());
}
