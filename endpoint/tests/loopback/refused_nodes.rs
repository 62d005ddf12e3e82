//! Who must not get in does not, hears why, is counted, and gets no key.

use std::time::Duration;

use conclave::{
    Authority, Credentials, Group, GroupOptions, IssueRequest, JoinError, KeyKind, ManagerSettings,
    ParticipantEvent, unix_now,
};
use crypto::Roles;
use gsm::{AccessList, AccessRule, GsmEvent};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use protocol::Refusal;

use crate::support::{MEMBER, Site, joined, of_manager, registrar, settings, within};

const NO_ROLE: Roles = Roles { member: false, manager: false, maa: false };
const MAA: Roles = Roles { member: false, manager: false, maa: true };

/// Tries to join with these credentials and returns the words the member's operator reads.
async fn refusal(site: &Site, manager: &Group, credentials: Credentials) -> String {
    let mut member = site.member_with(credentials, registrar(manager)).await;
    let error = within(member.joined()).await.unwrap_err();
    let handle = member.handle();
    assert!(handle.keys().borrow().receive.is_empty(), "a refused node holds no key");
    within(member.stop()).await;
    error.to_string()
}

/// Until the manager's door has counted a refusal for this reason: the node may hear of it first.
async fn counted(manager: &Group, reason: &str) {
    let handle = manager.handle();
    let counts = async {
        while handle.admission().snapshot().refused.get(reason).is_none_or(|count| *count == 0) {
            tokio::task::yield_now().await;
        }
    };
    within(counts).await;
}

/// A node that believes the group's authority and was certified by another one.
fn foreign(site: &Site, stranger: &Authority) -> Credentials {
    let directory = tempfile::tempdir().unwrap();
    site.authority.save(directory.path()).unwrap();
    let request = IssueRequest::new("node.example".parse().unwrap(), MEMBER, Duration::from_secs(60));
    let (certificate, key) = stranger.issue(&request).unwrap().save(directory.path(), "node").unwrap();
    Credentials::load(&certificate, &key, &directory.path().join("ca-cert.pem")).unwrap()
}

fn validity(from: i64, until: i64) -> IssueRequest {
    let mut request = IssueRequest::new("node.example".parse().unwrap(), MEMBER, Duration::from_secs(60));
    (request.not_before, request.not_after) = (unix_now() + from, unix_now() + until);
    request
}

#[tokio::test]
async fn a_certificate_that_does_not_qualify_gets_no_key_and_both_sides_know_why() {
    let site = Site::new();
    let manager = site.manager().await;
    let stranger = Authority::create("stranger", KeyKind::P256, Duration::from_secs(60)).unwrap();
    let expired = site.authority.issue(&validity(-7_200, -3_600)).unwrap().into_credentials();
    let early = site.authority.issue(&validity(3_000, 3_600)).unwrap().into_credentials();

    let no_role = refusal(&site, &manager, site.credentials("norole.example", NO_ROLE)).await;
    assert!(no_role.contains("lacks the role"), "{no_role}");
    counted(&manager, "wrong_role").await;

    let foreign = refusal(&site, &manager, foreign(&site, &stranger)).await;
    assert!(foreign.contains("not from the group's authority"), "{foreign}");
    counted(&manager, "unknown_authority").await;
    let expired = refusal(&site, &manager, expired).await;
    assert!(expired.contains("has expired"), "{expired}");
    counted(&manager, "expired").await;
    let early = refusal(&site, &manager, early).await;
    assert!(early.contains("not valid yet"), "{early}");
    counted(&manager, "not_yet_valid").await;
    within(manager.stop()).await;
}

#[tokio::test]
async fn a_certificate_of_another_role_passes_tls_and_is_refused_by_the_registrar() {
    let site = Site::new();
    let manager = site.manager().await;
    let mut events = manager.handle().events();
    let mut node = site.member_with(site.credentials("maa.example", MAA), registrar(&manager)).await;
    let error = within(node.joined()).await.unwrap_err();
    assert!(matches!(error, JoinError::Refused { why: Refusal::NotCertified, .. }), "{error}");
    assert_eq!(told(&mut events).await, ("maa.example".to_owned(), Refusal::NotCertified));
    within(manager.stop()).await;
}

#[tokio::test]
async fn a_denied_identity_is_told_so_and_the_manager_says_it_too() {
    let site = Site::new();
    let rules = [(false, "intruder.*"), (true, "*")];
    let rules = rules.map(|(allow, pattern)| AccessRule { allow, pattern: pattern.to_owned() });
    let settings = ManagerSettings { access: AccessList::new(rules), ..settings() };
    let options = GroupOptions { settings, ..site.manager_options() };
    let manager = site.manager_with(options).await;
    let mut events = manager.handle().events();
    let denied = refusal(&site, &manager, site.credentials("intruder.example", MEMBER)).await;
    assert!(denied.contains("access list"), "{denied}");
    assert_eq!(told(&mut events).await, ("intruder.example".to_owned(), Refusal::Denied));
    joined(&mut site.member("friend.example", registrar(&manager)).await).await;
    within(manager.stop()).await;
}

#[tokio::test]
async fn a_tls_1_2_client_is_refused_on_both_sides_and_counted() {
    let site = Site::new();
    let manager = site.manager().await;
    let registrar = registrar(&manager);
    let stream = within(tokio::net::TcpStream::connect(registrar)).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let client = tokio::task::spawn_blocking(move || {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        connector.build().connect("gsm.example", stream).unwrap_err().to_string()
    });
    let words = within(client).await.unwrap();
    assert!(words.contains("protocol version"), "{words}");
    let mut good = site.member("good.example", registrar).await;
    joined(&mut good).await;
    counted(&manager, "old_protocol").await;
    within(manager.stop()).await;
}

/// The next refusal the manager tells of.
async fn told(events: &mut tokio::sync::broadcast::Receiver<ParticipantEvent>) -> (String, Refusal) {
    of_manager(events, |event| match event {
        GsmEvent::Refused { identity, why, .. } => Some((identity.clone(), *why)),
        _ => None,
    })
    .await
}
