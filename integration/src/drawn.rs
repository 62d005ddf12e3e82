//! The scenario of a seed: everything in it is drawn, each kind of fault is on or off and has a rate of its own.

use std::time::Duration;

use crypto::Suite;
use keytree::Degree;
use protocol::Timing;
use protocol::limits::{MAX_DATAGRAM, MIN_DATAGRAM};

use crate::dice::Dice;
use crate::faults::{LanFaults, StoreFaults};
use crate::scenario::{Churn, Scenario};

/// Nodes of a run, the manager among them.
const NODES: usize = 50;
/// How long a run lasts.
const TIME: Duration = Duration::from_secs(600);
/// How long one lasts whose signatures are real: they cost forty times as much as all the rest.
const TIME_WITH_SIGNATURES: Duration = Duration::from_secs(60);
/// At the end of a run nothing goes wrong for so long, then everybody must be where the manager is.
const QUIET: Duration = Duration::from_secs(20);
/// The same where a manager may be gone, and another one has to be found.
const QUIET_AFTER_A_LOSS: Duration = Duration::from_secs(40);

/// What is different between runs of fifty nodes and of a dozen.
struct Size {
    members: usize,
    reserve: usize,
    duration: Duration,
    packet_every: Duration,
    /// So many times the events of a run of a minute.
    events: u64,
}

impl Scenario {
    /// The scenario of a seed: 50 nodes for ten minutes, the last twenty or forty seconds of them without faults, with
    /// joins, leaves, evictions and restarts. Of each LAN one to five nodes may manage: they stand by, take over, and some
    /// managers are killed for good. One in twenty has real signatures and lasts a minute.
    pub fn drawn(seed: u64) -> Self {
        Self::of_fifty(seed, None)
    }

    /// The same with one node in each LAN that may manage, as seeds were drawn at first: for those kept since then.
    pub fn one_manager(seed: u64) -> Self {
        Self::of_fifty(seed, Some(1))
    }

    fn of_fifty(seed: u64, eligible: Option<usize>) -> Self {
        let mut dice = Dice::new(seed, "size", 0);
        let members = number(dice.between(30, 44));
        let real_signatures = dice.chance(50);
        let time = if real_signatures { TIME_WITH_SIGNATURES } else { TIME };
        let size = Size {
            members,
            reserve: NODES - 1 - members,
            duration: time - QUIET,
            packet_every: Duration::from_millis(2_500),
            events: if real_signatures { 1 } else { 4 },
        };
        let mut scenario = Self { real_signatures, ..Self::of_size(seed, &size) };
        scenario.lan = LanFaults::harsh(&mut Dice::new(seed, "network", 0));
        scenario.draw_places(&mut Dice::new(seed, "places", 0), eligible);
        if scenario.lans > 1 {
            // A changed address in an answer would name a manager whose multicast does not come this far.
            scenario.lan.corruption = 0;
        }
        scenario.duration = time - scenario.quiet;
        let troubled = scenario.draw_trouble(&mut Dice::new(seed, "trouble", 0), size.events);
        let calm = scenario.lan.is_fair() && scenario.eligible == 1 && scenario.lans == 1;
        scenario.harsh = troubled || !calm;
        scenario
    }

    /// How many LANs there are, and who may manage in each.
    fn draw_places(&mut self, dice: &mut Dice, eligible: Option<usize>) {
        let drawn = number(dice.between(1, 5));
        self.eligible = eligible.unwrap_or(drawn);
        self.lans = *dice.pick(&[1, 1, 1, 2, 3]).unwrap_or(&1);
        self.discovery |= self.lans > 1 || self.eligible > 1;
        self.elects = self.discovery && dice.chance(500);
        if self.lans > 1 && dice.chance(300) {
            self.in_two_lans = number(dice.between(1, 3));
        }
        if !self.discovery && dice.chance(300) {
            // Told where the manager is, nodes of several LANs are in one subgroup that spans them.
            (self.lans, self.ttl) = (1, u8::try_from(dice.between(1, 4)).unwrap_or(1));
        }
        if self.eligible > 1 {
            self.quiet = QUIET_AFTER_A_LOSS;
        }
    }

    /// What happens to the network, to processes and disks. Each kind is on or off. Returns whether any is on.
    fn draw_trouble(&mut self, dice: &mut Dice, events: u64) -> bool {
        let mut troubled = false;
        let mut kinds = vec![(Churn::Split, 400, 3), (Churn::Pause, 400, 3), (Churn::BreakStore, 250, 1)];
        if self.eligible > 1 {
            kinds.push((Churn::KillForGood, 400, 1));
        }
        for (kind, on, most) in kinds {
            if !dice.chance(on) {
                continue;
            }
            troubled = true;
            for _ in 0..dice.between(1, most * events) {
                self.churn.push((dice.duration(Duration::from_secs(3), self.duration), kind));
            }
        }
        self.churn.retain(|(at, _)| *at < self.duration);
        self.churn.sort_by_key(|(at, _)| *at);
        troubled
    }

    /// The scenario of a seed in a small world: 8 to 14 members for about a minute.
    pub fn small(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "small", 0);
        let duration = Duration::from_secs(dice.between(40, 80));
        let members = number(dice.between(8, 14));
        let packet_every = Duration::from_millis(dice.between(50, 250));
        Self::of_size(seed, &Size { members, reserve: 8, duration, packet_every, events: 1 })
    }

    fn of_size(seed: u64, size: &Size) -> Self {
        let mut dice = Dice::new(seed, "scenario", 0);
        let lan = LanFaults::drawn(&mut dice);
        let store = StoreFaults::drawn(&mut dice);
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
            members: size.members,
            reserve: size.reserve,
            lans: 1,
            in_two_lans: 0,
            ttl: 1,
            eligible: 1,
            discovery: Dice::new(seed, "discovery", 0).chance(500),
            elects: false,
            ramp: Duration::from_millis(dice.between(10, 8_000)),
            duration: size.duration,
            quiet: QUIET,
            lan,
            harsh: false,
            store,
            churn: churn(&mut dice, seed, size),
            packet_every: size.packet_every,
            real_signatures: false,
        }
    }
}

/// Who comes and goes.
fn churn(dice: &mut Dice, seed: u64, size: &Size) -> Vec<(Duration, Churn)> {
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
        for _ in 0..dice.between(least, most * size.events) {
            churn.push((dice.duration(Duration::from_secs(3), size.duration), kind));
        }
    }
    if dice.chance(300) {
        // All at once: what falls into one batch, and what falls between a cut and its record.
        let at = dice.duration(Duration::from_secs(3), size.duration);
        churn
            .iter_mut()
            .for_each(|(time, _)| *time = at + dice.duration(Duration::ZERO, Duration::from_secs(4)));
    }
    churn.extend(restarts(seed, size));
    churn.sort_by_key(|(time, _)| *time);
    churn
}

/// When the manager is killed, and what belongs to that.
fn restarts(seed: u64, size: &Size) -> Vec<(Duration, Churn)> {
    let mut dice = Dice::new(seed, "restarts", 0);
    let kinds = [(Churn::Kill, 3), (Churn::Copy, 3), (Churn::Deafen, 2)];
    let mut churn = Vec::new();
    if dice.chance(600) {
        for (kind, most) in kinds {
            for _ in 0..dice.between(0, most * size.events) {
                churn.push((dice.duration(Duration::from_secs(3), size.duration), kind));
            }
        }
    }
    churn
}

fn number(value: u64) -> usize {
    usize::try_from(value).unwrap_or_default()
}
