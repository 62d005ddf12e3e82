//! The names of things: groups, subgroups, registrations, states.

use std::fmt;
use std::net::Ipv4Addr;

use crypto::{Label, Suite, hash};
use keytree::Epoch;

/// Bytes in lower-case hexadecimal, for identifiers only: no secret has a `Display`.
fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// A multicast group: 128 bits over the group's name and the key of its certificate authority.
///
/// A node computes it from what it is configured with, so two groups of one name under two authorities never mix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId([u8; 16]);

impl GroupId {
    /// Length on the wire, in bytes.
    pub const LEN: usize = 16;

    /// The identifier of the group called `name` under the authority whose public key (DER) is `authority_key`.
    ///
    /// It is the same in both cipher suites, for a node finds its group before it learns the group's suite.
    pub fn derive(name: &str, authority_key: &[u8]) -> Self {
        let digest = hash(Suite::Aes256Ctr, Label::GroupId, &[name.as_bytes(), authority_key]);
        let mut id = [0; Self::LEN];
        id.copy_from_slice(&digest[..Self::LEN]);
        Self(id)
    }

    /// The identifier with these bytes, as read from a message.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand on the wire.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The multicast address on which the group's nodes find each other: within 239.192.0.0/14, whatever addresses its
    /// subgroups use, so that a node needs no address configured.
    pub fn discovery_ip(&self) -> Ipv4Addr {
        organization_local(&hash(Suite::Aes256Ctr, Label::DiscoveryAddress, &[&self.0]))
    }
}

/// The address within 239.192.0.0/14, the organization-local scope of RFC 2365, that a digest names.
pub(crate) const fn organization_local(digest: &[u8; 32]) -> Ipv4Addr {
    Ipv4Addr::new(239, 192 | (digest[0] & 0x03), digest[1], digest[2])
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

/// One subgroup: a manager and its members, sharing one local group address. Drawn at random by the first manager.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubgroupId(pub u64);

impl fmt::Display for SubgroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SubgroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 64 random bits drawn at each start of a manager. No state of one start is continued by another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inst(pub u64);

impl fmt::Debug for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Counts the managerships of one subgroup, from 1. Every start of a manager is a new one, durable before its first
/// packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Term(pub u32);

/// One registration of one node: 32 bits of the manager's `inst` and 32 counted, never issued twice.
///
/// Unique without anything kept over a restart, since each start draws another `inst`. Nothing of a sender id that left
/// is taken once the keys it knew are cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderId(pub u64);

impl SenderId {
    /// The `count`-th registration under the manager start `inst`.
    pub const fn issue(inst: Inst, count: u32) -> Self {
        Self((inst.0 >> 32) << 32 | count as u64)
    }
}

impl fmt::Display for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one state of a subgroup, and so one group key. Two states with the same id are the same state.
///
/// Ordered by term, then *lower* inst, then epoch. Epochs compare only within one inst.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateId {
    /// The managership.
    pub term: Term,
    /// The start of the manager within it.
    pub inst: Inst,
    /// The key update within that.
    pub epoch: Epoch,
}

impl StateId {
    /// Length on the wire, in bytes.
    pub const LEN: usize = 16;

    /// The bytes that stand in messages and key derivations: term, inst, epoch, big-endian.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.term.0.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.inst.0.to_be_bytes());
        bytes[12..].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes
    }

    /// Whether both states belong to one start of one manager, so that their epochs count the same updates.
    pub fn same_start(self, other: Self) -> bool {
        self.term == other.term && self.inst == other.inst
    }

    /// The state of the same start at another epoch.
    pub const fn at(self, epoch: Epoch) -> Self {
        Self { epoch, ..self }
    }

    /// A 32-bit name for the outer header of data packets, to pick the key from a ring of a few.
    ///
    /// It proves nothing; two states that collide cost a receiver one failed unwrap.
    pub fn key_id(self) -> u32 {
        let digest = hash(Suite::Aes256Ctr, Label::StateKeyId, &[&self.to_bytes()]);
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }
}

impl Ord for StateId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.term
            .cmp(&other.term)
            .then_with(|| other.inst.cmp(&self.inst))
            .then_with(|| self.epoch.cmp(&other.epoch))
    }
}

impl PartialOrd for StateId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08x}/{}", self.term.0, self.inst.0 >> 32, self.epoch.0)
    }
}

impl fmt::Debug for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Counts the rosters of eligible successors that one manager start has signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RosterVersion(pub u32);

/// The number of a record in a machine's journal, from 1. `Commit(0)` precedes every record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Commit(pub u64);

/// A connection of the driver, for its machine's eyes only; never on the wire, never used twice.
///
/// The driver numbers accepted connections with even numbers; a machine numbers those it opens with odd ones, so
/// neither has to ask the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);
