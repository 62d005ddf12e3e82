//! How a command ends when it does not end well, and the exit code that says so.

use std::io;

use crate::config::ConfigError;

/// Why the program ends with another exit code than 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for was not done.
    #[error("{0}")]
    Failed(String),
    /// The command line makes no sense together with what it names.
    #[error("{0}")]
    Usage(String),
    /// No daemon answers.
    #[error("{0}")]
    Unreachable(String),
    /// The daemon answers, and does not do all it should. What is wrong was printed with the status.
    #[error("degraded")]
    Degraded,
    /// Whoever read our output has gone: the end that `head` makes of things, not worth a word.
    #[error("nobody reads")]
    NobodyReads,
}

impl Failure {
    /// What the operator is told on stderr, if anything.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Degraded | Self::NobodyReads => None,
            said => Some(said.to_string()),
        }
    }

    /// 1 failed, 2 usage, 3 daemon unreachable, 4 degraded.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::NobodyReads => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Degraded => 4,
        }
    }

    /// From anything that has a text.
    pub(crate) fn because(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }

    /// From a write to stdout.
    pub(crate) fn writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Failed(format!("cannot write: {error}")),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::because(error)
    }
}
