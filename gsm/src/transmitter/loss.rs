//! How much members lose, and how much parity that is worth (KS 4.1).
//!
//! Each NAK says how many alarms its sender loses. A manager takes the median of those it heard since its last key update,
//! at once if it is higher than what it reckoned with, half of the way if it is lower. Without NAKs it reckons with less
//! from update to update, down to a floor.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::limits::{MAX_BLOCK_PARITY, MAX_RECKONED_LOSS, MIN_RECKONED_LOSS, RESTART_LOSS};
use protocol::{UNKNOWN_LOSS, parity_for_packet};

/// Reports remembered between two key updates: as many NAKs as may come in a round, and more change no median.
const MAX_REPORTS: usize = 64;
/// The loss, in thousandths, from which a single packet is repeated: that doubles its bytes, and saves one round of NAKs.
const REPEAT_FROM: u16 = 50;
/// How many of those that need a block's parity may have to ask for more: that many are late by a round.
const LATE: f64 = 0.02;

/// What part of the packets members lose, in thousandths.
#[derive(Debug)]
pub(crate) struct Loss {
    reckoned: u16,
    /// One for each address.
    reports: BTreeMap<SocketAddr, u8>,
}

impl Loss {
    pub(crate) const fn new() -> Self {
        Self { reckoned: MIN_RECKONED_LOSS, reports: BTreeMap::new() }
    }

    /// A NAK came from an address, with this in it.
    pub(crate) fn report(&mut self, from: SocketAddr, percent: u8) {
        if self.reports.len() < MAX_REPORTS {
            self.reports.entry(from).or_insert(percent);
        }
    }

    /// Another key update goes out: what to reckon with. `unasked` says that no member can send a NAK for it, for it has no
    /// key yet that the manager knows.
    pub(crate) fn at_update(&mut self, unasked: bool) -> u16 {
        let asked = !self.reports.is_empty();
        let reports = std::mem::take(&mut self.reports).into_values();
        let mut known: Vec<u8> = reports.filter(|report| *report != UNKNOWN_LOSS).collect();
        known.sort_unstable();
        self.reckoned = match known.get(known.len() / 2).map(|median| u16::from(*median) * 10) {
            Some(median) if median > self.reckoned => median,
            Some(median) => self.reckoned - (self.reckoned - median) / 2,
            None if asked => self.reckoned,
            None => self.reckoned - self.reckoned / 8,
        };
        self.reckoned = self.reckoned.clamp(MIN_RECKONED_LOSS, MAX_RECKONED_LOSS);
        if unasked { self.reckoned.max(RESTART_LOSS) } else { self.reckoned }
    }

    /// What was reckoned with last.
    pub(crate) const fn reckoned(&self) -> u16 {
        self.reckoned
    }
}

/// Parity packets to send at once with a block of `data` packets: enough that few members have to ask, but no more than
/// 0.2 + 2.5 × loss for each data packet. Of a single packet these are repeats, as many as it takes: each of a thousand
/// members has to get this one, so what is not sent unasked is asked for.
pub(crate) fn proactive(data: u8, loss: u16) -> u8 {
    if data == 1 && loss < REPEAT_FROM {
        return 0;
    }
    let enough = parity_for_packet(data.into(), f64::from(loss) / 1_000.0, LATE, MAX_BLOCK_PARITY.into());
    if data == 1 {
        return u8::try_from(enough).unwrap_or(MAX_BLOCK_PARITY);
    }
    let most = (u32::from(data) * (200 + 5 * u32::from(loss) / 2)).div_ceil(1_000);
    u8::try_from(u32::from(enough).min(most)).unwrap_or(MAX_BLOCK_PARITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(host: u16) -> SocketAddr {
        ([10, 0, 0, 1], host).into()
    }

    #[test]
    fn parity_goes_up_with_the_loss_that_naks_report_and_comes_down_without_naks() {
        let mut loss = Loss::new();
        assert_eq!(loss.at_update(false), MIN_RECKONED_LOSS);
        (0..9).for_each(|host| loss.report(from(host), 30));
        assert_eq!(loss.at_update(false), 300, "at once");
        loss.report(from(1), 20);
        assert_eq!(loss.at_update(false), 250, "half of the way");
        let quiet: Vec<_> = (0..40).map(|_| loss.at_update(false)).collect();
        assert!(quiet.windows(2).all(|pair| pair[1] < pair[0] || pair[1] == MIN_RECKONED_LOSS), "{quiet:?}");
        assert_eq!(quiet.last(), Some(&MIN_RECKONED_LOSS));
    }

    /// Attack A18: who claims to lose everything causes more parity, up to a bound; a few liars among many cause none.
    #[test]
    fn a_liar_moves_no_median_and_nobody_gets_beyond_the_cap() {
        let mut loss = Loss::new();
        (0..4).for_each(|host| loss.report(from(host), 100));
        (4..9).for_each(|host| loss.report(from(host), 5));
        (0..200).for_each(|_| loss.report(from(1), 100));
        assert_eq!(loss.at_update(false), 50);
        (0..10_000).for_each(|host| loss.report(from(host), 100));
        assert!(loss.reports.len() <= MAX_REPORTS);
        assert_eq!(loss.at_update(false), MAX_RECKONED_LOSS);
        assert!(proactive(10, MAX_RECKONED_LOSS) <= 15);
    }

    #[test]
    fn naks_that_cannot_tell_the_loss_keep_what_was_reckoned_with() {
        let mut loss = Loss::new();
        loss.report(from(1), 20);
        assert_eq!(loss.at_update(false), 200);
        loss.report(from(1), UNKNOWN_LOSS);
        assert_eq!(loss.at_update(false), 200);
        assert_eq!(loss.at_update(true), RESTART_LOSS.max(175));
        assert_eq!(loss.reckoned(), 175, "a start says nothing of the LAN");
    }

    #[test]
    fn proactivity_is_about_one_and_a_fifth_and_two_and_a_half_times_the_loss() {
        let parity = [0, 25, 100, 200, 300, 400].map(|loss| proactive(10, loss));
        assert_eq!(parity, [0, 1, 3, 6, 9, 12]);
        let repeats = [0, 25, 100, 200, 300, 400].map(|loss| proactive(1, loss));
        assert_eq!(repeats, [0, 0, 1, 2, 3, 4], "of one packet");
    }
}
