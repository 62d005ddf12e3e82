//! The table: one row for each rate of loss and kind of key update, over any number of drills.

use std::fmt;
use std::time::Duration;

use super::drill::{Batch, Drill, Outcome};

/// The rates of the table, in percent.
pub const TABLE_RATES: [u32; 5] = [0, 10, 20, 30, 40];

/// What one kind of key update cost at one rate of loss.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Datagrams lost, in percent.
    pub loss: u32,
    /// Members of the subgroup, beside the manager.
    pub members: usize,
    /// What led to the updates.
    pub batch: Batch,
    /// How many updates.
    pub updates: usize,
    /// Members that had to get a key and did not, over all updates.
    pub without: usize,
    /// From the first packet sent until half of all held the key, 99 in 100, and the last one.
    pub waits: [Duration; 3],
    /// Bytes of packets and resync answers, as thousandths of the bytes of the data packets sent once.
    pub bytes: u64,
    /// The same with the NAKs.
    pub bytes_with_naks: u64,
    /// NAKs that reached the manager in a round: the most, and in thousandths the mean over rounds that had any.
    pub naks: (usize, u64),
    /// Of a hundred thousand members, so many got the key by unicast.
    pub by_unicast: u64,
    /// Members that were put out meanwhile, since none of their keepalives arrived.
    pub expired: usize,
}

/// What a row must keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The time until 99 in 100 members hold the key.
    pub p99: Duration,
    /// [`Row::bytes`].
    pub bytes: u64,
    /// NAKs that reach the manager in one round.
    pub naks: usize,
}

impl Limits {
    /// The limits at a rate of loss in percent. There is none for bytes at 20 %: that of 30 % holds.
    pub const fn at(loss: u32) -> Self {
        let (millis, bytes) = match loss {
            0..=10 => (500, 1_700),
            11..=20 => (1_000, 2_500),
            21..=30 => (2_000, 2_500),
            _ => (4_000, 3_200),
        };
        Self { p99: Duration::from_millis(millis), bytes, naks: 40 }
    }
}

impl Row {
    /// Both rows of a rate, from drills that differ in their seeds only: `seeds` from `drill`'s on.
    pub fn measure(drill: Drill, seeds: u64) -> [Self; 2] {
        let drilled: Vec<_> =
            (0..seeds).map(|seed| Drill { seed: drill.seed + seed, ..drill }.run()).collect();
        let expired = drilled.iter().map(|drilled| drilled.expired).sum();
        let outcomes: Vec<_> = drilled.into_iter().flat_map(|drilled| drilled.outcomes).collect();
        [Batch::Churn, Batch::Eviction].map(|batch| Self::of(drill, batch, &outcomes, expired))
    }

    fn of(drill: Drill, batch: Batch, outcomes: &[Outcome], expired: usize) -> Self {
        let of_kind = || outcomes.iter().filter(|outcome| outcome.batch == batch);
        let sum = |of: fn(&Outcome) -> usize| of_kind().map(of).sum::<usize>() as u64;
        let mut waits: Vec<_> = of_kind().flat_map(|outcome| outcome.waits.iter().copied()).collect();
        waits.sort_unstable();
        let naks: Vec<_> = of_kind().flat_map(|outcome| outcome.naks.iter().copied()).collect();
        let wanted = sum(|outcome| outcome.members);
        let data = sum(|outcome| outcome.data_bytes);
        Self {
            loss: drill.loss / 10,
            members: drill.members,
            batch,
            updates: of_kind().count(),
            without: usize::try_from(wanted).unwrap_or(usize::MAX) - waits.len(),
            waits: [500, 990, 1_000].map(|per_mille| quantile(&waits, per_mille)),
            bytes: ratio(sum(|outcome| outcome.bytes), data, 1_000),
            bytes_with_naks: ratio(sum(|outcome| outcome.bytes + outcome.nak_bytes), data, 1_000),
            naks: (
                naks.iter().copied().max().unwrap_or_default(),
                ratio(naks.iter().sum::<usize>() as u64, naks.len() as u64, 1_000),
            ),
            by_unicast: ratio(sum(|outcome| outcome.by_unicast), wanted, 100_000),
            expired,
        }
    }

    /// Whether everybody holds every key, and the row keeps to the limits of its rate.
    pub fn holds(&self) -> bool {
        let limits = Limits::at(self.loss);
        let [_, p99, _] = self.waits;
        self.without == 0 && p99 <= limits.p99 && self.bytes <= limits.bytes && self.naks.0 <= limits.naks
    }
}

/// The smallest wait that so many of a thousand do not exceed.
fn quantile(ascending: &[Duration], per_mille: usize) -> Duration {
    let place = (ascending.len() * per_mille).div_ceil(1_000).saturating_sub(1);
    ascending.get(place).copied().unwrap_or_default()
}

/// `part` of `whole` in parts of `unit`, rounded.
fn ratio(part: u64, whole: u64, unit: u64) -> u64 {
    (part * unit + whole / 2).checked_div(whole).unwrap_or_default()
}

/// The head of the table, as it stands in `docs/loss-table.md`.
pub fn heading() -> String {
    let names = "| loss % | members | update | updates | without key | p50 ms | p99 ms | max ms | bytes × | with NAKs × \
                 | NAKs a round, max | mean | by unicast % | expired |";
    format!("{names}\n|{}", "---|".repeat(names.matches('|').count() - 1))
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, members, batch, updates, without, naks, expired, .. } = self;
        write!(f, "| {loss} | {members} | {batch} | {updates} | {without} |")?;
        for wait in self.waits {
            write!(f, " {}.{} |", wait.as_millis(), wait.as_micros() / 100 % 10)?;
        }
        for ratio in [self.bytes, self.bytes_with_naks] {
            write!(f, " {}.{:02} |", ratio / 1_000, ratio % 1_000 / 10)?;
        }
        write!(f, " {} | {}.{} |", naks.0, naks.1 / 1_000, naks.1 / 100 % 10)?;
        write!(f, " {}.{:03} | {expired} |", self.by_unicast / 1_000, self.by_unicast % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_wait_that_somebody_had() {
        let waits: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&waits, 500), Duration::from_millis(100));
        assert_eq!(quantile(&waits, 990), Duration::from_millis(198));
        assert_eq!(quantile(&waits, 1_000), Duration::from_millis(200));
        assert_eq!(quantile(&[], 990), Duration::ZERO);
    }

    #[test]
    fn the_heading_has_a_column_for_each_figure() {
        let row = Row {
            loss: 10,
            members: 1_000,
            batch: Batch::Churn,
            updates: 5,
            without: 0,
            waits: [Duration::from_micros(1_250); 3],
            bytes: 1_649,
            bytes_with_naks: 1_700,
            naks: (7, 2_500),
            by_unicast: 1_234,
            expired: 0,
        };
        assert_eq!(
            row.to_string().matches('|').count(),
            heading().lines().next().unwrap_or("").matches('|').count()
        );
        assert!(row.to_string().contains(" 1.2 | 1.2 | 1.2 | 1.64 | 1.70 | 7 | 2.5 | 1.234 |"), "{row}");
    }
}
