//! One process of the demonstration: a program that uses the library as any application would.
//!
//! It is told what it is on its command line, takes commands on standard input, one a line, and says what happens to it
//! on standard output, one line of JSON each. Standard input closed means that the demonstration is gone: it ends.

mod receiver;
mod sender;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use conclave::{
    Clock, Credentials, GroupOptions, Host, HostOptions, Interface, Part, ParticipantEvent, Threads,
};
use member::MemberEvent;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tracing_subscriber::EnvFilter;

use super::adversary;
use super::lines::{Event, Line, Role};

/// What a process is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeSpec {
    /// Its short name.
    pub(super) name: String,
    /// What it is there for.
    pub(super) role: Role,
    /// The group's name.
    pub(super) group: String,
    /// Its certificate.
    pub(super) certificate: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    /// The authority's certificate.
    pub(super) ca: PathBuf,
    /// The file that is sent.
    pub(super) file: PathBuf,
    /// When the demonstration began, in microseconds since boot.
    pub(super) began_us: u64,
}

/// What a process is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(super) enum Command {
    /// Begin to send the file.
    Stream {
        /// Packets a second.
        rate: u32,
    },
    /// Send no more.
    Finish,
    /// Leave the group and end.
    Leave,
    /// End.
    Stop,
}

/// Why a process of the demonstration cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodeError {
    #[error("its command line is not one of the demonstration: {0}")]
    Spec(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Credentials(#[from] conclave::PkiError),
    #[error(transparent)]
    Interface(#[from] conclave::InterfaceError),
    #[error(transparent)]
    Start(#[from] conclave::StartError),
    #[error("cannot join: {0}")]
    Join(#[from] conclave::JoinError),
    #[error("cannot send: {0}")]
    Send(#[from] conclave::SendError),
    #[error(transparent)]
    Socket(#[from] conclave::SocketError),
    #[error(transparent)]
    Stopped(#[from] conclave::Stopped),
}

/// Runs a process of the demonstration, until it is told to end or cannot go on.
pub(super) async fn run(spec: &str) -> Result<(), NodeError> {
    let spec: NodeSpec = serde_json::from_str(spec)?;
    // Whoever set a subscriber before has their reasons.
    let filter = EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    let node = Node {
        voice: Voice { began_us: spec.began_us, out: Arc::default() },
        threads: Threads::start()?,
        orders: Orders(BufReader::new(tokio::io::stdin()).lines()),
        spec,
    };
    match node.spec.role {
        Role::Sender => sender::run(node).await,
        Role::Adversary => adversary::run(node).await,
        Role::Receiver | Role::Host => receiver::run(node).await,
    }
}

/// What every process has.
pub(super) struct Node {
    pub(super) spec: NodeSpec,
    pub(super) voice: Voice,
    pub(super) threads: Threads,
    pub(super) orders: Orders,
}

impl Node {
    pub(super) fn name(&self) -> String {
        self.spec.name.clone()
    }

    /// Sockets and certificate of a process that begins to take part.
    pub(super) async fn host(&self) -> Result<Host, NodeError> {
        let NodeSpec { certificate, key, ca, .. } = &self.spec;
        let options = HostOptions {
            credentials: Credentials::load(certificate, key, ca)?,
            interface: Interface::resolve("lo")?,
            port: 0,
            control_port: 0,
            data_port: 0,
        };
        Ok(Host::open(&self.threads, options).await?)
    }

    /// What it joins the group with: its name.
    pub(super) fn options(&self) -> GroupOptions {
        GroupOptions { part: Part::Member, ..GroupOptions::named(&self.spec.group) }
    }

    /// Says what an event of the node means here.
    pub(super) fn tell(&self, event: &ParticipantEvent) {
        match event {
            ParticipantEvent::Member(MemberEvent::Granted(_)) => {
                self.voice.say(Event::Registered { node: self.name() });
            }
            ParticipantEvent::Member(MemberEvent::Installed { state, .. }) => {
                self.voice.say(Event::Installed { node: self.name(), key: (*state).into() });
            }
            _ => {}
        }
    }
}

/// Says what happens. Cheap to clone; lines of several tasks do not mix.
#[derive(Clone)]
pub(super) struct Voice {
    began_us: u64,
    out: Arc<Mutex<()>>,
}

impl Voice {
    /// Says that something happens now.
    pub(super) fn say(&self, event: Event) {
        let line = Line { at_us: self.since(Clock.now()), event };
        let _one_at_a_time = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        // Nobody listening means that the demonstration is gone; standard input says the same.
        drop(std::io::stdout().lock().write_all(&text));
    }

    /// Microseconds from the demonstration's beginning until `instant`.
    pub(super) const fn since(&self, instant: protocol::Instant) -> u64 {
        instant.micros().saturating_sub(self.began_us)
    }
}

/// The commands on standard input.
pub(super) struct Orders(Lines<BufReader<Stdin>>);

impl Orders {
    /// The next command; the end of standard input is one to stop. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<Command, NodeError> {
        match self.0.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Ok(Command::Stop),
        }
    }
}
