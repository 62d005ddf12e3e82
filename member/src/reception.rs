//! How many alarms a member loses, from the gaps between those it hears. Its NAKs say so, and the manager sends as much
//! parity as that asks for.

use std::time::Duration;

use protocol::{Instant, UNKNOWN_LOSS};

/// Alarms in which losses are counted.
const WINDOW: u32 = u64::BITS;
/// Fewer say nothing.
const ENOUGH: u32 = 12;

/// The newest alarms, heard or lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reception {
    last: Option<Instant>,
    /// A bit for each alarm, the newest lowest: 1 if it was heard.
    heard: u64,
    alarms: u32,
}

impl Reception {
    /// An alarm was verified. Between two of them lie as many others as intervals, less one. A gap as long as `silence` is a
    /// manager that was away, and says nothing of the network.
    pub(crate) fn on_alarm(&mut self, now: Instant, interval: Duration, silence: Duration) {
        let gap = self.last.map_or(Duration::ZERO, |last| now.saturating_since(last));
        self.last = Some(now);
        if gap >= silence {
            return;
        }
        let intervals = (gap + interval / 2).as_micros() / interval.as_micros().max(1);
        let lost = u32::try_from(intervals).unwrap_or(u32::MAX).saturating_sub(1).min(WINDOW - 1);
        self.heard = self.heard << (lost + 1) | 1;
        self.alarms = (self.alarms + lost + 1).min(WINDOW);
    }

    /// Whether an alarm was heard so short a time ago.
    pub(crate) fn heard_within(&self, now: Instant, time: Duration) -> bool {
        self.last.is_some_and(|last| now.saturating_since(last) < time)
    }

    /// How many of 100 alarms are lost.
    pub(crate) fn percent_lost(&self) -> u8 {
        if self.alarms < ENOUGH {
            return UNKNOWN_LOSS;
        }
        let lost = self.alarms - self.heard.count_ones().min(self.alarms);
        u8::try_from(lost * 100 / self.alarms).unwrap_or(UNKNOWN_LOSS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);
    const SILENCE: Duration = Duration::from_secs(3);

    /// What is told after alarms at these numbers of intervals, each late by a little.
    fn told(at: impl IntoIterator<Item = u64>) -> u8 {
        let mut reception = Reception::default();
        for (number, interval) in at.into_iter().enumerate() {
            let late = (number as u64 * 7_919) % 60_000;
            let now = Instant::from_micros(1_000_000 + interval * 250_000 + late);
            reception.on_alarm(now, INTERVAL, SILENCE);
        }
        reception.percent_lost()
    }

    #[test]
    fn the_share_of_lost_alarms_is_told_once_enough_were_heard() {
        assert_eq!(told(0..11), UNKNOWN_LOSS);
        assert_eq!(told(0..12), 0);
        assert_eq!(told((0..400).filter(|at| at % 4 != 1)), 25);
        assert_eq!(told((0..400).filter(|at| at % 10 != 1)), 9, "six or seven of the newest 64");
    }

    #[test]
    fn only_the_newest_alarms_count() {
        assert_eq!(told((0..100).filter(|at| at % 2 == 0).chain(100..200)), 0);
    }

    #[test]
    fn a_manager_that_was_away_and_alarms_out_of_turn_are_no_loss() {
        assert_eq!(told((0..20).chain(60..80)), 0);
        let mut reception = Reception::default();
        let mut now = Instant::from_micros(1_000_000);
        for number in 0..100_u64 {
            // An alarm follows each key update at once; the next one is due an interval after it.
            now += Duration::from_millis(if number % 3 == 0 { 100 } else { 250 });
            reception.on_alarm(now, INTERVAL, SILENCE);
        }
        assert_eq!(reception.percent_lost(), 0);
    }
}
