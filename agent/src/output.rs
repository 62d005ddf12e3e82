//! What goes to stdout: text, tables, JSON.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// How the operator wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// Tables with a line of column names.
    pub(crate) headers: bool,
}

impl Output {
    /// A value as one line of JSON.
    pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(Failure::because)?;
        line(&text)
    }

    /// A table: columns as wide as their widest cell, two spaces apart.
    pub(crate) fn table<const N: usize>(
        self,
        columns: [&str; N],
        rows: &[[String; N]],
    ) -> Result<(), Failure> {
        let headers = self.headers.then(|| columns.map(str::to_owned));
        let lines: Vec<&[String; N]> = headers.iter().chain(rows).collect();
        let mut widths = [0; N];
        for cells in &lines {
            for (width, cell) in widths.iter_mut().zip(*cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        for cells in lines {
            let padded: Vec<String> =
                cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            line(padded.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// One line of text.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(&[text.as_bytes(), b"\n"].concat())
}

/// Bytes as they are, at once: whoever reads a pipe is not kept waiting.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| Failure::writing(&error))
}
