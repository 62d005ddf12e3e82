use std::sync::atomic::{AtomicU64, Ordering};

use integration::{LanFaults, Scenario, World};

#[test]
fn five_hundred_seeds_of_fifty_nodes_keep_every_promise() {
    all_pass(500, Scenario::drawn);
}

#[test]
fn a_hundred_seeds_on_the_worst_lan_keep_them_too() {
    all_pass(100, |seed| Scenario { lan: LanFaults::worst(), ..Scenario::small(seed) });
}

fn all_pass(seeds: u64, scenario: impl Fn(u64) -> Scenario + Sync) {
    let (next, delivered) = (AtomicU64::new(0), AtomicU64::new(0));
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            match World::new(seed, scenario(seed)).run() {
                Ok(report) => delivered.fetch_add(report.delivered as u64, Ordering::Relaxed),
                Err(failure) => panic!("{failure}"),
            };
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(run);
        scope.spawn(run);
    });
    assert!(delivered.into_inner() > 100_000, "the runs were about something");
}

/// Seeds that once failed. In the first two the root is refreshed in the very last instant of the run. In the others a member
/// gave up on a slow store or a dead manager too soon, or a manager came back to another address than its members were at.
const KEPT: [u64; 7] = [20_905, 21_695, 219, 256, 340, 551, 832];

/// The same of fifty nodes, of which one in each LAN may manage. In 130 a member was found by somebody in two LANs and stayed
/// with a manager whose multicast it never heard, in 1343 the only one of its LAN that may manage; in 514 a manager whose store
/// worked again told of a key update before its record was durable. In 1125 the oracle held nodes that came back to a manager
/// whose store was put back to an eviction that it had forgotten.
const KEPT_OF_ONE_MANAGER: [u64; 4] = [130, 514, 1_125, 1_343];

/// The same with several that may. In 30 and 139 the successor alone had shut somebody out; in 300 it had been evicted itself,
/// and took over before it was told; in 399 a node whose store had worked again while it was a member managed as if it had not;
/// in 470 a node took over that knew that it was evicted itself. In the others the oracle mixed up what two managers of one
/// subgroup did apart from each other (in 259: whom the old one had stand by where its successor had lost it), or held one
/// whose store was put back to what nobody could tell it; in 1778 and 2161 it held the manager itself for a standby that is out;
/// in 943, 1259 and 3299 it held a successor to the last word on a member that was out by a record which died with its manager.
/// In 3470 a manager that came back checked the same answer of its members again and again. In 3339 who was granted a place by a
/// manager whose disk failed went on listening there. Those below five hundred are among the drawn ones above.
const KEPT_OF_FIFTY: [u64; 7] = [943, 1_259, 1_778, 2_161, 3_299, 3_339, 3_470];

#[test]
fn seeds_that_once_failed_pass() {
    let small = KEPT.map(|seed| (seed, Scenario::small(seed)));
    let of_one_manager = KEPT_OF_ONE_MANAGER.map(|seed| (seed, Scenario::one_manager(seed)));
    let of_fifty = KEPT_OF_FIFTY.map(|seed| (seed, Scenario::drawn(seed)));
    for (seed, scenario) in small.into_iter().chain(of_one_manager).chain(of_fifty) {
        if let Err(failure) = World::new(seed, scenario).run() {
            panic!("{failure}");
        }
    }
}
