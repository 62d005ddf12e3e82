//! How far a demonstration is, for the script to wait on. It judges nothing: that is the verdict's.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::{Event, Key};

/// How far a demonstration is.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Hosts whose daemons answer their operators.
    pub(super) ready: BTreeSet<String>,
    /// The node that was elected, or that took over last.
    pub(super) manager: Option<String>,
    /// Nodes that have been in step with the manager of the moment, to take over from it.
    pub(super) standing_by: BTreeSet<String>,
    /// The term with which a standby took over.
    pub(super) succeeded: Option<u32>,
    /// The newest key the manager cut.
    pub(super) key: Key,
    /// Members in all key updates' leaves, evicted ones included.
    pub(super) leaves_cut: usize,
    /// Members that hold a group key.
    pub(super) joined: BTreeSet<String>,
    /// Members that left.
    pub(super) left: BTreeSet<String>,
    /// Packets sent.
    pub(super) sent: u64,
    /// How many packets the stream had in the end.
    pub(super) stream_ended: Option<u64>,
    /// One past the last packet each member received, or the adversary caught.
    received: BTreeMap<String, u64>,
    /// The newest key under which each member read something.
    read: BTreeMap<String, Key>,
    /// How often the adversary was told no, or let in, when it came back.
    pub(super) visits: usize,
    /// The eviction is done.
    pub(super) evicted: bool,
    /// The term with which the manager came back.
    pub(super) resumed: Option<u32>,
    /// Processes that have ended.
    pub(super) ended: BTreeSet<String>,
    /// Something happened that must not happen.
    pub(super) broken: bool,
}

impl Board {
    /// Moves on with what happened.
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::Elected { node } => self.manager = Some(node.clone()),
            Event::Rekeyed { key, leaves, .. } => {
                self.key = self.key.max(*key);
                self.leaves_cut += leaves;
            }
            Event::Joined { node, .. } => drop(self.joined.insert(node.clone())),
            Event::Left { node, .. } => drop(self.left.insert(node.clone())),
            Event::Sent { first, sent_us, .. } => self.sent = self.sent.max(first + sent_us.len() as u64),
            Event::StreamEnded { packets, .. } => self.stream_ended = Some(*packets),
            Event::Received { node, key, last, .. } => {
                self.on_received(node, *last);
                self.on_read(node, *key);
            }
            Event::Intercepted { node, last, file: true, .. } => self.on_received(node, *last),
            Event::Greeted { node, key } => self.on_read(node, *key),
            Event::Reregistered { .. } => self.visits += 1,
            Event::Evicted { .. } => self.evicted = true,
            Event::Resumed { term, .. } => self.resumed = Some(*term),
            Event::Killed { .. } | Event::Lost { .. } => self.standing_by.clear(),
            Event::StandsBy { node } => drop(self.standing_by.insert(node.clone())),
            Event::Succeeded { node, term } => {
                self.manager = Some(node.clone());
                self.succeeded = Some(*term);
            }
            Event::Broken { .. } => self.broken = true,
            _ => {}
        }
    }

    fn on_received(&mut self, node: &str, last: u64) {
        let received = self.received.entry(node.to_owned()).or_default();
        *received = (*received).max(last + 1);
    }

    fn on_read(&mut self, node: &str, key: Key) {
        let read = self.read.entry(node.to_owned()).or_default();
        *read = (*read).max(key);
    }

    /// Whether all of these hold a group key.
    pub(super) fn all_joined(&self, nodes: &[String]) -> bool {
        nodes.iter().all(|node| self.joined.contains(node))
    }

    /// Whether all of these have read something under a key of this term or a later one.
    pub(super) fn all_read_in(&self, term: u32, nodes: &[String]) -> bool {
        nodes.iter().all(|node| self.read.get(node).is_some_and(|key| key.term >= term))
    }

    /// Whether all of these have seen the end of the stream.
    pub(super) fn all_have_the_end(&self, nodes: &[String]) -> bool {
        let Some(packets) = self.stream_ended else { return false };
        nodes.iter().all(|node| self.received.get(node).is_some_and(|received| *received >= packets))
    }
}
