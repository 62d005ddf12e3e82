//! Runs the world for many seeds: `sim --seeds 1000 --from 0`. The last line says how many passed and failed.
//!
//! Each seed draws its faults, up to a limit for each kind; with `--worst` every run has the LAN's at that limit.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use integration::{LanFaults, Scenario, World};

/// Threads; each runs whole seeds, so the result does not depend on their number.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let (worst, rest): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|name| name == "--worst");
    let Some((from, seeds)) = arguments(rest.into_iter()) else {
        eprintln!("usage: sim [--seeds N] [--from S] [--worst]");
        return ExitCode::from(2);
    };
    let scenario = |seed| match worst.is_empty() {
        true => Scenario::drawn(seed),
        false => Scenario { lan: LanFaults::worst(), ..Scenario::drawn(seed) },
    };
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(0));
    let end = from.saturating_add(seeds);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    match World::new(seed, scenario(seed)).run() {
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
    println!("{} passed, {failed} failed", seeds - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// First seed and number of seeds.
fn arguments(mut args: impl Iterator<Item = String>) -> Option<(u64, u64)> {
    let (mut from, mut seeds) = (0, 100);
    while let Some(name) = args.next() {
        let value = args.next()?.parse().ok()?;
        match name.as_str() {
            "--from" => from = value,
            "--seeds" => seeds = value,
            _ => return None,
        }
    }
    Some((from, seeds))
}
