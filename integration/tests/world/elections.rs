use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gsm::{Participant, ParticipantEvent};
use integration::{Cast, NodeId, Player, Property, Scenario, World};
use protocol::{DatagramKind, Envelope, Input, Instant, Lane, Machine, Record, Rejected, Transmit};

use crate::support::plays_as_its_inner;

const SEEDS: u64 = 60;

#[test]
fn of_twenty_nodes_started_at_one_instant_one_manages_within_five_seconds_and_the_others_are_its_members() {
    let (next, latest) = (AtomicU64::new(0), AtomicU64::new(0));
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return;
            }
            match World::elect(seed) {
                Ok(report) => latest.fetch_max(report.decided.as_millis() as u64, Ordering::Relaxed),
                Err(failure) => panic!("{failure}"),
            };
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(run);
        scope.spawn(run);
    });
    let latest = Duration::from_millis(latest.into_inner());
    // Three searches, a random wait and the claim's window are behind whoever wins.
    assert!(latest > Duration::from_millis(1_900), "{latest:?}");
}

/// A machine that neither hears nor says anything where nodes find each other.
struct Aloof {
    inner: Participant,
}

impl Machine for Aloof {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        match input {
            Input::Datagram { lane: Lane::Discovery, .. } => Ok(()),
            other => self.inner.handle_input(now, other),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
    }

    fn poll_record(&mut self) -> Option<Record> {
        self.inner.poll_record()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let says = |transmit: &Transmit| match transmit {
            Transmit::Multicast { bytes, .. } => {
                let kind = Envelope::parse(bytes).map(|envelope| envelope.kind);
                !matches!(kind, Ok(DatagramKind::Find | DatagramKind::Claim | DatagramKind::Presence))
            }
            _ => true,
        };
        std::iter::from_fn(|| self.inner.poll_transmit()).find(says)
    }

    fn poll_event(&mut self) -> Option<ParticipantEvent> {
        self.inner.poll_event()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }
}

plays_as_its_inner!([] Aloof);

/// One node of all is aloof.
struct OneAloof;

impl Cast for OneAloof {
    fn player(&mut self, node: NodeId, inner: Participant) -> Box<dyn Player> {
        if node == NodeId(7) { Box::new(Aloof { inner }) } else { Box::new(inner) }
    }
}

#[test]
fn two_managers_that_never_hear_of_each_other_are_caught() {
    let world = World::with_cast(1, Scenario::election(1), Box::new(OneAloof));
    let failure = world.run_election().expect_err("two managers");
    assert!(failure.violations.iter().all(|found| found.property == Property::Liveness));
    assert!(failure.violations[0].what.contains("no single manager for good"), "{failure}");
}
