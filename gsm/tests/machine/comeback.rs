//! A manager that comes back: who is kept, who stays out, and what it takes for a sign that its journal is an old one.

use std::collections::BTreeSet;
use std::time::Duration;

use crypto::Suite;
use gsm::{GsmConfig, GsmEvent, JournalEntry, Standing};
use protocol::{Commit, DatagramKind, Frame, Input, Question, Refusal, Rejected, StateId, Term};

use super::follower::Follower;
use super::support::{Manager, Node, START, address};

/// Members that follow everything from the beginning.
fn followers(manager: &mut Manager, identities: &[&str]) -> Vec<Follower> {
    let mut followers: Vec<_> = manager.with(identities).into_iter().map(Follower::new).collect();
    hear(&mut followers, manager);
    followers
}

fn hear(followers: &mut [Follower], manager: &Manager) {
    followers.iter_mut().for_each(|follower| follower.hear_all(manager));
}

/// Lets the manager start, and the members answer its question.
fn start_with_answers(manager: &mut Manager, followers: &mut [Follower]) {
    while manager.multicasts(DatagramKind::Question).is_empty() && manager.gsm.current_key().is_none() {
        manager.advance(Duration::from_millis(10));
    }
    for follower in followers.iter_mut() {
        let Some(question) = follower.question(manager) else { continue };
        for answer in follower.answers(&question) {
            let _ = manager.unicast(question.answer_to, &answer);
        }
    }
    manager.advance(START);
    hear(followers, manager);
}

fn term(manager: &Manager) -> Term {
    manager.gsm.status(manager.now).state.term
}

fn rolled_back(manager: &Manager) -> Option<(Option<StateId>, Option<StateId>, usize)> {
    manager.events.iter().find_map(|event| match event {
        GsmEvent::RolledBack { held, seen, revocations } => Some((*held, *seen, *revocations)),
        _ => None,
    })
}

fn resumed(manager: &Manager) -> Option<(usize, Term)> {
    manager.events.iter().find_map(|event| match event {
        GsmEvent::Resumed { members, term } => Some((*members, *term)),
        _ => None,
    })
}

#[test]
fn after_a_restart_everybody_follows_one_key_update_and_nobody_registers_again() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b", "c", "d", "e", "f", "g"]);
    assert!(members.iter().all(|member| member.is_with(&manager)));
    for expected in 2..5 {
        let subgroup = manager.gsm.domain().subgroup;
        let own = manager.gsm.own_sender();
        manager = manager.restart();
        hear(&mut members, &manager);
        assert_eq!(resumed(&manager), Some((7, Term(expected))));
        assert_eq!((manager.gsm.domain().subgroup, term(&manager)), (subgroup, Term(expected)));
        assert!(members.iter().all(|member| member.is_with(&manager)));
        let updates: BTreeSet<_> = manager.multicasts(DatagramKind::KeyUpdate).into_iter().collect();
        assert_eq!(updates.len(), 1, "repeated, for nobody can send a NAK for it");
        assert_ne!(manager.gsm.own_sender(), own, "the own node's sender id is never used again");
        let listed: Vec<_> = manager.gsm.members().map(|listed| (listed.standing, listed.reg_no.0)).collect();
        assert_eq!(listed, (0..8).map(|reg_no| (Standing::In, reg_no)).collect::<Vec<_>>());
    }
}

