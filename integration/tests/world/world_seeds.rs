use std::sync::atomic::{AtomicU64, Ordering};

use integration::{LanFaults, Scenario, World};

const SEEDS: u64 = 100;

#[test]
fn a_hundred_seeds_keep_secrecy_agreement_delivery_and_liveness() {
    all_pass(Scenario::drawn);
}

#[test]
fn a_hundred_seeds_on_the_worst_lan_keep_them_too() {
    all_pass(|seed| Scenario { lan: LanFaults::worst(), ..Scenario::drawn(seed) });
}

fn all_pass(scenario: impl Fn(u64) -> Scenario + Sync) {
    let (next, delivered) = (AtomicU64::new(0), AtomicU64::new(0));
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
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

#[test]
fn seeds_that_once_failed_pass() {
    for seed in KEPT {
        if let Err(failure) = World::new(seed, Scenario::drawn(seed)).run() {
            panic!("{failure}");
        }
    }
}
