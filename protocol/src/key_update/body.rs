//! The body of a key update packet: changed nodes and their entries, packed to about two bytes above the sealed key.
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | level, change, chained | 1 | level in the low 5 bits, change in the next 2, top bit: a chain slot follows |
//! | index | 1–5 | varint; from the second target of a level on, the distance to the one before |
//! | chain slot | 0–1 | the child whose new key this one is derived from |
//! | version | 0–8 | of a stepped node only: epochs since its base, steps, both varint |
//! | children | 1–3 | varint bit mask of the child slots that have an entry |
//! | then for each entry: | | |
//! | wrapping key | 0–8 | of an inner child only: varint (epochs since its base) · 2 + (steps follow), varint steps |
//! | sealed key | 32 or 40 | by suite |
//!
//! A leaf secret wraps at the header's leaf steps, a replaced or fresh node is at the header's epoch: neither is sent.

use crypto::Suite;
use keytree::{Change, Entry, Epoch, NodeId, Sealed, Target, Version};

use super::header::UpdateHeader;
use crate::codec::{Malformed, Reader, Writer};

/// The changed nodes that one packet carries, in ascending order, and the entries they point into.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    /// Changed nodes.
    pub targets: Vec<Target>,
    /// Their entries.
    pub entries: Vec<Entry>,
}

/// Bits of the first byte of a target.
const CHAINED: u8 = 0x80;

/// Upper bound of a target's bytes without its entries; the packer counts with it.
pub const fn target_bound(target: &Target) -> usize {
    let version = match target.change {
        Change::Step => 8,
        Change::Replace | Change::Fresh => 0,
    };
    let chain = if target.chained_from.is_some() { 1 } else { 0 };
    1 + varint_len(target.node.index) + chain + version + 3
}

/// Upper bound of an entry's bytes under a target of `level`.
pub fn entry_bound(suite: Suite, epoch: Epoch, level: u8, wrapping: Version) -> usize {
    let named = match level {
        1 => 0,
        _ => {
            let steps = if wrapping.steps == 0 { 0 } else { varint_len(u32::from(wrapping.steps)) };
            varint_len(epoch.0.saturating_sub(wrapping.base.0).saturating_mul(2)) + steps
        }
    };
    suite.entry_len() + named
}

