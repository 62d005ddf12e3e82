//! What comes of a run: what was noted on the way, and what is printed of it in the end.

use protocol::Instant;

use crate::cast::Delivered;
use crate::node::NodeId;
use crate::oracle::Violation;
use crate::process::Back;
use crate::trace::Line;

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
    /// When the network was cut, or healed.
    pub cuts: Vec<Instant>,
    /// Inputs that were not taken, by reason.
    pub rejected: std::collections::BTreeMap<protocol::Rejected, u64>,
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
    /// The most control datagrams, bytes and signature checks of one node in a second, and outputs at once.
    pub most: [u64; 4],
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, trace, events, states, restarts, registrations, sent, delivered, most } = self;
        write!(f, "seed {seed:<6} trace {trace:016x} events {events:>7} states {states:>4} ")?;
        write!(
            f,
            "restarts {restarts:>2} registrations {registrations:>3} sent {sent:>5} delivered {delivered:>6} most {most:?}"
        )
    }
}
