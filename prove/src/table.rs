//! The table of lines, figures and limits.

use std::fmt;

/// One line of an issue with what was measured for it.
struct Row {
    line: String,
    figure: String,
    limit: String,
    holds: bool,
}

/// All lines of an issue, in its order.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a line, and says it at once, for the whole takes minutes.
    pub(crate) fn add(&mut self, line: &str, figure: impl fmt::Display, limit: &str, holds: bool) {
        let row = Row { line: line.to_owned(), figure: figure.to_string(), limit: limit.to_owned(), holds };
        eprintln!("{row}");
        self.rows.push(row);
    }

    /// Adds a line whose figure is a number, or is missing, which never holds.
    pub(crate) fn number(
        &mut self,
        line: &str,
        figure: Option<f64>,
        limit: &str,
        holds: impl FnOnce(f64) -> bool,
    ) {
        match figure {
            Some(figure) => self.add(line, figure, limit, holds(figure)),
            None => self.add(line, "not measured", limit, false),
        }
    }

    /// Whether every line holds. A table without lines holds nothing.
    pub(crate) fn all_hold(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.holds)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ok = if self.holds { "ok" } else { "NOT OK" };
        write!(f, "{} | {} | {} | {ok}", self.line, self.figure, self.limit)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line | figure | limit | ok")?;
        writeln!(f, "--- | --- | --- | ---")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
