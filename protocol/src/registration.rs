//! The frames of a registration over TLS (GSM 3.2): JOIN, GRANT, CONFIRM, ADMITTED, or REFUSED; and of a handover.
//!
//! member → manager JOIN; manager → member GRANT with its half of the key confirmation; member → manager CONFIRM with
//! the other half; the manager makes the join durable and answers ADMITTED. At any point it may say REFUSED instead.

mod following;

use std::net::SocketAddr;
use std::time::Duration;

use crypto::{ExchangePublic, Label, PublicKey, Secret, Suite, mac};
use keytree::{Degree, RegNo, TreeId};

use crate::alarm::millis32;
use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::{PROTOCOL_VERSION, Verified};
use crate::ids::{Commit, GroupId, SenderId, StateId, SubgroupId};
use crate::keys::Domain;
use crate::limits::{MAX_GRANT_REVOCATIONS, MAX_HANDED, Timing};
use crate::machine::{Peer, Rejected};
use crate::roster::{Credential, Revocation, Roster, SignedRevocation};
use crate::takeover::Office;

pub use following::{Follow, OfficeTaken, StatePart};

/// A frame of the registration exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// member → manager: let me in.
    Join(Join),
    /// manager → member: this is your place, and the manager's half of the key confirmation.
    Grant(Box<Grant>, Confirm),
    /// member → manager: the keys are the same on both sides.
    Confirm(Confirm),
    /// manager → member: your join is durable; the next key update lets you in.
    Admitted,
    /// manager → member: no, and why.
    Refused(Refusal),
    /// manager → manager: "you are the group's manager, not I; these are shut out."
    Handover(Handover),
    /// manager → manager: what the last frame named is durable here; the next one may come.
    HandoverTaken(HandoverTaken),
    /// standby → manager: tell me everything from now on.
    Follow(Follow),
    /// manager → standby: a part of the state as of a record.
    State(StatePart),
    /// manager → standby: one more record, with its number; whoever holds the bytes wipes them.
    Change(Commit, Vec<u8>),
    /// standby → manager: everything up to this record is held.
    Followed(Commit),
    /// manager → standby: manage in my place; the state is what you hold up to this record.
    Office(Commit),
    /// standby → manager: this start is durable; warrant it.
    OfficeTaken(OfficeTaken),
    /// manager → standby: the takeover, signed. It is durable here that this manager manages no more.
    Warrant(Vec<u8>),
}

/// The answer to one frame of a handover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandoverTaken {
    /// To the last frame, where both managed the same subgroup: what the winner's office is from now on. It has taken
    /// out whom the frames named, and begun a new term.
    pub office: Option<Office>,
    /// Members of the frame that the winner does not know: they have to register.
    pub strangers: Vec<SenderId>,
}

/// What a manager hands to the one it gives way to, in as many frames as it takes (GSM 3.5; DESIGN: partition and merge).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handover {
    /// The group.
    pub group: GroupId,
    /// The subgroup that ends.
    pub subgroup: SubgroupId,
    /// Its last state.
    pub state: StateId,
    /// Revocations; at most [`MAX_GRANT_REVOCATIONS`] a frame.
    pub revocations: Vec<Revocation>,
    /// Registrations that ended there; at most [`MAX_HANDED`] a frame.
    pub departed: Vec<SenderId>,
    /// Registrations there are; at most [`MAX_HANDED`] a frame.
    pub members: Vec<SenderId>,
    /// Whether this is the last frame.
    pub last: bool,
}

/// What a node asks for when it registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Join {
    /// The group.
    pub group: GroupId,
    /// As what.
    pub role: JoinRole,
    /// Its signing key; the manager puts it into the credential.
    pub signing: PublicKey,
    /// Its X25519 key, by which its leaf secret and unicast key can be renewed.
    pub exchange: ExchangePublic,
}

/// As what a node joins. Child managers come with the hierarchy; their code point is then the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinRole {
    /// A plain member.
    Member,
}

/// One half of the key confirmation: both sides derived the same keys and saw the same JOIN and GRANT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confirm {
    /// [`confirmation`] under this side's confirmation key.
    pub mac: [u8; 16],
}

/// Everything a member needs to live in its subgroup. It holds no secret that opens anything: leaf secret and unicast
/// key come out of the TLS connection on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Suite, group, subgroup.
    pub domain: Domain,
    /// The manager's state when it granted.
    pub state: StateId,
    /// The member's leaf.
    pub reg_no: RegNo,
    /// The registration.
    pub sender: SenderId,
    /// The key tree.
    pub tree: TreeId,
    /// Its degree.
    pub degree: Degree,
    /// Leaf steps so far; the leaf secret counts from here.
    pub leaf_steps: u16,
    /// The manager's signing key, believed because TLS is.
    pub manager: PublicKey,
    /// Where control messages are multicast.
    pub control: SocketAddr,
    /// Where data is multicast.
    pub data: SocketAddr,
    /// The manager's own unicast address.
    pub manager_address: SocketAddr,
    /// How many hops multicast may go.
    pub ttl: u8,
    /// The group's times.
    pub timing: Timing,
    /// The member's credential.
    pub credential: Credential,
    /// Who may succeed the manager.
    pub roster: Roster,
    /// The newest revocations, ascending; at most [`MAX_GRANT_REVOCATIONS`]. What is missing the member asks for.
    pub revocations: Vec<SignedRevocation>,
    /// Key of the MAC prefilter of `state`. It opens nothing.
    pub prefilter: Secret<32>,
}

