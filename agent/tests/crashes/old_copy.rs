//! An old copy of a manager's state is put back: its operator reads so in the log, and who was evicted since stays out.

use tokio::process::Command;

use crate::Manager;
use crate::support::run;

async fn copy(from: &str, to: &str) {
    let _ = tokio::fs::remove_dir_all(to).await;
    let copied = run(Command::new("cp").args(["-a", from, to]), b"").await;
    assert_eq!(copied.code, 0, "{copied:?}");
}

#[tokio::test]
async fn an_old_copy_of_the_state_is_in_the_log_and_the_evicted_stay_out() {
    let mut manager = Manager::start().await;
    let registrar = manager.registrar.to_string();
    let mut alice = manager.site.member("alice", &registrar).await;
    let mut mallory = manager.site.member("mallory", &registrar).await;
    for member in [&mut alice, &mut mallory] {
        member.event("state.installed").await;
    }
    let (state, kept) = (manager.site.path("gsm/state"), manager.site.path("copy"));
    manager.daemon.terminate().await;
    copy(&state, &kept).await;

    manager.start_again();
    manager.serves().await;
    manager.daemon.ask(&["evict", "mallory.example"]).await.json();
    assert_eq!(mallory.event("membership.ended").await["how"], "put_out");
    mallory.terminate().await;
    manager.daemon.terminate().await;
    copy(&kept, &state).await;

    manager.start_again();
    let told = manager.daemon.event("group.rolled_back").await;
    assert_eq!((&told["level"], &told["revocations"]), (&"ERROR".into(), &"1".into()), "{told}");
    assert_eq!(manager.daemon.event("member.admitted").await["identity"], "alice.example");
    alice.event("join.admitted").await;
    alice.event("state.installed").await;
    let file = manager.site.path("mallory.toml");
    let mut mallory = manager.site.start("mallory", &file).await;
    assert_eq!(mallory.event("join.refused").await["reason"], "revoked");
    assert_eq!(manager.daemon.ask(&["members"]).await.json()["members"].as_array().unwrap().len(), 2);
}
