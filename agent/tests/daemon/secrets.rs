//! What must never be in a log.

use super::support::Site;

/// The longest identifier in a log is a certificate's or a group's: keys have 32 bytes, which would be 64 digits.
const LONGEST_IDENTIFIER: usize = 32;

#[tokio::test]
async fn the_log_of_a_whole_run_holds_no_key_and_no_payload() {
    let site = Site::new().await;
    let (mut manager, [mut alice, mut bob]) =
        site.group("rekey_interval = \"100ms\"", ["alice", "bob"]).await;
    let mut heard = bob.follow(&["recv"]);
    heard
        .provoked("payload", async || drop(alice.ask_with(&["send"], b"payload-not-to-be-logged").await))
        .await;
    manager.ask(&["rekey"]).await.json();
    manager.ask(&["evict", "bob.example"]).await.json();
    bob.event("membership.ended").await;
    manager.ask(&["status"]).await.json();
    for daemon in [&mut alice, &mut bob, &mut manager] {
        assert!(daemon.terminate().await.success());
        let log = daemon.log.join("\n");
        assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "the run was not logged in full");
        for word in ["payload-not-to-be-logged", "Secret", "PRIVATE KEY", "BEGIN CERTIFICATE"] {
            assert!(!log.contains(word), "{word}");
        }
        let longest = log.split(|letter: char| !letter.is_ascii_hexdigit()).map(str::len).max();
        assert!(longest <= Some(LONGEST_IDENTIFIER), "{longest:?} hexadecimal digits in a row");
        // A list of 32 bytes, as `{:?}` prints one.
        let bytes_in_a_row = log.split(['[', ']']).map(|list| list.split(", ").filter(is_byte).count()).max();
        assert!(bytes_in_a_row < Some(16), "{bytes_in_a_row:?} bytes in a row");
    }
}

fn is_byte(text: &&str) -> bool {
    text.parse::<u8>().is_ok()
}
