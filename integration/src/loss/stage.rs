//! The stage: participants on one LAN with a virtual clock, where datagrams are lost and nothing else goes wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crypto::Secret;
use gsm::{Gsm, Participant, ParticipantEvent};
use member::{Member, MemberEvent};
use protocol::{CloseReason, Commit, ConnId, Input, Instant, Lane, Machine, Peer, Role, Transmit};

use super::company::{self, Company};
use crate::dice::Dice;
use crate::queue::Queue;

/// The shortest and the longest time a datagram takes on the LAN.
const DELAY: (Duration, Duration) = (Duration::from_micros(500), Duration::from_micros(1_500));
/// What anything takes on a connection; the same for all, so that nothing on one overtakes anything else.
const STREAM_DELAY: Duration = Duration::from_millis(1);
/// How long the store takes for what has gathered.
const COMMIT_DELAY: Duration = Duration::from_millis(1);

/// Who looks on: it measures, and nothing it does changes the run.
pub(super) trait Watcher {
    /// A node sends a datagram, to all or to one.
    fn sent(&mut self, now: Instant, node: usize, lane: Lane, bytes: &[u8]);
    /// A datagram that was not lost was handed to a node; what the node does about it comes next.
    fn heard(&mut self, now: Instant, node: usize, lane: Lane, bytes: &[u8]);
    /// A machine tells something, because of a datagram on `lane` or because of something else.
    fn told(&mut self, now: Instant, node: usize, lane: Option<Lane>, event: &ParticipantEvent);
}

/// Something that is still to happen.
enum Happening {
    Datagram { to: usize, from: usize, lane: Lane, bytes: Rc<[u8]> },
    Accepted { end: End, peer: Box<Peer> },
    Opened { end: End, peer: Box<Peer> },
    Frame { end: End, bytes: Vec<u8> },
    Closed { end: End, why: CloseReason },
    Wake(usize),
    Stored { node: usize, start: u32, upto: Commit },
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct End {
    node: usize,
    start: u32,
    conn: ConnId,
}

/// A node's place on the stage.
struct Station {
    participant: Option<Participant>,
    /// Which start of its process.
    start: u32,
    /// Where it listens for its subgroup.
    control: Option<SocketAddr>,
    /// The earliest wake that is in the queue. One that turns out to be early is asked for anew, so that a deadline that
    /// is moved on with every alarm costs no event each time.
    wakes_at: Option<Instant>,
}

/// N participants on one LAN. Everything follows from the seed.
pub(super) struct Stage<W> {
    company: Company,
    now: Instant,
    queue: Queue<Happening>,
    stations: Vec<Station>,
    /// Of a thousand datagrams, so many are lost at each receiver.
    loss: u32,
    dice: Dice,
    channels: Dice,
    /// The other end of each connection.
    pipes: BTreeMap<End, End>,
    accepted: u64,
    /// Who looks on.
    pub(super) watcher: W,
}

impl<W: Watcher> Stage<W> {
    /// `nodes` nodes of a company, none of them up, on a LAN without loss.
    pub(super) fn new(seed: u64, company: Company, nodes: usize, watcher: W) -> Self {
        let station = |_| Station { participant: None, start: 0, control: None, wakes_at: None };
        Self {
            company,
            now: Instant::ZERO,
            queue: Queue::new(),
            stations: (0..nodes).map(station).collect(),
            loss: 0,
            dice: Dice::new(seed, "lan", 0),
            channels: Dice::new(seed, "channels", 0),
            pipes: BTreeMap::new(),
            accepted: 0,
            watcher,
        }
    }

    pub(super) const fn company(&self) -> &Company {
        &self.company
    }

    /// Of a thousand datagrams, so many are lost from now on, at each receiver for itself.
    pub(super) const fn set_loss(&mut self, per_mille: u32) {
        self.loss = per_mille;
    }

    /// Starts a node's process without a memory; what it was before is gone.
    pub(super) fn start(&mut self, node: usize) {
        self.stop(node);
        let start = self.stations[node].start + 1;
        let participant = self.company.participant(self.now, node, start);
        let station = &mut self.stations[node];
        (station.participant, station.start) = (Some(participant), start);
        self.settle(node, None);
    }

    /// A node's process ends without a word.
    pub(super) fn stop(&mut self, node: usize) {
        let ends: Vec<_> = self.pipes.keys().filter(|end| end.node == node).copied().collect();
        ends.into_iter().for_each(|end| self.close(end));
        let station = &mut self.stations[node];
        (station.participant, station.control, station.wakes_at) = (None, None, None);
    }

