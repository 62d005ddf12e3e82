//! A site in a directory of its own: an authority, configurations, daemons, and the operator's tool.

use std::fs;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;

/// Every wait of a test ends here, so that a bug fails the test instead of hanging it.
const DEADLINE: Duration = Duration::from_secs(30);
/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_conclave");

/// Awaits `what`, and fails the test when it takes too long.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("took too long")
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its output as JSON; the command must have succeeded.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.parsed()
    }

    /// Its output as JSON, however it ended.
    pub(crate) fn parsed(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the program to its end, with `input` on stdin.
pub(crate) async fn conclave(arguments: &[&str], input: &[u8]) -> Ended {
    run(Command::new(PROGRAM).args(arguments), input).await
}

/// Runs any command to its end.
pub(crate) async fn run(command: &mut Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may be gone before it is written.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let output = within(child.wait_with_output()).await.unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An authority and a directory for everything under it.
pub(crate) struct Site {
    directory: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        let made = conclave(&["pki", "init", &site.path("ca"), "--name", "test"], b"").await;
        assert_eq!(made.code, 0, "{made:?}");
        site
    }

    /// A path in the site's directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Issues a certificate for `name`.example, for this role or for both, with a comma between them.
    pub(crate) async fn issue(&self, name: &str, roles: &str) {
        let (ca, out) = (self.path("ca"), self.path("pki"));
        let identity = format!("{name}.example");
        let mut arguments = vec!["pki", "issue", &identity, "--ca", &ca, "--out", &out];
        roles.split(',').for_each(|role| arguments.extend(["--role", role]));
        let issued = conclave(&arguments, b"").await;
        assert_eq!(issued.code, 0, "{issued:?}");
    }

    /// Writes `name`.toml for the group video, with `group` below its name, and a port of the kernel's choice.
    pub(crate) fn configure(&self, name: &str, group: &str) -> String {
        self.configure_at(name, 0, group)
    }

    /// The same with this port.
    pub(crate) fn configure_at(&self, name: &str, port: u16, group: &str) -> String {
        let file = self.path(&format!("{name}.toml"));
        let text = format!(
            "interface = \"lo\"\nport = {port}\ncontrol_socket = \"run/{name}.sock\"\nstate = \"{name}/state\"\n\
             keys = \"{name}/keys\"\n\
             [credentials]\ncertificate = \"pki/{name}.example-cert.pem\"\nkey = \"pki/{name}.example-key.pem\"\n\
             ca = \"pki/ca-cert.pem\"\n[[group]]\nname = \"video\"\n{group}\n"
        );
        fs::write(&file, text).unwrap();
        file
    }

    /// Starts a manager called gsm, with these settings besides a kernel-chosen port.
    pub(crate) async fn manager(&self, settings: &str) -> Daemon {
        self.issue("gsm", "manager").await;
        let file = self.configure("gsm", &format!("role = \"manager\"\n{settings}"));
        self.start("gsm", &file).await
    }

    /// Starts a node that may manage the group, and is told nothing but its name and these settings.
    pub(crate) async fn eligible(&self, name: &str, settings: &str) -> Daemon {
        self.issue(name, "member,manager").await;
        let file = self.configure(name, settings);
        self.start(name, &file).await
    }

    /// Starts a member that registers at `registrar`.
    pub(crate) async fn member(&self, name: &str, registrar: &str) -> Daemon {
        self.issue(name, "member").await;
        let file = self.configure(name, &format!("role = \"member\"\ngsm = [\"{registrar}\"]"));
        self.start(name, &file).await
    }

    /// Starts a manager and members, and waits until all of them hold one key.
    pub(crate) async fn group<const N: usize>(
        &self,
        settings: &str,
        names: [&str; N],
    ) -> (Daemon, [Daemon; N]) {
        let manager = self.manager(settings).await;
        let registrar = manager.registrar().await;
        let mut members = Vec::new();
        for name in names {
            let mut member = self.member(name, &registrar).await;
            member.event("state.installed").await;
            members.push(member);
        }
        (manager, members.try_into().unwrap_or_else(|_| unreachable!()))
    }

    /// Starts the daemon `name`, whose configuration is there, and waits until it is ready.
    pub(crate) async fn start(&self, name: &str, config: &str) -> Daemon {
        let mut daemon = self.spawn(name, config, "trace");
        daemon.event("daemon.ready").await;
        daemon
    }

    /// Starts the daemon `name` and waits for nothing. It logs what `filter` lets through.
    pub(crate) fn spawn(&self, name: &str, config: &str, filter: &str) -> Daemon {
        let mut child = Command::new(PROGRAM)
            .args(["run", "--config", config, "--log-format", "json", "--log", filter])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (told, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        let socket = self.directory.path().join("run").join(format!("{name}.sock"));
        Daemon { child, events, log: Vec::new(), socket }
    }
}

/// A running daemon. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    /// Log lines that nobody has read yet.
    pub(crate) events: mpsc::UnboundedReceiver<String>,
    /// Every log line read so far.
    pub(crate) log: Vec<String>,
    pub(crate) socket: PathBuf,
}

impl Daemon {
    /// Waits for an event in the log, and returns its fields. Each event is found once, in their order.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        self.event_among(&[name]).await
    }

    /// The same with several events, whichever comes first.
    pub(crate) async fn event_among(&mut self, names: &[&str]) -> Value {
        loop {
            let line = tokio::time::timeout(DEADLINE, self.events.recv()).await;
            let line = line.unwrap_or_else(|_| panic!("none of {names:?} in time: {:#?}", self.log));
            let line = line.unwrap_or_else(|| panic!("none of {names:?} before the end: {:#?}", self.log));
            let fields: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            self.log.push(line);
            if fields["message"].as_str().is_some_and(|name| names.contains(&name)) {
                return fields;
            }
        }
    }

    /// Has the operator's tool ask this daemon.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Ended {
        self.ask_with(arguments, b"").await
    }

    /// The same with something on stdin.
    pub(crate) async fn ask_with(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let socket = self.socket.to_str().unwrap();
        conclave(&[&["--socket", socket, "--json"], arguments].concat(), input).await
    }

    /// Starts a command that follows this daemon; its lines come as it prints them.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Following {
        let mut child = Command::new(PROGRAM)
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Following { child, stdout, begun: Vec::new() }
    }

    /// How it says it is, degraded or not.
    pub(crate) async fn status(&self) -> Value {
        self.ask(&["status"]).await.parsed()
    }

    /// Where members of this manager register.
    pub(crate) async fn registrar(&self) -> String {
        self.status().await["manager"]["registrar"].as_str().unwrap().to_owned()
    }

    /// Its process; it has not ended.
    pub(crate) fn process(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends it as an init system would, and reads the rest of its log.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.end_by(Signal::SIGTERM).await
    }

    /// Ends it by a signal, and reads the rest of its log.
    pub(crate) async fn end_by(&mut self, signal: Signal) -> ExitStatus {
        let pid = i32::try_from(self.process()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        let status = within(self.child.wait()).await.unwrap();
        while let Some(line) = within(self.events.recv()).await {
            self.log.push(line);
        }
        status
    }
}

/// A command that prints as things happen.
pub(crate) struct Following {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What was read of the line that is not complete yet.
    begun: Vec<u8>,
}

impl Following {
    /// Its next line. May be dropped and called again without losing anything.
    pub(crate) async fn line(&mut self) -> String {
        within(self.stdout.read_until(b'\n', &mut self.begun)).await.unwrap();
        let line = std::mem::take(&mut self.begun);
        assert!(line.ends_with(b"\n"), "it ended too early");
        String::from_utf8_lossy(&line[..line.len() - 1]).into_owned()
    }

    /// Its next line with this in it.
    pub(crate) async fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Its first line with this in it, provoked: `provoke` is done until there is one, since nothing tells when the
    /// command begins to listen.
    pub(crate) async fn provoked(&mut self, part: &str, mut provoke: impl AsyncFnMut()) -> String {
        within(async {
            loop {
                tokio::select! {
                    biased;
                    line = self.line_with(part) => return line,
                    () = provoke() => {}
                }
            }
        })
        .await
    }

    /// Its exit code, once it ends by itself.
    pub(crate) async fn code(&mut self) -> i32 {
        within(self.child.wait()).await.unwrap().code().unwrap()
    }
}
