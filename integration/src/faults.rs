//! What goes wrong on the LAN and in the store, and how often.

use std::time::Duration;

use crate::dice::Dice;

/// The faults of the LAN. Each datagram meets them anew at each receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LanFaults {
    /// The shortest time a datagram takes.
    pub least_delay: Duration,
    /// The longest. Datagrams whose delays cross arrive out of order.
    pub most_delay: Duration,
    /// How many of a thousand are lost.
    pub loss: u32,
    /// How many of a thousand arrive twice.
    pub duplication: u32,
    /// How many of a thousand bring an old datagram of anybody along.
    pub replay: u32,
    /// How many of a thousand frames break the connection they go over.
    pub broken_connection: u32,
}

impl LanFaults {
    /// A LAN without loss, on which nothing takes longer than 5 ms.
    pub const fn none() -> Self {
        Self {
            least_delay: Duration::from_micros(50),
            most_delay: Duration::from_millis(5),
            loss: 0,
            duplication: 0,
            replay: 0,
            broken_connection: 0,
        }
    }

    /// Every kind of fault at the highest rate that is drawn: a tenth of all datagrams lost, a tenth doubled, up to
    /// 200 ms of delay.
    pub const fn worst() -> Self {
        Self {
            most_delay: Duration::from_millis(200),
            loss: 100,
            duplication: 100,
            replay: 20,
            broken_connection: 50,
            ..Self::none()
        }
    }

    /// Faults drawn for one run: each kind is on or off, at a rate of its own.
    pub fn drawn(dice: &mut Dice) -> Self {
        let mut rate = |on_per_mille: u32, most: u64| {
            if dice.chance(on_per_mille) {
                u32::try_from(dice.between(1, most)).unwrap_or_default()
            } else {
                0
            }
        };
        let worst = Self::worst();
        let (loss, duplication) = (rate(750, worst.loss.into()), rate(500, worst.duplication.into()));
        let (replay, broken_connection) =
            (rate(500, worst.replay.into()), rate(300, worst.broken_connection.into()));
        let most_delay = [1, 5, 20, 50, 100, 200][usize::try_from(dice.below(6)).unwrap_or_default()];
        Self {
            most_delay: Duration::from_millis(most_delay),
            loss,
            duplication,
            replay,
            broken_connection,
            ..Self::none()
        }
    }

    /// How long one datagram takes.
    pub fn delay(&self, dice: &mut Dice) -> Duration {
        dice.duration(self.least_delay, self.most_delay)
    }
}

/// How the manager's store behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreFaults {
    /// The shortest time of a commit.
    pub least_delay: Duration,
    /// The longest time of a commit.
    pub most_delay: Duration,
    /// When it fails for good, counted from the start of the run.
    pub fails_after: Option<Duration>,
}

impl StoreFaults {
    /// A store that commits within 5 ms.
    pub const fn none() -> Self {
        Self {
            least_delay: Duration::from_micros(200),
            most_delay: Duration::from_millis(5),
            fails_after: None,
        }
    }

    /// A store that takes `delay` for every commit.
    pub const fn slow(delay: Duration) -> Self {
        Self { least_delay: delay, most_delay: delay, fails_after: None }
    }

    /// A store for one run: mostly fast, sometimes slow.
    pub fn drawn(dice: &mut Dice) -> Self {
        match dice.below(10) {
            0 => Self::slow(Duration::from_millis(1_500)),
            1 | 2 => Self { most_delay: Duration::from_millis(300), ..Self::none() },
            _ => Self::none(),
        }
    }
}
