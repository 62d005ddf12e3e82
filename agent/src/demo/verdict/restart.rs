//! What became of the group when its manager was killed and started again.

use std::collections::BTreeSet;

use super::record::{Record, SentPacket};

/// What became of the group when its manager was killed and started again.
#[derive(Debug)]
pub(super) struct Restart {
    /// Nodes that were in at the kill, the manager's own not counted.
    pub(super) live: BTreeSet<String>,
    /// Members the manager kept, by its own word.
    pub(super) kept: u64,
    /// Live ones that read something under a key of the new term.
    pub(super) readers: u64,
    /// Registrations of live ones since the kill.
    pub(super) reregistrations: u64,
    /// From the new process to the first packet under a key of the new term, in microseconds.
    pub(super) took_us: u64,
    /// That packet's number.
    pub(super) switch: u64,
    /// The new term.
    pub(super) term: u32,
    /// When the manager said that it is back.
    pub(super) resumed_at: u64,
}

impl Record {
    /// What became of the restart; `None` if there was none, or if nothing was ever sent under a key of a newer term.
    pub(super) fn restart(&self) -> Option<Restart> {
        let (killed, killed_at) = self.killed.as_ref()?;
        let (resumed_at, kept, term) = self.resumed?;
        let again = |(node, at): &&(String, u64)| node == killed && at > killed_at;
        let (_, started_at) = self.started.iter().filter(again).min_by_key(|(_, at)| *at)?;
        let switch = self.restart_switch()?;
        let live = self.live(killed, *killed_at);
        let readers = live.iter().filter(|node| self.reads_in(node, term)).count() as u64;
        let reregistrations = live.iter().map(|node| self.registrations_since(node, *killed_at)).sum();
        let took_us = switch.sent_us.saturating_sub(*started_at);
        let switch = switch.number;
        Some(Restart { live, kept, readers, reregistrations, took_us, switch, term, resumed_at })
    }

    /// The first packet of the stream under a key of the new term, if that is newer than all before the kill.
    fn restart_switch(&self) -> Option<SentPacket> {
        let (_, killed_at) = self.killed.as_ref()?;
        let (_, _, term) = self.resumed?;
        let before = self.sent.values().filter(|packet| packet.sent_us < *killed_at);
        let old = before.map(|packet| packet.key.term).max()?;
        self.sent.values().find(|packet| packet.key.term >= term && term > old).copied()
    }

    /// Sent since the kill, up to those under the first key of the new term.
    pub(super) fn falls_to_restart(&self, packet: &SentPacket) -> bool {
        let Some((_, killed_at)) = &self.killed else { return false };
        let up_to = self.restart_switch().map(|switch| switch.key);
        packet.sent_us >= *killed_at && up_to.is_none_or(|key| packet.key <= key)
    }

    /// Packets that were sent while the manager was dead.
    pub(super) fn sent_without_manager(&self) -> u64 {
        let (Some((_, killed_at)), Some((resumed_at, ..))) = (&self.killed, self.resumed) else { return 0 };
        let meanwhile = |packet: &&SentPacket| (*killed_at..resumed_at).contains(&packet.sent_us);
        self.sent.values().filter(meanwhile).count() as u64
    }

    pub(super) fn live(&self, killed: &str, killed_at: u64) -> BTreeSet<String> {
        let in_then = self.joined.iter().filter(|(_, (_, at))| *at <= killed_at).map(|(node, _)| node);
        let stayed = in_then.filter(|node| {
            let leaving = self.leaving.get(*node).is_some_and(|at| *at <= killed_at);
            !leaving && !self.is_evicted(node) && *node != killed
        });
        stayed.cloned().collect()
    }

    pub(super) fn reads_in(&self, node: &str, term: u32) -> bool {
        let greeted = self.greeted.get(node).into_iter().flatten();
        let reception = self.received.get(node);
        let keys = reception.into_iter().flat_map(|reception| reception.packets.values().flatten());
        greeted.chain(keys).any(|key| key.term == term)
    }

    /// By the node's own word or by the manager's, whichever knows of more.
    pub(super) fn registrations_since(&self, node: &str, killed_at: u64) -> u64 {
        let since = |list: &[(String, u64)]| {
            list.iter().filter(|(of, at)| of == node && *at >= killed_at).count() as u64
        };
        since(&self.registered).max(since(&self.admissions))
    }
}
