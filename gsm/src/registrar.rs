//! The registrar (GSM 2.1): authenticated nodes ask to join, and it decides, confirms and admits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crypto::constant_time_eq;
use protocol::{
    Confirm, ConnId, Domain, Follow, Frame, Grant, Handover, Instant, Join, Peer, Refusal, RegNo,
    RegistrationKeys, Rejected, confirmation,
};

use crate::acl::AccessList;
use crate::policy::Policy;

/// Registrations under way at once; more are closed at once. The listener has limits of its own before TLS.
const MAX_SESSIONS: usize = 4_096;
/// From the connection to the confirmation.
const SESSION_DEADLINE: Duration = Duration::from_secs(5);
/// From the confirmation on: the record must become durable, and the member closes when it has its answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// How far a registration is.
#[derive(Debug)]
enum Stage {
    AwaitJoin,
    /// It asked while the manager was starting.
    Waiting,
    AwaitConfirm(Box<Offer>),
    /// Admitted; the answer waits for its record.
    Admitted,
    /// Another manager gives way to this one.
    Handing,
}

/// A place offered and not confirmed yet.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) join: Join,
    pub(crate) grant: Grant,
    pub(crate) keys: RegistrationKeys,
}

#[derive(Debug)]
struct Session {
    peer: Peer,
    stage: Stage,
    deadline: Instant,
}

/// What a frame asks the manager to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// The node may join: offer it a place.
    Offer(Join),
    /// Both sides have confirmed the keys: admit it.
    Admit(Box<Offer>),
    /// Another manager gives way: take whom it had shut out.
    TakeOver(Handover),
    /// A successor wants to be told everything: see whether it may.
    Follow(Follow),
    /// Say no.
    Refuse(Refusal),
}

/// Everything registration is decided by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) domain: &'a Domain,
    pub(crate) access: &'a AccessList,
    pub(crate) policy: &'a Policy,
    /// Whether the store failed.
    pub(crate) read_only: bool,
    /// Whether this manager hands its office on.
    pub(crate) hands_over: bool,
    /// Whether another manager may give way to this one now.
    pub(crate) takes_over: bool,
}

impl Rules<'_> {
    /// Being certified is not being authorised: role, revocations, access list and whether a join could be made
    /// durable, in this order. Judged at JOIN and again at CONFIRM.
    pub(crate) fn judge(&self, peer: &Peer) -> Result<(), Refusal> {
        if !peer.roles.member {
            return Err(Refusal::NotCertified);
        }
        self.judge_node(peer)?;
        if self.hands_over { Err(Refusal::NotManager) } else { Ok(()) }
    }

    /// The same for a successor that wants to follow; whether it is one is for the member list to say.
    fn judge_standby(&self, peer: &Peer) -> Result<(), Refusal> {
        if !peer.roles.manager {
            return Err(Refusal::NotCertified);
        }
        self.judge(peer)
    }

    /// The same for a manager that gives way: one that was evicted here shuts nobody out. It ends at that word, which is given
    /// only by a manager that stays.
    fn judge_manager(&self, peer: &Peer) -> Result<(), Refusal> {
        if !peer.roles.manager {
            return Err(Refusal::NotCertified);
        }
        if !self.takes_over {
            return Err(Refusal::NotManager);
        }
        self.judge_node(peer)
    }

    fn judge_node(&self, peer: &Peer) -> Result<(), Refusal> {
        if self.policy.is_revoked(&peer.identity, &peer.certificate) {
            return Err(Refusal::Revoked);
        }
        if !self.access.allows(&peer.identity) {
            return Err(Refusal::Denied);
        }
        if self.read_only {
            return Err(Refusal::ReadOnly);
        }
        Ok(())
    }
}

/// The registrations under way.
#[derive(Debug, Default)]
pub(crate) struct Registrar {
    sessions: BTreeMap<ConnId, Session>,
    /// Leaves offered and not confirmed.
    offered: BTreeSet<RegNo>,
}

impl Registrar {
    pub(crate) const fn new() -> Self {
        Self { sessions: BTreeMap::new(), offered: BTreeSet::new() }
    }

