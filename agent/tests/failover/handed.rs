//! The manager's operator has it hand the group over: `conclave handover`.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::application::{Receiver, Sender};
use crate::crew::{Crew, PLAIN};
use crate::support::conclave;

/// From the command to the standby's first alarm.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_by_handover_costs_nobody_a_registration_or_a_packet() {
    let mut crew = Crew::assemble().await;
    let ear = crew.eavesdropper().await;
    let sender = Sender::start(&crew.daemon("mia").socket);
    let mut receiver = Receiver::start(&crew.daemon("max").socket).await;
    let mut slowest = Duration::ZERO;
    for named in [false, true] {
        let (manager, standby) = crew.board.settled().unwrap();
        let (term, identity) = (crew.board.term(), format!("{standby}.example"));
        let members = crew.ask(&manager, &["members"]).await.json();
        let listed = members["members"].as_array().unwrap();
        let line = listed.iter().find(|line| line["identity"] == identity.as_str()).unwrap();
        assert_eq!(line["standby_in_step"], true, "{members}");
        assert!(listed.iter().filter(|line| line["standby_in_step"].is_boolean()).count() == 1, "{members}");

        let asked = Instant::now();
        let mut command = vec!["handover"];
        if named {
            command.extend(["--to", identity.as_str()]);
        }
        let done = crew.ask(&manager, &command).await.json();
        assert_eq!((&done["identity"], &done["group"]), (&identity.as_str().into(), &"video".into()));
        let alarm = crew.while_waiting("an alarm of a new term", ear.first_alarm_after(term)).await;
        slowest = slowest.max(alarm - asked);
        crew.until("all to follow the standby", |board| board.all_hold_later_than(term)).await;
        // What an operator does next: the host that gave the group away is stopped, and started again.
        crew.end(&manager, Signal::SIGTERM).await;
        crew.start(&manager);
        crew.until("the old manager to stand by", |board| board.settled().is_some()).await;
        assert_eq!(crew.board.settled().unwrap(), (standby, manager));
    }
    crew.while_waiting("the messages sent meanwhile", receiver.until(sender.sent())).await;
    let (lost, twice) = receiver.lost_and_twice();
    let heard = ear.finish();
    println!("handover_worst_ms {}", slowest.as_millis());
    println!("handover_registered_again {}", crew.board.registered_again.len());
    println!("handover_packets_lost {lost}");
    assert!(heard.faults.is_empty(), "{:#?}", heard.faults);
    assert_eq!((crew.board.registered_again.len(), lost, twice), (0, 0, 0));
    assert!(slowest <= SOON, "{slowest:?}");
}

#[tokio::test]
async fn a_handover_that_cannot_be_is_said_and_changes_nothing_and_a_lost_standby_is_missed() {
    let mut crew = Crew::assemble().await;
    let (manager, standby) = crew.board.settled().unwrap();
    let socket = crew.daemon(&manager).socket.to_str().unwrap().to_owned();
    let plain = format!("{}.example", PLAIN[0]);
    for (arguments, text) in [
        (&["handover", "--to", "nobody.example"][..], "no member has the identity \"nobody.example\""),
        (&["handover", "--to", &plain], "that node is no standby, or is not in step with this manager"),
    ] {
        let ended = crew.ask(&manager, arguments).await;
        assert!(ended.code == 1 && ended.stderr.contains(text), "{ended:?}");
    }
    let ended = crew.ask(PLAIN[0], &["handover"]).await;
    let text = format!("this node is a member: ask its manager, {manager}.example");
    assert!(ended.code == 1 && ended.stderr.contains(&text), "{ended:?}");

    let shown = conclave(&["--socket", &socket, "status"], b"").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains(&format!("\nstandbys {standby}.example in step for ")), "{}", shown.stdout);
    let killed = crew.end(&standby, Signal::SIGKILL).await;
    crew.until("the standby to be missed", |board| board.happened("standby.lost", killed)).await;
    let shown = conclave(&["--socket", &socket, "status"], b"").await;
    assert_eq!(shown.code, 4, "{shown:?}");
    let problem = "! no standby in step: if this manager is lost, all must register again (";
    assert!(shown.stdout.contains(problem) && shown.stdout.contains("NOT IN STEP"), "{}", shown.stdout);
    let ended = crew.ask(&manager, &["handover"]).await;
    assert!(ended.code == 1 && ended.stderr.contains("no standby is in step with this manager"), "{ended:?}");

    crew.start(&standby);
    crew.until("the standby to be back", |board| board.settled().is_some()).await;
    assert_eq!(crew.ask(&manager, &["status"]).await.code, 0);
    assert!(crew.board.managers.contains(&manager));

    // The standby is in office, and nobody stands by.
    let term = crew.board.term();
    crew.end(&manager, Signal::SIGKILL).await;
    crew.until("all to follow the standby", |board| board.all_hold_later_than(term)).await;
    let shown = conclave(&["--socket", crew.daemon(&standby).socket.to_str().unwrap(), "status"], b"").await;
    assert!(shown.code == 4 && shown.stdout.contains(problem), "{shown:?}");
    let name = format!("{standby}.example");
    loop {
        let status = crew.ask(PLAIN[0], &["status"]).await.json();
        let named = status["member"]["manager"].clone();
        if named == name.as_str() {
            break;
        }
        assert_ne!(named, format!("{manager}.example").as_str(), "it is gone");
        // Its certificate comes with its presence, within two seconds.
        crew.runs_until(Instant::now() + SOON).await;
    }
}
