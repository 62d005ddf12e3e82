//! The alive alarm (GSM 2.1 and 3.5): the manager's signed heartbeat and the newest word on its state.

use std::time::Duration;

use crypto::{Label, MerkleHash, PublicKey, Signature, Signer, Verifier};
use keytree::{Epoch, Version};

use crate::Instant;
use crate::budget::Budget;
use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::{DatagramKind, Envelope, Verified};
use crate::ids::{RosterVersion, SenderId, StateId, SubgroupId};
use crate::keys::Domain;
use crate::limits::{MAX_DEPTH, MAX_SUCCESSORS};
use crate::machine::Rejected;
use crate::roster::signed_with_room;

/// What a manager says of itself every alarm interval.
///
/// GSM puts the whole member list in it; that does not scale, so members get successors here and operators get the
/// list on the control socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// The state every member should hold.
    pub state: StateId,
    /// Counts the alarms of this start, so an old one cannot be replayed.
    pub counter: u64,
    /// The newest record the manager's store holds.
    pub journal: u64,
    /// Version of the root secret: a member at the same base steps forward by itself.
    pub root: Version,
    /// Levels of the key tree above the leaves.
    pub height: u8,
    /// How often all leaf secrets were stepped.
    pub leaf_steps: u16,
    /// Key-check value of the state.
    pub key_check: [u8; 8],
    /// Whether the state came by an eviction.
    pub hard: bool,
    /// From the first sight of the state to sending under it.
    pub activation: Duration,
    /// Merkle root of the state's key update; the all-zero root when there was none.
    pub message_root: MerkleHash,
    /// Packets of that key update, parity included.
    pub message_packets: u16,
    /// The oldest epoch whose data is still accepted.
    pub oldest: Epoch,
    /// Version of the roster.
    pub roster: RosterVersion,
    /// Digest of roster version and revocations.
    pub policy: [u8; 16],
    /// Until the next scheduled key update; zero when nothing is pending.
    pub next_rekey: Duration,
    /// Subgroups from the manager's parent to the root; empty for the root itself.
    pub path: Vec<SubgroupId>,
    /// The first eligible members, in the order in which they would take over.
    pub successors: Vec<SenderId>,
    /// Which of them hold everything the manager has acknowledged: a bit each, the lowest for the first. Nobody else
    /// takes over.
    pub in_step: u8,
    /// Registrations, the manager's own included: so many suspicions there can be.
    pub members: u32,
    /// Renewals of the leaf secrets so far. A member that has fewer lacks a RENEWAL.
    pub renewals: u16,
}

impl Alarm {
    /// The successors that are in step with the manager, in the order in which they would take over.
    pub fn successors_in_step(&self) -> Vec<SenderId> {
        let in_step = |place: &usize| self.in_step & 1 << place != 0;
        (0..self.successors.len()).filter(in_step).map(|place| self.successors[place]).collect()
    }

