//! The processes of a demonstration, what they say, and how far everything is.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use conclave::Clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::Instant;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command as Program};
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::board::Board;
use super::ground::Ground;
use super::host::Log;
use super::lines::{Event, Line, Role};
use super::narrator::Narrator;
use super::node::{Command, NodeSpec};

/// The whole demonstration ends in this time, whatever happens.
const LONGEST: Duration = Duration::from_secs(42);
/// Processes that were told to end have this long to do it; then they are killed.
const END_DEADLINE: Duration = Duration::from_secs(3);
/// Lines that may wait to be read.
const MAX_WAITING: usize = 4_096;

/// Where a demonstration is played: its processes, and every line so far.
pub(super) struct Stage {
    pub(super) board: Board,
    lines: Vec<Line>,
    narrator: Narrator,
    began: Instant,
    deadline: tokio::time::Instant,
    processes: BTreeMap<String, Process>,
    signals: [Caught; 2],
    mouth: mpsc::Sender<Heard>,
    ears: mpsc::Receiver<Heard>,
}

/// What comes from a process.
pub(super) enum Heard {
    /// It says something.
    Line(Line),
    /// It has ended.
    Ended(String, std::io::Result<ExitStatus>),
    /// It is a host's daemon, and answers its operator.
    Ready(String),
    /// It said what no process of ours says.
    Nonsense(String, String),
}

/// The demonstration cannot go on; a line says why.
#[derive(Debug)]
pub(super) struct Halt;

/// A process, for giving it orders. Its task kills it when the demonstration ends.
struct Process {
    id: Option<u32>,
    /// Its standard input. Every process ends when it is closed, so none outlives the demonstration.
    stdin: Option<ChildStdin>,
    /// A member takes orders on it; a host's daemon takes signals.
    role: Role,
    /// How it must end.
    end: End,
}

/// How a process must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Not at all.
    Unexpected,
    /// Well, for it was told to.
    Dismissed,
    /// By SIGKILL.
    Killed,
}

impl End {
    fn fits(self, status: &std::io::Result<ExitStatus>) -> bool {
        let Ok(status) = status else { return false };
        match self {
            Self::Unexpected => false,
            Self::Dismissed => status.success(),
            Self::Killed => status.signal() == Some(Signal::SIGKILL as i32),
        }
    }
}

impl Stage {
    /// An empty stage. Called within a runtime.
    pub(super) fn new(narrator: Narrator) -> std::io::Result<Self> {
        let (mouth, ears) = mpsc::channel(MAX_WAITING);
        Ok(Self {
            board: Board::default(),
            lines: Vec::new(),
            narrator,
            began: Clock.now(),
            deadline: tokio::time::Instant::now() + LONGEST,
            processes: BTreeMap::new(),
            signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
            mouth,
            ears,
        })
    }

    /// When it began, in microseconds since boot, for processes to count from.
    pub(super) const fn began_us(&self) -> u64 {
        self.began.micros()
    }

