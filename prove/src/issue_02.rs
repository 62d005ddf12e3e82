//! The lines of issue 02: nothing is lost and nobody stays behind, over loss, failover, partitions and a failing store.

use std::time::Instant;

use crate::evidence::Evidence;
use crate::table::Table;

const SIM: &str = "target/sim/sim";
const LOSS: &str = "target/release/loss";
/// Seeds of the simulated world, and how long they may take together.
const SEEDS: &str = "5000";
const SIM_MINUTES: f64 = 20.0;
/// Hours in which no living manager is taken for lost.
const HOURS: &str = "1000";
/// Kills of a real manager with a standby.
const KILLS: &str = "50";
/// Crash images that are opened.
const IMAGES: &str = "10000";

/// What the table of losses must show at a rate: p99 in milliseconds, and the most bytes for one byte of data, of batches and of
/// an eviction. That one is a single packet, of which a thousand receivers need 3.8, 5.2, 6.7 and 8.7 copies on average.
const LOSSES: [(&str, f64, f64, f64); 5] = [
    ("0", 500.0, f64::INFINITY, f64::INFINITY),
    ("10", 500.0, 1.7, 5.0),
    ("20", 1_000.0, 2.5, 6.9),
    ("30", 2_000.0, 2.5, 9.0),
    ("40", 4_000.0, 3.2, 11.5),
];
/// The kinds of key updates in it: a twentieth and a quarter of the members go and as many come, and one is evicted.
const UPDATES: [&str; 3] = ["churn", "turnover", "eviction"];

pub(crate) fn prove(table: &mut Table) {
    world(table);
    losses(table);
    failover(table);
    pauses(table);
    staying_out(table);
    store(table);
}

/// `make sim` from a seed that the clock draws, for it must hold whatever the first seed is.
#[expect(clippy::disallowed_methods, reason = "the prover measures this machine")]
fn world(table: &mut Table) {
    let from = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_secs() % 1_000_000 * 1_000);
    let began = Instant::now();
    let ran = Evidence::of(SIM, &["--seeds", SEEDS, "--from", &from.to_string()]);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let last = ran.stdout.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    let holds = ran.success && last == format!("{SEEDS} passed, 0 failed");
    let line = format!("sim: 50 nodes, 10 simulated minutes a seed, from seed {from}");
    table.add(&line, last, &format!("{SEEDS} passed, 0 failed"), holds);
    let minutes = (minutes * 10.0).round() / 10.0;
    table.number("sim: minutes on this machine", Some(minutes), "<= 20", |taken| taken <= SIM_MINUTES);
    let planted = Evidence::of_tests("world", "planted");
    passed(table, "a planted bug of each invariant is caught", &planted, 20);
}

fn losses(table: &mut Table) {
    let ran = Evidence::of(LOSS, &["--table", "--epochs", "25"]);
    let rows: Vec<Vec<&str>> = ran.stdout.lines().filter(|line| line.starts_with('|')).map(cells).collect();
    for (loss, p99, batch, eviction) in LOSSES {
        let figure = |update: &str, column: &str| figure_of(&rows, (loss, update), column);
        // The worst of all kinds; none if a row is missing.
        let worst = |column: &str| {
            let figures = UPDATES.map(|update| figure(update, column));
            figures.into_iter().reduce(|worst, one| Some(worst?.max(one?))).flatten()
        };
        let line = |what: &str| format!("loss {loss} %, 1,000 members: {what}");
        table.number(&line("live members without the key"), worst("without key"), "0", |n| n == 0.0);
        table.number(&line("p99, ms"), worst("p99 ms"), &format!("<= {p99}"), |ms| ms <= p99);
        table.number(&line("NAKs a round, most"), worst("NAKs a round, max"), "<= 40", |naks| naks <= 40.0);
        let limits = UPDATES.into_iter().zip([batch, batch, eviction]);
        for (update, most) in limits.filter(|(_, most)| most.is_finite()) {
            let what = format!("bytes, {update}");
            table.number(&line(&what), figure(update, "bytes ×"), &format!("<= {most} x"), |ratio| {
                ratio <= most
            });
        }
    }
    let same = Evidence::of_tests("loss", "");
    passed(table, "the table in docs/loss-table.md is what the program makes", &same, 1);
    let keystone = Evidence::of_tests("keystone", "");
    passed(table, "Keystone's tables 2 and 3 come out of the code", &keystone, 2);
}

