use integration::NodeId;

use crate::support::{SECOND, joined, lost, standing, talk};

#[test]
fn who_is_entitled_throughout_loses_no_packet_over_soft_rekeys() {
    for seed in 0..8 {
        let mut world = standing(seed, 8);
        let mut entitled = joined(&world);
        let (stays, leaves) = entitled.split_at(5);
        let (stays, leaves) = (stays.to_vec(), leaves.to_vec());
        entitled = stays;
        entitled.push(NodeId::MANAGER);
        let before = world.oracle().roll().states().count();
        for (leaver, newcomer) in leaves.into_iter().zip(9..) {
            talk(&mut world, &entitled, 50);
            world.leave(leaver);
            talk(&mut world, &entitled, 50);
            world.join(NodeId(newcomer));
            talk(&mut world, &entitled, 50);
            world.rekey();
            talk(&mut world, &entitled, 50);
        }
        world.run_for(3 * SECOND);
        let rekeys = world.oracle().roll().states().count() - before;
        assert!(rekeys >= 5, "{rekeys} rekeys");
        let (lost, due) = lost(&world, &entitled);
        assert!(due > 2_000, "{due} packets were due");
        assert_eq!(lost, [], "seed {seed}");
        assert_eq!(world.violations(), []);
    }
}

#[test]
fn who_is_entitled_throughout_loses_no_packet_at_an_eviction() {
    for seed in 0..8 {
        let mut world = standing(seed, 8);
        let mut entitled = joined(&world);
        let evicted = entitled.split_off(5);
        entitled.push(NodeId::MANAGER);
        for node in evicted {
            talk(&mut world, &entitled, 50);
            world.evict(node).expect("a member");
            talk(&mut world, &entitled, 100);
        }
        world.run_for(3 * SECOND);
        let (lost, due) = lost(&world, &entitled);
        assert!(due > 2_000, "{due} packets were due");
        assert_eq!(lost, [], "seed {seed}");
        assert_eq!(world.violations(), []);
    }
}

#[test]
fn nothing_stays_with_a_sender_that_had_no_key_for_a_while() {
    let mut world = standing(3, 6);
    let members = joined(&world);
    let newcomer = NodeId(7);
    world.join(newcomer);
    world.run_until(SECOND, |world| world.ring(newcomer).is_some());
    let before = world.log().sent.len();
    for _ in 0..10 {
        world.send(newcomer);
    }
    assert_eq!(world.log().sent.len(), before, "it has no key yet");
    world.run_for(5 * SECOND);
    assert_eq!(world.log().sent.len(), before + 10);
    let (lost, due) = lost(&world, &[members, vec![newcomer]].concat());
    assert_eq!((lost, due), (vec![], 60));
}
