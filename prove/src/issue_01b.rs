//! The lines of issue 01b: it finds its manager, elects one when there is none, and comes back from a crash with everyone
//! still in.

use crate::evidence::Evidence;
use crate::issue_01a::{self, Demo};
use crate::table::Table;

/// Runs of the real election, and kills of the real manager.
const ELECTIONS: &str = "10";
const KILLS: &str = "100";

pub(crate) fn prove(table: &mut Table) {
    elections(table);
    demo(table);
    kills(table);
    rollback(table);
    damaged_stores(table);
    rogues(table);
    many_in_one_process(table);
}

fn elections(table: &mut Table) {
    let line = "world: twenty nodes started at one instant, loss to 20 %: one manager within 5 s";
    issue_01a::world(table, line, &["--election"]);
    let runs = [("CONCLAVE_ROUNDS", ELECTIONS)];
    let ran = Evidence::of_tests_with("election", "twenty_daemons_elect_one_manager", &runs);
    table
        .number("twenty daemons on loopback: runs", ran.proven("twenty_daemons_rounds"), "10", |n| n == 10.0);
    let managers = ran.proven("twenty_daemons_managers");
    table.number("twenty daemons: managers at the end, most of any run", managers, "1", |n| n == 1.0);
    let took = ran.proven("twenty_daemons_worst_ms");
    table.number("twenty daemons: from the first start to one manager, worst: ms", took, "<= 5000", |ms| {
        ms <= 5_000.0
    });
}

fn demo(table: &mut Table) {
    let ran = Demo::run();
    let live = ran.figure("restart_live_members");
    table.number("demo: managers_elected", ran.figure("managers_elected"), "1", |n| n == 1.0);
    table.number("demo: restart_reregistrations", ran.figure("restart_reregistrations"), "0", |n| n == 0.0);
    let limit = live.map_or_else(|| "live members".to_owned(), |live| format!("{live}, the live members"));
    for name in ["restart_members_kept", "read_after_restart"] {
        let line = format!("demo: {name}");
        table.number(&line, ran.figure(name), &limit, |n| n > 0.0 && Some(n) == live);
    }
    issue_01a::stream(table, &ran);
    issue_01a::beside_the_demo(table);
}

fn kills(table: &mut Table) {
    let rounds = [("CONCLAVE_ROUNDS", KILLS)];
    let ran = Evidence::of_tests_with("crashes", "a_manager_killed_at_random_moments", &rounds);
    let mut line = |line: &str, name: &str, limit: &str, holds: fn(f64) -> bool| {
        table.number(&format!("manager killed under churn: {line}"), ran.proven(name), limit, holds);
    };
    line("kills", "kills", "100", |n| n == 100.0);
    line("joins, leaves and evictions acknowledged", "acknowledged", "> 100", |n| n > 100.0);
    line("of those not there after a restart", "acknowledged_lost", "0", |n| n == 0.0);
    line("state ids used twice", "states_used_twice", "0", |n| n == 0.0);
    line("members that registered again", "registered_again", "0", |n| n == 0.0);
}

fn rollback(table: &mut Table) {
    let ran = Evidence::of_tests("loopback", "an_old_copy_of");
    for (copied, name) in [("data", "data"), ("data and anchor", "data_and_keys")] {
        let line = |what: &str| format!("old copy of {copied}, 50 epochs and 5 evictions later: {what}");
        let took = ran.proven(&format!("rollback_{name}_everyone_back_ms"));
        table.number(&line("everyone else is back, ms"), took, "<= 30000", |ms| ms <= 30_000.0);
        let back = ran.proven(&format!("rollback_{name}_evicted_back"));
        table.number(&line("evicted that are back"), back, "0", |n| n == 0.0);
    }
    let logged = Evidence::of_tests("crashes", "an_old_copy_of_the_state");
    passed(table, "old copy: the daemon's log says so", &logged, 2);
}

fn damaged_stores(table: &mut Table) {
    let ran = Evidence::of_tests("loopback", "damaged_stores");
    let kept = ran.proven("damaged_stores_kept");
    let again = ran.proven("damaged_stores_registered_again");
    let served = kept.zip(again).map(|(kept, again)| kept + again);
    let line = "sled's failures (leftover snapshot, truncated file, flipped bits): starts that end in a served group";
    table.number(line, served, ">= 10, all", |starts| starts >= 10.0);
    let line = "the same and torn commits, kills, full disks, at the store alone";
    passed(table, line, &Evidence::of_tests("sled", ""), 20);
}

fn rogues(table: &mut Table) {
    let ran = Evidence::of_tests("loopback", "rogue_and_tar_pits");
    let frames = ran.proven("rogue_frames_received");
    table.number("rogue with a member's certificate: frames sent to it", frames, "0", |n| n == 0.0);
    for (line, name) in [("rogue that answers first", "rogue_join_ms"), ("ten tar pits", "tar_pit_join_ms")] {
        let line = format!("{line}: true manager joined, slowest: ms");
        table.number(&line, ran.proven(name), "<= 5000", |ms| ms <= 5_000.0);
    }
}

fn many_in_one_process(table: &mut Table) {
    let groups = Evidence::of_tests("loopback", "two_groups_in_one_process");
    passed(table, "two groups in one process do not mix", &groups, 5);
    let nodes = Evidence::of_tests("loopback", "a_hundred_nodes_in_one_process");
    let took = nodes.proven("hundred_nodes_hold_the_key_ms");
    table.number("a hundred nodes in one process hold the key: ms", took, "<= 30000", |ms| ms <= 30_000.0);
}

/// A line that is so many tests, at least, and all of them passed.
fn passed(table: &mut Table, line: &str, ran: &Evidence, least: u32) {
    let passed = ran.tests_passed().map(|passed| passed as f64);
    table.number(line, passed, &format!(">= {least} tests, all pass"), |passed| passed >= f64::from(least));
}
