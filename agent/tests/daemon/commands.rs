//! status, members, rekey, set, evict, events; stopping.

use serde_json::Value;

use super::support::{Site, conclave};

/// A rekey interval short enough not to wait for, long enough that joins and not the interval cause key updates.
const QUICK: &str = "rekey_interval = \"100ms\"";

fn names(members: &Value) -> Vec<&str> {
    let list = members["members"].as_array().unwrap();
    list.iter().map(|member| member["identity"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_operator_sees_who_is_in_and_how_the_node_is() {
    let site = Site::new().await;
    let (manager, [alice, _bob]) = site.group(QUICK, ["alice", "bob"]).await;
    let status = manager.ask(&["status"]).await.json();
    for (name, value) in [
        ("role", "manager"),
        ("configured_role", "manager"),
        ("identity", "gsm.example"),
        ("group", "video"),
        ("interface", "lo (127.0.0.1)"),
    ] {
        assert_eq!(status[name], value, "{status}");
    }
    assert_eq!((&status["version"], &status["state"]["epoch"]), (&1.into(), &3.into()));
    let part = &status["manager"];
    assert_eq!((&part["members"], &part["admitted"], &part["pending"]), (&3.into(), &2.into(), &0.into()));
    assert_eq!(
        (&part["rekey_interval_seconds"], &part["store_survives_restart"]),
        (&0.1.into(), &true.into())
    );
    let members = manager.ask(&["members"]).await.json();
    assert_eq!(names(&members), ["gsm.example", "alice.example", "bob.example"]);
    assert!(members["members"].as_array().unwrap().iter().all(|member| member["standing"] == "in"));
    let status = alice.ask(&["status"]).await.json();
    assert_eq!((&status["role"], &status["member"]["standing"]), (&"member".into(), &"joined".into()));
    assert_eq!((&status["member"]["manager"], &status["member"]["leaf"]), (&"gsm.example".into(), &1.into()));
    assert_eq!(status["group_id"], manager.status().await["group_id"]);
}

#[tokio::test]
async fn the_tables_name_their_columns_unless_told_not_to() {
    let site = Site::new().await;
    let (manager, [alice]) = site.group(QUICK, ["alice"]).await;
    let socket = manager.socket.to_str().unwrap();
    let status = conclave(&["--socket", socket, "status"], b"").await;
    assert!(status.stdout.starts_with("manager gsm.example   healthy   up "), "{}", status.stdout);
    assert!(status.stdout.contains("store sled "), "{}", status.stdout);
    assert!(status.stdout.contains("\nGROUP  SUBGROUP "), "{}", status.stdout);
    let members = conclave(&["--socket", socket, "members"], b"").await;
    assert!(members.stdout.starts_with("IDENTITY       LEAF  SENDER"), "{}", members.stdout);
    assert!(members.stdout.contains("\ngsm.example    0     "), "{}", members.stdout);
    let bare = conclave(&["--socket", socket, "members", "--no-headers"], b"").await;
    assert!(bare.stdout.starts_with("gsm.example    0  "), "{}", bare.stdout);
    let status = conclave(&["--socket", alice.socket.to_str().unwrap(), "status"], b"").await;
    assert!(status.stdout.starts_with("member alice.example   healthy   up "), "{}", status.stdout);
}

#[tokio::test]
async fn an_evicted_member_is_out_at_once_and_learns_it() {
    let site = Site::new().await;
    let (mut manager, [mut alice, mut bob]) = site.group(QUICK, ["alice", "bob"]).await;
    let evicted = manager.ask(&["evict", "bob.example"]).await.json();
    assert_eq!(evicted["identity"], "bob.example");
    manager.event("member.evicted").await;
    let rekeyed = manager.event("group.rekeyed").await;
    assert_eq!((&rekeyed["hard"], &rekeyed["epoch"].as_str()), (&"true".into(), &Some("4")));
    assert_eq!(evicted["state"]["epoch"], 4);
    while alice.event("state.installed").await["epoch"] != "4" {}
    assert_eq!(names(&manager.ask(&["members"]).await.json()), ["gsm.example", "alice.example"]);
    assert_eq!(bob.event("join.refused").await["reason"], "revoked");
    assert_eq!(bob.event("membership.ended").await["how"], "put_out");
    let status = bob.ask(&["status"]).await;
    assert_eq!(status.code, 4);
    assert_eq!(
        (&status.parsed()["state"], &status.parsed()["member"]["standing"]),
        (&Value::Null, &"out".into())
    );
    assert!(status.parsed()["problems"][0].as_str().unwrap().contains("was evicted"), "{status:?}");
    assert_eq!(manager.status().await["manager"]["refused"]["revoked"], 1);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_changes_nothing() {
    let site = Site::new().await;
    let (manager, [alice]) = site.group(QUICK, ["alice"]).await;
    for (command, text) in [
        (&["evict", "nobody.example"][..], "no member has the identity \"nobody.example\""),
        (&["evict", "gsm.example"], "own node"),
        (&["set", "rekey-interval=50ms"], "is not between 100ms and"),
    ] {
        let ended = manager.ask(command).await;
        assert!(ended.code == 1 && ended.stderr.contains(text), "{ended:?}");
    }
    for command in [&["members"][..], &["rekey"], &["evict", "alice.example"], &["set", "rekey-interval=1s"]]
    {
        let ended = alice.ask(command).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains("this node is a member: ask its manager, gsm.example"), "{ended:?}");
    }
    assert_eq!(manager.status().await["state"]["epoch"], 2);
}

#[tokio::test]
async fn rekey_and_set_take_effect_at_once() {
    let site = Site::new().await;
    let (manager, [mut alice]) = site.group(QUICK, ["alice"]).await;
    let rekeyed = manager.ask(&["rekey"]).await.json();
    assert_eq!((&rekeyed["state"]["epoch"], &rekeyed["hard"]), (&3.into(), &false.into()));
    while alice.event("state.installed").await["epoch"] != "3" {}
    let set = manager.ask(&["set", "rekey-interval=1h"]).await.json();
    assert_eq!(set["rekey_interval_seconds"], 3_600.0);
    assert_eq!(manager.status().await["manager"]["rekey_interval_seconds"], 3_600.0);
    // With the long interval a joiner waits, until the operator cuts.
    let mut bob = site.member("bob", &manager.registrar().await).await;
    bob.event("join.admitted").await;
    let waiting = bob.ask(&["status"]).await;
    assert_eq!((waiting.code, &waiting.parsed()["member"]["standing"]), (4, &"admitted".into()));
    assert_eq!(manager.status().await["manager"]["pending"], 1);
    assert_eq!(manager.ask(&["rekey"]).await.json()["joins"], 1);
    bob.event("state.installed").await;
}

#[tokio::test]
async fn events_are_told_as_they_happen() {
    let site = Site::new().await;
    let (manager, [_alice]) = site.group(QUICK, ["alice"]).await;
    let mut json = manager.follow(&["--json", "events"]);
    let first = json.provoked("\"joins\":0", async || drop(manager.ask(&["rekey"]).await)).await;
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&first["event"], &first["joins"]), (&"group.rekeyed".into(), &0.into()));
    assert!(first["time"].as_f64().unwrap() > 1.7e9 && first["epoch"].as_u64().unwrap() >= 3);
    let mut text = manager.follow(&["events", "--count", "1"]);
    let line = text.provoked("group.rekeyed", async || drop(manager.ask(&["rekey"]).await)).await;
    assert!(line.contains("Z group.rekeyed ") && line.contains(" hard=false "), "{line}");
    assert_eq!(text.code().await, 0);
    manager.ask(&["evict", "alice.example"]).await.json();
    let evicted: Value = serde_json::from_str(&json.line_with("member.evicted").await).unwrap();
    assert_eq!(evicted["identity"], "alice.example");
}

#[tokio::test]
async fn a_member_that_is_stopped_leaves_and_a_manager_that_is_stopped_ends_in_order() {
    let site = Site::new().await;
    let (mut manager, [mut alice, mut bob]) = site.group(QUICK, ["alice", "bob"]).await;
    assert!(alice.terminate().await.success());
    assert_eq!(manager.event("member.left").await["identity"], "alice.example");
    assert!(!alice.socket.exists());
    let mut events = manager.follow(&["events"]);
    events.provoked("group.rekeyed", async || drop(manager.ask(&["rekey"]).await)).await;
    assert!(manager.terminate().await.success());
    assert_eq!(events.code().await, 0);
    // Its members keep their keys, and say that they miss it.
    bob.event("manager.silent").await;
    let status = bob.ask(&["status"]).await;
    assert_eq!((status.code, &status.parsed()["member"]["manager_silent"]), (4, &true.into()));
    assert!(status.parsed()["state"]["epoch"].as_u64().is_some(), "{status:?}");
    assert!(status.parsed()["member"]["manager_silent_seconds"].as_f64().is_some(), "{status:?}");
    assert!(status.parsed()["problems"][0].as_str().unwrap().contains("from the manager for "), "{status:?}");
}
