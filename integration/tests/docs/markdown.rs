//! Finds tables in the project's Markdown.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

/// The rows of the table in `docs/protocol.md` behind the comment `<!-- table: NAME -->`, without its two head lines.
pub(crate) fn protocol_table(name: &str) -> Vec<Vec<String>> {
    table(&read("docs/protocol.md"), name)
}

/// The rows of the table `name` of a page.
pub(crate) fn table(page: &str, name: &str) -> Vec<Vec<String>> {
    let comment = format!("<!-- table: {name} -->\n");
    let (_, after) = page.split_once(&comment).unwrap_or_else(|| panic!("there is no table {name:?}"));
    assert!(!after.contains(&comment), "there are two tables {name:?}");
    after.lines().take_while(|line| line.starts_with('|')).skip(2).map(cells).collect()
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
}

/// A number as a table or the source writes it: decimal, or hexadecimal after `0x`.
pub(crate) fn number(text: &str) -> u64 {
    let digits = text.replace('_', "");
    let parsed = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    parsed.unwrap_or_else(|error| panic!("{text:?} is no number: {error}"))
}

/// Every `.rs` file below one directory (`src` or `tests`) of every crate, with its path from the root.
pub(crate) fn files_below(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).expect("the root can be read").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        walk(&entry.path().join(directory), &format!("{name}/{directory}"), &mut found);
    }
    found
}

fn walk(directory: &Path, name: &str, found: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &path, found);
        } else if path.ends_with(".rs") {
            found.push((path.clone(), read(&path)));
        }
    }
}
