//! A new term of a manager in office: another start with the same members, all keys new (DESIGN: failover, partition and merge).
//!
//! It is what a restart is, without the restart: the manager goes on saying that it lives, in the words of the old term,
//! until the new one's first key update is durable. Nobody registers again.

use std::collections::BTreeSet;

use crypto::Secret;
use protocol::{Alarm, Commit, Epoch, Inst, Instant, SenderId, StateId, Term};

use crate::event::Departure;
use crate::gsm::{Gsm, Timer};
use crate::journal::JournalEntry;
use crate::member_list::MemberList;
use crate::promised::Promised;
use crate::renewal::Renewing;
use crate::takeover::Claimed;

/// What changes from one term of a manager to the next, and what of the last one is still on its way.
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    /// The newest alarm of the term in force.
    newest: Option<Alarm>,
    /// The newest alarm of the term before, while the first key update of this one is not out yet.
    before: Option<Alarm>,
    /// A renewal that not all members may have heard of.
    pub(crate) renewing: Option<Renewing>,
    /// Who was out last of those that have held every leaf secret, for the operator.
    pub(crate) out: String,
    /// A former manager has not come back in time, or another manager of the subgroup gives way: the next start renews.
    pub(crate) overdue: bool,
    /// The proof that this node follows another manager in the office.
    pub(crate) claimed: Option<Claimed>,
    /// When anything was handed in last.
    pub(crate) handled: Option<Instant>,
    /// The state the journal ended with when this start began: who took over while this node was down did so from there.
    pub(crate) resumed_from: Option<StateId>,
    /// Until when it says nothing, because it was not run for a while.
    pub(crate) listens_until: Option<Instant>,
}

/// A start that was asked to be recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewStart {
    pub(crate) inst: Inst,
    pub(crate) own: SenderId,
    pub(crate) commit: Commit,
}

impl Gsm {
    /// Begins a new term: everybody who is a member stays one, and gets every key anew with one hard key update. What else
    /// waits for a key update goes along. Harmless while another start is under way.
    pub(crate) fn begin_term(&mut self, now: Instant) {
        if self.is_starting() || self.is_turning() || self.is_leaving() || self.handing.is_under_way() {
            return;
        }
        self.tenure.before = self.tenure.newest.take();
        self.tenure.resumed_from = None;
        self.dismiss_offers();
        let renewed = self.renew_if_due();
        let NewStart { inst, commit, .. } = self.record_start(Some(self.own));
        self.inst = inst;
        if !self.read_only {
            self.started = commit;
        }
        self.announce_renewed(renewed);
        self.enter(now);
        self.keys.harden_next();
        self.cut(now);
    }

    /// Whether a new term has begun whose first key update is not out yet.
    pub(crate) const fn is_turning(&self) -> bool {
        self.tenure.before.is_some()
    }

    /// The store failed while a new term waits for it: evictions cannot wait.
    pub(crate) fn turn_unrecorded(&mut self) {
        if self.is_turning() {
            self.started = self.durable;
        }
    }

    /// The first key update of a start is out.
    pub(crate) fn on_entered(&mut self) {
        self.tenure.before = None;
    }

    /// Asks for the record of a start in a term above everything seen. `own` is a registration of the own node that goes
    /// on; without one it gets another.
    pub(crate) fn record_start(&mut self, own: Option<SenderId>) -> NewStart {
        let promised = Box::new(Promised::of(&self.config, self.signer.0.public_key()));
        let term = Term(self.highest_term().0.saturating_add(1));
        let (subgroup, inst) = (self.config.subgroup, self.fresh_inst());
        let own = own.unwrap_or_else(|| SenderId::issue(inst, 1));
        let commit = self.record_always(JournalEntry::Started { subgroup, term, inst, own, promised });
        NewStart { inst, own, commit }
    }

    /// Makes everything but the own node's keys that of the newest recorded start, whose members are those of the journal,
    /// the own node among them. Who is on the list and not in the journal is out with the first key update.
    pub(crate) fn enter(&mut self, now: Instant) {
        let before = std::mem::replace(&mut self.members, MemberList::new());
        (self.issued, self.alarms, self.urgent) = (1, 0, false);
        self.timers.stop(Timer::Rekey);
        self.prefilters = [(Epoch(0), Secret::random(&mut *self.rng.0))].into();
        self.transmitter.begin_again();
        self.restore_members(true);
        self.members.heard_all(now);
        let mut gone = BTreeSet::new();
        for listed in before.iter() {
            let Some(kept) = self.members.get_mut(listed.sender) else {
                gone.insert(listed.sender);
                continue;
            };
            (kept.heard, kept.held, kept.address) = (listed.heard, listed.held, listed.address);
            (kept.counter, kept.resynced, kept.caught_up) =
                (listed.counter, listed.resynced, listed.caught_up);
            kept.asked = listed.asked.clone();
            kept.resync_answers = listed.resync_answers.clone();
            kept.catch_up_answers = listed.catch_up_answers.clone();
        }
        for listed in before.iter().filter(|listed| listed.is_live() && gone.contains(&listed.sender)) {
            // Its X25519 key agrees on nothing: it could follow no renewal.
            let (identity, sender) = (listed.identity.clone(), listed.sender);
            let why = Departure::Silent;
            self.outbox.tell_after(
                self.outbox.last_commit(),
                crate::event::GsmEvent::Departed { identity, sender, why },
            );
        }
        self.keys.let_go(gone);
    }

    /// The alarm to send now: of the state in force, or of the one before while the first key update of a new term is not
    /// out yet. `None` before the first key update of all.
    pub(crate) fn next_alarm(&mut self, now: Instant) -> Option<Vec<u8>> {
        if let Some(current) = self.keys.current().cloned() {
            return Some(self.alarm(now, &current));
        }
        let before = self.tenure.before.as_mut()?;
        before.counter += 1;
        let bytes = before.encode(&self.domain, &*self.signer.0);
        self.keep_own_alarm(bytes.clone());
        Some(bytes)
    }

    /// An alarm was made.
    pub(crate) fn on_alarm_made(&mut self, alarm: Alarm) {
        self.tenure.newest = Some(alarm);
    }

    /// Places that were offered and not confirmed are void: their keys are of the term before.
    fn dismiss_offers(&mut self) {
        for conn in self.registrar.offering() {
            self.registrar.forget(conn);
            self.outbox.forget(conn);
            self.outbox.send(protocol::Transmit::Close { conn });
        }
    }
}
