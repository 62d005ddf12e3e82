//! What a host's part in a group is built with.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crypto::{Signer, Suite};
use keytree::Degree;
use member::MemberConfig;
use protocol::discovery::Mandate;
use protocol::{Domain, SubgroupId, Timing};

use crate::acl::AccessList;
use crate::config::GsmConfig;
use crate::presence::PresenceConfig;

/// What a node may become, as its operator wants it. Default [`Part::Auto`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Part {
    /// It searches, and where nobody manages the group it stands for election if its certificate allows that.
    #[default]
    Auto,
    /// It never manages, not even what it managed before.
    Member,
    /// It manages from the beginning, and searches only after it gave way to another manager.
    Manager,
}

/// What a host's part in a group is built with.
#[derive(Clone, Debug)]
pub struct ParticipantConfig {
    /// What the node may become.
    pub part: Part,
    /// Everything a member needs; a manager takes group, keys, verifier and discovery from here too.
    pub member: MemberConfig,
}

/// What a node brings whose certificate carries the manager role.
pub struct Eligible {
    /// What it manages with.
    pub config: ManagerConfig,
    /// Signs for the manager; the mandate binds its key. The same over all restarts, or members cannot follow.
    pub signer: Box<dyn Signer>,
}

impl std::fmt::Debug for Eligible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Eligible").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What an eligible node manages with, whichever subgroup it becomes the manager of.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// The group's cipher suite.
    pub suite: Suite,
    /// Children of a node of the key tree; 4 is the cheapest (KG 5).
    pub degree: Degree,
    /// The node's identity.
    pub identity: String,
    /// SHA-256 of the node's certificate.
    pub certificate: [u8; 32],
    /// The node's own unicast address.
    pub address: SocketAddr,
    /// Where members register, best first; at least one.
    pub registrars: Vec<SocketAddr>,
    /// The subgroup's multicast address; `None` derives one from group and subgroup ([`Domain::local_ip`]).
    pub multicast: Option<IpAddr>,
    /// The port of control messages.
    pub control_port: u16,
    /// The port of data.
    pub data_port: u16,
    /// How many hops multicast may go.
    pub ttl: u8,
    /// The largest key update packet; see [`GsmConfig::packet_size`].
    pub packet_size: usize,
    /// The group's times.
    pub timing: Timing,
    /// Who may register.
    pub access: AccessList,
    /// Binds the signing key to the node's certificate.
    pub mandate: Mandate,
    /// In elections; the higher one wins. Default 100.
    pub priority: u16,
    /// Whether it becomes one with other managers of the group; see [`PresenceConfig::merges`].
    pub merges: bool,
}

impl ManagerConfig {
    /// What the manager of one subgroup is told.
    pub(super) fn of_subgroup(&self, member: &MemberConfig, subgroup: SubgroupId) -> GsmConfig {
        let domain = Domain { suite: self.suite, group: member.group, subgroup };
        let multicast = self.multicast.unwrap_or_else(|| domain.local_ip().into());
        let presence = member.discovery.as_ref().map(|discovery| PresenceConfig {
            discovery: discovery.address,
            mandate: self.mandate.clone(),
            registrars: self.registrars.clone(),
            certifier: Arc::clone(&discovery.certifier),
            merges: self.merges,
        });
        GsmConfig {
            group: member.group,
            subgroup,
            suite: self.suite,
            degree: self.degree,
            identity: self.identity.clone(),
            certificate: self.certificate,
            signing: member.signer.public_key(),
            exchange: member.exchange.public_key(),
            control: SocketAddr::new(multicast, self.control_port),
            data: SocketAddr::new(multicast, self.data_port),
            address: self.address,
            ttl: self.ttl,
            packet_size: self.packet_size,
            timing: self.timing,
            access: self.access.clone(),
            verifier: Arc::clone(&member.verifier),
            presence,
        }
    }
}

/// The node shall manage and its certificate does not carry the manager role: issue one with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the certificate does not carry the manager role")]
pub struct NotEligible;
