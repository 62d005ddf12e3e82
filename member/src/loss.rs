//! Whether the manager is lost (DESIGN: failover; attacks A26, A27): silence, then a probe, then the word of others.

use std::net::SocketAddr;
use std::time::Duration;

use protocol::limits::{
    MAX_SUSPICIONS, NO_SUCCESSOR, PROBE_WAIT, SUCCESSION_STAGGER, SUSPICION_WAIT, SUSPICIONS_HEARD,
};
use protocol::{Budget, Instant, RegNo, Rejected, SenderId, Suspicion, Timing};
use rand_core::CryptoRng;

use crate::registration::jitter;

/// Between two suspicions, and two probes, of a member whose manager stays silent.
const ROUND: Duration = Duration::from_secs(1);
/// A suspicion counts for so long: whoever still holds its manager for lost has said so again by then, or has heard
/// others say so.
const COUNTS: Duration = Duration::from_secs(5);
/// Suspicions of others that are kept: more than a takeover shows, so that the first to speak in one second are known
/// again in the next.
const MAX_GATHERED: usize = 16;
/// Suspicions checked a second, and at once, so that an insider who forges them leaves room for a takeover.
const CHECKS: (u32, u32) = (40, 40);
/// Members with a lower number may speak at once, all others wait a while first.
const FIRST_TO_SPEAK: u32 = 100;
/// Where too few others say that the manager is lost, an election waits for so long.
const UNPROVEN: Duration = Duration::from_secs(30);

/// How far the manager's silence is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nobody is followed.
    Nobody,
    /// Alarms come, or did a moment ago.
    Heard,
    /// A probe is out.
    Probed,
    /// A second one is out.
    ProbedAgain,
    /// No alarm and no answer.
    Silent,
}

/// What the member does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Ask the manager whether it is there.
    Probe,
    /// The silence is over: the manager is held for silent.
    Silent,
    /// Another second of silence: probe again, and `speak` if not enough others do.
    Round {
        /// Whether to send a suspicion.
        speak: bool,
    },
    /// No successor took over: members may elect a manager.
    NoSuccessor,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    suspicion: Suspicion,
}

