//! Cutting a batch (GSM 3.4, 3.5): stage, record, send, merge.

use protocol::limits::KEPT_UPDATES;
use protocol::{Epoch, Instant};

use crate::event::{GsmEvent, RekeySummary};
use crate::gsm::{Gsm, Timer};
use crate::journal::JournalEntry;
use crate::key_manager::{Cut, LAST_EPOCH};
use crate::member_list::Standing;
use crate::transmitter::{Sent, UpdateTerms};

/// How often the newest revocations are multicast after an eviction: with its key update and the next two alarms.
pub(crate) const ANNOUNCEMENTS: u8 = 3;

impl Gsm {
    /// Something waits: the interval begins, if it does not run.
    pub(crate) fn schedule_cut(&mut self, now: Instant) {
        if self.timers.due(Timer::Rekey).is_none() {
            self.timers.set(Timer::Rekey, now + self.config.timing.rekey_interval);
        }
    }

    /// Cuts what waits, now; behind a cut that waits for its record, right after that one.
    pub(crate) fn cut(&mut self, now: Instant) {
        if self.merging.is_leaving() || self.handing.is_under_way() || self.is_starting() {
            return;
        }
        if self.keys.is_cutting() {
            self.urgent = true;
            return;
        }
        self.timers.stop(Timer::Rekey);
        // Also before the first key update of a start: somebody may have been evicted while it listened.
        if self.is_renewal_due() && !self.is_turning() {
            self.begin_term(now);
            return;
        }
        // The last epoch of a term is never passed: what waits stays waiting, and `status` shows it.
        if self.keys.state().epoch >= LAST_EPOCH {
            return;
        }
        let step_leaves = std::mem::take(&mut self.step_leaves);
        // A batch the tree refuses would be our own bug; everything then stays as it was and is tried again.
        let Ok(Some(staged)) = self.keys.stage(now, step_leaves, &mut *self.rng.0) else { return };
        let entry = JournalEntry::Cut { state: staged.state, leaf_steps: staged.staged.leaf_steps() };
        let commit = self.record(entry);
        self.keys.await_record(staged, commit);
        self.replication.on_cut(now);
        self.complete_cut_if_due(now);
    }

    /// Sends the cut that waits for its record once that is durable, here and, for a moment, at the standbys; in read-only
    /// mode at once, for the wait would keep an evicted member in. Its state id is never used again after a restart, for
    /// that is a new inst. Nothing of a start that is not durable is sent in any case.
    pub(crate) fn complete_cut_if_due(&mut self, now: Instant) {
        let Some(awaited) = self.keys.awaited().filter(|_| !self.is_listening()) else { return };
        if self.started > self.durable {
            return;
        }
        if self.read_only || awaited <= self.outbox.stored() {
            self.complete_cut(now);
        } else if awaited <= self.durable && self.replication.cut_waited(now) {
            self.leave_behind(awaited);
            self.complete_cut(now);
            self.release(now);
        }
    }

    /// Sends the cut that waited and makes it the current state.
    fn complete_cut(&mut self, now: Instant) {
        let Some(cut) = self.keys.take_cut() else { return };
        // Who does not know of the start, or of its secrets, could do nothing with its key update.
        self.begin_claim(now);
        self.begin_renewal(now);
        let activation = self.config.timing.activation(cut.hard);
        let terms = UpdateTerms {
            state: cut.state,
            previous: cut.previous,
            hard: cut.hard,
            activation,
            key_check: self.domain.key_check(&cut.group_key, cut.state),
            policy: self.policy.digest(),
            unasked: cut.previous == Epoch(0) && self.members.iter().nth(1).is_some(),
        };
        let prefilter = self.prefilters.get(&cut.previous);
        let (transmits, sent) =
            self.transmitter.send(now, &self.domain, &terms, &cut.staged, &*self.signer.0, prefilter);
        transmits.into_iter().for_each(|transmit| self.outbox.send(transmit));
        self.set_parity();
        self.follow(now, &cut, activation);
        self.outbox.tell(GsmEvent::Rekeyed(summary(&cut, sent)));
        if cut.hard {
            self.announcements = ANNOUNCEMENTS;
        }
        self.keys.merge(cut);
        self.on_entered();
        self.send_alarm(now);
        self.begin_presence(now);
        // Leaf secrets are to be stepped for a standby, whether or not anybody comes or goes.
        let urgent = std::mem::take(&mut self.urgent) && (self.keys.has_pending() || self.step_leaves);
        if urgent || self.is_renewal_due() {
            self.cut(now);
        } else if self.keys.has_pending() {
            self.schedule_cut(now);
        }
    }

    /// Parity of a key update that goes out a little later than its data.
    pub(crate) fn on_parity_due(&mut self, now: Instant) {
        self.transmitter.on_due(now).into_iter().for_each(|transmit| self.outbox.send(transmit));
        self.set_parity();
    }

    fn set_parity(&mut self) {
        if let Some(due) = self.transmitter.due() {
            self.timers.set(Timer::Parity, due);
        }
    }

    /// What the cut changes on the member list and for the own node.
    fn follow(&mut self, now: Instant, cut: &Cut, activation: std::time::Duration) {
        for sender in &cut.departed {
            self.members.remove(*sender);
            self.activation.depart(*sender, cut.state);
        }
        let joined: Vec<_> = self
            .members
            .iter()
            .filter(|listed| cut.joined.contains(&listed.reg_no))
            .map(|listed| listed.sender)
            .collect();
        for sender in joined {
            if let Some(listed) = self.members.get_mut(sender)
                && listed.standing == Standing::Pending
            {
                listed.standing = Standing::In;
            }
        }
        self.activation.sight(now, cut.state, cut.hard, activation);
        self.activation.install(cut.state, cut.group_key.clone());
        self.prefilters.insert(cut.state.epoch, self.domain.prefilter(&cut.group_key, cut.state));
        while self.prefilters.len() > KEPT_UPDATES + 1 {
            self.prefilters.pop_first();
        }
        self.tell_ring();
    }

    /// A key of the own node is past its cut.
    pub(crate) fn on_key_cut(&mut self, now: Instant) {
        if self.activation.expire(now) {
            self.tell_ring();
        } else {
            self.set_key_cut();
        }
    }

    fn tell_ring(&mut self) {
        self.outbox.tell(GsmEvent::KeyRing(self.activation.ring()));
        self.set_key_cut();
    }

    fn set_key_cut(&mut self) {
        match self.activation.next_cut() {
            Some(at) => self.timers.set(Timer::Cut, at),
            None => self.timers.stop(Timer::Cut),
        }
    }
}

fn summary(cut: &Cut, sent: Sent) -> RekeySummary {
    RekeySummary {
        state: cut.state,
        hard: cut.hard,
        joins: cut.joined.len(),
        leaves: cut.departed.len(),
        entries: cut.staged.all_entries().len(),
        packets: sent.packets,
        bytes: sent.bytes,
    }
}
