//! Stand-in for TLS connections: reliable, ordered, delayed pipes with a fresh channel secret known to both ends.

use std::collections::BTreeMap;

use protocol::{ConnId, Instant, Peer};

use crate::node::NodeId;

/// One end of a connection: a node's process, and the number by which its machine knows the connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct End {
    /// The node.
    pub(crate) node: NodeId,
    /// Which start of its process: a restarted one does not hear what was meant for the one before.
    pub(crate) start: u32,
    /// The machine's name for the connection.
    pub(crate) conn: ConnId,
}

/// All open connections of a run.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// From each end to the other, and when the last thing sent that way arrives.
    pipes: BTreeMap<End, (End, Instant)>,
    /// Connections that stand and whose opening frame has not come: the machine does not know of them yet.
    unopened: BTreeMap<End, Peer>,
    accepted: u64,
}

impl Connections {
    /// No connection is open.
    pub(crate) const fn new() -> Self {
        Self { pipes: BTreeMap::new(), unopened: BTreeMap::new(), accepted: 0 }
    }

    /// Connects `caller` with the node that accepts; returns that node's end. Accepted numbers are even.
    pub(crate) fn open(&mut self, caller: End, acceptor: NodeId, start: u32) -> End {
        self.accepted += 2;
        let answering = End { node: acceptor, start, conn: ConnId(self.accepted) };
        self.pipes.insert(caller, (answering, Instant::ZERO));
        self.pipes.insert(answering, (caller, Instant::ZERO));
        answering
    }

    /// The other end, while the connection stands.
    pub(crate) fn other(&self, end: End) -> Option<End> {
        self.pipes.get(&end).map(|(other, _)| *other)
    }

    /// Where and when something sent from `from` arrives, if it were to arrive at `at` were it alone on the pipe.
    pub(crate) fn send(&mut self, from: End, at: Instant) -> Option<(End, Instant)> {
        let (to, last) = self.pipes.get_mut(&from)?;
        *last = (*last).max(at);
        Some((*to, *last))
    }

    /// A connection stands at the end that accepted it: the listener waits for its opening frame, which says for which
    /// group it is.
    pub(crate) fn accepted(&mut self, end: End, peer: Peer) {
        self.unopened.insert(end, peer);
    }

    /// Who is at the other end, when this is the opening frame of a connection.
    pub(crate) fn opening(&mut self, end: End) -> Option<Peer> {
        self.unopened.remove(&end)
    }

    /// Ends a connection; the other end, and when it hears of it.
    pub(crate) fn close(&mut self, from: End, at: Instant) -> Option<(End, Instant)> {
        self.unopened.remove(&from);
        let (to, last) = self.pipes.remove(&from)?;
        Some((to, last.max(at)))
    }

    /// All ends of a node, for when its process dies.
    pub(crate) fn ends_of(&self, node: NodeId) -> Vec<End> {
        self.pipes.keys().filter(|end| end.node == node).copied().collect()
    }
}
