//! Daemons that know their group, their authority and their certificate, started at one instant: they end with one
//! manager. `CONCLAVE_ROUNDS` says how often.

#![cfg(test)]

#[expect(dead_code, reason = "the tests of single daemons use the rest")]
#[path = "daemon/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{Daemon, Site, conclave, within};
use tokio::sync::mpsc;
use tokio::time::Instant;

const NODES: usize = 20;
/// From the moment at which the last process is ready.
const SOON: Duration = Duration::from_secs(5);

/// A line of one daemon's log, and when it was read.
type Line = (String, Instant, Value);

/// What one round came to.
#[derive(Debug)]
struct Outcome {
    /// From the start of the first process until there was one manager, which stayed.
    elected: Duration,
    /// The same from the moment at which the last process was ready.
    elected_after_ready: Duration,
    /// The same until everyone else was admitted by it.
    admitted: Duration,
    /// Those that were manager before and gave way.
    interim: usize,
    /// How many managers there were in the end.
    managers: usize,
}

/// What the log lines add up to.
struct Round {
    began: Instant,
    ready: BTreeMap<String, Instant>,
    /// Who is manager, and who was.
    managers: BTreeMap<String, bool>,
    /// Since when the number of managers is what it is.
    since: Instant,
    /// Whose member a node is, and whether it holds a key.
    members: BTreeMap<String, (String, Stage)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Granted,
    Admitted,
    Installed,
}

impl Round {
    fn note(&mut self, (node, at, fields): Line) {
        let member = self.members.get_mut(&node);
        match fields["message"].as_str().unwrap_or_default() {
            "daemon.ready" => drop(self.ready.insert(node, at)),
            "role.manager" => {
                self.members.remove(&node);
                self.managers.insert(node, true);
                self.since = at;
            }
            // Every node says so when it starts; of one that was manager it means that it gave way.
            "role.member" => {
                if let Some(now) = self.managers.get_mut(&node) {
                    *now = false;
                    self.since = at;
                }
            }
            "join.granted" => {
                let manager = fields["manager"].as_str().unwrap().trim_end_matches(".example").to_owned();
                self.members.insert(node, (manager, Stage::Granted));
            }
            "join.admitted" => member.unwrap().1 = Stage::Admitted,
            "state.installed" => member.unwrap().1 = Stage::Installed,
            "membership.ended" => drop(self.members.remove(&node)),
            _ => {}
        }
    }

    /// The one manager, if there is just one.
    fn manager(&self) -> Option<&str> {
        let mut managing = self.managers.iter().filter(|(_, now)| **now).map(|(node, _)| node.as_str());
        managing.next().filter(|_| managing.next().is_none())
    }

    /// Whether everybody is ready and all others are members of the one manager, and have come so far.
    fn settled(&self, stage: Stage) -> bool {
        let Some(manager) = self.manager() else { return false };
        let theirs = self.members.values().filter(|(of, come)| of == manager && *come >= stage);
        self.ready.len() == NODES && theirs.count() == NODES - 1
    }
}

/// Starts all daemons at once, and says when that was. Their log lines come on one channel.
async fn start(site: &Site) -> (Instant, BTreeMap<String, Daemon>, mpsc::UnboundedReceiver<Line>) {
    let mut configured = Vec::new();
    for number in 0..NODES {
        let name = format!("n{number}");
        site.issue(&name, "member,manager").await;
        configured.push((site.configure(&name, ""), name));
    }
    let (told, lines) = mpsc::unbounded_channel();
    let mut daemons = BTreeMap::new();
    let began = Instant::now();
    for (file, name) in configured {
        let mut daemon = site.spawn(&name, &file, "info");
        let mut own = std::mem::replace(&mut daemon.events, mpsc::unbounded_channel().1);
        let (told, node) = (told.clone(), name.clone());
        tokio::spawn(async move {
            while let Some(line) = own.recv().await {
                let fields = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{node}: {line}"));
                let _ = told.send((node.clone(), Instant::now(), fields));
            }
        });
        daemons.insert(name, daemon);
    }
    (began, daemons, lines)
}

async fn round() -> Outcome {
    let site = Site::new().await;
    let (began, mut daemons, mut lines) = start(&site).await;
    let mut round = Round {
        began,
        ready: BTreeMap::new(),
        managers: BTreeMap::new(),
        since: began,
        members: BTreeMap::new(),
    };
    let mut admitted = began;
    for stage in [Stage::Admitted, Stage::Installed] {
        let reached = tokio::time::timeout(Duration::from_secs(60), async {
            while !round.settled(stage) {
                round.note(lines.recv().await.unwrap());
            }
        });
        assert!(reached.await.is_ok(), "{:?} {:?}", round.managers, round.members);
        if stage == Stage::Admitted {
            admitted = Instant::now();
        }
    }
    let mut managers = 0;
    let manager = round.manager().unwrap().to_owned();
    let place = status(&daemons[&manager]).await["subgroup"].clone();
    for daemon in daemons.values() {
        let status = status(daemon).await;
        managers += usize::from(status["role"] == "manager");
        assert_eq!(status["subgroup"], place, "{status}");
    }
    while let Ok(line) = lines.try_recv() {
        round.note(line);
    }
    assert_eq!(round.manager(), Some(manager.as_str()), "nobody became manager after that");
    for daemon in daemons.values_mut() {
        daemon.end_by(Signal::SIGKILL).await;
    }
    let ready = *round.ready.values().max().unwrap();
    Outcome {
        elected: round.since - round.began,
        elected_after_ready: round.since.saturating_duration_since(ready),
        admitted: admitted - round.began,
        interim: round.managers.len() - 1,
        managers,
    }
}

async fn status(daemon: &Daemon) -> Value {
    within(conclave(&["--socket", daemon.socket.to_str().unwrap(), "--json", "status"], b"")).await.parsed()
}

#[tokio::test]
async fn twenty_daemons_elect_one_manager() {
    let rounds = std::env::var("CONCLAVE_ROUNDS").map_or(1, |rounds| rounds.parse::<usize>().unwrap());
    let mut outcomes = Vec::new();
    for number in 1..=rounds {
        let outcome = round().await;
        eprintln!("round {number}: {outcome:?}");
        assert!(outcome.elected_after_ready <= SOON, "{outcome:?}");
        outcomes.push(outcome);
    }
    let worst = |of: fn(&Outcome) -> u128| outcomes.iter().map(of).max().unwrap();
    println!("twenty_daemons_rounds {}", outcomes.len());
    println!("twenty_daemons_worst_ms {}", worst(|outcome| outcome.elected.as_millis()));
    println!(
        "twenty_daemons_worst_after_ready_ms {}",
        worst(|outcome| outcome.elected_after_ready.as_millis())
    );
    println!("twenty_daemons_admitted_ms {}", worst(|outcome| outcome.admitted.as_millis()));
    println!("twenty_daemons_interim_managers {}", worst(|outcome| outcome.interim as u128));
    println!("twenty_daemons_managers {}", worst(|outcome| outcome.managers as u128));
    assert!(outcomes.iter().all(|outcome| outcome.managers == 1));
}
