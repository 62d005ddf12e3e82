//! A key update as it was sent, kept to answer NAKs (GSM 3.6).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crypto::MerkleHash;
use protocol::limits::{MAX_BLOCK_PACKETS, REPAIR_BYTES_FACTOR, SPARE_PARITY};
use protocol::{Instant, Nak, RegNo, StateId, Timing, UpdateHeader, parity_for_message};

/// Members that saw nothing of their block and ask within one wait, after which all data packets go out again: then the
/// network lost the whole message, and each of them would have to ask for its own packet.
const BLIND_ASKERS: usize = 3;
/// A member that lacks more packets than this gets its own packet instead of parity, as long as few ask.
const MOST_BY_PARITY: usize = 3;
/// How many of those that ask for the last time may get too little again.
const FAILED_AGAIN: f64 = 0.1;
/// Addresses whose answers are counted.
const MAX_ASKERS: usize = 4_096;
/// Own packets of one block within one wait, after which parity serves its members better.
const FEW_OWN_PACKETS: usize = 2;

/// One key update, its unsent parity, and what was sent of it for NAKs.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) state: StateId,
    pub(crate) root: MerkleHash,
    /// That of any of its packets.
    header: UpdateHeader,
    /// The last reg-no of each data packet.
    lasts: Vec<RegNo>,
    /// All packets by index, parity included.
    packets: Vec<Vec<u8>>,
    /// Of the data packets; the cap of all repair is a multiple of it.
    data_bytes: usize,
    repaired: usize,
    /// When it was sent first.
    began: Instant,
    /// When each packet was last sent for a NAK, by whomever.
    again: BTreeMap<u16, Instant>,
    /// Parity packets of each block that were sent already, and when the newest were sent for NAKs.
    parity: Vec<Parity>,
    /// When members asked that saw nothing of their block.
    blind: VecDeque<Instant>,
    /// How often each address was answered.
    answered: BTreeMap<SocketAddr, u32>,
}

#[derive(Clone, Debug)]
struct Parity {
    sent: u16,
    newest: VecDeque<Instant>,
}

/// What a NAK says of its asker's block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lacks {
    /// It saw too little of the message to know.
    Unknown,
    /// Its own packet and so many packets more than it can decode with.
    Packets(usize),
}

impl Kept {
    /// `headers` are those of the data packets, and `sent` the parity packets of each block that go out at once.
    pub(crate) fn new(
        now: Instant,
        root: MerkleHash,
        headers: &[UpdateHeader],
        packets: Vec<Vec<u8>>,
        sent: u8,
    ) -> Option<Self> {
        let header = headers.first()?.clone();
        let data = headers.len().min(packets.len());
        let of_block = Parity { sent: sent.into(), newest: VecDeque::new() };
        Some(Self {
            state: header.state,
            root,
            lasts: headers.iter().map(|header| header.last).collect(),
            data_bytes: packets[..data].iter().map(Vec::len).sum(),
            repaired: 0,
            began: now,
            again: BTreeMap::new(),
            parity: vec![of_block; usize::from(header.blocks())],
            blind: VecDeque::new(),
            answered: BTreeMap::new(),
            header,
            packets,
        })
    }

    pub(crate) fn packets(&self) -> usize {
        self.packets.len()
    }

    pub(crate) const fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// The data packets in the order in which they are sent: from block to block, so that a burst takes a little of each.
    pub(crate) fn data(&self) -> impl Iterator<Item = &Vec<u8>> {
        let positions = 0..usize::from(self.header.block_data);
        let places = positions.flat_map(move |position| {
            let blocks = 0..self.header.blocks();
            blocks.filter_map(move |block| self.header.data_of(block).nth(position))
        });
        places.filter_map(|index| self.packet(index))
    }

    /// What is sent unasked after the data, and in which wave: `parity` packets of each block in two waves, or a single
    /// packet so many times again, one by one.
    pub(crate) fn unasked(&self, parity: u8) -> impl Iterator<Item = (u32, &Vec<u8>)> {
        let places = (0..u16::from(parity)).flat_map(move |place| {
            let blocks = 0..self.header.blocks();
            blocks.map(move |block| match self.header.block_parity {
                0 => (u32::from(place) + 1, 0),
                _ => (u32::from(place % 2) + 1, self.header.parity_of(block).start + place),
            })
        });
        places.filter_map(|(wave, index)| Some((wave, self.packet(index)?)))
    }

    fn packet(&self, index: u16) -> Option<&Vec<u8>> {
        self.packets.get(usize::from(index))
    }

