//! The member's side of registration (GSM 3.2): which registrar is tried, and how far the exchange is.

use std::net::SocketAddr;
use std::time::Duration;

use crypto::constant_time_eq;
use protocol::{
    CloseReason, Confirm, ConnId, Frame, Grant, Instant, Join, JoinRole, Peer, Refusal, RegistrationKeys,
    Rejected, Role, Transmit, confirmation,
};
use rand_core::CryptoRng;

use crate::config::MemberConfig;

/// The whole exchange with one registrar, TLS included, takes no longer; else the next one is tried.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(6);
/// The wait before the first new try; it doubles with each failure in a row, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between tries while nobody answers.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// The wait after a reason that only an operator can change.
const FINAL_WAIT: Duration = Duration::from_secs(60);

/// How far the exchange is.
#[derive(Debug)]
enum Stage {
    /// Nobody is asked; the next try is at `retry`, if the member wants in at all.
    Idle,
    /// TLS is being set up.
    Connecting(ConnId),
    /// JOIN is sent.
    Asked { conn: ConnId, join: Join, peer: Peer },
    /// GRANT is accepted and CONFIRM sent.
    Confirmed { conn: ConnId, peer: Peer, admission: Box<Admission> },
}

/// A place in a subgroup that both sides have confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) grant: Grant,
    pub(crate) keys: RegistrationKeys,
    pub(crate) manager: String,
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
    Refused(Refusal),
    /// It broke the protocol or its own word.
    Distrusted,
    /// It could not be reached.
    Unreachable(CloseReason),
}

/// Looks for a manager and registers with it.
#[derive(Debug)]
pub(crate) struct RegistrationExchange {
    stage: Stage,
    /// When the exchange under way is given up, or the next one begins.
    due: Option<Instant>,
    candidate: usize,
    failures: u32,
    next_conn: u64,
}

impl RegistrationExchange {
    pub(crate) const fn new() -> Self {
        Self::numbered_from(1)
    }

    pub(crate) const fn numbered_from(next_conn: u64) -> Self {
        Self { stage: Stage::Idle, due: None, candidate: 0, failures: 0, next_conn }
    }

    pub(crate) const fn next_conn(&self) -> u64 {
        self.next_conn
    }

    /// Begins to look for a manager at `at`, unless it is already looking.
    pub(crate) fn start(&mut self, at: Instant) {
        if matches!(self.stage, Stage::Idle) && self.due.is_none() {
            self.due = Some(at);
        }
    }

    /// Stops looking, if no exchange is under way.
    pub(crate) fn stop_waiting(&mut self) {
        if matches!(self.stage, Stage::Idle) {
            self.due = None;
        }
    }

