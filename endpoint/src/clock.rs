//! The only places where this library asks what time it is.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use protocol::Instant;

/// tokio's timers stand still while the machine is suspended and ours does not: a longer sleep is cut into pieces, so
/// that a node that wakes up notices within one of them.
const MAX_NAP: Duration = Duration::from_secs(1);

/// The clock of every machine this process drives: `CLOCK_BOOTTIME`, which also counts while suspended.
///
/// Holds nothing and may be copied freely; drivers take one as a value so that they name where their time comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The present instant. Never goes backwards; the same for all processes of one host.
    #[must_use]
    pub fn now(self) -> Instant {
        Instant::from_micros(micros(read(ClockId::CLOCK_BOOTTIME)))
    }

    /// Returns once [`Clock::now`] is at or past `deadline`; at once when it already is.
    ///
    /// After a suspend it may be late by up to a second; it is never early. Dropping the future is harmless.
    pub async fn sleep_until(self, deadline: Instant) {
        loop {
            let left = deadline.saturating_since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(MAX_NAP)).await;
        }
    }
}

/// Seconds since 1970 by the wall clock, for certificate dates only: it jumps when somebody sets the clock.
#[must_use]
pub fn unix_now() -> i64 {
    read(ClockId::CLOCK_REALTIME).tv_sec()
}

fn read(clock: ClockId) -> TimeSpec {
    clock_gettime(clock).expect("invariant: Linux has had both clocks since 2.6.39")
}

fn micros(time: TimeSpec) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_at_its_deadline_and_not_before() {
        let deadline = Clock.now() + Duration::from_millis(20);
        Clock.sleep_until(deadline).await;
        assert!(Clock.now() >= deadline);
        Clock.sleep_until(deadline).await;
    }

    #[test]
    fn the_clock_is_the_boot_clock_and_never_goes_back() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let now = Clock.now();
        assert!((now.micros() as f64 / 1e6 - uptime).abs() < 5.0);
        assert!(Clock.now() >= now);
    }
}
