use integration::{Property, Scenario, World};

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_does_not() {
    let run = |seed| World::new(seed, Scenario::drawn(seed)).run().expect("an honest run");
    for seed in [1, 2, 3] {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1).trace, run(2).trace);
}

#[test]
fn a_failing_run_names_its_seed_first_and_replays_exactly() {
    let fail = || {
        let mut scenario = Scenario::small(7);
        // Nobody can be where the manager is when there was no time to join.
        (scenario.duration, scenario.quiet) = (scenario.ramp / 2, std::time::Duration::ZERO);
        World::new(7, scenario).run().expect_err("a run without the time to join")
    };
    let (first, second) = (fail(), fail());
    assert_eq!(first.trace, second.trace);
    assert_eq!(first.violations, second.violations);
    assert!(first.violations.iter().all(|violation| violation.property == Property::Liveness));
    assert!(first.to_string().starts_with("seed 7\n"));
}
