//! What `docs/failures.md` says an operator sees is what the program prints.

use std::collections::BTreeSet;

use crate::markdown::{files_below, read};

/// All of the program's source, with strings that go over several lines put together.
fn source() -> String {
    let mut all = String::new();
    for (_, text) in files_below("src") {
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("\\\n") {
            all.push_str(before);
            rest = after.trim_start();
        }
        all.push_str(rest);
    }
    all
}

/// What stands between backticks under *You see*.
fn seen() -> Vec<String> {
    let page = read("docs/failures.md");
    let paragraphs = page.split("\n\n").filter(|paragraph| paragraph.starts_with("**You see:**"));
    let quoted = paragraphs.flat_map(|paragraph| {
        let parts = paragraph.split('`').skip(1).step_by(2);
        parts.map(|quoted| quoted.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    quoted.filter(|quoted| !quoted.starts_with("conclave ")).collect()
}

fn is_event(quoted: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    quoted.split_once('.').is_some_and(|(of, what)| part(of) && part(what))
}

#[test]
fn what_an_operator_sees_is_what_the_program_prints() {
    let (source, seen) = (source(), seen());
    assert!(seen.len() > 60, "{}", seen.len());
    let unknown: Vec<_> = seen
        .iter()
        .filter(|quoted| {
            let text = quoted.trim_start_matches("! ");
            let text = if is_event(text) { format!("\"{text}\"") } else { text.to_owned() };
            !source.contains(&text)
        })
        .collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

/// Every event of the daemon that is a warning or an error.
fn warnings() -> BTreeSet<String> {
    let observers = files_below("src").into_iter().filter(|(path, _)| path.starts_with("agent/src/daemon/"));
    let mut found = BTreeSet::new();
    for (_, text) in observers {
        for call in text.split("happened!(").skip(1) {
            let mut arguments = call.split(',').map(str::trim);
            let warns = matches!(arguments.next(), Some("warn" | "error"));
            let name = arguments.nth(1).and_then(|name| name.split('"').nth(1)).unwrap_or_default();
            if warns && is_event(name) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn no_warning_is_left_out() {
    let (page, warnings) = (read("docs/failures.md"), warnings());
    assert!(warnings.len() > 10, "{warnings:?}");
    let missing: Vec<_> = warnings.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, Vec::<&String>::new());
}
