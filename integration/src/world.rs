//! The world: machines, one LAN, one virtual clock, one queue of events.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use gsm::{Gsm, RequestError};
use member::Member;
use protocol::{CloseReason, Instant, Peer, StateId, Timing};

use crate::cast::{Cast, Delivered, Honest, Player};
use crate::connections::{Connections, End};
use crate::dice::Dice;
use crate::faults::LanFaults;
use crate::lan::Lan;
use crate::node::{Node, NodeId};
use crate::oracle::{Oracle, Violation};
use crate::process::Back;
use crate::queue::Queue;
use crate::scenario::{Churn, Scenario};
use crate::trace::{Kind, Line, Trace};

/// By which socket a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Socket {
    Control,
    Unicast,
    Discovery,
    Data,
}

/// A datagram on its way, the same for all who receive it.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) socket: Socket,
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// What happens at one end of a connection.
pub(crate) enum Streamed {
    Accepted(Peer),
    Opened(Peer),
    Frame(Vec<u8>),
    Closed(CloseReason),
}

/// Something that is still to happen.
pub(crate) enum Happening {
    Datagram {
        node: NodeId,
        packet: Rc<Packet>,
    },
    /// Something about a connection. These are rare and large, so they are kept out of the queue's entries.
    Stream(End, Box<Streamed>),
    Wake(NodeId),
    Committed {
        node: NodeId,
        start: u32,
    },
    /// A killed node is started again.
    Back {
        node: NodeId,
        back: Back,
    },
    Join(NodeId),
    Churn(Churn),
    /// The faults stop.
    Quiet,
    /// An application sends.
    Packet,
    /// A payload that waited for a key may go now.
    Unsent(NodeId),
}

/// Somebody notes what happens beside the oracle: what a test wants to measure.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// When each alarm left the manager.
    pub alarms: Vec<Instant>,
    /// The manager's events.
    pub manager: Vec<(Instant, gsm::GsmEvent)>,
    /// The members' events, key rings apart.
    pub members: Vec<(Instant, NodeId, member::MemberEvent)>,
    /// Every delivery.
    pub delivered: Vec<(Instant, NodeId, Delivered)>,
    /// Every packet sent.
    pub sent: Vec<(Instant, NodeId, data::Sealed)>,
    /// Which mode each node was in from when on.
    pub modes: Vec<(Instant, NodeId, gsm::Mode)>,
    /// Kills.
    pub kills: Vec<(Instant, NodeId)>,
    /// What was found at each start after a kill.
    pub starts: Vec<(Instant, NodeId, Back)>,
    /// Inputs that were not taken, by reason.
    pub rejected: std::collections::BTreeMap<protocol::Rejected, u64>,
}

/// How long after a cut, without faults, everybody must hold it.
const REST: Duration = Duration::from_secs(3);
/// How long it may take until everybody is back whose manager has lost what it knew.
const COME_BACK: Duration = Duration::from_secs(30);
/// How often a run goes on for that long. A manager that cuts all the time is judged where it is.
const MAX_RESTS: u32 = 5;

/// N machines, unchanged, on one simulated LAN with a virtual clock; everything in it follows from the seed.
///
/// Made by [`World::new`] for a scenario, then run to its end with [`World::run`], or moved along with
/// [`World::run_for`] by a test that acts itself in between. The oracle looks on all the time; [`World::violations`]
/// is what it found.
pub struct World {
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    pub(crate) now: Instant,
    pub(crate) queue: Queue<Happening>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) lan: Lan,
    pub(crate) connections: Connections,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) cast: Box<dyn Cast>,
    pub(crate) setup: crate::setup::Setup,
    /// Chooses who does what.
    pub(crate) dice: Dice,
    pub(crate) log: Log,
    pub(crate) payloads: u64,
    pub(crate) events: u64,
}

/// The run went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of which seed.
    pub seed: u64,
    /// What was violated.
    pub violations: Vec<Violation>,
    /// The last lines of the trace.
    pub trace: Vec<Line>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        self.trace.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "{violation}"))?;
        write!(f, "seed {}", self.seed)
    }
}

impl std::error::Error for Failure {}

/// What a run without a violation amounted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Of which seed.
    pub seed: u64,
    /// A hash over the trace.
    pub trace: u64,
    /// Events in it.
    pub events: u64,
    /// Key updates.
    pub states: usize,
    /// Times a killed manager came back.
    pub restarts: usize,
    /// Registrations.
    pub registrations: usize,
    /// Application packets sent.
    pub sent: usize,
    /// Deliveries at all nodes together.
    pub delivered: usize,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, trace, events, states, restarts, registrations, sent, delivered } = self;
        write!(f, "seed {seed:<6} trace {trace:016x} events {events:>7} states {states:>4} ")?;
        write!(
            f,
            "restarts {restarts:>2} registrations {registrations:>3} sent {sent:>5} delivered {delivered:>6}"
        )
    }
}

