//! Two nodes that may manage a group and three that may not: daemons, and what their logs add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::eavesdropper::Eavesdropper;
use crate::support::{Daemon, Ended, Site};

/// Who may manage the group.
pub(crate) static ELIGIBLE: [&str; 2] = ["ada", "ben"];
/// Who may not.
pub(crate) static PLAIN: [&str; 3] = ["max", "mia", "moe"];
/// Every wait ends here.
const DEADLINE: Duration = Duration::from_secs(40);
/// Short enough not to wait for.
const SETTINGS: &str = "rekey_interval = \"300ms\"";
/// Lines of the logs that a failure shows.
const SHOWN: usize = 150;

/// A line of one daemon's log, and when it was read.
pub(crate) struct Line {
    node: String,
    at: Instant,
    fields: Value,
}

/// The daemons and what they said.
pub(crate) struct Crew {
    site: Site,
    daemons: BTreeMap<String, Daemon>,
    told: mpsc::UnboundedSender<Line>,
    lines: mpsc::UnboundedReceiver<Line>,
    log: Vec<String>,
    pub(crate) board: Board,
}

/// What the logs add up to.
#[derive(Default, Debug)]
pub(crate) struct Board {
    ready: BTreeSet<String>,
    /// Who manages the group by its own word.
    pub(crate) managers: BTreeSet<String>,
    /// Which standbys are in step, by their manager.
    in_step: BTreeMap<String, BTreeSet<String>>,
    /// The newest term and epoch each member holds.
    installed: BTreeMap<String, (u32, u32)>,
    /// Every state that was ever accepted: its term and epoch, and the starts it was said to be of.
    pub(crate) accepted: BTreeMap<(u32, u32), BTreeSet<String>>,
    /// Registrations of members that did not ask for one by starting.
    pub(crate) registered_again: Vec<String>,
    /// Registered since they were started last.
    registered: BTreeSet<String>,
    /// Everything that happened: where, what, when.
    happened: Vec<(String, String, Instant)>,
}

impl Board {
    fn note(&mut self, line: &Line) {
        let Line { node, at, fields } = line;
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| text(name).parse::<u32>().unwrap_or_default();
        let what = text("message");
        let other = || text("identity").trim_end_matches(".example").to_owned();
        match what.as_str() {
            "daemon.ready" => drop(self.ready.insert(node.clone())),
            "role.manager" => {
                self.managers.insert(node.clone());
                self.installed.remove(node);
            }
            "role.member" => {
                // A manager that gave way registers with the one that came after it.
                if self.managers.remove(node) {
                    self.registered.remove(node);
                }
                self.in_step.remove(node);
            }
            "standby.in_step" => drop(self.in_step.entry(node.clone()).or_default().insert(other())),
            "standby.lost" => drop(self.in_step.entry(node.clone()).or_default().remove(&other())),
            "join.granted" if !self.registered.insert(node.clone()) => {
                self.registered_again.push(node.clone());
            }
            "state.installed" => {
                let state = (number("term"), number("epoch"));
                self.installed.insert(node.clone(), state);
                self.accepted.entry(state).or_default().insert(text("inst"));
            }
            _ => {}
        }
        self.happened.push((node.clone(), what, *at));
    }

    /// A process that is gone says nothing any more.
    fn gone(&mut self, node: &str) {
        self.ready.remove(node);
        self.managers.remove(node);
        self.in_step.remove(node);
        self.installed.remove(node);
        self.registered.remove(node);
    }

    /// The one that manages the group and whose other eligible node is in step.
    pub(crate) fn settled(&self) -> Option<(String, String)> {
        let manager = self.managers.first().filter(|_| self.managers.len() == 1)?;
        let standby = ELIGIBLE.iter().find(|node| *node != manager)?;
        let in_step = self.in_step.get(manager)?.contains(*standby);
        let others = PLAIN.iter().chain([standby]);
        let newest = others.clone().filter_map(|node| self.installed.get(*node)).max()?;
        let agreed = others.clone().all(|node| self.installed.get(*node) == Some(newest));
        (in_step && agreed).then(|| (manager.clone(), (*standby).to_owned()))
    }

    /// Whether all plain members hold a state of a later term than this.
    pub(crate) fn all_hold_later_than(&self, term: u32) -> bool {
        PLAIN.iter().all(|node| self.installed.get(*node).is_some_and(|(held, _)| *held > term))
    }

    /// The newest term a member holds.
    pub(crate) fn term(&self) -> u32 {
        self.installed.values().map(|(term, _)| *term).max().unwrap_or_default()
    }

