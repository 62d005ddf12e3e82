use std::fmt;
use std::io;

use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode};
use openssl::x509::X509VerifyResult;
use protocol::CloseReason;

/// Why no connection came of a handshake. The same words on both sides, whichever of the two refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsRefusal {
    /// No certificate was shown.
    #[error("no certificate")]
    NoCertificate,
    /// No chain of at most four certificates leads to the group's authority.
    #[error("the certificate is not from the group's authority")]
    UnknownAuthority,
    /// A certificate of the chain has expired.
    #[error("the certificate has expired")]
    Expired,
    /// A certificate of the chain is not valid yet, or the clocks differ.
    #[error("the certificate is not valid yet (are both clocks right?)")]
    NotYetValid,
    /// The certificate lacks the role, or (serverAuth, clientAuth) is not for this side of TLS.
    #[error("the certificate lacks the role")]
    WrongRole,
    /// The other end speaks no TLS 1.3.
    #[error("TLS older than 1.3")]
    OldProtocol,
    /// The other end does not speak `conclave/1`.
    #[error("the application protocol is not conclave/1")]
    NoAlpn,
    /// The handshake, or its first byte, took too long.
    #[error("the handshake took too long")]
    Deadline,
    /// The connection ended before it stood.
    #[error("the connection was closed")]
    Closed,
    /// No connection could be made.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// Anything else, in OpenSSL's words.
    #[error("{0}")]
    Other(String),
}

/// Which end of a connection refused the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// This one: the reason is about the peer, its certificate for one.
    Us,
    /// The other one: the reason is about us.
    Peer,
}

/// A refused handshake: who refused, and why. Prints as one sentence for a log or an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRefused {
    /// Which end.
    pub by: RefusedBy,
    /// The reason.
    pub why: TlsRefusal,
}

impl TlsRefusal {
    /// The word of each kind in counters, in the order of [`TlsRefusal::index`].
    pub(crate) const KINDS: [&str; 11] = [
        "no_certificate",
        "unknown_authority",
        "expired",
        "not_yet_valid",
        "wrong_role",
        "old_protocol",
        "no_alpn",
        "deadline",
        "closed",
        "unreachable",
        "other",
    ];

    /// The word used in counters and logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        Self::KINDS[self.index()]
    }

    pub(crate) const fn index(&self) -> usize {
        match self {
            Self::NoCertificate => 0,
            Self::UnknownAuthority => 1,
            Self::Expired => 2,
            Self::NotYetValid => 3,
            Self::WrongRole => 4,
            Self::OldProtocol => 5,
            Self::NoAlpn => 6,
            Self::Deadline => 7,
            Self::Closed => 8,
            Self::Unreachable(_) => 9,
            Self::Other(_) => 10,
        }
    }
}

impl TlsRefused {
    pub(super) const fn by_us(why: TlsRefusal) -> Self {
        Self { by: RefusedBy::Us, why }
    }

    pub(super) const fn by_peer(why: TlsRefusal) -> Self {
        Self { by: RefusedBy::Peer, why }
    }

    /// OpenSSL's alert for a certificate that is not valid yet is the one for any bad certificate; if by our own clock
    /// ours is not, that is the reason.
    pub(super) fn refined(self, own_not_yet_valid: bool) -> Self {
        match self.why {
            TlsRefusal::Other(text) if text == BAD_CERTIFICATE && own_not_yet_valid => {
                Self::by_peer(TlsRefusal::NotYetValid)
            }
            why => Self { by: self.by, why },
        }
    }
}

impl fmt::Display for TlsRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.by, &self.why) {
            (_, TlsRefusal::Deadline | TlsRefusal::Closed | TlsRefusal::Unreachable(_)) => {
                write!(f, "{}", self.why)
            }
            (RefusedBy::Us, why) => write!(f, "we refused the peer: {why}"),
            (RefusedBy::Peer, why) => write!(f, "the peer refused us: {why}"),
        }
    }
}

impl std::error::Error for TlsRefused {}

