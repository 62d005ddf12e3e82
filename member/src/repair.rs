//! Getting back what was lost (GSM 3.6, KS 4.2): when a member asks, whom, and how often.
//!
//! The wait before a NAK is drawn so that of many members that lost a packet few ask, whatever their number: each part of the
//! wait is drawn half as often as the one after it. The first ones are heard by the others, which then keep silent.

use std::time::Duration;

use protocol::{Instant, StateId, Timing, UNKNOWN_LOSS, limits::RESYNC_INTERVAL};
use rand_core::CryptoRng;

use crate::registration::jitter;

/// Parts of the wait before a NAK, at most.
const MAX_PARTS: u32 = 28;
/// From the first unicast request to the second: either may be lost, and a manager answers two at once.
const FIRST_RETRY: Duration = Duration::from_millis(300);
/// Unanswered unicast requests after which the member registers again: its manager does not know it any more. With a tenth
/// of all datagrams lost, one member in four thousand is wrong.
const MAX_UNANSWERED: u32 = 5;
/// The loss in percent up to which that is enough, and the highest that is reckoned with. Between them it takes two more for
/// each five percent, so that no more are wrong.
const LOSS: (u32, u32) = (10, 40);

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
    /// Another member asked in the place of this one, which happens once in a gap.
    suppressed: bool,
    due: Option<Instant>,
}

impl Repair {
    pub(crate) const fn new() -> Self {
        Self { wanted: None, rounds: 0, unanswered: 0, suppressed: false, due: None }
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
        (timing, members): (&Timing, u64),
        rng: &mut dyn CryptoRng,
    ) {
        if self.wanted == Some(wanted) {
            return;
        }
        let fresh = self.wanted.is_none();
        self.wanted = Some(wanted);
        if fresh && nakable {
            self.rounds = 0;
            self.due = Some(now + nak_wait(timing, members, rng));
        } else if fresh {
            self.rounds = Timing::NAK_ROUNDS;
            self.due = Some(now + timing.nak_wait + jitter(rng, timing.nak_round));
        }
    }