impl Grant {
    fn encode(&self, writer: &mut Writer) {
        writer.u16(self.domain.suite.code()).group(self.domain.group).subgroup(self.domain.subgroup);
        writer.state(self.state).reg_no(self.reg_no).sender(self.sender);
        writer.u32(self.tree.0).u8(self.degree.get()).u16(self.leaf_steps).bytes(&self.manager.0);
        writer
            .socket_addr(self.control)
            .socket_addr(self.data)
            .socket_addr(self.manager_address)
            .u8(self.ttl);
        self.timing.in_order().into_iter().for_each(|time| {
            writer.u32(millis32(time));
        });
        self.credential.encode(writer);
        self.roster.encode(writer);
        writer.list(&self.revocations, |writer, revocation| revocation.encode(writer));
        writer.secret(&self.prefilter);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let suite = Suite::from_code(reader.u16()?).ok_or(Malformed::Invalid("suite"))?;
        Ok(Self {
            domain: Domain { suite, group: reader.group()?, subgroup: reader.subgroup()? },
            state: reader.state()?,
            reg_no: reader.reg_no()?,
            sender: reader.sender()?,
            tree: TreeId(reader.u32()?),
            degree: Degree::new(reader.u8()?).ok_or(Malformed::Invalid("degree"))?,
            leaf_steps: reader.u16()?,
            manager: PublicKey(reader.array()?),
            control: reader.socket_addr()?,
            data: reader.socket_addr()?,
            manager_address: reader.socket_addr()?,
            ttl: reader.u8()?,
            timing: read_timing(reader)?,
            credential: Credential::decode(reader)?,
            roster: Roster::decode(reader)?,
            revocations: reader.list(MAX_GRANT_REVOCATIONS, "revocations", SignedRevocation::decode)?,
            prefilter: reader.secret()?,
        })
    }
}

fn read_timing(reader: &mut Reader<'_>) -> Result<Timing, Malformed> {
    let mut next = || {
        let millis = reader.u32()?;
        // A time of zero would make a member's timer run for ever without moving.
        if millis == 0 {
            Err(Malformed::Invalid("time"))
        } else {
            Ok(Duration::from_millis(u64::from(millis)))
        }
    };
    Ok(Timing {
        rekey_interval: next()?,
        alarm_interval: next()?,
        silence: next()?,
        soft_activation: next()?,
        soft_cut: next()?,
        hard_activation: next()?,
        hard_cut: next()?,
        keepalive: next()?,
        nak_wait: next()?,
        nak_round: next()?,
        refresh: next()?,
        t_hard: next()?,
    })
}

/// Why a manager does not let a node in. The node's operator reads the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Refusal {
    /// Its certificate does not have the role it asks for.
    #[error("its certificate does not carry the member role")]
    NotCertified,
    /// The access list denies it.
    #[error("the manager's access list denies this identity")]
    Denied,
    /// It was evicted.
    #[error("this identity or certificate was evicted from the group")]
    Revoked,
    /// The manager serves another group.
    #[error("the manager does not serve this group")]
    UnknownGroup,
    /// The subgroup is full or the manager overloaded.
    #[error("the subgroup has no room")]
    Full,
    /// The manager's store failed, so no join could be made durable.
    #[error("the manager's store failed: it admits nobody until it works again")]
    ReadOnly,
    /// The key confirmation did not hold: somebody stands between the two.
    #[error("the key confirmation failed")]
    NotConfirmed,
    /// The node serves the group and is not its manager now.
    #[error("this node is not the group's manager now")]
    NotManager,
}

impl Refusal {
    /// Every reason, in the order of its code.
    pub const ALL: [Self; 8] = [
        Self::NotCertified,
        Self::Denied,
        Self::Revoked,
        Self::UnknownGroup,
        Self::Full,
        Self::ReadOnly,
        Self::NotConfirmed,
        Self::NotManager,
    ];

