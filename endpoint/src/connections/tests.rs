use std::collections::{BTreeSet, VecDeque};

use crypto::Roles;
use protocol::{Follow, GroupId, Input, Instant, Machine, Record, Rejected, SenderId, SubgroupId, Transmit};
use tokio::sync::broadcast;

use super::*;
use crate::driver::{Driven, Effect};
use crate::host::{Host, HostOptions};
use crate::node::{Begun, Node, Setup};
use crate::pki::{Authority, IssueRequest, KeyKind};
use crate::sockets::Interface;
use crate::threads::Threads;

const DEADLINE: Duration = Duration::from_secs(20);

/// What happened to a machine that does as it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Accepted(ConnId),
    Opened(ConnId),
    Frame(ConnId, Vec<u8>),
    Closed(ConnId),
}

#[derive(Default)]
struct Puppet {
    accepts: bool,
    seen: VecDeque<Seen>,
    orders: VecDeque<Transmit>,
}

impl Machine for Puppet {
    type Event = Seen;

    fn handle_input(&mut self, _: Instant, input: Input<'_>) -> Result<(), Rejected> {
        self.seen.push_back(match input {
            Input::Accepted { conn, .. } => Seen::Accepted(conn),
            Input::Opened { conn, .. } => Seen::Opened(conn),
            Input::Frame { conn, bytes } => Seen::Frame(conn, bytes.to_vec()),
            Input::Closed { conn, .. } => Seen::Closed(conn),
            _ => return Err(Rejected::NotForUs),
        });
        Ok(())
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_record(&mut self) -> Option<Record> {
        None
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.orders.pop_front()
    }

    fn poll_event(&mut self) -> Option<Seen> {
        self.seen.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Driven for Puppet {
    fn effect(_: &Seen) -> Effect<'_> {
        Effect::None
    }

    fn accepts(&self) -> bool {
        self.accepts
    }
}

/// One node of a group, with a machine that does as it is told.
struct Side {
    host: Host,
    group: GroupId,
    node: Node<Puppet>,
    events: broadcast::Receiver<Seen>,
}

impl Side {
    async fn start(threads: &Threads, authority: &Authority, name: &str, accepts: bool) -> Self {
        let roles = Roles { member: true, manager: true, maa: false };
        let request = IssueRequest::new(name.parse().unwrap(), roles, Duration::from_secs(3_600));
        let options = HostOptions {
            credentials: authority.issue(&request).unwrap().into_credentials(),
            interface: Interface::resolve("lo").unwrap(),
            port: 0,
            control_port: 0,
            data_port: 0,
        };
        let host = Host::open(threads, options).await.unwrap();
        let (group, seat) = host.seat("puppets").unwrap();
        let puppet = Puppet { accepts, ..Puppet::default() };
        let Begun { node, events, .. } = Node::start(&host, Setup { group, seat, store: None }, puppet);
        Self { host, group, node, events }
    }

    async fn order(&self, orders: Vec<Transmit>) {
        self.node.machine.call(|puppet, _| puppet.orders.extend(orders)).await.unwrap();
    }

    async fn next(&mut self) -> Seen {
        timeout(DEADLINE, self.events.recv()).await.unwrap().unwrap()
    }

    /// Opens one connection to `other` and says FOLLOW on it.
    async fn follow(&mut self, other: &Self, conn: ConnId) {
        let to = other.host.registrar().unwrap();
        self.order(vec![Transmit::Open { conn, to, expect: Role::Manager }]).await;
        assert_eq!(self.next().await, Seen::Opened(conn));
        self.order(vec![Transmit::Frame { conn, bytes: self.opening() }]).await;
    }

    fn opening(&self) -> Vec<u8> {
        Frame::Follow(Follow { group: self.group, subgroup: SubgroupId(1), sender: SenderId(2) }).encode()
    }
}

/// A manager and a node that would follow it.
async fn pair(threads: &Threads) -> (Side, Side) {
    let authority = Authority::create("Site", KeyKind::P256, Duration::from_secs(3_600)).unwrap();
    let manager = Side::start(threads, &authority, "gsm.example", true).await;
    let standby = Side::start(threads, &authority, "standby.example", false).await;
    (manager, standby)
}

#[tokio::test]
async fn connections_that_follow_are_none_of_the_doors_and_stay_open_both_ways() {
    // More than the door takes from one source that no machine has yet.
    const MANY: u64 = 70;
    let threads = Threads::start().unwrap();
    let (mut manager, mut standby) = pair(&threads).await;
    let mut accepted = BTreeSet::new();
    for number in 0..MANY {
        standby.follow(&manager, ConnId(2 * number + 1)).await;
        let Seen::Accepted(conn) = manager.next().await else { panic!("not accepted") };
        assert_eq!(manager.next().await, Seen::Frame(conn, standby.opening()));
        accepted.insert(conn);
    }
    for conn in &accepted {
        manager.order(vec![Transmit::Frame { conn: *conn, bytes: b"change".to_vec() }]).await;
        let Seen::Frame(at, change) = standby.next().await else { panic!("no frame") };
        assert_eq!(change, b"change");
        standby.order(vec![Transmit::Frame { conn: at, bytes: b"followed".to_vec() }]).await;
        assert_eq!(manager.next().await, Seen::Frame(*conn, b"followed".to_vec()));
    }
    // The end of one of them is told.
    let last = *accepted.last().unwrap();
    manager.order(vec![Transmit::Close { conn: last }]).await;
    assert_eq!(standby.next().await, Seen::Closed(ConnId(2 * MANY - 1)));
}

#[tokio::test]
async fn a_whole_state_goes_to_a_standby_at_once() {
    // Much more than may wait for a node that registers.
    const PARTS: u32 = 1_000;
    let threads = Threads::start().unwrap();
    let (mut manager, mut standby) = pair(&threads).await;
    standby.follow(&manager, ConnId(1)).await;
    let Seen::Accepted(conn) = manager.next().await else { panic!("not accepted") };
    let part = |number: u32| number.to_be_bytes().repeat(protocol::limits::MAX_STATE_PART / 4);
    let parts = (0..PARTS).map(|number| Transmit::Frame { conn, bytes: part(number) });
    manager.order(parts.collect()).await;
    for number in 0..PARTS {
        assert_eq!(standby.next().await, Seen::Frame(ConnId(1), part(number)));
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_and_not_waited_for() {
    let threads = Threads::start().unwrap();
    let (mut manager, standby) = pair(&threads).await;
    let registrar = manager.host.registrar().unwrap();
    let connection = connect(registrar, standby.host.tls(), Role::Manager.into(), DEADLINE).await.unwrap();
    let (mut frames, _) = connection.into_frames();
    let opening = [&[protocol::PROTOCOL_VERSION, 0x81], &standby.group.as_bytes()[..], &[7; 65]].concat();
    frames.send(opening.into()).await.unwrap();
    let Seen::Accepted(conn) = manager.next().await else { panic!("not accepted") };
    manager.next().await;
    // What the two kernels and the queue hold together, and more.
    let flood = (0..1_000).map(|_| Transmit::Frame { conn, bytes: vec![0; MAX_WAITING / 16] });
    manager.order(flood.collect()).await;
    assert_eq!(manager.next().await, Seen::Closed(conn));
    // The machine goes on meanwhile.
    manager.node.machine.call(|_, _| ()).await.unwrap();
}
