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
