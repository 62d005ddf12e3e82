//! Log lines go to stderr; they name events, never keys or payloads.

use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::Daemon;
use crate::cli::{LogFormat, RunOptions};
use crate::failure::Failure;

/// The store's engine prints what it writes when it is asked for everything: sealed records, and no use to anybody.
const QUIET: &str = "sled=warn";

/// Starts logging: by `--log`, else `RUST_LOG`, else at info (debug with `-v`).
pub(super) fn start(options: &RunOptions, verbose: bool) -> Result<(), Failure> {
    let default = if verbose { "debug" } else { "info" };
    let directives = options.log.clone().or_else(|| std::env::var("RUST_LOG").ok());
    let directives = directives.filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| Failure::Usage(format!("--log {directives:?}: {error}")))?
        .add_directive(QUIET.parse().map_err(Failure::because)?);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(true);
    let started = match options.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(Failure::because)
}

/// Says that the node has started and where it is controlled.
pub(super) fn ready(daemon: &Daemon, socket: &Path) {
    let groups: Vec<&str> = daemon.groups.iter().map(|group| group.facts.name.as_str()).collect();
    tracing::info!(
        target: "conclave",
        identity = %daemon.host.identity(),
        interface = %daemon.host.interface(),
        groups = %groups.join(", "),
        socket = %socket.display(),
        "daemon.ready"
    );
}
