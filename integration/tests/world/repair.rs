//! Getting back what was lost, and what may not be had that way.

use std::cell::RefCell;
use std::rc::Rc;

use gsm::{Participant, ParticipantEvent};
use integration::{Cast, NodeId, Player, StoreFaults, World};
use protocol::{DatagramKind, Envelope, Input, Instant, Lane, Machine, Rejected};

use crate::support::{SECOND, as_its_inner, joined, millis, plays_as_its_inner, quick, stand};

/// What became of each resync answer, in order.
type Answers = Rc<RefCell<Vec<Result<(), Rejected>>>>;

/// An honest member with bad ears, or one that hears every answer of its manager twice.
struct Ears {
    inner: Participant,
    hears_updates: bool,
    hears_answers_twice: bool,
    answers: Answers,
}

impl Machine for Ears {
    type Event = ParticipantEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        let Input::Datagram { lane, from, bytes } = input else { return self.inner.handle_input(now, input) };
        let kind = Envelope::parse(bytes).map(|envelope| envelope.kind);
        if kind == Ok(DatagramKind::KeyUpdate) && !self.hears_updates {
            return Ok(());
        }
        let taken = self.inner.handle_input(now, Input::Datagram { lane, from, bytes });
        if lane == Lane::Unicast && kind == Ok(DatagramKind::ToMember) {
            self.answers.borrow_mut().push(taken);
            if self.hears_answers_twice {
                let again = self.inner.handle_input(now, Input::Datagram { lane, from, bytes });
                self.answers.borrow_mut().push(again);
            }
        }
        taken
    }

    as_its_inner!(handle_timeout, poll_record, poll_transmit, poll_event, poll_timeout);
}

plays_as_its_inner!([] Ears);

/// Gives one node these ears.
struct WithEars {
    node: NodeId,
    hears_updates: bool,
    hears_answers_twice: bool,
    answers: Answers,
}

impl Cast for WithEars {
    fn player(&mut self, node: NodeId, inner: Participant) -> Box<dyn Player> {
        let Self { hears_updates, hears_answers_twice, .. } = *self;
        if node == self.node {
            let answers = Rc::clone(&self.answers);
            Box::new(Ears { inner, hears_updates, hears_answers_twice, answers })
        } else {
            Box::new(inner)
        }
    }
}

#[test]
fn a_member_that_hears_no_key_update_follows_by_resync_and_takes_no_answer_twice() {
    let answers = Answers::default();
    let node = NodeId(3);
    let cast =
        WithEars { node, hears_updates: false, hears_answers_twice: true, answers: Rc::clone(&answers) };
    let mut world = stand(World::with_cast(1, quick(6), Box::new(cast)));
    for other in joined(&world).into_iter().filter(|other| *other != node).take(3) {
        world.evict(other).expect("a member");
        world.run_for(4 * SECOND);
        assert!(world.is_whole());
    }
    let answers = answers.borrow();
    assert!(answers.len() >= 8, "{answers:?}");
    for pair in answers.chunks(2) {
        assert_eq!(pair, [Ok(()), Err(Rejected::OutOfPlace)], "the second time it echoes no request");
    }
    assert_eq!(world.violations(), []);
}

#[test]
fn a_newcomer_that_hears_a_cut_from_before_its_join_needs_no_resync() {
    for seed in 0..12 {
        let answers = Answers::default();
        let newcomer = NodeId(6);
        let cast = WithEars {
            node: newcomer,
            hears_updates: true,
            hears_answers_twice: false,
            answers: Rc::clone(&answers),
        };
        let scenario = integration::Scenario { store: StoreFaults::slow(millis(300)), ..quick(5) };
        let mut world = stand(World::with_cast(seed, scenario, Box::new(cast)));
        // The leave keeps the store busy, so that the cut and then the join are recorded, and told, together.
        world.leave(joined(&world)[0]);
        world.run_for(millis(20));
        world.rekey();
        world.join(newcomer);
        world.run_for(4 * SECOND);
        assert!(world.is_whole());
        assert_eq!(*answers.borrow(), [], "seed {seed}");
        assert_eq!(world.violations(), []);
    }
}

#[test]
fn a_member_that_hears_of_a_state_late_takes_the_managers_cut_and_not_its_own_later_one() {
    let mut world = crate::support::standing(1, 6);
    let members = joined(&world);
    let deaf = integration::LanFaults { loss: 1_000, ..integration::LanFaults::none() };
    world.set_faults(deaf);
    world.rekey();
    world.run_for(SECOND);
    world.set_faults(integration::LanFaults::none());
    // The manager cuts a second and a half after its key update; counted from the first sight it would be later.
    world.run_for(millis(900));
    let (state, _) = world.gsm().current_key().expect("a state");
    for node in members {
        let ring = world.ring(node).expect("it is in");
        let received: Vec<_> = ring.receive.iter().map(|key| key.state).collect();
        assert_eq!(received, [state], "{node:?}");
    }
    assert_eq!(world.violations(), []);
}
