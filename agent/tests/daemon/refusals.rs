//! Exit codes, refused nodes, and what keeps a daemon from starting.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::unistd::Uid;
use tokio::process::Command;

use super::support::{PROGRAM, Site, conclave, run};

#[tokio::test]
async fn the_exit_code_says_whose_fault_it_is() {
    let site = Site::new().await;
    let nowhere = site.path("nowhere.sock");
    for usage in [&["fly"][..], &[], &["set", "rekey-interval=soon"], &["send", "--chunk", "0"], &["evict"]] {
        let ended = conclave(usage, b"").await;
        assert_eq!(ended.code, 2, "{ended:?}");
    }
    for command in ["status", "members", "rekey", "events", "recv", "send"] {
        let ended = conclave(&["--socket", &nowhere, command], b"").await;
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(
            ended.stderr.contains("no daemon answers on ") && ended.stderr.contains("nowhere.sock"),
            "{ended:?}"
        );
    }
    let file = site.configure("gsm", "role = \"manager\"\nrekey_interval = \"50ms\"");
    let ended = conclave(&["run", "--config", &file], b"").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let said = format!("{file}:13:18: rekey_interval = \"50ms\" is not between 100ms and 24h\n");
    assert!(ended.stderr.contains(&said) && ended.stderr.contains("^^^^^^"), "{ended:?}");
}

#[tokio::test]
async fn help_shows_every_command_and_nothing_else() {
    let help = conclave(&["--help"], b"").await;
    assert_eq!(help.code, 0);
    let commands = help.stdout.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let listed: Vec<&str> = commands
        .lines()
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for name in
        ["run", "groups", "status", "members", "evict", "rekey", "set", "events", "send", "recv", "pki"]
    {
        assert!(listed.contains(&name), "{name}: {listed:?}");
    }
    for name in listed.into_iter().filter(|name| *name != "help") {
        assert_eq!(conclave(&[name, "--help"], b"").await.code, 0, "{name}");
    }
}

#[tokio::test]
async fn a_member_without_a_manager_is_degraded_and_says_why() {
    let site = Site::new().await;
    let mut alice = site.member("alice", "127.0.0.1:1").await;
    alice.event("join.failed").await;
    let status = alice.ask(&["status"]).await;
    assert_eq!(
        (status.code, &status.parsed()["role"], &status.parsed()["member"]["standing"]),
        (4, &"searching".into(), &"searching".into())
    );
    let problem = status.parsed()["problems"][0].as_str().unwrap().to_owned();
    assert!(problem.starts_with("not in the group: 127.0.0.1:1: unreachable: "), "{problem}");
    assert!(alice.terminate().await.success());
}

#[tokio::test]
async fn a_denied_identity_and_a_certificate_without_the_role_are_refused_and_counted() {
    let site = Site::new().await;
    let mut manager = site.manager("access = [{ deny = \"eve.*\" }, { allow = \"*.example\" }]").await;
    let registrar = manager.registrar().await;
    let mut eve = site.member("eve", &registrar).await;
    assert_eq!(eve.event("join.refused").await["reason"], "denied");
    assert_eq!(manager.event("join.refused").await["identity"], "eve.example");
    let status = eve.ask(&["status"]).await;
    assert_eq!(status.code, 4, "{status:?}");
    assert!(
        status.parsed()["member"]["reason"].as_str().unwrap().contains("access list denies"),
        "{status:?}"
    );
    site.issue("mallory", "manager").await;
    let part = format!("role = \"member\"\ngsm = [\"{registrar}\"]");
    let file = site.configure("mallory", &part);
    let mut mallory = site.start("mallory", &file).await;
    assert_eq!(mallory.event("join.refused").await["reason"], "not_certified");
    manager.event("join.refused").await;
    let refused = manager.status().await["manager"]["refused"].clone();
    assert!(
        refused["denied"].as_u64() >= Some(1) && refused["not_certified"].as_u64() >= Some(1),
        "{refused}"
    );
    assert_eq!(manager.status().await["manager"]["members"], 1);
}

#[tokio::test]
async fn a_second_daemon_does_not_take_the_socket_of_the_first() {
    let site = Site::new().await;
    let manager = site.manager("").await;
    let mode = fs::metadata(&manager.socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let second = conclave(&["run", "--config", &site.path("gsm.toml")], b"").await;
    assert!(second.code == 1 && second.stderr.contains("another daemon listens on "), "{second:?}");
    assert_eq!(manager.ask(&["status"]).await.code, 0);
}

#[tokio::test]
async fn a_daemon_does_not_start_with_what_it_cannot_use() {
    let site = Site::new().await;
    site.issue("gsm", "member").await;
    let file = site.configure("gsm", "role = \"manager\"");
    let start = async || conclave(&["run", "--config", &file], b"").await;
    let ended = start().await;
    assert!(ended.code == 1 && ended.stderr.contains("does not carry the manager role"), "{ended:?}");
    fs::set_permissions(site.path("pki/gsm.example-key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let ended = start().await;
    assert!(ended.code == 1 && ended.stderr.contains("chmod 600"), "{ended:?}");
    let text = fs::read_to_string(&file).unwrap().replace("\"lo\"", "\"eth99\"");
    fs::write(&file, text).unwrap();
    let ended = start().await;
    assert!(ended.code == 1, "{ended:?}");
}

/// Only root can become somebody else, so only root can test who is refused.
#[tokio::test]
async fn another_user_may_look_and_not_change() {
    if !Uid::effective().is_root() {
        return;
    }
    let site = Site::new().await;
    let (manager, [_alice]) = site.group("rekey_interval = \"100ms\"", ["alice"]).await;
    // The other user reaches the program and the socket by the group's rights only.
    let program = site.path("conclave");
    // By a process of its own: a file that this one writes is busy for as long as any child holds its descriptor.
    assert_eq!(run(Command::new("cp").args([PROGRAM, &program]), b"").await.code, 0);
    for path in [site.path(""), site.path("run"), program.clone()] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    }
    let ask = async |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.uid(65_534).gid(0).arg("--socket").arg(&manager.socket).args(arguments);
        run(&mut command, b"").await
    };
    assert_eq!(ask(&["status"]).await.code, 0);
    for change in [&["rekey"][..], &["evict", "alice.example"], &["set", "rekey-interval=1s"]] {
        let refused = ask(change).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("user 65534 may look and not change"), "{refused:?}");
    }
    assert_eq!(manager.status().await["state"]["epoch"], 2);
}