impl From<TlsRefused> for CloseReason {
    fn from(refused: TlsRefused) -> Self {
        match refused.why {
            TlsRefusal::Deadline => Self::TimedOut,
            TlsRefusal::Closed => Self::ByPeer,
            TlsRefusal::Unreachable(why) => Self::Unreachable(why),
            _ => Self::Refused(refused.to_string()),
        }
    }
}

/// Where in a connection's life an error came up; the same alert means different things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// We are the server, and the client sees our certificate.
    Accept,
    /// We are the client, and the server has not seen our certificate yet.
    Connect,
    /// The handshake is over for us.
    Read,
}

/// What the peer's "bad certificate" alert says.
const BAD_CERTIFICATE: &str = "bad certificate (if it was just issued, the peer's clock may be behind)";

/// The reason codes of OpenSSL's errors, from `openssl/sslerr.h`. Alerts of the peer are 1000 + the alert's number.
mod reason {
    pub(super) const CERTIFICATE_VERIFY_FAILED: i32 = 134;
    pub(super) const HTTP_REQUEST: i32 = 156;
    pub(super) const PEER_DID_NOT_RETURN_A_CERTIFICATE: i32 = 199;
    pub(super) const NO_APPLICATION_PROTOCOL: i32 = 235;
    pub(super) const UNSUPPORTED_PROTOCOL: i32 = 258;
    pub(super) const WRONG_SSL_VERSION: i32 = 266;
    pub(super) const WRONG_VERSION_NUMBER: i32 = 267;
    pub(super) const UNEXPECTED_EOF: i32 = 294;
    pub(super) const ALERT_HANDSHAKE_FAILURE: i32 = 1_040;
    pub(super) const ALERT_BAD_CERTIFICATE: i32 = 1_042;
    pub(super) const ALERT_UNSUPPORTED_CERTIFICATE: i32 = 1_043;
    pub(super) const ALERT_CERTIFICATE_EXPIRED: i32 = 1_045;
    pub(super) const ALERT_UNKNOWN_CA: i32 = 1_048;
    pub(super) const ALERT_PROTOCOL_VERSION: i32 = 1_070;
    pub(super) const ALERT_CERTIFICATE_REQUIRED: i32 = 1_116;
    pub(super) const ALERT_NO_APPLICATION_PROTOCOL: i32 = 1_120;
}

/// The codes of chain verification, from `openssl/x509_vfy.h`.
mod verify {
    pub(super) const UNABLE_TO_GET_ISSUER: i32 = 2;
    pub(super) const SIGNATURE_FAILURE: i32 = 7;
    pub(super) const NOT_YET_VALID: i32 = 9;
    pub(super) const HAS_EXPIRED: i32 = 10;
    pub(super) const SELF_SIGNED_LEAF: i32 = 18;
    pub(super) const SELF_SIGNED_IN_CHAIN: i32 = 19;
    pub(super) const ISSUER_UNKNOWN: i32 = 20;
    pub(super) const LEAF_UNVERIFIED: i32 = 21;
    pub(super) const CHAIN_TOO_LONG: i32 = 22;
    pub(super) const PATH_TOO_LONG: i32 = 25;
    pub(super) const INVALID_PURPOSE: i32 = 26;
    pub(super) const APPLICATION: i32 = 50;
    pub(super) const INVALID_CA: i32 = 79;
}

/// Why a handshake failed.
pub(super) fn refusal_of_handshake(
    error: &ssl::Error,
    verified: X509VerifyResult,
    phase: Phase,
) -> TlsRefused {
    if let Some(error) = error.io_error() {
        return TlsRefused::by_peer(match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                TlsRefusal::Closed
            }
            _ => TlsRefusal::Unreachable(error.to_string()),
        });
    }
    match error.ssl_error() {
        Some(stack) => refusal_of_stack(stack, verified, phase),
        None if error.code() == ErrorCode::SSL => TlsRefused::by_us(TlsRefusal::Other(error.to_string())),
        None => TlsRefused::by_peer(TlsRefusal::Closed),
    }
}

