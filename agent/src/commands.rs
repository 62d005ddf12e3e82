//! What the operator's commands do: ask the daemon, and print its answer.

mod change;
mod follow;
mod look;
pub(crate) mod pki;
mod send;

use crate::cli::{Global, Of, Operate};
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
    let output = global.output();
    let client = |of: Of| Client::new(&global.socket).about(of.group);
    match request {
        Operate::Groups => look::groups(&Client::new(&global.socket), output).await,
        Operate::Status { of } => look::status(&client(of), output, global.verbose > 0).await,
        Operate::Members { of } => look::members(&client(of), output).await,
        Operate::Evict { identity, of } => change::evict(&client(of), output, identity).await,
        Operate::Handover { to, of } => change::handover(&client(of), output, to).await,
        Operate::Rekey { of } => change::rekey(&client(of), output).await,
        Operate::Set { setting, of } => change::set(&client(of), output, setting).await,
        Operate::Events { count, of } => follow::events(&client(of), output, count).await,
        Operate::Send { file, chunk, of, .. } => send::send(&client(of), output, file, chunk).await,
        Operate::Recv { count, raw, of } => follow::recv(&client(of), output, count, raw).await,
    }
}
