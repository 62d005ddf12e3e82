//! What a member is told when it is built.

use std::net::SocketAddr;
use std::sync::Arc;

use crypto::{ExchangePublic, PublicKey, Verifier};
use protocol::GroupId;

/// What a member is told when it is built.
#[derive(Clone)]
pub struct MemberConfig {
    /// The group to join.
    pub group: GroupId,
    /// Registrars to try, in order: `gsm = ["host:port"]`. At least one; an empty list never joins.
    pub registrars: Vec<SocketAddr>,
    /// The node's own signing key, for its credential.
    pub signing: PublicKey,
    /// The node's own X25519 key, which the manager keeps; nothing uses it yet.
    pub exchange: ExchangePublic,
    /// Checks signatures: Ed25519 in the program.
    pub verifier: Arc<dyn Verifier>,
}

impl std::fmt::Debug for MemberConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberConfig")
            .field("group", &self.group)
            .field("registrars", &self.registrars)
            .finish_non_exhaustive()
    }
}
