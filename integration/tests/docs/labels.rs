//! The table of labels holds every label of the code once, and says truly which of them nothing uses yet.

use crypto::Label;

use crate::markdown::{protocol_table, sources};

#[test]
fn every_label_is_on_the_page_in_the_order_of_the_code() {
    let page: Vec<_> = protocol_table("labels").into_iter().map(|row| row[0].clone()).collect();
    let code: Vec<_> = Label::ALL.iter().map(|label| label.as_str()).collect();
    assert_eq!(page, code);
}

#[test]
fn exactly_the_labels_that_nothing_uses_are_called_reserved() {
    let sources = sources();
    let used = |label: &Label| {
        let name = format!("Label::{label:?}");
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric());
        sources
            .iter()
            .filter(|(path, _)| path != "crypto/src/label.rs")
            .any(|(_, text)| text.match_indices(&name).any(|(at, found)| ends(&text[at + found.len()..])))
    };
    for (row, label) in protocol_table("labels").iter().zip(Label::ALL) {
        assert_eq!(row[4] == "reserved", !used(label), "{}", label.as_str());
    }
}