    pub(super) fn is_up(&self, node: usize) -> bool {
        self.stations[node].participant.is_some()
    }

    pub(super) fn member(&self, node: usize) -> Option<&Member> {
        self.stations[node].participant.as_ref()?.member()
    }

    pub(super) fn gsm(&self, node: usize) -> Option<&Gsm> {
        self.stations[node].participant.as_ref()?.gsm()
    }

    /// A member's application leaves.
    pub(super) fn leave(&mut self, node: usize) {
        if let Some(participant) = &mut self.stations[node].participant {
            participant.leave(self.now);
        }
        self.settle(node, None);
    }

    /// The operator of a manager asks for something.
    pub(super) fn operate<T>(&mut self, node: usize, act: impl FnOnce(&mut Gsm, Instant) -> T) -> Option<T> {
        let gsm = self.stations[node].participant.as_mut()?.gsm_mut()?;
        let done = act(gsm, self.now);
        self.settle(node, None);
        Some(done)
    }

    /// Moves on until `done`, or by `most`. Returns whether it was done.
    pub(super) fn run_until(&mut self, most: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + most;
        while !done(self) {
            if !self.step(until) {
                self.now = until;
                return done(self);
            }
        }
        true
    }

    /// Moves the clock on, with all that happens meanwhile.
    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    fn step(&mut self, until: Instant) -> bool {
        let Some((at, happening)) = self.queue.pop(until) else { return false };
        self.now = at;
        match happening {
            Happening::Datagram { to, from, lane, bytes } => self.datagram(to, from, lane, &bytes),
            Happening::Accepted { end, peer } => {
                self.on_conn(end, Input::Accepted { conn: end.conn, peer: *peer });
            }
            Happening::Opened { end, peer } => {
                self.on_conn(end, Input::Opened { conn: end.conn, peer: *peer });
            }
            Happening::Frame { end, bytes } => {
                self.on_conn(end, Input::Frame { conn: end.conn, bytes: &bytes });
            }
            Happening::Closed { end, why } => self.on_conn(end, Input::Closed { conn: end.conn, why }),
            Happening::Wake(node) => self.wake(node),
            Happening::Stored { node, start, upto } => {
                if self.stations[node].start == start {
                    self.input(node, Input::Stored { upto });
                    if let Some(participant) = &mut self.stations[node].participant {
                        drop(participant.compaction());
                    }
                }
            }
        }
        true
    }

    fn datagram(&mut self, to: usize, from: usize, lane: Lane, bytes: &[u8]) {
        let input = Input::Datagram { lane, from: company::address(from), bytes };
        self.handle(to, input);
        self.watcher.heard(self.now, to, lane, bytes);
        self.settle(to, Some(lane));
    }

    fn on_conn(&mut self, end: End, input: Input<'_>) {
        if self.stations[end.node].start == end.start {
            self.input(end.node, input);
        }
    }

    fn input(&mut self, node: usize, input: Input<'_>) {
        self.handle(node, input);
        self.settle(node, None);
    }

    /// What a machine does not take changes nothing; drivers of the program count it.
    fn handle(&mut self, node: usize, input: Input<'_>) {
        if let Some(participant) = &mut self.stations[node].participant {
            let _ = participant.handle_input(self.now, input);
        }
    }

    fn wake(&mut self, node: usize) {
        let now = self.now;
        let station = &mut self.stations[node];
        if station.wakes_at != Some(now) {
            return;
        }
        station.wakes_at = None;
        let Some(participant) = &mut station.participant else { return };
        if participant.poll_timeout().is_some_and(|due| due <= now) {
            participant.handle_timeout(now);
        }
        self.settle(node, None);
    }

    /// Drains a machine after anything was done to it: records, transmits, events; then its next timer.
    fn settle(&mut self, node: usize, lane: Option<Lane>) {
        self.drain_records(node);
        while let Some(transmit) = self.stations[node].participant.as_mut().and_then(Machine::poll_transmit) {
            self.transmit(node, transmit);
        }
        while let Some(event) = self.stations[node].participant.as_mut().and_then(Machine::poll_event) {
            self.watcher.told(self.now, node, lane, &event);
            if let Some(place) = event.place() {
                self.stations[node].control = Some(place.control);
            } else if matches!(event, ParticipantEvent::Member(MemberEvent::Ended(_))) {
                self.stations[node].control = None;
            }
        }
        let station = &mut self.stations[node];
        let due = station.participant.as_ref().and_then(Machine::poll_timeout).map(|at| at.max(self.now));
        if let Some(at) = due.filter(|at| station.wakes_at.is_none_or(|wakes| *at < wakes)) {
            station.wakes_at = Some(at);
            self.queue.push(at, Happening::Wake(node));
        }
    }

