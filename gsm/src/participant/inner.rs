//! The machine that is at work, whichever it is.

use member::Member;
use protocol::{Input, Instant, Machine, Record, Rejected, Transmit};

use super::event::ParticipantEvent;
use crate::gsm::Gsm;

/// The machine that is at work.
#[derive(Debug)]
pub(super) enum Inner {
    Member(Box<Member>),
    Manager(Box<Gsm>),
    /// Between two machines, for the length of one call.
    Neither,
}

impl Inner {
    pub(super) fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        match self {
            Self::Member(member) => member.handle_input(now, input),
            Self::Manager(gsm) => gsm.handle_input(now, input),
            Self::Neither => Err(Rejected::NotForUs),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Member(member) => member.handle_timeout(now),
            Self::Manager(gsm) => gsm.handle_timeout(now),
            Self::Neither => {}
        }
    }

    pub(super) fn poll_record(&mut self) -> Option<Record> {
        match self {
            Self::Member(member) => member.poll_record(),
            Self::Manager(gsm) => gsm.poll_record(),
            Self::Neither => None,
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        match self {
            Self::Member(member) => member.poll_transmit(),
            Self::Manager(gsm) => gsm.poll_transmit(),
            Self::Neither => None,
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<ParticipantEvent> {
        match self {
            Self::Member(member) => member.poll_event().map(ParticipantEvent::Member),
            Self::Manager(gsm) => gsm.poll_event().map(ParticipantEvent::Manager),
            Self::Neither => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Member(member) => member.poll_timeout(),
            Self::Manager(gsm) => gsm.poll_timeout(),
            Self::Neither => None,
        }
    }
}
