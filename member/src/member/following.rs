//! What a successor of the manager needs of its own membership to follow that manager (DESIGN: failover).

use std::net::SocketAddr;

use crypto::{PublicKey, Secret};
use protocol::{Alarm, ConnId, Domain, SenderId};

use super::Member;

/// A member's place under its manager, as the node's other half needs it that follows the manager as a standby.
#[derive(Clone, Copy, Debug)]
pub struct Following<'a> {
    /// The subgroup.
    pub domain: &'a Domain,
    /// The member's registration.
    pub sender: SenderId,
    /// Its unicast key: only who holds the manager's state knows it too.
    pub unicast: &'a Secret<32>,
    /// Where the manager takes registrations, and standbys.
    pub registrar: SocketAddr,
    /// The manager's signing key.
    pub manager: PublicKey,
    /// The newest alarm that was verified.
    pub alarm: &'a Alarm,
    /// Whether it holds a key of that alarm's start: its join is cut.
    pub is_in: bool,
}

impl Member {
    /// Its place under its manager, once it has heard an alarm.
    pub fn following(&self) -> Option<Following<'_>> {
        let membership = self.membership.as_ref()?;
        let alarm = membership.alarm()?;
        let registration = membership.registration();
        Some(Following {
            domain: registration.domain,
            sender: registration.sender,
            unicast: registration.key,
            registrar: membership.registrar(),
            manager: *membership.gate().manager(),
            alarm,
            is_in: membership.held().is_some_and(|held| held.same_start(alarm.state)),
        })
    }

    /// A number for a connection that the node opens for another reason than to register.
    pub fn reserve_conn(&mut self) -> ConnId {
        self.exchange.reserve_conn()
    }

    /// 64 bits of the randomness the member was built with.
    pub fn random(&mut self) -> u64 {
        self.rng.0.next_u64()
    }
}