    /// When this first happened there, from then on.
    pub(crate) fn first(&self, node: &str, what: &str, since: Instant) -> Option<Instant> {
        let mut at = self.happened.iter().filter(|(at, is, _)| at == node && is == what);
        at.find(|(.., at)| *at >= since).map(|(.., at)| *at)
    }

    /// Whether this happened anywhere since then.
    pub(crate) fn happened(&self, what: &str, since: Instant) -> bool {
        self.happened.iter().any(|(_, is, at)| is == what && *at >= since)
    }
}

impl Crew {
    /// All five of a new site, until one of the first two manages the group and the other one is in step.
    pub(crate) async fn assemble() -> Self {
        let site = Site::new().await;
        let (told, lines) = mpsc::unbounded_channel();
        let mut crew =
            Self { site, daemons: BTreeMap::new(), told, lines, log: Vec::new(), board: Board::default() };
        for node in ELIGIBLE {
            crew.site.issue(node, "member,manager").await;
            crew.site.configure(node, SETTINGS);
        }
        for node in PLAIN {
            crew.site.issue(node, "member").await;
            crew.site.configure(node, "role = \"member\"");
        }
        for node in ELIGIBLE.into_iter().chain(PLAIN) {
            crew.start(node);
        }
        crew.until("a manager and a standby in step", |board| board.settled().is_some()).await;
        crew
    }

    /// Starts a node, for the first time or again.
    pub(crate) fn start(&mut self, node: &str) {
        let config = self.site.path(&format!("{node}.toml"));
        let mut daemon = self.site.spawn(node, &config, "info");
        let mut own = std::mem::replace(&mut daemon.events, mpsc::unbounded_channel().1);
        let (told, name) = (self.told.clone(), node.to_owned());
        tokio::spawn(async move {
            while let Some(line) = own.recv().await {
                let fields = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{name}: {line}"));
                let _ = told.send(Line { node: name.clone(), at: Instant::now(), fields });
            }
        });
        self.daemons.insert(node.to_owned(), daemon);
    }

    /// Ends a node's process by this signal. Returns the moment before.
    pub(crate) async fn end(&mut self, node: &str, signal: Signal) -> Instant {
        let mut daemon = self.daemons.remove(node).unwrap();
        let at = Instant::now();
        daemon.end_by(signal).await;
        while let Ok(line) = self.lines.try_recv() {
            self.note(&line);
        }
        self.board.gone(node);
        at
    }

    /// Sends a signal to a node's process. Returns the moment before.
    pub(crate) fn signal(&self, node: &str, signal: Signal) -> Instant {
        let at = Instant::now();
        let process = i32::try_from(self.daemons[node].process()).unwrap();
        kill(Pid::from_raw(process), signal).unwrap();
        at
    }

    pub(crate) fn daemon(&self, node: &str) -> &Daemon {
        &self.daemons[node]
    }

    /// The operator's tool at a node.
    pub(crate) async fn ask(&self, node: &str, arguments: &[&str]) -> Ended {
        self.daemons[node].ask(arguments).await
    }

    /// Listens to everything the group's managers multicast.
    pub(crate) async fn eavesdropper(&self) -> Eavesdropper {
        let manager = self.board.managers.first().unwrap();
        Eavesdropper::start(&self.daemons[manager].status().await)
    }

    /// Reads the logs until it is so.
    pub(crate) async fn until(&mut self, what: &str, so: impl Fn(&Board) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !so(&self.board) {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) => self.note(&line),
                _ => self.fail(&format!("waited in vain for {what}")),
            }
        }
    }

    /// Reads the logs until then.
    pub(crate) async fn runs_until(&mut self, then: Instant) {
        while let Ok(Some(line)) = timeout_at(then, self.lines.recv()).await {
            self.note(&line);
        }
    }

    /// Reads the logs while something else is awaited.
    pub(crate) async fn while_waiting<T>(&mut self, what: &str, awaited: impl Future<Output = T>) -> T {
        let mut awaited = std::pin::pin!(timeout(DEADLINE, awaited));
        loop {
            tokio::select! {
                done = &mut awaited => match done {
                    Ok(done) => return done,
                    Err(_) => self.fail(&format!("waited in vain for {what}")),
                },
                Some(line) = self.lines.recv() => self.note(&line),
            }
        }
    }

    /// Ends the test, with what the daemons said last.
    pub(crate) fn fail(&self, why: &str) -> ! {
        let from = self.log.len().saturating_sub(SHOWN);
        panic!("{why}\n{:#?}\n{}", self.board.managers, self.log[from..].join("\n"));
    }

    fn note(&mut self, line: &Line) {
        let Line { node, fields, .. } = line;
        self.log.push(format!("{node} {fields}"));
        self.board.note(line);
    }
}
