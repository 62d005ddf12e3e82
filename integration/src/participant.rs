//! A node's part in the group: manager or member.

use gsm::{Gsm, GsmEvent};
use member::{Member, MemberEvent};
use protocol::{Commit, Input, Instant, Machine, Record, Rejected, Transmit};

use crate::cast::Player;

/// An event of either machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ParticipantEvent {
    /// Of the manager.
    Manager(GsmEvent),
    /// Of the member.
    Member(MemberEvent),
}

/// Either machine.
#[derive(Debug)]
pub enum Participant {
    /// The manager.
    Manager(Box<Gsm>),
    /// A member.
    Member(Box<Member>),
}

impl Machine for Participant {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        match self {
            Self::Manager(gsm) => gsm.handle_input(now, input),
            Self::Member(member) => member.handle_input(now, input),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Manager(gsm) => gsm.handle_timeout(now),
            Self::Member(member) => member.handle_timeout(now),
        }
    }

    fn poll_record(&mut self) -> Option<Record> {
        match self {
            Self::Manager(gsm) => gsm.poll_record(),
            Self::Member(member) => member.poll_record(),
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        match self {
            Self::Manager(gsm) => gsm.poll_transmit(),
            Self::Member(member) => member.poll_transmit(),
        }
    }

    fn poll_event(&mut self) -> Option<ParticipantEvent> {
        match self {
            Self::Manager(gsm) => gsm.poll_event().map(ParticipantEvent::Manager),
            Self::Member(member) => member.poll_event().map(ParticipantEvent::Member),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Manager(gsm) => gsm.poll_timeout(),
            Self::Member(member) => member.poll_timeout(),
        }
    }
}

impl Player for Participant {
    fn join(&mut self, now: Instant) {
        if let Self::Member(member) = self {
            member.join(now);
        }
    }

    fn leave(&mut self, now: Instant) {
        if let Self::Member(member) = self {
            member.leave(now);
        }
    }

    fn member(&self) -> Option<&Member> {
        match self {
            Self::Manager(_) => None,
            Self::Member(member) => Some(member),
        }
    }

    fn gsm(&self) -> Option<&Gsm> {
        match self {
            Self::Manager(gsm) => Some(gsm),
            Self::Member(_) => None,
        }
    }

    fn gsm_mut(&mut self) -> Option<&mut Gsm> {
        match self {
            Self::Manager(gsm) => Some(gsm),
            Self::Member(_) => None,
        }
    }

    fn compaction(&mut self) -> Option<(Commit, Vec<u8>)> {
        None
    }
}
