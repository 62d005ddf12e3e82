//! One simulated node: its machine, its data plane, its addresses.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crypto::ExchangePublic;
use crypto::PublicKey;
use data::{Delivery, KeyRing, Opened, Opener, Sealer, StreamId};
use gsm::{Gsm, GsmEvent};
use member::{Member, MemberEvent};
use protocol::{DataHint, Input, Instant, Machine, Record, Rejected, SenderId, StateId, Transmit};

/// A node of the world. The manager is number 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(pub usize);

impl NodeId {
    /// The manager.
    pub const MANAGER: Self = Self(0);
}

/// A machine that acts as a member: [`Member`] itself, or a test's wrapper with a bug planted around it.
pub trait MemberNode: Machine<Event = MemberEvent> {
    /// See [`Member::join`].
    fn join(&mut self, now: Instant);
    /// See [`Member::leave`].
    fn leave(&mut self, now: Instant);
    /// The member inside.
    fn member(&self) -> &Member;
}

impl MemberNode for Member {
    fn join(&mut self, now: Instant) {
        Self::join(self, now);
    }

    fn leave(&mut self, now: Instant) {
        Self::leave(self, now);
    }

    fn member(&self) -> &Member {
        self
    }
}

/// A machine that acts as the manager: [`Gsm`] itself, or a test's wrapper around it.
pub trait ManagerNode: Machine<Event = GsmEvent> {
    /// The manager inside.
    fn gsm(&self) -> &Gsm;
    /// The manager inside, for an operator's requests.
    fn gsm_mut(&mut self) -> &mut Gsm;
}

impl ManagerNode for Gsm {
    fn gsm(&self) -> &Gsm {
        self
    }

    fn gsm_mut(&mut self) -> &mut Gsm {
        self
    }
}

/// A payload that the receiving half of a data plane handed to the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// Who sent it.
    pub sender: SenderId,
    /// On which stream.
    pub stream: StreamId,
    /// Which packet of the stream.
    pub sequence: u64,
    /// Under which state.
    pub state: StateId,
    /// What.
    pub payload: Vec<u8>,
}

impl From<Delivery<'_>> for Delivered {
    fn from(delivery: Delivery<'_>) -> Self {
        let Delivery { sender, stream, sequence, state, payload, .. } = delivery;
        Self { sender, stream, sequence, state, payload: payload.to_vec() }
    }
}

/// The receiving half of a data plane and what drives it: [`Opener`] itself, or a test's wrapper around it.
pub trait Receiver {
    /// Replaces the keys; what waited for one of them and opens now goes to `out`.
    fn set_ring(&mut self, now: Instant, ring: &KeyRing, out: &mut Vec<Delivered>);
    /// Takes a datagram; what it delivers goes to `out`.
    fn open(&mut self, now: Instant, datagram: &[u8], from: SocketAddr, out: &mut Vec<Delivered>);
    /// A hint for the machine.
    fn hint(&mut self, now: Instant) -> Option<DataHint>;
}

impl Receiver for Opener {
    fn set_ring(&mut self, now: Instant, ring: &KeyRing, out: &mut Vec<Delivered>) {
        Self::set_ring(self, now, ring);
        while let Some(delivery) = self.poll_waiting(now) {
            out.push(delivery.into());
        }
    }

    fn open(&mut self, now: Instant, datagram: &[u8], from: SocketAddr, out: &mut Vec<Delivered>) {
        if let Opened::Delivered(delivery) = Self::open(self, now, datagram, from) {
            out.push(delivery.into());
        }
    }

    fn hint(&mut self, now: Instant) -> Option<DataHint> {
        self.poll_hint(now)
    }
}

/// Who plays: a test plants a bug by casting a wrapper in one of the parts.
pub trait Cast {
    /// The manager's part.
    fn manager(&mut self, gsm: Gsm) -> Box<dyn ManagerNode> {
        Box::new(gsm)
    }

    /// A member's part.
    fn member(&mut self, _node: NodeId, member: Member) -> Box<dyn MemberNode> {
        Box::new(member)
    }

    /// The receiving half of a node's data plane.
    fn receiver(&mut self, _node: NodeId) -> Box<dyn Receiver> {
        Box::new(Opener::new())
    }
}

/// Everybody plays honestly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl Cast for Honest {}

/// What runs in a node's process.
pub(crate) enum Process {
    /// The manager.
    Manager(Box<dyn ManagerNode>),
    /// A member.
    Member(Box<dyn MemberNode>),
    /// Nothing: not started, or crashed.
    Down,
}

/// An event of either machine.
pub(crate) enum NodeEvent {
    Manager(GsmEvent),
    Member(MemberEvent),
}

/// One node.
pub(crate) struct Node {
    pub(crate) process: Process,
    /// Which start of the process.
    pub(crate) start: u32,
    pub(crate) identity: String,
    pub(crate) certificate: [u8; 32],
    pub(crate) signing: PublicKey,
    pub(crate) exchange: ExchangePublic,
    pub(crate) address: SocketAddr,
    /// Whether it listens on the subgroup's addresses.
    pub(crate) listening: bool,
    /// Whether its operator wants it in the group.
    pub(crate) wanted: bool,
    pub(crate) evicted: bool,
    pub(crate) wakes_at: Option<Instant>,
    pub(crate) sealer: Sealer,
    pub(crate) receiver: Box<dyn Receiver>,
    pub(crate) ring: Option<KeyRing>,
    /// Payloads that wait for a key to be sent under.
    pub(crate) unsent: VecDeque<Vec<u8>>,
}

impl Process {
    pub(crate) fn member(&self) -> Option<&Member> {
        match self {
            Self::Member(node) => Some(node.member()),
            Self::Manager(_) | Self::Down => None,
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        !matches!(self, Self::Down)
    }

    pub(crate) fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        match self {
            Self::Manager(node) => node.handle_input(now, input),
            Self::Member(node) => node.handle_input(now, input),
            Self::Down => Ok(()),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Manager(node) => node.handle_timeout(now),
            Self::Member(node) => node.handle_timeout(now),
            Self::Down => {}
        }
    }

    pub(crate) fn poll_record(&mut self) -> Option<Record> {
        match self {
            Self::Manager(node) => node.poll_record(),
            Self::Member(node) => node.poll_record(),
            Self::Down => None,
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        match self {
            Self::Manager(node) => node.poll_transmit(),
            Self::Member(node) => node.poll_transmit(),
            Self::Down => None,
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<NodeEvent> {
        match self {
            Self::Manager(node) => node.poll_event().map(NodeEvent::Manager),
            Self::Member(node) => node.poll_event().map(NodeEvent::Member),
            Self::Down => None,
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Manager(node) => node.poll_timeout(),
            Self::Member(node) => node.poll_timeout(),
            Self::Down => None,
        }
    }
}
