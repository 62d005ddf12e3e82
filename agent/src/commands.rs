//! What the operator's commands do: ask the daemon, and print its answer.

mod change;
mod follow;
mod look;
pub(crate) mod pki;
mod send;

use crate::cli::{Global, Operate};
use crate::client::Client;
use crate::failure::Failure;

/// Carries out one command on a running daemon.
pub(crate) fn operate(global: &Global, request: Operate) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    let done = runtime.block_on(ask(global, request));
    // A thread may still be reading stdin; nobody waits for what it reads.
    runtime.shutdown_background();
    done
}

async fn ask(global: &Global, request: Operate) -> Result<(), Failure> {
    let (client, output) = (Client::new(&global.socket), global.output());
    match request {
        Operate::Status => look::status(&client, output, global.verbose > 0).await,
        Operate::Members => look::members(&client, output).await,
        Operate::Evict { identity } => change::evict(&client, output, identity).await,
        Operate::Rekey => change::rekey(&client, output).await,
        Operate::Set { setting } => change::set(&client, output, setting).await,
        Operate::Events { count } => follow::events(&client, output, count).await,
        Operate::Send { file, chunk, .. } => send::send(&client, output, file, chunk).await,
        Operate::Recv { count, raw } => follow::recv(&client, output, count, raw).await,
    }
}
