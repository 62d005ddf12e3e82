//! The packets of the newest key updates: what a lost one is decoded from (KS 4.1), and what members that lost theirs can
//! be given (GSM 3.6).
//!
//! A member needs the packet that serves its reg-no, or any packets of its block as many as the block has data packets. It
//! keeps its own block only. Which one that is follows from the ranges in the packets it sees, for these are in the order of
//! the reg-nos.

use std::collections::BTreeMap;
use std::ops::Range;

use protocol::limits::MAX_BLOCK_PACKETS;
use protocol::{
    ALL_MISSING, Block, Domain, Instant, Nak, RegNo, StateId, Timing, UpdateHeader, UpdatePacket, Verified,
};
use rand_core::CryptoRng;

use crate::repair::nak_wait;

/// Key updates of which packets are kept: the newest.
const MAX_UPDATES: usize = 3;
/// Packets of one update that are kept while the member does not know its block.
const MAX_UNPLACED: usize = 64;

/// NAKs one member answers for each key update.
const MAX_ANSWERS: u32 = 1;
/// Packets of the own block heard since somebody asked, in multiples of its data packets, after which no member answers: all
/// repair of an update shares one cap, and the manager has its part of it.
const ANSWERED_ENOUGH: usize = 2;
/// A member that lacks more packets than this is sent its own one, which serves no other.
const MOST_BY_PARITY: usize = 3;

/// The packets of the newest key updates that were verified.
#[derive(Debug)]
pub(crate) struct Blocks {
    domain: Domain,
    reg_no: RegNo,
    updates: BTreeMap<StateId, Update>,
}

/// What is known of one key update.
#[derive(Debug)]
struct Update {
    /// That of any of its packets.
    header: UpdateHeader,
    /// The index of the data packet that serves this member is one of these.
    own: Range<u16>,
    blocks: BTreeMap<u16, Block>,
    /// Nothing is to be decoded any more: the packet is here, or the state is held, or the parity is of no use.
    done: bool,
    asked: Asked,
}

/// What others ask of an update this member has.
#[derive(Debug, Default)]
struct Asked {
    /// When somebody asked whom nobody was heard to answer, and who.
    first: Option<(Instant, RegNo)>,
    /// When to answer, and whom.
    due: Option<(Instant, RegNo)>,
    /// Packets of the own block heard since the first NAK.
    heard: usize,
    given: u32,
}

impl Blocks {
    pub(crate) const fn new(domain: Domain, reg_no: RegNo) -> Self {
        Self { domain, reg_no, updates: BTreeMap::new() }
    }

    /// Takes a packet. Returns the one that serves this member: this one, or one decoded from the packets of the block.
    pub(crate) fn take(&mut self, packet: Verified<UpdatePacket>) -> Option<Verified<UpdatePacket>> {
        let (state, serves) = (packet.header.state, packet.header.serves(self.reg_no));
        let own = (serves && !packet.header.is_parity()).then(|| packet.clone());
        let update = self.updates.entry(state).or_insert_with(|| Update::new(packet.header.clone()));
        update.add(packet, self.reg_no);
        let found = match own {
            Some(own) => {
                update.finish();
                Some(own)
            }
            None => update.decode(&self.domain, self.reg_no),
        };
        while self.updates.len() > MAX_UPDATES {
            self.updates.pop_first();
        }
        found
    }

    /// Whether a datagram of an update that needs no decoding claims to be a data packet of the own block that is not here.
    pub(crate) fn spares(&self, claimed: &UpdateHeader) -> bool {
        let Some(update) = self.updates.get(&claimed.state).filter(|update| update.done) else {
            return false;
        };
        let same = (claimed.data_packets, claimed.block_data, claimed.block_parity)
            == (update.header.data_packets, update.header.block_data, update.header.block_parity);
        let block = update.block();
        let held =
            || block.and_then(|block| update.blocks.get(&block)).is_some_and(|held| held.has(claimed.index));
        same && !claimed.is_parity() && block == Some(claimed.place(claimed.index).0) && !held()
    }

