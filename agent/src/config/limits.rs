//! The range of every time a group's configuration may set; the defaults are the protocol's.

use std::ops::RangeInclusive;
use std::time::Duration;

use protocol::Timing;

/// A time of the group: its key, where it goes, and what it may be.
pub(super) struct Limit<'a> {
    pub(super) key: &'static str,
    pub(super) value: &'a mut Duration,
    pub(super) range: RangeInclusive<Duration>,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every time of a group. Outside these ranges the protocol still holds, but costs more than it gives (the lower ends)
/// or leaves a lost packet or a dead node unnoticed for longer than anybody wants (the upper ones).
pub(super) fn of(timing: &mut Timing) -> [Limit<'_>; 12] {
    let limit = |key, value, from, to| Limit { key, value, range: from..=to };
    [
        limit(
            "rekey_interval",
            &mut timing.rekey_interval,
            Timing::MIN_REKEY_INTERVAL,
            Timing::MAX_REKEY_INTERVAL,
        ),
        limit("alarm_interval", &mut timing.alarm_interval, ms(20), s(10)),
        limit("silence", &mut timing.silence, ms(100), s(600)),
        limit("soft_activation", &mut timing.soft_activation, ms(10), s(60)),
        limit("soft_cut", &mut timing.soft_cut, ms(10), s(60)),
        limit("hard_activation", &mut timing.hard_activation, ms(10), s(5)),
        limit("hard_cut", &mut timing.hard_cut, ms(10), s(5)),
        limit("keepalive", &mut timing.keepalive, ms(100), s(3_600)),
        limit("nak_wait", &mut timing.nak_wait, ms(4), s(1)),
        limit("nak_round", &mut timing.nak_round, ms(20), s(10)),
        limit("refresh", &mut timing.refresh, s(1), s(24 * 3_600)),
        limit("give_up_after", &mut timing.t_hard, s(1), s(24 * 3_600)),
    ]
}
