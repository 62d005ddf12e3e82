//! What a manager is told when it starts.

use std::net::SocketAddr;
use std::sync::Arc;

use crypto::{ExchangePublic, PublicKey, Suite, Verifier};
use keytree::Degree;
use protocol::{GroupId, SubgroupId, Timing};

use crate::acl::AccessList;
use crate::presence::PresenceConfig;

/// What a manager is told when it starts. All of it but the rekey interval stays until it stops.
#[derive(Clone)]
pub struct GsmConfig {
    /// The group.
    pub group: GroupId,
    /// The subgroup this manager makes: random, and never that of another manager of the group.
    pub subgroup: SubgroupId,
    /// The group's cipher suite.
    pub suite: Suite,
    /// Children of a node of the key tree; 4 is the cheapest (KG 5).
    pub degree: Degree,
    /// The manager's own identity, for the member list.
    pub identity: String,
    /// SHA-256 of the manager's own certificate.
    pub certificate: [u8; 32],
    /// Its node's signing key as a member. The manager signs key updates with another one.
    pub signing: PublicKey,
    /// Its node's X25519 key.
    pub exchange: ExchangePublic,
    /// Where control messages are multicast.
    pub control: SocketAddr,
    /// Where data is multicast.
    pub data: SocketAddr,
    /// The manager's own unicast address, where members send keepalives and requests.
    pub address: SocketAddr,
    /// How many hops multicast may go: 1 keeps a subgroup on its LAN.
    pub ttl: u8,
    /// The largest key update packet, in bytes: [`protocol::limits::MIN_DATAGRAM`] to 65,000, default
    /// [`protocol::limits::MAX_DATAGRAM`].
    pub packet_size: usize,
    /// The group's times.
    pub timing: Timing,
    /// Who may register.
    pub access: AccessList,
    /// Checks what members hand back of this manager's own signatures.
    pub verifier: Arc<dyn Verifier>,
    /// What it makes itself known with on the LAN; `None` where all nodes have its address configured.
    pub presence: Option<PresenceConfig>,
}

impl std::fmt::Debug for GsmConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GsmConfig")
            .field("group", &self.group)
            .field("subgroup", &self.subgroup)
            .field("identity", &self.identity)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}
