//! The transmitter (GSM 2.1): makes the packets of a key update, sends them, and repairs what was lost (GSM 3.6).

mod kept;
mod loss;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crypto::{MerkleHash, Secret, Signer};
use keytree::StagedRekey;
use protocol::limits::{
    BLOCK_DATA, KEPT_UPDATES, MAX_BLOCK_PARITY, MAX_UPDATE_PACKETS, PARITY_DELAY, SPARE_PARITY,
};
use protocol::{
    Domain, Epoch, Instant, Nak, PARITY_EXCESS, Rejected, StateId, Transmit, UpdateHeader, UpdatePacket,
    Verified, packet_overhead, seal_update,
};

use crate::packing::{Share, pack};
use kept::Kept;
use loss::{Loss, proactive};

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
    /// No member can send a NAK for it: it is the first one of a start, and leads on from a key that nobody has.
    pub(crate) unasked: bool,
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
    loss: Loss,
    /// Parity and repeats that go out a little later than the data.
    later: VecDeque<(Instant, Vec<u8>)>,
}

/// What a key update cost, without its parity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}

/// How a message of so many data packets is cut into blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    data_packets: u16,
    block_data: u8,
    block_parity: u8,
    /// Parity packets of each block that go out at once; of a single packet, its repeats.
    at_once: u8,
}

impl Layout {
    /// Blocks of about the same size. A packet that is alone needs no parity: it is repeated.
    ///
    /// The numbers of packets stay within [`MAX_UPDATE_PACKETS`]: parity gives way first. Members that no packet serves any
    /// more, of a tree with millions of changed leaves, have to ask by unicast.
    fn of(packets: usize, loss: u16) -> Self {
        let data = packets.clamp(1, MAX_UPDATE_PACKETS);
        let block_data = data.div_ceil(data.div_ceil(BLOCK_DATA.into()));
        let blocks = data.div_ceil(block_data);
        let (data_packets, block_data) =
            (u16::try_from(data).unwrap_or(u16::MAX), u8::try_from(block_data).unwrap_or(BLOCK_DATA));
        let at_once = proactive(block_data, loss);
        if data == 1 {
            return Self { data_packets, block_data, block_parity: 0, at_once };
        }
        let room = u8::try_from((MAX_UPDATE_PACKETS - data) / blocks).unwrap_or(u8::MAX);
        let block_parity = (at_once + SPARE_PARITY).min(MAX_BLOCK_PARITY).min(room);
        Self { data_packets, block_data, block_parity, at_once: at_once.min(block_parity) }
    }

    /// Leaves of the Merkle tree.
    fn packets(&self) -> usize {
        let blocks = self.data_packets.div_ceil(self.block_data.into());
        usize::from(self.data_packets) + usize::from(blocks) * usize::from(self.block_parity)
    }

    /// Bytes of a packet that its body cannot have.
    fn overhead(&self) -> usize {
        packet_overhead(self.packets()) + if self.block_parity > 0 { PARITY_EXCESS } else { 0 }
    }
}

impl Transmitter {
    pub(crate) const fn new(control: SocketAddr, ttl: u8, packet_size: usize) -> Self {
        Self {
            control,
            ttl,
            packet_size,
            kept: VecDeque::new(),
            heard: VecDeque::new(),
            loss: Loss::new(),
            later: VecDeque::new(),
        }
    }

    /// Forgets what was sent, for another start of this manager begins. What its members lose stays known.
    pub(crate) fn begin_again(&mut self) {
        self.kept.clear();
        self.heard.clear();
        self.later.clear();
    }

    /// Root and packet count of the newest key update, for the alarm.
    pub(crate) fn newest(&self) -> Option<(MerkleHash, u16)> {
        let newest = self.kept.back()?;
        Some((newest.root, u16::try_from(newest.packets()).unwrap_or(u16::MAX)))
    }

