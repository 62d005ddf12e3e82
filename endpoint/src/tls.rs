//! Mutual TLS 1.3 between a node and its registrar, and nothing older, resumed or half-authenticated.
//!
//! Both ends must hold a certificate of the group's one authority. Names are not compared with host names: a node is
//! whom its certificate names, and what it may do follows from its roles, which are checked within the handshake.

mod certify;
mod config;
mod frames;
mod handshake;
mod refusal;

use crypto::{CertificateFacts, Roles};
use protocol::Role;

pub use certify::{CertificateCheck, sign_with_certificate_key};
pub use config::{TlsConfig, TlsConfigError};
pub use frames::{FrameCodec, Frames, MAX_FRAME, frames};
pub(crate) use handshake::move_to;
pub use handshake::{Connection, HandshakeLimits, TlsPeer, TlsStream, accept, connect};
pub use refusal::{RefusedBy, TlsRefusal, TlsRefused};

/// The one application protocol, asked for and required by both sides.
const ALPN: &[u8] = b"conclave/1";

/// What the certificate at the other end must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any of Conclave's roles. For a listener that serves several; the machine looks closer.
    AnyRole,
    /// To be a member.
    Member,
    /// To be a manager.
    Manager,
}

/// Checks the roles of a certificate that TLS has verified already.
///
/// Done within the handshake on both sides, so that the one refused is told by an alert; callers with a narrower
/// question than [`accept`] was given ask again. Being certified is not being admitted: that is the registrar's list.
pub fn require_role(facts: &CertificateFacts, expect: Expect) -> Result<(), TlsRefusal> {
    if expect.met_by(facts.roles) { Ok(()) } else { Err(TlsRefusal::WrongRole) }
}

impl Expect {
    const fn met_by(self, roles: Roles) -> bool {
        match self {
            Self::AnyRole => roles.member || roles.manager || roles.maa,
            Self::Member => roles.member,
            Self::Manager => roles.manager,
        }
    }
}

impl From<Role> for Expect {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Manager => Self::Manager,
        }
    }
}

#[cfg(test)]
mod tests;
