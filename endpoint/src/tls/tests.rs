use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use super::refusal::{Phase, refusal_of_handshake, refusal_of_read};
use super::*;
use crate::pki::{Authority, Credentials, IssueRequest, KeyKind};
use crate::unix_now;

mod foreign;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: i64 = 86_400;
const DEADLINE: Duration = Duration::from_secs(5);
const MANAGER: Roles = Roles { member: true, manager: true, maa: false };
const MEMBER: Roles = Roles { member: true, manager: false, maa: false };
const NO_ROLE: Roles = Roles { member: false, manager: false, maa: false };

/// A group: one authority, and a manager that answers as a server.
struct Site {
    authority: Authority,
    manager: TlsConfig,
}

impl Site {
    fn new() -> Self {
        Self::with(Authority::create("Site", KeyKind::P256, 10 * HOUR).unwrap())
    }

    fn with(authority: Authority) -> Self {
        let manager = node(&authority, "gsm-1", MANAGER);
        Self { authority, manager }
    }

    fn member(&self) -> TlsConfig {
        node(&self.authority, "alice", MEMBER)
    }
}

fn request(name: &str, roles: Roles) -> IssueRequest {
    IssueRequest::new(name.parse().unwrap(), roles, HOUR)
}

fn credentials(authority: &Authority, name: &str, roles: Roles) -> Credentials {
    authority.issue(&request(name, roles)).unwrap().into_credentials()
}

fn node(authority: &Authority, name: &str, roles: Roles) -> TlsConfig {
    TlsConfig::new(&credentials(authority, name, roles)).unwrap()
}

/// Valid `from` to `until`, in seconds from now.
fn dated(authority: &Authority, name: &str, from: i64, until: i64) -> TlsConfig {
    let now = unix_now();
    let request = IssueRequest { not_before: now + from, not_after: now + until, ..request(name, MANAGER) };
    TlsConfig::new(&authority.issue(&request).unwrap().into_credentials()).unwrap()
}

type Accepted = Result<Connection, TlsRefused>;

/// Runs `client` against a server that accepts one connection.
async fn meet<T>(
    server: &TlsConfig,
    expect: Expect,
    client: impl AsyncFnOnce(SocketAddr) -> T,
) -> (Accepted, T) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept(stream, server, expect, HandshakeLimits::default()).await
    };
    tokio::join!(serve, client(at))
}

/// A member's side: connects and, if that worked, reads until the server's answer to its certificate is there.
async fn try_to_join(at: SocketAddr, config: &TlsConfig) -> TlsRefused {
    match connect(at, config, Expect::Manager, DEADLINE).await {
        Err(refused) => refused,
        Ok(mut connection) => {
            let error = connection.stream.read(&mut [0; 16]).await.unwrap_err();
            config.refusal_from_read(&error).unwrap()
        }
    }
}

/// A client that is no node of ours, with whatever settings.
async fn stranger(at: SocketAddr, set: impl FnOnce(&mut SslContextBuilder)) -> TlsRefused {
    let mut context = SslContext::builder(SslMethod::tls()).unwrap();
    context.set_verify(SslVerifyMode::NONE);
    set(&mut context);
    let tcp = TcpStream::connect(at).await.unwrap();
    let mut tls = SslStream::new(Ssl::new(&context.build()).unwrap(), tcp).unwrap();
    if let Err(error) = Pin::new(&mut tls).connect().await {
        return refusal_of_handshake(&error, tls.ssl().verify_result(), Phase::Connect);
    }
    match tls.read(&mut [0; 16]).await {
        Ok(_) => TlsRefused::by_peer(TlsRefusal::Closed),
        Err(error) => refusal_of_read(&error).unwrap(),
    }
}

fn hold(context: &mut SslContextBuilder, credentials: &Credentials) {
    context.set_certificate(credentials.leaf()).unwrap();
    context.set_private_key(credentials.key()).unwrap();
}

fn refused_on_both_sides(server: &Accepted, client: &TlsRefused, why: &TlsRefusal) {
    assert_eq!(server.as_ref().unwrap_err(), &TlsRefused::by_us(why.clone()), "on the server");
    assert_eq!(client, &TlsRefused::by_peer(why.clone()), "on the client");
}

#[tokio::test]
async fn two_nodes_of_one_group_know_each_other_and_share_a_secret() {
    for kind in [KeyKind::P256, KeyKind::Ed25519] {
        let site = Site::with(Authority::create("Site", kind, 10 * HOUR).unwrap());
        let member = site.member();
        let joined = |at| connect(at, &member, Expect::Manager, DEADLINE);
        let (accepted, connected) = meet(&site.manager, Expect::Member, async |at| joined(at).await).await;
        let (accepted, connected) = (accepted.unwrap().peer, connected.unwrap().peer);
        assert_eq!((accepted.facts.identity.as_str(), accepted.facts.roles), ("alice", MEMBER));
        assert_eq!(&accepted.facts, member.own());
        assert_eq!(&connected.facts, site.manager.own());
        assert!(accepted.channel == connected.channel);
        assert!(accepted.valid_for <= HOUR && accepted.valid_for > HOUR - Duration::from_secs(60));
    }
}

