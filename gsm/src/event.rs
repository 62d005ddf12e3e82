//! What a manager tells its driver and its operator.

use std::net::SocketAddr;

use data::KeyRing;
use protocol::{Refusal, RegNo, SenderId, StateId};

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
    /// The store failed: nobody is admitted any more, until the manager is started again. Alarms, leaves and evictions
    /// go on, and what they lead to is told without being durable.
    ReadOnly,
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
