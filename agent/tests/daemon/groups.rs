//! One node in several groups.

use serde_json::Value;

use super::support::{Daemon, Site, conclave};

/// Settings of a manager, short enough not to wait for.
const MANAGED: &str = "role = \"manager\"\nrekey_interval = \"100ms\"";
/// The second group; it must be written as any other name in a request.
const SECOND: &str = "tele/metry & co";

/// A manager of both groups and alice in both, and bob in video only; all hold the keys.
async fn two_groups(site: &Site) -> (Daemon, Daemon, Daemon) {
    site.issue("gsm", "manager").await;
    let second = format!("[[group]]\nname = {SECOND:?}");
    let file = site.configure("gsm", &format!("{MANAGED}\n{second}\n{MANAGED}"));
    let manager = site.start("gsm", &file).await;
    let status = manager.ask(&["status", "--group", SECOND]).await.json();
    let registrar = status["manager"]["registrar"].as_str().unwrap().to_owned();
    let joins = format!("role = \"member\"\ngsm = [\"{registrar}\"]");
    site.issue("alice", "member").await;
    let file = site.configure("alice", &format!("{joins}\n{second}\n{joins}"));
    let mut alice = site.start("alice", &file).await;
    installed(&mut alice, "video").await;
    installed(&mut alice, SECOND).await;
    let mut bob = site.member("bob", &registrar).await;
    installed(&mut bob, "video").await;
    (manager, alice, bob)
}

/// Waits until the node holds a key of the group, whether or not the log was read up to there already.
async fn installed(daemon: &mut Daemon, group: &str) {
    let told = |line: &String| {
        let fields: Value = serde_json::from_str(line).unwrap();
        fields["message"] == "state.installed" && fields["group"] == group
    };
    if !daemon.log.iter().any(told) {
        while daemon.event("state.installed").await["group"] != group {}
    }
}

#[tokio::test]
async fn one_process_serves_every_group_apart_from_the_others() {
    let site = Site::new().await;
    let (manager, alice, bob) = two_groups(&site).await;
    let groups = manager.ask(&["groups"]).await.json()["groups"].clone();
    let seen: Vec<_> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (group["group"].as_str().unwrap(), group["manager"]["members"].as_u64().unwrap()))
        .collect();
    assert_eq!(seen, [("video", 3), (SECOND, 2)]);
    assert_eq!(groups[0]["manager"]["registrar"], groups[1]["manager"]["registrar"]);
    assert_ne!(groups[0]["group_id"], groups[1]["group_id"]);
    assert_ne!(groups[0]["control_address"], groups[1]["control_address"]);
    // What is sent in one group is heard in that group only.
    let mut video = alice.follow(&["recv", "--group", "video"]);
    let mut second = alice.follow(&["recv", "--group", SECOND]);
    video.provoked("probe", async || drop(bob.ask_with(&["send"], b"probe").await)).await;
    let to_second = ["send", "--group", SECOND];
    second.provoked("probe", async || drop(manager.ask_with(&to_second, b"probe").await)).await;
    bob.ask_with(&["send"], b"for video").await.json();
    manager.ask_with(&to_second, b"for the second").await.json();
    assert_eq!(second.line_with("for ").await, "for the second");
    assert_eq!(video.line_with("for ").await, "for video");
}

#[tokio::test]
async fn an_eviction_from_one_group_leaves_the_other_alone() {
    let site = Site::new().await;
    let (mut manager, mut alice, bob) = two_groups(&site).await;
    let mut told = manager.follow(&["--json", "events", "--group", SECOND]);
    let rekey = async || drop(manager.ask(&["rekey", "--group", SECOND]).await);
    told.provoked("group.rekeyed", rekey).await;
    manager.ask(&["evict", "alice.example", "--group", "video"]).await.json();
    assert_eq!(manager.event("member.evicted").await["group"], "video");
    assert_eq!(alice.event("membership.ended").await["group"], "video");
    let groups = alice.ask(&["groups"]).await;
    assert_eq!(groups.code, 4, "{groups:?}");
    let groups = groups.parsed()["groups"].clone();
    let standing = |at: usize| groups[at]["member"]["standing"].clone();
    assert_eq!((standing(0), standing(1)), ("out".into(), "joined".into()));
    assert_eq!(alice.ask(&["status", "--group", SECOND]).await.code, 0);
    assert_eq!(bob.ask(&["status"]).await.code, 0);
    // Only what happens in the group asked for is told.
    manager.ask(&["evict", "alice.example", "--group", SECOND]).await.json();
    let evicted: Value = serde_json::from_str(&told.line_with("member.evicted").await).unwrap();
    assert_eq!(evicted["group"], SECOND);
}

#[tokio::test]
async fn a_command_that_could_mean_several_groups_is_told_their_names() {
    let site = Site::new().await;
    let (manager, alice, bob) = two_groups(&site).await;
    for command in
        [&["status"][..], &["members"], &["rekey"], &["evict", "bob.example"], &["send"], &["recv"]]
    {
        // More than any buffer between the two holds: who is refused early must still hear why.
        let ended = manager.ask_with(command, &b"a line\n".repeat(200_000)).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        let names = format!("say which group you mean with --group: video, {SECOND}");
        assert!(ended.stderr.contains(&names), "{ended:?}");
    }
    for command in ["status", "events"] {
        let ended = bob.ask(&[command, "--group", SECOND]).await;
        assert!(ended.code == 2 && ended.stderr.contains("it is in: video"), "{ended:?}");
    }
    let shown = conclave(&["--socket", alice.socket.to_str().unwrap(), "groups"], b"").await;
    let lines: Vec<Vec<&str>> =
        shown.stdout.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let columns: Vec<&str> = lines[0].iter().copied().filter(|cell| !cell.is_empty()).collect();
    assert_eq!(columns, ["GROUP", "ROLE", "SUBGROUP", "STATE", "MEMBERS", "STORE"]);
    assert!(lines[1].starts_with(&["video"]) && lines[1].contains(&"joined"), "{shown:?}");
    assert_eq!(shown.code, 0);
}