impl World {
    /// The world of a seed and a scenario, with everybody playing honestly.
    pub fn new(seed: u64, scenario: Scenario) -> Self {
        Self::with_cast(seed, scenario, Box::new(Honest))
    }

    /// The same with wrappers in some of the parts.
    pub fn with_cast(seed: u64, scenario: Scenario, cast: Box<dyn Cast>) -> Self {
        crate::setup::world(seed, scenario, cast)
    }

    /// Runs the scenario to its end, and judges it.
    pub fn run(mut self) -> Result<Report, Box<Failure>> {
        let end = Instant::ZERO + self.scenario.duration + self.scenario.quiet;
        while self.oracle.violations().is_empty() && self.step(end) {}
        if !self.oracle.violations().is_empty() {
            return self.verdict();
        }
        self.now = end;
        self.let_all_come_back();
        if self.scenario.quiet > Duration::ZERO {
            self.come_to_rest();
        }
        if self.oracle.violations().is_empty() {
            self.judge();
        }
        self.verdict()
    }

    /// A manager whose store was put back late in a run may take until here to have everybody back.
    fn let_all_come_back(&mut self) {
        let kept = |back: &Back| *back == Back::Whole;
        let newest = self.log.starts.iter().rev().find(|(_, _, back)| !kept(back)).map(|(at, ..)| *at);
        if let Some(rest) = newest.map(|at| COME_BACK.saturating_sub(self.now.saturating_since(at))) {
            self.run_for(rest);
        }
    }

    /// A cut in the last instants has reached nobody yet: goes on until the newest one is [`REST`] old, then everybody
    /// is judged by it.
    fn come_to_rest(&mut self) {
        for _ in 0..MAX_RESTS {
            let cuts = self.log.manager.iter().rev();
            let newest = cuts
                .filter(|(_, event)| matches!(event, gsm::GsmEvent::Rekeyed(_)))
                .map(|(at, _)| *at)
                .next();
            if newest.is_none_or(|at| self.now.saturating_since(at) >= REST) {
                return;
            }
            self.run_for(REST);
        }
    }

    /// Moves the clock on, with all that happens meanwhile.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Moves on until `done`, or by `most`. Returns whether it was done.
    pub fn run_until(&mut self, most: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + most;
        while !done(self) {
            if !self.step(until) {
                self.now = until;
                return done(self);
            }
        }
        true
    }

    /// Judges what can only be judged at the end: whether all wanted members are where the manager is, and every
    /// coalition that was not looked at on the way.
    pub fn judge(&mut self) {
        let managing = self.managing();
        let wanted = managing.and_then(|id| self.nodes[id.0].gsm()?.current_key()).map(|(state, _)| state);
        let live: Vec<_> = self.ids().filter(|id| self.nodes[id.0].wanted && Some(*id) != managing).collect();
        for id in live {
            let node = &self.nodes[id.0];
            let held = node.member().and_then(Member::held);
            self.oracle.on_rest(self.now, &node.identity, held, wanted);
        }
        self.oracle.finish(self.now);
    }

    fn verdict(self) -> Result<Report, Box<Failure>> {
        if !self.oracle.violations().is_empty() {
            return Err(self.failure());
        }
        let (sent, delivered) = self.oracle.packets();
        Ok(Report {
            seed: self.seed,
            trace: self.trace.hash(),
            events: self.trace.count(),
            states: self.oracle.rolls().map(|(_, roll)| roll.states().count()).sum(),
            restarts: self.log.starts.len(),
            registrations: self.oracle.rolls().map(|(_, roll)| roll.registrations().count()).sum(),
            sent,
            delivered,
        })
    }

    pub(crate) fn failure(&self) -> Box<Failure> {
        let violations = self.oracle.violations().to_vec();
        Box::new(Failure { seed: self.seed, violations, trace: self.trace.tail(200).copied().collect() })
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The node that manages the group now; the first of several.
    pub fn managing(&self) -> Option<NodeId> {
        self.ids().find(|id| self.nodes[id.0].gsm().is_some())
    }

    /// The manager's machine.
    ///
    /// # Panics
    /// If no node manages now; a test that kills managers asks [`World::managing`] first.
    pub fn gsm(&self) -> &Gsm {
        let managing = self.managing().and_then(|id| self.nodes[id.0].gsm());
        managing.expect("invariant: a node manages")
    }

    /// A member's machine; `None` for a manager and for a node that is down.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.nodes[node.0].member()
    }

    /// All nodes.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// A node's identity.
    pub fn identity(&self, node: NodeId) -> &str {
        &self.nodes[node.0].identity
    }

