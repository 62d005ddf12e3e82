//! From member to manager: what goes along when the node is elected, or takes its subgroup over (DESIGN: failover).

use std::net::SocketAddr;

use crypto::PublicKey;
use keytree::{Epoch, RegNo};
use protocol::{Alarm, Credential, Domain, Revocation, SenderId, StateId};
use rand_core::CryptoRng;

use super::Member;
use crate::activation::Activation;
use crate::config::Candidacy;

/// What is left of a member that becomes manager.
pub struct Promotion {
    /// The randomness it was built with.
    pub rng: Box<dyn CryptoRng + Send>,
    /// What it stood with; `None` if it never stood.
    pub candidacy: Option<Candidacy>,
    /// The number of the next connection this node opens.
    pub next_conn: u64,
    /// Who was evicted from the group, as far as the member knew.
    pub revocations: Vec<Revocation>,
    /// Its place in the subgroup it is in, if it has heard an alarm there. Who was elected begins another subgroup and
    /// has no use for it.
    pub place: Option<Seat>,
}

impl std::fmt::Debug for Promotion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Promotion")
            .field("candidacy", &self.candidacy)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A member's place in its subgroup, with which it goes on as the subgroup's manager: nothing on the data plane changes
/// until its own first key update is active.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The subgroup.
    pub domain: Domain,
    /// Its registration.
    pub sender: SenderId,
    /// Its leaf.
    pub reg_no: RegNo,
    /// Its keys, with the instants from which and until which each is used.
    pub activation: Activation,
    /// The newest state that any signed message named: the new start is of a later term.
    pub known: StateId,
    /// The newest epoch, of that start, that is known to have come by an eviction.
    pub hard: Epoch,
    /// Its credential, by the manager or the one before.
    pub credential: Credential,
    /// The newest alarm that was verified.
    pub alarm: Alarm,
    /// The manager's signing key.
    pub manager: PublicKey,
    /// The keys of the managers before that it followed here, newest first.
    pub former: Vec<PublicKey>,
    /// Where the manager takes unicast.
    pub manager_address: SocketAddr,
    /// Where nodes register with the manager.
    pub registrar: SocketAddr,
}

impl Member {
    /// What the manager needs that this node becomes, after [`MemberEvent::Elected`](crate::MemberEvent::Elected) or
    /// [`MemberEvent::ManagerLost`](crate::MemberEvent::ManagerLost). What the member still had to say is lost, so its
    /// queues are drained before.
    pub fn into_promotion(self) -> Promotion {
        Promotion {
            rng: self.rng.0,
            candidacy: self.candidacy,
            next_conn: self.exchange.next_conn(),
            revocations: self.revocations.all().copied().collect(),
            place: self.membership.and_then(|membership| membership.into_seat()),
        }
    }
}
