//! An application: `conclave send` at one node and `conclave recv` at others, with numbered messages.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::{PROGRAM, within};

/// Between two messages.
const PACE: Duration = Duration::from_millis(20);

/// Sends numbers, from 0 on, until it is dropped.
pub(crate) struct Sender {
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
    _program: Child,
}

/// Receives them.
pub(crate) struct Receiver {
    at: String,
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
    _program: Child,
}

/// What came.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// One past the newest.
    next: Option<u64>,
    missing: BTreeSet<u64>,
    twice: u64,
}

impl Sender {
    pub(crate) fn start(socket: &Path) -> Self {
        let mut program = program(socket, &["send", "--line"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut messages = program.stdin.take().unwrap();
        let sent = Arc::<AtomicU64>::default();
        let count = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                let line = format!("{}\n", count.load(Ordering::Relaxed));
                messages.write_all(line.as_bytes()).await.expect("the sender's daemon takes messages");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { sent, task, _program: program }
    }

    /// How many it has sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Receiver {
    /// Begins to receive, and waits for the first message.
    pub(crate) async fn start(socket: &Path) -> Self {
        let mut program = program(socket, &["recv"]).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let (told, heard) = watch::channel(Heard::default());
        let task = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let number = line.parse().unwrap();
                told.send_modify(|heard| heard.take(number));
            }
        });
        let at = socket.file_stem().unwrap().to_string_lossy().into_owned();
        let mut receiver = Self { at, heard, task, _program: program };
        receiver.until(0).await;
        receiver
    }

    /// Waits until a message from this one on has come, and all before it had their time.
    pub(crate) async fn until(&mut self, number: u64) {
        let come = self.heard.wait_for(|heard| heard.next.is_some_and(|next| next > number));
        within(come).await.unwrap();
    }

    /// How many never came, since it began, and how many came twice.
    pub(crate) fn lost_and_twice(&self) -> (u64, u64) {
        let heard = self.heard.borrow();
        if !heard.missing.is_empty() {
            eprintln!("{} received none of {:?}", self.at, heard.missing);
        }
        (heard.missing.len() as u64, heard.twice)
    }
}

impl Heard {
    fn take(&mut self, number: u64) {
        let next = self.next.unwrap_or(number);
        if number >= next {
            self.missing.extend(next..number);
            self.next = Some(number + 1);
        } else if !self.missing.remove(&number) {
            self.twice += 1;
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn program(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--socket").arg(socket).args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
    command
}
