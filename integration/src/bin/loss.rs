//! What loss costs: `loss` prints a line for each row of `docs/loss-table.md`, `loss --table` the table itself, and
//! `loss --vigil 1000 --loss 20` how often a living manager is taken for lost in so many hours.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use integration::loss::{Drill, Row, TABLE_RATES, Vigil, Watched, heading};

/// Threads; each runs whole seeds, so the result does not depend on their number.
const THREADS: usize = 2;
/// Hours of one seed of a vigil.
const HOURS_A_SEED: u64 = 10;

/// What to run.
#[derive(Clone, Copy, Debug)]
struct Arguments {
    /// One rate in percent; all of the table without it.
    loss: Option<u32>,
    members: usize,
    epochs: usize,
    seeds: u64,
    from: u64,
    /// Whether the rows are printed as the page has them.
    table: bool,
    /// Hours of a vigil; the table without it.
    vigil: Option<u64>,
    eligible: usize,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments(std::env::args().skip(1)) else {
        eprintln!(
            "usage: loss [--table] [--loss PERCENT] [--members N] [--epochs E] [--seeds K] [--from S]\n       \
             loss --vigil HOURS [--loss PERCENT] [--eligible N] [--from S]"
        );
        return ExitCode::from(2);
    };
    match arguments.vigil {
        Some(hours) => vigil(arguments, hours),
        None => table(arguments),
    }
}

/// Runs `job` for each of `count` numbers; the results in order.
fn in_threads<T: Send>(count: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let result = job(number);
                    done.lock().expect("no thread panics while it holds this").push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panicked");
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

fn table(arguments: Arguments) -> ExitCode {
    let Arguments { members, epochs, seeds, from, .. } = arguments;
    let rates: Vec<_> = arguments.loss.map_or_else(|| TABLE_RATES.to_vec(), |loss| vec![loss]);
    let rows = in_threads(rates.len(), |place| {
        Row::measure(Drill { seed: from, members, loss: rates[place] * 10, epochs }, seeds)
    });
    if arguments.table {
        println!("{}", heading());
        rows.iter().flatten().for_each(|row| println!("{row}"));
    } else {
        rows.iter().flatten().for_each(|row| println!("{}", row.figures()));
    }
    ExitCode::from(u8::from(!rows.iter().flatten().all(Row::holds)))
}

fn vigil(arguments: Arguments, hours: u64) -> ExitCode {
    let loss = arguments.loss.unwrap_or(20);
    let seeds = hours.div_ceil(HOURS_A_SEED);
    let watched = in_threads(usize::try_from(seeds).unwrap_or(usize::MAX), |place| {
        let hours = HOURS_A_SEED.min(hours - place as u64 * HOURS_A_SEED);
        let time = Duration::from_secs(hours * 3_600);
        let seed = arguments.from + place as u64;
        Vigil { seed, nodes: 5, eligible: arguments.eligible, loss: loss * 10, time }.run()
    });
    let Watched { takeovers, silences, expired, datagrams } =
        watched.into_iter().fold(Watched::default(), |sum, one| sum + one);
    println!(
        "hours {hours} loss {loss} takeovers {takeovers} silences {silences} expired {expired} datagrams {datagrams}"
    );
    ExitCode::from(u8::from(takeovers > 0))
}

fn arguments(mut args: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments {
        loss: None,
        members: 1_000,
        epochs: 10,
        seeds: 1,
        from: 1,
        table: false,
        vigil: None,
        eligible: 3,
    };
    while let Some(name) = args.next() {
        match name.as_str() {
            "--loss" => arguments.loss = Some(args.next()?.parse().ok()?),
            "--members" => arguments.members = args.next()?.parse().ok()?,
            "--epochs" => arguments.epochs = args.next()?.parse().ok()?,
            "--seeds" => arguments.seeds = args.next()?.parse().ok()?,
            "--from" => arguments.from = args.next()?.parse().ok()?,
            "--table" => arguments.table = true,
            "--vigil" => arguments.vigil = Some(args.next()?.parse().ok()?),
            "--eligible" => arguments.eligible = args.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(arguments)
}