#[tokio::test]
async fn every_connection_has_another_secret_and_none_is_resumed() {
    let site = Site::new();
    let member = site.member();
    let mut secrets = Vec::new();
    for _ in 0..3 {
        let joined = async |at| connect(at, &member, Expect::Manager, DEADLINE).await;
        let (accepted, connected) = meet(&site.manager, Expect::Member, joined).await;
        let connected = connected.unwrap();
        assert!(!connected.stream.ssl().session_reused());
        assert_eq!(connected.stream.ssl().version_str(), "TLSv1.3");
        secrets.push(*accepted.unwrap().peer.channel.expose());
    }
    secrets.sort_unstable();
    secrets.dedup();
    assert_eq!(secrets.len(), 3);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_on_both_sides() {
    let site = Site::new();
    let nobody = async |at| stranger(at, |context| context.set_alpn_protos(b"\x0aconclave/1").unwrap()).await;
    let (server, client) = meet(&site.manager, Expect::Member, nobody).await;
    refused_on_both_sides(&server, &client, &TlsRefusal::NoCertificate);
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused_on_both_sides() {
    let site = Site::new();
    // Of the same name, so that only the key tells the two apart; and it believes the site's manager.
    let other = Authority::create("Site", KeyKind::P256, HOUR).unwrap();
    let intruder = credentials(&other, "alice", MEMBER);
    let join = async |at| {
        stranger(at, |context| {
            context.set_alpn_protos(b"\x0aconclave/1").unwrap();
            hold(context, &intruder);
        })
        .await
    };
    let (server, client) = meet(&site.manager, Expect::Member, join).await;
    refused_on_both_sides(&server, &client, &TlsRefusal::UnknownAuthority);
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_on_both_sides() {
    let site = Site::new();
    let other = Site::new();
    let member = site.member();
    let join = async |at| connect(at, &member, Expect::Manager, DEADLINE).await.map(|_| ());
    let (server, client) = meet(&other.manager, Expect::Member, join).await;
    assert_eq!(client, Err(TlsRefused::by_us(TlsRefusal::UnknownAuthority)));
    assert_eq!(server.unwrap_err(), TlsRefused::by_peer(TlsRefusal::UnknownAuthority));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_both_sides() {
    let site = Site::new();
    let expired = dated(&site.authority, "alice", -2 * DAY, -DAY);
    let (server, client) =
        meet(&site.manager, Expect::Member, async |at| try_to_join(at, &expired).await).await;
    refused_on_both_sides(&server, &client, &TlsRefusal::Expired);
}

#[tokio::test]
async fn a_certificate_not_yet_valid_is_refused_on_both_sides() {
    let site = Site::new();
    let early = dated(&site.authority, "alice", 1_000, 2_000);
    let (server, client) =
        meet(&site.manager, Expect::Member, async |at| try_to_join(at, &early).await).await;
    refused_on_both_sides(&server, &client, &TlsRefusal::NotYetValid);
}

#[tokio::test]
async fn an_expired_manager_is_refused_by_its_members_and_learns_why() {
    let site = Site::new();
    let expired = dated(&site.authority, "gsm-1", -2 * DAY, -DAY);
    let member = site.member();
    let join = async |at| connect(at, &member, Expect::Manager, DEADLINE).await.map(|_| ());
    let (server, client) = meet(&expired, Expect::Member, join).await;
    assert_eq!(client, Err(TlsRefused::by_us(TlsRefusal::Expired)));
    assert_eq!(server.unwrap_err(), TlsRefused::by_peer(TlsRefusal::Expired));
}

#[tokio::test]
async fn a_certificate_without_the_member_role_is_refused_on_both_sides() {
    let site = Site::new();
    let roleless = node(&site.authority, "printer", NO_ROLE);
    for expect in [Expect::Member, Expect::AnyRole] {
        let (server, client) = meet(&site.manager, expect, async |at| try_to_join(at, &roleless).await).await;
        refused_on_both_sides(&server, &client, &TlsRefusal::WrongRole);
    }
}

#[tokio::test]
async fn a_member_that_poses_as_manager_is_refused_on_both_sides() {
    let site = Site::new();
    let (mallory, member) = (node(&site.authority, "mallory", MEMBER), site.member());
    let join = async |at| connect(at, &member, Expect::Manager, DEADLINE).await.map(|_| ());
    let (server, client) = meet(&mallory, Expect::Member, join).await;
    assert_eq!(client, Err(TlsRefused::by_us(TlsRefusal::WrongRole)));
    assert_eq!(server.unwrap_err(), TlsRefused::by_peer(TlsRefusal::WrongRole));
}

#[tokio::test]
async fn tls_1_2_is_refused_on_both_sides() {
    let site = Site::new();
    let alice = credentials(&site.authority, "alice", MEMBER);
    let old = async |at| {
        stranger(at, |context| {
            hold(context, &alice);
            context.set_alpn_protos(b"\x0aconclave/1").unwrap();
            context.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        })
        .await
    };
    let (server, client) = meet(&site.manager, Expect::Member, old).await;
    refused_on_both_sides(&server, &client, &TlsRefusal::OldProtocol);
}

#[tokio::test]
async fn another_application_protocol_is_refused_on_both_sides() {
    let site = Site::new();
    let alice = credentials(&site.authority, "alice", MEMBER);
    let web = async |at| {
        stranger(at, |context| {
            hold(context, &alice);
            context.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
        })
        .await
    };
    let (server, client) = meet(&site.manager, Expect::Member, web).await;
    refused_on_both_sides(&server, &client, &TlsRefusal::NoAlpn);
}

#[tokio::test]
async fn a_client_that_names_no_application_protocol_is_refused() {
    let site = Site::new();
    let alice = credentials(&site.authority, "alice", MEMBER);
    let mute = async |at| stranger(at, |context| hold(context, &alice)).await;
    let (server, client) = meet(&site.manager, Expect::Member, mute).await;
    assert_eq!(server.unwrap_err(), TlsRefused::by_us(TlsRefusal::NoAlpn));
    assert_eq!(client.why, TlsRefusal::Closed);
}

#[tokio::test]
async fn what_is_not_tls_is_refused_in_words() {
    let site = Site::new();
    let shout = async |at| {
        let tcp = TcpStream::connect(at).await.unwrap();
        tcp.writable().await.unwrap();
        tcp.try_write(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        tcp
    };
    let (server, _client) = meet(&site.manager, Expect::Member, shout).await;
    assert_eq!(server.unwrap_err(), TlsRefused::by_us(TlsRefusal::Other("not TLS".to_owned())));
}

/// Waits with the clock standing still, so that a deadline is met exactly and at once.
fn with_paused_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

#[test]
fn a_client_that_says_nothing_is_closed_after_a_second() {
    with_paused_time(async {
        let site = Site::new();
        let start = tokio::time::Instant::now();
        let silent = async |at| {
            let mut tcp = TcpStream::connect(at).await.unwrap();
            tcp.read(&mut [0; 1]).await.unwrap()
        };
        let (server, read) = meet(&site.manager, Expect::Member, silent).await;
        assert_eq!((server.unwrap_err().why, read), (TlsRefusal::Deadline, 0));
        assert_eq!(start.elapsed().as_secs(), 1);
    });
}

#[test]
fn a_client_that_dawdles_is_closed_after_three_seconds() {
    with_paused_time(async {
        let site = Site::new();
        let start = tokio::time::Instant::now();
        let slow = async |at| {
            let mut tcp = TcpStream::connect(at).await.unwrap();
            // The beginning of a record that is never finished.
            tcp.try_write(&[22, 3, 1, 2]).unwrap();
            tcp.read(&mut [0; 1]).await
        };
        let (server, _) = meet(&site.manager, Expect::Member, slow).await;
        assert_eq!(server.unwrap_err().why, TlsRefusal::Deadline);
        assert_eq!(start.elapsed().as_secs(), 3);
    });
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_no_refusal() {
    let site = Site::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = connect(free, &site.member(), Expect::Manager, DEADLINE).await.unwrap_err();
    assert!(matches!(refused.why, TlsRefusal::Unreachable(_)), "{refused}");
    assert!(matches!(protocol::CloseReason::from(refused), protocol::CloseReason::Unreachable(_)));
}

#[tokio::test]
async fn frames_arrive_whole_and_an_overlong_one_ends_the_connection() {
    let site = Site::new();
    let member = site.member();
    let join = async |at| connect(at, &member, Expect::Manager, DEADLINE).await;
    let (accepted, connected) = meet(&site.manager, Expect::Member, join).await;
    let (mut server, _) = accepted.unwrap().into_frames();
    let (mut client, _) = connected.unwrap().into_frames();
    let longest = vec![7; MAX_FRAME];
    let send = async {
        client.send(longest.clone().into()).await.unwrap();
        client.send(Vec::new().into()).await.unwrap();
        assert!(client.send(vec![7; MAX_FRAME + 1].into()).await.is_err());
        client.close().await.unwrap();
    };
    let receive = async {
        assert_eq!(server.next().await.unwrap().unwrap(), longest);
        assert_eq!(server.next().await.unwrap().unwrap(), Vec::new());
        assert!(server.next().await.is_none());
    };
    tokio::join!(send, receive);
}

#[test]
fn a_refusal_is_told_in_a_sentence_that_says_who_refused() {
    let told = TlsRefused::by_peer(TlsRefusal::Expired).to_string();
    assert_eq!(told, "the peer refused us: the certificate has expired");
    let close = protocol::CloseReason::from(TlsRefused::by_us(TlsRefusal::WrongRole));
    assert_eq!(close.to_string(), "refused: we refused the peer: the certificate lacks the role");
}
