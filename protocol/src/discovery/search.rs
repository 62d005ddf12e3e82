//! FIND and its answers. Nothing in them is proven.

use std::net::SocketAddr;

use super::{Hint, expect, nowhere};
use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::{DatagramKind, Envelope};
use crate::ids::{GroupId, SubgroupId, Term};
use crate::limits::{MAX_DATAGRAM, MAX_DEPTH, MAX_PRESENCE};
use crate::machine::Rejected;

/// Registrars named in one message.
pub(super) const MAX_REGISTRARS: usize = 4;

/// What is searched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FindKind {
    /// The manager of this site's subgroup.
    Local,
    /// A manager to be the parent of another one.
    Parent,
}

/// "Who manages this group?" Multicast ring by ring: the ring is the TTL it is sent with.
///
/// Padded to [`MAX_DATAGRAM`], so that no answer is longer: a forged source gains nothing (attack A3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Find {
    /// What is searched for.
    pub kind: FindKind,
    /// The TTL it is sent with; an answer goes no further.
    pub ring: u8,
    /// Random; echoed by the answers.
    pub nonce: u64,
    /// The asker's own path to the root, so that nobody below it answers; empty for a local search.
    pub path: Vec<SubgroupId>,
}

/// "I do, and members register there." Unicast by a manager, after a short random wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// From the FIND.
    pub nonce: u64,
    /// The subgroup it manages.
    pub subgroup: SubgroupId,
    /// Where to register, best first; at most four.
    pub registrars: Vec<SocketAddr>,
    /// Its term.
    pub term: Term,
    /// Managers between it and the root.
    pub depth: u8,
    /// Those managers' subgroups, its parent first.
    pub ancestors: Vec<SubgroupId>,
    /// Its members.
    pub load: u32,
}

/// "My manager is silent; this is the last I heard of it." Unicast by a member, so that a newcomer does not claim a
/// group whose members hold a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// From the FIND.
    pub nonce: u64,
    /// The manager's last [`Presence`](super::Presence), as it was sent; it proves itself.
    pub presence: Vec<u8>,
}

impl Find {
    /// The datagram, padded.
    pub fn encode(&self, group: GroupId) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Find, &nowhere(group));
        writer.u8(match self.kind {
            FindKind::Local => 1,
            FindKind::Parent => 2,
        });
        writer.u8(self.ring).u64(self.nonce);
        put_path(&mut writer, &self.path);
        let mut bytes = writer.into_bytes();
        bytes.resize(MAX_DATAGRAM, 0);
        bytes
    }

    /// Reads a datagram. One that is not padded to the full length is refused: its answer could be longer than itself.
    pub fn decode(datagram: &[u8], group: GroupId) -> Result<Hint<Self>, Rejected> {
        expect(DatagramKind::Find, group, datagram)?;
        if datagram.len() != MAX_DATAGRAM {
            return Err(Rejected::Malformed);
        }
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let kind = match reader.u8()? {
            1 => FindKind::Local,
            2 => FindKind::Parent,
            _ => return Err(Rejected::Malformed),
        };
        let find =
            Self { kind, ring: reader.u8()?, nonce: reader.u64()?, path: read_path(&mut reader, "path")? };
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(Rejected::Malformed);
        }
        Ok(Hint(find))
    }
}

impl Reply {
    /// The datagram.
    pub fn encode(&self, group: GroupId) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Reply, &nowhere(group));
        writer.u64(self.nonce).subgroup(self.subgroup);
        put_registrars(&mut writer, &self.registrars);
        writer.u32(self.term.0).u8(self.depth);
        put_path(&mut writer, &self.ancestors);
        writer.u32(self.load);
        writer.into_bytes()
    }

    /// Reads a datagram. Whoever answers may be anybody: the registrars it names prove themselves by TLS or not at all.
    pub fn decode(datagram: &[u8], group: GroupId) -> Result<Hint<Self>, Rejected> {
        expect(DatagramKind::Reply, group, datagram)?;
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let reply = Self {
            nonce: reader.u64()?,
            subgroup: reader.subgroup()?,
            registrars: read_registrars(&mut reader)?,
            term: Term(reader.u32()?),
            depth: reader.u8()?,
            ancestors: read_path(&mut reader, "ancestors")?,
            load: reader.u32()?,
        };
        reader.finish()?;
        Ok(Hint(reply))
    }
}

impl Held {
    /// The datagram.
    pub fn encode(&self, group: GroupId) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Held, &nowhere(group));
        writer.u64(self.nonce).opaque(&self.presence);
        writer.into_bytes()
    }

    /// Reads a datagram; the presence in it is still to be verified.
    pub fn decode(datagram: &[u8], group: GroupId) -> Result<Hint<Self>, Rejected> {
        expect(DatagramKind::Held, group, datagram)?;
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let held = Self { nonce: reader.u64()?, presence: reader.opaque(MAX_PRESENCE, "presence")?.to_vec() };
        reader.finish()?;
        Ok(Hint(held))
    }
}

fn put_path(writer: &mut Writer, path: &[SubgroupId]) {
    writer.list(path, |writer, subgroup| {
        writer.subgroup(*subgroup);
    });
}

fn read_path(reader: &mut Reader<'_>, name: &'static str) -> Result<Vec<SubgroupId>, Malformed> {
    reader.list(MAX_DEPTH, name, Reader::subgroup)
}

pub(super) fn put_registrars(writer: &mut Writer, registrars: &[SocketAddr]) {
    let named = &registrars[..registrars.len().min(MAX_REGISTRARS)];
    writer.list(named, |writer, registrar| {
        writer.socket_addr(*registrar);
    });
}

pub(super) fn read_registrars(reader: &mut Reader<'_>) -> Result<Vec<SocketAddr>, Malformed> {
    reader.list(MAX_REGISTRARS, "registrars", Reader::socket_addr)
}
