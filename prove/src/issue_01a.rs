//! The lines of issue 01a: a real group of six.

use serde_json::Value;

use crate::evidence::Evidence;
use crate::table::Table;

const DEMO: &str = "target/release/conclave";
const SIM: &str = "target/sim/sim";
/// Seeds of the simulated world.
const SEEDS: &str = "1000";
/// The first of them.
const FROM: &str = "1";

pub(crate) fn prove(table: &mut Table) {
    stream(table, &Demo::run());
    beside_the_demo(table);
}

/// All lines but the demonstration's.
pub(crate) fn beside_the_demo(table: &mut Table) {
    for (line, extra) in [
        ("world: 1,000 seeds with churn, each with faults of its own", &[][..]),
        ("world: 1,000 seeds with churn, all at 0-200 ms delay, 10 % loss, 10 % duplication", &["--worst"]),
    ] {
        world(table, line, extra);
    }
    planted_bugs(table);
    fifty_members(table);
    refused_nodes(table);
    slow_store(table);
    shape(table);
}

/// One run of the demonstration.
pub(crate) struct Demo {
    success: bool,
    summary: Option<Value>,
}

impl Demo {
    pub(crate) fn run() -> Self {
        let ran = Evidence::of(DEMO, &["demo", "--json"]);
        Self { success: ran.success, summary: ran.summary() }
    }

    /// A figure of its summary.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.summary.as_ref()?.get(name)?.as_f64()
    }
}

/// The lines of the demonstration's stream and eviction.
pub(crate) fn stream(table: &mut Table, ran: &Demo) {
    table.add("demo: exit status", if ran.success { 0 } else { 1 }, "0", ran.success);
    let mut line = |name: &str, limit: &str, holds: fn(f64) -> bool| {
        table.number(&format!("demo: {name}"), ran.figure(name), limit, holds);
    };
    line("rekeys_during_stream", ">= 5", |n| n >= 5.0);
    line("packets_sent", ">= 2000", |n| n >= 2_000.0);
    line("packets_lost_at_rekey", "0", |n| n == 0.0);
    line("packets_lost_at_eviction", "0", |n| n == 0.0);
    line("evict_to_switch_ms", "<= 200", |n| n <= 200.0);
    line("evicted_read_before_switch", "> 0", |n| n > 0.0);
    line("evicted_seen_after_switch", ">= 500", |n| n >= 500.0);
    line("evicted_read_after_switch", "0", |n| n == 0.0);
    line("elapsed_ms", "<= 45000", |n| n <= 45_000.0);
}

/// A line of the simulated world: 1,000 seeds, run with these options.
pub(crate) fn world(table: &mut Table, line: &str, options: &[&str]) {
    let mut arguments = vec!["--seeds", SEEDS, "--from", FROM];
    arguments.extend(options);
    let ran = Evidence::of(SIM, &arguments);
    let last = ran.stdout.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    let holds = ran.success && last == format!("{SEEDS} passed, 0 failed");
    table.add(line, last, "1000 passed, 0 failed", holds);
}

fn planted_bugs(table: &mut Table) {
    let planted = Evidence::of_tests("world", "planted_bugs");
    let passed = planted.tests_passed();
    table.number(
        "world: a planted bug of each kind (secrecy, agreement, delivery) is caught",
        passed.map(|passed| passed as f64),
        ">= 3 tests",
        |passed| passed >= 3.0,
    );
}

fn fifty_members(table: &mut Table) {
    let ran = Evidence::of_tests("loopback", "fifty_members");
    let took = ran.proven("fifty_members_hold_the_key_ms");
    table.number("fifty members hold the group key: ms", took, "<= 10000", |ms| ms <= 10_000.0);
    let entries = ran.proven("ten_joins_ten_leaves_entries");
    let rules = ran.figure("expected");
    let limit = rules.map_or_else(
        || "the rules' count".to_owned(),
        |rules| format!("{rules} by the rules, one key update"),
    );
    table.number("10 joins and 10 leaves by `rekey`: entries", entries, &limit, |entries| {
        Some(entries) == rules
    });
}

fn refused_nodes(table: &mut Table) {
    let ran = Evidence::of_tests("loopback", "refused_nodes");
    let limit = ">= 4 tests: no role, other CA, expired, not yet valid, TLS 1.2, denied";
    let passed = ran.tests_passed().map(|passed| passed as f64);
    table.number("refused: no key, a reason on both sides, a counter", passed, limit, |passed| passed >= 4.0);
}

fn slow_store(table: &mut Table) {
    let virtual_time = Evidence::of_tests("world", "slow_store");
    let late = virtual_time.proven("slow_store_alarm_lateness_ms");
    table.number("store of 1.5 s a commit, virtual time: latest alarm, ms", late, "<= 20", |ms| ms <= 20.0);
    let real = Evidence::of_tests("loopback", "slow_store");
    let late = real.proven("slow_store_alarm_lateness_ms");
    table.number("store of 1.5 s a commit, real driver: latest alarm, ms", late, "<= 20", |ms| ms <= 20.0);
}

fn shape(table: &mut Table) {
    let tree = Evidence::of("cargo", &["tree", "--locked", "-p", "gsm", "-e", "normal"]);
    let tokio = tree.stdout.lines().filter(|line| line.contains("tokio")).count();
    table.add("cargo tree -p gsm -e normal: lines with tokio", tokio, "0", tree.success && tokio == 0);
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    outcome(table, "clippy -D warnings, functions of at most 70 lines", &Evidence::of("cargo", &clippy));
    let doc =
        ["RUSTDOCFLAGS=-D warnings", "cargo", "doc", "--workspace", "--no-deps", "--document-private-items"];
    outcome(table, "documentation without a warning", &Evidence::of("env", &doc));
    outcome(
        table,
        "files of at most 500 lines without tests, purity guard, dependency direction",
        &Evidence::of(".ci/guards", &[]),
    );
}

fn outcome(table: &mut Table, line: &str, ran: &Evidence) {
    table.add(line, if ran.success { "clean" } else { "not clean" }, "clean", ran.success);
}
