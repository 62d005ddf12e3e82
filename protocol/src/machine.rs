//! The one contract between a machine and its driver.
//!
//! A machine decides; a driver does. The driver hands in everything that happens (datagrams, frames, the time) and
//! carries out what the machine asks for. There are two drivers: tokio in `endpoint`, virtual time in `integration`.

use std::net::SocketAddr;
use std::time::Duration;

use crypto::{Roles, Secret};

use crate::Instant;
use crate::codec::Malformed;
use crate::ids::{Commit, ConnId};

/// What a member or a manager is to its driver.
///
/// After any call the driver drains, in this order: records (made durable), transmits (sent), events (told). Outputs
/// are queues, so a driver that drains late loses nothing; the queues are bounded and a machine whose queues are full
/// rejects input instead of growing.
pub trait Machine {
    /// What the machine tells the application.
    type Event;

    /// Takes one input. On `Err` the state is unchanged; the driver counts the reason and does nothing else about it.
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected>;

    /// Does what is due at `now`. Harmless if early.
    fn handle_timeout(&mut self, now: Instant);

    /// The next record to make durable, in the order of its number.
    fn poll_record(&mut self) -> Option<Record>;

    /// The next thing to send.
    fn poll_transmit(&mut self) -> Option<Transmit>;

    /// The next thing to tell the application.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Until when the driver may sleep if nothing happens; `None` when only an input can make the machine act.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// The socket a datagram came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// The subgroup's control address: key updates, alarms, NAKs.
    Control,
    /// The node's own unicast port: repair, keepalives, leave, answers to FIND.
    Unicast,
    /// The group's discovery address: FIND, claims, presence.
    Discovery,
}

/// What happened, from the driver to the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram arrived. Nothing about it is believed yet, `from` least of all.
    Datagram {
        /// By which socket.
        lane: Lane,
        /// The source address it claims.
        from: SocketAddr,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// A node connected to us and TLS found it certified by the group's authority.
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// Who it is.
        peer: Peer,
    },
    /// A connection asked for with [`Transmit::Open`] stands, and the peer has the expected role.
    Opened {
        /// The connection.
        conn: ConnId,
        /// Who answered.
        peer: Peer,
    },
    /// A whole frame arrived on a connection.
    Frame {
        /// The connection.
        conn: ConnId,
        /// The frame's payload.
        bytes: &'a [u8],
    },
    /// The connection is gone, or never came to be.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why, as far as it is known.
        why: CloseReason,
    },
    /// All records up to this one are durable.
    Stored {
        /// The newest durable record.
        upto: Commit,
    },
    /// The store failed; records after the last [`Input::Stored`] may be lost.
    StoreFailed,
    /// Something the data plane noticed; it moves nothing by itself.
    Hint(DataHint),
}

/// Who is at the other end of a TLS connection. No TLS type enters a core: this is all a machine learns.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The name in its certificate (the first subject alternative name).
    pub identity: String,
    /// The roles its certificate grants.
    pub roles: Roles,
    /// SHA-256 of its certificate.
    pub certificate: [u8; 32],
    /// For how long its certificate stays valid.
    pub valid_for: Duration,
    /// Where it connects from.
    pub address: SocketAddr,
    /// Exported from this connection with both certificates in the context; both ends hold the same.
    pub channel: Secret<32>,
}

/// Which role the node at the other end must be certified for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// May be a member.
    Member,
    /// May be a manager.
    Manager,
}

/// Why a connection ended, told to the machine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CloseReason {
    /// The other end closed it in order.
    #[error("closed by the peer")]
    ByPeer,
    /// No connection could be made, or it broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// TLS refused one of the two: the reason either side gave.
    #[error("refused: {0}")]
    Refused(String),
    /// A deadline passed.
    #[error("timed out")]
    TimedOut,
}

/// Something the data plane noticed. Unsigned, so it only makes the machine look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataHint {
    /// Packets came under a key that is not in the ring.
    UnknownKey,
}