    /// Keeps a packet that others may ask for.
    pub(crate) fn spare(&mut self, packet: Verified<UpdatePacket>) {
        if let Some(update) = self.updates.get_mut(&packet.header.state) {
            update.add(packet, self.reg_no);
        }
    }

    /// Whether a NAK asks for what this member lacks of `wanted`, so that one of them is enough. `alone` says that the update
    /// is one packet. The manager answers with parity, which serves all of a block that lack no more than the asker; who
    /// lacks much is sent its own packet, which serves nobody else.
    pub(crate) fn same(&self, nak: &Nak, wanted: StateId, alone: bool) -> bool {
        if nak.wanted != wanted {
            return false;
        }
        let Some(update) = self.updates.get(&wanted) else { return alone };
        let Some(block) = update.block() else { return alone };
        let data = update.header.data_of(block).len();
        let all = data + usize::from(update.header.block_parity);
        let lacks = |missing: u64| {
            let missing =
                (0..all.min(MAX_BLOCK_PACKETS)).filter(|position| missing & 1 << position != 0).count();
            data.saturating_sub(all - missing)
        };
        let (own, other) =
            (lacks(self.missing(wanted).map_or(ALL_MISSING, |(_, missing)| missing)), lacks(nak.missing));
        alone || nak.block == block && own <= other && other <= MOST_BY_PARITY
    }

    /// Another member lacks updates that are here. The manager answers it; only if that is not heard (`managed`), and somebody
    /// asks again while no answer came, this member answers after a random wait.
    pub(crate) fn on_nak(
        &mut self,
        now: Instant,
        managed: bool,
        nak: &Nak,
        (timing, members): (&Timing, u64),
        rng: &mut dyn CryptoRng,
    ) {
        let behind = self.updates.iter_mut().filter(|(state, update)| {
            **state <= nak.wanted && state.same_start(nak.wanted) && state.epoch > nak.held && update.done
        });
        for (_, update) in behind {
            let data = update.header.data_of(update.block().unwrap_or_default()).len();
            if update.packet_for(nak.reg_no).is_none() || update.asked.heard >= data * ANSWERED_ENOUGH {
                continue;
            }
            let asked = &mut update.asked;
            let (first, _) = *asked.first.get_or_insert((now, nak.reg_no));
            let again = now.saturating_since(first) >= timing.nak_wait;
            if again && !managed && asked.due.is_none() && asked.given < MAX_ANSWERS {
                asked.due = Some((now + nak_wait(timing, members, rng), nak.reg_no));
            }
        }
    }

    /// Whether a datagram claims to answer whoever asked for packets of the own block: it is the packet that serves it, or
    /// parity.
    pub(crate) fn answers(&self, claimed: &UpdateHeader) -> bool {
        let Some(update) = self.updates.get(&claimed.state) else { return false };
        let Some((_, asker)) = update.asked.due.or(update.asked.first) else { return false };
        let of_block = update.block() == Some(claimed.place(claimed.index).0);
        of_block && (claimed.is_parity() || claimed.serves(asker))
    }

    /// Whether it is byte-equal to a packet that was verified and kept.
    pub(crate) fn holds(&self, claimed: &UpdateHeader, datagram: &[u8]) -> bool {
        let update = self.updates.get(&claimed.state);
        let block = update.and_then(|update| update.blocks.get(&claimed.place(claimed.index).0));
        block.and_then(|block| block.datagram(claimed.index)).is_some_and(|held| held == datagram)
    }

    /// A packet of the own block was heard: whoever asked is answered.
    pub(crate) fn on_answer(&mut self, state: StateId) {
        if let Some(update) = self.updates.get_mut(&state) {
            (update.asked.first, update.asked.due) = (None, None);
            update.asked.heard += 1;
        }
    }

