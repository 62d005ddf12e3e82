//! Nobody takes a living manager for lost.

use std::time::Duration;

use integration::loss::Vigil;

#[test]
fn a_fifth_of_all_datagrams_lost_for_ten_hours_makes_nobody_take_over() {
    let time = Duration::from_secs(10 * 3_600);
    let watched = Vigil { seed: 1, nodes: 5, eligible: 3, loss: 200, time }.run();
    assert_eq!(watched.takeovers, 0, "{watched:?}");
    assert!(watched.datagrams > 500_000, "they were at it all the time: {watched:?}");
}

#[test]
fn a_manager_that_nobody_hears_is_doubted() {
    let time = Duration::from_secs(60);
    let watched = Vigil { seed: 1, nodes: 5, eligible: 1, loss: 1_000, time }.run();
    assert!(watched.silences >= 4, "by each member: {watched:?}");
}
