//! What several tests need: a group that stands, and casts with a bug planted around an honest machine.

use std::collections::VecDeque;
use std::time::Duration;

use gsm::{Gsm, GsmEvent};
use integration::{ManagerNode, MemberNode, NodeId, Scenario, World};
use member::{Member, MemberEvent};
use protocol::{Input, Instant, Machine, Record, Rejected, Transmit};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A calm group of `members` that all hold the manager's state, with a rekey interval of half a second.
pub(crate) fn standing(seed: u64, members: usize) -> World {
    stand(World::new(seed, quick(members)))
}

/// A calm scenario with a short rekey interval and `members` in reserve as well.
pub(crate) fn quick(members: usize) -> Scenario {
    let mut scenario = Scenario::calm(members);
    scenario.timing.rekey_interval = millis(500);
    scenario.reserve = members;
    scenario
}

/// Runs until everybody who was to join holds the manager's state, and no cut or switch is ahead.
pub(crate) fn stand(mut world: World) -> World {
    world.run_for(2 * SECOND);
    assert!(world.run_until(20 * SECOND, World::is_whole), "the group does not come to stand");
    world.run_for(3 * SECOND);
    assert_eq!(world.violations(), []);
    world
}

/// The longest time between two alarms from `since` on.
pub(crate) fn longest_silence(world: &World, since: Instant) -> Duration {
    let alarms: Vec<_> = world.log().alarms.iter().filter(|at| **at >= since).collect();
    assert!(alarms.len() > 10, "no alarms to measure");
    let gaps = alarms.windows(2).map(|pair| pair[1].saturating_since(*pair[0]));
    gaps.max().unwrap_or_default()
}

/// The members that were told to join, the manager apart.
pub(crate) fn joined(world: &World) -> Vec<NodeId> {
    world.ids().filter(|id| world.member(*id).is_some_and(|member| member.held().is_some())).collect()
}

/// An honest member whose events pass through a test's hands.
pub(crate) struct MemberThrough<F> {
    inner: Member,
    change: F,
    events: VecDeque<MemberEvent>,
}

impl<F: FnMut(MemberEvent) -> Vec<MemberEvent>> MemberThrough<F> {
    pub(crate) const fn new(inner: Member, change: F) -> Self {
        Self { inner, change, events: VecDeque::new() }
    }
}

impl<F: FnMut(MemberEvent) -> Vec<MemberEvent>> Machine for MemberThrough<F> {
    type Event = MemberEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        self.inner.handle_input(now, input)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
    }

    fn poll_record(&mut self) -> Option<Record> {
        self.inner.poll_record()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.inner.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<MemberEvent> {
        while let Some(event) = self.inner.poll_event() {
            self.events.extend((self.change)(event));
        }
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }
}

impl<F: FnMut(MemberEvent) -> Vec<MemberEvent>> MemberNode for MemberThrough<F> {
    fn join(&mut self, now: Instant) {
        self.inner.join(now);
    }

    fn leave(&mut self, now: Instant) {
        self.inner.leave(now);
    }

    fn member(&self) -> &Member {
        &self.inner
    }
}

/// What a test does to what an honest manager puts out.
pub(crate) trait Meddle {
    /// Records that go to the journal in place of this one.
    fn record(&mut self, record: Record) -> Vec<Record> {
        vec![record]
    }

    /// Transmits that go out in place of this one.
    fn transmit(&mut self, transmit: Transmit) -> Vec<Transmit> {
        vec![transmit]
    }
}

/// An honest manager whose outputs pass through a test's hands. Records may be added; the numbers are kept in step.
pub(crate) struct ManagerThrough<M> {
    inner: Gsm,
    meddle: M,
    records: VecDeque<Record>,
    transmits: VecDeque<Transmit>,
    /// For each record handed out, the newest of the manager's own that it stands for.
    stands_for: Vec<protocol::Commit>,
}

impl<M: Meddle> ManagerThrough<M> {
    pub(crate) const fn new(inner: Gsm, meddle: M) -> Self {
        Self { inner, meddle, records: VecDeque::new(), transmits: VecDeque::new(), stands_for: Vec::new() }
    }
}

impl<M: Meddle> Machine for ManagerThrough<M> {
    type Event = GsmEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        let input = match input {
            Input::Stored { upto } => Input::Stored { upto: self.stands_for[upto.0 as usize - 1] },
            other => other,
        };
        self.inner.handle_input(now, input)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
    }

    fn poll_record(&mut self) -> Option<Record> {
        while let Some(record) = self.inner.poll_record() {
            let own = record.commit;
            for mut record in self.meddle.record(record) {
                self.stands_for.push(own);
                record.commit = protocol::Commit(self.stands_for.len() as u64);
                self.records.push_back(record);
            }
        }
        self.records.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some(transmit) = self.inner.poll_transmit() {
            self.transmits.extend(self.meddle.transmit(transmit));
        }
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<GsmEvent> {
        self.inner.poll_event()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }
}

impl<M: Meddle> ManagerNode for ManagerThrough<M> {
    fn gsm(&self) -> &Gsm {
        &self.inner
    }

    fn gsm_mut(&mut self) -> &mut Gsm {
        &mut self.inner
    }
}
