//! Who answers first is not who is joined: rogues and tar pits among the answers to FIND (attacks A1, A2, A4).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conclave::{
    Clock, Credentials, Expect, Group, GroupOptions, HandshakeLimits, Host, IssueRequest, Mode,
    MulticastSocket, TlsConfig, UnicastSocket, accept, sign_with_certificate_key,
};
use crypto::{Ed25519Signer, MerkleHash, Secret, Signer};
use futures_util::StreamExt;
use keytree::Version;
use protocol::discovery::{Claim, Find, Mandate, Presence, Reply};
use protocol::{Alarm, Domain, Epoch, GroupId, Inst, StateId, SubgroupId, Term};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::support::{GROUP, MANAGER, MEMBER, Site, joined, settings, within};

/// How long a node may take to its true manager, whoever else answers.
const SOON: Duration = Duration::from_secs(5);
/// Nodes that search beside the rogue.
const SEARCHERS: usize = 5;
/// Tar pits beside one manager.
const PITS: usize = 10;
/// Between two forged claims.
const PERSISTENCE: Duration = Duration::from_millis(100);

/// What a rogue has brought about.
#[derive(Clone, Default)]
struct Catch {
    /// FINDs answered.
    answered: Arc<AtomicUsize>,
    /// Connections that came to it.
    connections: Arc<AtomicUsize>,
    /// Frames it was sent within TLS: anything of value would be in them.
    frames: Arc<AtomicUsize>,
}

/// A node with an honest member's certificate that says to everyone who searches: "I am the manager." Ends when dropped.
struct Rogue {
    catch: Catch,
    _tasks: JoinSet<()>,
}