    /// A node connected, authenticated by TLS. `Err` when there are too many: the connection is closed unheard.
    pub(crate) fn on_accepted(&mut self, now: Instant, conn: ConnId, peer: Peer) -> Result<(), Rejected> {
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(Rejected::Busy);
        }
        let deadline = now + SESSION_DEADLINE;
        self.sessions.insert(conn, Session { peer, stage: Stage::AwaitJoin, deadline });
        Ok(())
    }

    /// A frame came. Judged anew at each step, for an eviction may fall between two.
    pub(crate) fn on_frame(
        &self,
        conn: ConnId,
        bytes: &[u8],
        rules: &Rules<'_>,
    ) -> Result<Request, Rejected> {
        let session = self.sessions.get(&conn).ok_or(Rejected::UnknownConnection)?;
        let frame = Frame::decode(bytes, &session.peer)?;
        match (frame.into_inner(), &session.stage) {
            (Frame::Join(join), Stage::AwaitJoin) => {
                if join.group != rules.domain.group {
                    return Ok(Request::Refuse(Refusal::UnknownGroup));
                }
                Ok(rules.judge(&session.peer).map_or_else(Request::Refuse, |()| Request::Offer(join)))
            }
            (Frame::Confirm(confirm), Stage::AwaitConfirm(offer)) => {
                if !confirms(offer, &confirm) {
                    return Ok(Request::Refuse(Refusal::NotConfirmed));
                }
                let verdict = rules.judge(&session.peer);
                Ok(verdict.map_or_else(Request::Refuse, |()| Request::Admit(offer.clone())))
            }
            (Frame::Handover(handover), Stage::AwaitJoin | Stage::Handing) => {
                if handover.group != rules.domain.group {
                    return Ok(Request::Refuse(Refusal::UnknownGroup));
                }
                let verdict = rules.judge_manager(&session.peer);
                Ok(verdict.map_or_else(Request::Refuse, |()| Request::TakeOver(handover)))
            }
            (Frame::Follow(follow), Stage::AwaitJoin) => {
                if follow.group != rules.domain.group {
                    return Ok(Request::Refuse(Refusal::UnknownGroup));
                }
                let verdict = rules.judge_standby(&session.peer);
                Ok(verdict.map_or_else(Request::Refuse, |()| Request::Follow(follow)))
            }
            _ => Err(Rejected::OutOfPlace),
        }
    }

    /// Another manager hands over on this connection.
    pub(crate) fn handing(&mut self, now: Instant, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.stage = Stage::Handing;
            session.deadline = now + ANSWER_DEADLINE;
        }
    }

    /// The connections of those who are not in yet.
    pub(crate) fn unfinished(&self) -> Vec<ConnId> {
        let waits = |stage: &Stage| !matches!(stage, Stage::Admitted);
        self.sessions.iter().filter(|(_, session)| waits(&session.stage)).map(|(conn, _)| *conn).collect()
    }

    /// The connections on which a place was offered that is not confirmed yet.
    pub(crate) fn offering(&self) -> Vec<ConnId> {
        let offered = |stage: &Stage| matches!(stage, Stage::AwaitConfirm(_));
        self.sessions.iter().filter(|(_, session)| offered(&session.stage)).map(|(conn, _)| *conn).collect()
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self, conn: ConnId) -> Option<&Peer> {
        self.sessions.get(&conn).map(|session| &session.peer)
    }

    /// Whether a leaf is offered to somebody.
    pub(crate) fn is_offered(&self, reg_no: RegNo) -> bool {
        self.offered.contains(&reg_no)
    }

    /// The JOIN of this connection is answered later.
    pub(crate) fn waits(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.stage = Stage::Waiting;
        }
    }

    /// All connections.
    pub(crate) fn connections(&self) -> Vec<ConnId> {
        self.sessions.keys().copied().collect()
    }

    /// A place was offered on this connection.
    pub(crate) fn offered(&mut self, conn: ConnId, offer: Offer) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            self.offered.insert(offer.grant.reg_no);
            session.stage = Stage::AwaitConfirm(Box::new(offer));
        }
    }

    /// The node of this connection was admitted; its leaf is on the member list now.
    pub(crate) fn admitted(&mut self, now: Instant, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(&conn)
            && let Stage::AwaitConfirm(offer) = std::mem::replace(&mut session.stage, Stage::Admitted)
        {
            session.deadline = now + ANSWER_DEADLINE;
            self.offered.remove(&offer.grant.reg_no);
        }
    }

    /// The connection is gone, or is being closed: an offer that was not confirmed is void.
    pub(crate) fn forget(&mut self, conn: ConnId) -> Option<Peer> {
        let session = self.sessions.remove(&conn)?;
        if let Stage::AwaitConfirm(offer) = session.stage {
            self.offered.remove(&offer.grant.reg_no);
        }
        Some(session.peer)
    }

    /// The next deadline of a registration.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sessions.values().map(|session| session.deadline).min()
    }

    /// The registrations whose deadline has passed.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<ConnId> {
        self.sessions.iter().filter(|(_, session)| session.deadline <= now).map(|(conn, _)| *conn).collect()
    }
}

/// The manager's half of the confirmation, sent with the grant.
pub(crate) fn manager_confirmation(offer: &Offer) -> Confirm {
    let Offer { join, grant, keys } = offer;
    Confirm { mac: confirmation(grant.domain.suite, &keys.confirm_manager, join, grant) }
}

/// Whether the member's half is what only a member with the same keys, JOIN and GRANT could send.
fn confirms(offer: &Offer, confirm: &Confirm) -> bool {
    let Offer { join, grant, keys } = offer;
    let expected = confirmation(grant.domain.suite, &keys.confirm_member, join, grant);
    constant_time_eq(&expected, &confirm.mac)
}
