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
    /// Members that had to get a key, over all updates.
    pub wanted: usize,
    /// Those of them that did not.
    pub without: usize,
    /// From the first packet sent until half of all held the key, 99 in 100, and the last one.
    pub waits: [Duration; 3],
    /// Bytes of packets and resync answers, as thousandths of the bytes of the data packets sent once.
    pub bytes: u64,
    /// The part of them that goes out unasked, and the part that members send for the manager.
    pub parts: [u64; 2],
    /// All of them and the NAKs.
    pub bytes_with_naks: u64,
    /// NAKs that reached the manager in a round: the most, and in thousandths the mean over rounds that had any.
    pub naks: (usize, u64),
    /// Of a hundred thousand members, so many got the key by unicast.
    pub by_unicast: u64,
    /// How many had to register again for the key.
    pub again: usize,
    /// Members that were put out meanwhile, since none of their keepalives arrived.
    pub expired: usize,
}

/// What a row must keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The time until 99 in 100 members hold the key.
    pub p99: Duration,
    /// [`Row::bytes`]. For [`Batch::Eviction`] a third more than it takes to send one packet until each of a thousand members
    /// has it, were it known at once who has it: a packet that a tenth of them loses cannot be had for less.
    pub bytes: u64,
    /// NAKs that reach the manager in one round.
    pub naks: usize,
}

impl Limits {
    /// The limits of a kind of key update at a rate of loss in percent.
    pub const fn of(batch: Batch, loss: u32) -> Self {
        let (millis, bytes) = match loss {
            0..=10 => (500, 1_700),
            11..=20 => (1_000, 2_500),
            21..=30 => (2_000, 2_500),
            _ => (4_000, 3_200),
        };
        let bytes = match batch {
            Batch::Churn | Batch::Turnover => bytes,
            Batch::Eviction => match loss {
                0..=10 => 5_000,
                11..=20 => 6_900,
                21..=30 => 9_000,
                _ => 11_500,
            },
        };
        Self { p99: Duration::from_millis(millis), bytes, naks: 40 }
    }
}

impl Row {
    /// The rows of a rate, one for each kind, from drills that differ in their seeds only: `seeds` from `drill`'s on.
    pub fn measure(drill: Drill, seeds: u64) -> [Self; 3] {
        let drilled: Vec<_> =
            (0..seeds).map(|seed| Drill { seed: drill.seed + seed, ..drill }.run()).collect();
        let expired = drilled.iter().map(|drilled| drilled.expired).sum();
        let outcomes: Vec<_> = drilled.into_iter().flat_map(|drilled| drilled.outcomes).collect();
        Batch::ALL.map(|batch| Self::of(drill, batch, &outcomes, expired))
    }

    fn of(drill: Drill, batch: Batch, outcomes: &[Outcome], expired: usize) -> Self {
        let of_kind = || outcomes.iter().filter(|outcome| outcome.batch == batch);
        let sum = |of: fn(&Outcome) -> usize| of_kind().map(of).sum::<usize>() as u64;
        let mut waits: Vec<_> = of_kind().flat_map(|outcome| outcome.waits.iter().copied()).collect();
        waits.sort_unstable();
        let naks: Vec<_> = of_kind().flat_map(|outcome| outcome.naks.iter().copied()).collect();
        let wanted = of_kind().map(|outcome| outcome.members).sum::<usize>();
        let data = sum(|outcome| outcome.data_bytes);
        Self {
            loss: drill.loss / 10,
            members: drill.members,
            batch,
            updates: of_kind().count(),
            wanted,
            without: wanted - waits.len(),
            waits: [500, 990, 1_000].map(|per_mille| quantile(&waits, per_mille)),
            bytes: ratio(sum(|outcome| outcome.bytes), data, 1_000),
            parts: [
                ratio(sum(|outcome| outcome.unasked), data, 1_000),
                ratio(sum(|outcome| outcome.by_members), data, 1_000),
            ],
            bytes_with_naks: ratio(sum(|outcome| outcome.bytes + outcome.nak_bytes), data, 1_000),
            naks: (
                naks.iter().copied().max().unwrap_or_default(),
                ratio(naks.iter().sum::<usize>() as u64, naks.len() as u64, 1_000),
            ),
            by_unicast: ratio(sum(|outcome| outcome.by_unicast), wanted as u64, 100_000),
            again: of_kind().map(|outcome| outcome.again).sum(),
            expired,
        }
    }

