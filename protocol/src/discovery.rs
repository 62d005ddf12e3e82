//! How a node finds its group's manager, or becomes it (GSM 2.1, 3.1): FIND, REPLY, HELD, CLAIM, PRESENCE.
//!
//! All of it is multicast on the group's discovery address ([`GroupId::discovery_ip`](crate::GroupId::discovery_ip)) or
//! unicast in answer to that, under the common envelope with suite 0x0001 and subgroup 0: a node knows neither before it
//! has found its manager. FIND, REPLY and the outside of HELD are believed by nobody, hence [`Hint`]; a claim and a
//! presence are signed by a key that a certificate vouches for ([`Mandate`]).

mod claim;
mod gate;
mod mandate;
mod presence;
mod search;

use crypto::Suite;

use crate::envelope::{DatagramKind, Envelope};
use crate::ids::{GroupId, SubgroupId};
use crate::keys::Domain;
use crate::machine::Rejected;

pub use claim::{Claim, ClaimRank};
pub use gate::DiscoveryGate;
pub use mandate::{Certified, Certifier, Mandate};
pub use presence::Presence;
pub use search::{Find, FindKind, Held, Reply};

/// A message that nobody vouches for. It may be answered or join a short list of candidates, nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hint<M>(M);

impl<M> Hint<M> {
    /// What was said.
    pub const fn said(&self) -> &M {
        &self.0
    }
}

/// The domain that stands in the envelope of discovery messages.
const fn nowhere(group: GroupId) -> Domain {
    Domain { suite: Suite::Aes256Ctr, group, subgroup: SubgroupId(0) }
}

/// Refuses a datagram that is not a discovery message of `kind` for `group` in the one form allowed for it.
fn expect(kind: DatagramKind, group: GroupId, datagram: &[u8]) -> Result<(), Rejected> {
    let envelope = Envelope::for_group(datagram, group)?;
    if envelope.kind != kind {
        return Err(Rejected::NotForUs);
    }
    if envelope.domain == nowhere(group) { Ok(()) } else { Err(Rejected::Malformed) }
}
