//! Every promise of `docs/promises.md` has a test, and it is there.

use std::collections::BTreeSet;

use crate::markdown::{read, table};

const SECTIONS: [&str; 5] = ["confidentiality", "integrity", "order", "durability", "availability"];

#[test]
fn every_promise_names_a_test_that_exists() {
    let page = read("docs/promises.md");
    let mut said = BTreeSet::new();
    for section in SECTIONS {
        let rows = table(&page, &format!("promises {section}"));
        assert!(rows.len() >= 3, "{section} has {} promises", rows.len());
        for row in rows {
            let [promise, file, test] = &row[..] else { panic!("{section}: {row:?} has not three cells") };
            assert!(promise.ends_with('.'), "{promise:?} is no sentence");
            assert!(said.insert(promise.clone()), "{promise:?} is there twice");
            let source = read(file);
            let at = source.find(&format!("fn {test}(")).unwrap_or_else(|| panic!("{file} has no {test}"));
            let above = source[..at].trim_end_matches("async ").trim_end().rsplit("\n\n").next();
            let marked =
                above.is_some_and(|above| above.contains("#[test]") || above.contains("#[tokio::test"));
            assert!(marked, "{test} in {file} is no test");
        }
    }
}

/// A table that no section of the test reads would be a promise that nobody checks.
#[test]
fn no_table_of_the_page_is_left_out() {
    let tables = read("docs/promises.md").matches("<!-- table: promises ").count();
    assert_eq!(tables, SECTIONS.len());
}
