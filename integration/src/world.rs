//! The world: machines, one LAN, one virtual clock, one queue of events.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use gsm::{Gsm, RequestError};
use member::Member;
use protocol::{CloseReason, Instant, Peer, StateId, Timing};

use crate::cast::{Cast, Honest, Player};
use crate::connections::{Connections, End};
use crate::dice::Dice;
use crate::faults::LanFaults;
use crate::network::Network;
use crate::node::{Node, NodeId};
use crate::oracle::{Oracle, Property, Violation};
use crate::process::Back;
use crate::queue::Queue;
use crate::report::{Failure, Log, Report};
use crate::scenario::{Churn, Scenario};
use crate::trace::{Kind, Line, Trace};
use crate::trouble::Cutting;

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
    pub(crate) source: NodeId,
    pub(crate) from: SocketAddr,
    pub(crate) ttl: u8,
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
        again: bool,
    },
    /// A cut begins or ends.
    Cutting(Box<Cutting>),
    /// A process that was stopped goes on.
    Resume {
        node: NodeId,
        start: u32,
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
    pub(crate) network: Network,
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
            // A new term begins with a record, for which a slow store takes its time.
            let begins = |id: &NodeId| self.nodes[id.0].gsm().is_some_and(|gsm| gsm.current_key().is_none());
            let old = newest.is_none_or(|at| self.now.saturating_since(at) >= REST);
            if old && !self.managers().iter().any(begins) {
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
        self.judge_managers();
        let managers = self.managers();
        let live = self.ids().filter(|id| self.nodes[id.0].wanted && !managers.contains(id));
        for id in live.collect::<Vec<_>>() {
            let node = &self.nodes[id.0];
            let held = node.member().and_then(Member::held);
            let heard =
                managers.iter().filter(|manager| self.network.reaches(**manager, id, self.scenario.ttl));
            let wanted = heard.filter_map(|manager| self.nodes[manager.0].gsm()?.current_key());
            let wanted: Vec<_> = wanted.map(|(state, _)| state).collect();
            self.oracle.on_rest(self.now, &node.identity, held, &wanted);
        }
        self.oracle.finish(self.now);
    }

    /// Managers that hear each other are one too many, and where a node runs that may manage, one is there.
    fn judge_managers(&mut self) {
        let managers = self.managers();
        let (ttl, finds) = (self.scenario.ttl, self.scenario.discovery);
        for (place, one) in managers.iter().enumerate() {
            let other = managers[place + 1..].iter().find(|other| self.network.reaches(*one, **other, ttl));
            if let Some(other) = other.filter(|_| finds) {
                let what = format!("{one:?} and {other:?} both manage and hear each other");
                self.oracle.on_wrong(self.now, Property::Liveness, what);
            }
        }
        let might = |id: &NodeId| {
            let node = &self.nodes[id.0];
            node.wanted && node.roles.manager && node.process.is_up() && self.part(*id) != gsm::Part::Member
        };
        let alone = |id: &NodeId| !managers.iter().any(|manager| self.network.reaches(*manager, *id, ttl));
        if let Some(id) = self.ids().filter(might).find(alone) {
            let what = format!("{id:?} may manage, and nobody does in its LAN");
            self.oracle.on_wrong(self.now, Property::Liveness, what);
        }
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
            most: self.oracle.most_spent(),
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

    /// All nodes that manage now.
    pub fn managers(&self) -> Vec<NodeId> {
        self.ids().filter(|id| self.nodes[id.0].gsm().is_some()).collect()
    }

    /// The manager in whose list an identity is, or else the first that manages.
    fn manager_of(&self, identity: &str) -> Option<NodeId> {
        let lists = |id: &NodeId| {
            let gsm = self.nodes[id.0].gsm();
            gsm.is_some_and(|gsm| gsm.members().any(|listed| listed.identity == identity))
        };
        self.ids().find(lists).or_else(|| self.managing())
    }

    /// The manager's machine.
    ///
    /// # Panics
    /// If no node manages now; a test that kills managers asks [`World::managing`] first.
    pub fn gsm(&self) -> &Gsm {
        let managing = self.managing().and_then(|id| self.nodes[id.0].gsm());
        managing.expect("invariant: a node manages")
    }

    /// A node's manager, while it manages.
    pub fn gsm_of(&self, node: NodeId) -> Option<&Gsm> {
        self.nodes[node.0].gsm()
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
        let manager = self.manager_of(&identity).expect("invariant: a node manages");
        self.evict_by(manager, node)
    }

    /// One of several managers evicts a node.
    ///
    /// # Panics
    /// If the first does not manage now.
    pub fn evict_by(&mut self, manager: NodeId, node: NodeId) -> Result<(), RequestError> {
        let (identity, now) = (self.nodes[node.0].identity.clone(), self.now);
        let done = self.with_gsm(manager, |gsm| gsm.evict(now, &identity));
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
    ///
    /// # Panics
    /// If no node manages now.
    pub fn rekey(&mut self) {
        self.rekey_by(self.managing().expect("invariant: a node manages"));
    }

    /// One of several managers cuts what waits, or a new root.
    ///
    /// # Panics
    /// If it does not manage now.
    pub fn rekey_by(&mut self, manager: NodeId) {
        self.note(manager, Kind::Churn, Churn::Rekey as u64, 0);
        let now = self.now;
        self.with_gsm(manager, |gsm| gsm.rekey(now));
    }

    /// The manager's rekey interval is set; one out of range changes nothing.
    ///
    /// # Panics
    /// If no node manages now.
    pub fn set_rekey_interval(&mut self, interval: Duration) -> Result<(), RequestError> {
        self.set_interval_by(self.managing().expect("invariant: a node manages"), interval)
    }

    pub(crate) fn set_interval_by(&mut self, manager: NodeId, to: Duration) -> Result<(), RequestError> {
        let now = self.now;
        self.with_gsm(manager, |gsm| gsm.set_rekey_interval(now, to))
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
        self.network.faults = faults;
    }

    /// The group's times.
    pub const fn timing(&self) -> &Timing {
        &self.scenario.timing
    }

    fn with_gsm<T>(&mut self, id: NodeId, act: impl FnOnce(&mut Gsm) -> T) -> T {
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
