//! Every attack that the code names by a number has a row, and each row leads to where the number is.

use std::collections::BTreeSet;

use crate::markdown::{files_below, read, table};

/// The numbers behind the words "attack" and "attacks", as in "attack A5" and "Attacks A42 and A43".
fn numbers(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let mut found = BTreeSet::new();
    for (at, word) in lower.match_indices("attack") {
        let after = lower[at + word.len()..].trim_start_matches('s');
        let mut words = after.split_whitespace().take_while(|word| *word == "and" || is_number(word));
        found.extend(words.by_ref().filter(|word| is_number(word)).map(trimmed));
    }
    found
}

fn trimmed(word: &str) -> String {
    word.trim_matches(|sign: char| !sign.is_ascii_alphanumeric()).to_uppercase()
}

fn is_number(word: &str) -> bool {
    let word = trimmed(word);
    word.strip_prefix('A')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn every_attack_named_in_the_code_has_a_row_that_leads_there() {
    let rows = table(&read("docs/attacks.md"), "attacks");
    // This file's own examples are not meant.
    let code = files_below("src").into_iter().chain(files_below("tests"));
    let code: Vec<_> = code.filter(|(path, _)| !path.starts_with("integration/tests/docs/")).collect();
    for (path, text) in &code {
        for number in numbers(text) {
            let row = rows.iter().find(|row| row[0] == number);
            let row = row.unwrap_or_else(|| panic!("{path} names {number}, which has no row"));
            assert!(row[3].contains(path.as_str()), "the row of {number} does not name {path}");
        }
    }
    for row in &rows {
        for path in row[3].split(", ").map(|path| path.trim_matches('`')) {
            let named = code.iter().any(|(file, text)| file == path && numbers(text).contains(&row[0]));
            assert!(named, "{path} does not name {}", row[0]);
        }
    }
}
