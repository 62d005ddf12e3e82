//! Becoming manager where there is none: back-off, claim, window (DESIGN: discovery and election).

use std::collections::BTreeMap;
use std::time::Duration;

use crypto::PublicKey;
use protocol::discovery::ClaimRank;
use protocol::limits::{CLAIM_BACKOFF, CLAIM_WINDOW, CLAIMANT_IGNORED, CLAIMANT_SILENCE, CLAIMS_SENT};
use protocol::{Budget, Instant};
use rand_core::CryptoRng;

use crate::registration::jitter;

/// How long candidates that are still being tried may delay a claim. Anybody can name candidates, and one that says
/// nothing costs the deadline of an attempt.
const PATIENCE: Duration = Duration::from_secs(3);
/// Claimants remembered that are ignored; beyond, the one ignored for the shortest time more is forgotten.
const MAX_IGNORED: usize = 64;
/// Claims repeated a second because worse ones were heard, and at once.
const REPEATS: (u32, u32) = (10, 5);

/// How far this node's candidacy is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// It does not stand.
    Idle,
    /// It would stand, but candidates are still being tried; at `until` it stands whatever they do.
    Patient { until: Instant },
    /// It claims at `until`.
    BackOff { until: Instant },
    /// It claims.
    Claiming { began: Instant, sent: u32 },
    /// It withdrew in favour of these certificates' holders, and waits for the presence of one.
    Withdrawn { claimants: Vec<[u8; 32]>, until: Instant },
    /// Nobody objected.
    Won,
}

/// What the node does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Nothing.
    Wait,
    /// Multicast the claim; `first` if it is the first of this candidacy.
    Claim {
        /// Whether nothing was claimed before.
        first: bool,
    },
    /// The window is over: this node is the manager.
    Won,
}

/// Somebody's claim, as far as it decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    rank: ClaimRank,
    fingerprint: [u8; 32],
    key: PublicKey,
}

impl Standing {
    /// Of a claim with this priority, under the certificate with this fingerprint, by this key.
    pub(crate) const fn new(priority: u16, fingerprint: [u8; 32], key: PublicKey) -> Self {
        Self { rank: ClaimRank::new(priority, fingerprint), fingerprint, key }
    }

    /// Whether it wins over `other`. Two processes under one certificate have one rank; their keys differ.
    fn beats(&self, other: &Self) -> bool {
        self.rank > other.rank || (self.rank == other.rank && self.key < other.key)
    }
}

/// One node's part in the election of a manager.
///
/// All claims are multicast, so every candidate hears every other one: the worse withdraws, and the better repeats its
/// own so that the worse hears of it. A claim proves who claims, not that it was made now: a replayed one makes others
/// withdraw for a while and then ignore it.
#[derive(Debug)]
pub(crate) struct Election {
    own: Standing,
    stage: Stage,
    /// By certificate, for one certificate can vouch for any number of keys.
    ignored: BTreeMap<[u8; 32], Instant>,
    repeats: Budget,
}

impl Election {
    pub(crate) const fn new(own: Standing) -> Self {
        Self { own, stage: Stage::Idle, ignored: BTreeMap::new(), repeats: Budget::new(REPEATS.0, REPEATS.1) }
    }

    /// Nobody answered the FINDs. `tried_all` says whether every candidate has failed.
    pub(crate) fn nobody_answers(&mut self, now: Instant, tried_all: bool, rng: &mut dyn CryptoRng) {
        match self.stage {
            Stage::Idle if !tried_all => self.stage = Stage::Patient { until: now + PATIENCE },
            Stage::Idle | Stage::Patient { .. } if tried_all => self.back_off(now, rng),
            _ => {}
        }
    }

    /// The last candidate failed.
    pub(crate) fn candidates_failed(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        if matches!(self.stage, Stage::Patient { .. }) {
            self.back_off(now, rng);
        }
    }

    /// There is a manager, or the node has asked one, or others hold a state: it does not stand.
    pub(crate) fn stop(&mut self) {
        if self.stage != Stage::Won {
            self.stage = Stage::Idle;
        }
    }

    /// Whether this node has won: it takes part in nothing any more.
    pub(crate) fn is_won(&self) -> bool {
        self.stage == Stage::Won
    }

    /// Whether claims matter to this node now.
    pub(crate) fn listens(&self) -> bool {
        matches!(
            self.stage,
            Stage::Patient { .. } | Stage::BackOff { .. } | Stage::Claiming { .. } | Stage::Withdrawn { .. }
        )
    }

    /// A verified claim of another node.
    pub(crate) fn on_claim(&mut self, now: Instant, theirs: &Standing) -> Action {
        self.ignored.retain(|_, until| *until > now);
        if self.ignored.contains_key(&theirs.fingerprint) || theirs.key == self.own.key {
            return Action::Wait;
        }
        let better = theirs.beats(&self.own);
        match &mut self.stage {
            Stage::Patient { .. } | Stage::BackOff { .. } | Stage::Claiming { .. } if better => {
                let claimants = vec![theirs.fingerprint];
                self.stage = Stage::Withdrawn { claimants, until: claimants_time(now) };
                Action::Wait
            }
            Stage::Withdrawn { claimants, until }
                if better && claimants.len() < MAX_IGNORED && !claimants.contains(&theirs.fingerprint) =>
            {
                claimants.push(theirs.fingerprint);
                *until = claimants_time(now);
                Action::Wait
            }
            // The worse one must hear of the better one before its window ends.
            Stage::BackOff { .. } => {
                self.stage = Stage::Claiming { began: now, sent: 1 };
                Action::Claim { first: true }
            }
            Stage::Claiming { .. } if self.repeats.take(now) => Action::Claim { first: false },
            _ => Action::Wait,
        }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Idle | Stage::Won => None,
            Stage::Patient { until } | Stage::BackOff { until } | Stage::Withdrawn { until, .. } => {
                Some(*until)
            }
            Stage::Claiming { began, sent } => Some(*began + CLAIM_WINDOW * *sent / CLAIMS_SENT),
        }
    }

    /// Called when it is due.
    pub(crate) fn on_due(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Action {
        match &mut self.stage {
            Stage::Idle | Stage::Won => Action::Wait,
            Stage::Patient { .. } => {
                self.back_off(now, rng);
                Action::Wait
            }
            Stage::BackOff { .. } => {
                self.stage = Stage::Claiming { began: now, sent: 1 };
                Action::Claim { first: true }
            }
            Stage::Claiming { sent, .. } if *sent < CLAIMS_SENT => {
                *sent += 1;
                Action::Claim { first: false }
            }
            Stage::Claiming { .. } => {
                self.stage = Stage::Won;
                Action::Won
            }
            Stage::Withdrawn { claimants, .. } => {
                for claimant in std::mem::take(claimants) {
                    self.ignore(now, claimant);
                }
                self.back_off(now, rng);
                Action::Wait
            }
        }
    }

    fn back_off(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        self.stage = Stage::BackOff { until: now + jitter(rng, CLAIM_BACKOFF) };
    }

    fn ignore(&mut self, now: Instant, claimant: [u8; 32]) {
        if self.ignored.len() >= MAX_IGNORED
            && let Some(first) = self.ignored.iter().min_by_key(|(_, until)| **until).map(|(print, _)| *print)
        {
            self.ignored.remove(&first);
        }
        self.ignored.insert(claimant, now + CLAIMANT_IGNORED);
    }
}

/// A claimant's window may have begun just now, and its presence must follow on it.
fn claimants_time(now: Instant) -> Instant {
    now + CLAIM_WINDOW + CLAIMANT_SILENCE
}
