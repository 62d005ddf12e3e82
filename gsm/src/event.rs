//! What a manager tells its driver and its operator.

use std::net::SocketAddr;

use data::KeyRing;
use protocol::{CloseReason, Refusal, RegNo, Revocation, SenderId, StateId, SubgroupId, Term};

/// Something that happened to a manager or its subgroup.
///
/// Admissions, departures and key updates are durable by the time they are told, unless the store has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GsmEvent {
    /// A member is in; the next key update lets it read.
    Admitted {
        /// Its identity.
        identity: String,
        /// Its leaf.
        reg_no: RegNo,
        /// Its registration.
        sender: SenderId,
    },
    /// A node was not let in.
    Refused {
        /// Its identity.
        identity: String,
        /// Where it connected from.
        address: SocketAddr,
        /// Why.
        why: Refusal,
    },
    /// A member is out with the next key update, or with the one just cut.
    Departed {
        /// Its identity.
        identity: String,
        /// Its registration.
        sender: SenderId,
        /// Why.
        why: Departure,
    },
    /// A key update was cut and sent.
    Rekeyed(RekeySummary),
    /// The data plane's keys of the manager's own node changed.
    KeyRing(KeyRing),
    /// The store failed: nobody is admitted until it works again ([`GsmEvent::Writable`]). Alarms, leaves and evictions
    /// go on, and what they lead to is told without being durable: if the manager ends before the store works again, its
    /// next start finds members that know more than its journal, and all register again.
    ReadOnly,
    /// The store works again, and everything that was told meanwhile is durable.
    Writable,
    /// The manager came back with the members its journal names; the next key update brings them along.
    Resumed {
        /// How many there are, the own node not among them.
        members: usize,
        /// The new term.
        term: Term,
    },
    /// The manager came back with settings its members were not promised (addresses, times, suite, degree, signing key):
    /// it makes a new subgroup, and all must register again.
    StartedOver {
        /// How many there were.
        members: usize,
    },
    /// The store is older than what members hold, or was damaged: nobody is kept, all must register again, and who was
    /// evicted stays out. For operators: somebody put an old copy of the state back, or the disk lost what it had
    /// promised to keep.
    RolledBack {
        /// The newest state in the journal.
        held: Option<StateId>,
        /// The newest state that a member or the manager's other start has shown, if that is what gave it away.
        seen: Option<StateId>,
        /// Evictions that the store had forgotten and members have shown.
        revocations: usize,
    },
    /// Another start of this very manager, with its key and its journal, is at work: a copy of this host, or of its
    /// state. This one stays silent as long as it hears the other one.
    OtherStart {
        /// The state the other one leads.
        state: StateId,
    },
    /// Somebody who is not a member will never be let in; every member is told.
    Revoked {
        /// Who.
        revocation: Revocation,
    },
    /// Another manager of the group is on this LAN.
    OtherManager {
        /// Its identity.
        identity: String,
        /// Its subgroup.
        subgroup: SubgroupId,
        /// Whether the two will become one; false where this manager is configured to stay apart.
        merges: bool,
    },
    /// An attempt to give way to another manager failed; there will be more.
    NotMerged {
        /// Its identity.
        identity: String,
        /// Why.
        why: CloseReason,
    },
    /// This node follows another one as manager of the subgroup it is in: its members stay, and register with nobody.
    TookOffice {
        /// How many there are, the own node among them; the manager before is none of them any more.
        members: usize,
        /// The new term.
        term: Term,
        /// Whether the manager before handed it over; it was lost otherwise.
        handed: bool,
    },
    /// Every leaf secret and unicast key has moved on, because a node that has held them all is out.
    Renewed {
        /// Counts the renewals of the subgroup.
        number: u16,
        /// The term that begins with it.
        term: Term,
        /// The identity of that node; empty after a restart, which only knows its hash.
        why: String,
    },
    /// Another manager gave way to this one. Whom it had shut out is shut out here.
    TookOver {
        /// Its identity.
        identity: String,
        /// The subgroup that ends.
        subgroup: SubgroupId,
    },
    /// A standby is in step: it holds everything that was acknowledged to anybody, and would take over at once.
    StandbyInStep {
        /// Its identity.
        identity: String,
        /// Its registration.
        sender: SenderId,
    },
    /// A standby is in step no more; nothing waits for it.
    StandbyLost {
        /// Its identity.
        identity: String,
        /// Its registration.
        sender: SenderId,
        /// Why.
        why: StandbyGone,
    },
    /// This manager handed its office on, at its operator's word; its members stay where they are.
    HandedOver {
        /// Whose office it is now.
        identity: String,
        /// The registration of that node.
        sender: SenderId,
    },
    /// It was to hand its office on, and goes on managing.
    NotHandedOver {
        /// Who was to take it.
        identity: String,
        /// Why that failed.
        why: CloseReason,
    },
    /// This manager gave way to another one and is none any more: its members are on their way there. The last event of
    /// a manager; it takes nothing but store reports since its end was decided.
    SteppedDown {
        /// Where they register.
        to: SocketAddr,
        /// The other manager's identity.
        identity: String,
        /// Its subgroup.
        subgroup: SubgroupId,
    },
}

/// Why a standby is in step no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StandbyGone {
    /// A key update was due and did not wait for it any longer, or it lags behind by too many records.
    #[error("it lags behind")]
    Late,
    /// It did not acknowledge a change in time.
    #[error("it does not answer")]
    Silent,
    /// Its connection is gone.
    #[error("its connection is gone")]
    Closed,
    /// It is no member any more.
    #[error("it is no member any more")]
    Out,
    /// It acknowledged what it was never sent.
    #[error("it broke the protocol")]
    Broken,
}

/// Why a member is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// It asked to leave.
    Left,
    /// Its keepalives stopped.
    Silent,
    /// It registered again; the new registration counts.
    Replaced,
    /// An operator evicted it.
    Evicted,
}

/// What one key update did and cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RekeySummary {
    /// The state it led to.
    pub state: StateId,
    /// Whether somebody was evicted.
    pub hard: bool,
    /// Members let in.
    pub joins: usize,
    /// Members put out.
    pub leaves: usize,
    /// Entries of the plan; what a packet repeats is not counted.
    pub entries: usize,
    /// Packets sent.
    pub packets: usize,
    /// Bytes of UDP payload sent.
    pub bytes: usize,
}
