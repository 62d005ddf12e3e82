//! Two groups in one process, on one host's sockets, know nothing of each other (attack A12).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use conclave::{
    DEFAULT_CONTROL_PORT, Group, GroupHandle, GroupOptions, Host, Interface, MulticastSocket, StartError,
    UnicastSocket,
};
use protocol::{DatagramKind, Envelope, GroupId, SubgroupId};

use crate::support::{MEMBER, Site, join, joined, registrar, within};

const ALPHA: &str = "alpha";
const BETA: &str = "beta";

/// One host that manages both groups, another that is a member of both.
struct Both {
    site: Site,
    managing: Host,
    host: Host,
    alpha: Pair,
    beta: Pair,
}

/// One of the two groups: its manager, its member, and where it is multicast.
struct Pair {
    manager: Group,
    member: Group,
    subgroup: SubgroupId,
    control: SocketAddr,
    data: SocketAddr,
}

impl Both {
    async fn start() -> Self {
        let site = Site::new();
        let managing = site.managing_host().await;
        let host = site.host(site.credentials("member.example", MEMBER)).await;
        let alpha = Pair::start(&site, &managing, &host, ALPHA).await;
        let beta = Pair::start(&site, &managing, &host, BETA).await;
        Self { site, managing, host, alpha, beta }
    }

    async fn stop(self) {
        for pair in [self.alpha, self.beta] {
            within(pair.member.stop()).await;
            within(pair.manager.stop()).await;
        }
        within(self.host.close()).await;
        within(self.managing.close()).await;
    }
}

impl Pair {
    async fn start(site: &Site, managing: &Host, host: &Host, name: &str) -> Self {
        let options = GroupOptions { name: name.to_owned(), ..site.manager_options() };
        let manager = Group::start(managing, options).await.unwrap();
        let mut member = join(host, name, registrar(&manager)).await;
        let place = joined(&mut member).await;
        Self { manager, member, subgroup: place.subgroup, control: place.control, data: place.data }
    }
}

#[tokio::test]
async fn what_is_sent_in_one_group_is_never_delivered_in_the_other() {
    let mut both = Both::start().await;
    assert_eq!(registrar(&both.alpha.manager), registrar(&both.beta.manager));
    for number in 0..50_u8 {
        for (pair, name) in [(&both.alpha, ALPHA), (&both.beta, BETA)] {
            let payload = [name.as_bytes(), &[number]].concat();
            within(pair.member.send(&payload)).await.unwrap();
            within(pair.manager.send(&payload)).await.unwrap();
        }
    }
    for (pair, name) in [(&mut both.alpha, ALPHA), (&mut both.beta, BETA)] {
        for number in 0..50_u8 {
            let payload = [name.as_bytes(), &[number]].concat();
            assert_eq!(within(pair.manager.recv()).await.unwrap().payload, payload);
            assert_eq!(within(pair.member.recv()).await.unwrap().payload, payload);
        }
    }
    both.stop().await;
}

#[tokio::test]
async fn an_eviction_from_one_group_leaves_the_other_as_it_is() {
    let mut both = Both::start().await;
    let before = within(both.beta.manager.handle().manager_status()).await.unwrap();
    within(both.alpha.manager.handle().evict("member.example")).await.unwrap();
    within(both.alpha.member.stop()).await;
    let again = within(join(&both.host, ALPHA, both.managing.registrar().unwrap()).await.joined()).await;
    assert!(again.unwrap_err().to_string().contains("evicted"));
    let after = within(both.beta.manager.handle().manager_status()).await.unwrap();
    assert_eq!((after.state, after.members, after.revocations), (before.state, before.members, 0));
    within(both.beta.member.send(b"still here")).await.unwrap();
    assert_eq!(within(both.beta.manager.recv()).await.unwrap().payload, b"still here");
    within(both.beta.member.stop()).await;
}

