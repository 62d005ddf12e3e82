//! send and recv.

use serde_json::Value;

use super::support::Site;

#[tokio::test]
async fn lines_sent_by_one_member_are_received_by_the_others() {
    let site = Site::new().await;
    let (manager, [alice, bob]) = site.group("rekey_interval = \"100ms\"", ["alice", "bob"]).await;
    let mut json = bob.follow(&["--json", "recv"]);
    let mut text = manager.follow(&["recv"]);
    let probe = async || drop(alice.ask_with(&["send"], b"probe").await);
    json.provoked("probe", probe).await;
    text.provoked("probe", probe).await;
    let sent = alice.ask_with(&["send"], b"one\r\n\nsay \xff\nlast one").await.json();
    assert_eq!((&sent["packets"], &sent["bytes"]), (&4.into(), &16.into()));
    let mut line = json.line_with("\"one\"").await;
    let mut received: Vec<Value> = vec![serde_json::from_str(&line).unwrap()];
    for _ in 0..3 {
        line = json.line().await;
        received.push(serde_json::from_str(&line).unwrap());
    }
    let sizes: Vec<_> = received.iter().map(|message| message["bytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [3, 0, 5, 8]);
    assert_eq!((&received[1]["text"], &received[2]["hex"]), (&"".into(), &"73617920ff".into()));
    assert_eq!((&received[2]["text"], &received[3]["text"]), (&Value::Null, &"last one".into()));
    let first = received[0]["sequence"].as_u64().unwrap();
    let sequences: Vec<_> =
        received.iter().map(|message| message["sequence"].as_u64().unwrap() - first).collect();
    assert_eq!(sequences, [0, 1, 2, 3]);
    assert_eq!(received[0]["sender"], alice.status().await["member"]["sender"]);
    text.line_with("last one").await;
    assert!(bob.status().await["data"]["delivered"].is_u64());
}

#[tokio::test]
async fn a_file_is_sent_in_pieces_and_put_together_again() {
    let site = Site::new().await;
    let (manager, [alice]) = site.group("rekey_interval = \"100ms\"", ["alice"]).await;
    let content: String = (0..40_000_u32).map(|at| char::from(b'a' + (at % 25) as u8)).collect();
    std::fs::write(site.path("file"), format!("{content}\n")).unwrap();
    // Raw output has no line ends of its own, so the file's only one ends the whole.
    let mut raw = alice.follow(&["recv", "--raw"]);
    raw.provoked("probe", async || drop(manager.ask_with(&["send", "--chunk", "6"], b"probe\n").await)).await;
    let sent = manager.ask(&["send", "--chunk", "1000", &site.path("file")]).await.json();
    assert_eq!((&sent["packets"], &sent["bytes"]), (&41.into(), &40_001.into()));
    assert_eq!(raw.line_with("abc").await, content);
}

#[tokio::test]
async fn what_fits_no_message_is_refused_with_its_number() {
    let site = Site::new().await;
    let (manager, [_alice]) = site.group("rekey_interval = \"100ms\"", ["alice"]).await;
    let long = [b"short\n".to_vec(), vec![b'x'; data::MAX_PAYLOAD + 1]].concat();
    let refused = manager.ask_with(&["send"], &long).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("line 2 has "), "{refused:?}");
    assert_eq!(manager.ask_with(&["send"], &long[..6 + data::MAX_PAYLOAD]).await.json()["packets"], 2);
    assert_eq!(manager.ask_with(&["send"], b"").await.json()["packets"], 0);
    assert_eq!(manager.ask(&["send", "/nowhere"]).await.code, 1);
}
