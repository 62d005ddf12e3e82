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
    /// How many of a thousand begin a burst, in which a receiver gets nothing.
    pub burst: u32,
    /// The most datagrams a burst takes.
    pub longest_burst: u32,
    /// How many of a thousand arrive with some bits changed.
    pub corruption: u32,
    /// The longest datagram that gets through, if not all do.
    pub mtu: Option<usize>,
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
            burst: 0,
            longest_burst: 0,
            corruption: 0,
            mtu: None,
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

    /// Faults drawn for one run: each kind is on or off, at a rate of its own, up to two fifths of all datagrams lost,
    /// half of them doubled and half a second of delay.
    pub fn harsh(dice: &mut Dice) -> Self {
        let most_loss = *dice.pick(&[20, 100, 200, 400]).unwrap_or(&100);
        let loss = rate(dice, 700, most_loss);
        let (burst, longest_burst) = (rate(dice, 250, 5), rate(dice, 1_000, 50));
        let (duplication, replay) = (rate(dice, 400, 500), rate(dice, 500, 20));
        let (corruption, broken_connection) = (rate(dice, 300, 20), rate(dice, 300, 50));
        let most_delay = *dice.pick(&[1, 5, 20, 50, 100, 200, 500]).unwrap_or(&5);
        let mtu = dice.chance(70).then(|| usize::try_from(dice.between(600, 1_150)).unwrap_or(600));
        let most_delay = Duration::from_millis(most_delay);
        Self {
            most_delay,
            loss,
            duplication,
            replay,
            broken_connection,
            burst,
            longest_burst,
            corruption,
            mtu,
            ..Self::none()
        }
    }

    /// Faults drawn for one run of the small world, up to those of [`LanFaults::worst`].
    pub fn drawn(dice: &mut Dice) -> Self {
        let mut rate = |on_per_mille: u32, most: u64| rate(dice, on_per_mille, most);
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

    /// Whether most datagrams arrive soon: none of these faults is beyond [`LanFaults::worst`].
    pub fn is_fair(&self) -> bool {
        let worst = Self::worst();
        let slow = self.most_delay > worst.most_delay;
        self.loss <= worst.loss && self.burst == 0 && self.mtu.is_none() && !slow
    }

    /// How long one datagram takes.
    pub fn delay(&self, dice: &mut Dice) -> Duration {
        dice.duration(self.least_delay, self.most_delay)
    }
}

/// A rate that is on so many times in a thousand, and then up to `most`.
fn rate(dice: &mut Dice, on_per_mille: u32, most: u64) -> u32 {
    if dice.chance(on_per_mille) { u32::try_from(dice.between(1, most)).unwrap_or_default() } else { 0 }
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
