//! What every datagram of the control plane begins with, and the type that says a message was verified.

use crypto::Suite;

use crate::codec::{Reader, Writer};
use crate::ids::GroupId;
use crate::keys::Domain;
use crate::machine::Rejected;

/// The protocol version every datagram and frame begins with.
pub const PROTOCOL_VERSION: u8 = 1;

/// Which message a control datagram is. Data packets have a kind of their own on a socket of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatagramKind {
    /// A packet of a key update: manager → members, multicast.
    KeyUpdate,
    /// An alive alarm: manager → members, multicast.
    Alarm,
    /// A request for a lost key update: member → manager and members, multicast.
    Nak,
    /// Sealed under a unicast key: member → manager.
    ToManager,
    /// Sealed under a unicast key: manager → member.
    ToMember,
    /// "Who manages this group?": anybody → all, multicast on the discovery address.
    Find,
    /// A manager's answer to it: unicast.
    Reply,
    /// A member's answer to it while its manager is silent: unicast.
    Held,
    /// "I shall manage this group": an eligible node → all, multicast on the discovery address.
    Claim,
    /// A manager's alarm for those who are not its members: multicast on the discovery address.
    Presence,
    /// "What is the newest you saw of me?": a starting manager → its members, multicast.
    Question,
    /// A member's answer to it: unicast.
    Answer,
    /// Who was evicted: manager → members, multicast.
    Revocations,
    /// "Register with that manager instead": manager → members, multicast.
    Farewell,
    /// "I hold the manager for lost": member → all, multicast.
    Suspicion,
    /// "I manage the subgroup now": new manager → all, multicast.
    Takeover,
    /// "Your secrets move on": manager → members, multicast.
    Renewal,
}

impl DatagramKind {
    /// The code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::KeyUpdate => 0x01,
            Self::Alarm => 0x02,
            Self::Nak => 0x03,
            Self::ToManager => 0x04,
            Self::ToMember => 0x05,
            Self::Find => 0x06,
            Self::Reply => 0x07,
            Self::Held => 0x08,
            Self::Claim => 0x09,
            Self::Presence => 0x0a,
            Self::Question => 0x0b,
            Self::Answer => 0x0c,
            Self::Revocations => 0x0d,
            Self::Farewell => 0x0e,
            Self::Suspicion => 0x0f,
            Self::Takeover => 0x10,
            Self::Renewal => 0x11,
        }
    }

    /// The kind with this code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0x01 => Some(Self::KeyUpdate),
            0x02 => Some(Self::Alarm),
            0x03 => Some(Self::Nak),
            0x04 => Some(Self::ToManager),
            0x05 => Some(Self::ToMember),
            0x06 => Some(Self::Find),
            0x07 => Some(Self::Reply),
            0x08 => Some(Self::Held),
            0x09 => Some(Self::Claim),
            0x0a => Some(Self::Presence),
            0x0b => Some(Self::Question),
            0x0c => Some(Self::Answer),
            0x0d => Some(Self::Revocations),
            0x0e => Some(Self::Farewell),
            0x0f => Some(Self::Suspicion),
            0x10 => Some(Self::Takeover),
            0x11 => Some(Self::Renewal),
            _ => None,
        }
    }
}

/// The first 28 bytes of a control datagram: version, kind, suite, group, subgroup. Nothing in it is believed yet.
///
/// A machine reads it first, drops what is for others, and hands the datagram to the verification of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Which message follows.
    pub kind: DatagramKind,
    /// Suite, group and subgroup it claims to belong to.
    pub domain: Domain,
}

impl Envelope {
    /// Its length in bytes.
    pub const LEN: usize = 28;

    /// Reads the envelope of a datagram.
    pub fn parse(datagram: &[u8]) -> Result<Self, Rejected> {
        let mut reader = Reader::new(datagram);
        if reader.u8()? != PROTOCOL_VERSION {
            return Err(Rejected::Version);
        }
        let kind = DatagramKind::from_code(reader.u8()?).ok_or(Rejected::Malformed)?;
        let suite = Suite::from_code(reader.u16()?).ok_or(Rejected::Suite)?;
        let domain = Domain { suite, group: reader.group()?, subgroup: reader.subgroup()? };
        Ok(Self { kind, domain })
    }

    /// The group a datagram claims to be for, so that a process with several groups knows whom to hand it to.
    /// `None` when it is too short to say.
    pub fn group_of(datagram: &[u8]) -> Option<GroupId> {
        let (group, _) = datagram.get(4..)?.split_first_chunk::<{ GroupId::LEN }>()?;
        Some(GroupId::from_bytes(*group))
    }

    /// Reads the envelope and refuses what is not for the group `ours`, whatever its subgroup.
    pub fn for_group(datagram: &[u8], ours: GroupId) -> Result<Self, Rejected> {
        let envelope = Self::parse(datagram)?;
        if envelope.domain.group == ours { Ok(envelope) } else { Err(Rejected::OtherGroup) }
    }

    /// Reads the envelope and refuses what is not for the subgroup `ours`.
    pub fn for_domain(datagram: &[u8], ours: &Domain) -> Result<Self, Rejected> {
        let envelope = Self::parse(datagram)?;
        if envelope.domain.group != ours.group || envelope.domain.subgroup != ours.subgroup {
            return Err(Rejected::OtherGroup);
        }
        if envelope.domain.suite != ours.suite {
            return Err(Rejected::Suite);
        }
        Ok(envelope)
    }

    /// A writer that has the envelope written.
    pub fn begin(kind: DatagramKind, domain: &Domain) -> Writer {
        let mut writer = Writer::new();
        writer
            .u8(PROTOCOL_VERSION)
            .u8(kind.code())
            .u16(domain.suite.code())
            .group(domain.group)
            .subgroup(domain.subgroup);
        writer
    }
}

/// A message whose origin was proven: by a signature, a Merkle path to a signed root, a MAC, an AEAD tag or the TLS
/// connection it came by.
///
/// Handlers take this type and nothing else, and only this crate can make one, so no path from a socket to a state
/// change can leave the proof out (CVE-2016-2141 is what happens otherwise).
///
/// ```compile_fail
/// let forged = protocol::Verified::new(1);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified<M>(M);

impl<M> Verified<M> {
    /// Vouches for `message`; the callers are this crate's verifications, one for each kind of proof.
    pub(crate) const fn new(message: M) -> Self {
        Self(message)
    }

    /// The message.
    pub fn into_inner(self) -> M {
        self.0
    }
}

impl<M> std::ops::Deref for Verified<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}
