//! Who plays: the machines behind the nodes, and the wrappers a test puts around them.

use std::net::SocketAddr;

use data::{Delivery, KeyRing, Opened, Opener, StreamId};
use gsm::{Gsm, Participant, ParticipantEvent};
use member::Member;
use protocol::{Commit, DataHint, Instant, Machine, SenderId, StateId};

use crate::node::NodeId;

/// A machine that plays a node's part: [`Participant`] itself, or a test's wrapper with a bug planted around it.
pub trait Player: Machine<Event = ParticipantEvent> {
    /// See [`Participant::leave`].
    fn leave(&mut self, now: Instant);
    /// The member inside, while it is one.
    fn member(&self) -> Option<&Member>;
    /// The manager inside, while it is one.
    fn gsm(&self) -> Option<&Gsm>;
    /// The manager inside, for an operator's requests.
    fn gsm_mut(&mut self) -> Option<&mut Gsm>;
    /// A snapshot that replaces the journal up to a record, when it is time for one.
    fn compaction(&mut self) -> Option<(Commit, Vec<u8>)>;
}

impl Player for Participant {
    fn leave(&mut self, now: Instant) {
        Self::leave(self, now);
    }

    fn member(&self) -> Option<&Member> {
        Self::member(self)
    }

    fn gsm(&self) -> Option<&Gsm> {
        Self::gsm(self)
    }

    fn gsm_mut(&mut self) -> Option<&mut Gsm> {
        Self::gsm_mut(self)
    }

    fn compaction(&mut self) -> Option<(Commit, Vec<u8>)> {
        Self::compaction(self)
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
    /// A node's part, each time its process starts.
    fn player(&mut self, _node: NodeId, participant: Participant) -> Box<dyn Player> {
        Box::new(participant)
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