    /// When to answer.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.updates.values().filter_map(|update| update.asked.due).map(|(at, _)| at).min()
    }

    /// The packets that members asked for whom nobody answered.
    pub(crate) fn on_due(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let updates = self.updates.values_mut();
        updates.filter_map(|update| update.answer(now)).collect()
    }

    /// The member holds `state`: no update up to it is to be decoded.
    pub(crate) fn on_held(&mut self, state: StateId) {
        self.updates.range_mut(..=state).for_each(|(_, update)| update.finish());
    }

    /// The manager was started again, and no update of before is asked for any more.
    pub(crate) fn forget(&mut self) {
        self.updates.clear();
    }

    /// Block and missing packets for a NAK. `None` if the member does not know its block.
    pub(crate) fn missing(&self, state: StateId) -> Option<(u16, u64)> {
        let update = self.updates.get(&state)?;
        let block = update.block()?;
        Some((block, update.blocks.get(&block).map_or(ALL_MISSING, Block::missing)))
    }
}

impl Update {
    fn new(header: UpdateHeader) -> Self {
        let own = 0..header.data_packets;
        Self { header, own, blocks: BTreeMap::new(), done: false, asked: Asked::default() }
    }

    /// The own block, once it is known.
    fn block(&self) -> Option<u16> {
        let last = self.own.end.checked_sub(1).filter(|last| *last >= self.own.start)?;
        let (block, _) = self.header.place(self.own.start);
        (block == self.header.place(last).0).then_some(block)
    }

    fn add(&mut self, packet: Verified<UpdatePacket>, reg_no: RegNo) {
        self.narrow(&packet.header, reg_no);
        let block = packet.header.place(packet.header.index).0;
        match self.blocks.get_mut(&block) {
            Some(known) => {
                known.add(packet);
            }
            None => {
                if let Some(new) = Block::of(packet) {
                    self.blocks.insert(block, new);
                }
            }
        }
        self.prune();
    }

    /// The packet that serves a member, if it is of the own block and here.
    fn packet_for(&self, reg_no: RegNo) -> Option<&[u8]> {
        self.blocks.get(&self.block()?)?.datagram_for(reg_no)
    }

    fn answer(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (_, reg_no) = self.asked.due.take_if(|(at, _)| *at <= now)?;
        let packet = self.packet_for(reg_no)?.to_vec();
        self.asked.first = None;
        self.asked.heard += 1;
        self.asked.given += 1;
        Some(packet)
    }

    /// Packets are in the order of the reg-nos they serve.
    fn narrow(&mut self, header: &UpdateHeader, reg_no: RegNo) {
        let covered = if header.is_parity() {
            header.data_of(header.place(header.index).0)
        } else {
            header.index..header.index + 1
        };
        let Range { start, end } = self.own;
        self.own = if header.serves(reg_no) {
            start.max(covered.start)..end.min(covered.end)
        } else if header.last < reg_no {
            start.max(covered.end)..end
        } else {
            start..end.min(covered.start)
        };
    }

    /// Drops blocks that cannot be the own one; those farthest from where it must be, while they are too many.
    fn prune(&mut self) {
        let (header, own) = (&self.header, &self.own);
        self.blocks.retain(|block, _| {
            let data = header.data_of(*block);
            data.start < own.end && own.start < data.end
        });
        let count = |blocks: &BTreeMap<u16, Block>| blocks.values().map(Block::packets).sum::<usize>();
        while self.blocks.len() > 1 && count(&self.blocks) > MAX_UNPLACED {
            let middle = header.place(own.start + (own.end - own.start) / 2).0;
            let distance = |block: &u16| block.abs_diff(middle);
            let Some(farthest) = self.blocks.keys().max_by_key(|block| distance(block)).copied() else {
                return;
            };
            self.blocks.remove(&farthest);
        }
    }

    fn decode(&mut self, domain: &Domain, reg_no: RegNo) -> Option<Verified<UpdatePacket>> {
        let block = self.block().and_then(|block| self.blocks.get(&block))?;
        if self.done || block.deficit() > 0 {
            return None;
        }
        let own = block.recover(domain, reg_no);
        self.finish();
        own
    }

    /// From here on data packets are kept for others, and parity is of no use.
    fn finish(&mut self) {
        self.done = true;
        self.blocks.values_mut().for_each(Block::drop_parity);
    }
}
