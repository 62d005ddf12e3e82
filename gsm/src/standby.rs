//! The other end: a successor follows its manager, to take over when that one is lost (DESIGN: failover; attack A33).
//!
//! It keeps the manager's state in memory alone. The state is believed for two reasons: it came over TLS from a certified
//! manager, and it holds this node's own registration with its own unicast key, which only its manager knows. One of an
//! older start than that of the newest alarm is refused. All of it is wiped when the node is no standby any more.

use std::net::SocketAddr;
use std::time::Duration;

use crypto::{PublicKey, constant_time_eq};
use member::Following;
use protocol::limits::{STANDBY_SILENCE, STANDBYS};
use protocol::{
    Commit, ConnId, Epoch, Follow, Frame, Instant, Peer, Rejected, SenderId, StateId, StatePart, SubgroupId,
    Transmit,
};

use crate::journal::JournalEntry;
use crate::remembered::Ledger;
use crate::replication::Sealed;

/// From asking for a connection to TLS.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Before the next attempt, when one failed or was refused.
const REST: Duration = Duration::from_secs(1);
/// The same where somebody else than a manager of the group answered.
const LONG_REST: Duration = Duration::from_secs(60);
/// How long the state may be of an older start than the newest alarm's: a manager that begins a new term says so by both,
/// and the alarm may be the faster one.
const MAY_BE_BEHIND: Duration = STANDBY_SILENCE;

/// Whom the standby follows: all but the alarm of a [`Following`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Leader {
    subgroup: SubgroupId,
    sender: SenderId,
    key: PublicKey,
    registrar: SocketAddr,
}

impl Leader {
    const fn of(following: &Following<'_>) -> Self {
        Self {
            subgroup: following.domain.subgroup,
            sender: following.sender,
            key: following.manager,
            registrar: following.registrar,
        }
    }
}

/// The connection to the manager.
#[derive(Debug)]
enum Link {
    None,
    Connecting { conn: ConnId, deadline: Instant },
    Open { conn: ConnId, peer: Box<Peer>, parts: Vec<Sealed> },
}

/// What the manager's journal amounts to, and the newest record in it.
#[derive(Debug)]
struct Held {
    ledger: Ledger,
    upto: Commit,
}

impl Held {
    /// The start it is of.
    fn start(&self) -> Option<StateId> {
        let start = self.ledger.start.as_ref()?;
        Some(StateId { term: self.ledger.term, inst: start.inst, epoch: Epoch(0) })
    }
}

/// What the manager asks of a standby that holds everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// To make a start of its own durable.
    TakeOffice,
    /// To go on with it: the takeover is signed.
    GoOn(Vec<u8>),
}

/// A member's half that follows its manager.
#[derive(Debug)]
pub(crate) struct Standby {
    leader: Option<Leader>,
    link: Link,
    held: Option<Held>,
    /// No attempt before this.
    rests: Option<Instant>,
    /// Since when the state is of an older start than the newest alarm's.
    behind: Option<Instant>,
}

impl Standby {
    pub(crate) const fn new() -> Self {
        Self { leader: None, link: Link::None, held: None, rests: None, behind: None }
    }

    /// Whether a connection is this one's.
    pub(crate) fn is_on(&self, conn: ConnId) -> bool {
        self.conn() == Some(conn)
    }

    pub(crate) const fn conn(&self) -> Option<ConnId> {
        match &self.link {
            Link::None => None,
            Link::Connecting { conn, .. } | Link::Open { conn, .. } => Some(*conn),
        }
    }

    /// Ends everything and wipes what it holds. Returns what closes the connection.
    pub(crate) fn stop(&mut self) -> Option<Transmit> {
        let close = self.conn().map(|conn| Transmit::Close { conn });
        *self = Self { rests: self.rests, ..Self::new() };
        close
    }

