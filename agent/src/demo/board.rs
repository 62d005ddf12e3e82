//! How far a demonstration is, for the script to wait on. It judges nothing: that is the verdict's.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::Event;

/// How far a demonstration is.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// The manager answers its operator.
    pub(super) manager_ready: bool,
    /// The newest epoch the manager cut.
    pub(super) epoch: u32,
    /// Members in all key updates' leaves, evicted ones included.
    pub(super) leaves_cut: usize,
    /// Members that hold a group key.
    pub(super) joined: BTreeSet<String>,
    /// Members that left.
    pub(super) left: BTreeSet<String>,
    /// Packets sent.
    pub(super) sent: u64,
    /// The stream has begun.
    pub(super) streaming: bool,
    /// How many packets the stream had in the end.
    pub(super) stream_ended: Option<u64>,
    /// One past the last packet each member received, or the adversary caught.
    pub(super) received: BTreeMap<String, u64>,
    /// The adversary was told no, or let in, when it came back.
    pub(super) reregistered: bool,
    /// The eviction is done.
    pub(super) evicted: bool,
    /// Processes that have ended.
    pub(super) ended: BTreeSet<String>,
    /// Something happened that must not happen.
    pub(super) broken: bool,
}

impl Board {
    /// Moves on with what happened.
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::Rekeyed { epoch, leaves, .. } => {
                self.epoch = self.epoch.max(*epoch);
                self.leaves_cut += leaves;
            }
            Event::Joined { node, .. } => drop(self.joined.insert(node.clone())),
            Event::Left { node, .. } => drop(self.left.insert(node.clone())),
            Event::StreamBegan { .. } => self.streaming = true,
            Event::Sent { first, sent_us, .. } => self.sent = self.sent.max(first + sent_us.len() as u64),
            Event::StreamEnded { packets, .. } => self.stream_ended = Some(*packets),
            Event::Received { node, last, .. } | Event::Intercepted { node, last, .. } => {
                let received = self.received.entry(node.clone()).or_default();
                *received = (*received).max(last + 1);
            }
            Event::Reregistered { .. } => self.reregistered = true,
            Event::Evicted { .. } => self.evicted = true,
            Event::Broken { .. } => self.broken = true,
            _ => {}
        }
    }

    /// Whether all of these hold a group key.
    pub(super) fn all_joined(&self, nodes: &[&str]) -> bool {
        nodes.iter().all(|node| self.joined.contains(*node))
    }

    /// Whether all of these have seen the end of the stream.
    pub(super) fn all_have_the_end(&self, nodes: &[&str]) -> bool {
        let Some(packets) = self.stream_ended else { return false };
        nodes.iter().all(|node| self.received.get(*node).is_some_and(|received| *received >= packets))
    }
}