#[test]
fn holes_in_the_tree_steps_of_the_leaf_secrets_and_suites_do_not_matter() {
    for suite in [Suite::Aes256Ctr, Suite::Aes256Kw] {
        let configure = |config: &mut GsmConfig| {
            config.suite = suite;
            config.timing.refresh = Duration::from_secs(5);
        };
        let mut manager = Manager::start_with(configure);
        let names: Vec<String> = (0..40).map(|number| format!("member {number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut members = followers(&mut manager, &names);
        for number in [0, 3, 4, 5, 6, 17, 38] {
            manager.evict(names[number]);
        }
        // The leaf secrets are stepped twice.
        manager.advance(Duration::from_secs(11));
        let late = Follower::new(manager.admit(&Node::new("late")));
        manager.rekey();
        hear(&mut members, &manager);
        members.push(late);
        members.retain(|member| manager.listed(&member.offered).is_some());
        let (now, journal) = manager.crash();
        let mut manager = Manager::resume_with(now, journal, false, configure);
        manager.advance(START);
        hear(&mut members, &manager);
        assert_eq!(members.len(), 34);
        assert!(members.iter().all(|member| member.is_with(&manager)));
    }
}

#[test]
fn nothing_is_said_while_listening_and_nothing_before_the_new_term_is_durable() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b"]);
    let (now, journal) = manager.crash();
    let mut manager = Manager::resume(now, journal, false);
    manager.storing = false;
    manager.advance(Duration::from_millis(499));
    assert_eq!(manager.records, [], "it has no term while it listens");
    manager.advance(Duration::from_secs(5));
    assert!(matches!(&manager.records[..], [JournalEntry::Started { term: Term(2), .. }]));
    manager.input(Input::StoreFailed).unwrap();
    manager.gsm.rekey(manager.now);
    manager.advance(Duration::from_secs(5));
    assert!(manager.sent.is_empty(), "{:?}", manager.sent);
    manager.storing = true;
    manager.store();
    manager.advance(Duration::from_millis(399));
    assert_eq!(manager.all_multicasts().len(), 3);
    assert_eq!(manager.multicasts(DatagramKind::Question).len(), 3);
    manager.advance(Duration::from_millis(2));
    hear(&mut members, &manager);
    assert!(members.iter().all(|member| member.is_with(&manager)));
}

#[test]
fn a_node_that_asks_to_join_while_the_manager_starts_is_answered_as_soon_as_it_serves() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a"]);
    let (now, journal) = manager.crash();
    let mut manager = Manager::resume(now, journal, false);
    let node = Node::new("newcomer");
    let conn = manager.connect(&node);
    assert!(manager.ask(conn, &node).is_none());
    assert_eq!(manager.refuses_frame(conn, &Frame::Join(node.join())), Rejected::OutOfPlace);
    manager.advance(START);
    let Some(Frame::Grant(grant, _)) = manager.last_frame(conn) else { panic!("no grant") };
    assert_eq!(grant.state.term, Term(2));
}

#[test]
fn members_that_say_what_the_journal_knows_are_kept() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b", "c", "d"]);
    manager.evict("b");
    manager.advance(Duration::from_secs(2));
    hear(&mut members, &manager);
    let (now, journal) = manager.crash();
    let mut manager = Manager::resume(now, journal, false);
    start_with_answers(&mut manager, &mut members);
    assert_eq!(rolled_back(&manager), None);
    assert_eq!(resumed(&manager), Some((3, Term(2))));
    let with: Vec<_> = members.iter().map(|member| member.is_with(&manager)).collect();
    assert_eq!(with, [true, false, true, true]);
    assert_eq!(manager.gsm.status(manager.now).revocations, 1);
}

/// Attack A35: somebody puts an old copy of the state back.
#[test]
fn after_a_rollback_the_evicted_stay_out_and_no_old_leaf_secret_opens_anything() {
    let mut manager = Manager::start();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut members = followers(&mut manager, &names);
    let copy = manager.journal.clone();
    for name in &names[..5] {
        manager.evict(name);
        manager.advance(Duration::from_secs(6));
    }
    hear(&mut members, &manager);
    let (old, seen) = (manager.gsm.domain().subgroup, manager.gsm.status(manager.now).state);
    let mut manager = Manager::resume(manager.now, copy, false);
    start_with_answers(&mut manager, &mut members);
    let (held, shown, revocations) = rolled_back(&manager).unwrap();
    assert!(held < shown);
    assert_eq!((shown, revocations), (Some(seen), 5));
    assert_ne!(manager.gsm.domain().subgroup, old);
    assert!(term(&manager) > seen.term);
    assert_eq!(manager.gsm.members().count(), 1, "nobody but the own node");
    assert!(members.iter().all(|member| !member.is_with(&manager)));
    for name in &names[..5] {
        let node = Node::new(name);
        let conn = manager.connect(&node);
        assert!(manager.ask(conn, &node).is_none());
        assert_eq!(manager.last_frame(conn), Some(Frame::Refused(Refusal::Revoked)));
    }
    for name in &names[5..] {
        let _ = manager.admit(&Node::new(name));
    }
    // What was united is durable: the next restart knows it by itself.
    let manager = manager.restart();
    assert_eq!((manager.gsm.members().count(), manager.gsm.status(manager.now).revocations), (6, 5));
}

