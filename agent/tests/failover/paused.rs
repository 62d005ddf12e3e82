//! The manager's process stands still for a while, as one does whose host is overloaded or asleep, and goes on as if
//! nothing had happened.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::application::{Receiver, Sender};
use crate::crew::Crew;

/// From here on a standby takes over: the silence, and what the members need to agree on it.
const TOO_LONG: Duration = Duration::from_secs(4);
/// An alarm interval.
const ALARM: Duration = Duration::from_millis(250);
/// What a busy host may add to it.
const BUSY: Duration = Duration::from_millis(250);
/// How long it is watched after it went on.
const WATCHED: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_stood_still_never_manages_beside_another_one() {
    let mut crew = Crew::assemble().await;
    let ear = crew.eavesdropper().await;
    let sender = Sender::start(&crew.daemon("mia").socket);
    let mut receiver = Receiver::start(&crew.daemon("max").socket).await;
    let (mut taken, mut slowest) = (0, Duration::ZERO);
    for seconds in [1, 2, 5, 30] {
        crew.until("a standby in step", |board| board.settled().is_some()).await;
        let (manager, standby) = crew.board.settled().unwrap();
        let (term, pause) = (crew.board.term(), Duration::from_secs(seconds));
        let stopped = crew.signal(&manager, Signal::SIGSTOP);
        crew.runs_until(stopped + pause).await;
        let resumed = crew.signal(&manager, Signal::SIGCONT);
        if pause >= TOO_LONG {
            taken += 1;
            crew.until("the old manager to step down", |board| {
                board.first(&manager, "manager.stepped_down", resumed).is_some()
            })
            .await;
            let took = crew.board.first(&manager, "manager.stepped_down", resumed).unwrap() - resumed;
            eprintln!("paused for {seconds} s: {standby} took over, {manager} stepped down after {took:?}");
            slowest = slowest.max(took);
            crew.until("all to follow the standby", |board| board.all_hold_later_than(term)).await;
        } else {
            crew.runs_until(Instant::now() + WATCHED).await;
            for never in ["manager.changed", "manager.stepped_down", "join.granted"] {
                if crew.board.happened(never, stopped) {
                    crew.fail(&format!("{never} after a pause of {seconds} s"));
                }
            }
            assert!(crew.board.managers.contains(&manager));
            // It still manages: a key update of the same term is accepted.
            assert_eq!(crew.ask(&manager, &["rekey"]).await.json()["state"]["term"], term);
        }
    }
    crew.until("a standby in step", |board| board.settled().is_some()).await;
    crew.while_waiting("the messages sent meanwhile", receiver.until(sender.sent())).await;
    let (lost, twice) = receiver.lost_and_twice();
    let heard = ear.finish();
    let two_starts = crew.board.accepted.values().filter(|starts| starts.len() > 1).count();
    println!(
        "sigstop: pauses 4, takeovers {taken}, stepped down after at most {} ms, states accepted twice {}, registered again {}, packets lost {lost}",
        slowest.as_millis(),
        two_starts,
        crew.board.registered_again.len()
    );
    println!("sigstop_takeovers {taken}");
    println!("sigstop_stepped_down_worst_ms {}", slowest.as_millis());
    println!("sigstop_states_accepted_twice {}", two_starts);
    println!("sigstop_registered_again {}", crew.board.registered_again.len());
    println!("sigstop_packets_lost {lost}");
    println!("sigstop_late_words {}", heard.faults.len());
    assert!(two_starts == 0 && heard.faults.is_empty(), "{:#?} {:#?}", crew.board.accepted, heard.faults);
    assert_eq!((taken, crew.board.registered_again.len()), (2, 0));
    assert_eq!((lost, twice), (0, 0));
    assert!(slowest <= ALARM + BUSY, "{slowest:?}");
}
