//! `conclave demo` as whoever tries it first runs it: the real program, its exit code and its last line.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

/// What the demonstration has to show: the figure's name, the least and the most it may be.
const LIMITS: [(&str, u64, u64); 21] = [
    ("rekeys_during_stream", 5, u64::MAX),
    ("packets_sent", 2_000, u64::MAX),
    ("packets_lost_at_rekey", 0, 0),
    ("packets_lost_at_eviction", 0, 0),
    ("evict_to_switch_ms", 0, 200),
    ("evicted_read_before_switch", 1, u64::MAX),
    ("evicted_seen_after_switch", 500, u64::MAX),
    ("evicted_read_after_switch", 0, 0),
    ("election_ms", 1, 5_000),
    ("managers_elected", 1, 1),
    ("restart_live_members", 7, 7),
    ("restart_members_kept", 7, 7),
    ("read_after_restart", 7, 7),
    ("restart_reregistrations", 0, 0),
    ("packets_lost_at_restart", 0, 0),
    ("restart_ms", 1, 10_000),
    ("failover_live_members", 7, 7),
    ("read_after_failover", 7, 7),
    ("failover_reregistrations", 0, 0),
    ("packets_lost_at_failover", 0, 0),
    ("failover_ms", 1, 6_000),
];

#[test]
fn the_demonstration_shows_what_it_should_within_45_seconds() {
    let ran = Command::new(env!("CARGO_BIN_EXE_conclave")).args(["demo", "--json"]).output().unwrap();
    let told = String::from_utf8(ran.stdout).unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let broken: Vec<&Value> =
        lines.iter().filter(|line| line["event"] == "broken" || line.get("failure").is_some()).collect();
    assert!(ran.status.success(), "{broken:?} {errors}");

    let (last, events) = lines.split_last().unwrap();
    let summary = &last["summary"];
    println!("{summary}");
    for (name, least, most) in LIMITS {
        let figure = summary[name].as_u64().unwrap_or_else(|| panic!("no figure {name} in {summary}"));
        assert!((least..=most).contains(&figure), "{name} is {figure}");
    }
    assert!(summary["elapsed_ms"].as_u64().unwrap() <= 45_000);
    let others = ["members", "epochs", "joins", "leaves", "evictions", "bytes_sent", "key_update_bytes"];
    assert!(others.iter().all(|name| summary[name].as_u64().unwrap() > 0), "{summary}");
    assert_eq!(summary["members"], 7);
    assert!(events.iter().all(|line| line["event"].is_string() && line["at_us"].is_u64()));
}

/// Whatever becomes of the demonstration: its processes end with it.
#[tokio::test]
async fn a_demonstration_that_is_killed_leaves_no_process_behind() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_conclave"))
        .args(["demo", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut told = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let mut processes = Vec::new();
    loop {
        let line = told();
        if line["event"] == "started" {
            processes.push(line["process"].as_u64().unwrap());
        }
        if line["event"] == "elected" {
            break;
        }
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert_eq!(processes.len(), 8);
    let alive = |process: &u64| Path::new(&format!("/proc/{process}/exe")).exists();
    let gone = async {
        while processes.iter().any(alive) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.unwrap();
}