#[test]
fn an_admission_or_a_leave_that_the_journal_has_lost_is_a_rollback_too() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b"]);
    let copy = manager.journal.clone();
    let leave = members[0].offered.seal(protocol::ToManager::Leave { nonce: 1 });
    manager.unicast(address(1), &leave).unwrap();
    manager.advance(Duration::from_millis(300));
    hear(&mut members, &manager);
    let mut manager = Manager::resume(manager.now, copy, false);
    start_with_answers(&mut manager, &mut members[1..]);
    assert!(rolled_back(&manager).is_some());
}

#[test]
fn a_doubtful_journal_keeps_nobody_and_every_revocation() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b", "c"]);
    manager.evict("c");
    let (now, journal) = manager.crash();
    let mut manager = Manager::resume(now, journal, true);
    manager.advance(START);
    hear(&mut members, &manager);
    assert!(rolled_back(&manager).is_some());
    assert!(members.iter().all(|member| !member.is_with(&manager)));
    assert_eq!((manager.gsm.members().count(), manager.gsm.status(manager.now).revocations), (1, 1));
}

#[test]
fn other_settings_than_members_were_promised_make_a_new_subgroup() {
    let settings: [fn(&mut GsmConfig); 4] = [
        |config| config.suite = Suite::Aes256Kw,
        |config| config.degree = keytree::Degree::new(8).unwrap(),
        |config| config.control = ([239, 192, 0, 9], 4_000).into(),
        |config| config.timing.keepalive = Duration::from_secs(1),
    ];
    for other in settings {
        let mut manager = Manager::start();
        let _ = manager.with(&["a", "b"]);
        manager.evict("b");
        let old = manager.gsm.domain().subgroup;
        let (now, journal) = manager.crash();
        let mut manager = Manager::resume_with(now, journal, false, other);
        manager.advance(START);
        assert!(manager.events.iter().any(|event| *event == GsmEvent::StartedOver { members: 1 }));
        assert_ne!(manager.gsm.domain().subgroup, old);
        assert_eq!((manager.gsm.members().count(), manager.gsm.status(manager.now).revocations), (1, 1));
    }
    let mut manager = Manager::start();
    let _ = manager.with(&["a", "b"]);
    let (now, journal) = manager.crash();
    let mut manager = Manager::resume_with(now, journal, false, |config| {
        config.timing.rekey_interval = Duration::from_secs(1);
        config.address = address(77);
    });
    manager.advance(START);
    assert_eq!(manager.gsm.members().count(), 3, "what no member acts on may change");
}

#[test]
fn an_eviction_that_no_key_update_has_cut_makes_the_first_one_hard() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b", "c"]);
    manager.storing = false;
    manager.evict("b");
    assert!(matches!(&manager.records[..], [.., JournalEntry::Evicted { .. }, JournalEntry::Cut { .. }]));
    manager.store_some(1);
    let manager = manager.restart();
    hear(&mut members, &manager);
    let hard: Vec<_> = rekeys(&manager).collect();
    assert_eq!(hard, [true]);
    assert_eq!(
        members.iter().map(|member| member.is_with(&manager)).collect::<Vec<_>>(),
        [true, false, true]
    );
}

#[test]
fn an_eviction_whose_key_update_may_not_have_gone_out_makes_the_first_one_hard() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b"]);
    // The key update is durable, and the manager dies with it in its hands.
    manager.storing = false;
    manager.evict("b");
    manager.durable = manager.journal.len();
    let manager = manager.restart();
    hear(&mut members, &manager);
    assert_eq!(rekeys(&manager).collect::<Vec<_>>(), [true]);
    assert_eq!(members.iter().map(|member| member.is_with(&manager)).collect::<Vec<_>>(), [true, false]);
    // Nor is it known of the first one of this start.
    let mut manager = manager.restart();
    assert_eq!(rekeys(&manager).collect::<Vec<_>>(), [true]);
    // What another one has followed has gone out.
    manager.rekey();
    let manager = manager.restart();
    assert_eq!(rekeys(&manager).collect::<Vec<_>>(), [false]);
}

