//! One subgroup at one rate of loss: who comes and goes, and how each key update fares.

use std::time::Duration;

use gsm::Standing;
use protocol::{StateId, Timing};

use super::company::{self, Company};
use super::meter::{MANAGER, Meter, Watch};
use super::stage::Stage;
use crate::dice::Dice;

/// How long everybody gets to be let in before anything is lost.
const SET_UP: Duration = Duration::from_secs(60);
/// Between the newest key update and the next thing that happens.
const PAUSE: Duration = Duration::from_secs(6);
/// If somebody lacks the key then, all wait for it; whoever lacks it after this time does not hold it.
const LAST: Duration = Duration::from_secs(24);
/// Within this time all come and go that make one batch; well under the rekey interval.
const ARRIVALS: Duration = Duration::from_secs(3);
/// Key updates of each kind at the rate of loss before anything is measured: the manager learns the loss from NAKs.
const WARM_UP: usize = 3;

/// What leads to a key update.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Batch {
    /// A twentieth of the members leaves and as many nodes join, within one rekey interval.
    Churn,
    /// A quarter of the members leaves and as many nodes join: the batch that rekeying over lossy networks is measured by
    /// in the papers that followed Keystone.
    Turnover,
    /// One member is evicted: a hard update, which does not wait.
    Eviction,
}

impl Batch {
    /// All kinds, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Churn, Self::Turnover, Self::Eviction];

    /// How many of so many members leave.
    const fn of(self, members: usize) -> usize {
        match self {
            Self::Churn => members.div_ceil(20),
            Self::Turnover => members.div_ceil(4),
            Self::Eviction => 1,
        }
    }
}

impl std::fmt::Display for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Churn => "churn",
            Self::Turnover => "turnover",
            Self::Eviction => "eviction",
        })
    }
}

/// One run: a subgroup is set up by the whole registration exchange, and goes through key updates of all kinds in turn.
///
/// Loss is independent for each datagram and receiver, on multicast and unicast, NAKs and requests included. Times and
/// limits are the defaults. A run follows from its seed, whatever the machine and the build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drill {
    /// Everything random comes from it.
    pub seed: u64,
    /// Members beside the manager.
    pub members: usize,
    /// Datagrams lost of a thousand.
    pub loss: u32,
    /// Key updates of each kind that are measured.
    pub epochs: usize,
}

/// One key update of a drill.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) batch: Batch,
    /// Members that had to get the key.
    pub(super) members: usize,
    /// How long each of them took that got it, ascending.
    pub(super) waits: Vec<Duration>,
    /// How many got it by unicast.
    pub(super) by_unicast: usize,
    /// How many had to register again for it.
    pub(super) again: usize,
    pub(super) data_bytes: usize,
    pub(super) bytes: usize,
    pub(super) unasked: usize,
    pub(super) by_members: usize,
    pub(super) nak_bytes: usize,
    /// NAKs that reached the manager in each round that had any.
    pub(super) naks: Vec<usize>,
}

/// The outcomes of one drill.
#[derive(Clone, Debug)]
pub(super) struct Drilled {
    pub(super) outcomes: Vec<Outcome>,
    /// Members put out because none of their keepalives arrived.
    pub(super) expired: usize,
}

impl Drill {
    /// Runs it.
    ///
    /// # Panics
    /// If the subgroup cannot be set up on a LAN without loss.
    pub(super) fn run(self) -> Drilled {
        let updates = self.epochs + WARM_UP;
        // The first members, those that come for the first who leave, and one for each evicted.
        let nodes = 1 + self.members + Batch::Turnover.of(self.members) + updates;
        let company = Company::new(self.seed, nodes, 1, false, Timing::default());
        let mut run = Run {
            stage: Stage::new(self.seed, company, nodes, Meter::default()),
            dice: Dice::new(self.seed, "drill", 0),
            wanted: vec![false; nodes],
            evicted: vec![false; nodes],
            members: self.members,
        };
        run.set_up();
        run.stage.set_loss(self.loss);
        let mut outcomes = Vec::new();
        for update in 0..updates {
            for kind in Batch::ALL {
                let outcome = run.update(kind);
                if update >= WARM_UP {
                    outcomes.push(outcome);
                }
            }
        }
        Drilled { outcomes, expired: run.stage.watcher.expired }
    }
}

/// A drill while it runs.
struct Run {
    stage: Stage<Meter>,
    dice: Dice,
    /// Nodes whose operators want them in.
    wanted: Vec<bool>,
    evicted: Vec<bool>,
    members: usize,
}

