//! The member's side of registration (GSM 3.2): connections to several registrars, and the exchange with one.

use std::net::SocketAddr;
use std::time::Duration;

use crypto::{PublicKey, constant_time_eq};
use protocol::limits::{ATTEMPT_DEADLINE, ATTEMPT_STAGGER, MAX_ATTEMPTS};
use protocol::{
    CloseReason, Confirm, ConnId, Frame, Grant, Instant, Join, JoinRole, Peer, Refusal, RegistrationKeys,
    Rejected, Role, SubgroupId, Transmit, confirmation,
};
use rand_core::CryptoRng;

use crate::candidates::Candidates;
use crate::config::MemberConfig;

/// From JOIN to the manager's grant; else another one is tried.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);
/// From CONFIRM to the word that the join is durable. The manager's store may be slow, and who gives up and asks again
/// replaces the registration that was on its way: asked too soon, that never ends.
const DURABLE_DEADLINE: Duration = Duration::from_secs(10);

/// A connection that is being set up.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    conn: ConnId,
    to: SocketAddr,
    deadline: Instant,
}

/// The one registrar that was asked.
#[derive(Debug)]
struct Exchange {
    conn: ConnId,
    to: SocketAddr,
    deadline: Instant,
    peer: Peer,
    stage: Stage,
}

/// How far the exchange is.
#[derive(Debug)]
enum Stage {
    /// JOIN is sent.
    Asked(Join),
    /// GRANT is accepted and CONFIRM sent.
    Confirmed(Box<Admission>),
}

/// A place in a subgroup that both sides have confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) grant: Grant,
    pub(crate) keys: RegistrationKeys,
    pub(crate) manager: String,
    /// Where it was asked for.
    pub(crate) registrar: SocketAddr,
}

/// What a step of the exchange led to.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing to tell yet.
    Going,
    /// The grant stands: listen there.
    Granted(Box<Admission>),
    /// The manager made the join durable.
    Admitted(Box<Admission>),
    /// It said no.
    Refused(SocketAddr, Refusal),
    /// It broke the protocol or its own word.
    Distrusted(SocketAddr),
    /// It could not be reached, or it is not whom to ask.
    Unreachable(SocketAddr, CloseReason),
    /// It is the manager that the member has, and the member looked for another one.
    OldPlace(SocketAddr),
}

/// Where a new registration must not lead: to this subgroup under this manager key, where the member is.
pub(crate) type Avoid = Option<(SubgroupId, PublicKey)>;

/// Registers with one of several candidates (attacks A1, A2).
///
/// Connections are begun one after the other and stand in parallel. JOIN goes to the first that opens, for TLS has found
/// a manager there; the others are closed and stay candidates. Nothing is sent to anybody else.
#[derive(Debug)]
pub(crate) struct RegistrationExchange {
    /// Whether the node wants in, and from when on the next connection may be begun.
    from: Option<Instant>,
    /// Whether that is only to give the connections before time to open.
    staggered: bool,
    attempts: Vec<Attempt>,
    exchange: Option<Exchange>,
    next_conn: u64,
}

impl RegistrationExchange {
    pub(crate) const fn numbered_from(next_conn: u64) -> Self {
        Self { from: None, staggered: false, attempts: Vec::new(), exchange: None, next_conn }
    }

    pub(crate) const fn next_conn(&self) -> u64 {
        self.next_conn
    }

    /// Takes the number of the next connection.
    pub(crate) const fn reserve_conn(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 2;
        conn
    }

    /// Begins to try candidates at `at`, unless it has begun.
    pub(crate) fn start(&mut self, at: Instant) {
        if self.from.is_none() {
            self.rest(at);
        }
    }

    /// Tries nobody before `at`.
    pub(crate) const fn rest(&mut self, at: Instant) {
        (self.from, self.staggered) = (Some(at), false);
    }

    /// Whether a manager was asked and has not said its last word.
    pub(crate) const fn is_asking(&self) -> bool {
        self.exchange.is_some()
    }

