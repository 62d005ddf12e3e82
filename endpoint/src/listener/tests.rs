use std::future::Future;

use crypto::Roles;
use protocol::GroupId;
use tokio::io::AsyncReadExt;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;

use super::*;
use crate::host::Seat;
use crate::pki::{Authority, IssueRequest, KeyKind};
use crate::tls::{TlsRefused, connect};

const HOUR: Duration = Duration::from_secs(3_600);
const DEADLINE: Duration = Duration::from_secs(5);

/// The group that is served.
const OURS: GroupId = GroupId::from_bytes([1; GroupId::LEN]);
const ANOTHER: GroupId = GroupId::from_bytes([2; GroupId::LEN]);

/// A running listener, a member that may come in, and a node without a role that may not.
struct Site {
    at: SocketAddr,
    counters: Arc<AdmissionCounters>,
    board: Arc<Switchboard>,
    /// A group's place, which accepts.
    seat: Seat,
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
        let board = Arc::<Switchboard>::default();
        let mut seat = board.seat(OURS).unwrap();
        seat.accept(true);
        let stop = CancellationToken::new();
        Self {
            at: listener.address().unwrap(),
            counters: listener.counters(),
            running: tokio::spawn(listener.run(Arc::clone(&board), stop.clone())),
            board,
            seat,
            stop,
            member: node("alice", true, false),
            roleless: node("printer", false, false),
        }
    }

    async fn join(&self, config: &TlsConfig) -> Result<Connection, TlsRefused> {
        connect(self.at, config, Expect::Manager, DEADLINE).await
    }

    /// Joins with a first frame that names `group`, as far as the listener reads it.
    async fn ask(&self, group: GroupId) -> (Frames, TlsPeer) {
        let (mut frames, peer) = self.join(&self.member).await.unwrap().into_frames();
        frames.send(opening(group).into()).await.unwrap();
        (frames, peer)
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

fn opening(group: GroupId) -> Vec<u8> {
    [&[protocol::PROTOCOL_VERSION, 0x81], &group.as_bytes()[..], &[7; 65]].concat()
}

/// What the peer says first.
async fn answer(frames: &mut Frames) -> BytesMut {
    timeout(DEADLINE, frames.next()).await.unwrap().unwrap().unwrap()
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
        let (ours, _) = site.ask(OURS).await;
        let theirs = site.seat.arrivals.recv().await.unwrap();
        assert_eq!(theirs.peer.facts.identity, "alice");
        assert_eq!(theirs.peer.address, ours.get_ref().get_ref().local_addr().unwrap());
        assert_eq!(theirs.first, opening(OURS));
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
    assert!(site.seat.arrivals.try_recv().is_err());
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
        let _asking = site.ask(OURS).await;
        site.seat.arrivals.recv().await.unwrap();
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
        let _asking = site.ask(OURS).await;
        site.seat.arrivals.recv().await.unwrap();
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
async fn who_names_a_group_that_is_not_managed_here_is_told_so_and_closed() {
    let mut site = Site::open(AdmissionLimits::default()).await;
    let (mut frames, _) = site.ask(ANOTHER).await;
    assert_eq!(answer(&mut frames).await, Frame::Refused(Refusal::UnknownGroup).encode());
    assert!(frames.next().await.is_none());
    assert_eq!(site.counters.snapshot().unknown_group, 1);
    site.seat.accept(false);
    let (mut frames, _) = site.ask(OURS).await;
    assert_eq!(answer(&mut frames).await, Frame::Refused(Refusal::NotManager).encode());
    assert!(site.seat.arrivals.try_recv().is_err());
    site.seat.accept(true);
    let _asking = site.ask(OURS).await;
    assert!(timeout(DEADLINE, site.seat.arrivals.recv()).await.unwrap().is_some());
}

#[tokio::test]
async fn each_group_gets_the_connections_that_name_it() {
    let mut site = Site::open(AdmissionLimits::default()).await;
    let mut other = site.board.seat(ANOTHER).unwrap();
    other.accept(true);
    let (_first, _second) = (site.ask(ANOTHER).await, site.ask(OURS).await);
    assert_eq!(other.arrivals.recv().await.unwrap().first, opening(ANOTHER));
    assert_eq!(site.seat.arrivals.recv().await.unwrap().first, opening(OURS));
    assert!(other.arrivals.try_recv().is_err() && site.seat.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn a_first_frame_that_names_no_group_ends_the_connection() {
    let mut site = Site::open(AdmissionLimits::default()).await;
    for first in [Vec::new(), vec![1], vec![1, 0x84], vec![9, 0x81], opening(OURS)[..17].to_vec()] {
        let (mut frames, _) = site.join(&site.member).await.unwrap().into_frames();
        frames.send(first.into()).await.unwrap();
        assert!(!matches!(timeout(DEADLINE, frames.next()).await.unwrap(), Some(Ok(_))));
    }
    site.until(|seen| seen.silent == 5).await;
    assert!(site.seat.arrivals.try_recv().is_err());
}

#[test]
fn who_shakes_hands_and_says_nothing_is_closed_and_keeps_no_turn_of_its_neighbours() {
    with_paused_time(async {
        let limits = AdmissionLimits { handshakes_per_source: 1, ..AdmissionLimits::default() };
        let mut site = Site::open(limits).await;
        let start = Instant::now();
        let mut mute = site.join(&site.member).await.unwrap();
        let _asking = site.ask(OURS).await;
        site.seat.arrivals.recv().await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
        assert!(!matches!(mute.stream.read(&mut [0; 1]).await, Ok(1)));
        assert_eq!((start.elapsed().as_secs(), site.counters.snapshot().silent), (3, 1));
    });
}

#[test]
fn a_machine_that_is_busy_costs_its_nodes_a_second_and_they_are_told_to_come_back() {
    with_paused_time(async {
        let site = Site::open(AdmissionLimits::default()).await;
        let mut waiting = Vec::new();
        for asked in 1..=site.seat.arrivals.max_capacity() {
            waiting.push(site.ask(OURS).await);
            while site.seat.arrivals.len() < asked {
                yield_now().await;
            }
        }
        let start = Instant::now();
        let (mut one_more, _) = site.ask(OURS).await;
        assert_eq!(answer(&mut one_more).await, Frame::Refused(Refusal::Full).encode());
        assert_eq!((start.elapsed().as_secs(), site.counters.snapshot().over_limit), (1, 1));
    });
}