fn rekeys(manager: &Manager) -> impl Iterator<Item = bool> {
    manager.events.iter().filter_map(|event| match event {
        GsmEvent::Rekeyed(summary) => Some(summary.hard),
        _ => None,
    })
}

#[test]
fn who_is_revoked_by_the_journal_is_not_restored_whatever_else_it_says() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b"]);
    let revocation =
        protocol::Revocation { identity: protocol::Revocation::identity_hash("a"), certificate: [0; 32] };
    let last = manager.journal.last().unwrap().0;
    manager.journal.push((Commit(last.0 + 1), JournalEntry::Revoked { revocation }.encode()));
    manager.durable += 1;
    let manager = manager.restart();
    hear(&mut members, &manager);
    assert_eq!(rekeys(&manager).collect::<Vec<_>>(), [true]);
    assert_eq!(members.iter().map(|member| member.is_with(&manager)).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn forged_answers_change_nothing() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b"]);
    let (now, journal) = manager.crash();
    // Another group's manager with another key, whose states are far ahead.
    let mut manager = Manager::resume(now, journal, false);
    let stray = Question { inst: protocol::Inst(0), nonce: 1, answer_to: address(1), share: 0 };
    let early = members[0].answers(&stray).pop().unwrap();
    assert_eq!(manager.unicast(address(1), &early), Err(Rejected::OutOfPlace));
    manager.advance(Duration::from_millis(510));
    let question = members[0].question(&manager).unwrap();
    assert_eq!(manager.unicast(address(1), &early), Err(Rejected::Stale));
    let honest = members[0].answers(&question).pop().unwrap();
    for at in 36..honest.len() {
        let mut forged = honest.clone();
        forged[at] ^= 1;
        assert!(manager.unicast(address(1), &forged).is_err(), "byte {at}");
    }
    for len in 0..honest.len() {
        assert!(manager.unicast(address(1), &honest[..len]).is_err());
    }
    manager.advance(START);
    hear(&mut members, &manager);
    assert_eq!(rolled_back(&manager), None);
    assert!(members.iter().all(|member| member.is_with(&manager)));
    assert_eq!(manager.unicast(address(1), &honest), Err(Rejected::NotForUs));
}

/// Attack A35: the one answer that matters comes behind a burst of forged ones.
#[test]
fn a_flood_of_forged_answers_does_not_hide_that_the_journal_is_an_old_one() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b"]);
    let old = manager.journal.clone();
    manager.evict("b");
    hear(&mut members, &manager);
    let mut manager = Manager::resume(manager.now, old, false);
    manager.advance(Duration::from_millis(510));
    let question = members[0].question(&manager).unwrap();
    let honest = members[0].answers(&question).pop().unwrap();
    for number in 0..900_u32 {
        let mut forged = honest.clone();
        forged[100..104].copy_from_slice(&number.to_be_bytes());
        assert!(manager.unicast(address(66), &forged).is_err());
    }
    manager.unicast(address(1), &honest).unwrap();
    manager.advance(START);
    assert!(rolled_back(&manager).is_some());
}

/// Attack A35: the same, with an answer that is genuine, of a member that saw less than the other one.
#[test]
fn an_answer_that_is_sent_again_and_again_costs_the_manager_one_check_and_hides_nothing() {
    let mut manager = Manager::start();
    let mut members = followers(&mut manager, &["a", "b", "c"]);
    let old = manager.journal.clone();
    let (behind, ahead) = members.split_at_mut(1);
    manager.evict("b");
    hear(ahead, &manager);
    let mut manager = Manager::resume(manager.now, old, false);
    manager.advance(Duration::from_millis(510));
    let question = behind[0].question(&manager).unwrap();
    let harmless = behind[0].answers(&question).pop().unwrap();
    manager.unicast(address(1), &harmless).unwrap();
    for _ in 0..1_200 {
        assert_eq!(manager.unicast(address(66), &harmless), Err(Rejected::Stale));
    }
    for answer in ahead.last().unwrap().answers(&question) {
        manager.unicast(address(1), &answer).unwrap();
    }
    manager.advance(START);
    assert!(rolled_back(&manager).is_some());
}

