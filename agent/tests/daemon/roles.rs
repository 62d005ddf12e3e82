//! Who manages the group when nobody is told: election, restart, and commands at a node that is a member now.

use nix::sys::signal::Signal;

use super::support::{Daemon, Site, conclave, run};

/// Short enough not to wait for.
const QUICK: &str = "rekey_interval = \"100ms\"";

/// Three nodes that were told nothing but the group's name: ada, who is elected, ben and cleo.
async fn three(site: &Site) -> (Daemon, [Daemon; 2]) {
    let mut ada = site.eligible("ada", QUICK).await;
    ada.event("manager.elected").await;
    let mut others = [site.eligible("ben", QUICK).await, site.eligible("cleo", QUICK).await];
    for node in &mut others {
        node.event("state.installed").await;
    }
    (ada, others)
}

#[tokio::test]
async fn three_nodes_that_know_only_the_groups_name_have_one_manager() {
    let site = Site::new().await;
    let (manager, [ben, cleo]) = three(&site).await;
    let status = manager.ask(&["status"]).await.json();
    assert_eq!((&status["role"], &status["configured_role"]), (&"manager".into(), &"auto".into()));
    assert_eq!(status["manager"]["members"], 3);
    let part = &status["manager"];
    assert_eq!((&part["store"], &part["store_survives_restart"]), (&"sled".into(), &true.into()));
    assert!(part["store_path"].as_str().unwrap().contains("/ada/state/"), "{status}");
    for member in [&ben, &cleo] {
        let status = member.ask(&["status"]).await.json();
        assert_eq!((&status["role"], &status["configured_role"]), (&"member".into(), &"auto".into()));
        assert_eq!(status["member"]["manager"], "ada.example");
        for command in
            [&["members"][..], &["rekey"], &["evict", "cleo.example"], &["set", "rekey-interval=1s"]]
        {
            let ended = member.ask(command).await;
            assert!(ended.code == 1 && ended.stderr.contains("ask its manager, ada.example"), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn a_manager_that_is_killed_comes_back_with_everyone_still_in() {
    let site = Site::new().await;
    let (mut manager, [mut ben, mut cleo]) = three(&site).await;
    site.issue("mallory", "member").await;
    let file = site.configure("mallory", "role = \"member\"");
    let mut mallory = site.start("mallory", &file).await;
    mallory.event("state.installed").await;
    manager.ask(&["evict", "mallory.example"]).await.json();
    mallory.end_by(Signal::SIGKILL).await;
    manager.end_by(Signal::SIGKILL).await;
    let mut manager = site.start("ada", &site.path("ada.toml")).await;
    let resumed = manager.event("manager.resumed").await;
    assert_eq!((&resumed["members"], &resumed["term"]), (&"2".into(), &"2".into()));
    for member in [&mut ben, &mut cleo] {
        assert_eq!(member.event("manager.restarted").await["term"], "2");
        while member.event("state.installed").await["term"] != "2" {}
        let granted = |line: &&String| line.contains("\"join.granted\"");
        assert_eq!(member.log.iter().filter(granted).count(), 1, "nobody registers again");
        assert_eq!(member.ask(&["status"]).await.code, 0);
    }
    let status = manager.ask(&["status"]).await.json();
    let part = &status["manager"];
    assert_eq!((&part["members_kept"], &part["revocations"]), (&2.into(), &1.into()));
    assert_eq!(part["store_health"], "whole");
    let mut mallory = site.start("mallory", &file).await;
    assert_eq!(mallory.event("join.refused").await["reason"], "revoked");
}

#[tokio::test]
async fn a_manager_whose_name_does_not_resolve_keeps_no_node_from_starting() {
    let site = Site::new().await;
    let mut ada = site.eligible("ada", QUICK).await;
    ada.event("manager.elected").await;
    site.issue("bob", "member").await;
    let file = site.configure("bob", "role = \"member\"\ngsm = [\"no-such-host.invalid:7400\"]");
    let mut bob = site.start("bob", &file).await;
    bob.event("state.installed").await;
    assert!(bob.log.iter().any(|line| line.contains("registrar.unresolved")), "{:#?}", bob.log);
    assert_eq!(bob.ask(&["status"]).await.code, 0, "it found the manager by multicast");
}

#[tokio::test]
async fn a_certificate_that_allows_only_half_of_auto_is_refused_at_the_start() {
    let site = Site::new().await;
    site.issue("gsm", "manager").await;
    let ended = conclave(&["run", "--config", &site.configure("gsm", QUICK)], b"").await;
    assert!(ended.code == 1 && ended.stderr.contains("it needs both"), "{ended:?}");
}

#[tokio::test]
async fn a_daemon_of_another_program_ends_with_it() {
    let site = Site::new().await;
    site.issue("ada", "member,manager").await;
    let file = site.configure("ada", QUICK);
    let mut command = tokio::process::Command::new(super::support::PROGRAM);
    // Its standard input is empty.
    let ended = run(command.args(["run", "--end-with-stdin", "--config", &file]), b"").await;
    assert!(ended.code == 0 && ended.stderr.contains("daemon.stopping"), "{ended:?}");
}
