//! A store that takes 1.5 s a commit makes no alarm late: the machine's loop never waits for it.

use std::time::Duration;

use async_trait::async_trait;
use conclave::{
    Clock, DEFAULT_CONTROL_PORT, GroupOptions, Interface, ManagerSettings, MulticastSocket, State,
};
use storage::{Loaded, MemoryStore, Record, Snapshot, Store, StoreError, StoreKind};

use crate::support::{Site, registrar, settings, within};

/// How long the store takes for a commit.
const COMMIT: Duration = Duration::from_millis(1_500);
/// How late an alarm may be.
const ALLOWED: Duration = Duration::from_millis(20);
/// Alarms watched, while members join and so the store is busy all the time.
const ALARMS: usize = 24;

/// A store on a disk that is ready only some time after it was asked.
struct SlowStore(MemoryStore);

#[async_trait]
impl Store for SlowStore {
    async fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        Clock.sleep_until(Clock.now() + COMMIT).await;
        self.0.append(records).await
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        self.0.load().await
    }

    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.0.compact(snapshot).await
    }

    fn describe(&self) -> StoreKind {
        self.0.describe()
    }
}

#[tokio::test]
async fn a_store_that_takes_a_second_and_a_half_makes_no_alarm_late() {
    // A host that is busy with something else makes an alarm late now and then; a loop that waited for the store would
    // make one late by more than a second every time.
    let mut worst = Duration::MAX;
    for attempt in 0..4_u8 {
        worst = worst.min(worst_lateness(attempt).await);
        if worst <= ALLOWED {
            break;
        }
    }
    println!("slow_store_alarm_lateness_ms {:.1}", worst.as_secs_f64() * 1e3);
    assert!(worst <= ALLOWED, "an alarm was {worst:?} late in every attempt");
}

/// The largest excess of the time between two alarms on the wire over the alarm interval.
async fn worst_lateness(attempt: u8) -> Duration {
    let site = Site::new();
    let address = [239, 192, 77, attempt + 1].into();
    let options = GroupOptions {
        settings: ManagerSettings { address: Some(address), ..settings() },
        state: State::Engine(Box::new(SlowStore(MemoryStore::new()))),
        ..site.manager_options()
    };
    let (port, interval) = (DEFAULT_CONTROL_PORT, options.settings.timing.alarm_interval);
    let listening =
        MulticastSocket::join((address, port).into(), &Interface::resolve("lo").unwrap()).unwrap();
    let manager = site.manager_with(options).await;
    let mut first = site.member("first.example", registrar(&manager)).await;
    // A busy host may time one attempt out; the member goes on by itself.
    while within(first.joined()).await.is_err() {}
    let joining = [
        site.member("second.example", registrar(&manager)).await,
        site.member("third.example", registrar(&manager)).await,
    ];
    let (mut last, mut worst, mut heard) = (None, Duration::ZERO, 0);
    let mut buffer = [0; 2_048];
    while heard < ALARMS {
        let (len, _) = within(listening.recv(&mut buffer)).await.unwrap();
        let kind = protocol::Envelope::parse(&buffer[..len]).map(|envelope| envelope.kind);
        if kind != Ok(protocol::DatagramKind::Alarm) {
            continue;
        }
        let now = Clock.now();
        if let Some(last) = last.replace(now) {
            worst = worst.max(now.saturating_since(last).saturating_sub(interval));
        }
        heard += 1;
    }
    drop(joining);
    within(manager.stop()).await;
    worst
}