impl Run {
    fn set_up(&mut self) {
        self.stage.start(MANAGER);
        for node in 1..=self.members {
            self.stage.start(node);
            self.wanted[node] = true;
        }
        let members = self.members;
        let whole = self.stage.run_until(SET_UP, |stage| {
            let Some(state) = newest(stage) else { return false };
            (1..=members).all(|node| stage.member(node).and_then(member::Member::held) == Some(state))
        });
        assert!(whole, "without loss everybody is let in");
        self.stage.run_for(PAUSE);
    }

    /// One key update, from what leads to it until [`PAUSE`] after its first packet.
    fn update(&mut self, kind: Batch) -> Outcome {
        self.stage.watcher.watches.clear();
        let before = newest(&self.stage);
        match kind {
            Batch::Churn | Batch::Turnover => self.come_and_go(kind.of(self.members)),
            Batch::Eviction => self.evict(),
        }
        self.stage.run_until(PAUSE, |stage| newest(stage) > before);
        self.expect_members();
        self.stage.run_for(PAUSE);
        self.stage.run_until(LAST, |stage| stage.watcher.watches.first().is_some_and(Watch::is_whole));
        let round = self.stage.company().timing().nak_round;
        let watch = self.stage.watcher.watches.first().expect("invariant: a key update was cut");
        outcome(kind, watch, round)
    }

    /// Those on the manager's list that are there must come to hold the key.
    fn expect_members(&mut self) {
        let listed = self.stage.gsm(MANAGER).into_iter().flat_map(gsm::Gsm::members);
        let inside = listed.filter(|listed| listed.standing == Standing::In);
        let nodes = inside.filter_map(|listed| company::named(&listed.identity));
        let expected = nodes.filter(|node| *node != MANAGER && self.wanted[*node]).collect();
        if let Some(watch) = self.stage.watcher.watches.first_mut() {
            watch.expected = expected;
        }
    }

    fn come_and_go(&mut self, batch: usize) {
        let mut out = self.some(batch, |run, node| !run.wanted[node] && !run.evicted[node]);
        let mut inside = self.some(batch, |run, node| run.wanted[node]);
        // Evictions are made up for, so that the number of members stays what it is said to be.
        let missing = self.members - self.wanted.iter().filter(|wanted| **wanted).count();
        out.extend(self.some(missing, |run, node| !run.wanted[node] && !run.evicted[node]));
        out.sort_unstable();
        out.dedup();
        let mut left = ARRIVALS;
        while !out.is_empty() || !inside.is_empty() {
            let step = left / u32::try_from(out.len().max(inside.len())).unwrap_or(1);
            if let Some(node) = out.pop() {
                self.wanted[node] = true;
                self.stage.start(node);
            }
            if let Some(node) = inside.pop() {
                self.wanted[node] = false;
                self.stage.leave(node);
            }
            self.stage.run_for(step);
            left = left.saturating_sub(step);
        }
    }

    fn evict(&mut self) {
        let holds = |run: &Self, node: usize| {
            run.wanted[node] && run.stage.member(node).is_some_and(|member| member.held().is_some())
        };
        for node in self.some(1, holds) {
            self.wanted[node] = false;
            self.evicted[node] = true;
            let evicted = self.stage.operate(MANAGER, |gsm, now| gsm.evict(now, &company::identity(node)));
            assert!(matches!(evicted, Some(Ok(_))), "a member can be evicted");
        }
    }

    /// Up to `count` nodes that fit, drawn.
    fn some(&mut self, count: usize, fits: impl Fn(&Self, usize) -> bool) -> Vec<usize> {
        let mut fitting: Vec<_> = (1..self.wanted.len()).filter(|node| fits(self, *node)).collect();
        let count = count.min(fitting.len());
        for place in 0..count {
            let rest = (fitting.len() - place) as u64;
            let drawn = place + usize::try_from(self.dice.below(rest)).unwrap_or_default();
            fitting.swap(place, drawn);
        }
        fitting.truncate(count);
        fitting
    }
}

fn newest(stage: &Stage<Meter>) -> Option<StateId> {
    stage.gsm(MANAGER)?.current_key().map(|(state, _)| state)
}

fn outcome(batch: Batch, watch: &Watch, round: Duration) -> Outcome {
    let held = watch.expected.iter().filter_map(|node| watch.held.get(node));
    let mut waits: Vec<_> = held.map(|at| at.saturating_since(watch.since)).collect();
    waits.sort_unstable();
    Outcome {
        batch,
        members: watch.expected.len(),
        waits,
        by_unicast: watch.expected.intersection(&watch.resynced).count(),
        again: watch.expected.intersection(&watch.admitted).count(),
        data_bytes: watch.data_bytes(),
        bytes: watch.bytes,
        unasked: watch.unasked,
        by_members: watch.by_members,
        nak_bytes: watch.asked.1,
        naks: watch.rounds(round),
    }
}
