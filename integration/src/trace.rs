//! What happened, one line an event in fixed columns, and a hash over all of it.

use std::fmt;

use protocol::Instant;

/// The kinds of event in a trace; the columns `a` and `b` mean what the table says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A datagram arrived: lane, length.
    Datagram,
    /// A frame arrived: connection, length.
    Frame,
    /// A connection opened, was accepted or closed: connection.
    Connection,
    /// A timer was due.
    Timer,
    /// An input was not taken: the reason's place in its enum's order.
    Rejected,
    /// The store reported: the newest durable record.
    Stored,
    /// A state was cut or installed: epoch.
    State,
    /// A node was granted a place, admitted, put out: what.
    Member,
    /// An application packet was sent: stream, sequence.
    Sent,
    /// It was delivered: stream, sequence.
    Delivered,
    /// The scenario acted: which action.
    Churn,
    /// The network was cut or healed: whether it was cut, whether one way.
    Cut,
    /// A process was stopped or goes on: whether it was stopped, what waited for it.
    Paused,
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// At which node.
    pub node: usize,
    /// What.
    pub kind: Kind,
    /// The first detail.
    pub a: u64,
    /// The second.
    pub b: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = format!("{:?}", self.kind);
        write!(f, "{:>12} n{:<3} {:<10} {:>20x} {:>8}", self.at.to_string(), self.node, kind, self.a, self.b)
    }
}

/// How many lines are kept for a failing seed; the hash covers all.
const MAX_LINES: usize = 4_096;

/// The events of a run.
#[derive(Clone, Debug)]
pub struct Trace {
    lines: std::collections::VecDeque<Line>,
    hash: u64,
    count: u64,
    told: Option<fn(&Line)>,
}

impl Trace {
    /// Nothing happened yet.
    pub const fn new() -> Self {
        // The offset basis of FNV-1a.
        Self { lines: std::collections::VecDeque::new(), hash: 0xcbf2_9ce4_8422_2325, count: 0, told: None }
    }

    /// Hands every line from now on to `tell` as well, for whoever wants the whole run and not its end.
    pub const fn tell(&mut self, tell: fn(&Line)) {
        self.told = Some(tell);
    }

    /// Adds an event.
    pub fn note(&mut self, line: Line) {
        for word in [line.at.micros(), line.node as u64, line.kind as u64, line.a, line.b] {
            // FNV-1a over words: it finds differences, and nobody attacks a test.
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
        self.count += 1;
        if let Some(tell) = self.told {
            tell(&line);
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// A hash over every event so far: two runs of one seed have the same.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The newest `most` lines, oldest first.
    pub fn tail(&self, most: usize) -> impl Iterator<Item = &Line> {
        self.lines.iter().skip(self.lines.len().saturating_sub(most))
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}
