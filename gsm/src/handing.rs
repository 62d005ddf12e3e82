//! A manager hands its office to a standby, at its operator's word (DESIGN: failover, planned).
//!
//! It admits nobody and cuts nothing from then on. When the standby holds everything it is asked to take the office; when
//! its start is durable there, this manager makes durable that it is one no more, and signs the takeover. Until then any
//! failure leaves everything as it was.

use std::time::Duration;

use protocol::limits::MAX_TERM_JUMP;
use protocol::{
    CloseReason, Commit, ConnId, Epoch, Frame, Instant, Office, OfficeTaken, Rejected, SenderId, Takeover,
    Transmit,
};

use crate::event::{GsmEvent, StandbyGone};
use crate::gsm::{Gsm, Timer};
use crate::journal::JournalEntry;
use crate::operator::RequestError;

/// How long each step may take.
const STEP_DEADLINE: Duration = Duration::from_secs(3);
/// How often members are told at once; the new manager repeats it.
const TOLD: usize = 3;

/// How far a handover is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Handing {
    /// There is none.
    #[default]
    None,
    /// The standby does not hold everything yet, or a cut is still on paper.
    Draining { conn: ConnId, deadline: Instant },
    /// It was asked.
    Offered { conn: ConnId, deadline: Instant },
    /// Its start is durable there; the end of this manager is not durable yet.
    Recording { conn: ConnId, commit: Commit, office: Office },
    /// This is no manager any more.
    Gone,
}

impl Handing {
    /// Whether a handover is under way or done.
    pub(crate) const fn is_under_way(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether the end of this manager is decided.
    pub(crate) const fn is_decided(&self) -> bool {
        matches!(self, Self::Recording { .. } | Self::Gone)
    }

    /// When it has taken too long.
    pub(crate) const fn due(&self) -> Option<Instant> {
        match self {
            Self::Draining { deadline, .. } | Self::Offered { deadline, .. } => Some(*deadline),
            Self::None | Self::Recording { .. } | Self::Gone => None,
        }
    }

    const fn undecided(&self) -> Option<ConnId> {
        match self {
            Self::Draining { conn, .. } | Self::Offered { conn, .. } => Some(*conn),
            Self::None | Self::Recording { .. } | Self::Gone => None,
        }
    }
}

impl Gsm {
    /// Hands the office to a standby in step: to this one, or to the first. Returns whom. Everybody stays where it is;
    /// [`GsmEvent::HandedOver`] follows and then [`GsmEvent::SteppedDown`], or [`GsmEvent::NotHandedOver`] and it goes on
    /// managing.
    pub fn hand_over(&mut self, now: Instant, to: Option<SenderId>) -> Result<SenderId, RequestError> {
        self.replication.at(now);
        if self.handing.is_under_way() {
            return Err(RequestError::HandingOver);
        }
        if self.merging.is_giving_way() || !self.is_serving() {
            return Err(RequestError::GivingWay);
        }
        let mut in_step: Vec<_> = self.replication.in_step().collect();
        in_step.sort_unstable_by_key(|(_, sender)| *sender);
        let chosen = match to {
            None => in_step.first().ok_or(RequestError::NoStandby)?,
            Some(to) => in_step.iter().find(|(_, sender)| *sender == to).ok_or(RequestError::NotInStep)?,
        };
        let (conn, sender) = *chosen;
        self.handing = Handing::Draining { conn, deadline: now + STEP_DEADLINE };
        self.timers.stop(Timer::Rekey);
        self.advance_handing(now);
        Ok(sender)
    }

    /// Whether the end of this manager is decided, in favour of whomever.
    pub(crate) const fn is_leaving(&self) -> bool {
        self.merging.is_leaving() || self.handing.is_decided()
    }

    /// Whether it gives way, decided or not: nobody is admitted, and nothing is cut.
    pub(crate) const fn is_giving_way(&self) -> bool {
        self.merging.is_giving_way() || self.handing.is_under_way()
    }

