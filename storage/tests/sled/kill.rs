//! Attack A36: the process ends between writing and telling. Whatever was acknowledged is there afterwards.
//!
//! The child is this test program again, asked for one test that does nothing unless it is a child.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use storage::{Health, StateDirs, Store};

use crate::support::{Place, record, records, snapshot, start, wait};

/// Tells the child which directory to write into.
const CHILD: &str = "CONCLAVE_STORE_CHILD";
const ROUNDS: u64 = 20;

#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(root) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let dirs = StateDirs { data: root.join("data"), keys: root.join("keys") };
    let (mut store, loaded) = start(&dirs).unwrap();
    let mut next = loaded.next_commit();
    loop {
        let batch = 1 + next % 4;
        wait(store.append(&records(next..=next + batch - 1))).unwrap();
        next += batch;
        println!("acknowledged {}", next - 1);
        if next % 16 < batch {
            wait(store.compact(snapshot(next - 3))).unwrap();
        }
    }
}

#[test]
fn every_acknowledged_record_survives_a_kill() {
    let place = Place::on_disk();
    let root = place.dirs.data.parent().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, root)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard =
            lines.filter_map(|line| line.unwrap().strip_prefix("acknowledged ")?.parse::<u64>().ok());
        // Killed at a point that differs from round to round, and while it is working: it never stops by itself.
        for _ in 0..=3 + round * 7 % 30 {
            acknowledged = heard.next().expect("the child writes until it is killed");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = heard.last().unwrap_or(acknowledged);
        let loaded = place.look();
        assert_eq!(loaded.health, Health::Whole, "round {round}");
        assert!(loaded.held() >= acknowledged, "round {round}: {} of {acknowledged}", loaded.held());
        let from = loaded.snapshot.as_ref().map_or(1, |snapshot| snapshot.upto + 1);
        assert_eq!(loaded.records, (from..=loaded.held()).map(record).collect::<Vec<_>>());
        if from > 1 {
            assert_eq!(loaded.snapshot, Some(snapshot(from - 1)));
        }
    }
}
