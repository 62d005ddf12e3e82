//! CLAIM: "nobody answers, so I shall manage this group".

use std::cmp::Reverse;
use std::net::SocketAddr;

use crypto::{Label, Signature, Signer};

use super::mandate::{Certified, Mandate};
use super::{expect, nowhere};
use crate::codec::{Reader, Writer};
use crate::envelope::{DatagramKind, Envelope};
use crate::ids::GroupId;
use crate::machine::Rejected;

/// An eligible node's claim to be the group's manager, multicast three times within its window.
///
/// A replayed claim makes others wait for a presence that does not follow; then they ignore its claimant for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Who claims.
    pub mandate: Mandate,
    /// As configured; the higher one wins.
    pub priority: u16,
    /// Where members will register.
    pub registrar: SocketAddr,
}

/// Which of two claims is the better one: the higher priority, then the lower certificate fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClaimRank {
    priority: u16,
    fingerprint: Reverse<[u8; 32]>,
}

impl ClaimRank {
    /// The rank of a node's claim. Greater is better.
    pub const fn new(priority: u16, fingerprint: [u8; 32]) -> Self {
        Self { priority, fingerprint: Reverse(fingerprint) }
    }
}

impl Claim {
    /// The datagram, signed by the mandate's key.
    pub fn encode(&self, group: GroupId, signer: &dyn Signer) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Claim, &nowhere(group));
        self.mandate.encode(&mut writer);
        writer.u16(self.priority).socket_addr(self.registrar);
        let signature = signer.sign(&Self::signed_part(writer.as_bytes()));
        writer.bytes(&signature.0);
        writer.into_bytes()
    }

    /// The rank, once the certificate was checked.
    pub const fn rank(&self, certified: &Certified) -> ClaimRank {
        ClaimRank::new(self.priority, certified.fingerprint)
    }

    /// Splits a datagram into claim, signed bytes and signature, without believing any of it.
    pub(super) fn decode(datagram: &[u8], group: GroupId) -> Result<(Self, &[u8], Signature), Rejected> {
        expect(DatagramKind::Claim, group, datagram)?;
        let (content, signature) = split(datagram)?;
        let mut reader = Reader::new(content);
        reader.take(Envelope::LEN)?;
        let claim = Self {
            mandate: Mandate::decode(&mut reader)?,
            priority: reader.u16()?,
            registrar: reader.socket_addr()?,
        };
        reader.finish()?;
        Ok((claim, content, signature))
    }

    pub(super) fn signed_part(content: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.text(Label::SignClaim.as_str()).bytes(content);
        writer.into_bytes()
    }
}

/// A datagram's content and the signature at its end.
pub(super) fn split(datagram: &[u8]) -> Result<(&[u8], Signature), Rejected> {
    let at = datagram.len().checked_sub(64).ok_or(Rejected::Malformed)?;
    let (content, signature) = datagram.split_at(at);
    Ok((content, Signature(Reader::new(signature).array()?)))
}
