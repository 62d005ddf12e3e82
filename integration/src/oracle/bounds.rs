//! What a node may cost the others and itself, whatever happens: datagrams, bytes, signature checks, what it has to say at once.

use std::collections::BTreeMap;

use protocol::Instant;
use protocol::limits::SIGNATURE_CHECKS_PER_SECOND;

use crate::node::NodeId;

/// Control datagrams of one node within a second. A manager answers each of fifty members for a while after a loss, each
/// at most once a second, repeats an update up to three times, and has alarms and answers besides.
const DATAGRAMS: u64 = 300;
/// Their bytes.
const BYTES: u64 = 120_000;
/// Signature checks of one node within a second: its gate's budget, that of discovery, and what comes sealed.
const CHECKS: u64 = SIGNATURE_CHECKS_PER_SECOND as u64 + 200;
/// Records, datagrams, frames and events that one input or timer leads to.
const OUTPUTS: u64 = 1_000;

/// What one node has done within the second that runs.
#[derive(Clone, Copy, Default, Debug)]
struct Spent {
    second: u64,
    datagrams: u64,
    bytes: u64,
    checks: u64,
}

/// What all nodes have done lately.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    spent: BTreeMap<NodeId, Spent>,
    /// The most of each kind there ever was, to see how far the limits are.
    most: [u64; 4],
}

impl Bounds {
    pub(crate) const fn new() -> Self {
        Self { spent: BTreeMap::new(), most: [0; 4] }
    }

    /// The most datagrams, bytes and checks of one node in a second, and the most outputs at once.
    pub(crate) const fn most(&self) -> [u64; 4] {
        self.most
    }

    /// A node sent a control datagram.
    pub(crate) fn on_sent(&mut self, at: Instant, node: NodeId, len: usize) -> Result<(), String> {
        let spent = self.of(at, node);
        spent.datagrams += 1;
        spent.bytes += len as u64;
        let Spent { datagrams, bytes, .. } = *spent;
        self.most[0] = self.most[0].max(datagrams);
        self.most[1] = self.most[1].max(bytes);
        within(node, "datagrams a second", datagrams, DATAGRAMS)?;
        within(node, "bytes a second", bytes, BYTES)
    }

    /// A node checked signatures.
    pub(crate) fn on_checks(&mut self, at: Instant, node: NodeId, checks: u64) -> Result<(), String> {
        if checks == 0 {
            return Ok(());
        }
        let spent = self.of(at, node);
        spent.checks += checks;
        let checks = spent.checks;
        self.most[2] = self.most[2].max(checks);
        within(node, "signature checks a second", checks, CHECKS)
    }

    /// One input or timer led to so many outputs.
    pub(crate) fn on_outputs(&mut self, node: NodeId, outputs: u64) -> Result<(), String> {
        self.most[3] = self.most[3].max(outputs);
        within(node, "outputs at once", outputs, OUTPUTS)
    }

    fn of(&mut self, at: Instant, node: NodeId) -> &mut Spent {
        let second = at.micros() / 1_000_000;
        let spent = self.spent.entry(node).or_default();
        if spent.second != second {
            *spent = Spent { second, ..Spent::default() };
        }
        spent
    }
}

fn within(node: NodeId, what: &str, value: u64, limit: u64) -> Result<(), String> {
    if value <= limit { Ok(()) } else { Err(format!("{node:?}: {value} {what}, more than {limit}")) }
}
