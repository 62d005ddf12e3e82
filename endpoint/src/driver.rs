//! The driver of one machine: a loop that hands in what happens and carries out what the machine asks for.

mod ear;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data::KeyRing;
use protocol::{Commit, DataHint, Input, Instant, Lane, Machine, Rejected, Transmit};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::connections::{Connections, Told};
use crate::host::{Letter, Seat};
use crate::listener::Arrival;
use crate::sockets::{Interface, UnicastSocket};
use crate::store_thread::{StoreReport, StoreThread};
use ear::Ear;

/// Datagrams taken in one turn of the loop, so that a flood cannot keep timers and requests waiting.
const MAX_BURST: usize = 64;
/// Requests of applications and operators that may wait.
const MAX_REQUESTS: usize = 64;

/// What an event of a machine means to its driver, besides being told to the application.
pub enum Effect<'a> {
    /// Nothing.
    None,
    /// The data plane gets these keys.
    Keys(&'a KeyRing),
    /// The subgroup is multicast on these addresses: listen there.
    Listen(Listen),
}

/// Where a subgroup is multicast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Control messages.
    pub control: SocketAddr,
    /// Data.
    pub data: SocketAddr,
    /// How many hops multicast may go.
    pub ttl: u8,
}

/// A machine this driver can run: it says which of its events concern the driver.
pub trait Driven: Machine<Event: Clone + Send + 'static> + Send + 'static {
    /// What an event means to the driver.
    fn effect(event: &Self::Event) -> Effect<'_>;

    /// Where the machine listens from its start on, if it needs no event for it.
    fn listens_at_start(&self) -> Option<Listen> {
        None
    }

    /// The group's discovery address, for a machine that takes part in discovery: listened to from its start to its end.
    fn discovers_at(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether it takes registrations now: whether it is a manager. Asked after every turn, so it may change.
    fn accepts(&self) -> bool {
        false
    }

    /// Everything recorded so far in a shorter form, and the newest record it stands for, when that is worth its
    /// while. Asked after each success of the store.
    fn compaction(&mut self) -> Option<(Commit, Vec<u8>)> {
        None
    }
}

/// Something to be done with the machine, between two inputs.
type Request<M> = Box<dyn FnOnce(&mut M, Instant) + Send>;

/// A way to talk to a machine that a driver runs. Cheap to clone.
pub struct MachineHandle<M: Driven> {
    requests: mpsc::Sender<Request<M>>,
    events: broadcast::Sender<M::Event>,
}

/// The machine's driver has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

impl<M: Driven> Clone for MachineHandle<M> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), events: self.events.clone() }
    }
}

impl<M: Driven> std::fmt::Debug for MachineHandle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MachineHandle")
    }
}

impl<M: Driven> MachineHandle<M> {
    /// Runs `ask` on the machine's thread and brings its answer back.
    pub async fn call<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut M, Instant) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, answered) = oneshot::channel();
        let request: Request<M> = Box::new(move |machine, now| drop(answer.send(ask(machine, now))));
        self.requests.send(request).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// The machine's events from now on, but for those that hold keys. A reader that falls far behind misses the oldest
    /// and is told so.
    pub fn events(&self) -> broadcast::Receiver<M::Event> {
        self.events.subscribe()
    }
}

/// What the driver counts; readable at any time.
#[derive(Debug, Default)]
pub struct DriverCounters {
    /// Inputs taken.
    pub taken: AtomicU64,
    /// Inputs the machine rejected, for whatever reason.
    pub rejected: AtomicU64,
    /// How late the latest timer was, in microseconds; the worst since the start.
    pub worst_lateness: AtomicU64,
}

/// Everything a machine is driven with.
pub(crate) struct Parts<M: Driven> {
    pub(crate) machine: M,
    pub(crate) interface: Interface,
    /// The host's, shared with its other groups: for sending.
    pub(crate) unicast: Arc<UnicastSocket>,
    /// What comes for this group by the host's sockets.
    pub(crate) seat: Seat,
    pub(crate) connections: Connections,
    pub(crate) told: mpsc::Receiver<Told>,
    /// The journal, for a machine that keeps one.
    pub(crate) store: Option<(StoreThread, mpsc::Receiver<StoreReport>)>,
    pub(crate) hints: mpsc::Receiver<DataHint>,
}