    /// Every line so far.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(super) const fn narrator(&self) -> &Narrator {
        &self.narrator
    }

    /// Says that something happens now.
    pub(super) fn say(&mut self, event: Event) {
        let at_us = self.now_us();
        self.take(Line { at_us, event });
    }

    /// Says that it cannot go on.
    pub(super) fn halt(&mut self, why: impl std::fmt::Display) -> Halt {
        self.say(Event::Broken { why: why.to_string() });
        Halt
    }

    /// Where something that is not a process of the library's users says its lines.
    pub(super) fn mouth(&self) -> mpsc::Sender<Heard> {
        self.mouth.clone()
    }

    /// Starts a member's process.
    pub(super) fn start(&mut self, ground: &Ground, spec: &NodeSpec) -> Result<(), Halt> {
        let mut program = self.program()?;
        let text = serde_json::to_string(spec).map_err(|error| self.halt(error))?;
        let log = File::create(ground.log(&spec.name)).map_err(|error| self.halt(error))?;
        program.arg(super::NODE_COMMAND).arg(text);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = self.launch(&spec.name, spec.role, program)?;
        let (stdout, mouth, name) = (child.stdout.take(), self.mouth(), spec.name.clone());
        tokio::spawn(async move {
            carry_lines(&name, stdout, &mouth).await;
            let status = child.wait().await;
            drop(mouth.send(Heard::Ended(name, status)).await);
        });
        Ok(())
    }

    /// Starts a host's daemon, for the first time or again. It is heard when it is ready.
    pub(super) fn start_host(&mut self, ground: &Ground, name: &str) -> Result<(), Halt> {
        let log = OpenOptions::new().append(true).create(true).open(ground.log(name));
        let log = log.map_err(|error| self.halt(error))?;
        let mut program = self.program()?;
        program.arg("run").arg("--config").arg(ground.config(name));
        program.args(["--end-with-stdin", "--log", "info", "--log-format", "json"]);
        program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        self.board.ready.remove(name);
        self.board.ended.remove(name);
        let mut child = self.launch(name, Role::Host, program)?;
        let (stderr, mouth, name) = (child.stderr.take(), self.mouth(), name.to_owned());
        let began_us = self.began_us();
        tokio::spawn(async move {
            carry_log(stderr, log, Log::of(&name), began_us, &mouth).await;
            let status = child.wait().await;
            drop(mouth.send(Heard::Ended(name, status)).await);
        });
        Ok(())
    }

    /// Gives a process an order.
    pub(super) async fn order(&mut self, name: &str, command: Command) -> Result<(), Halt> {
        let Some(process) = self.processes.get_mut(name) else {
            return Err(self.halt(format!("there is no process {name}")));
        };
        if matches!(command, Command::Leave | Command::Stop) {
            process.end = End::Dismissed;
        }
        let Some(orders) = &mut process.stdin else { return Ok(()) };
        let mut text = serde_json::to_vec(&command).unwrap_or_default();
        text.push(b'\n');
        let given = orders.write_all(&text).await;
        given.map_err(|error| self.halt(format!("{name} takes no orders any more: {error}")))
    }

    /// Kills a process as a power cut would, and waits until it is gone.
    pub(super) async fn kill(&mut self, name: &str) -> Result<(), Halt> {
        if let Some(process) = self.processes.get_mut(name) {
            process.end = End::Killed;
            process.signal(Signal::SIGKILL);
        }
        let what = format!("{name} to be gone");
        self.until(&what, END_DEADLINE, |board| board.ended.contains(name)).await
    }

    /// Listens until `done` says so. `what` is what is waited for, for the reader of a failure.
    pub(super) async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Board) -> bool,
    ) -> Result<(), Halt> {
        if self.listen(limit, done).await? {
            return Ok(());
        }
        Err(self.halt(format!("waited {} s in vain: {what}", limit.as_secs())))
    }

    /// Like [`Stage::until`]; returns whether it came to be in time, and that it did not is no failure yet.
    pub(super) async fn listen(
        &mut self,
        limit: Duration,
        done: impl Fn(&Board) -> bool,
    ) -> Result<bool, Halt> {
        let deadline = self.deadline.min(tokio::time::Instant::now() + limit);
        loop {
            if self.board.broken {
                return Err(Halt);
            }
            if done(&self.board) {
                return Ok(true);
            }
            let heard = tokio::select! {
                heard = timeout_at(deadline, self.ears.recv()) => heard,
                () = caught(&mut self.signals) => return Err(self.halt("interrupted")),
            };
            match heard {
                Ok(Some(heard)) => self.hear(heard),
                Ok(None) | Err(_) => return Ok(false),
            }
        }
    }

    /// Ends all processes: in order if they let themselves be ended, by force with their tasks if not.
    pub(super) async fn clear(&mut self) {
        // The manager goes last: it lets the others go.
        let manager = self.board.manager.clone();
        let (last, names) = self.processes.keys().cloned().partition(|name| Some(name) == manager.as_ref());
        self.end(names).await;
        self.end(last).await;
        self.say(Event::Over {});
    }

    async fn end(&mut self, names: Vec<String>) {
        for name in &names {
            self.dismiss(name).await;
        }
        let deadline = tokio::time::Instant::now() + END_DEADLINE;
        while !names.iter().all(|name| self.board.ended.contains(name)) {
            let Ok(Some(heard)) = timeout_at(deadline, self.ears.recv()).await else {
                let left: Vec<_> =
                    names.iter().filter(|name| !self.board.ended.contains(*name)).cloned().collect();
                self.say(Event::Broken { why: format!("told to end, and did not: {}", left.join(", ")) });
                break;
            };
            self.hear(heard);
        }
    }

    /// Tells a process to end. One that takes no orders has ended already.
    async fn dismiss(&mut self, name: &str) {
        let Some(process) = self.processes.get_mut(name).filter(|_| !self.board.ended.contains(name)) else {
            return;
        };
        process.end = End::Dismissed;
        match (&mut process.stdin, process.role) {
            (_, Role::Host) => process.signal(Signal::SIGTERM),
            (Some(orders), _) => drop(orders.write_all(b"{\"command\":\"stop\"}\n").await),
            (None, _) => {}
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Line(line) => self.take(line),
            Heard::Ended(name, status) => {
                let fits = self.processes.get(&name).is_some_and(|process| process.end.fits(&status));
                if !fits {
                    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    self.say(Event::Broken { why: format!("the process of {name} ended: {how}") });
                }
                self.board.ended.insert(name);
            }
            Heard::Ready(name) => drop(self.board.ready.insert(name)),
            Heard::Nonsense(name, text) => {
                self.say(Event::Broken { why: format!("{name} says what cannot be read: {text}") });
            }
        }
    }

    fn take(&mut self, line: Line) {
        self.board.take(&line.event);
        self.narrator.tell(&line);
        self.lines.push(line);
    }

    fn now_us(&self) -> u64 {
        Clock.now().micros().saturating_sub(self.began_us())
    }

    fn program(&mut self) -> Result<Program, Halt> {
        match std::env::current_exe() {
            Ok(executable) => Ok(Program::new(executable)),
            Err(error) => Err(self.halt(format!("cannot find this program: {error}"))),
        }
    }

    fn launch(&mut self, name: &str, role: Role, mut program: Program) -> Result<Child, Halt> {
        let spawned = program.kill_on_drop(true).spawn();
        let mut child = spawned.map_err(|error| self.halt(format!("cannot start {name}: {error}")))?;
        let process = Process { id: child.id(), stdin: child.stdin.take(), role, end: End::Unexpected };
        let id = process.id.unwrap_or_default();
        self.processes.insert(name.to_owned(), process);
        self.say(Event::Started { node: name.to_owned(), process: id, role });
        Ok(child)
    }
}

