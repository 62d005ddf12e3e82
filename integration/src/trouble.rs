//! What befalls whole nodes and the ways between them: the network is cut and heals, processes stop and go on, disks fail.

use std::time::Duration;

use protocol::Instant;

use crate::network::Cut;
use crate::node::NodeId;
use crate::trace::Kind;
use crate::world::{Happening, World};

/// Datagrams a stopped process's sockets hold; the rest is lost.
const MAX_BACKLOG: usize = 2_048;

/// A cut that comes, goes, and may come again until its time is over.
pub(crate) struct Cutting {
    cut: Cut,
    until: Instant,
    /// How long it stands and how long it does not; `None` for one that stands all the time.
    period: Option<Duration>,
    standing: Option<u64>,
}

impl World {
    /// For `time` nothing passes this cut; if it flaps, then by turns of this length.
    pub fn cut(&mut self, cut: Cut, time: Duration, flapping: Option<Duration>) {
        let until = self.before_quiet(time);
        self.on_cutting(Box::new(Cutting { cut, until, period: flapping, standing: None }));
    }

    /// All cuts heal at once, before their time.
    pub fn heal(&mut self) {
        self.network.heal_all();
    }

    /// A cut begins or ends.
    pub(crate) fn on_cutting(&mut self, mut cutting: Box<Cutting>) {
        let stands = cutting.standing.is_none() && self.now < cutting.until;
        self.note(NodeId::MANAGER, Kind::Cut, stands.into(), cutting.cut.one_way.into());
        self.log.cuts.push(self.now);
        match cutting.standing.take() {
            Some(number) => self.network.heal(number),
            None if stands => cutting.standing = Some(self.network.cut(cutting.cut.clone())),
            None => return,
        }
        if self.now < cutting.until {
            let turn = cutting.period.map_or(cutting.until, |period| self.now + period);
            self.queue.push(turn.min(cutting.until), Happening::Cutting(cutting));
        }
    }

    /// A process is stopped for `time` (SIGSTOP): what comes for it waits, its timers are late, and the clock goes on.
    pub fn pause(&mut self, id: NodeId, time: Duration) {
        let until = self.before_quiet(time);
        let node = &mut self.nodes[id.0];
        if !node.process.is_up() || node.backlog.is_some() {
            return;
        }
        node.backlog = Some(Vec::new());
        let start = node.start;
        self.note(id, Kind::Paused, 1, 0);
        self.queue.push(until, Happening::Resume { node: id, start });
    }

    /// A stopped process goes on. Whether its timers or its sockets come first is chance.
    pub(crate) fn on_resume(&mut self, id: NodeId, start: u32) {
        if self.nodes[id.0].start != start {
            return;
        }
        let Some(backlog) = self.nodes[id.0].backlog.take() else { return };
        self.note(id, Kind::Paused, 0, backlog.len() as u64);
        let timers_first = self.dice.chance(500);
        if timers_first {
            self.timers(id);
        }
        for happening in backlog {
            self.happen(happening);
        }
        if !timers_first {
            self.timers(id);
        }
    }

    fn timers(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        if node.wakes_at.is_some_and(|at| at <= self.now) {
            node.woken_at = None;
            node.process.handle_timeout(self.now);
            self.settle(id);
        } else {
            node.woken_at = None;
            self.await_timer(id);
        }
    }

    /// What is for a process that is stopped waits for it. Gives back what is for others.
    pub(crate) fn unless_stopped(&mut self, happening: Happening) -> Option<Happening> {
        let id = match &happening {
            Happening::Datagram { node, .. }
            | Happening::Wake(node)
            | Happening::Committed { node, .. }
            | Happening::Unsent(node) => *node,
            Happening::Stream(end, _) => end.node,
            _ => return Some(happening),
        };
        let Some(backlog) = &mut self.nodes[id.0].backlog else { return Some(happening) };
        match happening {
            // Timers are looked at when it goes on.
            Happening::Wake(_) => {}
            Happening::Datagram { .. } if backlog.len() >= MAX_BACKLOG => {}
            _ => backlog.push(happening),
        }
        None
    }

    /// For `time` every commit of a node's store fails: its disk is full, or gives errors.
    pub fn break_store(&mut self, id: NodeId, time: Duration) {
        let until = self.before_quiet(time);
        self.note(id, Kind::Stored, u64::MAX - 1, 0);
        self.nodes[id.0].store.fail_until(until);
    }

    /// Now and `time`, but for a scenario with a quiet end, which nothing goes into.
    fn before_quiet(&self, time: Duration) -> Instant {
        let end = Instant::ZERO + self.scenario.duration;
        let until = self.now + time;
        if self.scenario.quiet > Duration::ZERO { until.min(end.max(self.now)) } else { until }
    }
}
