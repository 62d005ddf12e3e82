//! `conclave demo`: a real group on this machine's loopback, and one member of it shut out.
//!
//! It needs no root, no configuration and no network. It makes an authority, and starts three hosts that may manage the
//! group (this program's daemon, controlled by its socket as an operator would) and five members (processes that use the
//! library as an application would). Nobody is told an address: the hosts elect one of them, and everybody finds it. A
//! file is sent through the group while members join and leave, one member is evicted and goes on with every key it ever
//! held, and the manager is killed and started again. Everything that happens is a line; the verdict is a function of
//! the lines.

mod adversary;
mod board;
mod ground;
mod host;
mod lines;
mod narrator;
mod node;
mod script;
mod stage;
mod stream;
mod verdict;

use ground::Ground;
use narrator::Narrator;
use stage::Stage;
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// The hidden subcommand that a member's process is started with.
pub(crate) const NODE_COMMAND: &str = "__demo-node";

/// Plays the demonstration. Fails if it did not show what it should; the reasons are told before.
pub(crate) fn run(json: bool) -> Result<(), Failure> {
    let narrator = Narrator::new(json);
    runtime()?.block_on(demonstrate(narrator))
}

/// Runs one member's process of a demonstration; `spec` is what [`run`] wrote.
pub(crate) fn run_node(spec: &str) -> Result<(), Failure> {
    let runtime = runtime()?;
    let ended = runtime.block_on(node::run(spec));
    // A read of standard input may still wait in a thread of its own.
    runtime.shutdown_background();
    ended.map_err(Failure::because)
}

async fn demonstrate(narrator: Narrator) -> Result<(), Failure> {
    let mut stage = Stage::new(narrator).map_err(Failure::because)?;
    let ground = Ground::lay().map_err(Failure::because)?;
    // What halted it, if anything, is among the lines.
    let _ = script::play(&mut stage, &ground).await;
    stage.clear().await;
    let verdict = verdict::verdict(stage.lines());
    stage.narrator().close(&verdict);
    let outcome = verdict.outcome();
    if outcome.is_err() {
        eprintln!("conclave: what the processes logged is in {}", ground.keep().display());
    }
    outcome
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))
}