    /// Whether everybody holds every key, and the row keeps to the limits of its rate.
    pub fn holds(&self) -> bool {
        let limits = Limits::of(self.batch, self.loss);
        let [_, p99, _] = self.waits;
        // A subgroup that has lost its members has nobody without a key.
        let all_there = self.wanted >= self.members * self.updates * 9 / 10;
        all_there
            && self.without == 0
            && p99 <= limits.p99
            && self.bytes <= limits.bytes
            && self.naks.0 <= limits.naks
    }

    /// The row for a program to read: names and figures in turn, `ok` or `over` at the end.
    pub fn figures(&self) -> String {
        let Self { loss, members, batch, updates, without, waits, naks, again, expired, .. } = self;
        let [p50, p99, last] = waits.map(|wait| wait.as_micros() as f64 / 1_000.0);
        let [unasked, by_members] = self.parts.map(|milli| milli as f64 / 1_000.0);
        let [bytes, with_naks, mean] =
            [self.bytes, self.bytes_with_naks, self.naks.1].map(|milli| milli as f64 / 1_000.0);
        let by_unicast = self.by_unicast as f64 / 1_000.0;
        let verdict = if self.holds() { "ok" } else { "over" };
        format!(
            "loss {loss} members {members} update {batch} updates {updates} without {without} p50 {p50} p99 {p99} \
             max {last} bytes {bytes} unasked {unasked} by-members {by_members} with-naks {with_naks} naks {} naks-mean {mean} unicast {by_unicast} \
             again {again} expired {expired} {verdict}",
            naks.0
        )
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
    let names = "| loss % | members | update | updates | without key | p50 ms | p99 ms | max ms | bytes × | unasked × \
                 | by members × | with NAKs × \
                 | NAKs a round, max | mean | by unicast % | again | expired |";
    format!("{names}\n|{}", "---|".repeat(names.matches('|').count() - 1))
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, members, batch, updates, without, naks, again, expired, .. } = self;
        write!(f, "| {loss} | {members} | {batch} | {updates} | {without} |")?;
        for wait in self.waits {
            write!(f, " {}.{} |", wait.as_millis(), wait.as_micros() / 100 % 10)?;
        }
        for ratio in [self.bytes, self.parts[0], self.parts[1], self.bytes_with_naks] {
            write!(f, " {}.{:02} |", ratio / 1_000, ratio % 1_000 / 10)?;
        }
        write!(f, " {} | {}.{} |", naks.0, naks.1 / 1_000, naks.1 / 100 % 10)?;
        write!(f, " {}.{:03} | {again} | {expired} |", self.by_unicast / 1_000, self.by_unicast % 1_000)
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
            wanted: 5_000,
            without: 0,
            waits: [Duration::from_micros(1_250); 3],
            bytes: 1_649,
            parts: [1_400, 0],
            bytes_with_naks: 1_700,
            naks: (7, 2_500),
            by_unicast: 1_234,
            again: 0,
            expired: 0,
        };
        assert_eq!(
            row.to_string().matches('|').count(),
            heading().lines().next().unwrap_or("").matches('|').count()
        );
        assert!(
            row.to_string().contains(" 1.2 | 1.2 | 1.2 | 1.64 | 1.40 | 0.00 | 1.70 | 7 | 2.5 | 1.234 |"),
            "{row}"
        );
    }
}