    /// Whether asking again without a change by an operator is pointless.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::NotCertified | Self::Denied | Self::Revoked)
    }

    fn code(self) -> u8 {
        Self::ALL.iter().zip(1..).find_map(|(reason, code)| (*reason == self).then_some(code)).unwrap_or(0)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

impl Frame {
    const JOIN: u8 = 0x81;
    const GRANT: u8 = 0x82;
    const CONFIRM: u8 = 0x83;
    const ADMITTED: u8 = 0x84;
    const REFUSED: u8 = 0x85;
    const HANDOVER: u8 = 0x86;
    const HANDOVER_TAKEN: u8 = 0x87;
    const FOLLOW: u8 = 0x88;
    const STATE: u8 = 0x89;
    const CHANGE: u8 = 0x8a;
    const FOLLOWED: u8 = 0x8b;
    const OFFICE: u8 = 0x8c;
    const OFFICE_TAKEN: u8 = 0x8d;
    const WARRANT: u8 = 0x8e;

    /// The group an opening frame is for, so that one listener serves all groups of a process; `None` for a frame that
    /// opens nothing.
    pub fn group_of(bytes: &[u8]) -> Option<GroupId> {
        let mut reader = Reader::new(bytes);
        let known = reader.u8().ok()? == PROTOCOL_VERSION
            && matches!(reader.u8().ok()?, Self::JOIN | Self::HANDOVER | Self::FOLLOW);
        if known { reader.group().ok() } else { None }
    }

    /// The frame's payload.
    pub fn encode(&self) -> Vec<u8> {
        // All room at once: a buffer that grows leaves secrets behind where it was.
        let mut writer = Writer::with_capacity(match self {
            Self::State(StatePart { bytes, .. }) | Self::Change(_, bytes) => 64 + bytes.len(),
            _ => 0,
        });
        writer.u8(PROTOCOL_VERSION);
        match self {
            Self::Join(join) => {
                writer.u8(Self::JOIN).group(join.group);
                match join.role {
                    JoinRole::Member => writer.u8(1),
                };
                writer.bytes(&join.signing.0).bytes(&join.exchange.0);
            }
            Self::Grant(grant, confirm) => {
                writer.u8(Self::GRANT);
                grant.encode(&mut writer);
                writer.bytes(&confirm.mac);
            }
            Self::Confirm(confirm) => {
                writer.u8(Self::CONFIRM).bytes(&confirm.mac);
            }
            Self::Admitted => {
                writer.u8(Self::ADMITTED);
            }
            Self::Refused(reason) => {
                writer.u8(Self::REFUSED).u8(reason.code());
            }
            Self::Handover(handover) => {
                writer.u8(Self::HANDOVER).group(handover.group).subgroup(handover.subgroup);
                writer.state(handover.state);
                writer.list(&handover.revocations, |writer, revocation| revocation.encode(writer));
                put_senders(&mut writer, &handover.departed);
                put_senders(&mut writer, &handover.members);
                writer.bool(handover.last);
            }
            Self::HandoverTaken(taken) => {
                writer.u8(Self::HANDOVER_TAKEN);
                writer.option(taken.office.as_ref(), |writer, office| office.encode(writer));
                put_senders(&mut writer, &taken.strangers);
            }
            following => following.encode_following(&mut writer),
        }
        writer.into_bytes()
    }

    /// Reads a frame that came from an authenticated peer: the TLS connection proves its origin.
    pub fn decode(bytes: &[u8], _peer: &Peer) -> Result<Verified<Self>, Rejected> {
        Self::parse(bytes).map(Verified::new)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != PROTOCOL_VERSION {
            return Err(Rejected::Version);
        }
        let frame = match reader.u8()? {
            Self::JOIN => Self::Join(Join {
                group: reader.group()?,
                role: if reader.u8()? == 1 { JoinRole::Member } else { return Err(Rejected::Malformed) },
                signing: PublicKey(reader.array()?),
                exchange: ExchangePublic(reader.array()?),
            }),
            Self::GRANT => {
                Self::Grant(Box::new(Grant::decode(&mut reader)?), Confirm { mac: reader.array()? })
            }
            Self::CONFIRM => Self::Confirm(Confirm { mac: reader.array()? }),
            Self::ADMITTED => Self::Admitted,
            Self::REFUSED => Self::Refused(Refusal::from_code(reader.u8()?).ok_or(Rejected::Malformed)?),
            Self::HANDOVER => Self::Handover(Handover {
                group: reader.group()?,
                subgroup: reader.subgroup()?,
                state: reader.state()?,
                revocations: reader.list(MAX_GRANT_REVOCATIONS, "revocations", Revocation::decode)?,
                departed: read_senders(&mut reader)?,
                members: read_senders(&mut reader)?,
                last: reader.bool()?,
            }),
            Self::HANDOVER_TAKEN => Self::HandoverTaken(HandoverTaken {
                office: reader.option(Office::read)?,
                strangers: read_senders(&mut reader)?,
            }),
            kind => Self::decode_following(kind, &mut reader)?,
        };
        reader.finish()?;
        Ok(frame)
    }
}

fn put_senders(writer: &mut Writer, senders: &[SenderId]) {
    writer.list(senders, |writer, sender| {
        writer.sender(*sender);
    });
}

fn read_senders(reader: &mut Reader<'_>) -> Result<Vec<SenderId>, Malformed> {
    reader.list(MAX_HANDED, "sender ids", Reader::sender)
}

/// The MAC of one half of the key confirmation, over the JOIN and the GRANT as both ends saw them.
///
/// If the two ends disagree on anything in either, or on the channel, the registration ends here (attack A5).
pub fn confirmation(suite: Suite, key: &Secret<32>, join: &Join, grant: &Grant) -> [u8; 16] {
    let mut encoded = Writer::new();
    grant.encode(&mut encoded);
    mac(suite, key, Label::ConfirmMac, &[&Frame::Join(*join).encode(), encoded.as_bytes()])
}
