//! The configuration of a daemon: one TOML file, checked whole before anything starts.

mod fault;
mod limits;
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
    /// The group's name.
    pub(crate) group: String,
    /// The network interface by name or address; `None` lets the node choose.
    pub(crate) interface: Option<String>,
    /// Certificate, key and authority.
    pub(crate) credentials: CredentialFiles,
    /// Where the operator's tool finds the daemon.
    pub(crate) control_socket: PathBuf,
    /// What the node is.
    pub(crate) role: Role,
}

/// Three PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CredentialFiles {
    /// The node's certificate, with any intermediate ones.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// The group's authority.
    pub(crate) ca: PathBuf,
}

/// What a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// It holds a subgroup's keys.
    Manager(Box<ManagerConfig>),
    /// It registers at one of these managers, each a `host:port`.
    Member {
        /// In the order they are tried.
        gsm: Vec<String>,
    },
}

/// What only a manager is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ManagerConfig {
    /// The registrar's TCP port; 0 lets the kernel choose.
    pub(crate) port: u16,
    /// The UDP port of control messages.
    pub(crate) control_port: u16,
    /// The UDP port of data.
    pub(crate) data_port: u16,
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

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            control_port: DEFAULT_CONTROL_PORT,
            data_port: DEFAULT_DATA_PORT,
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