    fn drain_records(&mut self, node: usize) {
        let station = &mut self.stations[node];
        let mut newest = None;
        while let Some(record) = station.participant.as_mut().and_then(Machine::poll_record) {
            newest = Some(record.commit);
        }
        if let Some(upto) = newest {
            let stored = Happening::Stored { node, start: station.start, upto };
            self.queue.push(self.now + COMMIT_DELAY, stored);
        }
    }

    fn transmit(&mut self, node: usize, transmit: Transmit) {
        let start = self.stations[node].start;
        let end = |conn| End { node, start, conn };
        match transmit {
            Transmit::Multicast { to, bytes, .. } => self.multicast(node, to, bytes.into()),
            Transmit::Unicast { to, bytes } => {
                self.watcher.sent(self.now, node, Lane::Unicast, &bytes);
                if let Some(receiver) = company::node_at(to).filter(|to| *to < self.stations.len()) {
                    self.carry(receiver, node, Lane::Unicast, &bytes.into());
                }
            }
            Transmit::Open { conn, to, expect } => self.open(end(conn), to, expect),
            Transmit::Frame { conn, bytes } => {
                if let Some(other) = self.pipes.get(&end(conn)) {
                    self.queue.push(self.now + STREAM_DELAY, Happening::Frame { end: *other, bytes });
                }
            }
            Transmit::Close { conn } => self.close(end(conn)),
        }
    }

    /// To everybody who listens, the sender's own copy included.
    fn multicast(&mut self, from: usize, to: SocketAddr, bytes: Rc<[u8]>) {
        let lane = if to == self.company.discovery() { Lane::Discovery } else { Lane::Control };
        self.watcher.sent(self.now, from, lane, &bytes);
        for node in 0..self.stations.len() {
            let station = &self.stations[node];
            let listens = match lane {
                Lane::Discovery => station.participant.is_some(),
                _ => station.control == Some(to),
            };
            if listens {
                self.carry(node, from, lane, &bytes);
            }
        }
    }

    fn carry(&mut self, to: usize, from: usize, lane: Lane, bytes: &Rc<[u8]>) {
        if !self.dice.chance(self.loss) {
            let delay = self.dice.duration(DELAY.0, DELAY.1);
            let datagram = Happening::Datagram { to, from, lane, bytes: Rc::clone(bytes) };
            self.queue.push(self.now + delay, datagram);
        }
    }

    /// Stands in for a TLS handshake, which loss makes slower and nothing else.
    fn open(&mut self, caller: End, to: SocketAddr, expect: Role) {
        let arrives = self.now + STREAM_DELAY;
        let called = company::node_at(to).filter(|node| *node < self.stations.len() && self.is_up(*node));
        let Some(called) = called else {
            let why = CloseReason::Unreachable("nobody listens there".into());
            self.queue.push(arrives, Happening::Closed { end: caller, why });
            return;
        };
        self.accepted += 2;
        let start = self.stations[called].start;
        let answering = End { node: called, start, conn: ConnId(self.accepted) };
        let channel: Secret<32> = self.channels.secret();
        let answers = self.company.peer(called, channel.clone());
        if expect == Role::Manager && !answers.roles.manager {
            let why = CloseReason::Refused("its certificate does not name it a manager".into());
            self.queue.push(arrives, Happening::Closed { end: caller, why });
            return;
        }
        self.pipes.insert(caller, answering);
        self.pipes.insert(answering, caller);
        let peer = Box::new(self.company.peer(caller.node, channel));
        self.queue.push(arrives, Happening::Accepted { end: answering, peer });
        let opened = Happening::Opened { end: caller, peer: Box::new(answers) };
        self.queue.push(arrives + STREAM_DELAY, opened);
    }

    fn close(&mut self, from: End) {
        if let Some(other) = self.pipes.remove(&from) {
            self.pipes.remove(&other);
            let closed = Happening::Closed { end: other, why: CloseReason::ByPeer };
            self.queue.push(self.now + STREAM_DELAY, closed);
        }
    }
}
