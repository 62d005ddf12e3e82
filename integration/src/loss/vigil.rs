//! The vigil: a few nodes with a living manager on a LAN that loses, for hours. Nobody may be taken for lost.

use std::time::Duration;

use gsm::{GsmEvent, Mode, ParticipantEvent};
use member::MemberEvent;
use protocol::{Instant, Lane, Timing};

use super::company::Company;
use super::stage::{Stage, Watcher};

/// How long the nodes get to find each other before anything is lost.
const SET_UP: Duration = Duration::from_secs(30);

/// One run. Nothing happens in it: no application sends, nobody comes or goes. What is lost is alarms, keepalives,
/// probes and suspicions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vigil {
    /// Everything random comes from it.
    pub seed: u64,
    /// Nodes, the manager among them.
    pub nodes: usize,
    /// The first so many may manage: the manager, and its standbys.
    pub eligible: usize,
    /// Datagrams lost of a thousand, at each receiver for itself.
    pub loss: u32,
    /// How long it lasts.
    pub time: Duration,
}

/// What a vigil saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watched {
    /// Times a node other than the first became manager, and times the first one ceased to be.
    pub takeovers: u64,
    /// Times a member heard nothing from its manager for the silence after which it doubts it.
    pub silences: u64,
    /// Members put out because none of their keepalives arrived.
    pub expired: u64,
    /// Datagrams handed to machines.
    pub datagrams: u64,
}

impl std::ops::Add for Watched {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            takeovers: self.takeovers + other.takeovers,
            silences: self.silences + other.silences,
            expired: self.expired + other.expired,
            datagrams: self.datagrams + other.datagrams,
        }
    }
}

impl Watcher for Watched {
    fn sent(&mut self, _: Instant, _: usize, _: Lane, _: &[u8]) {}

    fn heard(&mut self, _: Instant, _: usize, _: Lane, _: &[u8]) {
        self.datagrams += 1;
    }

    fn told(&mut self, _: Instant, node: usize, _: Option<Lane>, event: &ParticipantEvent) {
        match event {
            ParticipantEvent::Became(Mode::Manager) if node > 0 => self.takeovers += 1,
            ParticipantEvent::Became(Mode::Member) if node == 0 => self.takeovers += 1,
            ParticipantEvent::Member(MemberEvent::ManagerSilent) => self.silences += 1,
            ParticipantEvent::Manager(GsmEvent::Departed { why: gsm::Departure::Silent, .. }) => {
                self.expired += 1;
            }
            _ => {}
        }
    }
}

impl Vigil {
    /// Runs it.
    ///
    /// # Panics
    /// If the nodes do not find each other on a LAN without loss.
    pub fn run(self) -> Watched {
        let company = Company::new(self.seed, self.nodes, self.eligible, true, Timing::default());
        let mut stage = Stage::new(self.seed, company, self.nodes, Watched::default());
        (0..self.nodes).for_each(|node| stage.start(node));
        let whole = stage.run_until(SET_UP, |stage| {
            (1..self.nodes).all(|node| stage.member(node).is_some_and(|member| member.held().is_some()))
        });
        assert!(whole, "without loss everybody is let in");
        stage.run_for(SET_UP);
        stage.watcher = Watched::default();
        stage.set_loss(self.loss);
        stage.run_for(self.time);
        stage.watcher
    }
}
