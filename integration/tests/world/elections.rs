use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use integration::World;

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