/// What stands in the column of this name, in the row of a loss and a kind of update.
fn figure_of(rows: &[Vec<&str>], (loss, update): (&str, &str), column: &str) -> Option<f64> {
    let place = rows.first()?.iter().position(|name| *name == column)?;
    let row = rows.iter().find(|row| row.first() == Some(&loss) && row.get(2) == Some(&update));
    row?.get(place)?.parse().ok()
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

fn failover(table: &mut Table) {
    let rounds = [("CONCLAVE_ROUNDS", KILLS)];
    let ran = Evidence::of_tests_with("failover", "a_standby_takes_over_from_a_killed", &rounds);
    let mut line = |what: &str, name: &str, limit: &str, holds: fn(f64) -> bool| {
        table.number(&format!("manager killed, a standby there: {what}"), ran.proven(name), limit, holds);
    };
    line("rounds", "failover_rounds", KILLS, |n| n == 50.0);
    line("first alarm of the new term, p50: ms", "failover_first_alarm_p50_ms", "<= 3400", |ms| {
        ms <= 3_400.0
    });
    line("rounds above 4.5 s", "failover_over_4500_ms", "<= 1", |n| n <= 1.0);
    line("registered again", "failover_registered_again", "0", |n| n == 0.0);
    line("application packets lost", "failover_packets_lost", "0", |n| n == 0.0);
    let vigil = Evidence::of(LOSS, &["--vigil", HOURS, "--loss", "20"]);
    let takeovers = vigil.figure("takeovers").filter(|_| vigil.figure("hours") == Some(1_000.0));
    let line = "five nodes, 20 % loss, 1,000 simulated hours: living managers taken for lost";
    table.number(line, takeovers, "0", |n| n == 0.0);
}

fn pauses(table: &mut Table) {
    let ran = Evidence::of_tests("failover", "paused");
    let mut line = |what: &str, name: &str, limit: &str, holds: fn(f64) -> bool| {
        let line = format!("SIGSTOP of the manager for 1, 2, 5, 30 s: {what}");
        table.number(&line, ran.proven(name), limit, holds);
    };
    line("states accepted twice", "sigstop_states_accepted_twice", "0", |n| n == 0.0);
    line("alarms and key updates of an old term after the new one's", "sigstop_late_words", "0", |n| {
        n == 0.0
    });
    line("takeovers", "sigstop_takeovers", "2: after 5 and 30 s", |n| n == 2.0);
    let interval = "<= 250: one alarm interval";
    line("the old one steps down, worst: ms", "sigstop_stepped_down_worst_ms", interval, |ms| ms <= 250.0);
}

fn staying_out(table: &mut Table) {
    for (line, target, filter, least) in [
        (
            "evicted stays out across failover, an older store, partition and merge",
            "participant",
            "stays_out",
            4,
        ),
        (
            "evicted stays out across a restored older store, real processes' parts",
            "loopback",
            "an_old_copy_of",
            1,
        ),
        (
            "removed former managers and standbys derive no later key",
            "participant",
            "derives_no_later_key",
            3,
        ),
        ("both halves of a cut network become one", "world", "partition", 3),
    ] {
        passed(table, line, &Evidence::of_tests(target, filter), least);
    }
}

fn store(table: &mut Table) {
    let images = [("CONCLAVE_IMAGES", IMAGES)];
    let ran = Evidence::of_tests_with("crash", "", &images);
    let mut line = |what: &str, name: &str, limit: &str, holds: fn(f64) -> bool| {
        table.number(what, ran.proven(name), limit, holds);
    };
    line("crash images opened by the real engine", "crash_images", ">= 10000", |n| n >= 10_000.0);
    line("crash images: acknowledged operations lost", "crash_operations_lost", "0", |n| n == 0.0);
    line("crash images: panics", "crash_panics", "0", |n| n == 0.0);
    line("bit flips", "bit_flips", ">= 1000", |n| n >= 1_000.0);
    line("bit flips: silent rollbacks", "bit_flips_silent", "0", |n| n == 0.0);
    line("bit flips: panics", "bit_flips_panics", "0", |n| n == 0.0);
}

/// A line that is so many tests, at least, and all of them passed.
fn passed(table: &mut Table, line: &str, ran: &Evidence, least: u32) {
    let passed = ran.tests_passed().map(|passed| passed as f64);
    table.number(line, passed, &format!(">= {least} tests, all pass"), |passed| passed >= f64::from(least));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_that_of_the_column_with_its_name() {
        let table = "| loss % | members | update | by members × | NAKs a round, max |\n\
                     |---|---|---|---|---|\n\
                     | 10 | 1000 | churn | 0.02 | 5 |\n\
                     | 20 | 1000 | churn | 0.16 | 7 |";
        let rows: Vec<Vec<&str>> = table.lines().map(cells).collect();
        assert_eq!(figure_of(&rows, ("20", "churn"), "NAKs a round, max"), Some(7.0));
        assert_eq!(figure_of(&rows, ("10", "churn"), "by members ×"), Some(0.02));
        assert_eq!(figure_of(&rows, ("10", "churn"), "NAKs"), None);
        assert_eq!(figure_of(&rows, ("30", "churn"), "by members ×"), None);
    }
}
