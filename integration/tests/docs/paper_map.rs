//! What `docs/paper-map.md` and the other pages point to is there.

use crate::markdown::{read, root, table};

const PAGES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/protocol.md",
    "docs/paper-map.md",
    "docs/attacks.md",
    "docs/promises.md",
];

#[test]
fn every_name_in_the_paper_map_is_in_its_file() {
    let page = read("docs/paper-map.md");
    for name in ["KG", "VK", "GSM", "OGR", "KS"] {
        let rows = table(&page, name);
        assert!(!rows.is_empty(), "{name} has rows");
        for row in rows.iter().filter(|row| row[2] != "later" && row[2] != "not taken") {
            let source = read(row[2].trim_matches('`'));
            for identifier in row[3].split(", ").map(|identifier| identifier.trim_matches('`')) {
                assert!(source.contains(identifier), "{name} {}: {} has no {identifier}", row[0], row[2]);
            }
        }
    }
}

/// The targets of relative links in a page, without their anchors.
fn links(page: &str) -> Vec<String> {
    let opened = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let relative = opened.filter(|target| !target.contains("://") && !target.starts_with('#'));
    relative.map(|target| target.split('#').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_link_leads_to_a_file() {
    for page in PAGES {
        let directory = root().join(page);
        let directory = directory.parent().expect("a page is in a directory");
        for target in links(&read(page)) {
            assert!(directory.join(&target).exists(), "{page} links to {target}, which is not there");
        }
    }
}

/// Paths of source files, in backticks, as the prose of a page names them.
fn files(page: &str) -> Vec<String> {
    let quoted = page.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|text| text.contains('/') && text.ends_with(".rs") && !text.contains(' '));
    paths.map(str::to_owned).collect()
}

#[test]
fn every_source_file_that_a_page_names_is_there() {
    for page in PAGES {
        let text = read(page);
        // Code blocks have three backticks, which would shift the pairs.
        let prose: String = text.split("```").step_by(2).collect();
        for file in files(&prose) {
            assert!(root().join(&file).exists(), "{page} names {file}, which is not there");
        }
    }
}
