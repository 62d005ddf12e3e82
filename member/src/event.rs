//! What a member tells its application and its driver.

use std::net::SocketAddr;

use data::KeyRing;
use protocol::{CloseReason, Grant, Refusal, RegNo, SenderId, StateId, SubgroupId, Suspicion};

/// Something that happened to a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberEvent {
    /// The manager granted a place: listen on these addresses from now on. The first key update may come before
    /// [`MemberEvent::Admitted`].
    Granted(Place),
    /// The join is durable at the manager; the next key update lets the member in.
    Admitted,
    /// What another manager had granted came to nothing: listen again where the membership is that stands.
    Stays(Place),
    /// A new state is held.
    Installed {
        /// Which.
        state: StateId,
        /// Whether it came by an eviction.
        hard: bool,
    },
    /// The data plane's keys changed; this ring replaces the one before.
    KeyRing(KeyRing),
    /// A registrar could not be reached, or TLS refused one of the two. The member tries the next one.
    Unreachable {
        /// Whom it tried.
        registrar: SocketAddr,
        /// Why it failed.
        why: CloseReason,
    },
    /// A manager said no.
    Refused {
        /// Which registrar.
        registrar: SocketAddr,
        /// Why.
        why: Refusal,
    },
    /// The grant of a certified manager did not hold together; the member tries the next one.
    Distrusted {
        /// Which registrar.
        registrar: SocketAddr,
    },
    /// No alarm came for the configured silence. The member keeps its keys, goes on sending and receiving, and looks
    /// around; see [`Ending::Orphaned`].
    ManagerSilent,
    /// The manager that was silent is heard again.
    ManagerBack,
    /// The manager was started again and signed a state of its new term: the member follows it without registering
    /// again.
    ManagerRestarted {
        /// The first state of the new start that was seen.
        state: StateId,
    },
    /// The manager is lost: it is silent, answers no probe, and so many other members say the same of it that a successor
    /// may take over. Told once for each silence. A successor in step shows what is in here to the others.
    ManagerLost {
        /// Of other members, each once; as many as a takeover needs.
        suspicions: Vec<Suspicion>,
        /// The newest signed state.
        known: StateId,
        /// The counter of the newest alarm.
        counter: u64,
    },
    /// Another node manages the subgroup from now on, by right: the member follows it without registering again.
    ManagerChanged {
        /// Its registration.
        by: SenderId,
        /// Its start.
        start: StateId,
    },
    /// The certificate of the manager that the member follows since [`MemberEvent::ManagerChanged`] has come, with this
    /// name: a takeover is too short for it.
    ManagerNamed {
        /// Its identity.
        identity: String,
    },
    /// The node goes from its manager to another one, or to what its manager has become, and keeps its keys until it is
    /// admitted there.
    Moving(Move),
    /// Nobody manages the group: this node claims it. Another one's better claim may still end that.
    Standing,
    /// Nobody objected. The driver takes the member apart ([`Member::into_promotion`](crate::Member::into_promotion))
    /// and starts a manager; the member itself does nothing any more.
    Elected,
    /// The membership ended: the node left, or was put out. No key is held any more.
    Ended(Ending),
}

/// Where a member's subgroup lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The subgroup.
    pub subgroup: SubgroupId,
    /// The member's leaf.
    pub reg_no: RegNo,
    /// Its registration.
    pub sender: SenderId,
    /// The identity in the manager's certificate.
    pub manager: String,
    /// Where control messages are multicast.
    pub control: SocketAddr,
    /// Where data is multicast.
    pub data: SocketAddr,
    /// How many hops multicast may go.
    pub ttl: u8,
}

impl Place {
    /// The place of a grant, by the manager of this identity.
    pub(crate) fn of(grant: &Grant, manager: &str) -> Self {
        Self {
            subgroup: grant.domain.subgroup,
            reg_no: grant.reg_no,
            sender: grant.sender,
            manager: manager.to_owned(),
            control: grant.control,
            data: grant.data,
            ttl: grant.ttl,
        }
    }
}

/// How a membership ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The node left, and the manager acknowledged it.
    Left,
    /// The node left; no manager answered, so the manager will miss its keepalives instead.
    LeftUnheard,
    /// The manager will not have it any more.
    PutOut,
    /// No valid alarm came for [`Timing::t_hard`](protocol::Timing::t_hard). The search begins anew.
    Orphaned,
}

/// Why a node goes to another manager while it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// Its manager said so, and said where to.
    SentAway,
    /// Its manager is silent, and another one of the group is there.
    ManagerLost,
    /// Its manager came back under another subgroup: it lost its state.
    ManagerForgot,
    /// Its manager answers, but nothing it says to all comes this far, and another one of the group is near.
    OutOfReach,
    /// Its manager does not answer it any more, or cannot be followed.
    NotKnown,
}
