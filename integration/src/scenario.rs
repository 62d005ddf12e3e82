//! What a run is made of: how many nodes, what goes wrong, who comes and goes.

use std::time::Duration;

use crypto::Suite;
use keytree::Degree;
use protocol::Timing;
use protocol::limits::MAX_DATAGRAM;

use crate::dice::Dice;
use crate::faults::{LanFaults, StoreFaults};

/// Something that the scenario makes happen, to a node drawn when its time comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Churn {
    /// A node that is out joins.
    Join,
    /// A member leaves.
    Leave,
    /// The manager evicts a member.
    Evict,
    /// A member's process dies and starts again without a memory.
    Restart,
    /// A member's process dies.
    Crash,
    /// The manager cuts what waits.
    Rekey,
    /// The manager's rekey interval is set to one drawn then.
    SetInterval,
    /// A manager is killed at one of the next things it does, and comes back a while later.
    Kill,
    /// A manager is killed at one of the next things it does, for good, if another node of its LAN may manage.
    KillForGood,
    /// Somebody copies the manager's store.
    Copy,
    /// A member hears nothing from its manager for longer than it takes to hold it for lost.
    Deafen,
    /// The network is cut in two.
    Split,
    /// A process is stopped, and goes on later.
    Pause,
    /// A manager's disk fails for a while.
    BreakStore,
}

/// One run, but for its seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// The group's suite.
    pub suite: Suite,
    /// The tree's degree.
    pub degree: Degree,
    /// The group's times.
    pub timing: Timing,
    /// The largest key update packet.
    pub packet_size: usize,
    /// Nodes that begin to join within [`Scenario::ramp`] of the start.
    pub members: usize,
    /// Nodes that stay out until the churn draws them.
    pub reserve: usize,
    /// LANs in a row, with a router between each two neighbours. Each has every so many-th node and a manager of its own,
    /// which is the first of them unless there is an election.
    pub lans: usize,
    /// The last so many nodes are in two LANs at once, if there are several.
    pub in_two_lans: usize,
    /// How far the subgroup's multicast goes; 1 stays in its LAN.
    pub ttl: u8,
    /// The first so many nodes of each LAN, node 0 among them, have certificates that allow them to manage.
    pub eligible: usize,
    /// Whether nodes find each other by multicast; if not, all are told where node 0 is.
    pub discovery: bool,
    /// Whether nobody is set up as the manager: the eligible nodes elect one of them.
    pub elects: bool,
    /// How long the first members take to arrive.
    pub ramp: Duration,
    /// How long things go wrong.
    pub duration: Duration,
    /// How long afterwards nothing does, before everybody must be where the manager is.
    pub quiet: Duration,
    /// The LAN until the quiet begins.
    pub lan: LanFaults,
    /// Whether a member may be kept from hearing its manager for so long that it registers again.
    pub harsh: bool,
    /// The manager's store.
    pub store: StoreFaults,
    /// What happens at which time.
    pub churn: Vec<(Duration, Churn)>,
    /// Between two application packets of anybody, on average; zero when nobody sends.
    pub packet_every: Duration,
    /// Whether signatures are Ed25519 and not a keyed hash.
    pub real_signatures: bool,
}

impl Scenario {
    /// A LAN without faults and without churn; tests make things happen themselves.
    pub fn calm(members: usize) -> Self {
        Self {
            suite: Suite::default(),
            degree: Degree::default(),
            timing: Timing::default(),
            packet_size: MAX_DATAGRAM,
            members,
            reserve: 0,
            lans: 1,
            in_two_lans: 0,
            ttl: 1,
            eligible: 1,
            discovery: false,
            elects: false,
            ramp: Duration::from_secs(1),
            duration: Duration::from_secs(30),
            quiet: Duration::ZERO,
            lan: LanFaults::none(),
            harsh: false,
            store: StoreFaults::none(),
            churn: Vec::new(),
            packet_every: Duration::ZERO,
            real_signatures: false,
        }
    }

    /// The LANs a node is in, by its number.
    pub(crate) fn lans_of(&self, number: usize) -> Vec<usize> {
        let home = number % self.lans;
        let count = 1 + self.members + self.reserve;
        let two = self.lans > 1 && number >= count.saturating_sub(self.in_two_lans);
        if two { vec![home, (home + 1) % self.lans] } else { vec![home] }
    }

    /// Twenty nodes that may all manage, started within 20 ms of each other on a LAN that loses up to a fifth of all
    /// datagrams; nobody was told who shall manage.
    pub fn election(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "election", 0);
        let mut rate = |most: u64| u32::try_from(dice.between(0, most)).unwrap_or_default();
        let (loss, duplication) = (rate(200), rate(100));
        let most_delay = Duration::from_millis(dice.between(1, 50));
        Self {
            eligible: 20,
            discovery: true,
            elects: true,
            ramp: Duration::from_millis(20),
            duration: Duration::from_secs(15),
            lan: LanFaults { loss, duplication, most_delay, ..LanFaults::none() },
            ..Self::calm(19)
        }
    }
}
