//! pki.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::support::{Site, conclave};

#[tokio::test]
async fn one_directory_holds_all_a_node_needs_and_show_says_what_it_is() {
    let site = Site::new().await;
    site.issue("host7", "member").await;
    let shown =
        conclave(&["--json", "pki", "show", &site.path("pki/host7.example-cert.pem")], b"").await.json();
    assert_eq!((&shown["identities"][0], &shown["roles"][0]), (&"host7.example".into(), &"member".into()));
    let days = (shown["not_after"].as_i64().unwrap() - shown["not_before"].as_i64().unwrap()) / 86_400;
    assert_eq!(days, 365);
    let mode = fs::metadata(site.path("pki/host7.example-key.pem")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let authority = conclave(&["pki", "show", &site.path("pki/ca-cert.pem")], b"").await;
    assert!(authority.stdout.starts_with("authority    test\nvalid        20"), "{authority:?}");
}

#[tokio::test]
async fn nothing_that_exists_is_overwritten() {
    let site = Site::new().await;
    let again = conclave(&["pki", "init", &site.path("ca"), "--name", "test"], b"").await;
    assert!(again.code == 1 && again.stderr.contains("exists and is not overwritten"), "{again:?}");
    site.issue("host7", "member").await;
    let (other, out) = (site.path("other"), site.path("pki"));
    assert_eq!(conclave(&["pki", "init", &other, "--name", "other"], b"").await.code, 0);
    let issue = ["pki", "issue", "host8.example", "--role", "member", "--ca", &other, "--out", &out];
    let mixed = conclave(&issue, b"").await;
    assert!(mixed.code == 1 && mixed.stderr.contains("is another authority's"), "{mixed:?}");
}
