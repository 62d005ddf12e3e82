//! The command line. Only what works is here, so `--help` shows nothing else.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use conclave::Identity;

use crate::config::{DEFAULT_CONFIG_FILE, DEFAULT_CONTROL_SOCKET};
use crate::output::Output;

/// Keeps a multicast group private while people come and go.
///
/// Exit codes: 0 good, 1 failed, 2 usage, 3 daemon unreachable, 4 degraded.
#[derive(Debug, Parser)]
#[command(name = "conclave", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The control socket of the daemon to talk to.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_CONTROL_SOCKET)]
    pub(crate) socket: PathBuf,
    /// JSON instead of text: seconds and bytes as numbers, names that stay.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tables without the line of column names.
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// More of everything; on `run`, log at debug.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    pub(crate) const fn output(&self) -> Output {
        Output { json: self.json, headers: !self.no_headers }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon of one node, in all its groups, in the foreground.
    Run(RunOptions),
    /// Show a real group on this machine: members come and go, and one is shut out. Takes half a minute.
    Demo,
    /// One member's process of the demonstration.
    #[command(name = crate::demo::NODE_COMMAND, hide = true)]
    DemoNode {
        /// What it is, as the demonstration wrote it.
        spec: String,
    },
    #[command(flatten)]
    Operate(Operate),
    /// Certificates: make an authority, issue, look.
    #[command(subcommand)]
    Pki(Pki),
}

/// Options of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
    pub(crate) config: PathBuf,
    /// End as by SIGTERM when standard input is closed: for programs that start a daemon of their own.
    #[arg(long)]
    pub(crate) end_with_stdin: bool,
    /// How log lines look. They go to stderr.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// What is logged: a level, or directives as in RUST_LOG, which this overrides.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line an event, key=value.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is asked of a running daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Operate {
    /// Every group of this node, and what the node is in it. Exit code 4 if one of them is not as it should be.
    Groups,
    /// Who this node is and how it is in a group. Exit code 4 if it does not do all it should.
    Status {
        #[command(flatten)]
        of: Of,
    },
    /// The members of a manager's subgroup.
    Members {
        #[command(flatten)]
        of: Of,
    },
    /// Shut a member out for good; returns when it can read nothing more that is sent under the new key.
    Evict {
        /// The name in its certificate.
        identity: String,
        #[command(flatten)]
        of: Of,
    },
    /// Hand the group to a standby, to stop this node or its host in peace; returns when the standby manages it. Members
    /// stay in, and nobody registers again.
    Handover {
        /// The name in the standby's certificate; the first one in step if none is given.
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Let in and put out who waits, now; with nobody waiting, replace the group key.
    Rekey {
        #[command(flatten)]
        of: Of,
    },
    /// Change a setting of the running daemon.
    Set {
        /// rekey-interval=DURATION, 100ms to 24h.
        #[arg(value_name = "SETTING=VALUE", value_parser = parse_setting)]
        setting: Setting,
        #[command(flatten)]
        of: Of,
    },
    /// What happens at the node, from now on, a line each; in all its groups unless one is named.
    Events {
        #[command(flatten)]
        of: Of,
        /// End after this many events.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Send to the group.
    Send {
        #[command(flatten)]
        of: Of,
        /// What to send; stdin if none is given.
        file: Option<PathBuf>,
        /// One message a line, without its line end (the default).
        #[arg(long)]
        line: bool,
        /// One message for every N bytes instead.
        #[arg(long, value_name = "N", conflicts_with = "line", value_parser = clap::value_parser!(u16).range(1..=data::MAX_PAYLOAD as i64))]
        chunk: Option<u16>,
    },
    /// Receive what others send, one message a line.
    Recv {
        #[command(flatten)]
        of: Of,
        /// End after this many messages.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// Payloads as they are, with no line ends between them.
        #[arg(long, conflicts_with = "json")]
        raw: bool,
    },
}

/// The group a command is about.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// The group; needed where the node has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
}

/// A setting of `conclave set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// How long joins and leaves are gathered.
    RekeyInterval(Duration),
}

/// Certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    /// Make an authority for one group: ca-cert.pem and ca-key.pem.
    Init {
        /// Where to put it.
        directory: PathBuf,
        /// What its certificates show as issuer.
        #[arg(long)]
        name: String,
        /// How long it is valid.
        #[arg(long, value_name = "DAYS", default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Issue a certificate with a new key: NAME-cert.pem, NAME-key.pem, and the authority's certificate beside them.
    Issue {
        /// The node's name: a DNS name, an e-mail address or a URI.
        identity: Identity,
        /// What the node may be; give it twice for both.
        #[arg(long, value_enum, required = true)]
        role: Vec<PkiRole>,
        /// Where the authority is.
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// Where to put certificate and key.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How long it is valid, at most as long as the authority.
        #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// What the certificates in a file say.
    Show {
        /// A file of certificates in PEM.
        file: PathBuf,
    },
}

/// What a certificate allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PkiRole {
    /// Joins, sends and receives.
    Member,
    /// Holds the keys of a subgroup.
    Manager,
}

fn parse_setting(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some(("rekey-interval", value)) => humantime::parse_duration(value)
            .map(Setting::RekeyInterval)
            .map_err(|error| format!("{value:?} is not a duration such as 500ms, 5s or 1h ({error})")),
        Some((name, _)) => Err(format!("there is no setting {name:?}; there is rekey-interval")),
        None => Err("write SETTING=VALUE, for instance rekey-interval=5s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_are_checked_before_the_daemon_is_asked() {
        let parsed = parse_setting("rekey-interval=500ms");
        assert_eq!(parsed, Ok(Setting::RekeyInterval(Duration::from_millis(500))));
        for wrong in ["rekey-interval=5", "rekey-interval", "colour=red", "rekey-interval=soon"] {
            assert!(parse_setting(wrong).is_err(), "{wrong}");
        }
    }
}
