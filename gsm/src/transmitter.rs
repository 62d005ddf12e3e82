//! The transmitter (GSM 2.1): makes the packets of a key update, sends them, and repairs what was lost (GSM 3.6).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crypto::{MerkleHash, Secret, Signer};
use keytree::{RegNo, StagedRekey};
use protocol::limits::{KEPT_UPDATES, REPAIR_BYTES_FACTOR};
use protocol::{
    Domain, Epoch, Instant, Nak, Rejected, StateId, Transmit, UpdateHeader, Verified, packet_overhead,
    seal_update,
};

use crate::packing::{Share, pack};

/// Data packets of an FEC block. Parity is not sent yet; its place in the header is fixed.
const BLOCK_DATA: u8 = 10;
/// NAKs whose nonces are remembered.
const MAX_HEARD: usize = 1_024;

/// What the packets of one key update have in common.
#[derive(Clone, Debug)]
pub(crate) struct UpdateTerms {
    /// The state it leads to.
    pub(crate) state: StateId,
    /// The epoch it leads on from.
    pub(crate) previous: Epoch,
    /// Whether somebody was evicted.
    pub(crate) hard: bool,
    /// The activation delay.
    pub(crate) activation: Duration,
    /// The new state's key-check value.
    pub(crate) key_check: [u8; 8],
    /// Digest of roster version and revocations.
    pub(crate) policy: [u8; 16],
}

/// One key update as it was sent, kept for repair.
#[derive(Debug)]
struct Kept {
    state: StateId,
    root: MerkleHash,
    packets: Vec<KeptPacket>,
    bytes: usize,
    repaired: usize,
}

#[derive(Debug)]
struct KeptPacket {
    first: RegNo,
    last: RegNo,
    bytes: Vec<u8>,
    /// When it was last sent for a NAK.
    repaired: Option<Instant>,
}

/// Sends key updates and answers NAKs.
#[derive(Debug)]
pub(crate) struct Transmitter {
    control: SocketAddr,
    ttl: u8,
    packet_size: usize,
    kept: VecDeque<Kept>,
    /// Nonces of the newest NAKs: a recorded one that is sent again must not use up the repair of an epoch.
    heard: VecDeque<u64>,
}

/// What a key update cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}

impl Transmitter {
    pub(crate) const fn new(control: SocketAddr, ttl: u8, packet_size: usize) -> Self {
        Self { control, ttl, packet_size, kept: VecDeque::new(), heard: VecDeque::new() }
    }

    /// Root and packet count of the newest key update, for the alarm.
    pub(crate) fn newest(&self) -> Option<(MerkleHash, u16)> {
        let newest = self.kept.back()?;
        Some((newest.root, u16::try_from(newest.packets.len()).unwrap_or(u16::MAX)))
    }

    /// Makes and sends the packets of a staged rekey, under one signature.
    ///
    /// `prefilter` is the key of the state the members hold now.
    pub(crate) fn send(
        &mut self,
        domain: &Domain,
        terms: &UpdateTerms,
        staged: &StagedRekey,
        signer: &dyn Signer,
        prefilter: Option<&Secret<32>>,
    ) -> (Vec<Transmit>, Sent) {
        let shares = self.shares(staged);
        let ranges: Vec<_> = shares.iter().map(|share| (share.first, share.last)).collect();
        let contents: Vec<_> = contents(terms, staged, shares);
        let Some(sealed) = seal_update(domain, &contents, signer, prefilter) else {
            return (Vec::new(), Sent { packets: 0, bytes: 0 });
        };
        let bytes = sealed.packets.iter().map(Vec::len).sum();
        let sent = Sent { packets: sealed.packets.len(), bytes };
        let transmits = sealed.packets.iter().map(|packet| self.multicast(packet.clone())).collect();
        let packets = ranges.into_iter().zip(sealed.packets).map(|((first, last), bytes)| KeptPacket {
            first,
            last,
            bytes,
            repaired: None,
        });
        let kept =
            Kept { state: terms.state, root: sealed.root, packets: packets.collect(), bytes, repaired: 0 };
        self.kept.push_back(kept);
        if self.kept.len() > KEPT_UPDATES {
            self.kept.pop_front();
        }
        (transmits, sent)
    }

    /// The packets a NAK asks for: of every update kept after the epoch the member holds, the one that serves it.
    ///
    /// A packet that went out within `wait`, in which all members ask that lost it together, serves this one too. All
    /// repair of an epoch together costs at most [`REPAIR_BYTES_FACTOR`] times its key update; beyond that, the member's
    /// unicast request has to do. `Err` for a NAK that was heard before; nothing changed then.
    pub(crate) fn repair(
        &mut self,
        now: Instant,
        wait: Duration,
        nak: &Verified<Nak>,
    ) -> Result<Vec<Transmit>, Rejected> {
        if self.heard.contains(&nak.nonce) {
            return Err(Rejected::Duplicate);
        }
        self.heard.push_back(nak.nonce);
        if self.heard.len() > MAX_HEARD {
            self.heard.pop_front();
        }
        let behind =
            self.kept.iter_mut().filter(|kept| kept.state <= nak.wanted && kept.state.epoch > nak.held);
        let repairs: Vec<_> = behind.filter_map(|kept| kept.repair(now, wait, nak.reg_no)).collect();
        Ok(repairs.into_iter().map(|packet| self.multicast(packet)).collect())
    }

    /// A datagram to the control address.
    pub(crate) const fn multicast(&self, bytes: Vec<u8>) -> Transmit {
        Transmit::Multicast { to: self.control, ttl: self.ttl, bytes }
    }

    /// Splits the update so that each packet fits, whatever the length of the Merkle path turns out to be.
    fn shares(&self, staged: &StagedRekey) -> Vec<Share> {
        let mut packets = 1;
        loop {
            let room = self.packet_size.saturating_sub(packet_overhead(packets));
            let shares = pack(staged, room);
            if packet_overhead(shares.len()) <= packet_overhead(packets) {
                return shares;
            }
            packets = shares.len();
        }
    }
}

impl Kept {
    /// The packet that serves a member, if it is due to be sent again.
    fn repair(&mut self, now: Instant, wait: Duration, reg_no: RegNo) -> Option<Vec<u8>> {
        let packet = self.packets.iter_mut().find(|packet| (packet.first..=packet.last).contains(&reg_no))?;
        let on_its_way = packet.repaired.is_some_and(|last| now.saturating_since(last) < wait);
        if on_its_way || self.repaired + packet.bytes.len() > self.bytes * REPAIR_BYTES_FACTOR {
            return None;
        }
        packet.repaired = Some(now);
        self.repaired += packet.bytes.len();
        Some(packet.bytes.clone())
    }
}

fn contents(
    terms: &UpdateTerms,
    staged: &StagedRekey,
    shares: Vec<Share>,
) -> Vec<(UpdateHeader, protocol::Body)> {
    let data_packets = u16::try_from(shares.len()).unwrap_or(u16::MAX);
    let root = staged.root().map(|(version, _)| version).unwrap_or_default();
    (0..data_packets)
        .zip(shares)
        .map(|(index, share)| {
            let header = UpdateHeader {
                state: terms.state,
                previous: terms.previous,
                index,
                data_packets,
                block_data: BLOCK_DATA,
                block_parity: 0,
                first: share.first,
                last: share.last,
                height: staged.height(),
                root,
                leaf_steps: staged.leaf_steps(),
                hard: terms.hard,
                activation: terms.activation,
                key_check: terms.key_check,
                policy: terms.policy,
                iv: *staged.iv(),
            };
            (header, share.body)
        })
        .collect()
}
