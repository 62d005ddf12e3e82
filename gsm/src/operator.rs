//! What an operator hears of a manager, and why a request is not carried out.

use std::time::Duration;

use protocol::{Commit, Instant, SenderId, StateId, SubgroupId, Timing};

use crate::gsm::{Gsm, Timer};

/// What a manager says of itself to its operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GsmStatus {
    /// The subgroup.
    pub subgroup: SubgroupId,
    /// The state members should hold; epoch 0 before the first key update.
    pub state: StateId,
    /// Registrations, the own node's included.
    pub members: usize,
    /// Joins and leaves that wait for the next key update.
    pub pending: usize,
    /// Until it is cut; `None` when nothing waits.
    pub next_rekey: Option<Duration>,
    /// The rekey interval.
    pub rekey_interval: Duration,
    /// Whether the store failed.
    pub read_only: bool,
    /// How many evictions there were.
    pub revocations: usize,
    /// The newest durable record.
    pub journal: Commit,
    /// Who follows this manager, to take over when it is lost; and successors that should and do not.
    pub standbys: Vec<StandbyStatus>,
}

/// What a manager says of a standby.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandbyStatus {
    /// Its identity.
    pub identity: String,
    /// Its registration.
    pub sender: SenderId,
    /// Since when what is acknowledged to anybody waits for it; `None` while it is not in step, and could not take over.
    pub in_step: Option<Instant>,
    /// The newest record it holds.
    pub followed: Commit,
}

/// Why an operator's request was not carried out. Nothing changed; the caller is to blame.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// Nobody of that identity is a member.
    #[error("no member has the identity {0:?}")]
    NoSuchMember(String),
    /// A manager does not evict itself.
    #[error("{0:?} is this manager's own node")]
    OwnNode(String),
    /// It is giving way to another manager, which has to be asked.
    #[error("this manager gives way to another one: ask there")]
    GivingWay,
    /// Nobody could take its place at once.
    #[error("no standby is in step with this manager")]
    NoStandby,
    /// The one named could not take its place at once.
    #[error("that node is no standby, or is not in step with this manager")]
    NotInStep,
    /// It hands its office on already.
    #[error("a handover is under way")]
    HandingOver,
    /// The list of revocations is full: nobody could be told of another one.
    #[error(
        "{} evictions are all that a group can remember: renew its authority",
        protocol::limits::MAX_REVOCATIONS
    )]
    TooManyRevocations,
    /// The rekey interval is out of range.
    #[error(
        "a rekey interval of {given:?} is not between {:?} and {:?}",
        Timing::MIN_REKEY_INTERVAL,
        Timing::MAX_REKEY_INTERVAL
    )]
    IntervalOutOfRange {
        /// What was asked for.
        given: Duration,
    },
}

impl Gsm {
    /// How the manager is.
    pub fn status(&self, now: Instant) -> GsmStatus {
        GsmStatus {
            subgroup: self.domain.subgroup,
            state: self.keys.state(),
            members: self.members.len(),
            pending: self.keys.waiting(),
            next_rekey: self.timers.due(Timer::Rekey).map(|due| due.saturating_since(now)),
            rekey_interval: self.config.timing.rekey_interval,
            read_only: self.read_only,
            revocations: self.policy.revocations(),
            journal: self.durable,
            standbys: self.standby_statuses(),
        }
    }
}
