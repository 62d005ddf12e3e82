//! What several tests need: a group that stands, and casts with a bug planted around an honest machine.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use data::StreamId;
use gsm::{Participant, ParticipantEvent};
use integration::{NodeId, Scenario, World};
use member::MemberEvent;
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

/// Packets that one of `members` sent and another one was not handed, and how many there were to be handed.
pub(crate) fn lost(world: &World, members: &[NodeId]) -> (Vec<(NodeId, StreamId, u64)>, usize) {
    let delivered: BTreeSet<(NodeId, StreamId, u64)> = world
        .log()
        .delivered
        .iter()
        .map(|(_, node, packet)| (*node, packet.stream, packet.sequence))
        .collect();
    let mut due = Vec::new();
    for (_, from, sealed) in world.log().sent.iter().filter(|(_, from, _)| members.contains(from)) {
        let others = members.iter().filter(|to| *to != from);
        due.extend(others.map(|to| (*to, sealed.stream, sealed.sequence)));
    }
    let count = due.len();
    due.retain(|packet| !delivered.contains(packet));
    (due, count)
}

/// Everybody sends once every 20 ms, in turns.
pub(crate) fn talk(world: &mut World, members: &[NodeId], rounds: usize) {
    for round in 0..rounds {
        world.send(members[round % members.len()]);
        world.run_for(millis(20));
    }
}

/// In a `Machine` that wraps a participant: these methods are those of its `inner`.
macro_rules! as_its_inner {
    ($($method:ident),+) => { $(as_its_inner!(@ $method);)+ };
    (@ handle_input) => {
        fn handle_input(
            &mut self,
            now: protocol::Instant,
            input: protocol::Input<'_>,
        ) -> Result<(), protocol::Rejected> {
            self.inner.handle_input(now, input)
        }
    };
    (@ handle_timeout) => {
        fn handle_timeout(&mut self, now: protocol::Instant) {
            self.inner.handle_timeout(now);
        }
    };
    (@ poll_record) => {
        fn poll_record(&mut self) -> Option<protocol::Record> {
            self.inner.poll_record()
        }
    };
    (@ poll_transmit) => {
        fn poll_transmit(&mut self) -> Option<protocol::Transmit> {
            self.inner.poll_transmit()
        }
    };
    (@ poll_event) => {
        fn poll_event(&mut self) -> Option<gsm::ParticipantEvent> {
            self.inner.poll_event()
        }
    };
    (@ poll_timeout) => {
        fn poll_timeout(&self) -> Option<protocol::Instant> {
            self.inner.poll_timeout()
        }
    };
}

pub(crate) use as_its_inner;

/// An honest node whose events as a member pass through a test's hands.
pub(crate) struct MemberThrough<F> {
    inner: Participant,
    change: F,
    events: VecDeque<ParticipantEvent>,
}

impl<F: FnMut(MemberEvent) -> Vec<MemberEvent>> MemberThrough<F> {
    pub(crate) const fn new(inner: Participant, change: F) -> Self {
        Self { inner, change, events: VecDeque::new() }
    }
}

impl<F: FnMut(MemberEvent) -> Vec<MemberEvent>> Machine for MemberThrough<F> {
    type Event = ParticipantEvent;

    fn poll_event(&mut self) -> Option<ParticipantEvent> {
        while let Some(event) = self.inner.poll_event() {
            match event {
                ParticipantEvent::Member(event) => {
                    self.events.extend((self.change)(event).into_iter().map(ParticipantEvent::Member));
                }
                other => self.events.push_back(other),
            }
        }
        self.events.pop_front()
    }

    as_its_inner!(handle_input, handle_timeout, poll_record, poll_transmit, poll_timeout);
}

/// The rest of a wrapper's part: what it does not change.
macro_rules! plays_as_its_inner {
    ([$($bounds:tt)*] $wrapper:ty) => {
        impl<$($bounds)*> integration::Player for $wrapper {
            fn leave(&mut self, now: protocol::Instant) {
                integration::Player::leave(&mut self.inner, now);
            }

            fn member(&self) -> Option<&member::Member> {
                integration::Player::member(&self.inner)
            }

            fn gsm(&self) -> Option<&gsm::Gsm> {
                integration::Player::gsm(&self.inner)
            }

            fn gsm_mut(&mut self) -> Option<&mut gsm::Gsm> {
                integration::Player::gsm_mut(&mut self.inner)
            }

            fn compaction(&mut self) -> Option<(protocol::Commit, Vec<u8>)> {
                integration::Player::compaction(&mut self.inner)
            }
        }
    };
}

pub(crate) use plays_as_its_inner;

plays_as_its_inner!([F: FnMut(MemberEvent) -> Vec<MemberEvent>] MemberThrough<F>);
plays_as_its_inner!([M: Meddle] ManagerThrough<M>);

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

/// An honest node whose outputs pass through a test's hands. Records may be added; the numbers are kept in step.
pub(crate) struct ManagerThrough<M> {
    inner: Participant,
    meddle: M,
    records: VecDeque<Record>,
    transmits: VecDeque<Transmit>,
    /// For each record handed out, the newest of the manager's own that it stands for.
    stands_for: Vec<protocol::Commit>,
}

impl<M: Meddle> ManagerThrough<M> {
    pub(crate) const fn new(inner: Participant, meddle: M) -> Self {
        Self { inner, meddle, records: VecDeque::new(), transmits: VecDeque::new(), stands_for: Vec::new() }
    }
}

impl<M: Meddle> Machine for ManagerThrough<M> {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        let input = match input {
            Input::Stored { upto } => Input::Stored { upto: self.stands_for[upto.0 as usize - 1] },
            other => other,
        };
        self.inner.handle_input(now, input)
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

    as_its_inner!(handle_timeout, poll_event, poll_timeout);
}