#[tokio::test]
async fn packets_of_one_group_replayed_into_the_other_are_all_dropped() {
    let mut both = Both::start().await;
    let (control, data) = capture(&mut both).await;
    let (ours, theirs) = (both.host.group_id(ALPHA), both.host.group_id(BETA));
    let before = within(both.beta.manager.handle().manager_status()).await.unwrap();
    let manager = both.beta.manager.handle();
    let (listed, rejected) = (both.beta.member.handle(), rejected(&manager));
    let (member_rejected, dropped) = (self::rejected(&listed), listed.data_counters().all_dropped());

    let attacker = UnicastSocket::bind(&Interface::resolve("lo").unwrap(), 0).unwrap();
    let readdressed =
        |packet: &Vec<u8>| readdress(packet, (ours, both.alpha.subgroup), (theirs, both.beta.subgroup));
    let mut sent = 0;
    for packet in control.iter().flat_map(|packet| [packet.clone(), readdressed(packet)]) {
        attacker.multicast(&packet, both.beta.control, 1).await.unwrap();
        sent += 1;
    }
    for packet in control.iter().map(readdressed) {
        for host in [&both.managing, &both.host] {
            attacker.send(&packet, host.control_address()).await.unwrap();
        }
        sent += 1;
    }
    let mut injected = 0;
    for packet in data.iter().flat_map(|packet| [packet.clone(), readdressed(packet)]) {
        attacker.multicast(&packet, both.beta.data, 1).await.unwrap();
        injected += 1;
    }

    let refused = async {
        while self::rejected(&manager) < rejected + sent
            || self::rejected(&listed) < member_rejected + sent
            || listed.data_counters().all_dropped() < dropped + injected
        {
            tokio::task::yield_now().await;
        }
    };
    within(refused).await;
    let after = within(manager.manager_status()).await.unwrap();
    assert_eq!((after.state, after.members), (before.state, before.members));
    // Nothing of alpha was delivered: what is sent now comes first.
    within(both.beta.member.send(b"beta's own")).await.unwrap();
    assert_eq!(within(both.beta.manager.recv()).await.unwrap().payload, b"beta's own");
    within(manager.send(b"beta's own")).await.unwrap();
    assert_eq!(within(both.beta.member.recv()).await.unwrap().payload, b"beta's own");
    both.stop().await;
}

#[tokio::test]
async fn a_datagram_for_nobody_here_is_counted_and_a_group_is_joined_once() {
    let both = Both::start().await;
    let attacker = UnicastSocket::bind(&Interface::resolve("lo").unwrap(), 0).unwrap();
    let stranger = [&[1, 5, 0, 1][..], &[7; 100]].concat();
    for packet in [&stranger[..], &stranger[..19], b""] {
        attacker.send(packet, both.host.control_address()).await.unwrap();
    }
    let counted = async {
        while both.host.strays().unknown_group < 1 || both.host.strays().too_short < 2 {
            tokio::task::yield_now().await;
        }
    };
    within(counted).await;
    let options = GroupOptions { name: ALPHA.to_owned(), ..both.site.manager_options() };
    let twice = Group::start(&both.managing, options).await;
    assert!(matches!(twice, Err(StartError::AlreadyServed(name)) if name == ALPHA));
    both.stop().await;
}

#[tokio::test]
async fn a_second_host_on_the_same_ports_gets_others_and_works() {
    let site = Site::new();
    let taken = site.host_on(site.credentials("first.example", MEMBER), DEFAULT_CONTROL_PORT).await;
    let host = site.host_on(site.credentials("second.example", MEMBER), DEFAULT_CONTROL_PORT).await;
    assert_ne!(taken.control_address(), host.control_address());
    assert_eq!((taken.control_port(), host.control_port()), (DEFAULT_CONTROL_PORT, DEFAULT_CONTROL_PORT));
    assert!(host.registrar().is_none(), "who cannot manage does not listen");
    let manager = site.manager().await;
    joined(&mut join(&host, crate::support::GROUP, registrar(&manager)).await).await;
}

/// All that is multicast in alpha during a key update, some sends and an eviction.
async fn capture(both: &mut Both) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let lo = Interface::resolve("lo").unwrap();
    let control = MulticastSocket::join(both.alpha.control, &lo).unwrap();
    let data = MulticastSocket::join(both.alpha.data, &lo).unwrap();
    let (mut messages, mut packets) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 65_536];
    for number in 0..20_u8 {
        within(both.alpha.member.send(&[number; 64])).await.unwrap();
        let (len, _) = within(data.recv(&mut buffer)).await.unwrap();
        packets.push(buffer[..len].to_vec());
    }
    within(both.alpha.manager.handle().rekey()).await.unwrap();
    within(both.alpha.manager.handle().evict("member.example")).await.unwrap();
    let mut kinds = BTreeSet::new();
    while kinds.len() < 2 || messages.len() < 6 {
        let (len, _) = within(control.recv(&mut buffer)).await.unwrap();
        let kind = Envelope::parse(&buffer[..len]).unwrap().kind;
        if matches!(kind, DatagramKind::Alarm | DatagramKind::KeyUpdate) {
            kinds.insert(kind.code());
        }
        messages.push(buffer[..len].to_vec());
    }
    (messages, packets)
}

/// The same packet, made out to another group.
fn readdress(packet: &[u8], from: (GroupId, SubgroupId), to: (GroupId, SubgroupId)) -> Vec<u8> {
    let address = |(group, subgroup): (GroupId, SubgroupId)| {
        [&group.as_bytes()[..], &subgroup.0.to_be_bytes()[..]].concat()
    };
    let (from, to) = (address(from), address(to));
    let mut packet = packet.to_vec();
    let at = packet.windows(from.len()).position(|window| window == from).unwrap();
    packet[at..at + to.len()].copy_from_slice(&to);
    packet
}

fn rejected<M: conclave::Driven>(node: &GroupHandle<M>) -> u64 {
    node.driver_counters().rejected.load(Ordering::Relaxed)
}
