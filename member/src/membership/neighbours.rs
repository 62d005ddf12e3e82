//! What a member asks of the others when it lost a key update, and what it does for those that did (GSM 3.6).

use protocol::{Epoch, Instant, Nak, Rejected, StateId, UpdateHeader, Verified};
use rand_core::CryptoRng;

use super::Membership;

/// Alarm intervals without an alarm, after which members answer in the place of the manager.
const MISSED_ALARMS: u32 = 4;
/// NAKs whose nonces are remembered.
const MAX_HEARD: usize = 256;

impl Membership {
    /// Block and packets to ask for, if the member saw enough of the update to know.
    pub(crate) fn missing_of(&self, wanted: StateId) -> Option<(u16, u64)> {
        self.blocks.missing(wanted)
    }

    /// A packet of an update that needs no decoding any more: it is kept for others, and may be the answer to whoever asked.
    /// `false` if it is anything else.
    pub(super) fn on_spare(&mut self, claimed: &UpdateHeader, datagram: &[u8]) -> Result<bool, Rejected> {
        let (answers, spares) = (self.blocks.answers(claimed), self.blocks.spares(claimed));
        if !answers && !spares {
            return Ok(false);
        }
        if !self.blocks.holds(claimed, datagram) {
            let packet = self.gate.spare(datagram)?;
            if spares {
                self.blocks.spare(packet);
            }
        }
        if answers {
            self.blocks.on_answer(claimed.state);
        }
        Ok(true)
    }

    /// A member asks for a key update. Whoever lacks the same lets it ask for both; whoever has it may answer.
    pub(crate) fn on_nak(
        &mut self,
        now: Instant,
        datagram: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Verified<Nak>, Rejected> {
        let gate = &self.gate;
        let nak = Nak::verify(datagram, &self.grant.domain, |epoch| gate.prefilter(epoch))?;
        if !nak.wanted.same_start(self.start) || self.heard_naks.contains(&nak.nonce) {
            return Err(Rejected::Stale);
        }
        self.remember_nak(nak.nonce);
        let waits = (&self.grant.timing, self.leaves());
        let managed = self.reception.heard_within(now, self.grant.timing.alarm_interval * MISSED_ALARMS);
        self.blocks.on_nak(now, managed, &nak, waits, rng);
        Ok(nak)
    }

    /// Whether somebody else's NAK asks for all that this member lacks.
    pub(crate) fn asks_for_us(&self, nak: &Nak) -> bool {
        let newest = self.newest_alarm.as_ref().map(|(alarm, _)| alarm);
        let alone = newest.is_some_and(|alarm| alarm.state == nak.wanted && alarm.message_packets == 1);
        self.missing().is_some_and(|(wanted, _)| self.blocks.same(nak, wanted, alone))
    }

    /// A NAK of its own comes back from the network, and one that was recorded is sent again.
    pub(crate) fn remember_nak(&mut self, nonce: u64) {
        self.heard_naks.push_back(nonce);
        if self.heard_naks.len() > MAX_HEARD {
            self.heard_naks.pop_front();
        }
    }

    /// Whether a NAK for `wanted` could bring what is not here: there is a key for it, and the packet that serves this member
    /// is not here already without a key for it in it. Then it was evicted, or it cannot follow.
    pub(crate) fn is_nakable(&self, wanted: StateId, held: Epoch) -> bool {
        let useless = self.pending.get(&wanted.epoch).is_some_and(|own| own.header.previous == held);
        self.prefilter(held).is_some() && !useless
    }

    /// How many of 100 alarms it loses.
    pub(crate) fn percent_lost(&self) -> u8 {
        self.reception.percent_lost()
    }

    /// When to answer members that nobody else answers, and the answers.
    pub(crate) fn answers_due(&self) -> Option<Instant> {
        self.blocks.due()
    }

    pub(crate) fn answers(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.blocks.on_due(now)
    }
}
