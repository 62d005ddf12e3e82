//! The table of labels holds every label of the code once, and each of them is used.

use crypto::Label;

use crate::markdown::{files_below, protocol_table};

#[test]
fn every_label_is_on_the_page_in_the_order_of_the_code() {
    let page: Vec<_> = protocol_table("labels").into_iter().map(|row| row[0].clone()).collect();
    let code: Vec<_> = Label::ALL.iter().map(|label| label.as_str()).collect();
    assert_eq!(page, code);
}

#[test]
fn every_label_is_used() {
    let sources = files_below("src");
    for label in Label::ALL {
        let name = format!("Label::{label:?}");
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric());
        let used = sources
            .iter()
            .filter(|(path, _)| path != "crypto/src/label.rs")
            .any(|(_, text)| text.match_indices(&name).any(|(at, found)| ends(&text[at + found.len()..])));
        assert!(used, "nothing uses {name}");
    }
}
