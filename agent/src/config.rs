//! The configuration of a daemon: one TOML file, checked whole before anything starts.

mod fault;
mod group;
mod limits;
mod misplaced;
mod text;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crypto::Suite;
use gsm::AccessList;
use keytree::Degree;
use protocol::Timing;

pub(crate) use fault::ConfigError;

/// Where `run` looks unless told otherwise.
pub(crate) const DEFAULT_CONFIG_FILE: &str = "/etc/conclave/conclave.toml";
/// Where the daemon listens for its operator unless told otherwise.
pub(crate) const DEFAULT_CONTROL_SOCKET: &str = "/run/conclave/conclave.sock";
/// Where the journals are unless told otherwise.
pub(crate) const DEFAULT_STATE: &str = "/var/lib/conclave";
/// Where the keys of the journals are unless told otherwise.
pub(crate) const DEFAULT_KEYS: &str = "/etc/conclave/keys";
/// The registrar's TCP port.
const DEFAULT_PORT: u16 = 7400;
/// The UDP port of control messages.
const DEFAULT_CONTROL_PORT: u16 = 7401;
/// The UDP port of data.
const DEFAULT_DATA_PORT: u16 = 7402;
/// Multicast stays on the LAN.
const DEFAULT_TTL: u8 = 1;

/// A configuration whose every value was checked; what depends on the host (files, names, interfaces) was not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Config {
    /// The network interface by name or address; `None` lets the node choose.
    pub(crate) interface: Option<String>,
    /// The ports, the same for every group of the node.
    pub(crate) ports: Ports,
    /// Where the operator's tool finds the daemon.
    pub(crate) control_socket: PathBuf,
    /// Where the journals of the groups are that this node manages, one directory a group.
    pub(crate) state: PathBuf,
    /// Where the signing key, the store key and the anchor of each of them are. Neither of the two directories is in the
    /// other, so that a backup of the state holds no key.
    pub(crate) keys: PathBuf,
    /// Certificate, key and authority.
    pub(crate) credentials: CredentialFiles,
    /// What the node does in each group: at least one, no name twice.
    pub(crate) groups: Vec<GroupConfig>,
}

/// The ports of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ports {
    /// TCP: where others register; 0 lets the kernel choose.
    pub(crate) registrar: u16,
    /// UDP: control messages.
    pub(crate) control: u16,
    /// UDP: data. Another one than `control`.
    pub(crate) data: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { registrar: DEFAULT_PORT, control: DEFAULT_CONTROL_PORT, data: DEFAULT_DATA_PORT }
    }
}

/// Three PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CredentialFiles {
    /// The node's certificate, with any intermediate ones.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// The groups' authority.
    pub(crate) ca: PathBuf,
}

/// A node's part in one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GroupConfig {
    /// The group's name.
    pub(crate) name: String,
    /// What the node does there.
    pub(crate) role: Role,
    /// Managers to register at, each a `host:port`, in the order they are tried; empty if the group is found by multicast.
    pub(crate) gsm: Vec<String>,
    /// Who wins an election: the higher one.
    pub(crate) priority: u16,
    /// Whether the node, as a manager, becomes one with another manager of the group that it hears.
    pub(crate) merge: bool,
    /// How the node manages the group when it does.
    pub(crate) settings: Settings,
}

/// What a node may be in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Role {
    /// Manager if its certificate allows it and the group has none, else member.
    #[default]
    Auto,
    /// Never more than a member.
    Member,
    /// A manager from the start.
    Manager,
}

/// How a group is managed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    /// The subgroup's multicast address; `None` derives one.
    pub(crate) address: Option<IpAddr>,
    /// How many hops multicast may go.
    pub(crate) ttl: u8,
    /// The cipher suite.
    pub(crate) suite: Suite,
    /// Children of a node of the key tree.
    pub(crate) degree: Degree,
    /// The largest key update packet, in bytes.
    pub(crate) packet_size: usize,
    /// The group's times.
    pub(crate) timing: Timing,
    /// Who may register.
    pub(crate) access: AccessList,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: None,
            ttl: DEFAULT_TTL,
            suite: Suite::default(),
            degree: Degree::default(),
            packet_size: protocol::limits::MAX_DATAGRAM,
            timing: Timing::default(),
            access: AccessList::default(),
        }
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its directory.
    pub(crate) fn load(file: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        Self::parse(file, &text)
    }

    /// Checks a text; `file` is what errors name, and where relative paths begin.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        text::parse(file.parent().unwrap_or_else(|| Path::new("")))
            .checked(text)
            .map_err(|fault| fault.at(file, text))
    }
}

#[cfg(test)]
mod tests;