/// A process that was not dead after all, or a copy of the state on another host.
#[test]
fn the_older_of_two_starts_gives_up_and_stays_silent_while_it_hears_the_newer() {
    let mut older = Manager::start();
    let _ = older.with(&["a", "b"]);
    let journal = older.journal.clone();
    older.advance(Duration::from_secs(1));
    let mut newer = Manager::resume(older.now, journal, false);
    older.now = newer.now;
    together(&mut [&mut older, &mut newer], Duration::from_secs(20));
    assert_eq!(resumed(&newer), Some((2, Term(2))));
    assert!(older.events.iter().any(|event| matches!(event, GsmEvent::OtherStart { .. })));
    older.forget();
    together(&mut [&mut older, &mut newer], Duration::from_secs(20));
    assert!(older.sent.is_empty());
    assert_eq!(newer.gsm.status(newer.now).state.term, Term(2));
    // The newer one dies: what it did is not in the older one's journal.
    older.advance(Duration::from_secs(5));
    assert!(rolled_back(&older).is_some());
    assert!(older.gsm.status(older.now).state.term > Term(2));
}

#[test]
fn of_two_starts_of_one_journal_one_goes_on() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a", "b"]);
    let journal = manager.journal.clone();
    let mut first = Manager::resume(manager.now, journal.clone(), false);
    let mut second = Manager::resume(manager.now, journal, false);
    together(&mut [&mut first, &mut second], Duration::from_secs(30));
    one_goes_on(&mut first, &mut second);
}

/// A virtual machine that was copied while it ran: both continue the very same start (attack A34).
#[test]
fn copies_of_a_running_start_notice_each_other_and_one_goes_on() {
    let (mut first, mut second) = (Manager::start(), Manager::start());
    for manager in [&mut first, &mut second] {
        let _ = manager.with(&["a", "b"]);
    }
    assert_eq!(first.gsm.current_key(), second.gsm.current_key());
    second.evict("a");
    together(&mut [&mut first, &mut second], Duration::from_secs(30));
    one_goes_on(&mut first, &mut second);
}

/// Lets time pass for several managers that hear each other.
fn together(managers: &mut [&mut Manager], time: Duration) {
    let step = Duration::from_millis(5);
    let mut heard: Vec<usize> = managers.iter().map(|manager| manager.all_multicasts().len()).collect();
    let mut passed = Duration::ZERO;
    while passed < time {
        managers.iter_mut().for_each(|manager| manager.advance(step));
        passed += step;
        for speaker in 0..managers.len() {
            let said = managers[speaker].all_multicasts().split_off(heard[speaker]);
            heard[speaker] += said.len();
            for bytes in said {
                managers.iter_mut().for_each(|manager| {
                    let _ = manager.control(&bytes);
                });
            }
        }
    }
}

fn one_goes_on(first: &mut Manager, second: &mut Manager) {
    first.forget();
    second.forget();
    together(&mut [first, second], Duration::from_secs(10));
    let alarms: Vec<_> =
        [&*first, &*second].map(|manager| manager.multicasts(DatagramKind::Alarm).len()).into();
    assert!(alarms.contains(&0) && alarms.iter().any(|count| *count >= 38), "{alarms:?}");
}

#[test]
fn a_manager_takes_no_old_alarm_of_its_own_for_somebody_else() {
    let mut manager = Manager::start();
    let _ = manager.with(&["a", "b"]);
    manager.advance(Duration::from_secs(20));
    let alarms = manager.multicasts(DatagramKind::Alarm);
    for alarm in &alarms {
        assert!(manager.control(alarm).is_err());
        manager.advance(Duration::from_millis(60));
    }
    assert!(!manager.events.iter().any(|event| matches!(event, GsmEvent::OtherStart { .. })));
    let mut manager = manager.restart();
    for alarm in &alarms {
        assert!(manager.control(alarm).is_err());
        manager.advance(Duration::from_millis(60));
    }
    assert_eq!(term(&manager), Term(2));
}