impl Rogue {
    /// Answers every FIND at once, before any manager may, with its registrar, which speaks TLS.
    async fn start(host: &Host, own: Credentials) -> Self {
        let (catch, mut tasks) = (Catch::default(), JoinSet::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registrar = listener.local_addr().unwrap();
        tasks.spawn(pose(listener, TlsConfig::new(&own).unwrap(), catch.clone()));
        tasks.spawn(answer(host.clone(), vec![vec![registrar]], catch.clone()));
        Self { catch, _tasks: tasks }
    }

    /// Answers every FIND with ten registrars that take connections and say nothing.
    async fn dig(host: &Host) -> Self {
        let (catch, mut tasks) = (Catch::default(), JoinSet::new());
        let mut pits = Vec::new();
        for _ in 0..PITS {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            pits.push(vec![listener.local_addr().unwrap()]);
            tasks.spawn(swallow(listener, catch.clone()));
        }
        tasks.spawn(answer(host.clone(), pits, catch.clone()));
        Self { catch, _tasks: tasks }
    }
}

/// Answers every FIND on the discovery address, once for each list of registrars and from another address each time.
async fn answer(host: Host, registrars: Vec<Vec<SocketAddr>>, catch: Catch) {
    let group = host.group_id(GROUP);
    let heard = MulticastSocket::join(host.discovery_address(group), host.interface()).unwrap();
    let mut sources = Vec::new();
    for (number, registrars) in (0..).zip(registrars) {
        let source = SocketAddr::from(([127, 0, 1, number], 0));
        sources.push((SubgroupId(number.into()), registrars, UdpSocket::bind(source).await.unwrap()));
    }
    let mut buffer = [0; 2_048];
    loop {
        let (len, from) = heard.recv(&mut buffer).await.unwrap();
        let Ok(find) = Find::decode(&buffer[..len], group) else { continue };
        for (subgroup, registrars, source) in &sources {
            let reply = Reply {
                nonce: find.said().nonce,
                subgroup: *subgroup,
                registrars: registrars.clone(),
                term: Term(1_000),
                depth: 0,
                ancestors: Vec::new(),
                load: 0,
            };
            source.send_to(&reply.encode(group), from).await.unwrap();
        }
        catch.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Speaks TLS with a member's certificate to whoever connects, and counts what is said.
async fn pose(listener: TcpListener, tls: TlsConfig, catch: Catch) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        catch.connections.fetch_add(1, Ordering::Relaxed);
        let shaken = accept(stream, &tls, Expect::AnyRole, HandshakeLimits::default()).await;
        if let Ok(connection) = shaken {
            let (mut frames, _) = connection.into_frames();
            while let Ok(Some(Ok(_))) = tokio::time::timeout(PERSISTENCE, frames.next()).await {
                catch.frames.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Takes connections and says nothing, for ever.
async fn swallow(listener: TcpListener, catch: Catch) {
    let mut held = Vec::new();
    loop {
        held.push(listener.accept().await.unwrap());
        catch.connections.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets some nodes search, one after the other. Returns the longest time that one took to its true manager's key.
async fn slowest_join(site: &Site) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in 0..SEARCHERS {
        let host = site.host(site.credentials(&format!("m{number}.example"), MEMBER)).await;
        let began = Clock.now();
        let mut node = Group::start(&host, GroupOptions::named(GROUP)).await.unwrap();
        assert_eq!(joined(&mut node).await.manager, "gsm.example");
        slowest = slowest.max(Clock.now().saturating_since(began));
        within(node.stop()).await;
    }
    slowest
}

#[tokio::test]
async fn a_rogue_that_answers_first_is_sent_no_frame_and_the_true_manager_is_joined() {
    let site = Site::new();
    let mut manager = site.manager().await;
    joined(&mut manager).await;
    let own = site.credentials("rogue.example", MEMBER);
    let rogue = Rogue::start(&site.host(own.clone()).await, own).await;
    let slowest = slowest_join(&site).await;
    let Catch { answered, connections, frames } = &rogue.catch;
    println!("rogue_join_ms {}", slowest.as_millis());
    println!("rogue_finds_answered {}", answered.load(Ordering::Relaxed));
    println!("rogue_connections {}", connections.load(Ordering::Relaxed));
    println!("rogue_frames_received {}", frames.load(Ordering::Relaxed));
    assert!(slowest <= SOON, "{slowest:?}");
    assert!(connections.load(Ordering::Relaxed) > 0, "the rogue was tried");
    assert_eq!(frames.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn ten_tar_pits_do_not_keep_a_node_from_its_manager() {
    let site = Site::new();
    let mut manager = site.manager().await;
    joined(&mut manager).await;
    let pits = Rogue::dig(&site.host(site.credentials("pit.example", MEMBER)).await).await;
    let slowest = slowest_join(&site).await;
    println!("tar_pit_join_ms {}", slowest.as_millis());
    println!("tar_pit_connections {}", pits.catch.connections.load(Ordering::Relaxed));
    assert!(slowest <= SOON, "{slowest:?}");
    assert!(pits.catch.connections.load(Ordering::Relaxed) > 0, "the pits were tried");
}

#[tokio::test]
async fn neither_a_rogues_answers_nor_its_claims_keep_a_group_from_electing_its_manager() {
    let site = Site::new();
    let (own, certificate) = shown(&site);
    let host = site.host(own.clone()).await;
    let rogue = Rogue::start(&host, own.clone()).await;
    let mut forging = JoinSet::new();
    forging.spawn(forge(host.clone(), own, certificate));
    let began = Clock.now();
    let mut nodes = Vec::new();
    for name in ["one.example", "two.example"] {
        let host = site.host(site.credentials(name, MANAGER)).await;
        let options = GroupOptions { settings: settings(), ..GroupOptions::named(GROUP) };
        nodes.push(Group::start(&host, options).await.unwrap());
    }
    let mut managers = 0;
    for node in &mut nodes {
        let place = joined(node).await;
        assert_ne!(place.manager, "rogue.example");
        managers += usize::from(within(node.handle().mode()).await.unwrap() == Mode::Manager);
    }
    let took = Clock.now().saturating_since(began);
    println!("rogue_election_ms {}", took.as_millis());
    println!("rogue_election_frames_received {}", rogue.catch.frames.load(Ordering::Relaxed));
    assert_eq!(managers, 1);
    assert!(took <= SOON, "{took:?}");
    assert_eq!(rogue.catch.frames.load(Ordering::Relaxed), 0);
    // They stay together, whatever it goes on saying.
    within(nodes[0].send(b"undisturbed")).await.unwrap();
    assert_eq!(within(nodes[1].recv()).await.unwrap().payload, b"undisturbed");
}

/// An honest member's credentials, and the certificate in them as it is sent.
fn shown(site: &Site) -> (Credentials, Vec<u8>) {
    let files = tempfile::tempdir().unwrap();
    let ca = site.authority.save(files.path()).map(|_| files.path().join("ca-cert.pem")).unwrap();
    let request = IssueRequest::new("rogue.example".parse().unwrap(), MEMBER, Duration::from_secs(3_600));
    let (certificate, key) = site.authority.issue(&request).unwrap().save(files.path(), "rogue").unwrap();
    let own = Credentials::load(&certificate, &key, &ca).unwrap();
    let pem = std::fs::read(&certificate).unwrap();
    (own, openssl::x509::X509::from_pem(&pem).unwrap().to_der().unwrap())
}

/// Claims the group and says it manages it, again and again, with everything as it must be but the role.
async fn forge(host: Host, own: Credentials, certificate: Vec<u8>) {
    let group = host.group_id(GROUP);
    let signer = Ed25519Signer::from_seed(&Secret::new([7; 32]));
    let key = signer.public_key();
    let signature = sign_with_certificate_key(&own, &Mandate::message(group, &key)).unwrap();
    let mandate = Mandate { key, certificate, signature };
    let registrar = SocketAddr::from(([127, 0, 0, 1], 9));
    let claim = Claim { mandate: mandate.clone(), priority: u16::MAX, registrar }.encode(group, &signer);
    let out = UnicastSocket::bind(host.interface(), 0).unwrap();
    for counter in 1.. {
        let alarm = alarm(counter).encode(&domain(group), &signer);
        let presence = Presence::encode(group, &mandate, &[registrar], &alarm, &signer).unwrap();
        for datagram in [&claim, &presence] {
            out.multicast(datagram, host.discovery_address(group), 1).await.unwrap();
        }
        Clock.sleep_until(Clock.now() + PERSISTENCE).await;
    }
}

fn domain(group: GroupId) -> Domain {
    Domain { suite: crypto::Suite::default(), group, subgroup: SubgroupId(7) }
}

fn alarm(counter: u64) -> Alarm {
    Alarm {
        state: StateId { term: Term(9), inst: Inst(1), epoch: Epoch(1) },
        counter,
        journal: 1,
        root: Version::default(),
        height: 1,
        leaf_steps: 0,
        key_check: [0; 8],
        hard: false,
        activation: Duration::from_millis(500),
        message_root: MerkleHash([0; 16]),
        message_packets: 0,
        oldest: Epoch(1),
        roster: Default::default(),
        policy: [0; 16],
        next_rekey: Duration::ZERO,
        path: Vec::new(),
        successors: Vec::new(),
        in_step: 0,
        members: 1,
        renewals: 0,
    }
}
