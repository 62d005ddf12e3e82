//! What a host's part in a group tells its application and its driver.

use data::KeyRing;
use member::{MemberEvent, Place};

use crate::event::GsmEvent;

/// In which mode a node is (GSM 2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is a member of a subgroup, or searches for one.
    Member,
    /// It manages a subgroup.
    Manager,
}

/// Something that happened to a node of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ParticipantEvent {
    /// It happened to the member.
    Member(MemberEvent),
    /// It happened to the manager.
    Manager(GsmEvent),
    /// The node is in this mode from here on. The first event of all; what comes after it is of that mode.
    Became(Mode),
    /// The subgroup that this node manages is multicast here: listen there from now on. A member learns it from
    /// [`MemberEvent::Granted`] and [`MemberEvent::Stays`]; [`ParticipantEvent::place`] knows all three.
    Place(Place),
}

impl ParticipantEvent {
    /// Where the driver listens from now on, if that is what happened.
    pub const fn place(&self) -> Option<&Place> {
        match self {
            Self::Place(place) | Self::Member(MemberEvent::Granted(place) | MemberEvent::Stays(place)) => {
                Some(place)
            }
            _ => None,
        }
    }

    /// The data plane's keys from now on, if that is what happened; they replace the ones before, of whichever mode.
    pub const fn ring(&self) -> Option<&KeyRing> {
        match self {
            Self::Member(MemberEvent::KeyRing(ring)) | Self::Manager(GsmEvent::KeyRing(ring)) => Some(ring),
            _ => None,
        }
    }
}
