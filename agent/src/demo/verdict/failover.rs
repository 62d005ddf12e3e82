//! What became of the group when its manager was killed for good, and a standby took over.

use std::collections::BTreeSet;

use super::record::{Record, SentPacket};

/// What became of the group when its manager was killed for good, and a standby took over.
#[derive(Debug)]
pub(super) struct Failover {
    /// Nodes that were in at the kill, the manager's own not counted. The standby is one of them.
    pub(super) live: BTreeSet<String>,
    /// Live ones that read something under a key of the standby's term.
    pub(super) readers: u64,
    /// Registrations of live ones since the kill.
    pub(super) reregistrations: u64,
    /// From the kill to the first packet under a key of the standby's term, in microseconds.
    pub(super) took_us: u64,
    /// That packet's number.
    pub(super) switch: u64,
    /// The standby's term.
    pub(super) term: u32,
}

impl Record {
    /// What became of the failover; `None` if there was none, or if nothing was ever sent under a key of the standby.
    pub(super) fn failover(&self) -> Option<Failover> {
        let (lost, lost_at) = self.lost.as_ref()?;
        let (term, switch) = (self.succeeded?, self.failover_switch()?);
        let live = self.live(lost, *lost_at);
        let readers = live.iter().filter(|node| self.reads_in(node, term)).count() as u64;
        let reregistrations = live.iter().map(|node| self.registrations_since(node, *lost_at)).sum();
        let took_us = switch.sent_us.saturating_sub(*lost_at);
        Some(Failover { live, readers, reregistrations, took_us, switch: switch.number, term })
    }

    /// The first packet of the stream under a key of the standby's term, if that is newer than all before the kill.
    fn failover_switch(&self) -> Option<SentPacket> {
        let ((_, lost_at), term) = (self.lost.as_ref()?, self.succeeded?);
        let before = self.sent.values().filter(|packet| packet.sent_us < *lost_at);
        let old = before.map(|packet| packet.key.term).max()?;
        self.sent.values().find(|packet| packet.key.term >= term && term > old).copied()
    }

    /// Sent since the kill, up to those under the standby's first key.
    pub(super) fn falls_to_failover(&self, packet: &SentPacket) -> bool {
        let Some((_, lost_at)) = &self.lost else { return false };
        let up_to = self.failover_switch().map(|switch| switch.key);
        packet.sent_us >= *lost_at && up_to.is_none_or(|key| packet.key <= key)
    }
}
