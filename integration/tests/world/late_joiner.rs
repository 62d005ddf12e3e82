use integration::NodeId;

use crate::support::{SECOND, joined, millis, standing};

#[test]
fn a_late_joiner_reads_what_comes_after_its_join_and_nothing_before() {
    for seed in 0..8 {
        let mut world = standing(seed, 6);
        let members = joined(&world);
        let newcomer = NodeId(7);
        for round in 0..300 {
            if round == 100 {
                world.join(newcomer);
            }
            world.send(members[round % members.len()]);
            world.run_for(millis(20));
        }
        world.run_for(SECOND);
        let own = world.ring(newcomer).expect("it is in").own;
        let roll = world.oracle().roll();
        let readable: Vec<_> =
            world.log().sent.iter().filter(|(_, _, sealed)| roll.was_in(own, sealed.state)).collect();
        let read = world.log().delivered.iter().filter(|(_, node, _)| *node == newcomer).count();
        assert!((100..300).contains(&readable.len()), "{} of 300 are its", readable.len());
        assert_eq!(read, readable.len(), "seed {seed}");
        assert_eq!(world.violations(), []);
    }
}

#[test]
fn a_newcomer_that_hears_a_cut_from_before_its_join_follows_its_own_without_a_resync() {
    let mut scenario = crate::support::quick(5);
    // The first join of an empty subgroup is cut at once and takes this long; the others come meanwhile.
    scenario.store = integration::StoreFaults::slow(millis(300));
    let mut world = crate::support::stand(integration::World::new(5, scenario));
    for newcomer in 6..9 {
        world.rekey();
        world.join(NodeId(newcomer));
        world.run_for(4 * SECOND);
        assert!(world.is_whole());
    }
    assert_eq!(world.violations(), []);
}
