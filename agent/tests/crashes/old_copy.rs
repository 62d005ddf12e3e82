//! An old copy of a manager's state is put back: its operator reads so in the log, and who was evicted since stays out.

use tokio::process::Command;

use crate::Manager;
use crate::support::run;

async fn copy(from: &str, to: &str) {
    let _ = tokio::fs::remove_dir_all(to).await;
    let copied = run(Command::new("cp").args(["-a", from, to]), b"").await;
    assert_eq!(copied.code, 0, "{copied:?}");
}

/// Copies the manager's directories of these names, lets it evict somebody, and puts the copies back. Returns how many
/// evictions its members had to show it, by its log.
async fn put_back(directories: &[&str]) -> String {
    let mut manager = Manager::start().await;
    let registrar = manager.registrar.to_string();
    let mut alice = manager.site.member("alice", &registrar).await;
    let mut mallory = manager.site.member("mallory", &registrar).await;
    for member in [&mut alice, &mut mallory] {
        member.event("state.installed").await;
    }
    let place =
        |name: &&str| (manager.site.path(&format!("gsm/{name}")), manager.site.path(&format!("{name}-copy")));
    let places: Vec<_> = directories.iter().map(place).collect();
    manager.daemon.terminate().await;
    for (place, kept) in &places {
        copy(place, kept).await;
    }

    manager.start_again();
    manager.serves().await;
    manager.daemon.ask(&["evict", "mallory.example"]).await.json();
    assert_eq!(mallory.event("membership.ended").await["how"], "put_out");
    mallory.terminate().await;
    // Something that is in the journal alone.
    manager.daemon.ask(&["rekey"]).await.json();
    manager.daemon.terminate().await;
    for (place, kept) in &places {
        copy(kept, place).await;
    }

    manager.start_again();
    let told = manager.daemon.event("group.rolled_back").await;
    assert_eq!(told["level"], "ERROR");
    assert_eq!(manager.daemon.event("member.admitted").await["identity"], "alice.example");
    alice.event("join.admitted").await;
    alice.event("state.installed").await;
    let file = manager.site.path("mallory.toml");
    let mut mallory = manager.site.start("mallory", &file).await;
    assert_eq!(mallory.event("join.refused").await["reason"], "revoked");
    assert_eq!(manager.daemon.ask(&["members"]).await.json()["members"].as_array().unwrap().len(), 2);
    told["revocations"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_old_copy_of_the_state_is_in_the_log_and_the_evicted_stay_out() {
    let shown = put_back(&["state"]).await;
    assert_eq!(shown, "0", "beside the keys it still knows whom it evicted");
}

#[tokio::test]
async fn an_old_copy_of_the_state_and_the_keys_is_in_the_log_and_the_evicted_stay_out() {
    assert_eq!(put_back(&["state", "keys"]).await, "1");
}
