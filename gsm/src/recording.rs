//! What a manager makes durable, and what it does when its store does not: read-only mode (DESIGN: durable before told).

use std::time::Duration;

use protocol::{Commit, Instant};

use crate::event::GsmEvent;
use crate::gsm::{Gsm, Timer};
use crate::journal::JournalEntry;

/// Records after which a snapshot replaces the journal.
const COMPACT_AFTER: usize = 4_096;
/// The same for records that took somebody out: what the store keeps of them is of no use to anybody but a thief.
const COMPACT_AFTER_REMOVALS: usize = 256;

/// How often a store that failed is asked whether it works again, if nothing else is to be recorded.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

impl Gsm {
    /// A snapshot of everything recorded so far, and the newest record it contains, when the journal has grown enough
    /// for one and all of it is durable. The driver asks after each report of the store, and wipes the bytes when
    /// they are sealed: they hold leaf secrets.
    pub fn compaction(&mut self) -> Option<(Commit, Vec<u8>)> {
        let grown = self.since_snapshot > COMPACT_AFTER || self.removals >= COMPACT_AFTER_REMOVALS;
        let due = (grown || self.snapshot_due) && !self.is_starting();
        let last = self.outbox.last_commit();
        if !due || !self.sound || self.read_only || self.durable < last {
            return None;
        }
        (self.since_snapshot, self.removals, self.snapshot_due) = (0, 0, false);
        Some((last, self.ledger.encode()))
    }

    /// Asks for a record. In read-only mode what depends on it is told at once; it becomes durable when the store works
    /// again.
    pub(crate) fn record(&mut self, entry: JournalEntry) -> Commit {
        let commit = self.record_always(entry);
        if self.read_only { Commit(0) } else { commit }
    }

    /// Asks for a record that must be durable whatever it costs: that of the start.
    pub(crate) fn record_always(&mut self, entry: JournalEntry) -> Commit {
        let members = self.ledger.members.len();
        let bytes = entry.encode();
        // A standby learns that this is no manager any more by the warrant, and goes on where it ended.
        if !matches!(entry, JournalEntry::SteppedDown) {
            self.withdraw_offer();
            self.replicate(Commit(self.outbox.last_commit().0 + 1), &bytes);
        }
        let commit = self.outbox.record(bytes);
        if entry.binds_a_successor() {
            self.replication.binding.on_record(commit, self.read_only);
        }
        self.snapshot_due |= entry.outlives_the_journal();
        self.sound &= self.ledger.apply(entry).is_ok();
        self.since_snapshot += 1;
        self.removals += members.saturating_sub(self.ledger.members.len());
        commit
    }

    /// The store reports: what waited for it goes out, and so does a cut whose record is durable. If the store works again,
    /// whatever that leads to waits for its own record.
    pub(crate) fn on_stored(&mut self, now: Instant, upto: Commit) {
        self.durable = self.durable.max(upto.min(self.outbox.last_commit()));
        self.recover(now);
        self.release(now);
        self.on_start_stored(now);
        self.brief_standbys(now);
    }

    /// A record could not be made durable.
    pub(crate) fn on_store_failed(&mut self, now: Instant) {
        if self.read_only {
            return;
        }
        self.read_only = true;
        self.outbox.tell(GsmEvent::ReadOnly);
        self.turn_unrecorded();
        self.timers.set(Timer::Probe, now + PROBE_INTERVAL);
        self.complete_cut_if_due(now);
        self.on_merge_stored(now);
    }

    /// The store failed and works again. All that was recorded meanwhile was kept and tried again by the driver, so
    /// what was told without being durable is so now.
    pub(crate) fn recover(&mut self, now: Instant) {
        if self.read_only && self.durable == self.outbox.last_commit() {
            self.read_only = false;
            self.timers.stop(Timer::Probe);
            self.outbox.tell(GsmEvent::Writable);
            self.begin_presence(now);
        }
    }

    /// Without a record there is no report: a store that failed with nothing to do is asked.
    pub(crate) fn probe(&mut self, now: Instant) {
        self.timers.set(Timer::Probe, now + PROBE_INTERVAL);
        if self.durable == self.outbox.last_commit() {
            self.record(JournalEntry::Probe);
        }
    }
}