    /// Makes the packets of a staged rekey, under one signature, and sends those with data; the parity that goes out
    /// unasked follows when [`Transmitter::due`] says so.
    ///
    /// `prefilter` is the key of the state the members hold now.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        domain: &Domain,
        terms: &UpdateTerms,
        staged: &StagedRekey,
        signer: &dyn Signer,
        prefilter: Option<&Secret<32>>,
    ) -> (Vec<Transmit>, Sent) {
        let loss = self.loss.at_update(terms.unasked);
        let (shares, layout) = self.shares(staged, loss);
        let contents: Vec<_> = contents(terms, staged, shares, layout);
        let headers: Vec<_> = contents.iter().map(|(header, _)| header.clone()).collect();
        let sealed = seal_update(domain, &contents, signer, prefilter);
        let kept =
            sealed.and_then(|sealed| Kept::new(now, sealed.root, &headers, sealed.packets, layout.at_once));
        let Some(kept) = kept else { return (Vec::new(), Sent { packets: 0, bytes: 0 }) };
        let sent = Sent { packets: headers.len(), bytes: kept.data_bytes() };
        let transmits = kept.data().map(|packet| self.multicast(packet.clone())).collect();
        self.later.extend(
            kept.unasked(layout.at_once).map(|(wave, packet)| (now + PARITY_DELAY * wave, packet.clone())),
        );
        self.kept.push_back(kept);
        if self.kept.len() > KEPT_UPDATES {
            self.kept.pop_front();
        }
        (transmits, sent)
    }

    /// When more of the newest key update is to be sent.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.later.iter().map(|(at, _)| *at).min()
    }

    /// Parity and repeats that are due.
    pub(crate) fn on_due(&mut self, now: Instant) -> Vec<Transmit> {
        let (due, later): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        due.into_iter().map(|(_, packet)| self.multicast(packet)).collect()
    }

    /// The packets a NAK asks for: of every update kept after the epoch the member holds, what it lacks.
    ///
    /// All repair of an epoch together costs at most [`protocol::limits::REPAIR_BYTES_FACTOR`] times its key update; beyond
    /// that, the member's unicast request has to do. `Err` for a NAK that was heard before; nothing
    /// changed then.
    pub(crate) fn repair(
        &mut self,
        now: Instant,
        wait: Duration,
        from: SocketAddr,
        nak: &Verified<Nak>,
    ) -> Result<Vec<Transmit>, Rejected> {
        if self.heard.contains(&nak.nonce) {
            return Err(Rejected::Duplicate);
        }
        self.heard.push_back(nak.nonce);
        if self.heard.len() > MAX_HEARD {
            self.heard.pop_front();
        }
        self.loss.report(from, nak.loss);
        let loss = self.loss.reckoned();
        let behind =
            self.kept.iter_mut().filter(|kept| kept.state <= nak.wanted && kept.state.epoch > nak.held);
        let repairs: Vec<_> = behind.flat_map(|kept| kept.answer(now, wait, (from, nak), loss)).collect();
        Ok(repairs.into_iter().map(|packet| self.multicast(packet)).collect())
    }

    /// A key update packet came by the network: if another member answered a NAK with it, it shares the cap of all repair.
    pub(crate) fn on_heard(&mut self, now: Instant, wait: Duration, bytes: &[u8]) -> Result<(), Rejected> {
        let index = UpdatePacket::claimed(bytes).ok_or(Rejected::Malformed)?.index;
        let answered = self.kept.iter_mut().rev().any(|kept| kept.on_heard(now, wait, index, bytes));
        if answered { Ok(()) } else { Err(Rejected::NotForUs) }
    }

    /// A datagram to the control address.
    pub(crate) const fn multicast(&self, bytes: Vec<u8>) -> Transmit {
        Transmit::Multicast { to: self.control, ttl: self.ttl, bytes }
    }

    /// Splits the update so that each packet fits, whatever the length of the Merkle path turns out to be.
    fn shares(&self, staged: &StagedRekey, loss: u16) -> (Vec<Share>, Layout) {
        let mut layout = Layout::of(1, loss);
        loop {
            let shares = pack(staged, self.packet_size.saturating_sub(layout.overhead()));
            let needed = Layout::of(shares.len(), loss);
            if needed.overhead() <= layout.overhead() {
                return (shares, needed);
            }
            layout = needed;
        }
    }
}

fn contents(
    terms: &UpdateTerms,
    staged: &StagedRekey,
    shares: Vec<Share>,
    layout: Layout,
) -> Vec<(UpdateHeader, protocol::Body)> {
    let root = staged.root().map(|(version, _)| version).unwrap_or_default();
    (0..layout.data_packets)
        .zip(shares)
        .map(|(index, share)| {
            let header = UpdateHeader {
                state: terms.state,
                previous: terms.previous,
                index,
                data_packets: layout.data_packets,
                block_data: layout.block_data,
                block_parity: layout.block_parity,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_of_about_the_same_size_and_a_single_packet_has_none() {
        let cut = |packets| {
            let layout = Layout::of(packets, 100);
            (layout.block_data, usize::from(layout.data_packets).div_ceil(layout.block_data.into()))
        };
        assert_eq!([1, 2, 20, 21, 41, 55].map(cut), [(1, 1), (2, 1), (20, 1), (11, 2), (14, 3), (19, 3)]);
        assert_eq!(Layout::of(1, 400).block_parity, 0);
        assert_eq!(Layout::of(1, 400).at_once, 4);
    }

    #[test]
    fn parity_is_kept_for_repair_as_long_as_the_message_stays_within_its_limit() {
        for packets in [1, 2, 9, 10, 100, 20_000, 36_000, 50_000, 65_000, 65_535, 70_000, 1_000_000] {
            for loss in [0, 20, 100, 400] {
                let layout = Layout::of(packets, loss);
                assert!(layout.packets() <= MAX_UPDATE_PACKETS, "{packets}: {layout:?}");
                assert!(layout.at_once <= layout.block_parity || packets == 1, "{packets}: {layout:?}");
                if (2..20_000).contains(&packets) {
                    assert!(layout.block_parity >= SPARE_PARITY, "{packets}: {layout:?}");
                }
            }
        }
    }
}
