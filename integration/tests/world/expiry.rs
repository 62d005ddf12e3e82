use gsm::{Departure, GsmEvent};
use integration::World;

use crate::support::{SECOND, joined, millis, quick, stand};

#[test]
fn a_silent_member_is_out_after_three_keepalives_and_nobody_else_is() {
    let mut scenario = quick(6);
    scenario.timing.keepalive = 2 * SECOND;
    let mut world = stand(World::new(1, scenario));
    let silent = joined(&world)[2];
    let identity = world.identity(silent).to_owned();
    let died = world.now();
    world.crash(silent);
    world.run_for(60 * SECOND);
    let departed: Vec<_> = world
        .log()
        .manager
        .iter()
        .filter_map(|(at, event)| match event {
            GsmEvent::Departed { identity, why, .. } => Some((*at, identity.clone(), *why)),
            _ => None,
        })
        .collect();
    let [(at, who, why)] = &departed[..] else { panic!("{departed:?}") };
    assert_eq!((who, *why), (&identity, Departure::Silent));
    // Its last word may be one keepalive old when it dies, and the manager looks once a keepalive.
    let after = at.saturating_since(died);
    assert!((4 * SECOND..=8 * SECOND + millis(100)).contains(&after), "out after {after:?}");
    assert!(world.is_whole());
    assert!(world.gsm().members().all(|listed| listed.identity != identity));
    assert_eq!(world.violations(), []);
}
