//! Runs the world for many seeds: `sim --seeds 1000 --from 0`. The last line says how many passed and failed.
//!
//! Each seed draws its faults, up to a limit for each kind; with `--worst` every run has the LAN's at that limit. With
//! `--election` each seed is twenty nodes that elect a manager.

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
    Election,
}

fn main() -> ExitCode {
    let Some((kind, from, seeds)) = arguments(std::env::args().skip(1)) else {
        eprintln!("usage: sim [--seeds N] [--from S] [--worst | --election]");
        return ExitCode::from(2);
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
                    match run(kind, seed) {
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

/// The line of one seed, or what went wrong.
fn run(kind: Kind, seed: u64) -> Result<String, String> {
    let done = match kind {
        Kind::Drawn => World::new(seed, Scenario::drawn(seed)).run().map(|report| report.to_string()),
        Kind::Worst => {
            let scenario = Scenario { lan: LanFaults::worst(), ..Scenario::drawn(seed) };
            World::new(seed, scenario).run().map(|report| report.to_string())
        }
        Kind::Election => World::elect(seed).map(|report| report.to_string()),
    };
    done.map_err(|failure| failure.to_string())
}

/// What to run, first seed and number of seeds.
fn arguments(mut args: impl Iterator<Item = String>) -> Option<(Kind, u64, u64)> {
    let (mut kind, mut from, mut seeds) = (Kind::Drawn, 0, 100);
    while let Some(name) = args.next() {
        match name.as_str() {
            "--worst" if kind == Kind::Drawn => kind = Kind::Worst,
            "--election" if kind == Kind::Drawn => kind = Kind::Election,
            "--from" => from = args.next()?.parse().ok()?,
            "--seeds" => seeds = args.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some((kind, from, seeds))
}