impl Process {
    /// Called for a process that has not ended: its id is nobody else's.
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            let _ = kill(Pid::from_raw(id.cast_signed()), signal);
        }
    }
}

/// Until somebody wants the demonstration to end.
async fn caught([interrupt, terminate]: &mut [Caught; 2]) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Carries a member's lines to the stage, until it ends or the stage is gone.
async fn carry_lines(name: &str, stdout: Option<impl AsyncRead + Unpin>, mouth: &mpsc::Sender<Heard>) {
    let Some(stdout) = stdout else { return };
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        let heard = match serde_json::from_str(&text) {
            Ok(line) => Heard::Line(line),
            Err(_) => Heard::Nonsense(name.to_owned(), text),
        };
        if mouth.send(heard).await.is_err() {
            return;
        }
    }
}

/// Writes a host's log to its file, and says what it means.
async fn carry_log(
    stderr: Option<impl AsyncRead + Unpin>,
    mut file: File,
    mut log: Log,
    began_us: u64,
    mouth: &mpsc::Sender<Heard>,
) {
    let Some(stderr) = stderr else { return };
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        // A log that cannot be written is missed only if something fails.
        drop(writeln!(file, "{text}"));
        if let Some(heard) = log.read(&text, began_us)
            && mouth.send(heard).await.is_err()
        {
            return;
        }
    }
}