    /// The store or a standby has reported: the next step, if it is time.
    pub(crate) fn advance_handing(&mut self, now: Instant) {
        match self.handing {
            Handing::Draining { conn, .. } => {
                let last = self.outbox.last_commit();
                let drained = !self.keys.is_cutting() && self.durable == last;
                if drained && self.replication.has(conn, last) {
                    let bytes = Frame::Office(last).encode();
                    self.outbox.send(Transmit::Frame { conn, bytes });
                    self.handing = Handing::Offered { conn, deadline: now + STEP_DEADLINE };
                }
            }
            Handing::Recording { conn, commit, office } => {
                if commit <= self.durable || self.read_only {
                    self.hand_on(conn, office);
                }
            }
            Handing::None | Handing::Offered { .. } | Handing::Gone => {}
        }
    }

    /// The standby's start is durable. It is believed for being the member that follows; its key is the one it registered.
    pub(crate) fn on_office_taken(
        &mut self,
        now: Instant,
        conn: ConnId,
        taken: &OfficeTaken,
    ) -> Result<(), Rejected> {
        let Handing::Offered { conn: asked, .. } = self.handing else { return Err(Rejected::OutOfPlace) };
        let sender = self.replication.sender(conn).filter(|_| asked == conn).ok_or(Rejected::OutOfPlace)?;
        let listed = self.members.get(sender).ok_or(Rejected::UnknownSender)?;
        let old = self.keys.state();
        let jump = taken.start.term.0.saturating_sub(old.term.0);
        if listed.signing != taken.key
            || taken.start.epoch != Epoch(0)
            || !(1..=MAX_TERM_JUMP).contains(&jump)
        {
            self.not_handed_over(now, CloseReason::Refused("the standby's start is none".into()));
            return Err(Rejected::NotAuthentic);
        }
        let OfficeTaken { start, key, address, registrar } = *taken;
        let commit = self.record(JournalEntry::SteppedDown);
        let office = Office { old, start, key, sender, address, registrar };
        self.handing = Handing::Recording { conn, commit, office };
        self.dismiss_sessions();
        self.advance_handing(now);
        Ok(())
    }

    /// It is durable that this is no manager any more: members and the new manager hear of it.
    fn hand_on(&mut self, conn: ConnId, office: Office) {
        self.handing = Handing::Gone;
        let identity = self.replication.identity(conn).unwrap_or_default();
        let takeover = Takeover::handed(&self.domain, office, &*self.signer.0);
        self.outbox.send(Transmit::Frame { conn, bytes: Frame::Warrant(takeover.clone()).encode() });
        for _ in 0..TOLD {
            let transmit = self.transmitter.multicast(takeover.clone());
            self.outbox.send(transmit);
        }
        self.outbox.on_stored(self.durable);
        self.dismiss_standbys_after_words();
        let (sender, subgroup) = (office.sender, self.domain.subgroup);
        self.outbox.tell(GsmEvent::HandedOver { identity: identity.clone(), sender });
        self.outbox.tell(GsmEvent::SteppedDown { to: office.registrar, identity, subgroup });
    }

    /// A standby is out of step, or gone: if it was to take the office, it does not.
    pub(crate) fn on_standby_out(&mut self, conn: ConnId) {
        if self.handing.undecided() == Some(conn) {
            self.not_handed_over(self.replication.time(), CloseReason::ByPeer);
        }
    }

    /// Something has to be recorded that the standby does not hold: whatever it was asked is void.
    pub(crate) fn withdraw_offer(&mut self) {
        if matches!(self.handing, Handing::Offered { .. }) {
            self.not_handed_over(self.replication.time(), CloseReason::Refused("something changed".into()));
        }
    }

    /// The deadline of a step.
    pub(crate) fn on_handing_due(&mut self, now: Instant) {
        if self.handing.due().is_some_and(|due| due <= now) {
            self.not_handed_over(now, CloseReason::TimedOut);
        }
    }

    /// It goes on managing. What the standby has prepared it drops with the connection.
    fn not_handed_over(&mut self, now: Instant, why: CloseReason) {
        let Some(conn) = self.handing.undecided() else { return };
        let identity = self.replication.identity(conn).unwrap_or_default();
        let offered = matches!(std::mem::take(&mut self.handing), Handing::Offered { .. });
        self.outbox.tell(GsmEvent::NotHandedOver { identity, why });
        if offered && self.replication.is_on(conn) {
            self.close_standby(conn, StandbyGone::Closed);
        }
        if self.keys.has_pending() || self.step_leaves {
            self.schedule_cut(now);
        }
    }
}
