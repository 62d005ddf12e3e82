use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use crypto::Roles;
use storage::{Loaded, MemoryStore, Snapshot, Store, StoreError, StoreKind};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;
use crate::host::{Acceptor, Host, HostOptions};
use crate::node::{Begun, Node, Setup};
use crate::pki::{Authority, IssueRequest, KeyKind};
use crate::threads::Threads;

const DEADLINE: Duration = Duration::from_secs(10);

/// Tells what it is handed, and from its tenth discovery datagram on it is a manager.
struct Probe {
    control: SocketAddr,
    discovery: SocketAddr,
    events: VecDeque<(Lane, Vec<u8>)>,
    heard: usize,
}

impl Machine for Probe {
    type Event = (Lane, Vec<u8>);

    fn handle_input(&mut self, _: Instant, input: Input<'_>) -> Result<(), Rejected> {
        let Input::Datagram { lane, bytes, .. } = input else { return Err(Rejected::NotForUs) };
        self.heard += usize::from(lane == Lane::Discovery);
        self.events.push_back((lane, bytes.to_vec()));
        Ok(())
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_record(&mut self) -> Option<protocol::Record> {
        None
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    fn poll_event(&mut self) -> Option<Self::Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Driven for Probe {
    fn effect(_: &Self::Event) -> Effect<'_> {
        Effect::None
    }

    fn listens_at_start(&self) -> Option<Listen> {
        Some(Listen { control: self.control, data: self.control, ttl: 1 })
    }

    fn discovers_at(&self) -> Option<SocketAddr> {
        Some(self.discovery)
    }

    fn accepts(&self) -> bool {
        self.heard >= 10
    }
}

async fn host(threads: &Threads) -> Host {
    let lifetime = Duration::from_secs(3_600);
    let authority = Authority::create("Site", KeyKind::P256, lifetime).unwrap();
    let roles = Roles { member: true, manager: false, maa: false };
    let request = IssueRequest::new("node.example".parse().unwrap(), roles, lifetime);
    let options = HostOptions {
        credentials: authority.issue(&request).unwrap().into_credentials(),
        interface: Interface::resolve("lo").unwrap(),
        port: 0,
        control_port: 0,
        data_port: 0,
    };
    Host::open(threads, options).await.unwrap()
}

#[tokio::test]
async fn every_lane_reaches_the_machine_as_what_it_is_and_a_burst_loses_nothing() {
    let threads = Threads::start().unwrap();
    let host = host(&threads).await;
    let (group, seat) = host.seat("probe").unwrap();
    let discovery = host.discovery_address(group);
    let port = host.control_address().port();
    let probe = Probe {
        control: SocketAddr::from(([239, 192, 77, 99], port)),
        discovery,
        events: VecDeque::new(),
        heard: 0,
    };
    let control = probe.control;
    let Begun { node, mut events, .. } = Node::start(&host, Setup { group, seat, store: None }, probe);
    // Its sockets are there once it answers.
    node.machine.call(|_, _| ()).await.unwrap();
    assert!(matches!(host.acceptor(group), Acceptor::NoManager));

    let sender = UnicastSocket::bind(host.interface(), 0).unwrap();
    let sent = MAX_BURST * 3 + 1;
    for number in 0..sent {
        let mut datagram = [&[1, 6, 0, 1][..], group.as_bytes(), &[0; 8]].concat();
        datagram.extend_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
        sender.multicast(&datagram, discovery, 1).await.unwrap();
        sender.multicast(&datagram, control, 1).await.unwrap();
        sender.send(&datagram, host.control_address()).await.unwrap();
    }
    let mut next = [0; 3];
    while next.iter().sum::<usize>() < 3 * sent {
        let (lane, datagram) = timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
        let place = match lane {
            Lane::Control => 0,
            Lane::Unicast => 1,
            Lane::Discovery => 2,
        };
        assert_eq!(datagram[28..], u32::try_from(next[place]).unwrap().to_be_bytes(), "{lane:?}");
        next[place] += 1;
    }
    assert!(matches!(host.acceptor(group), Acceptor::Machine(_)), "acceptance follows the machine");
    node.stop().await;
    assert!(matches!(host.acceptor(group), Acceptor::Unknown));
}

#[tokio::test]
async fn what_waits_to_be_heard_is_not_lost_when_the_machine_names_its_address_again() {
    let interface = Interface::resolve("lo").unwrap();
    let sender = UnicastSocket::bind(&interface, 0).unwrap();
    let group = SocketAddr::from(([239, 192, 77, 97], sender.address().port()));
    let mut ear = Ear::new();
    ear.listen(group, &interface);
    sender.multicast(b"waits", group, 1).await.unwrap();
    ear.listen(group, &interface);
    let (len, _) = timeout(DEADLINE, ear.recv()).await.unwrap();
    assert_eq!(ear.heard(len), b"waits");
}

/// Records what it is told to, and tells what the store reports: `None` for a failure.
#[derive(Default)]
struct Clerk {
    recorded: u64,
    records: VecDeque<protocol::Record>,
    reports: VecDeque<Option<u64>>,
}

impl Clerk {
    fn record(&mut self, count: usize) {
        for _ in 0..count {
            self.recorded += 1;
            self.records.push_back(protocol::Record { commit: Commit(self.recorded), bytes: vec![1] });
        }
    }
}

impl Machine for Clerk {
    type Event = Option<u64>;

    fn handle_input(&mut self, _: Instant, input: Input<'_>) -> Result<(), Rejected> {
        match input {
            Input::Stored { upto } => self.reports.push_back(Some(upto.0)),
            Input::StoreFailed => self.reports.push_back(None),
            _ => return Err(Rejected::NotForUs),
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_record(&mut self) -> Option<protocol::Record> {
        self.records.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    fn poll_event(&mut self) -> Option<Self::Event> {
        self.reports.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Driven for Clerk {
    fn effect(_: &Self::Event) -> Effect<'_> {
        Effect::None
    }
}

/// A store that is in no hurry: an append begins, and waits for a permit.
struct SlowStore {
    inner: MemoryStore,
    begun: mpsc::UnboundedSender<()>,
    permits: Arc<Semaphore>,
}

#[async_trait]
impl Store for SlowStore {
    async fn append(&mut self, records: &[storage::Record]) -> Result<(), StoreError> {
        let _ = self.begun.send(());
        self.permits.acquire().await.unwrap().forget();
        self.inner.append(records).await
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        self.inner.load().await
    }

    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.inner.compact(snapshot).await
    }

    fn describe(&self) -> StoreKind {
        self.inner.describe()
    }
}

/// A long list of revocations taken over at once is more than the queue of a store that is busy holds.
#[tokio::test]
async fn records_beyond_the_room_in_the_queue_wait_and_none_is_left_out() {
    const COUNT: usize = 10_000;
    let threads = Threads::start().unwrap();
    let host = host(&threads).await;
    let (group, seat) = host.seat("clerk").unwrap();
    let (begun, mut begins) = mpsc::unbounded_channel();
    let permits = Arc::new(Semaphore::new(0));
    let store = SlowStore { inner: MemoryStore::new(), begun, permits: Arc::clone(&permits) };
    let store = Some(StoreThread::start(Box::new(store)).unwrap());
    let Begun { node, mut events, .. } = Node::start(&host, Setup { group, seat, store }, Clerk::default());
    node.machine.call(|clerk, _| clerk.record(1)).await.unwrap();
    timeout(DEADLINE, begins.recv()).await.unwrap().unwrap();
    node.machine.call(|clerk, _| clerk.record(COUNT)).await.unwrap();
    // One more turn of the driver has handed over what there is room for.
    node.machine.call(|_, _| ()).await.unwrap();
    permits.add_permits(COUNT);
    let mut upto = 0;
    while upto <= COUNT as u64 {
        let report = timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
        upto = report.expect("the store never failed");
    }
    node.stop().await;
}
