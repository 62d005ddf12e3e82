use std::future::Future;

use crypto::Roles;
use tokio::io::AsyncReadExt;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, timeout};

use super::*;
use crate::pki::{Authority, IssueRequest, KeyKind};
use crate::tls::{TlsRefused, connect};

const HOUR: Duration = Duration::from_secs(3_600);
const DEADLINE: Duration = Duration::from_secs(5);

/// A running listener, a member that may come in, and a node without a role that may not.
struct Site {
    at: SocketAddr,
    counters: Arc<AdmissionCounters>,
    accepted: mpsc::Receiver<Connection>,
    stop: CancellationToken,
    running: JoinHandle<()>,
    member: TlsConfig,
    roleless: TlsConfig,
}

impl Site {
    async fn open(limits: AdmissionLimits) -> Self {
        let authority = Authority::create("Site", KeyKind::P256, HOUR).unwrap();
        let node = |name: &str, member, manager| {
            let roles = Roles { member, manager, maa: false };
            let request = IssueRequest::new(name.parse().unwrap(), roles, HOUR);
            TlsConfig::new(&authority.issue(&request).unwrap().into_credentials()).unwrap()
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, node("gsm-1", true, true), Expect::Member, limits).await.unwrap();
        let (send, accepted) = mpsc::channel(16);
        let stop = CancellationToken::new();
        Self {
            at: listener.address().unwrap(),
            counters: listener.counters(),
            accepted,
            running: tokio::spawn(listener.run(send, stop.clone())),
            stop,
            member: node("alice", true, false),
            roleless: node("printer", false, false),
        }
    }

    async fn join(&self, config: &TlsConfig) -> Result<Connection, TlsRefused> {
        connect(self.at, config, Expect::Manager, DEADLINE).await
    }

    async fn silent(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// Lets the listener run until its counters are as wanted.
    async fn until(&self, wanted: impl Fn(AdmissionSnapshot) -> bool) {
        let seen = async {
            while !wanted(self.counters.snapshot()) {
                yield_now().await;
            }
        };
        timeout(DEADLINE, seen).await.unwrap_or_else(|_| panic!("{:?}", self.counters.snapshot()));
    }
}

/// Runs with a clock that stands still while anything can happen, so that deadlines are exact.
fn with_paused_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

#[tokio::test]
async fn who_is_certified_comes_through_and_is_counted() {
    let mut site = Site::open(AdmissionLimits::default()).await;
    for admitted in 1..=3 {
        let ours = site.join(&site.member).await.unwrap();
        let theirs = site.accepted.recv().await.unwrap();
        assert_eq!(theirs.peer.facts.identity, "alice");
        assert_eq!(theirs.peer.address, ours.stream.get_ref().local_addr().unwrap());
        assert_eq!(site.counters.snapshot().accepted, admitted);
    }
}

#[tokio::test]
async fn who_is_refused_learns_why_and_is_counted_by_the_reason() {
    let mut site = Site::open(AdmissionLimits::default()).await;
    let mut connection = site.join(&site.roleless).await.unwrap();
    let error = connection.stream.read(&mut [0; 1]).await.unwrap_err();
    let told = site.roleless.refusal_from_read(&error).unwrap().to_string();
    assert_eq!(told, "the peer refused us: the certificate lacks the role");
    drop(connection);
    site.until(|seen| seen.refused["wrong_role"] == 1).await;
    assert_eq!(site.counters.snapshot().accepted, 0);
    assert!(site.accepted.try_recv().is_err());
}

#[test]
fn a_source_with_too_many_connections_is_closed_and_counted() {
    with_paused_time(async {
        let limits =
            AdmissionLimits { handshakes_per_source: 2, per_source: 3, ..AdmissionLimits::default() };
        let site = Site::open(limits).await;
        let start = Instant::now();
        let _held = [site.silent().await, site.silent().await, site.silent().await];
        let mut fourth = site.silent().await;
        assert_eq!(fourth.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(start.elapsed() < Duration::from_millis(10));
        assert_eq!(site.counters.snapshot().over_limit, 1);
    });
}

#[test]
fn a_silent_client_costs_its_source_one_second_and_then_its_neighbour_gets_in() {
    with_paused_time(async {
        let limits = AdmissionLimits { handshakes_per_source: 1, ..AdmissionLimits::default() };
        let mut site = Site::open(limits).await;
        let start = Instant::now();
        let mut silent = site.silent().await;
        site.join(&site.member).await.unwrap();
        site.accepted.recv().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 1);
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(site.counters.snapshot().refused["deadline"], 1);
    });
}

#[test]
fn a_connection_that_waits_too_long_for_its_turn_is_closed_and_counted() {
    with_paused_time(async {
        let wait = Duration::from_millis(200);
        let limits = AdmissionLimits { handshakes_per_source: 1, wait, ..AdmissionLimits::default() };
        let site = Site::open(limits).await;
        let _silent = site.silent().await;
        let start = Instant::now();
        assert_eq!(site.silent().await.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!((start.elapsed(), site.counters.snapshot().over_limit), (wait, 1));
    });
}

#[test]
fn above_the_total_new_connections_wait_and_are_not_lost() {
    with_paused_time(async {
        let mut site = Site::open(AdmissionLimits { total: 1, ..AdmissionLimits::default() }).await;
        let _silent = site.silent().await;
        site.join(&site.member).await.unwrap();
        site.accepted.recv().await.unwrap();
        assert_eq!(site.counters.snapshot().over_limit, 0);
    });
}

#[tokio::test]
async fn stopping_closes_the_door_and_gives_up_who_is_in_it() {
    let site = Site::open(AdmissionLimits::default()).await;
    let through = site.join(&site.member).await.unwrap();
    site.until(|seen| seen.accepted == 1).await;
    let mut silent = site.silent().await;
    site.stop.cancel();
    timeout(DEADLINE, site.running).await.unwrap().unwrap();
    assert!(matches!(silent.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    assert!(TcpStream::connect(site.at).await.is_err());
    drop(through);
}

#[tokio::test]
async fn the_listener_ends_when_nobody_takes_its_connections() {
    let site = Site::open(AdmissionLimits::default()).await;
    drop(site.accepted);
    timeout(DEADLINE, site.running).await.unwrap().unwrap();
}
