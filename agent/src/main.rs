//! The program `conclave`: one binary that is the daemon of a node and the operator's tool for it.

mod cli;
mod client;
mod commands;
mod config;
mod control;
mod daemon;
mod demo;
mod failure;
mod output;
mod spoken;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                eprintln!("conclave: {text}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(options) => daemon::run(&options, cli.global.verbose > 0),
        Command::Pki(request) => commands::pki::run(&request, cli.global.output()),
        Command::Demo => demo::run(cli.global.json),
        Command::DemoNode { spec } => demo::run_node(&spec),
        Command::Operate(request) => commands::operate(&cli.global, request),
    }
}