/// What the driver tells the data plane.
pub(crate) struct Outlets {
    pub(crate) keys: watch::Sender<Arc<KeyRing>>,
    pub(crate) place: watch::Sender<Option<Listen>>,
}

/// One machine and everything around it.
pub(crate) struct Driver<M: Driven> {
    parts: Parts<M>,
    outlets: Outlets,
    control: Ear,
    discovery: Ear,
    requests: mpsc::Receiver<Request<M>>,
    events: broadcast::Sender<M::Event>,
    counters: Arc<DriverCounters>,
    clock: Clock,
}

/// What woke the loop.
enum Woken<M> {
    Timer,
    Store(Option<StoreReport>),
    Request(Option<Request<M>>),
    Told(Told),
    Accepted(Box<Arrival>),
    Control(usize, SocketAddr),
    Letter(Letter),
    Discovery(usize, SocketAddr),
    Hint(DataHint),
    Stop,
}

impl<M: Driven> Driver<M> {
    pub(crate) fn new(parts: Parts<M>, outlets: Outlets) -> (Self, MachineHandle<M>, Arc<DriverCounters>) {
        let (sender, requests) = mpsc::channel(MAX_REQUESTS);
        let (events, _) = broadcast::channel(4_096);
        let counters = Arc::new(DriverCounters::default());
        let handle = MachineHandle { requests: sender, events: events.clone() };
        let driver = Self {
            parts,
            outlets,
            control: Ear::new(),
            discovery: Ear::new(),
            requests,
            events,
            counters: Arc::clone(&counters),
            clock: Clock,
        };
        (driver, handle, counters)
    }

