//! A member that behaves like any other and keeps what it ought to forget.

use std::net::SocketAddr;

use conclave::{Driven, Effect, Participant, ParticipantEvent};
use protocol::{Frame, Input, Instant, Machine, Peer, Record, Rejected, Transmit};

use super::Shared;
use super::hoard::lock;

/// A member that behaves like any other and keeps what it ought to forget.
pub(super) struct Hoarder {
    member: Participant,
    /// Its manager, and the channel secret it shares with it.
    peer: Option<Peer>,
    hoard: Shared,
}

impl Hoarder {
    pub(super) const fn new(member: Participant, hoard: Shared) -> Self {
        Self { member, peer: None, hoard }
    }

    /// Notes what an input brings besides keys: who is at the other end, and what is granted.
    fn note(&mut self, input: &Input<'_>) {
        match input {
            Input::Opened { peer, .. } => self.peer = Some(peer.clone()),
            Input::Frame { bytes, .. } => {
                let Some(peer) = &self.peer else { return };
                if let Ok(Frame::Grant(grant, _)) = Frame::decode(bytes, peer).map(|frame| frame.into_inner())
                {
                    lock(&self.hoard).keep_registration(peer, &grant);
                }
            }
            _ => {}
        }
    }

    fn hoard_path(&self) {
        let Some(member) = self.member.member() else { return };
        let mut hoard = lock(&self.hoard);
        let start = member.held().or_else(|| hoard.grant().map(|grant| grant.state));
        if let (Some(path), Some(start)) = (member.key_path(), start) {
            hoard.keep_path(start, path);
        }
    }
}

impl Machine for Hoarder {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        self.note(&input);
        let taken = self.member.handle_input(now, input);
        self.hoard_path();
        taken
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.member.handle_timeout(now);
        self.hoard_path();
    }

    fn poll_record(&mut self) -> Option<Record> {
        self.member.poll_record()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.member.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<ParticipantEvent> {
        let event = self.member.poll_event()?;
        if let Some(ring) = event.ring() {
            lock(&self.hoard).keep_ring(ring);
        }
        Some(event)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.member.poll_timeout()
    }
}

impl Driven for Hoarder {
    fn effect(event: &ParticipantEvent) -> Effect<'_> {
        Participant::effect(event)
    }

    fn discovers_at(&self) -> Option<SocketAddr> {
        self.member.discovers_at()
    }
}

impl AsMut<Participant> for Hoarder {
    fn as_mut(&mut self) -> &mut Participant {
        &mut self.member
    }
}