    /// The node does not want in any more: ends an exchange under way.
    pub(crate) fn abandon(&mut self) -> Option<Transmit> {
        let conn = self.conn();
        self.stage = Stage::Idle;
        self.due = None;
        conn.map(|conn| Transmit::Close { conn })
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The registrar tried last.
    pub(crate) fn registrar(&self, config: &MemberConfig) -> Option<SocketAddr> {
        let place = self.candidate.checked_rem(config.registrars.len())?;
        config.registrars.get(place).copied()
    }

    /// Called when `due` has come: opens the next connection, or gives up the one under way.
    pub(crate) fn on_due(
        &mut self,
        now: Instant,
        config: &MemberConfig,
        rng: &mut dyn CryptoRng,
    ) -> (Option<Transmit>, Progress) {
        self.due = None;
        let Some(to) = self.registrar(config) else { return (None, Progress::Going) };
        if let Some(conn) = self.conn() {
            self.fail(now, None, rng);
            return (Some(Transmit::Close { conn }), Progress::Unreachable(CloseReason::TimedOut));
        }
        let conn = ConnId(self.next_conn);
        self.next_conn += 2;
        self.stage = Stage::Connecting(conn);
        self.due = Some(now + EXCHANGE_DEADLINE);
        (Some(Transmit::Open { conn, to, expect: Role::Manager }), Progress::Going)
    }

    /// TLS stands and the peer is certified as manager: ask.
    pub(crate) fn on_opened(
        &mut self,
        conn: ConnId,
        peer: Peer,
        config: &MemberConfig,
    ) -> Result<Transmit, Rejected> {
        if !matches!(self.stage, Stage::Connecting(current) if current == conn) {
            return Err(Rejected::UnknownConnection);
        }
        if !peer.roles.manager {
            return Err(Rejected::NotAuthentic);
        }
        let join = Join {
            group: config.group,
            role: JoinRole::Member,
            signing: config.signing,
            exchange: config.exchange,
        };
        self.stage = Stage::Asked { conn, join, peer };
        Ok(Transmit::Frame { conn, bytes: Frame::Join(join).encode() })
    }

    /// A frame came on `conn`.
    pub(crate) fn on_frame(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &[u8],
        config: &MemberConfig,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<Transmit>, Progress), Rejected> {
        if self.conn() != Some(conn) {
            return Err(Rejected::UnknownConnection);
        }
        let frame = Frame::decode(bytes, self.peer().ok_or(Rejected::OutOfPlace)?)?;
        match (frame.into_inner(), &self.stage) {
            (Frame::Refused(why), Stage::Asked { .. } | Stage::Confirmed { .. }) => {
                self.fail(now, Some(why), rng);
                Ok((vec![Transmit::Close { conn }], Progress::Refused(why)))
            }
            (Frame::Grant(grant, confirm), Stage::Asked { .. }) => {
                Ok(self.on_grant(now, *grant, confirm, config, rng))
            }
            (Frame::Admitted, Stage::Confirmed { admission, .. }) => {
                let admission = admission.clone();
                self.stage = Stage::Idle;
                self.due = None;
                self.failures = 0;
                Ok((vec![Transmit::Close { conn }], Progress::Admitted(admission)))
            }
            _ => Err(Rejected::OutOfPlace),
        }
    }

    /// The connection is gone. Between ADMITTED and our own close that is in order.
    pub(crate) fn on_closed(
        &mut self,
        now: Instant,
        conn: ConnId,
        why: CloseReason,
        rng: &mut dyn CryptoRng,
    ) -> Result<Progress, Rejected> {
        if self.conn() != Some(conn) {
            return Err(Rejected::UnknownConnection);
        }
        self.fail(now, None, rng);
        Ok(Progress::Unreachable(why))
    }

    fn on_grant(
        &mut self,
        now: Instant,
        grant: Grant,
        confirm: Confirm,
        config: &MemberConfig,
        rng: &mut dyn CryptoRng,
    ) -> (Vec<Transmit>, Progress) {
        let Stage::Asked { conn, join, peer } = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return (Vec::new(), Progress::Going);
        };
        let keys = grant.domain.registration(&peer.channel, grant.state.inst, grant.reg_no);
        if !trustworthy(&grant, &confirm, &join, &keys, config) {
            self.fail(now, None, rng);
            return (vec![Transmit::Close { conn }], Progress::Distrusted);
        }
        let mac = confirmation(grant.domain.suite, &keys.confirm_member, &join, &grant);
        let manager = peer.identity.clone();
        let admission = Box::new(Admission { grant, keys, manager });
        self.stage = Stage::Confirmed { conn, peer, admission: admission.clone() };
        (
            vec![Transmit::Frame { conn, bytes: Frame::Confirm(Confirm { mac }).encode() }],
            Progress::Granted(admission),
        )
    }

    const fn conn(&self) -> Option<ConnId> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Connecting(conn) | Stage::Asked { conn, .. } | Stage::Confirmed { conn, .. } => {
                Some(*conn)
            }
        }
    }

    const fn peer(&self) -> Option<&Peer> {
        match &self.stage {
            Stage::Idle | Stage::Connecting(_) => None,
            Stage::Asked { peer, .. } | Stage::Confirmed { peer, .. } => Some(peer),
        }
    }

    /// Goes on to the next registrar after a wait that is random, so that members that lost their manager together do
    /// not come back together (RFC 4046, synchronized requests).
    fn fail(&mut self, now: Instant, why: Option<Refusal>, rng: &mut dyn CryptoRng) {
        self.stage = Stage::Idle;
        self.candidate = self.candidate.wrapping_add(1);
        self.failures = self.failures.saturating_add(1);
        let doubled = FIRST_WAIT * (1 << self.failures.min(6).saturating_sub(1));
        let wait = match why {
            Some(reason) if reason.is_final() => FINAL_WAIT,
            _ => doubled.min(LONGEST_WAIT),
        };
        self.due = Some(now + wait / 2 + jitter(rng, wait / 2));
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
        && credential.key == config.signing
        && credential.verify(&grant.domain, &grant.manager, &*config.verifier)
        && grant.roster.verify(&grant.domain, &grant.manager, &*config.verifier)
}