    /// Whether a manager granted a place and has not said that the node is in.
    pub(crate) fn is_granted(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| matches!(exchange.stage, Stage::Confirmed(_)))
    }

    /// Whether anybody is being tried.
    pub(crate) fn is_busy(&self) -> bool {
        self.exchange.is_some() || !self.attempts.is_empty()
    }

    /// The node does not want in any more, for the manager it has is back: ends everything but an exchange that is
    /// confirmed, whose manager may have taken the node in by now.
    pub(crate) fn give_up(&mut self) -> Vec<Transmit> {
        self.from = None;
        let mut closes = self.close_attempts();
        if let Some(exchange) = self.exchange.take_if(|exchange| matches!(exchange.stage, Stage::Asked(_))) {
            closes.push(Transmit::Close { conn: exchange.conn });
        }
        closes
    }

    /// The node does not want in any more, whatever is under way.
    pub(crate) fn abandon(&mut self) -> Vec<Transmit> {
        self.from = None;
        let mut closes = self.close_attempts();
        closes.extend(self.exchange.take().map(|exchange| Transmit::Close { conn: exchange.conn }));
        closes
    }

    /// The next instant at which [`RegistrationExchange::on_due`] has something to do.
    pub(crate) fn due(&self, candidates: &Candidates) -> Option<Instant> {
        let deadlines = self.attempts.iter().map(|attempt| attempt.deadline);
        let asked = self.exchange.as_ref().map(|exchange| exchange.deadline);
        let next = self
            .from
            .filter(|_| self.has_room())
            .and_then(|from| candidates.next_due(|to| self.tries(to)).map(|ready| ready.max(from)));
        deadlines.chain(asked).chain(next).min()
    }

    /// Gives up what takes too long, and begins the next connection if it is time.
    pub(crate) fn on_due(
        &mut self,
        now: Instant,
        candidates: &mut Candidates,
        rng: &mut dyn CryptoRng,
    ) -> (Vec<Transmit>, Vec<Progress>) {
        let late = |deadline: Instant| deadline <= now;
        let asked = self.exchange.take_if(|exchange| late(exchange.deadline));
        let mut gone: Vec<_> = asked.map(|exchange| (exchange.conn, exchange.to)).into_iter().collect();
        gone.extend(
            self.attempts.extract_if(.., |attempt| late(attempt.deadline)).map(|late| (late.conn, late.to)),
        );
        let (mut transmits, mut progress) = (Vec::new(), Vec::new());
        for (conn, to) in gone {
            candidates.failed(now, to, rng);
            transmits.push(Transmit::Close { conn });
            progress.push(Progress::Unreachable(to, CloseReason::TimedOut));
        }
        if self.has_room()
            && self.from.is_some_and(|from| from <= now)
            && let Some(to) = candidates.next(now, |to| self.tries(to))
        {
            let conn = self.reserve_conn();
            self.attempts.push(Attempt { conn, to, deadline: now + ATTEMPT_DEADLINE });
            (self.from, self.staggered) = (Some(now + ATTEMPT_STAGGER), true);
            transmits.push(Transmit::Open { conn, to, expect: Role::Manager });
        }
        (transmits, progress)
    }

    /// TLS stands and the peer is certified as manager: ask it, unless another one is asked already.
    ///
    /// `shut_out` says that the group has revoked the peer; it learns nothing then.
    pub(crate) fn on_opened(
        &mut self,
        now: Instant,
        (conn, peer): (ConnId, Peer),
        config: &MemberConfig,
        shut_out: bool,
    ) -> Result<(Vec<Transmit>, Progress), Rejected> {
        let at = self.attempt(conn).ok_or(Rejected::UnknownConnection)?;
        if !peer.roles.manager {
            return Err(Rejected::NotAuthentic);
        }
        let Attempt { to, .. } = self.attempts.remove(at);
        if shut_out {
            let why = CloseReason::Refused("it was evicted from the group".into());
            return Ok((vec![Transmit::Close { conn }], Progress::Unreachable(to, why)));
        }
        if self.exchange.is_some() {
            return Ok((vec![Transmit::Close { conn }], Progress::Going));
        }
        let join = Join {
            group: config.group,
            role: JoinRole::Member,
            signing: config.signer.public_key(),
            exchange: config.exchange.public_key(),
        };
        let mut transmits = self.close_attempts();
        transmits.push(Transmit::Frame { conn, bytes: Frame::Join(join).encode() });
        let deadline = now + ANSWER_DEADLINE;
        self.exchange = Some(Exchange { conn, to, deadline, peer, stage: Stage::Asked(join) });
        Ok((transmits, Progress::Going))
    }

    /// A frame came on `conn`.
    pub(crate) fn on_frame(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &[u8],
        config: &MemberConfig,
        avoid: Avoid,
    ) -> Result<(Vec<Transmit>, Progress), Rejected> {
        if self.attempt(conn).is_some() {
            return Err(Rejected::OutOfPlace);
        }
        let exchange = self.exchange.as_ref().filter(|exchange| exchange.conn == conn);
        let exchange = exchange.ok_or(Rejected::UnknownConnection)?;
        let frame = Frame::decode(bytes, &exchange.peer)?;
        match (frame.into_inner(), &exchange.stage) {
            (Frame::Refused(why), _) => {
                let to = exchange.to;
                self.exchange = None;
                Ok((vec![Transmit::Close { conn }], Progress::Refused(to, why)))
            }
            (Frame::Grant(grant, confirm), Stage::Asked(join)) => {
                let join = *join;
                Ok(self.on_grant(now, *grant, confirm, join, config, avoid))
            }
            (Frame::Admitted, Stage::Confirmed(admission)) => {
                let admission = admission.clone();
                self.exchange = None;
                self.from = None;
                Ok((vec![Transmit::Close { conn }], Progress::Admitted(admission)))
            }
            _ => Err(Rejected::OutOfPlace),
        }
    }

    /// The connection is gone. Between ADMITTED and our own close that is in order. Nobody is left to wait for if it was
    /// the only one.
    pub(crate) fn on_closed(
        &mut self,
        now: Instant,
        conn: ConnId,
        why: CloseReason,
    ) -> Result<Progress, Rejected> {
        let to = if let Some(at) = self.attempt(conn) {
            self.attempts.remove(at).to
        } else {
            let exchange = self.exchange.take_if(|exchange| exchange.conn == conn);
            exchange.ok_or(Rejected::UnknownConnection)?.to
        };
        if self.staggered && self.attempts.is_empty() {
            self.from = self.from.map(|from| from.min(now));
        }
        Ok(Progress::Unreachable(to, why))
    }

    fn on_grant(
        &mut self,
        now: Instant,
        grant: Grant,
        confirm: Confirm,
        join: Join,
        config: &MemberConfig,
        avoid: Avoid,
    ) -> (Vec<Transmit>, Progress) {
        let Some(mut exchange) = self.exchange.take() else { return (Vec::new(), Progress::Going) };
        let Exchange { conn, to, .. } = exchange;
        let keys = grant.domain.registration(&exchange.peer.channel, grant.state.inst, grant.reg_no);
        if !trustworthy(&grant, &confirm, &join, &keys, config) {
            return (vec![Transmit::Close { conn }], Progress::Distrusted(to));
        }
        if avoid == Some((grant.domain.subgroup, grant.manager)) {
            return (vec![Transmit::Close { conn }], Progress::OldPlace(to));
        }
        let mac = confirmation(grant.domain.suite, &keys.confirm_member, &join, &grant);
        let manager = exchange.peer.identity.clone();
        let admission = Box::new(Admission { grant, keys, manager, registrar: to });
        exchange.stage = Stage::Confirmed(admission.clone());
        exchange.deadline = now + DURABLE_DEADLINE;
        self.exchange = Some(exchange);
        (
            vec![Transmit::Frame { conn, bytes: Frame::Confirm(Confirm { mac }).encode() }],
            Progress::Granted(admission),
        )
    }

    fn has_room(&self) -> bool {
        self.exchange.is_none() && self.attempts.len() < MAX_ATTEMPTS
    }

    fn tries(&self, to: SocketAddr) -> bool {
        self.attempts.iter().any(|attempt| attempt.to == to)
            || self.exchange.as_ref().is_some_and(|exchange| exchange.to == to)
    }

    fn attempt(&self, conn: ConnId) -> Option<usize> {
        self.attempts.iter().position(|attempt| attempt.conn == conn)
    }

    fn close_attempts(&mut self) -> Vec<Transmit> {
        self.attempts.drain(..).map(|attempt| Transmit::Close { conn: attempt.conn }).collect()
    }
}

/// A random duration below `most`.
pub(crate) fn jitter(rng: &mut dyn CryptoRng, most: Duration) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(rng.next_u64() % micros)
}

/// Whether the grant is what a manager that shares the channel secret would send: the confirmation holds, and what it
/// signed verifies under the key it names.
fn trustworthy(
    grant: &Grant,
    confirm: &Confirm,
    join: &Join,
    keys: &RegistrationKeys,
    config: &MemberConfig,
) -> bool {
    let expected = confirmation(grant.domain.suite, &keys.confirm_manager, join, grant);
    let credential = &grant.credential;
    constant_time_eq(&expected, &confirm.mac)
        && grant.domain.group == config.group
        && grant.control.ip().is_multicast()
        && grant.data.ip().is_multicast()
        && credential.sender == grant.sender
        && credential.key == config.signer.public_key()
        && credential.verify(&grant.domain, &grant.manager, &*config.verifier)
        && grant.roster.verify(&grant.domain, &grant.manager, &*config.verifier)
}
