//! A manager's process is killed at random moments while members come, go and are evicted: what it acknowledged holds.
//!
//! `CONCLAVE_ROUNDS` says how often it is killed, `CONCLAVE_SEED` which moments and which members: the same seed asks for
//! the same, though real processes never do the same twice.

#![cfg(test)]

mod chance;
mod churn;
#[expect(dead_code, reason = "the tests of failover use the rest")]
mod eavesdropper;
mod ledger;
mod old_copy;
#[expect(dead_code, reason = "the tests of single daemons use the rest")]
#[path = "../daemon/support.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use chance::Chance;
use churn::Churn;
use eavesdropper::Eavesdropper;
use ledger::Ledger;
use nix::sys::signal::Signal;
use serde_json::Value;
use support::{Daemon, Site};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

const ROUNDS: usize = 4;
const SEED: u64 = 20_261_121;
/// A manager that serves is killed within this time.
const SERVES: u64 = 600;
/// One that is to be killed before it serves, within this: about as long as a start takes.
const STARTS: u64 = 1_000;
/// Of so many starts one is killed before it serves.
const KILLED_EARLY: u64 = 5;
/// What the log must not say here: each makes members register again, or keeps them out.
const NEVER: [&str; 4] =
    ["group.rolled_back", "manager.started_over", "manager.other_start", "store.read_only"];

/// The manager's process and how to start it.
struct Manager {
    site: Site,
    file: String,
    daemon: Daemon,
    registrar: SocketAddr,
    /// Whether it serves, for whoever has something to ask of it.
    serving: watch::Sender<bool>,
}

impl Manager {
    async fn start() -> Self {
        let site = Site::new().await;
        site.issue("gsm", "member,manager").await;
        let registrar = free_port();
        let settings = "role = \"manager\"\nrekey_interval = \"300ms\"";
        let file = site.configure_at("gsm", registrar.port(), settings);
        let mut daemon = site.spawn("gsm", &file, "info");
        daemon.event("daemon.ready").await;
        Self { site, file, daemon, registrar, serving: watch::channel(true).0 }
    }

    /// Kills it, and starts it again.
    async fn crash(&mut self) {
        self.serving.send_replace(false);
        self.daemon.end_by(Signal::SIGKILL).await;
        for line in &self.daemon.log {
            assert!(NEVER.iter().all(|never| !line.contains(never)), "{:#?}", self.daemon.log);
        }
        self.start_again();
    }

    /// Starts it on the state that is there.
    fn start_again(&mut self) {
        self.daemon = self.site.spawn("gsm", &self.file, "info");
    }

    /// Waits until it has come back with its members.
    async fn serves(&mut self) {
        let told = self.daemon.event_among(&[&NEVER[..], &["manager.resumed"]].concat()).await;
        assert_eq!(told["message"], "manager.resumed", "{:#?}", self.daemon.log);
        self.serving.send_replace(true);
    }

    /// Reads its log until then.
    async fn runs_until(&mut self, then: Instant) {
        let _ = timeout_at(then, self.daemon.event("nothing of this name")).await;
    }

    /// How it lists its members, unless it is killed meanwhile.
    async fn members(&self) -> Option<Value> {
        let asked = self.daemon.ask(&["members"]).await;
        (asked.code == 0).then(|| asked.parsed())
    }
}

/// A port for the registrar that no connection is made from, so that it is free again after a kill.
fn free_port() -> SocketAddr {
    let place = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // The tests of this process run at the same time.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 1_000).unwrap() * 10;
    let next = || place(20_000 + process + TAKEN.fetch_add(1, Ordering::Relaxed));
    std::iter::repeat_with(next).find(|place| TcpListener::bind(place).is_ok()).unwrap()
}

/// What it has acknowledged is compared with what it lists.
async fn compare(manager: &Manager, ledger: &Ledger) {
    let before = ledger.clone_now();
    if let Some(listed) = manager.members().await {
        ledger.compare(&before, &listed);
    }
}

#[tokio::test]
async fn a_manager_killed_at_random_moments_keeps_its_word() {
    let rounds = std::env::var("CONCLAVE_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let seed = std::env::var("CONCLAVE_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut chance = Chance::of(seed);
    let mut manager = Manager::start().await;
    let status = manager.daemon.status().await;
    let eavesdropper = Eavesdropper::start(&status);
    let ledger = Ledger::default();
    let churn = Churn::start(&manager, &ledger, chance.split());
    let began = Instant::now();
    for round in 1..=rounds {
        let early = round > 1 && chance.below(KILLED_EARLY) == 0;
        if early {
            let then = Instant::now() + Duration::from_millis(chance.below(STARTS));
            manager.runs_until(then).await;
        } else {
            if round > 1 {
                manager.serves().await;
            }
            let then = Instant::now() + Duration::from_millis(chance.below(SERVES));
            let _ = timeout_at(then, compare(&manager, &ledger)).await;
            manager.runs_until(then).await;
        }
        manager.crash().await;
    }
    manager.serves().await;
    let took = began.elapsed();
    churn.finish(&manager).await;
    compare(&manager, &ledger).await;
    let heard = eavesdropper.finish();

    println!("kills {rounds}");
    println!("kills_took_ms {}", took.as_millis());
    ledger.print();
    heard.print();
    let faults = ledger.verdict();
    assert!(faults.is_empty() && heard.faults.is_empty(), "{faults:#?} {:#?}", heard.faults);
}