    /// The key ring a node's data plane has.
    pub fn ring(&self, node: NodeId) -> Option<&data::KeyRing> {
        self.nodes[node.0].ring.as_ref()
    }

    /// What was noted.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The trace.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Hands every line of the trace from now on to `tell` as well.
    pub const fn trace_to(&mut self, tell: fn(&Line)) {
        self.trace.tell(tell);
    }

    /// The oracle.
    pub const fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The oracle, for a test that plants a bug.
    pub const fn oracle_mut(&mut self) -> &mut Oracle {
        &mut self.oracle
    }

    /// What was violated so far.
    pub fn violations(&self) -> &[Violation] {
        self.oracle.violations()
    }

    /// Whether every wanted member holds the manager's state.
    pub fn is_whole(&self) -> bool {
        let Some(managing) = self.managing() else { return false };
        let wanted: Option<StateId> = self.gsm().current_key().map(|(state, _)| state);
        let mut members = self.ids().filter(|id| *id != managing && self.nodes[id.0].wanted);
        members.all(|id| self.nodes[id.0].member().and_then(Member::held) == wanted)
    }

    /// A node begins to join. One that is down is started first.
    pub fn join(&mut self, node: NodeId) {
        self.note(node, Kind::Churn, Churn::Join as u64, 0);
        // An application that left has ended; the next one begins anew.
        let stays = self.nodes[node.0].wanted && self.nodes[node.0].process.is_up();
        if !stays {
            if self.nodes[node.0].process.is_up() {
                self.stop_process(node);
            }
            self.start_process(node);
        }
    }

    /// A member leaves.
    pub fn leave(&mut self, node: NodeId) {
        self.note(node, Kind::Churn, Churn::Leave as u64, 0);
        self.nodes[node.0].wanted = false;
        if let Some(player) = self.nodes[node.0].process.player_mut() {
            player.leave(self.now);
        }
        self.settle(node);
    }

    /// The manager evicts a node.
    pub fn evict(&mut self, node: NodeId) -> Result<(), RequestError> {
        self.note(node, Kind::Churn, Churn::Evict as u64, 0);
        let identity = self.nodes[node.0].identity.clone();
        let now = self.now;
        let done = self.with_gsm(|gsm| gsm.evict(now, &identity));
        if done.is_ok() {
            self.nodes[node.0].wanted = false;
            self.nodes[node.0].evicted = true;
        }
        done.map(|_| ())
    }

    /// A node's process dies, silently.
    pub fn crash(&mut self, node: NodeId) {
        self.note(node, Kind::Churn, Churn::Crash as u64, 0);
        self.nodes[node.0].wanted = false;
        self.stop_process(node);
    }

    /// A node's process dies and starts again without a memory, and joins.
    pub fn restart(&mut self, node: NodeId) {
        self.note(node, Kind::Churn, Churn::Restart as u64, 0);
        self.stop_process(node);
        self.join(node);
    }

    /// The manager cuts what waits, or a new root.
    pub fn rekey(&mut self) {
        self.note(NodeId::MANAGER, Kind::Churn, Churn::Rekey as u64, 0);
        let now = self.now;
        self.with_gsm(|gsm| gsm.rekey(now));
    }

    /// The manager's rekey interval is set; one out of range changes nothing.
    pub fn set_rekey_interval(&mut self, interval: Duration) -> Result<(), RequestError> {
        let now = self.now;
        self.with_gsm(|gsm| gsm.set_rekey_interval(now, interval))
    }

    /// A node's application sends a payload of its own; without a key it waits.
    pub fn send(&mut self, node: NodeId) {
        self.payloads += 1;
        let payload = self.payloads.to_be_bytes().to_vec();
        self.nodes[node.0].unsent.push_back(payload);
        self.send_waiting(node);
    }

    /// The LAN's faults from now on.
    pub const fn set_faults(&mut self, faults: LanFaults) {
        self.lan.faults = faults;
    }

    /// The group's times.
    pub const fn timing(&self) -> &Timing {
        &self.scenario.timing
    }

    fn with_gsm<T>(&mut self, act: impl FnOnce(&mut Gsm) -> T) -> T {
        let id = self.managing().expect("invariant: a node manages");
        let gsm = self.nodes[id.0].process.player_mut().and_then(Player::gsm_mut);
        let result = act(gsm.expect("invariant: it manages"));
        self.settle(id);
        result
    }

    pub(crate) fn note(&mut self, node: NodeId, kind: Kind, a: u64, b: u64) {
        self.trace.note(Line { at: self.now, node: node.0, kind, a, b });
    }

    /// The next event, if it happens at `until` or before.
    fn step(&mut self, until: Instant) -> bool {
        let Some((at, happening)) = self.queue.pop(until) else { return false };
        self.now = at;
        self.events += 1;
        self.happen(happening);
        true
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).field("now", &self.now).finish_non_exhaustive()
    }
}