    /// Another member asked for the same before this one did: its NAK counts as ours. Once in a gap, so that whoever sends
    /// NAKs that only members hear silences none of them for longer (attack A19).
    pub(crate) fn on_asked(
        &mut self,
        now: Instant,
        wanted: StateId,
        (timing, members): (&Timing, u64),
        rng: &mut dyn CryptoRng,
    ) {
        let waits = self.due.is_some() && self.rounds < Timing::NAK_ROUNDS;
        if self.wanted == Some(wanted) && waits && !self.suppressed {
            self.suppressed = true;
            self.rounds += 1;
            self.due = Some(now + timing.nak_round + nak_wait(timing, members, rng));
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

    /// `due` has come: what to do now. `nakable` says whether a NAK could help: there is a key for its MAC, and the packet
    /// that it would bring is not here already.
    /// `loss` is how many of 100 datagrams are lost.
    pub(crate) fn on_due(
        &mut self,
        now: Instant,
        (nakable, loss): (bool, u8),
        (timing, members): (&Timing, u64),
        rng: &mut dyn CryptoRng,
    ) -> Option<Ask> {
        self.due = None;
        self.wanted?;
        if nakable && self.rounds < Timing::NAK_ROUNDS {
            self.rounds += 1;
            self.due = Some(now + timing.nak_round + nak_wait(timing, members, rng));
            return Some(Ask::Nak);
        }
        self.rounds = Timing::NAK_ROUNDS;
        self.unanswered += 1;
        let retry = if self.unanswered == 1 { FIRST_RETRY } else { RESYNC_INTERVAL };
        self.due = Some(now + retry + jitter(rng, Duration::from_millis(100)));
        Some(if self.unanswered > most_unanswered(loss) { Ask::Rejoin } else { Ask::Resync })
    }
}

/// How many requests in a row may stay without an answer before that means something.
fn most_unanswered(loss: u8) -> u32 {
    let (least, most) = LOSS;
    let loss = if loss == UNKNOWN_LOSS { least } else { u32::from(loss).clamp(least, most) };
    MAX_UNANSWERED + (loss - least) * 2 / 5
}

/// A random time between a quarter of the longest wait and all of it.
///
/// That time is cut into one part more than there are doublings up to `members`; the last part is drawn by half of them, the
/// one before by a quarter, and so on. So about one of all members draws one of the first, and when ten of a thousand lost
/// something, about one of the ten asks some milliseconds before the others.
pub(crate) fn nak_wait(timing: &Timing, members: u64, rng: &mut dyn CryptoRng) -> Duration {
    let parts = (u64::BITS - members.leading_zeros() + 1).clamp(1, MAX_PARTS);
    let early = rng.next_u32().trailing_zeros().min(parts - 1);
    let part = timing.nak_wait * 3 / 4 / parts;
    timing.nak_wait / 4 + part * (parts - 1 - early) + jitter(rng, part)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn few_of_many_ask_first_however_many_they_are() {
        let (timing, mut rng) = (Timing::default(), ChaCha12Rng::seed_from_u64(1));
        for members in [0, 1, 10, 1_000, 100_000, 1 << 26, u64::MAX] {
            let mut waits: Vec<_> =
                (0..members.clamp(100, 20_000)).map(|_| nak_wait(&timing, members, &mut rng)).collect();
            waits.sort_unstable();
            assert!(waits[0] >= timing.nak_wait / 4 && waits.last().unwrap() <= &timing.nak_wait);
            if (1_000..=100_000).contains(&members) {
                // A round trip on a LAN after the first, not many have asked.
                let first = waits[0] + Duration::from_millis(2);
                assert!(waits.iter().filter(|wait| **wait < first).count() <= 20, "of {members}");
            }
        }
    }

    /// Whatever the loss, no more than one in 1,600 registers again that its manager knows.
    #[test]
    fn a_member_that_loses_much_asks_more_often_before_it_gives_up() {
        let given_up = |loss: u8, most: u32| {
            let unanswered = 1.0 - (1.0 - f64::from(loss) / 100.0).powi(2);
            unanswered.powi(most as i32)
        };
        for loss in 0..=40 {
            assert!(given_up(loss, most_unanswered(loss)) < 0.000_6, "at {loss} %");
        }
        assert_eq!([UNKNOWN_LOSS, 0, 10, 20, 40, 90].map(most_unanswered), [5, 5, 5, 9, 17, 17]);
    }

    /// Attack A19: a suppressor silences a member once in a gap and not in both rounds.
    #[test]
    fn a_suppressor_silences_one_back_off_of_a_gap() {
        let (timing, mut rng) = (Timing::default(), ChaCha12Rng::seed_from_u64(1));
        let state = |epoch| StateId {
            term: protocol::Term(1),
            inst: protocol::Inst(1),
            epoch: protocol::Epoch(epoch),
        };
        let (mut repair, start) = (Repair::new(), Instant::from_micros(1_000_000));
        repair.on_gap(start, (state(5), true), (&timing, 1_000), &mut rng);
        repair.on_asked(start, state(4), (&timing, 1_000), &mut rng);
        assert!(repair.due().unwrap() <= start + timing.nak_wait, "that was another update");
        for after in [1, 2, 3, 300] {
            let now = start + Duration::from_millis(after);
            repair.on_asked(now, state(5), (&timing, 1_000), &mut rng);
        }
        let second = repair.due().unwrap();
        assert!(second <= start + timing.nak_round + timing.nak_wait * 2);
        assert_eq!(repair.on_due(second, (true, 0), (&timing, 1_000), &mut rng), Some(Ask::Nak));
        let third = repair.due().unwrap();
        assert_eq!(repair.on_due(third, (true, 0), (&timing, 1_000), &mut rng), Some(Ask::Resync));
        assert!(third <= start + (timing.nak_round + timing.nak_wait) * 2 + timing.nak_wait);
    }
}
