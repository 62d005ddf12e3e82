//! A token bucket: how much of something may be done a second, whatever is asked for.

use crate::Instant;

/// Allows `rate` actions a second with bursts of `burst`.
///
/// Guards everything a stranger can cause: signature checks, repairs, answers. A refusal is counted by
/// the caller and costs the peer a retry; an allowance too many costs us the action.
#[derive(Clone, Debug)]
pub struct Budget {
    rate: u32,
    burst: u32,
    /// Millionths of a token at `as_of`.
    level: u64,
    as_of: Instant,
}

impl Budget {
    /// A full bucket.
    pub const fn new(rate: u32, burst: u32) -> Self {
        Self { rate, burst, level: burst as u64 * 1_000_000, as_of: Instant::ZERO }
    }

    /// Takes one token if there is one at `now`.
    pub fn take(&mut self, now: Instant) -> bool {
        self.take_many(now, 1)
    }

    /// Takes `count` tokens if there are as many at `now`, else none.
    pub fn take_many(&mut self, now: Instant, count: u32) -> bool {
        let elapsed = now.saturating_since(self.as_of).as_micros();
        let gained = elapsed.saturating_mul(u128::from(self.rate));
        let full = u64::from(self.burst) * 1_000_000;
        self.level = u64::try_from(gained).unwrap_or(u64::MAX).saturating_add(self.level).min(full);
        self.as_of = self.as_of.max(now);
        let wanted = u64::from(count) * 1_000_000;
        let granted = self.level >= wanted;
        if granted {
            self.level -= wanted;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_grants_its_burst_and_then_its_rate() {
        let mut budget = Budget::new(10, 3);
        let start = Instant::from_micros(5_000_000);
        assert_eq!((0..9).filter(|_| budget.take(start)).count(), 3);
        let later = start + Duration::from_millis(250);
        assert_eq!((0..9).filter(|_| budget.take(later)).count(), 2);
        assert!(!budget.take(start), "an earlier instant gains nothing");
    }
}
