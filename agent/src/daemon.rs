//! `conclave run`: one node, its control socket, and an orderly end.

mod happening;
mod logging;
mod node;
mod observer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conclave::{Clock, Message, Threads, harden};
use protocol::Instant;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::cli::RunOptions;
use crate::config::Config;
use crate::control;
use crate::failure::Failure;

pub(crate) use happening::Happening;
pub(crate) use node::{Facts, NodeHandle};
pub(crate) use observer::{Record, Standing};

/// Messages and events a reader of the control socket may be behind before it is cut off.
const MAX_BEHIND: usize = 8_192;

/// A running daemon, as the control socket sees it.
pub(crate) struct Daemon {
    /// What was settled at the start.
    pub(crate) facts: Facts,
    /// The node.
    pub(crate) node: NodeHandle,
    /// When the daemon started.
    pub(crate) since: Instant,
    /// What happened, to whoever reads `events`.
    pub(crate) happenings: broadcast::Sender<Arc<Happening>>,
    /// What was received, to whoever reads `recv`.
    pub(crate) messages: broadcast::Sender<Arc<Message>>,
    /// Cancelled when the daemon ends: streams end with it.
    pub(crate) stop: CancellationToken,
    record: Mutex<Record>,
}

impl Daemon {
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
    let ended = runtime.block_on(serve(&threads, config));
    runtime.shutdown_background();
    ended
}

async fn serve(threads: &Threads, config: Config) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::because)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::because)?;
    let socket = control::Socket::bind(&config.control_socket).map_err(Failure::because)?;
    let mut started = node::start(threads, config).await?;
    let daemon = Arc::new(Daemon {
        facts: started.facts,
        node: started.handle,
        since: Clock.now(),
        happenings: broadcast::channel(MAX_BEHIND).0,
        messages: broadcast::channel(MAX_BEHIND).0,
        stop: CancellationToken::new(),
        record: Mutex::new(Record::default()),
    });
    let node_ended = CancellationToken::new();
    let observer = tokio::spawn(observer::run(Arc::clone(&daemon), started.events, node_ended.clone()));
    let (listener, guard) = socket.into_parts();
    let server = tokio::spawn(control::serve(listener, Arc::clone(&daemon)));
    logging::ready(&daemon.facts);
    let by_itself = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = started.owner.pump(&daemon) => true,
    };
    tracing::info!(target: "conclave", "daemon.stopping");
    let joined = daemon.record().standing == Standing::Joined;
    started.owner.stop(joined).await;
    // The observer takes what is left first, so the last events are logged and told before the streams end.
    node_ended.cancel();
    let _ = observer.await;
    daemon.stop.cancel();
    let _ = server.await;
    drop(guard);
    if by_itself { Err(Failure::Failed("the node has ended".to_owned())) } else { Ok(()) }
}
