//! Getting back what was lost (GSM 3.6, KS 4.2): when a member asks, whom, and how often.

use std::time::Duration;

use protocol::{Instant, StateId, Timing, limits::RESYNC_INTERVAL};
use rand_core::CryptoRng;

use crate::registration::jitter;

/// Unanswered unicast requests after which the member registers again: its manager does not know it any more.
const MAX_UNANSWERED: u32 = 5;

/// How a gap is asked about next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// On the control address.
    Nak,
    /// The manager alone, under the unicast key.
    Resync,
    /// Register again.
    Rejoin,
}

/// The rounds of one gap: NAKs after a random wait, then unicast, then a new registration.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    wanted: Option<StateId>,
    rounds: u32,
    unanswered: u32,
    due: Option<Instant>,
}

impl Repair {
    pub(crate) const fn new() -> Self {
        Self { wanted: None, rounds: 0, unanswered: 0, due: None }
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The update to `wanted` is missing. The first NAK waits a random time, so that the members that lost the same
    /// packet do not all ask at once.
    ///
    /// `nakable` says whether there is a key for a NAK's MAC. There is none for a manager that was just started again:
    /// then the member asks by unicast at once, after a time in which the rest of the update may still arrive.
    pub(crate) fn on_gap(
        &mut self,
        now: Instant,
        (wanted, nakable): (StateId, bool),
        timing: &Timing,
        rng: &mut dyn CryptoRng,
    ) {
        if self.wanted == Some(wanted) {
            return;
        }
        let fresh = self.wanted.is_none();
        self.wanted = Some(wanted);
        if fresh && nakable {
            self.rounds = 0;
            self.due = Some(now + nak_wait(timing, rng));
        } else if fresh {
            self.rounds = Timing::NAK_ROUNDS;
            self.due = Some(now + timing.nak_wait + jitter(rng, timing.nak_round));
        }
    }

    /// Nothing is missing any more.
    pub(crate) const fn on_whole(&mut self) {
        *self = Self::new();
    }

    /// The manager answered a resync, with keys or without.
    pub(crate) const fn on_answer(&mut self) {
        self.unanswered = 0;
    }

    /// The manager is silent: nobody could answer, so nothing counts against it. It may be coming back.
    pub(crate) fn on_silence(&mut self, now: Instant) {
        self.unanswered = 0;
        self.due = self.wanted.map(|_| now + RESYNC_INTERVAL);
    }

    /// `due` has come: what to do now.
    pub(crate) fn on_due(&mut self, now: Instant, timing: &Timing, rng: &mut dyn CryptoRng) -> Option<Ask> {
        self.due = None;
        self.wanted?;
        if self.rounds < Timing::NAK_ROUNDS {
            self.rounds += 1;
            self.due = Some(now + timing.nak_round + nak_wait(timing, rng));
            return Some(Ask::Nak);
        }
        self.unanswered += 1;
        self.due = Some(now + RESYNC_INTERVAL + jitter(rng, Duration::from_millis(100)));
        Some(if self.unanswered > MAX_UNANSWERED { Ask::Rejoin } else { Ask::Resync })
    }
}

/// Between a quarter of the longest wait and all of it.
fn nak_wait(timing: &Timing, rng: &mut dyn CryptoRng) -> Duration {
    timing.nak_wait / 4 + jitter(rng, timing.nak_wait * 3 / 4)
}
