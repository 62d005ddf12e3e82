//! Asking for key updates that were lost, and answering members that lost theirs (GSM 3.6).

use protocol::{ALL_MISSING, ANY_BLOCK, Instant, Nak, Rejected, Transmit};

use super::{Aim, Member};
use crate::repair::Ask;

impl Member {
    pub(super) fn on_repair_due(&mut self, now: Instant) {
        let Some(membership) = &self.membership else { return };
        if self.manager_silent() {
            self.repair.on_silence(now);
            return;
        }
        let nakable = membership.missing().is_some_and(|(wanted, held)| membership.is_nakable(wanted, held));
        let waits = (&membership.grant().timing, membership.leaves());
        let network = (nakable, membership.percent_lost());
        match self.repair.on_due(now, network, waits, &mut *self.rng.0) {
            Some(Ask::Nak) => self.send_nak(),
            Some(Ask::Resync) => self.ask_resync(now),
            Some(Ask::Rejoin) => {
                self.ask_resync(now);
                self.register_again(now, Aim::Again);
            }
            None => {}
        }
    }

    fn send_nak(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        let Some((wanted, held)) = membership.missing() else { return };
        let nonce = self.rng.0.next_u64();
        membership.remember_nak(nonce);
        let Some(prefilter) = membership.prefilter(held) else { return };
        let grant = membership.grant();
        let (block, missing) = membership.missing_of(wanted).unwrap_or((ANY_BLOCK, ALL_MISSING));
        let loss = membership.percent_lost();
        let nak = Nak { wanted, held, reg_no: grant.reg_no, block, missing, loss, nonce };
        let bytes = nak.encode(&grant.domain, prefilter);
        self.outbox.send(Transmit::Multicast { to: grant.control, ttl: grant.ttl, bytes });
    }

    /// Another member asks on the control address.
    pub(super) fn on_nak(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Rejected> {
        let membership = self.membership.as_mut().ok_or(Rejected::NotForUs)?;
        let nak = membership.on_nak(now, bytes, &mut *self.rng.0)?;
        if membership.asks_for_us(&nak) {
            let waits = (&membership.grant().timing, membership.leaves());
            self.repair.on_asked(now, nak.wanted, waits, &mut *self.rng.0);
        }
        Ok(())
    }

    /// When to answer members that nobody else answers.
    pub(super) fn answers_due(&self) -> Option<Instant> {
        self.membership.as_ref()?.answers_due()
    }

    pub(super) fn on_answers_due(&mut self, now: Instant) {
        let Some(membership) = &mut self.membership else { return };
        let answers = membership.answers(now);
        let grant = membership.grant();
        let (to, ttl) = (grant.control, grant.ttl);
        self.send_all(answers.into_iter().map(|bytes| Transmit::Multicast { to, ttl, bytes }));
    }
}