    /// The datagram, signed.
    pub fn encode(&self, domain: &Domain, signer: &dyn Signer) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Alarm, domain);
        self.write(&mut writer);
        let signature = signer.sign(&signed_part(domain, writer.as_bytes()));
        writer.bytes(&signature.0);
        writer.into_bytes()
    }

    /// Reads a datagram and checks the manager's signature; costs one signature check.
    pub(crate) fn open(
        datagram: &[u8],
        domain: &Domain,
        manager: &PublicKey,
        verifier: &dyn Verifier,
    ) -> Result<Option<Self>, Malformed> {
        let (alarm, content, signature) = Self::decode(datagram)?;
        Ok(is_genuine(domain, manager, verifier, content, &signature).then_some(alarm))
    }

    /// Verifies an alarm at a manager, which hears one of its own key and subgroup only when another start of it is at
    /// work. Costs one signature check, if `budget` has one left at `now`. Taking a forged one would silence a manager.
    pub fn verify(
        datagram: &[u8],
        domain: &Domain,
        manager: &PublicKey,
        verifier: &dyn Verifier,
        (now, budget): (Instant, &mut Budget),
    ) -> Result<Verified<Self>, Rejected> {
        if Envelope::for_domain(datagram, domain)?.kind != DatagramKind::Alarm {
            return Err(Rejected::NotForUs);
        }
        let (alarm, content, signature) = Self::decode(datagram)?;
        if !budget.take(now) {
            return Err(Rejected::OverBudget);
        }
        let genuine = is_genuine(domain, manager, verifier, content, &signature);
        genuine.then(|| Verified::new(alarm)).ok_or(Rejected::NotAuthentic)
    }

    /// Splits a datagram into alarm, signed bytes and signature, without believing any of it.
    pub(crate) fn decode(datagram: &[u8]) -> Result<(Self, &[u8], Signature), Malformed> {
        let content_len = datagram.len().checked_sub(64).ok_or(Malformed::Truncated)?;
        let (content, signature) = datagram.split_at(content_len);
        let mut reader = Reader::new(content);
        reader.take(Envelope::LEN)?;
        let alarm = Self::read(&mut reader)?;
        reader.finish()?;
        Ok((alarm, content, Signature(Reader::new(signature).array()?)))
    }

    fn write(&self, writer: &mut Writer) {
        writer.state(self.state).u64(self.counter).u64(self.journal);
        writer.version(self.root).u8(self.height).u16(self.leaf_steps).bytes(&self.key_check);
        writer.bool(self.hard).u16(millis16(self.activation));
        writer.bytes(&self.message_root.0).u16(self.message_packets).epoch(self.oldest);
        writer.roster_version(self.roster).bytes(&self.policy).u32(millis32(self.next_rekey));
        writer.list(&self.path, |writer, subgroup| {
            writer.subgroup(*subgroup);
        });
        writer.list(&self.successors, |writer, sender| {
            writer.sender(*sender);
        });
        writer.u8(self.in_step).u32(self.members).u16(self.renewals);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            state: reader.state()?,
            counter: reader.u64()?,
            journal: reader.u64()?,
            root: reader.version()?,
            height: reader.u8()?,
            leaf_steps: reader.u16()?,
            key_check: reader.array()?,
            hard: reader.bool()?,
            activation: Duration::from_millis(u64::from(reader.u16()?)),
            message_root: MerkleHash(reader.array()?),
            message_packets: reader.u16()?,
            oldest: reader.epoch()?,
            roster: reader.roster_version()?,
            policy: reader.array()?,
            next_rekey: Duration::from_millis(u64::from(reader.u32()?)),
            path: reader.list(MAX_DEPTH, "path", Reader::subgroup)?,
            successors: reader.list(MAX_SUCCESSORS, "successors", Reader::sender)?,
            in_step: reader.u8()?,
            members: reader.u32()?,
            renewals: reader.u16()?,
        })
    }
}

/// Whether the manager signed what [`Alarm::decode`] split a datagram into; costs one signature check.
pub(crate) fn is_genuine(
    domain: &Domain,
    manager: &PublicKey,
    verifier: &dyn Verifier,
    content: &[u8],
    signature: &Signature,
) -> bool {
    verifier.verify(manager, &signed_part(domain, content), signature)
}

/// What the manager signs: a label of its own, then the datagram from its envelope on.
fn signed_part(domain: &Domain, content: &[u8]) -> Vec<u8> {
    let mut writer = signed_with_room(Label::SignAlarm, domain, content.len());
    writer.bytes(content);
    writer.into_bytes()
}

/// Whole milliseconds in 16 bits; longer delays than a minute are not configurable.
pub(crate) fn millis16(duration: Duration) -> u16 {
    u16::try_from(duration.as_millis()).unwrap_or(u16::MAX)
}

/// Whole milliseconds in 32 bits (49 days).
pub(crate) fn millis32(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
