//! Certificates that our own authority would not issue.

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

use super::*;

/// A certificate and its key.
struct Pair {
    certificate: X509,
    key: PKey<Private>,
}

enum Purpose {
    Authority,
    Node { server: bool, client: bool, name: bool },
}

const NODE: Purpose = Purpose::Node { server: true, client: true, name: true };

fn issue(subject: &str, issuer: Option<&Pair>, purpose: &Purpose) -> Pair {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, subject).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(issuer.map_or(&name, |issuer| issuer.certificate.subject_name())).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(unix_now() - 60).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(unix_now() + 3_600).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    match purpose {
        Purpose::Authority => {
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap())
        }
        Purpose::Node { server, client, name } => {
            let mut usage = ExtendedKeyUsage::new();
            usage.other(crypto::ROLE_MEMBER).other(crypto::ROLE_MANAGER);
            if *server {
                usage.server_auth();
            }
            if *client {
                usage.client_auth();
            }
            if *name {
                let names =
                    SubjectAlternativeName::new().dns(subject).build(&builder.x509v3_context(None, None));
                builder.append_extension(names.unwrap()).unwrap();
            }
            builder.append_extension(usage.build().unwrap())
        }
    }
    .unwrap();
    builder.sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256()).unwrap();
    Pair { certificate: builder.build(), key }
}

/// A node below `intermediates` authorities below `root`.
fn below(root: &Pair, name: &str, intermediates: usize) -> Credentials {
    let mut above = Vec::new();
    for level in 0..intermediates {
        let next =
            issue(&format!("Authority {level}"), Some(above.last().unwrap_or(root)), &Purpose::Authority);
        above.push(next);
    }
    let leaf = issue(name, Some(above.last().unwrap_or(root)), &NODE);
    let chain = std::iter::once(leaf.certificate).chain(above.into_iter().rev().map(|pair| pair.certificate));
    Credentials::new(chain.collect(), leaf.key, vec![root.certificate.clone()])
}

fn node_of(root: &Pair, name: &str, purpose: &Purpose) -> TlsConfig {
    let leaf = issue(name, Some(root), purpose);
    let credentials = Credentials::new(vec![leaf.certificate], leaf.key, vec![root.certificate.clone()]);
    TlsConfig::new(&credentials).unwrap()
}

#[tokio::test]
async fn a_chain_of_four_is_taken_and_one_of_five_is_refused_on_both_sides() {
    let root = issue("Root", None, &Purpose::Authority);
    let manager = TlsConfig::new(&below(&root, "gsm-1", 0)).unwrap();
    let four = TlsConfig::new(&below(&root, "alice", 2)).unwrap();
    let join = async |at| connect(at, &four, Expect::Manager, DEADLINE).await;
    let (server, client) = meet(&manager, Expect::Member, join).await;
    assert!(server.is_ok() && client.is_ok());
    let five = TlsConfig::new(&below(&root, "alice", 3)).unwrap();
    let (server, client) = meet(&manager, Expect::Member, async |at| try_to_join(at, &five).await).await;
    refused_on_both_sides(&server, &client, &TlsRefusal::UnknownAuthority);
}

#[tokio::test]
async fn a_certificate_for_servers_only_is_refused_as_a_clients_on_both_sides() {
    let root = issue("Root", None, &Purpose::Authority);
    let manager = node_of(&root, "gsm-1", &NODE);
    let server_only = node_of(&root, "alice", &Purpose::Node { server: true, client: false, name: true });
    let (server, client) =
        meet(&manager, Expect::Member, async |at| try_to_join(at, &server_only).await).await;
    refused_on_both_sides(&server, &client, &TlsRefusal::WrongRole);
}

#[tokio::test]
async fn a_certificate_for_clients_only_is_refused_as_a_servers_on_both_sides() {
    let root = issue("Root", None, &Purpose::Authority);
    let client_only = node_of(&root, "gsm-1", &Purpose::Node { server: false, client: true, name: true });
    let member = node_of(&root, "alice", &NODE);
    let join = async |at| connect(at, &member, Expect::Manager, DEADLINE).await.map(|_| ());
    let (server, client) = meet(&client_only, Expect::Member, join).await;
    assert_eq!(client, Err(TlsRefused::by_us(TlsRefusal::WrongRole)));
    assert_eq!(server.unwrap_err(), TlsRefused::by_peer(TlsRefusal::WrongRole));
}

#[tokio::test]
async fn a_certificate_that_names_nobody_is_refused_in_words() {
    let root = issue("Root", None, &Purpose::Authority);
    let manager = node_of(&root, "gsm-1", &NODE);
    let nameless = issue("alice", Some(&root), &Purpose::Node { server: true, client: true, name: false });
    let credentials = Credentials::new(vec![nameless.certificate], nameless.key, vec![root.certificate]);
    assert!(matches!(TlsConfig::new(&credentials), Err(TlsConfigError::Certificate(_))));
    let join = async |at| {
        stranger(at, |context| {
            hold(context, &credentials);
            context.set_alpn_protos(b"\x0aconclave/1").unwrap();
        })
        .await
    };
    let (server, client) = meet(&manager, Expect::Member, join).await;
    assert!(server.unwrap_err().to_string().contains("names no DNS name"));
    assert_eq!(client.why, TlsRefusal::Closed);
}
