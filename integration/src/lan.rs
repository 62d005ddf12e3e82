//! One LAN: every datagram meets the faults anew at each receiver.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use protocol::GroupId;

use crate::dice::Dice;
use crate::faults::LanFaults;
use crate::node::NodeId;
use crate::world::Packet;

/// Datagrams kept to be replayed.
const MAX_KEPT: usize = 2_048;

/// The LAN.
pub(crate) struct Lan {
    pub(crate) faults: LanFaults,
    dice: Dice,
    kept: Vec<Rc<Packet>>,
    next: usize,
}

impl Lan {
    pub(crate) const fn new(faults: LanFaults, dice: Dice) -> Self {
        Self { faults, dice, kept: Vec::new(), next: 0 }
    }

    /// Keeps a datagram for whoever replays it later.
    pub(crate) fn keep(&mut self, kept: Rc<Packet>) {
        if self.faults.replay == 0 {
            return;
        }
        if self.kept.len() < MAX_KEPT {
            self.kept.push(kept);
        } else {
            self.kept[self.next] = kept;
            self.next = (self.next + 1) % MAX_KEPT;
        }
    }

    /// After which times a datagram arrives at one receiver: none, one or two.
    pub(crate) fn arrivals(&mut self) -> impl Iterator<Item = Duration> + use<> {
        let lost = self.dice.chance(self.faults.loss);
        let twice = self.dice.chance(self.faults.duplication);
        let first = (!lost).then(|| self.faults.delay(&mut self.dice));
        let second = (!lost && twice).then(|| self.faults.delay(&mut self.dice));
        first.into_iter().chain(second)
    }

    /// An old datagram that arrives along with another one, and after which time.
    pub(crate) fn replayed(&mut self) -> Option<(Rc<Packet>, Duration)> {
        if !self.dice.chance(self.faults.replay) {
            return None;
        }
        let kept = self.dice.pick(&self.kept).cloned()?;
        Some((kept, self.faults.delay(&mut self.dice)))
    }

    /// How long something takes over a connection; it is not lost there.
    pub(crate) fn stream_delay(&mut self) -> Duration {
        self.faults.delay(&mut self.dice)
    }

    /// Whether the frame that is being sent breaks its connection.
    pub(crate) fn breaks_connection(&mut self) -> bool {
        self.dice.chance(self.faults.broken_connection)
    }
}

/// The port of control messages, discovery's too.
pub(crate) const CONTROL_PORT: u16 = 5_000;
/// The port of data.
pub(crate) const DATA_PORT: u16 = 5_001;

/// Where the group's nodes find each other.
pub(crate) fn discovery(group: GroupId) -> SocketAddr {
    SocketAddr::from((group.discovery_ip(), CONTROL_PORT))
}

/// A node's registrar.
pub(crate) fn registrar(node: NodeId) -> SocketAddr {
    SocketAddr::new(unicast(node).ip(), 5_002)
}

/// A node's unicast address.
pub(crate) fn unicast(node: NodeId) -> SocketAddr {
    let [high, low] = u16::try_from(node.0 + 1).unwrap_or(u16::MAX).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 5_003))
}