    /// Runs until `stop` is cancelled, then makes what was recorded durable and returns.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        if let Some(place) = self.parts.machine.listens_at_start() {
            self.listen(place);
        }
        if let Some(address) = self.parts.machine.discovers_at() {
            self.discovery.listen(address, &self.parts.interface);
        }
        loop {
            self.drain().await;
            match self.wait(&stop).await {
                Woken::Stop => break,
                woken => self.on_woken(woken),
            }
        }
        self.drain().await;
        if let Some((thread, reports)) = self.parts.store.take() {
            thread.stop(reports).await;
        }
    }

    /// Waits for the next thing to happen. Timers first, so that a flood of datagrams makes no alarm late.
    async fn wait(&mut self, stop: &CancellationToken) -> Woken<M> {
        let deadline = self.parts.machine.poll_timeout();
        let clock = self.clock;
        tokio::select! {
            biased;
            () = stop.cancelled() => Woken::Stop,
            () = due(clock, deadline) => Woken::Timer,
            report = reported(&mut self.parts.store) => Woken::Store(report),
            request = self.requests.recv() => Woken::Request(request),
            Some(told) = self.parts.told.recv() => Woken::Told(told),
            (len, from) = self.control.recv() => Woken::Control(len, from),
            Some(letter) = self.parts.seat.inbox.recv() => Woken::Letter(letter),
            (len, from) = self.discovery.recv() => Woken::Discovery(len, from),
            Some(arrival) = self.parts.seat.arrivals.recv() => Woken::Accepted(Box::new(arrival)),
            Some(hint) = self.parts.hints.recv() => Woken::Hint(hint),
        }
    }

    fn on_woken(&mut self, woken: Woken<M>) {
        let now = self.clock.now();
        match woken {
            Woken::Timer => {
                let due = self.parts.machine.poll_timeout().unwrap_or(now);
                let late = u64::try_from(now.saturating_since(due).as_micros()).unwrap_or(u64::MAX);
                self.counters.worst_lateness.fetch_max(late, Ordering::Relaxed);
                self.parts.machine.handle_timeout(now);
            }
            Woken::Store(Some(StoreReport::Stored { upto })) => {
                self.input(now, Input::Stored { upto: Commit(upto) });
                self.compact();
            }
            Woken::Store(Some(StoreReport::StoreFailed { why })) => {
                tracing::error!(%why, "the store failed: read-only until it works again");
                self.input(now, Input::StoreFailed);
            }
            Woken::Store(None) => {
                self.parts.store = None;
                self.input(now, Input::StoreFailed);
            }
            Woken::Request(Some(request)) => request(&mut self.parts.machine, now),
            Woken::Told(told) => self.on_told(now, told),
            Woken::Accepted(arrival) => self.on_arrival(now, *arrival),
            Woken::Control(len, from) => {
                self.on_control(now, Some((len, from)));
                self.on_letters(now, None);
                self.on_discovery(now, None);
                self.on_waiting(now);
            }
            Woken::Letter(letter) => {
                self.on_letters(now, Some(letter));
                self.on_discovery(now, None);
                self.on_waiting(now);
            }
            Woken::Discovery(len, from) => {
                self.on_discovery(now, Some((len, from)));
                self.on_waiting(now);
            }
            Woken::Hint(hint) => self.input(now, Input::Hint(hint)),
            Woken::Request(None) | Woken::Stop => {}
        }
    }

    fn on_told(&mut self, now: Instant, told: Told) {
        match told {
            Told::Opened(conn, peer) => self.input(now, Input::Opened { conn, peer: *peer }),
            Told::Frame(conn, bytes) => self.input(now, Input::Frame { conn, bytes: &bytes }),
            Told::Closed(conn, why) => {
                self.parts.connections.close(conn);
                self.input(now, Input::Closed { conn, why });
            }
        }
    }

    /// Hands in a connection, and with it the frame that brought it here.
    fn on_arrival(&mut self, now: Instant, arrival: Arrival) {
        let Arrival { frames, peer, first } = arrival;
        let (conn, peer) = self.parts.connections.accepted(frames, peer, &first);
        if self.offer(now, Input::Accepted { conn, peer }) {
            self.input(now, Input::Frame { conn, bytes: &first });
        } else {
            self.parts.connections.close(conn);
        }
    }

    /// Hands in the datagram that woke the loop, if it was one of this lane, and a burst of what waits there. What is
    /// further down in the order of waiting gets its turn after every burst, so a flood on one lane delays the others
    /// and starves none.
    fn on_control(&mut self, now: Instant, first: Option<(usize, SocketAddr)>) {
        let mut first = first;
        for _ in 0..MAX_BURST {
            let Some((len, from)) = first.take().or_else(|| self.control.try_recv()) else { break };
            let input = Input::Datagram { lane: Lane::Control, from, bytes: self.control.heard(len) };
            take(&mut self.parts.machine, &self.counters, now, input);
        }
    }

    /// The same for discovery.
    fn on_discovery(&mut self, now: Instant, first: Option<(usize, SocketAddr)>) {
        let mut first = first;
        for _ in 0..MAX_BURST {
            let Some((len, from)) = first.take().or_else(|| self.discovery.try_recv()) else { break };
            let input = Input::Datagram { lane: Lane::Discovery, from, bytes: self.discovery.heard(len) };
            take(&mut self.parts.machine, &self.counters, now, input);
        }
    }

    /// The same for what was unicast.
    fn on_letters(&mut self, now: Instant, first: Option<Letter>) {
        let mut first = first;
        for _ in 0..MAX_BURST {
            let Some(letter) = first.take().or_else(|| self.parts.seat.inbox.try_recv()) else { break };
            let Letter { from, bytes } = letter;
            self.input(now, Input::Datagram { lane: Lane::Unicast, from, bytes: &bytes });
        }
    }

    /// One connection and one hint, if they wait.
    fn on_waiting(&mut self, now: Instant) {
        if let Ok(arrival) = self.parts.seat.arrivals.try_recv() {
            self.on_arrival(now, arrival);
        }
        if let Ok(hint) = self.parts.hints.try_recv() {
            self.input(now, Input::Hint(hint));
        }
    }

    fn input(&mut self, now: Instant, input: Input<'_>) {
        self.offer(now, input);
    }

    /// Hands in one input; `false` if the machine rejected it.
    fn offer(&mut self, now: Instant, input: Input<'_>) -> bool {
        take(&mut self.parts.machine, &self.counters, now, input)
    }

    /// Carries out what the machine asks for: records first, then transmits, then events.
    async fn drain(&mut self) {
        while self.store_has_room()
            && let Some(record) = self.parts.machine.poll_record()
        {
            let record = storage::Record { commit: record.commit.0, bytes: record.bytes };
            let kept = self.parts.store.as_ref().is_some_and(|(thread, _)| thread.append(record).is_ok());
            if !kept {
                let now = self.clock.now();
                self.input(now, Input::StoreFailed);
            }
        }
        while let Some(transmit) = self.parts.machine.poll_transmit() {
            self.transmit(transmit).await;
        }
        while let Some(event) = self.parts.machine.poll_event() {
            self.on_event(event);
        }
        self.parts.seat.accept(self.parts.machine.accepts());
    }

    /// Whether the next record has somewhere to go. While the thread's queue is full, records stay with the machine,
    /// and nothing that depends on them is told: one left out would make all after it worthless.
    fn store_has_room(&self) -> bool {
        self.parts.store.as_ref().is_none_or(|(thread, _)| thread.has_room())
    }

    /// Has the journal made shorter, if the machine says so. One that the thread cannot take comes again later.
    fn compact(&mut self) {
        if let Some((thread, _)) = &self.parts.store
            && let Some((Commit(upto), bytes)) = self.parts.machine.compaction()
            && let Err(error) = thread.compact(storage::Snapshot { upto, bytes })
        {
            tracing::warn!(%error, "the journal was not made shorter");
        }
    }

    async fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            // What the network does not take is counted by the socket; the protocol repairs it like any loss.
            Transmit::Multicast { to, ttl, bytes } => {
                let _ = self.parts.unicast.multicast(&bytes, to, ttl).await;
            }
            Transmit::Unicast { to, bytes } => {
                let _ = self.parts.unicast.send(&bytes, to).await;
            }
            Transmit::Open { conn, to, expect } => self.parts.connections.open(conn, to, expect),
            Transmit::Frame { conn, bytes } => {
                if !self.parts.connections.frame(conn, bytes) {
                    let now = self.clock.now();
                    self.input(now, Input::Closed { conn, why: protocol::CloseReason::ByPeer });
                }
            }
            Transmit::Close { conn } => self.parts.connections.close(conn),
        }
    }

    fn on_event(&mut self, event: M::Event) {
        match M::effect(&event) {
            Effect::None => {}
            // For the data plane only: a reader of events that is slow, or gone to sleep, would keep old keys in memory.
            Effect::Keys(ring) => {
                self.outlets.keys.send_replace(Arc::new(ring.clone()));
                return;
            }
            Effect::Listen(place) => self.listen(place),
        }
        // Nobody listening is in order.
        drop(self.events.send(event));
    }

    /// Listens on a subgroup's addresses.
    fn listen(&mut self, place: Listen) {
        self.control.listen(place.control, &self.parts.interface);
        self.outlets.place.send_replace(Some(place));
    }
}