    /// What goes out for a NAK, within the cap of all repair of this update.
    ///
    /// Members that lost packets together ask within one `wait`. Parity that was not sent before serves all of a block; it
    /// is sent for the largest lack, with some more for what will be lost of it. Who lacks much gets its own packet, for
    /// that is one. A packet on its way is not sent again. No member asks more often than there are rounds, so no address is
    /// answered more often: one that floods must not use up the cap alone.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        wait: Duration,
        (from, nak): (SocketAddr, &Nak),
        loss: u16,
    ) -> Vec<Vec<u8>> {
        let Some(own) = self.serving(nak.reg_no) else { return Vec::new() };
        let answered = self.answered.get(&from).copied().unwrap_or(0);
        if self.sent_again(own, now, wait) || answered >= Timing::NAK_ROUNDS {
            return Vec::new();
        }
        let (block, _) = self.header.place(own);
        // Who asks so late asks for the last time, and by unicast after that.
        let last = now.saturating_since(self.began) >= wait * 2;
        let more = |lacking| if last { surplus(lacking, loss) } else { expected(lacking, loss) };
        let mut picked = match self.lacks(nak, block) {
            Lacks::Unknown => self.for_the_blind(now, wait, own),
            Lacks::Packets(lacking) => self.for_the_lacking(now, wait, (own, block), lacking, more),
        };
        if picked == [own] {
            picked.resize(1 + more(1), own);
        }
        let packets: Vec<_> = picked.into_iter().filter_map(|index| self.spend(now, index)).collect();
        if !packets.is_empty() && self.answered.len() < MAX_ASKERS {
            self.answered.insert(from, answered + 1);
        }
        packets
    }

    /// Another member answered for the manager: it shares the cap. `false` for what came back of what we sent ourselves,
    /// and for what is no packet of this update.
    pub(crate) fn on_heard(&mut self, now: Instant, wait: Duration, index: u16, bytes: &[u8]) -> bool {
        let echo = now.saturating_since(self.began) < wait / 2 || self.sent_again(index, now, wait / 2);
        if echo || self.packet(index).is_none_or(|packet| packet != bytes) {
            return false;
        }
        self.repaired += bytes.len();
        self.again.insert(index, now);
        true
    }

    /// The data packet that serves a member.
    fn serving(&self, reg_no: RegNo) -> Option<u16> {
        let place = self.lasts.partition_point(|last| *last < reg_no);
        (place < self.lasts.len()).then(|| u16::try_from(place).ok()).flatten()
    }

    fn lacks(&self, nak: &Nak, block: u16) -> Lacks {
        if nak.wanted != self.state || nak.block != block {
            return Lacks::Unknown;
        }
        let data = self.header.data_of(block).len();
        let all = data + usize::from(self.header.block_parity);
        let missing =
            (0..all.min(MAX_BLOCK_PACKETS)).filter(|position| nak.missing & 1 << position != 0).count();
        let held = all - missing;
        if held == 0 { Lacks::Unknown } else { Lacks::Packets(data.saturating_sub(held).max(1)) }
    }

    fn for_the_blind(&mut self, now: Instant, wait: Duration, own: u16) -> Vec<u16> {
        self.blind.retain(|at| now.saturating_since(*at) < wait);
        self.blind.push_back(now);
        if self.blind.len() < BLIND_ASKERS {
            return vec![own];
        }
        let data = 0..self.header.data_packets;
        data.filter(|index| !self.sent_again(*index, now, wait)).collect()
    }

    fn for_the_lacking(
        &mut self,
        now: Instant,
        wait: Duration,
        (own, block): (u16, u16),
        lacking: usize,
        more: impl Fn(usize) -> usize,
    ) -> Vec<u16> {
        let own_packets =
            self.header.data_of(block).filter(|index| self.sent_again(*index, now, wait)).count();
        let Some(parity) = self.parity.get_mut(usize::from(block)) else { return Vec::new() };
        parity.newest.retain(|at| now.saturating_since(*at) < wait / 4);
        let wanted = lacking.saturating_sub(parity.newest.len());
        if wanted == 0 {
            return Vec::new();
        }
        let fresh = usize::from(u16::from(self.header.block_parity).saturating_sub(parity.sent));
        if fresh == 0 || (wanted > MOST_BY_PARITY && own_packets < FEW_OWN_PACKETS) {
            return vec![own];
        }
        let unsent = self.header.parity_of(block).skip(usize::from(parity.sent));
        let mut picked: Vec<u16> = unsent.take(wanted + more(wanted)).collect();
        parity.sent += u16::try_from(picked.len()).unwrap_or(0);
        parity.newest.extend(picked.iter().map(|_| now));
        if wanted > fresh {
            picked.push(own);
        }
        picked
    }

    fn sent_again(&self, index: u16, now: Instant, within: Duration) -> bool {
        self.again.get(&index).is_some_and(|at| now.saturating_since(*at) < within)
    }

    /// A packet to be sent again, if the cap of this update allows it.
    fn spend(&mut self, now: Instant, index: u16) -> Option<Vec<u8>> {
        let packet = self.packets.get(usize::from(index))?.clone();
        if self.repaired + packet.len() > self.data_bytes * REPAIR_BYTES_FACTOR {
            return None;
        }
        self.repaired += packet.len();
        self.again.insert(index, now);
        Some(packet)
    }
}

