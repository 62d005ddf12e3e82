//! The header of a key update packet: 112 bytes, the same in every packet but for the index and the range.

use std::ops::Range;
use std::time::Duration;

use crypto::EntryIv;
use keytree::{Epoch, RegNo, Version};

use crate::alarm::millis16;
use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::{DatagramKind, Envelope};
use crate::ids::StateId;
use crate::keys::Domain;
use crate::limits::MAX_BLOCK_PACKETS;

/// Code of the scheme `lkh` (KG 2.2, 3.3), the only one there is so far.
pub const SCHEME_LKH: u8 = 2;
/// Code of the group-oriented rekey strategy (KG 3.4): one signed multicast for all.
pub const STRATEGY_GROUP_ORIENTED: u8 = 1;

/// What a key update packet says before its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpdateHeader {
    /// The state the update leads to.
    pub state: StateId,
    /// The epoch it was made from; a member behind it missed one.
    pub previous: Epoch,
    /// This packet among the data packets, then the parity packets.
    pub index: u16,
    /// How many data packets there are.
    pub data_packets: u16,
    /// Data packets of an FEC block; the last block may have fewer.
    pub block_data: u8,
    /// Parity packets of each block.
    pub block_parity: u8,
    /// The first reg-no the packet serves; of a parity packet, the first of its block.
    pub first: RegNo,
    /// The last one.
    pub last: RegNo,
    /// Levels of the tree above the leaves.
    pub height: u8,
    /// Version of the new root secret.
    pub root: Version,
    /// How often all leaf secrets were stepped.
    pub leaf_steps: u16,
    /// Whether somebody was evicted: the cut takes every older key.
    pub hard: bool,
    /// From the first sight of the state to sending under it.
    pub activation: Duration,
    /// Key-check value of the new state.
    pub key_check: [u8; 8],
    /// Digest of roster version and revocations.
    pub policy: [u8; 16],
    /// IV of all entries of the message.
    pub iv: EntryIv,
}

impl UpdateHeader {
    /// Its length in bytes, envelope included.
    pub const LEN: usize = 112;

    /// Packets of the message, parity included: the leaves of its Merkle tree.
    pub fn packets(&self) -> u32 {
        u32::from(self.data_packets) + u32::from(self.blocks()) * u32::from(self.block_parity)
    }

    /// Blocks of the message.
    pub fn blocks(&self) -> u16 {
        match self.block_data {
            0 => 0,
            data => self.data_packets.div_ceil(u16::from(data)),
        }
    }

    /// Whether this is a parity packet: it has a shard in the place of entries, and serves nobody by itself.
    pub const fn is_parity(&self) -> bool {
        self.index >= self.data_packets
    }

    /// The indices of a block's data packets.
    pub fn data_of(&self, block: u16) -> Range<u16> {
        let first = block.saturating_mul(u16::from(self.block_data)).min(self.data_packets);
        first..first.saturating_add(u16::from(self.block_data)).min(self.data_packets)
    }

    /// The indices of a block's parity packets.
    pub fn parity_of(&self, block: u16) -> Range<u16> {
        let parity = u16::from(self.block_parity);
        let first = self.data_packets.saturating_add(block.saturating_mul(parity));
        first..first.saturating_add(parity)
    }

    /// Block and position of the packet with this index: the data packets of a block, then its parity packets. A NAK
    /// names packets by position.
    pub fn place(&self, index: u16) -> (u16, u8) {
        let (block, position) = match index.checked_sub(self.data_packets) {
            None => (index / u16::from(self.block_data), index % u16::from(self.block_data)),
            Some(parity) => {
                let per_block = u16::from(self.block_parity).max(1);
                let block = parity / per_block;
                let data = self.data_of(block).len();
                (block, parity % per_block + u16::try_from(data).unwrap_or(0))
            }
        };
        (block, u8::try_from(position).unwrap_or(u8::MAX))
    }

    /// Whether the packet serves the member with this reg-no; for a parity packet, whether its block does.
    pub fn serves(&self, reg_no: RegNo) -> bool {
        self.first <= reg_no && reg_no <= self.last
    }

    /// Writes it, envelope first.
    pub fn encode(&self, domain: &Domain) -> Writer {
        let mut writer = Envelope::begin(DatagramKind::KeyUpdate, domain);
        writer.u8(SCHEME_LKH).u8(STRATEGY_GROUP_ORIENTED);
        writer.state(self.state).epoch(self.previous);
        writer.u16(self.index).u16(self.data_packets).u8(self.block_data).u8(self.block_parity);
        writer.reg_no(self.first).reg_no(self.last).u8(self.height).version(self.root).u16(self.leaf_steps);
        writer.bool(self.hard).u16(millis16(self.activation));
        writer.bytes(&self.key_check).bytes(&self.policy).bytes(self.iv.as_bytes());
        writer
    }

    /// Reads what follows the envelope.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u8()? != SCHEME_LKH {
            return Err(Malformed::Invalid("scheme"));
        }
        if reader.u8()? != STRATEGY_GROUP_ORIENTED {
            return Err(Malformed::Invalid("strategy"));
        }
        let header = Self {
            state: reader.state()?,
            previous: reader.epoch()?,
            index: reader.u16()?,
            data_packets: reader.u16()?,
            block_data: reader.u8()?,
            block_parity: reader.u8()?,
            first: reader.reg_no()?,
            last: reader.reg_no()?,
            height: reader.u8()?,
            root: reader.version()?,
            leaf_steps: reader.u16()?,
            hard: reader.bool()?,
            activation: Duration::from_millis(u64::from(reader.u16()?)),
            key_check: reader.array()?,
            policy: reader.array()?,
            iv: read_iv(reader)?,
        };
        header.check()?;
        Ok(header)
    }

    /// What no honest manager writes.
    fn check(&self) -> Result<(), Malformed> {
        if self.first > self.last {
            return Err(Malformed::Invalid("reg-no range"));
        }
        let block = usize::from(self.block_data) + usize::from(self.block_parity);
        if self.block_data == 0 || block > MAX_BLOCK_PACKETS || self.packets() > u32::from(u16::MAX) {
            return Err(Malformed::Invalid("packet counts"));
        }
        if u32::from(self.index) >= self.packets() {
            return Err(Malformed::Invalid("packet index"));
        }
        if self.previous >= self.state.epoch {
            return Err(Malformed::Invalid("epoch order"));
        }
        Ok(())
    }
}

/// An IV whose top bit is clear; with the bit set it would meet the blocks of the one-way functions.
fn read_iv(reader: &mut Reader<'_>) -> Result<EntryIv, Malformed> {
    let bytes = reader.array::<12>()?;
    if bytes[0] & 0x80 != 0 {
        return Err(Malformed::Invalid("IV"));
    }
    Ok(EntryIv::new(bytes))
}
