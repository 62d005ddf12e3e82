//! Looking for managers by multicast (GSM 3.1): when to ask, and what the answers forbid.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::Instant;
use protocol::discovery::{Find, FindKind};
use protocol::limits::{FIND_WAIT, FINDS, PRESENCE_INTERVAL, Timing};
use rand_core::CryptoRng;

use crate::registration::jitter;

/// Between two runs of FINDs, at first; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause, and so how long a newcomer that hears nothing waits at most for the next try.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The TTL of the local ring.
const LOCAL_RING: u8 = 1;
/// Nonces whose answers are taken: of this run and the one before.
const MAX_NONCES: usize = 2 * FINDS as usize;
/// A manager that was heard is believed to be there for so long: it missed two presences then.
const MANAGER_STAYS: Duration = PRESENCE_INTERVAL.saturating_mul(3);
/// An answer of members that hold a state counts for so long: until the runs at the longest pause would have brought
/// another one.
const HELD_COUNTS: Duration = LONGEST_PAUSE.saturating_mul(2);

/// What a search does when it is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Ask, with this nonce.
    Find(u64),
    /// The run is over: whoever was to answer has.
    Over,
}

/// One search: runs of FINDs with growing pauses, until it is stopped.
#[derive(Debug, Default)]
pub(crate) struct Search {
    due: Option<Instant>,
    /// FINDs of a run.
    finds: u32,
    asked: u32,
    pause: Duration,
    nonces: VecDeque<u64>,
    /// A manager that has proven itself over TLS is there until this instant, as far as is known.
    manager_until: Option<Instant>,
    /// When a manager was first and last heard in this search.
    heard: Option<(Instant, Instant)>,
    /// When members first and last said, in this search, that they hold a state.
    held: Option<(Instant, Instant)>,
}

impl Search {
    pub(crate) const fn new() -> Self {
        Self {
            due: None,
            finds: FINDS,
            asked: 0,
            pause: FIRST_PAUSE,
            nonces: VecDeque::new(),
            manager_until: None,
            heard: None,
            held: None,
        }
    }

    /// Begins a search at `at`, unless one is under way. A member of a silent manager asks once a run, for it has a
    /// place to lose by no hurry.
    pub(crate) fn start(&mut self, at: Instant, finds: u32) {
        if self.due.is_none() {
            let Self { manager_until, heard, .. } = *self;
            *self = Self { due: Some(at), finds, manager_until, heard, ..Self::new() };
        }
    }

    /// Ends the search: no answer is taken any more.
    pub(crate) fn stop(&mut self) {
        self.due = None;
        self.heard = None;
        self.nonces.clear();
    }

    /// Asks nobody before `at`.
    pub(crate) fn rest(&mut self, at: Instant) {
        if self.due.is_some() {
            self.due = Some(at);
            self.asked = 0;
        }
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Called when it is due.
    pub(crate) fn on_due(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Step {
        if self.asked < self.finds {
            self.asked += 1;
            self.due = Some(now + FIND_WAIT);
            let nonce = rng.next_u64();
            self.nonces.push_back(nonce);
            if self.nonces.len() > MAX_NONCES {
                self.nonces.pop_front();
            }
            return Step::Find(nonce);
        }
        self.asked = 0;
        self.due = Some(now + self.pause / 2 + jitter(rng, self.pause / 2));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Step::Over
    }

    /// Whether an answer with this nonce is to a FIND of this search.
    pub(crate) fn asked_with(&self, nonce: u64) -> bool {
        self.nonces.contains(&nonce)
    }

    /// A verified presence was heard.
    pub(crate) fn on_presence(&mut self, now: Instant) {
        let first = self.heard.map_or(now, |(first, _)| first);
        self.heard = Some((first, now));
    }

    /// A manager spoke over TLS.
    pub(crate) fn on_manager(&mut self, now: Instant) {
        self.on_manager_until(now + MANAGER_STAYS);
    }

    /// A manager is there at least until then.
    pub(crate) fn on_manager_until(&mut self, until: Instant) {
        self.manager_until = self.manager_until.max(Some(until));
    }

    /// Members of a silent manager hold a state.
    pub(crate) fn on_held(&mut self, now: Instant) {
        let first = self.held.map_or(now, |(first, _)| first);
        self.held = Some((first, now));
    }

    /// Whether somebody manages the group, or others hold a state of it: then nobody claims it. Presences and answers of
    /// members can be made of recordings, so they count no longer than the state itself could last.
    pub(crate) fn others_there(&self, now: Instant) -> bool {
        let lasts = |sight: Option<(Instant, Instant)>, counts: Duration| {
            sight.is_some_and(|(first, last)| now < last + counts && now < first + Timing::default().t_hard)
        };
        self.manager_until.is_some_and(|until| now < until)
            || lasts(self.heard, MANAGER_STAYS)
            || lasts(self.held, HELD_COUNTS)
    }
}

/// The FIND for the local ring; `path` names the asker's own subgroup if it has one.
pub(crate) fn local_find(nonce: u64, path: Vec<protocol::SubgroupId>) -> (Find, u8) {
    (Find { kind: FindKind::Local, ring: LOCAL_RING, nonce, path }, LOCAL_RING)
}
