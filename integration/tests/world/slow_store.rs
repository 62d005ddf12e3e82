use integration::{Churn, Scenario, StoreFaults, World};

use crate::support::{SECOND, longest_silence, millis, quick, stand};

/// How late an alarm may be.
const LATE: std::time::Duration = millis(20);

#[test]
fn a_store_that_takes_a_second_and_a_half_a_commit_makes_no_alarm_more_than_20_ms_late() {
    let mut worst = std::time::Duration::ZERO;
    for seed in 0..5 {
        let mut scenario = Scenario { store: StoreFaults::slow(millis(1_500)), ..quick(12) };
        scenario.churn = (0..40)
            .map(|number| {
                let kind = [Churn::Join, Churn::Leave, Churn::Rekey, Churn::Evict][number % 4];
                (10 * SECOND + millis(400) * number as u32, kind)
            })
            .collect();
        let mut world = World::new(seed, scenario);
        world.run_for(2 * SECOND);
        let since = world.now();
        world.run_for(40 * SECOND);
        assert_eq!(world.violations(), []);
        let cuts = world.oracle().roll().states().count();
        assert!(cuts > 6, "the store was busy: {cuts} cuts");
        let silence = longest_silence(&world, since);
        assert!(silence <= world.timing().alarm_interval + LATE, "{silence:?} without an alarm, seed {seed}");
        worst = worst.max(silence.saturating_sub(world.timing().alarm_interval));
    }
    println!("slow_store_alarm_lateness_ms {:.3}", worst.as_secs_f64() * 1e3);
}

#[test]
fn cuts_in_a_row_do_not_put_the_next_alarm_off() {
    let mut world = stand(World::new(1, quick(4)));
    let since = world.now();
    for _ in 0..30 {
        world.rekey();
        world.run_for(millis(60));
    }
    world.run_for(10 * SECOND);
    let silence = longest_silence(&world, since);
    assert!(silence <= world.timing().alarm_interval + LATE, "{silence:?} without an alarm");
}