/// Packets to send beyond those lacked, for what will be lost of them.
fn expected(lacking: usize, loss: u16) -> usize {
    (lacking * usize::from(loss) + 500) / 1_000
}

/// The same, so that few of those that lack so many get too few.
fn surplus(lacking: usize, loss: u16) -> usize {
    let lacking = u16::try_from(lacking).unwrap_or(u16::MAX);
    parity_for_message(lacking, f64::from(loss) / 1_000.0, FAILED_AGAIN, u16::from(SPARE_PARITY)).into()
}

#[cfg(test)]
mod tests {
    use crypto::EntryIv;
    use protocol::{ALL_MISSING, ANY_BLOCK, Epoch, Inst, Term, Version};

    use super::*;

    const WAIT: Duration = Duration::from_millis(80);
    const STATE: StateId = StateId { term: Term(1), inst: Inst(2), epoch: Epoch(7) };
    const DATA: u16 = 20;
    const PARITY: u16 = 12;
    const LEN: usize = 1_000;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1_000_000) + Duration::from_millis(ms)
    }

    /// Two blocks of ten packets, each of which serves ten members; four parity packets of each block are out.
    fn kept() -> Kept {
        let header = |index: u16| UpdateHeader {
            state: STATE,
            previous: Epoch(6),
            index,
            data_packets: DATA,
            block_data: 10,
            block_parity: PARITY as u8,
            first: RegNo(u32::from(index) * 10),
            last: RegNo(u32::from(index) * 10 + 9),
            height: 4,
            root: Version::default(),
            leaf_steps: 0,
            hard: true,
            activation: Duration::ZERO,
            key_check: [0; 8],
            policy: [0; 16],
            iv: EntryIv::new([0; 12]),
        };
        let headers: Vec<_> = (0..DATA).map(header).collect();
        let packets = (0..DATA + 2 * PARITY).map(|index| vec![index as u8; LEN]).collect();
        Kept::new(at(0), MerkleHash([0; 16]), &headers, packets, 4).unwrap()
    }

    /// A NAK of a member of the first block that got so many packets of it.
    fn nak(reg_no: u32, got: u32) -> Nak {
        let all = 10 + u32::from(PARITY);
        let missing = ((1_u64 << all) - 1) & !(((1_u64 << got) - 1) << 10);
        Nak { wanted: STATE, held: Epoch(6), reg_no: RegNo(reg_no), block: 0, missing, loss: 0, nonce: 0 }
    }

    fn blind(reg_no: u32) -> Nak {
        Nak { block: ANY_BLOCK, missing: ALL_MISSING, ..nak(reg_no, 0) }
    }

    /// Each member has an address of its own.
    fn from(nak: &Nak) -> SocketAddr {
        ([10, 0, 0, 1], nak.reg_no.0 as u16).into()
    }

    /// The indices of the packets that go out.
    fn answer(kept: &mut Kept, ms: u64, nak: &Nak) -> Vec<u8> {
        kept.answer(at(ms), WAIT, (from(nak), nak), 0).into_iter().map(|packet| packet[0]).collect()
    }

    #[test]
    fn parity_not_sent_before_answers_the_largest_lack_of_a_round() {
        let mut kept = kept();
        assert_eq!(answer(&mut kept, 30, &nak(3, 8)), [24, 25]);
        assert_eq!(answer(&mut kept, 31, &nak(14, 8)), [0; 0], "it is on its way");
        assert_eq!(answer(&mut kept, 32, &nak(25, 7)), [26], "and one more for who lacks one more");
        assert_eq!(answer(&mut kept, 60, &nak(14, 9)), [27], "who asks later lost what was sent");
        let other = Nak { block: 1, ..nak(103, 9) };
        assert_eq!(answer(&mut kept, 61, &other), [36], "the other block has parity of its own");
    }

    #[test]
    fn with_loss_some_parity_more_is_sent_for_what_will_be_lost_of_it() {
        let answered = kept().answer(at(30), WAIT, (from(&nak(3, 8)), &nak(3, 8)), 400);
        assert_eq!(answered.len(), 3);
    }

    /// After that it asks by unicast, and its answer serves nobody else.
    #[test]
    fn who_asks_for_the_last_time_hardly_gets_too_little_again() {
        let (mut kept, lacking, blind) = (kept(), nak(3, 8), blind(125));
        let mut answered = |ms, nak| kept.answer(at(ms), WAIT, (from(nak), nak), 400).len();
        assert_eq!(answered(300, &lacking), 5, "of five packets two arrive nine times in ten");
        assert_eq!(answered(301, &blind), 3, "of three, one");
    }

    #[test]
    fn who_lacks_much_gets_its_own_packet_until_many_ask() {
        let mut kept = kept();
        assert_eq!(answer(&mut kept, 30, &nak(3, 2)), [0]);
        assert_eq!(answer(&mut kept, 31, &nak(14, 3)), [1]);
        assert_eq!(answer(&mut kept, 32, &nak(3, 2)), [0; 0], "it went out just now");
        assert_eq!(answer(&mut kept, 33, &nak(25, 6)), [24, 25, 26, 27], "parity serves all");
    }

    #[test]
    fn who_saw_nothing_gets_its_own_packet_and_the_third_of_them_brings_the_whole_message() {
        let mut kept = kept();
        assert_eq!(answer(&mut kept, 300, &blind(3)), [0]);
        assert_eq!(answer(&mut kept, 301, &blind(125)), [12]);
        let rest: Vec<u8> = (0..20).filter(|index| ![0, 12].contains(index)).collect();
        assert_eq!(answer(&mut kept, 302, &blind(55)), rest);
        assert_eq!(answer(&mut kept, 303, &blind(66)), [0; 0]);
    }

    #[test]
    fn without_fresh_parity_the_own_packet_goes_out() {
        let mut kept = kept();
        let sent: Vec<_> =
            (0..4).flat_map(|round| answer(&mut kept, 30 + round * 100, &nak(3 + round as u32, 8))).collect();
        assert_eq!(sent, [24, 25, 26, 27, 28, 29, 30, 31]);
        assert_eq!(answer(&mut kept, 500, &nak(9, 8)), [0]);
        assert_eq!(answer(&mut kept, 800, &nak(9, 8)), [0]);
        assert_eq!(answer(&mut kept, 1_100, &nak(9, 8)), [0; 0], "there are two rounds");
    }

    /// Attack A18: whatever is asked for by whomever, repair of an update stays within three times its bytes.
    #[test]
    fn no_storm_of_naks_gets_more_than_the_cap() {
        let mut kept = kept();
        let mut spent = 0;
        for round in 0..20_000_u64 {
            let asker = (round * 7 % 200) as u32;
            let nak = if round % 3 == 0 {
                blind(asker)
            } else {
                Nak { block: (asker / 100) as u16, ..nak(asker, 4) }
            };
            let from = ([10, 0, 1, 1], round as u16).into();
            spent += kept.answer(at(30 + round), WAIT, (from, &nak), 400).iter().map(Vec::len).sum::<usize>();
        }
        let cap = usize::from(DATA) * LEN * REPAIR_BYTES_FACTOR;
        assert!(spent > cap - LEN && spent <= cap, "{spent} of {cap}");
    }

    #[test]
    fn what_a_member_answered_counts_and_what_comes_back_of_ours_does_not() {
        let mut kept = kept();
        let packet = kept.packet(3).unwrap().clone();
        assert!(!kept.on_heard(at(1), WAIT, 3, &packet), "the first sending");
        assert!(!kept.on_heard(at(200), WAIT, 4, &packet), "not that packet");
        let _ = answer(&mut kept, 190, &blind(35));
        assert!(!kept.on_heard(at(200), WAIT, 3, &packet), "our answer");
        assert!(kept.on_heard(at(300), WAIT, 3, &packet));
        assert_eq!(kept.repaired, 2 * LEN);
        assert_eq!(answer(&mut kept, 310, &blind(35)), [0; 0], "it was answered");
    }

    #[test]
    fn data_is_sent_from_block_to_block_and_parity_in_two_waves() {
        let kept = kept();
        let data: Vec<_> = kept.data().map(|packet| packet[0]).collect();
        assert_eq!(data[..6], [0, 10, 1, 11, 2, 12]);
        assert_eq!(data.len(), usize::from(DATA));
        let unasked: Vec<_> = kept.unasked(3).map(|(wave, packet)| (wave, packet[0])).collect();
        assert_eq!(unasked, [(1, 20), (1, 32), (2, 21), (2, 33), (1, 22), (1, 34)]);
    }
}