const fn varint_len(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

impl Body {
    /// Appends the body of a packet with this header.
    ///
    /// The targets are the manager's own plan: levels below 32, bases not after the epoch. Nothing else is encodable.
    pub fn encode(&self, header: &UpdateHeader, writer: &mut Writer) {
        let mut before: Option<NodeId> = None;
        for target in &self.targets {
            self.encode_target(target, before, header, writer);
            before = Some(target.node);
        }
    }

    fn encode_target(
        &self,
        target: &Target,
        before: Option<NodeId>,
        header: &UpdateHeader,
        writer: &mut Writer,
    ) {
        let chained = if target.chained_from.is_some() { CHAINED } else { 0 };
        writer.u8(target.node.level | change_code(target.change) << 5 | chained);
        let distance =
            before.filter(|before| before.level == target.node.level).map_or(0, |before| before.index);
        writer.varint(target.node.index - distance);
        if let Some(slot) = target.chained_from {
            writer.u8(slot);
        }
        if target.change == Change::Step {
            writer
                .varint(header.state.epoch.0 - target.version.base.0)
                .varint(u32::from(target.version.steps));
        }
        let entries = &self.entries[target.entries.start as usize..target.entries.end as usize];
        writer.varint(entries.iter().fold(0, |mask, entry| mask | 1 << entry.child));
        for entry in entries {
            if target.node.level > 1 {
                let since = header.state.epoch.0 - entry.wrapping.base.0;
                writer.varint(since << 1 | u32::from(entry.wrapping.steps > 0));
                if entry.wrapping.steps > 0 {
                    writer.varint(u32::from(entry.wrapping.steps));
                }
            }
            writer.bytes(entry.sealed.as_slice());
        }
    }

    /// Reads a body that fills `reader` to its end.
    pub fn decode(suite: Suite, header: &UpdateHeader, mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let mut body = Self::default();
        let mut before: Option<NodeId> = None;
        while reader.remaining() > 0 {
            let target = body.decode_target(suite, header, before, &mut reader)?;
            if before
                .is_some_and(|before| (before.level, before.index) >= (target.node.level, target.node.index))
            {
                return Err(Malformed::Invalid("target order"));
            }
            before = Some(target.node);
            body.targets.push(target);
        }
        Ok(body)
    }

    fn decode_target(
        &mut self,
        suite: Suite,
        header: &UpdateHeader,
        before: Option<NodeId>,
        reader: &mut Reader<'_>,
    ) -> Result<Target, Malformed> {
        let first = reader.u8()?;
        let level = first & 0x1f;
        if level == 0 {
            return Err(Malformed::Invalid("target level"));
        }
        let change = change_of(first >> 5 & 0x03)?;
        let distance = before.filter(|before| before.level == level).map_or(0, |before| before.index);
        let index = reader.varint()?.checked_add(distance).ok_or(Malformed::Invalid("target index"))?;
        let chained_from = if first & CHAINED == 0 { None } else { Some(chain_slot(reader, change)?) };
        let version = match change {
            Change::Step => stepped_version(header, reader)?,
            Change::Replace | Change::Fresh => Version { base: header.state.epoch, steps: 0 },
        };
        let mask = u16::try_from(reader.varint()?).map_err(|_| Malformed::Invalid("child mask"))?;
        let start = self.entries.len();
        for child in (0..16).filter(|child| mask & 1 << child != 0) {
            let wrapping = wrapping_version(header, level, reader)?;
            let sealed =
                Sealed::from_slice(reader.take(suite.entry_len())?).ok_or(Malformed::Invalid("entry"))?;
            self.entries.push(Entry { child, wrapping, sealed });
        }
        let entries = index_of(start)?..index_of(self.entries.len())?;
        Ok(Target { node: NodeId { level, index }, change, chained_from, version, entries })
    }
}

const fn change_code(change: Change) -> u8 {
    match change {
        Change::Replace => 0,
        Change::Step => 1,
        Change::Fresh => 2,
    }
}

const fn change_of(code: u8) -> Result<Change, Malformed> {
    match code {
        0 => Ok(Change::Replace),
        1 => Ok(Change::Step),
        2 => Ok(Change::Fresh),
        _ => Err(Malformed::Invalid("change")),
    }
}

fn chain_slot(reader: &mut Reader<'_>, change: Change) -> Result<u8, Malformed> {
    let slot = reader.u8()?;
    if slot > 15 || change != Change::Replace {
        return Err(Malformed::Invalid("chain"));
    }
    Ok(slot)
}

fn stepped_version(header: &UpdateHeader, reader: &mut Reader<'_>) -> Result<Version, Malformed> {
    let base = base_before(header, reader.varint()?)?;
    Ok(Version { base, steps: steps(reader.varint()?)? })
}

fn wrapping_version(header: &UpdateHeader, level: u8, reader: &mut Reader<'_>) -> Result<Version, Malformed> {
    if level == 1 {
        return Ok(Version { base: Epoch(0), steps: header.leaf_steps });
    }
    let coded = reader.varint()?;
    let base = base_before(header, coded >> 1)?;
    let steps = if coded & 1 == 0 { 0 } else { steps(reader.varint()?)? };
    Ok(Version { base, steps })
}

/// The base `since` epochs before the header's.
fn base_before(header: &UpdateHeader, since: u32) -> Result<Epoch, Malformed> {
    header.state.epoch.0.checked_sub(since).map(Epoch).ok_or(Malformed::Invalid("base"))
}

/// A step count that is written only where it is not zero.
fn steps(value: u32) -> Result<u16, Malformed> {
    match u16::try_from(value) {
        Ok(steps) if steps > 0 => Ok(steps),
        _ => Err(Malformed::Invalid("steps")),
    }
}

fn index_of(len: usize) -> Result<u32, Malformed> {
    u32::try_from(len).map_err(|_| Malformed::TooLong("entries"))
}