    /// Where to connect now, if it is time: the node is one of the first successors by the newest alarm, and holds a key. What it followed
    /// before and should not any more it leaves, which the first transmit does. `following` is `None` for a node that is
    /// in no subgroup, or cannot manage one.
    pub(crate) fn tend(
        &mut self,
        now: Instant,
        following: Option<&Following<'_>>,
    ) -> (Option<Transmit>, Option<SocketAddr>) {
        let place = |following: &&Following<'_>| {
            following.alarm.successors.iter().position(|sender| *sender == following.sender)
        };
        let Some((following, place)) = following.and_then(|of| Some((of, place(&of)?))) else {
            return (self.stop(), None);
        };
        let mut close = None;
        if self.leader.is_some_and(|leader| leader != Leader::of(following)) {
            close = self.stop();
            self.rests = None;
        }
        self.leader = Some(Leader::of(following));
        if self.is_outlived(now, following) {
            let outlived = self.stop();
            close = close.or(outlived);
            self.leader = Some(Leader::of(following));
        }
        let free = matches!(self.link, Link::None) && self.rests.is_none_or(|rests| rests <= now);
        (close, (free && following.is_in && place < STANDBYS).then_some(following.registrar))
    }

    /// Whether what it holds is of no use any more: of a start that is over, or no longer told of what happens.
    fn is_outlived(&mut self, now: Instant, following: &Following<'_>) -> bool {
        let Some(held) = &self.held else {
            self.behind = None;
            return false;
        };
        let alarm = following.alarm;
        let over = held.start() < Some(alarm.state.at(Epoch(0)));
        let dropped =
            matches!(self.link, Link::None) && !alarm.successors_in_step().contains(&following.sender);
        if !over {
            self.behind = None;
            return dropped;
        }
        *self.behind.get_or_insert(now) + MAY_BE_BEHIND <= now
    }

    /// The connection was asked for.
    pub(crate) fn connecting(&mut self, now: Instant, conn: ConnId) {
        self.link = Link::Connecting { conn, deadline: now + CONNECT_DEADLINE };
    }

    /// The next instant at which [`Standby::on_due`] or [`Standby::tend`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let deadline = match &self.link {
            Link::Connecting { deadline, .. } => Some(*deadline),
            Link::None if self.leader.is_some() => self.rests,
            Link::None | Link::Open { .. } => None,
        };
        [deadline, self.behind.map(|behind| behind + MAY_BE_BEHIND)].into_iter().flatten().min()
    }

    /// Gives up a connection that takes too long, and notes a rest that is over.
    pub(crate) fn on_due(&mut self, now: Instant) -> Option<Transmit> {
        self.rests = self.rests.filter(|rests| *rests > now);
        let Link::Connecting { conn, deadline } = self.link else { return None };
        (deadline <= now).then(|| {
            self.on_closed(now);
            Transmit::Close { conn }
        })
    }

    /// TLS stands. `shut_out` says that the group has revoked the peer.
    pub(crate) fn on_opened(
        &mut self,
        now: Instant,
        peer: Peer,
        shut_out: bool,
        group: protocol::GroupId,
    ) -> Result<Transmit, Rejected> {
        let (Link::Connecting { conn, .. }, Some(leader)) = (&self.link, self.leader) else {
            return Err(Rejected::UnknownConnection);
        };
        let conn = *conn;
        if shut_out || !peer.roles.manager {
            self.link = Link::None;
            self.rests = Some(now + LONG_REST);
            return Ok(Transmit::Close { conn });
        }
        self.link = Link::Open { conn, peer: Box::new(peer), parts: Vec::new() };
        let follow = Follow { group, subgroup: leader.subgroup, sender: leader.sender };
        Ok(Transmit::Frame { conn, bytes: Frame::Follow(follow).encode() })
    }

    /// The connection is gone, or will not be. What is held is kept: that may be the loss it is kept for.
    pub(crate) fn on_closed(&mut self, now: Instant) {
        self.link = Link::None;
        self.rests = Some(now + REST);
    }

    /// The manager speaks. On `Err` the connection is to be closed, and nothing is held any more.
    pub(crate) fn on_frame(
        &mut self,
        now: Instant,
        bytes: &[u8],
        following: &Following<'_>,
    ) -> Result<(Option<Frame>, Option<Request>), Rejected> {
        let taken = self.take_frame(bytes, following);
        if taken.is_err() {
            (self.link, self.held) = (Link::None, None);
            self.rests = Some(now + REST);
        }
        taken
    }

    fn take_frame(
        &mut self,
        bytes: &[u8],
        following: &Following<'_>,
    ) -> Result<(Option<Frame>, Option<Request>), Rejected> {
        let Link::Open { peer, .. } = &self.link else { return Err(Rejected::OutOfPlace) };
        match Frame::decode(bytes, peer)?.into_inner() {
            Frame::State(part) => {
                let upto = self.take_part(part, following)?;
                Ok((Some(Frame::Followed(upto)), None))
            }
            Frame::Change(commit, bytes) => {
                self.take_change(commit, &Sealed::new(bytes))?;
                Ok((Some(Frame::Followed(commit)), None))
            }
            Frame::Office(upto) => {
                let complete = self.held.as_ref().is_some_and(|held| held.upto == upto);
                let current = self.is_of(following.alarm.state);
                if complete && current {
                    Ok((None, Some(Request::TakeOffice)))
                } else {
                    Err(Rejected::OutOfPlace)
                }
            }
            Frame::Warrant(takeover) => Ok((None, Some(Request::GoOn(takeover)))),
            Frame::Refused(_) => Err(Rejected::Refused),
            _ => Err(Rejected::OutOfPlace),
        }
    }

    /// A part of the state, in order; the last one makes it whole. Returns what is held by then.
    fn take_part(&mut self, part: StatePart, following: &Following<'_>) -> Result<Commit, Rejected> {
        let StatePart { upto, part, parts, bytes } = part;
        let bytes = Sealed::new(bytes);
        let Link::Open { parts: kept, .. } = &mut self.link else { return Err(Rejected::OutOfPlace) };
        if self.held.is_some() && kept.is_empty() && part == 0 {
            // It begins anew on a new connection; what was held until now is older.
            self.held = None;
        }
        if self.held.is_some() || usize::from(part) != kept.len() || part >= parts {
            return Err(Rejected::OutOfPlace);
        }
        kept.push(bytes);
        if part + 1 < parts {
            return Ok(Commit(0));
        }
        let kept = std::mem::take(kept);
        // All room at once: a buffer that grows leaves secrets behind where it was.
        let mut state = Vec::with_capacity(kept.iter().map(|part| part.as_bytes().len()).sum());
        kept.iter().for_each(|part| state.extend_from_slice(part.as_bytes()));
        let ledger = Ledger::decode(Sealed::new(state).as_bytes())?;
        self.held = Some(believed(Held { ledger, upto }, following)?);
        Ok(upto)
    }

    /// The next record.
    fn take_change(&mut self, commit: Commit, bytes: &Sealed) -> Result<(), Rejected> {
        let held = self.held.as_mut().ok_or(Rejected::OutOfPlace)?;
        if commit.0 != held.upto.0 + 1 {
            return Err(Rejected::OutOfPlace);
        }
        let entry = JournalEntry::decode(bytes.as_bytes())?;
        if matches!(entry, JournalEntry::SteppedDown | JournalEntry::TookOver { .. }) {
            return Err(Rejected::OutOfPlace);
        }
        held.ledger.apply(entry).map_err(|_| Rejected::Malformed)?;
        held.upto = commit;
        Ok(())
    }

    fn is_of(&self, state: StateId) -> bool {
        let start = self.held.as_ref().and_then(Held::start);
        start.is_some_and(|start| start.same_start(state))
    }

    /// Its turn among those who may take over, from 0, by the newest alarm: `None` unless that names this node as in step
    /// and everything the alarm vouches for is held.
    pub(crate) fn turn(&self, following: &Following<'_>) -> Option<u32> {
        let held = self.held.as_ref()?;
        if held.upto.0 < following.alarm.journal
            || !self.is_of(following.alarm.state)
            || self.leader != Some(Leader::of(following))
        {
            return None;
        }
        let in_step = following.alarm.successors_in_step();
        let place = in_step.iter().position(|sender| *sender == following.sender)?;
        u32::try_from(place).ok()
    }

    /// The newest record that is held.
    pub(crate) fn followed(&self) -> Option<Commit> {
        self.held.as_ref().map(|held| held.upto)
    }

    /// What is held.
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.held.as_ref().map(|held| &held.ledger)
    }

    /// Takes what is held: this node manages from now on.
    pub(crate) fn take(&mut self) -> Option<Ledger> {
        self.held.take().map(|held| held.ledger)
    }
}

/// A state that only this node's manager can have sent, of no older start than its newest alarm.
fn believed(held: Held, following: &Following<'_>) -> Result<Held, Rejected> {
    let ledger = &held.ledger;
    let start = ledger.start.as_ref().ok_or(Rejected::NotAuthentic)?;
    let own = ledger.senders.get(&following.sender).and_then(|reg_no| ledger.members.get(reg_no));
    let own = own.ok_or(Rejected::NotAuthentic)?;
    let ours = constant_time_eq(own.unicast.expose(), following.unicast.expose())
        && start.subgroup == following.domain.subgroup
        && start.promised.manager == following.manager;
    if !ours {
        return Err(Rejected::NotAuthentic);
    }
    if held.start() < Some(following.alarm.state.at(Epoch(0))) {
        return Err(Rejected::Stale);
    }
    Ok(held)
}
