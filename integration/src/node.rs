//! One simulated node: its machine, its data plane, its store, its addresses.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crypto::{PublicKey, Roles, Secret};
use data::{KeyRing, Sealer};
use gsm::{Gsm, ParticipantEvent};
use member::Member;
use protocol::{Commit, Input, Instant, Machine, Record, Rejected, SenderId, SubgroupId, Transmit};

use crate::cast::{Player, Receiver};
use crate::process::Doom;
use crate::store::SimStore;
use crate::world::Happening;

/// A node of the world. In most scenarios number 0 is set up as the manager.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(pub usize);

impl NodeId {
    /// The node that manages where a scenario names one.
    pub const MANAGER: Self = Self(0);
}

/// What runs in a node's process.
pub(crate) enum Process {
    /// A machine.
    Up(Box<dyn Player>),
    /// Nothing: not started, or crashed.
    Down,
}

/// Where a node listens for its subgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Listening {
    pub(crate) control: SocketAddr,
    pub(crate) data: SocketAddr,
}

/// One node.
pub(crate) struct Node {
    pub(crate) process: Process,
    /// Which start of the process.
    pub(crate) start: u32,
    pub(crate) identity: String,
    pub(crate) roles: Roles,
    pub(crate) certificate: [u8; 32],
    /// Its X25519 key.
    pub(crate) exchange: Secret<32>,
    /// The key it signs with, as member and as manager; the same through all starts.
    pub(crate) manager_key: PublicKey,
    pub(crate) manager_secret: Secret<32>,
    pub(crate) address: SocketAddr,
    /// Where its registrar is, while it manages.
    pub(crate) registrar: SocketAddr,
    /// Its subgroup's addresses, while it listens there.
    pub(crate) listening: Option<Listening>,
    /// Its state directory: it outlives the process.
    pub(crate) store: SimStore,
    /// Whether its operator wants it in the group.
    pub(crate) wanted: bool,
    pub(crate) evicted: bool,
    /// When its machine's next timer is due.
    pub(crate) wakes_at: Option<Instant>,
    /// The earliest wake-up in the queue; it may come before the timer is due.
    pub(crate) woken_at: Option<Instant>,
    /// The path its member held when the oracle was last told of it.
    pub(crate) watched: Vec<(keytree::NodeId, keytree::Version, [u8; 32])>,
    /// Until then nothing that is multicast on the control address reaches it.
    pub(crate) deaf_until: Instant,
    pub(crate) doom: Option<Doom>,
    /// What waits for a process that is stopped.
    pub(crate) backlog: Option<Vec<Happening>>,
    /// How far what it multicasts to its subgroup goes.
    pub(crate) ttl: u8,
    pub(crate) sealer: Sealer,
    pub(crate) receiver: Box<dyn Receiver>,
    pub(crate) ring: Option<KeyRing>,
    /// The place it was granted and not admitted to yet.
    pub(crate) granted: Option<(SubgroupId, SenderId)>,
    /// Payloads that wait for a key to be sent under.
    pub(crate) unsent: VecDeque<Vec<u8>>,
}

impl Node {
    /// Its member, if it runs one.
    pub(crate) fn member(&self) -> Option<&Member> {
        self.process.player().and_then(Player::member)
    }

    /// Whether its application runs and may have something to send.
    pub(crate) fn sends(&self) -> bool {
        self.ring.is_some() && self.backlog.is_none()
    }

    /// Its manager, if it runs one.
    pub(crate) fn gsm(&self) -> Option<&Gsm> {
        self.process.player().and_then(Player::gsm)
    }
}

impl Process {
    pub(crate) fn player(&self) -> Option<&dyn Player> {
        match self {
            Self::Up(player) => Some(&**player),
            Self::Down => None,
        }
    }

    pub(crate) fn player_mut(&mut self) -> Option<&mut (dyn Player + 'static)> {
        match self {
            Self::Up(player) => Some(&mut **player),
            Self::Down => None,
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        !matches!(self, Self::Down)
    }

    pub(crate) fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        self.player_mut().map_or(Ok(()), |player| player.handle_input(now, input))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(player) = self.player_mut() {
            player.handle_timeout(now);
        }
    }

    pub(crate) fn poll_record(&mut self) -> Option<Record> {
        self.player_mut().and_then(Machine::poll_record)
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.player_mut().and_then(Machine::poll_transmit)
    }

    pub(crate) fn poll_event(&mut self) -> Option<ParticipantEvent> {
        self.player_mut().and_then(Machine::poll_event)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.player().and_then(|player| player.poll_timeout())
    }

    pub(crate) fn compaction(&mut self) -> Option<(Commit, Vec<u8>)> {
        self.player_mut().and_then(Player::compaction)
    }
}
