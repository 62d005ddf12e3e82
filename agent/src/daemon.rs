//! `conclave run`: a node in its groups, its control socket, and an orderly end.

mod happening;
mod logging;
mod node;
mod observer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conclave::{Clock, Group, GroupHandle, Host, Message, ParticipantEvent, Threads, harden};
use protocol::Instant;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::cli::RunOptions;
use crate::config::Config;
use crate::control;
use crate::failure::Failure;

pub(crate) use happening::Happening;
use node::Started;

pub(crate) use node::Facts;
pub(crate) use observer::{Record, Standing};

/// Messages and events a reader of the control socket may be behind before it is cut off.
const MAX_BEHIND: usize = 8_192;

/// A running daemon, as the control socket sees it.
pub(crate) struct Daemon {
    /// What its groups share.
    pub(crate) host: Host,
    /// When the daemon started.
    pub(crate) since: Instant,
    /// Its groups, as they are configured: at least one.
    pub(crate) groups: Vec<Arc<RunningGroup>>,
    /// What happened in any of them, to whoever reads `events`.
    pub(crate) happenings: broadcast::Sender<Arc<Happening>>,
    /// Cancelled when the daemon ends: streams end with it.
    pub(crate) stop: CancellationToken,
}

/// The node's part in one group.
pub(crate) struct RunningGroup {
    /// What was settled at the start.
    pub(crate) facts: Facts,
    /// The node.
    pub(crate) node: GroupHandle,
    /// What was received, to whoever reads `recv`.
    pub(crate) messages: broadcast::Sender<Arc<Message>>,
    record: Mutex<Record>,
}

/// What runs for one group besides the node's own tasks.
struct Attendant {
    group: Arc<RunningGroup>,
    owner: Group,
    events: broadcast::Receiver<ParticipantEvent>,
}

impl RunningGroup {
    /// What the node's events have added up to.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        // Nothing is left half done under this lock, so a panic elsewhere does not spoil what it guards.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until SIGTERM, SIGINT, or until the node ends by itself.
pub(crate) fn run(options: &RunOptions, verbose: bool) -> Result<(), Failure> {
    harden().map_err(Failure::because)?;
    logging::start(options, verbose)?;
    let config = Config::load(&options.config)?;
    let threads =
        Threads::start().map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(serve(&threads, config, options.end_with_stdin));
    runtime.shutdown_background();
    ended
}

async fn serve(threads: &Threads, config: Config, end_with_stdin: bool) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::because)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::because)?;
    let socket = control::Socket::bind(&config.control_socket).map_err(Failure::because)?;
    let host = node::open(threads, &config).await?;
    let mut attendants = Vec::new();
    for group in config.groups {
        attendants.push(Attendant::begin(node::start(&host, group, (&config.state, &config.keys)).await?));
    }
    let daemon = Arc::new(Daemon {
        host,
        since: Clock.now(),
        groups: attendants.iter().map(|attendant| Arc::clone(&attendant.group)).collect(),
        happenings: broadcast::channel(MAX_BEHIND).0,
        stop: CancellationToken::new(),
    });
    let stopping = CancellationToken::new();
    let mut running = JoinSet::new();
    for attendant in attendants {
        running.spawn(attendant.run(Arc::clone(&daemon), stopping.clone()));
    }
    let (listener, guard) = socket.into_parts();
    let server = tokio::spawn(control::serve(listener, Arc::clone(&daemon)));
    logging::ready(&daemon, &config.control_socket);
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = stdin_closed(), if end_with_stdin => Ok(()),
        Some(ended) = running.join_next() => Err(by_itself(ended)),
    };
    tracing::info!(target: "conclave", "daemon.stopping");
    stopping.cancel();
    while running.join_next().await.is_some() {}
    daemon.host.close().await;
    daemon.stop.cancel();
    let _ = server.await;
    drop(guard);
    ended
}

impl Attendant {
    fn begin(started: Started) -> Self {
        let Started { facts, unresolved, handle, owner, events } = started;
        let record = Mutex::new(Record::of(&facts.name, unresolved));
        let messages = broadcast::channel(MAX_BEHIND).0;
        let group = Arc::new(RunningGroup { facts, node: handle, messages, record });
        Self { group, owner, events }
    }

    /// Until `stopping`, or until the node ends by itself. Returns the group's name when it has stopped in order.
    async fn run(self, daemon: Arc<Daemon>, stopping: CancellationToken) -> String {
        let Self { group, mut owner, events } = self;
        let node_ended = CancellationToken::new();
        let observed = observer::run(daemon, Arc::clone(&group), events, node_ended.clone());
        let observer = tokio::spawn(observed);
        let resolving = tokio::spawn(node::resolve_rest(Arc::clone(&group)));
        tokio::select! {
            () = stopping.cancelled() => {}
            () = node::pump(&mut owner, &group) => {}
        }
        resolving.abort();
        let joined = group.record().standing == Standing::Joined;
        node::stop(owner, joined).await;
        // The observer takes what is left first, so the last events are logged and told before the streams end.
        node_ended.cancel();
        let _ = observer.await;
        group.facts.name.clone()
    }
}

/// Until whoever holds the other end of standard input closes it, or is gone.
async fn stdin_closed() {
    // What cannot be read is as good as closed.
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

/// One group whose node is gone leaves the daemon less than it was told to be: it ends, and is started again.
fn by_itself(ended: Result<String, JoinError>) -> Failure {
    match ended {
        Ok(group) => Failure::Failed(format!("the node of group {group:?} has ended")),
        Err(error) => Failure::Failed(format!("the node of a group has ended: {error}")),
    }
}
