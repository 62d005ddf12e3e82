//! Runs the world for many seeds: `sim --seeds 1000 --from 0`. The last line says how many passed and failed.
//!
//! Each seed draws its faults, up to a limit for each kind; with `--worst` every run has the LAN's at that limit, with
//! `--one-manager` only one node of each LAN may manage, and nobody can take over from it; with
//! `--election` each seed is twenty nodes that elect a manager. `--trace` prints every event of one seed, a line each.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use integration::{LanFaults, Scenario, World};

/// Threads; each runs whole seeds, so the result does not depend on their number.
const THREADS: usize = 2;

/// What is run for each seed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Drawn,
    Worst,
    OneManager,
    Election,
}

/// What the command line asks for.
#[derive(Clone, Copy)]
struct Order {
    kind: Kind,
    from: u64,
    seeds: u64,
    trace: bool,
}

fn main() -> ExitCode {
    let Some(order) = arguments(std::env::args().skip(1)) else {
        eprintln!("usage: sim [--seeds N] [--from S] [--worst | --one-manager | --election] [--trace]");
        return ExitCode::from(2);
    };
    let (next, failed) = (AtomicU64::new(order.from), AtomicU64::new(0));
    let end = order.from.saturating_add(order.seeds);
    // The lines of two runs would mix.
    let threads = if order.trace { 1 } else { THREADS };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    match run(order, seed) {
                        Ok(report) => println!("{report}"),
                        Err(failure) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            println!("{failure}");
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{} passed, {failed} failed", order.seeds - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// The line of one seed, or what went wrong.
fn run(order: Order, seed: u64) -> Result<String, String> {
    let scenario = match order.kind {
        Kind::Drawn => Scenario::drawn(seed),
        Kind::Worst => Scenario { lan: LanFaults::worst(), ..Scenario::drawn(seed) },
        Kind::OneManager => Scenario::one_manager(seed),
        Kind::Election => Scenario::election(seed),
    };
    if order.trace {
        println!("seed {seed} {scenario:?}");
    }
    let mut world = World::new(seed, scenario);
    if order.trace {
        world.trace_to(|line| println!("{line}"));
    }
    let done = match order.kind {
        Kind::Drawn | Kind::Worst | Kind::OneManager => world.run().map(|report| report.to_string()),
        Kind::Election => world.run_election().map(|report| report.to_string()),
    };
    done.map_err(|failure| failure.to_string())
}

/// What to run, first seed and number of seeds.
fn arguments(mut args: impl Iterator<Item = String>) -> Option<Order> {
    let mut order = Order { kind: Kind::Drawn, from: 0, seeds: 100, trace: false };
    while let Some(name) = args.next() {
        match name.as_str() {
            "--worst" if order.kind == Kind::Drawn => order.kind = Kind::Worst,
            "--one-manager" if order.kind == Kind::Drawn => order.kind = Kind::OneManager,
            "--election" if order.kind == Kind::Drawn => order.kind = Kind::Election,
            "--from" => order.from = args.next()?.parse().ok()?,
            "--seeds" => order.seeds = args.next()?.parse().ok()?,
            "--trace" => order.trace = true,
            _ => return None,
        }
    }
    Some(order)
}
