//! What a member is told when it is built.

use std::net::SocketAddr;
use std::sync::Arc;

use crypto::{ExchangeSecret, Signer, Verifier};
use protocol::GroupId;
use protocol::discovery::{Certifier, Mandate};

/// What a member is told when it is built.
#[derive(Clone)]
pub struct MemberConfig {
    /// The group to join.
    pub group: GroupId,
    /// Registrars to try, in order: `gsm = ["host:port"]`. May be empty where there is discovery; with neither, the
    /// member never joins.
    pub registrars: Vec<SocketAddr>,
    /// Signs for the node: its credential names this key, and an eligible node manages with it.
    pub signer: Arc<dyn Signer>,
    /// The node's own X25519 key, by which its leaf secret and unicast key can be renewed.
    pub exchange: Arc<ExchangeSecret>,
    /// Checks signatures: Ed25519 in the program.
    pub verifier: Arc<dyn Verifier>,
    /// How it finds managers that nobody configured; `None` searches nowhere, and then only [`Self::registrars`] are
    /// tried.
    pub discovery: Option<Discovery>,
}

impl std::fmt::Debug for MemberConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberConfig")
            .field("group", &self.group)
            .field("registrars", &self.registrars)
            .field("discovery", &self.discovery)
            .finish_non_exhaustive()
    }
}

/// What a node needs to find the managers of its group by multicast.
#[derive(Clone)]
pub struct Discovery {
    /// Where the group's nodes find each other: [`GroupId::discovery_ip`] and the control port.
    pub address: SocketAddr,
    /// Checks the certificates of claims and presences: OpenSSL in the program.
    pub certifier: Arc<dyn Certifier>,
    /// SHA-256 of the node's own certificate; ranks its claim.
    pub fingerprint: [u8; 32],
    /// The node's own identity, so that it knows when it was shut out.
    pub identity: String,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery")
            .field("address", &self.address)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What an eligible node stands for election with ([`Member::stand`](crate::Member::stand)).
pub struct Candidacy {
    /// Binds [`Self::signer`]'s key to the node's certificate.
    pub mandate: Mandate,
    /// As configured; the higher one wins.
    pub priority: u16,
    /// Where members would register with it.
    pub registrar: SocketAddr,
    /// Signs its claims now, and as a manager everything.
    pub signer: Box<dyn Signer>,
}

impl std::fmt::Debug for Candidacy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidacy")
            .field("priority", &self.priority)
            .field("registrar", &self.registrar)
            .finish_non_exhaustive()
    }
}
