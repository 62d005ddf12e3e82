//! The frames between a manager and a standby that follows it (DESIGN: failover): FOLLOW, STATE, CHANGE, FOLLOWED; and OFFICE,
//! OFFICE_TAKEN, WARRANT when the manager hands its office on.
//!
//! They go over the standby's TLS connection to the registrar, so only a certified node that is a member speaks them.

use std::net::SocketAddr;

use crypto::PublicKey;

use super::Frame;
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{Commit, GroupId, SenderId, StateId, SubgroupId};
use crate::limits::{MAX_DATAGRAM, MAX_STATE_PART};

/// What a successor opens its connection to the manager with, when the alarm names it among the first
/// [`STANDBYS`](crate::limits::STANDBYS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Follow {
    /// The group.
    pub group: GroupId,
    /// The subgroup.
    pub subgroup: SubgroupId,
    /// The standby's registration.
    pub sender: SenderId,
}

/// A part of the manager's state, which a standby puts together: it holds every leaf secret.
#[derive(Clone, PartialEq, Eq)]
pub struct StatePart {
    /// The newest record in it.
    pub upto: Commit,
    /// Which part, from 0.
    pub part: u16,
    /// How many there are; at least 1.
    pub parts: u16,
    /// At most [`MAX_STATE_PART`] bytes. Whoever holds them wipes them.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for StatePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StatePart({}/{} of {:?}, {} bytes)", self.part, self.parts, self.upto, self.bytes.len())
    }
}

/// The start of a standby that was told to take over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfficeTaken {
    /// Its start, at epoch 0.
    pub start: StateId,
    /// Its signing key.
    pub key: PublicKey,
    /// Where it takes unicast.
    pub address: SocketAddr,
    /// Where nodes register with it.
    pub registrar: SocketAddr,
}

/// The frames between a standby and its manager.
impl Frame {
    pub(super) fn encode_following(&self, writer: &mut Writer) {
        match self {
            Self::Follow(follow) => {
                writer.u8(Self::FOLLOW).group(follow.group).subgroup(follow.subgroup).sender(follow.sender)
            }
            Self::State(state) => {
                writer.u8(Self::STATE).u64(state.upto.0).u16(state.part).u16(state.parts);
                writer.opaque(&state.bytes)
            }
            Self::Change(commit, bytes) => writer.u8(Self::CHANGE).u64(commit.0).opaque(bytes),
            Self::Followed(upto) => writer.u8(Self::FOLLOWED).u64(upto.0),
            Self::Office(upto) => writer.u8(Self::OFFICE).u64(upto.0),
            Self::OfficeTaken(taken) => {
                writer.u8(Self::OFFICE_TAKEN).state(taken.start).bytes(&taken.key.0);
                writer.socket_addr(taken.address).socket_addr(taken.registrar)
            }
            Self::Warrant(takeover) => writer.u8(Self::WARRANT).opaque(takeover),
            _ => writer,
        };
    }

    pub(super) fn decode_following(kind: u8, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match kind {
            Self::FOLLOW => Self::Follow(Follow {
                group: reader.group()?,
                subgroup: reader.subgroup()?,
                sender: reader.sender()?,
            }),
            Self::STATE => Self::State(StatePart {
                upto: Commit(reader.u64()?),
                part: reader.u16()?,
                parts: reader.u16()?,
                bytes: reader.opaque(MAX_STATE_PART, "state")?.to_vec(),
            }),
            Self::CHANGE => {
                Self::Change(Commit(reader.u64()?), reader.opaque(MAX_STATE_PART, "record")?.to_vec())
            }
            Self::FOLLOWED => Self::Followed(Commit(reader.u64()?)),
            Self::OFFICE => Self::Office(Commit(reader.u64()?)),
            Self::OFFICE_TAKEN => Self::OfficeTaken(OfficeTaken {
                start: reader.state()?,
                key: PublicKey(reader.array()?),
                address: reader.socket_addr()?,
                registrar: reader.socket_addr()?,
            }),
            Self::WARRANT => Self::Warrant(reader.opaque(MAX_DATAGRAM, "takeover")?.to_vec()),
            _ => return Err(Malformed::Invalid("frame")),
        })
    }
}
