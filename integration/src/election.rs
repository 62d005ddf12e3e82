//! Nodes that may manage start at one instant, and nobody was told who shall: how long until one does, and for good?

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use gsm::Mode;
use protocol::{Instant, StateId};

use crate::node::NodeId;
use crate::oracle::Property;
use crate::report::Failure;
use crate::scenario::Scenario;
use crate::world::World;

/// By then exactly one manages, and from then on.
const DECIDED: Duration = Duration::from_secs(5);
/// By then all the others are its members and hold its key.
const GATHERED: Duration = Duration::from_secs(15);
/// A key update younger than this may still be on its way to somebody.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// How an election went that broke no promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ElectionReport {
    /// Of which seed.
    pub seed: u64,
    /// From when on there was exactly one manager.
    pub decided: Duration,
    /// How many others managed for a while before.
    pub interim: usize,
    /// From when on all the others held a key of it.
    pub gathered: Duration,
    /// Registrations with all managers together, own nodes apart.
    pub registrations: usize,
}

impl fmt::Display for ElectionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, decided, interim, gathered, registrations } = self;
        let [decided, gathered] = [decided, gathered].map(Duration::as_secs_f64);
        write!(f, "seed {seed:<6} one manager after {decided:.3} s, {interim} others before it, ")?;
        write!(f, "all its members after {gathered:.3} s, {registrations} registrations")
    }
}

impl World {
    /// Runs the election of a seed to its end, and judges it.
    pub fn elect(seed: u64) -> Result<ElectionReport, Box<Failure>> {
        Self::new(seed, Scenario::election(seed)).run_election()
    }

    /// The same for a world that was made for [`Scenario::election`].
    pub fn run_election(mut self) -> Result<ElectionReport, Box<Failure>> {
        let mut gathered = None;
        while self.now() < Instant::ZERO + GATHERED && self.violations().is_empty() {
            self.run_for(Duration::from_millis(50));
            gathered = if self.is_gathered() { gathered.or_else(|| Some(self.now())) } else { None };
        }
        let managed = self.managed();
        let (decided, interim) = decision(&managed);
        if decided > DECIDED {
            let what = format!("no single manager for good by {DECIDED:?}: {}", told(&managed));
            self.oracle_mut().on_wrong(Instant::ZERO + DECIDED, Property::Liveness, what);
        }
        let Some(gathered) = gathered else {
            let what = format!("not all are members of one manager by {GATHERED:?}: {}", self.stragglers());
            self.oracle_mut().on_wrong(Instant::ZERO + GATHERED, Property::Liveness, what);
            return Err(self.failure());
        };
        let now = self.now();
        self.oracle_mut().finish(now);
        if !self.violations().is_empty() {
            return Err(self.failure());
        }
        let registrations =
            self.oracle().rolls().map(|(_, roll)| roll.registrations().count()).sum::<usize>();
        Ok(ElectionReport {
            seed: self.seed,
            decided,
            interim,
            gathered: gathered.saturating_since(Instant::ZERO),
            registrations: registrations
                - managed.iter().filter(|(_, _, mode)| *mode == Mode::Manager).count(),
        })
    }

    /// Who began and ceased to manage, in order.
    fn managed(&self) -> Vec<(Instant, NodeId, Mode)> {
        let mut managers = BTreeSet::new();
        let changes = self.log().modes.iter().filter(|(_, node, mode)| match mode {
            Mode::Manager => managers.insert(*node),
            Mode::Member => managers.remove(node),
        });
        changes.copied().collect()
    }

    /// Whether there is one manager and all the others hold its state, or the one before if that is quite new.
    fn is_gathered(&self) -> bool {
        let mut managing = self.ids().filter(|id| self.nodes[id.0].gsm().is_some());
        let (Some(manager), None) = (managing.next(), managing.next()) else { return false };
        self.ids().all(|id| id == manager || self.is_with(manager, id))
    }

    fn is_with(&self, manager: NodeId, id: NodeId) -> bool {
        let state = self.nodes[manager.0].gsm().and_then(|gsm| gsm.current_key()).map(|(state, _)| state);
        let held = self.member(id).and_then(member::Member::held);
        let (Some(state), Some(held)) = (state, held) else { return false };
        held == state || held.same_start(state) && self.is_on_its_way(state)
    }

    fn is_on_its_way(&self, state: StateId) -> bool {
        let cut = self.log().manager.iter().rev().find_map(|(at, event)| match event {
            gsm::GsmEvent::Rekeyed(summary) if summary.state == state => Some(*at),
            _ => None,
        });
        cut.is_some_and(|at| self.now().saturating_since(at) < ON_ITS_WAY)
    }

    fn stragglers(&self) -> String {
        let held = |id: NodeId| match self.nodes[id.0].gsm() {
            Some(gsm) => format!("{id:?} manages {:?}", gsm.current_key().map(|(state, _)| state)),
            None => format!("{id:?} holds {:?}", self.member(id).and_then(member::Member::held)),
        };
        self.ids().map(held).collect::<Vec<_>>().join(", ")
    }
}

/// From when on there was exactly one manager, and how many others there were before. Never, if there is not one now.
fn decision(managed: &[(Instant, NodeId, Mode)]) -> (Duration, usize) {
    let mut managers = BTreeSet::new();
    let mut ever = BTreeSet::new();
    for (_, node, mode) in managed {
        match mode {
            Mode::Manager => managers.insert(*node),
            Mode::Member => managers.remove(node),
        };
        ever.extend(managers.iter().copied());
    }
    match (managers.len(), managed.last()) {
        (1, Some((at, ..))) => (at.saturating_since(Instant::ZERO), ever.len() - 1),
        _ => (Duration::MAX, ever.len()),
    }
}

fn told(managed: &[(Instant, NodeId, Mode)]) -> String {
    let change = |(at, node, mode): &(Instant, NodeId, Mode)| format!("{at} {node:?} {mode:?}");
    managed.iter().map(change).collect::<Vec<_>>().join(", ")
}