/// What the machine wants sent.
#[must_use = "a transmit that is dropped is never sent"]
#[derive(Clone, Debug)]
pub enum Transmit {
    /// A datagram to the subgroup's control address or the group's discovery address, within `ttl` hops.
    Multicast {
        /// The address.
        to: SocketAddr,
        /// How many hops it may go.
        ttl: u8,
        /// Its payload.
        bytes: Vec<u8>,
    },
    /// A datagram to one node, from the node's own unicast port.
    Unicast {
        /// The node's unicast address.
        to: SocketAddr,
        /// Its payload.
        bytes: Vec<u8>,
    },
    /// Connect to `to` over TLS, as `conn`, and accept only a peer certified for `expect`.
    Open {
        /// The number the connection will have.
        conn: ConnId,
        /// The registrar's address.
        to: SocketAddr,
        /// What it must be.
        expect: Role,
    },
    /// A frame on a connection.
    Frame {
        /// The connection.
        conn: ConnId,
        /// The frame's payload.
        bytes: Vec<u8>,
    },
    /// Close the connection when what was sent before has gone out.
    Close {
        /// The connection.
        conn: ConnId,
    },
}

/// One entry of a machine's journal. Its bytes mean something to the machine alone.
#[must_use = "what waits for this record waits for ever if it is dropped"]
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number; one higher than the record before.
    pub commit: Commit,
    /// Its content. It may hold a leaf secret, so a store seals it.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({}, {} bytes)", self.commit.0, self.bytes.len())
    }
}

/// Why an input was not taken. The machine's state is as it was; drivers count it, tests compare it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// Not a message of this protocol.
    #[error("malformed")]
    Malformed,
    /// Another protocol version.
    #[error("unknown version")]
    Version,
    /// A suite this program or this group does not use.
    #[error("wrong suite")]
    Suite,
    /// Another group or subgroup. Normal where several share an address.
    #[error("other group")]
    OtherGroup,
    /// A message that this node has no use for: its own looped back, or one for another role.
    #[error("not for this node")]
    NotForUs,
    /// A state that is behind what is held, or of another start of the manager.
    #[error("stale state")]
    Stale,
    /// Byte-equal to something verified before, or a NAK that was heard before.
    #[error("duplicate")]
    Duplicate,
    /// The group-MAC prefilter refused it.
    #[error("bad MAC")]
    BadMac,
    /// A Merkle path, a signature, an AEAD tag or a key confirmation that does not hold.
    #[error("not authentic")]
    NotAuthentic,
    /// More signature checks asked for than the budget allows.
    #[error("over the budget")]
    OverBudget,
    /// A frame that has no place at this point of the exchange.
    #[error("out of place")]
    OutOfPlace,
    /// A connection this machine does not know.
    #[error("unknown connection")]
    UnknownConnection,
    /// A registration this machine does not know.
    #[error("unknown sender")]
    UnknownSender,
    /// The manager refused the peer; it was told why.
    #[error("refused")]
    Refused,
    /// The machine's queues are full; ourselves to blame, try again.
    #[error("busy")]
    Busy,
}

/// Whom a rejection blames (rule of the house: every error says so).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// Bytes that anyone on the LAN can send.
    Bytes,
    /// An authenticated peer that breaks the protocol.
    Peer,
    /// Ourselves: out of room or out of budget.
    Ourselves,
    /// Nobody: ordinary traffic of a shared address.
    Nobody,
}

impl Rejected {
    /// Whom it blames, for counters and log levels.
    pub const fn blame(self) -> Blame {
        match self {
            Self::Malformed | Self::Version | Self::Suite | Self::BadMac | Self::NotAuthentic => Blame::Bytes,
            Self::UnknownSender => Blame::Bytes,
            Self::OtherGroup | Self::NotForUs | Self::Stale | Self::Duplicate => Blame::Nobody,
            Self::UnknownConnection => Blame::Nobody,
            Self::OutOfPlace | Self::Refused => Blame::Peer,
            Self::OverBudget | Self::Busy => Blame::Ourselves,
        }
    }
}

impl From<Malformed> for Rejected {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