/// A member's watch over its manager.
///
/// An alarm costs it two assignments as long as nothing is gathered. Nothing that others say counts for longer than
/// until the next valid alarm, so a living manager is not lost however many say so.
pub(crate) struct Watch {
    stage: Stage,
    due: Option<Instant>,
    /// The oldest probe of this silence: answers to it and to later ones are taken.
    probed: Option<u64>,
    others: Vec<Heard>,
    /// Who of them spoke since this member's own last turn.
    round: Vec<SenderId>,
    /// Whether the loss is proven.
    lost: bool,
    /// When members may elect, and whether they may.
    elects_at: Option<Instant>,
    elects: bool,
    /// A takeover that was verified before this member's own silence was over.
    claim: Option<(SocketAddr, Vec<u8>)>,
    checks: Budget,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("stage", &self.stage)
            .field("due", &self.due)
            .field("others", &self.others)
            .field("round", &self.round)
            .field("lost", &self.lost)
            .field("elects", &self.elects)
            .field("claim", &self.claim)
            .finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) const fn new() -> Self {
        Self {
            stage: Stage::Nobody,
            due: None,
            probed: None,
            others: Vec::new(),
            round: Vec::new(),
            lost: false,
            elects_at: None,
            elects: false,
            claim: None,
            checks: Budget::new(CHECKS.0, CHECKS.1),
        }
    }

    /// The manager, or a new one, gave a sign of life: whatever was said against it is void.
    pub(crate) fn on_alarm(&mut self, now: Instant, timing: &Timing) {
        self.due = Some(now + (timing.silence - probe_wait(timing)));
        if self.stage != Stage::Heard || !self.others.is_empty() || self.claim.is_some() {
            let due = self.due;
            self.stop();
            (self.stage, self.due) = (Stage::Heard, due);
        }
    }

    /// The membership is over.
    pub(crate) fn stop(&mut self) {
        let checks = self.checks.clone();
        *self = Self { checks, ..Self::new() };
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        [self.due, self.elects_at].into_iter().flatten().min()
    }

    /// Whether the silence is over without a sign of life.
    pub(crate) fn is_silent(&self) -> bool {
        self.stage == Stage::Silent
    }

    /// Whether enough others say the same.
    pub(crate) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether no successor took over in time.
    pub(crate) const fn elects(&self) -> bool {
        self.elects
    }

    /// Called when it is due. A process that slept finds its alarms before the second probe is over, and is not silent.
    pub(crate) fn on_due(
        &mut self,
        now: Instant,
        reg_no: RegNo,
        timing: &Timing,
        rng: &mut dyn CryptoRng,
    ) -> Option<Step> {
        if self.elects_at.is_some_and(|at| at <= now) {
            (self.elects_at, self.elects) = (None, true);
            return Some(Step::NoSuccessor);
        }
        self.due.filter(|due| *due <= now)?;
        let (stage, wait, step) = match self.stage {
            Stage::Nobody => {
                self.due = None;
                return None;
            }
            Stage::Heard => (Stage::Probed, probe_wait(timing) / 2, Step::Probe),
            Stage::Probed => (Stage::ProbedAgain, probe_wait(timing) / 2, Step::Probe),
            Stage::ProbedAgain => {
                self.elects_at = Some(now + UNPROVEN);
                (Stage::Silent, suspicion_wait(reg_no, rng), Step::Silent)
            }
            Stage::Silent => {
                self.others.retain(|heard| now < heard.at + COUNTS);
                let speak = self.round.len() < SUSPICIONS_HEARD;
                self.round.clear();
                (Stage::Silent, ROUND, Step::Round { speak })
            }
        };
        (self.stage, self.due) = (stage, Some(now + wait));
        Some(step)
    }

    /// A probe with this nonce goes out.
    pub(crate) fn on_probe(&mut self, nonce: u64) {
        self.probed.get_or_insert(nonce);
    }

    /// Whether an answer with this nonce is to a probe of this silence.
    pub(crate) fn has_probed(&self, nonce: u64) -> bool {
        self.probed.is_some_and(|first| nonce >= first)
    }

    /// Somebody's suspicion came, unproven. `Ok(true)` if it is worth its proof; `Ok(false)` if it was proven before and
    /// is only noted as said again.
    pub(crate) fn admits(&mut self, now: Instant, claimed: &Suspicion) -> Result<bool, Rejected> {
        let sender = claimed.credential.sender;
        let full = self.others.len() >= MAX_GATHERED;
        let known = self.others.iter_mut().find(|heard| heard.suspicion.credential.sender == sender);
        if let Some(heard) = known {
            if heard.suspicion == *claimed {
                heard.at = now;
                self.note(sender);
                return Ok(false);
            }
            if rank(claimed) <= rank(&heard.suspicion) {
                return Err(Rejected::Duplicate);
            }
        } else if full {
            return Err(Rejected::OverBudget);
        }
        if self.checks.take(now) { Ok(true) } else { Err(Rejected::OverBudget) }
    }

    /// A suspicion by another member was verified.
    pub(crate) fn gather(&mut self, now: Instant, suspicion: Suspicion) {
        let sender = suspicion.credential.sender;
        self.others.retain(|heard| heard.suspicion.credential.sender != sender);
        self.others.push(Heard { at: now, suspicion });
        self.note(sender);
    }

    /// Whether the loss is proven now and was not before: `required` others must say so, and `in_step` successors have
    /// their turns before an election.
    pub(crate) fn proves(&mut self, now: Instant, required: usize, in_step: usize) -> Option<Vec<Suspicion>> {
        let counts = self.others.iter().filter(|heard| now < heard.at + COUNTS);
        if self.stage != Stage::Silent || self.lost || counts.clone().count() < required {
            return None;
        }
        let turns = SUCCESSION_STAGGER * u32::try_from(in_step).unwrap_or(0);
        let newest_first = counts.rev().take(MAX_SUSPICIONS).map(|heard| heard.suspicion).collect();
        self.lost = true;
        self.elects_at = Some(now + NO_SUCCESSOR + turns);
        Some(newest_first)
    }

    /// A takeover was verified but for this member's own silence: it waits for that. One is kept.
    pub(crate) fn keep_claim(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.claim = Some((from, bytes.to_vec()));
    }

    /// Whether this very takeover waits already.
    pub(crate) fn keeps_claim(&self, bytes: &[u8]) -> bool {
        self.claim.as_ref().is_some_and(|(_, kept)| kept == bytes)
    }

    pub(crate) const fn take_claim(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.claim.take()
    }

    fn note(&mut self, sender: SenderId) {
        if !self.round.contains(&sender) {
            self.round.push(sender);
        }
    }
}

/// How long the two probes may take together.
fn probe_wait(timing: &Timing) -> Duration {
    PROBE_WAIT.min(timing.silence / 2)
}

/// So that a thousand members do not all say the same at once: a few go first, and the others hear them.
fn suspicion_wait(reg_no: RegNo, rng: &mut dyn CryptoRng) -> Duration {
    let least = if reg_no.0 < FIRST_TO_SPEAK { Duration::ZERO } else { SUSPICION_WAIT / 4 };
    least + jitter(rng, SUSPICION_WAIT - least)
}

const fn rank(suspicion: &Suspicion) -> (u32, u64) {
    (suspicion.state.epoch.0, suspicion.counter)
}