/// Hands one input to a machine and counts it; `false` if it was rejected.
fn take<M: Driven>(machine: &mut M, counters: &DriverCounters, now: Instant, input: Input<'_>) -> bool {
    let taken = machine.handle_input(now, input);
    match taken {
        Ok(()) => counters.taken.fetch_add(1, Ordering::Relaxed),
        Err(rejected) => {
            log_rejected(rejected);
            counters.rejected.fetch_add(1, Ordering::Relaxed)
        }
    };
    taken.is_ok()
}

/// Until the deadline; for ever when there is none.
async fn due(clock: Clock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn reported(store: &mut Option<(StoreThread, mpsc::Receiver<StoreReport>)>) -> Option<StoreReport> {
    match store {
        Some((_, reports)) => reports.recv().await,
        None => std::future::pending().await,
    }
}

/// Remote junk is worth a debug line at most; what an authenticated peer does wrong is worth a warning.
fn log_rejected(rejected: Rejected) {
    match rejected.blame() {
        protocol::Blame::Peer => {
            tracing::warn!(reason = %rejected, "an authenticated peer broke the protocol")
        }
        protocol::Blame::Ourselves => tracing::warn!(reason = %rejected, "input refused for lack of room"),
        protocol::Blame::Bytes | protocol::Blame::Nobody => {
            tracing::trace!(reason = %rejected, "input dropped")
        }
    }
}

#[cfg(test)]
mod tests;
