//! What is wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error(transparent)]
    Located(Box<Located>),
}

/// Something wrong at some bytes of the text.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    span: Range<usize>,
}

/// A fault with everything an operator needs to mend it: file, line and column, the line itself, and a mark under what
/// is meant.
#[derive(Debug)]
pub(crate) struct Located {
    file: PathBuf,
    line: usize,
    column: usize,
    what: String,
    text: String,
    width: usize,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, what: impl Into<String>) -> Self {
        Self { what: what.into(), span }
    }

    /// Finds line and column.
    pub(super) fn at(self, file: &Path, text: &str) -> ConfigError {
        let start = text.floor_char_boundary(self.span.start.min(text.len()));
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_text = text[line_start..].lines().next().unwrap_or("");
        let column = before[line_start..].chars().count() + 1;
        let end = text.floor_char_boundary(self.span.end.clamp(start, text.len()));
        let marked = text[start..end].lines().next().unwrap_or("").chars().count();
        ConfigError::Located(Box::new(Located {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            what: self.what,
            text: line_text.to_owned(),
            width: marked.max(1),
        }))
    }
}

impl From<toml::de::Error> for Fault {
    fn from(error: toml::de::Error) -> Self {
        Self::new(error.span().unwrap_or(0..0), error.message().trim().replace('\n', ", "))
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, column) = (self.file.display(), self.line, self.column);
        writeln!(f, "{file}:{line}:{column}: {}", self.what)?;
        let margin = " ".repeat(line.to_string().len());
        writeln!(f, " {margin} |")?;
        writeln!(f, " {line} | {}", self.text)?;
        write!(f, " {margin} | {}{}", " ".repeat(column - 1), "^".repeat(self.width))
    }
}

impl std::error::Error for Located {}
