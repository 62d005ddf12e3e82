//! What a node is told when it is started in a group.

use std::net::{IpAddr, SocketAddr};

use crypto::Suite;
use gsm::{AccessList, Part};
use keytree::Degree;
use protocol::Timing;

use crate::state::State;

/// What a node is told when it is started in a group. The name is enough:
/// [`GroupOptions::named`] is a node that finds the group's manager by itself.
#[derive(Debug)]
pub struct GroupOptions {
    /// The group's name. Name and authority together are the group.
    pub name: String,
    /// Whether the node may become, must be, or must not be its manager. A certificate without the manager role makes
    /// it a member in any case.
    pub part: Part,
    /// Registrars to try first, in order. May be empty: managers on the same LAN are found by multicast.
    pub gsm: Vec<SocketAddr>,
    /// What the node manages with, if it does.
    pub settings: ManagerSettings,
    /// Where it keeps what it must not forget as manager. A node that cannot be one keeps nothing.
    pub state: State,
}

impl GroupOptions {
    /// A node of the group called `name` with everything as it is by default: it searches, and where nobody manages the
    /// group it stands for election if its certificate allows that, with its state in memory.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            part: Part::default(),
            gsm: Vec::new(),
            settings: ManagerSettings::default(),
            state: State::Memory,
        }
    }
}

/// What a node manages a group with. All nodes of a group that may manage it should have the same.
#[derive(Clone, Debug)]
pub struct ManagerSettings {
    /// The subgroup's multicast address. Default: `None`, derived from group and subgroup within 239.192.0.0/14.
    pub address: Option<IpAddr>,
    /// How many hops multicast may go. Default 1.
    pub ttl: u8,
    /// The cipher suite.
    pub suite: Suite,
    /// The key tree's degree. Default 4.
    pub degree: Degree,
    /// The largest key update packet, in bytes. Default [`protocol::limits::MAX_DATAGRAM`].
    pub packet_size: usize,
    /// The group's times.
    pub timing: Timing,
    /// Who may register. Default: everyone the authority certified as a member.
    pub access: AccessList,
    /// In elections; the higher one wins. Default [`protocol::limits::DEFAULT_PRIORITY`].
    pub priority: u16,
    /// Whether it becomes one with other managers of the group on its LAN. Default `true`.
    pub merges: bool,
}

impl Default for ManagerSettings {
    fn default() -> Self {
        Self {
            address: None,
            ttl: 1,
            suite: Suite::default(),
            degree: Degree::default(),
            packet_size: protocol::limits::MAX_DATAGRAM,
            timing: Timing::default(),
            access: AccessList::default(),
            priority: protocol::limits::DEFAULT_PRIORITY,
            merges: true,
        }
    }
}
