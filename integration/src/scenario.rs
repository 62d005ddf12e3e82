//! What a run is made of: how many nodes, what goes wrong, who comes and goes.

use std::time::Duration;

use crypto::Suite;
use keytree::Degree;
use protocol::Timing;
use protocol::limits::{MAX_DATAGRAM, MIN_DATAGRAM};

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
    /// The manager is killed at one of the next things it does, and comes back a while later.
    Kill,
    /// Somebody copies the manager's store.
    Copy,
    /// A member hears nothing from its manager for longer than it takes to hold it for lost.
    Deafen,
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
    /// The first so many nodes, node 0 among them, have certificates that allow them to manage.
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
    /// The manager's store.
    pub store: StoreFaults,
    /// What happens at which time.
    pub churn: Vec<(Duration, Churn)>,
    /// Application packets a second, of all nodes together.
    pub packets_per_second: u64,
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
            eligible: 1,
            discovery: false,
            elects: false,
            ramp: Duration::from_secs(1),
            duration: Duration::from_secs(30),
            quiet: Duration::ZERO,
            lan: LanFaults::none(),
            store: StoreFaults::none(),
            churn: Vec::new(),
            packets_per_second: 0,
            real_signatures: false,
        }
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

    /// The scenario of a seed: 8 to 14 members over one to two minutes, with joins, leaves, evictions and restarts.
    /// Every kind of fault is on or off, at a rate of its own.
    pub fn drawn(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "scenario", 0);
        let lan = LanFaults::drawn(&mut dice);
        let store = StoreFaults::drawn(&mut dice);
        let members = number(dice.between(8, 14));
        let duration = Duration::from_secs(dice.between(40, 80));
        let interval = *dice.pick(&[500, 1_000, 2_000, 5_000]).unwrap_or(&5_000);
        let mut timing = Timing {
            rekey_interval: Duration::from_millis(interval),
            refresh: Duration::from_secs(dice.between(15, 200)),
            ..Timing::default()
        };
        if dice.chance(300) {
            timing.keepalive = Duration::from_secs(2);
        }
        let degree = Degree::new(*dice.pick(&[2, 3, 4, 4, 8]).unwrap_or(&4)).unwrap_or_default();
        let packet_size = if dice.chance(300) { MIN_DATAGRAM } else { MAX_DATAGRAM };
        Self {
            suite: if dice.chance(300) { Suite::Aes256Kw } else { Suite::Aes256Ctr },
            degree,
            timing,
            packet_size,
            members,
            reserve: 8,
            eligible: 1,
            discovery: Dice::new(seed, "discovery", 0).chance(500),
            elects: false,
            ramp: Duration::from_millis(dice.between(10, 8_000)),
            duration,
            quiet: Duration::from_secs(20),
            lan,
            store,
            churn: churn(&mut dice, seed, duration),
            packets_per_second: dice.between(4, 20),
            real_signatures: dice.chance(50),
        }
    }
}

/// Who comes and goes within `duration`.
fn churn(dice: &mut Dice, seed: u64, duration: Duration) -> Vec<(Duration, Churn)> {
    let kinds = [
        (Churn::Join, 3, 8),
        (Churn::Leave, 1, 4),
        (Churn::Evict, 1, 4),
        (Churn::Restart, 0, 2),
        (Churn::Crash, 0, 1),
        (Churn::Rekey, 0, 4),
        (Churn::SetInterval, 0, 2),
    ];
    let mut churn = Vec::new();
    for (kind, least, most) in kinds {
        for _ in 0..dice.between(least, most) {
            churn.push((dice.duration(Duration::from_secs(3), duration), kind));
        }
    }
    if dice.chance(300) {
        // All at once: what falls into one batch, and what falls between a cut and its record.
        let at = dice.duration(Duration::from_secs(3), duration);
        churn
            .iter_mut()
            .for_each(|(time, _)| *time = at + dice.duration(Duration::ZERO, Duration::from_secs(4)));
    }
    churn.extend(restarts(seed, duration));
    churn.sort_by_key(|(time, _)| *time);
    churn
}

/// When the manager is killed, and what belongs to that; drawn apart, so that the rest of a run is what it was before
/// there were restarts.
fn restarts(seed: u64, duration: Duration) -> Vec<(Duration, Churn)> {
    let mut dice = Dice::new(seed, "restarts", 0);
    let kinds = [(Churn::Kill, 3), (Churn::Copy, 3), (Churn::Deafen, 2)];
    let mut churn = Vec::new();
    if dice.chance(600) {
        for (kind, most) in kinds {
            for _ in 0..dice.between(0, most) {
                churn.push((dice.duration(Duration::from_secs(3), duration), kind));
            }
        }
    }
    churn
}

fn number(value: u64) -> usize {
    usize::try_from(value).unwrap_or_default()
}
