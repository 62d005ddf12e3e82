use gsm::{Departure, GsmEvent};
use integration::World;

use crate::support::{SECOND, joined, quick, stand, standing};

#[test]
fn a_node_that_registers_again_replaces_its_older_registration() {
    let mut world = standing(6, 6);
    let node = joined(&world)[1];
    let older = world.ring(node).expect("it is in").own;
    world.restart(node);
    assert!(world.run_until(5 * SECOND, World::is_whole));
    let newer = world.ring(node).expect("it is in again").own;
    assert_ne!(older, newer);
    let identity = world.identity(node).to_owned();
    let listed: Vec<_> = world.gsm().members().filter(|listed| listed.identity == identity).collect();
    assert_eq!(listed.iter().map(|listed| listed.sender).collect::<Vec<_>>(), [newer]);
    let told = GsmEvent::Departed { identity, sender: older, why: Departure::Replaced };
    assert!(world.log().manager.iter().any(|(_, event)| *event == told));
    let (state, _) = world.gsm().current_key().expect("a state");
    assert!(!world.oracle().roll().was_in(older, state));
    assert_eq!(world.violations(), []);
}

#[test]
fn a_node_that_restarts_again_and_again_ends_with_one_registration() {
    let mut scenario = quick(5);
    scenario.timing.rekey_interval = 3 * SECOND;
    let mut world = stand(World::new(8, scenario));
    let node = joined(&world)[0];
    for _ in 0..6 {
        world.restart(node);
        world.run_for(SECOND / 2);
    }
    assert!(world.run_until(20 * SECOND, World::is_whole));
    world.run_for(5 * SECOND);
    assert!(world.is_whole());
    let identity = world.identity(node);
    assert_eq!(world.gsm().members().filter(|listed| listed.identity == identity).count(), 1);
    assert_eq!(world.gsm().members().count(), 6);
    assert_eq!(world.violations(), []);
}

#[test]
fn a_node_that_leaves_in_the_middle_of_its_registration_does_not_come_in() {
    for micros in [100, 2_000, 5_000, 10_000, 20_000, 40_000] {
        let mut world = standing(micros, 4);
        let newcomer = integration::NodeId(5);
        world.join(newcomer);
        world.run_for(std::time::Duration::from_micros(micros));
        world.leave(newcomer);
        world.run_for(10 * SECOND);
        assert_eq!(world.member(newcomer).expect("it runs").known(), None, "after {micros} us");
        assert_eq!(world.violations(), []);
    }
}
