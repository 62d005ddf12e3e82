//! What members and managers have in common: sockets, threads, the data plane, and an orderly end.

use std::sync::Arc;

use crypto::{ExchangeSecret, Secret};
use data::{KeyRing, OpenCounters, Sealer};
use protocol::{GroupId, SenderId, SubgroupId};
use rand_core::CryptoRng;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::Connections;
use crate::driver::{Driven, Driver, DriverCounters, MachineHandle, Outlets, Parts};
use crate::host::{Host, Seat};
use crate::receiving::{MAX_UNREAD, Message, Receiving};
use crate::sending::{SendError, Sending, SentAs};
use crate::store_thread::{StoreReport, StoreThread};

/// What a node is set up with before its machine exists.
pub(crate) struct Setup {
    /// Its group.
    pub(crate) group: GroupId,
    /// The group's place on the host.
    pub(crate) seat: Seat,
    pub(crate) store: Option<(StoreThread, mpsc::Receiver<StoreReport>)>,
}

/// A running node: a machine with its driver, and the data plane beside it.
pub(crate) struct Node<M: Driven> {
    pub(crate) machine: MachineHandle<M>,
    pub(crate) counters: Arc<DriverCounters>,
    pub(crate) opened: watch::Receiver<OpenCounters>,
    pub(crate) keys: watch::Receiver<Arc<KeyRing>>,
    sending: Arc<Sending>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Open as long as the node is there.
    _host: Host,
}

/// A node that was just started.
pub(crate) struct Begun<M: Driven> {
    pub(crate) node: Node<M>,
    /// Messages for the application.
    pub(crate) messages: mpsc::Receiver<Message>,
    /// The machine's events, from its very first on.
    pub(crate) events: broadcast::Receiver<M::Event>,
}

impl<M: Driven> Node<M> {
    /// Starts driver and data plane around `machine`.
    pub(crate) fn start(host: &Host, setup: Setup, machine: M) -> Begun<M> {
        let Setup { group, mut seat, store } = setup;
        let (runtimes, interface) = (host.runtimes(), host.interface().clone());
        let (connections, told) = Connections::new(host.tls().clone(), runtimes.clone());
        let nothing = KeyRing::empty(crypto::Suite::default(), group, SubgroupId(0), SenderId(0));
        let (keys, keys_seen) = watch::channel(Arc::new(nothing));
        let (place, place_seen) = watch::channel(None);
        let (hints, hinted) = mpsc::channel(4);
        let (messages, unread) = mpsc::channel(MAX_UNREAD);
        let (counted, opened) = watch::channel(OpenCounters::default());
        let receiving = Receiving {
            interface: interface.clone(),
            keys: keys_seen.clone(),
            place: place_seen.clone(),
            messages,
            hints,
            counters: counted,
        };
        let sealer = Sealer::new(system_randomness(), boot_id());
        let sending = Arc::new(Sending::new(sealer, host.data(), keys_seen.clone(), place_seen));
        // Before anybody is told that the node is there.
        seat.accept(machine.accepts());
        let unicast = host.unicast();
        let parts = Parts { machine, interface, unicast, seat, connections, told, store, hints: hinted };
        let (driver, machine, counters) = Driver::new(parts, Outlets { keys, place });
        let events = machine.events();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn_on(driver.run(stop.clone()), &runtimes.control);
        tasks.spawn_on(receiving.run(stop.clone()), &runtimes.data);
        let _host = host.clone();
        let node = Self { machine, counters, opened, keys: keys_seen, sending, stop, tasks, _host };
        Begun { node, messages: unread, events }
    }

    /// See [`Sending::send`].
    pub(crate) async fn send(&self, payload: &[u8]) -> Result<SentAs, SendError> {
        self.sending.send(payload).await
    }

    /// The sending half, for a handle.
    pub(crate) fn sending(&self) -> Arc<Sending> {
        Arc::clone(&self.sending)
    }

    /// Stops in order: what was recorded is made durable. A manager that stops does not end its group.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<M: Driven> Drop for Node<M> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The system's randomness, as machines and sealers are handed it.
pub(crate) fn system_randomness() -> Box<dyn CryptoRng + Send> {
    Box::new(rand_core::UnwrapErr(getrandom::SysRng))
}

/// The node's keys as a plain member: a signing key and an X25519 key, made anew at each start and never stored.
pub(crate) struct NodeKeys {
    pub(crate) signing: crypto::Ed25519Signer,
    pub(crate) exchange: ExchangeSecret,
}

impl NodeKeys {
    pub(crate) fn generate() -> Self {
        let mut rng = system_randomness();
        Self {
            signing: crypto::Ed25519Signer::from_seed(&Secret::random(&mut *rng)),
            exchange: ExchangeSecret::from_bytes(Secret::random(&mut *rng)),
        }
    }
}

/// The kernel's name for this boot; random bytes where it tells none.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    match u128::from_str_radix(&digits, 16) {
        Ok(id) if digits.len() == 32 => id.to_be_bytes(),
        _ => *Secret::<16>::random(&mut *system_randomness()).expose(),
    }
}