/// Why a connection that stood for us fails; `None` if not by TLS.
pub(super) fn refusal_of_read(error: &io::Error) -> Option<TlsRefused> {
    let stack = error.get_ref()?.downcast_ref::<ssl::Error>()?.ssl_error()?;
    Some(refusal_of_stack(stack, X509VerifyResult::OK, Phase::Read))
}

fn refusal_of_stack(stack: &ErrorStack, verified: X509VerifyResult, phase: Phase) -> TlsRefused {
    let known = stack.errors().iter().find_map(|error| refusal_of_code(error.reason_code(), verified, phase));
    known.unwrap_or_else(|| {
        let alert = stack.errors().iter().any(|error| error.reason_code() > 1_000);
        let words = stack.errors().iter().filter_map(|error| error.reason()).collect::<Vec<_>>().join("; ");
        let by = if alert { RefusedBy::Peer } else { RefusedBy::Us };
        TlsRefused { by, why: TlsRefusal::Other(words) }
    })
}

fn refusal_of_code(code: i32, verified: X509VerifyResult, phase: Phase) -> Option<TlsRefused> {
    let by_us = match code {
        reason::CERTIFICATE_VERIFY_FAILED => refusal_of_chain(verified),
        reason::PEER_DID_NOT_RETURN_A_CERTIFICATE => TlsRefusal::NoCertificate,
        reason::UNSUPPORTED_PROTOCOL | reason::WRONG_SSL_VERSION => TlsRefusal::OldProtocol,
        reason::NO_APPLICATION_PROTOCOL => TlsRefusal::NoAlpn,
        reason::WRONG_VERSION_NUMBER | reason::HTTP_REQUEST => TlsRefusal::Other("not TLS".to_owned()),
        _ => return refusal_of_alert(code, phase).map(TlsRefused::by_peer),
    };
    Some(TlsRefused::by_us(by_us))
}

/// What the peer told us by an alert.
fn refusal_of_alert(code: i32, phase: Phase) -> Option<TlsRefusal> {
    Some(match code {
        reason::ALERT_CERTIFICATE_REQUIRED => TlsRefusal::NoCertificate,
        reason::ALERT_UNKNOWN_CA => TlsRefusal::UnknownAuthority,
        reason::ALERT_CERTIFICATE_EXPIRED => TlsRefusal::Expired,
        reason::ALERT_BAD_CERTIFICATE => TlsRefusal::Other(BAD_CERTIFICATE.to_owned()),
        reason::ALERT_UNSUPPORTED_CERTIFICATE => TlsRefusal::WrongRole,
        // Once keys are agreed on, this alert comes of the role check only; before, of having no cipher in common.
        reason::ALERT_HANDSHAKE_FAILURE if phase != Phase::Connect => TlsRefusal::WrongRole,
        reason::ALERT_PROTOCOL_VERSION => TlsRefusal::OldProtocol,
        reason::ALERT_NO_APPLICATION_PROTOCOL => TlsRefusal::NoAlpn,
        reason::UNEXPECTED_EOF => TlsRefusal::Closed,
        _ => return None,
    })
}

/// What was wrong with the peer's chain.
fn refusal_of_chain(verified: X509VerifyResult) -> TlsRefusal {
    match verified.as_raw() {
        verify::HAS_EXPIRED => TlsRefusal::Expired,
        verify::NOT_YET_VALID => TlsRefusal::NotYetValid,
        verify::INVALID_PURPOSE | verify::APPLICATION => TlsRefusal::WrongRole,
        verify::UNABLE_TO_GET_ISSUER
        | verify::SIGNATURE_FAILURE
        | verify::SELF_SIGNED_LEAF
        | verify::SELF_SIGNED_IN_CHAIN
        | verify::ISSUER_UNKNOWN
        | verify::LEAF_UNVERIFIED
        | verify::CHAIN_TOO_LONG
        | verify::PATH_TOO_LONG
        | verify::INVALID_CA => TlsRefusal::UnknownAuthority,
        _ => TlsRefusal::Other(verified.error_string().to_owned()),
    }
}
