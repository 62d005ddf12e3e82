use super::*;
use crate::demo::lines::{Event, Key, Role};

const MS: u64 = 1_000;

/// A line at so many milliseconds.
fn at(ms: u64, event: Event) -> Line {
    Line { at_us: ms * MS, event }
}

fn key(epoch: u32) -> Key {
    Key { term: 1, epoch }
}

/// The key of the restarted manager.
const AGAIN: Key = Key { term: 2, epoch: 1 };

/// The key of the standby that took over.
const TAKEN: Key = Key { term: 3, epoch: 1 };

fn rekeyed(key: Key, hard: bool) -> Event {
    Event::Rekeyed { key, hard, joins: 1, leaves: 1, entries: 4, packets: 1, bytes: 300 }
}

fn received(node: &str, key: Key, first: u64, last: u64) -> Event {
    Event::Received { node: node.to_owned(), key, first, last, wrong: 0 }
}

fn caught(key: Key, first: u64, last: u64, read: bool) -> Event {
    Event::Intercepted { node: "mallory".to_owned(), key, first, last, file: true, read }
}

fn attacked(key: Key, opened: bool) -> Event {
    Event::UpdateAttacked { node: "mallory".to_owned(), key, secrets: 9, attempts: 500, opened }
}

/// Epochs 3 to 7 of term 1 and the first ones of terms 2 and 3 with 500 packets each, one a millisecond from 2,000 ms on; epoch 6
/// is the eviction's, asked for 100 ms before its first packet. bob and host2 stay, erin is in for epochs 4 and 5, mallory
/// for 3 to 5. host1 is elected, killed at 4,100 ms and back at 4,350; it is killed for good at 4,700, and host2 takes over.
fn good_run() -> Vec<Line> {
    let mut lines = who_comes_and_goes();
    lines.extend(the_managers());
    let names = ["alice", "bob", "mallory", "erin", "host2"];
    lines.extend(names.map(|name| at(900, Event::Admitted { node: name.to_owned() })));
    let shut_out = key(6);
    for (number, key) in [key(3), key(4), key(5), key(6), key(7), AGAIN, TAKEN].into_iter().enumerate() {
        let first = number as u64 * 500;
        let begins = 2_000 + first;
        lines.push(at(begins - 95, rekeyed(key, key == shut_out)));
        let sent_us = (begins..begins + 500).map(|ms| ms * MS).collect();
        let node = "alice".to_owned();
        lines.push(at(begins + 500, Event::Sent { node, key, first, sent_us, bytes: 504_000 }));
        let member = key < shut_out;
        for listener in ["bob", "host2"] {
            lines.push(at(begins + 500, received(listener, key, first, first + 499)));
        }
        lines.push(at(begins + 500, caught(key, first, first + 499, member)));
        lines.push(at(begins - 90, attacked(key, member)));
    }
    lines.push(at(2_900, received("erin", key(4), 500, 999)));
    lines.push(at(3_090, received("erin", key(5), 1_000, 1_080)));
    lines
}

fn who_comes_and_goes() -> Vec<Line> {
    let node = |name: &str| name.to_owned();
    vec![
        at(1, Event::Started { node: node("mallory"), process: 7, role: Role::Adversary }),
        at(1_900, Event::Joined { node: node("alice"), key: key(2) }),
        at(1_901, Event::Joined { node: node("bob"), key: key(3) }),
        at(1_902, Event::Joined { node: node("mallory"), key: key(3) }),
        at(1_903, Event::Joined { node: node("host2"), key: key(3) }),
        at(1_990, Event::StreamBegan { node: node("alice"), rate: 1_000 }),
        at(2_400, Event::Joined { node: node("erin"), key: key(4) }),
        at(3_100, Event::LeaveRequested { node: node("erin") }),
        at(3_101, Event::Left { node: node("erin"), acknowledged: true }),
        at(3_400, Event::EvictRequested { node: node("mallory") }),
        at(3_405, Event::Evicted { node: node("mallory"), key: key(6) }),
        at(3_500, Event::Asked { node: node("mallory"), naks: 5, resyncs: 1, answers: 0 }),
        at(3_600, refused()),
        at(5_500, Event::StreamEnded { node: node("alice"), packets: 3_500 }),
        at(5_700, Event::Over {}),
    ]
}

fn refused() -> Event {
    Event::Reregistered { node: "mallory".to_owned(), admitted: false, why: "evicted".to_owned() }
}

fn the_managers() -> Vec<Line> {
    let node = |name: &str| name.to_owned();
    let started = |name: &str, process| Event::Started { node: node(name), process, role: Role::Host };
    let greeted = |name: &str, key| Event::Greeted { node: node(name), key };
    vec![
        at(2, started("host1", 8)),
        at(3, started("host2", 9)),
        at(800, Event::Elected { node: node("host1") }),
        at(850, Event::Registered { node: node("bob") }),
        at(4_100, Event::Killed { node: node("host1") }),
        at(4_200, started("host1", 10)),
        at(4_350, Event::Resumed { node: node("host1"), members: 3, term: 2 }),
        at(4_450, refused()),
        at(4_460, Event::Greeting { node: node("host1") }),
        at(4_501, greeted("alice", AGAIN)),
        at(4_501, greeted("bob", AGAIN)),
        at(4_600, Event::StandsBy { node: node("host2") }),
        at(4_700, Event::Lost { node: node("host1") }),
        at(4_900, Event::Succeeded { node: node("host2"), term: 3 }),
        at(4_960, Event::Greeting { node: node("host2") }),
        at(5_001, greeted("alice", TAKEN)),
        at(5_100, started("host1", 11)),
        at(5_200, Event::Registered { node: node("host1") }),
        at(5_201, Event::Admitted { node: node("host1") }),
        at(5_300, Event::Joined { node: node("host1"), key: TAKEN }),
    ]
}

/// The failures of a good run in which `spoil` changed something; there must be some, and the exit code is 1.
fn failures(spoil: impl FnOnce(&mut Vec<Line>)) -> String {
    let mut lines = good_run();
    spoil(&mut lines);
    let verdict = verdict(&lines);
    assert_eq!(verdict.outcome().expect_err("a spoiled run passes").exit_code(), 1);
    verdict.failures.join("; ")
}

/// Replaces what bob received under `key`.
fn let_bob_receive(lines: &mut Vec<Line>, key: Key, instead: &[Event]) {
    lines.retain(
        |line| !matches!(&line.event, Event::Received { node, key: of, .. } if node == "bob" && *of == key),
    );
    lines.extend(instead.iter().map(|event| at(4_999, event.clone())));
}

#[test]
fn a_good_run_passes_with_its_figures() {
    let verdict = verdict(&good_run());
    assert_eq!(verdict.failures, Vec::<String>::new());
    assert!(verdict.outcome().is_ok());
    let expected = Summary {
        members: 4,
        epochs: 7,
        joins: 6,
        leaves: 1,
        evictions: 1,
        bytes_sent: 7 * 504_000,
        key_update_bytes: 7 * 300,
        elapsed_ms: 5_700,
        rekeys_during_stream: 6,
        packets_sent: 3_500,
        packets_lost_at_rekey: 0,
        packets_lost_at_eviction: 0,
        evict_to_switch_ms: 100,
        evicted_read_before_switch: 1_500,
        evicted_seen_after_switch: 2_000,
        evicted_read_after_switch: 0,
        election_ms: 798,
        managers_elected: 1,
        restart_live_members: 3,
        restart_members_kept: 3,
        read_after_restart: 3,
        restart_reregistrations: 0,
        packets_lost_at_restart: 0,
        restart_ms: 300,
        failover_live_members: 3,
        read_after_failover: 3,
        failover_reregistrations: 0,
        packets_lost_at_failover: 0,
        failover_ms: 300,
    };
    assert_eq!(verdict.summary, expected);
    assert!(verdict.conditions.iter().all(Condition::holds));
}

#[test]
fn the_order_of_the_lines_does_not_matter() {
    let mut lines = good_run();
    lines.reverse();
    assert_eq!(verdict(&lines), verdict(&good_run()));
}

#[test]
fn the_verdict_is_the_same_from_the_lines_as_they_are_printed() {
    let printed: Vec<String> =
        good_run().iter().map(|line| serde_json::to_string(line).expect("a line is printable")).collect();
    let read: Vec<Line> =
        printed.iter().map(|text| serde_json::from_str(text).expect("a printed line is readable")).collect();
    assert_eq!(read, good_run());
}

#[test]
fn a_lost_packet_fails_it() {
    let lost = |lines: &mut Vec<Line>| {
        let (before, after) = (received("bob", key(5), 1_000, 1_300), received("bob", key(5), 1_302, 1_499));
        let_bob_receive(lines, key(5), &[before, after]);
    };
    assert!(failures(lost).contains("packets_lost_at_rekey is 1"));
}

#[test]
fn every_lost_packet_counts_at_exactly_one_switch() {
    let split = [
        (key(3), [500, 0, 0, 0]),
        (key(5), [400, 100, 0, 0]),
        (key(6), [0, 500, 0, 0]),
        (key(7), [100, 0, 400, 0]),
        (AGAIN, [0, 0, 200, 300]),
        (TAKEN, [0, 0, 0, 500]),
    ];
    for (key, expected) in split {
        let mut lines = good_run();
        let_bob_receive(&mut lines, key, &[]);
        let summary = verdict(&lines).summary;
        let lost = [
            summary.packets_lost_at_rekey,
            summary.packets_lost_at_eviction,
            summary.packets_lost_at_restart,
            summary.packets_lost_at_failover,
        ];
        assert_eq!(lost, expected, "{key}");
    }
}

#[test]
fn a_leaked_packet_fails_it() {
    let leak = |lines: &mut Vec<Line>| lines.push(at(4_000, caught(key(6), 1_500, 1_500, true)));
    assert!(failures(leak).contains("evicted_read_after_switch is 1"));
}

#[test]
fn a_double_delivery_fails_it() {
    let twice = |lines: &mut Vec<Line>| lines.push(at(4_000, received("bob", key(7), 2_100, 2_100)));
    assert!(failures(twice).contains("bob was given 1 packets more than once"));
}

#[test]
fn wrong_content_fails_it() {
    let wrong = |lines: &mut Vec<Line>| {
        let instead =
            Event::Received { node: "bob".to_owned(), key: key(7), first: 2_000, last: 2_499, wrong: 3 };
        let_bob_receive(lines, key(7), &[instead]);
    };
    assert!(failures(wrong).contains("3 packets with wrong content"));
}

#[test]
fn packets_that_nobody_sent_fail_it() {
    let forged = |lines: &mut Vec<Line>| lines.push(at(4_000, received("bob", key(8), 3_000, 3_001)));
    assert!(failures(forged).contains("bob received 2 packets that were not sent like that"));
    let other_epoch =
        |lines: &mut Vec<Line>| let_bob_receive(lines, key(7), &[received("bob", key(6), 2_000, 2_499)]);
    assert!(failures(other_epoch).contains("500 packets that were not sent like that"));
}

#[test]
fn a_newcomer_that_reads_the_past_fails_it() {
    let past = |lines: &mut Vec<Line>| lines.push(at(2_900, received("erin", key(3), 499, 499)));
    assert!(failures(past).contains("erin read 1 packets from before it was let in"));
}

#[test]
fn a_gap_at_a_passing_member_fails_it() {
    let gap = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(&line.event, Event::Received { node, key, .. } if node == "erin" && key.epoch == 4));
        lines.push(at(2_900, received("erin", key(4), 503, 999)));
    };
    assert!(failures(gap).contains("missed 3 packets of that part"));
}

#[test]
fn a_key_update_that_the_evicted_node_opens_fails_it() {
    let opened = |lines: &mut Vec<Line>| lines.push(at(4_000, attacked(key(7), true)));
    assert!(failures(opened).contains("opened 1 key updates that shut it out"));
}

#[test]
fn an_answer_to_the_evicted_node_fails_it() {
    let asked = Event::Asked { node: "mallory".to_owned(), naks: 6, resyncs: 2, answers: 1 };
    assert!(failures(|lines| lines.push(at(4_000, asked))).contains("answered 1 requests"));
    let again = Event::Reregistered { node: "mallory".to_owned(), admitted: true, why: String::new() };
    assert!(failures(|lines| lines.push(at(4_000, again))).contains("was let in again"));
}

#[test]
fn an_adversary_that_does_not_try_fails_it() {
    let mute = |unwanted: fn(&Event) -> bool| failures(|lines| lines.retain(|line| !unwanted(&line.event)));
    assert!(mute(|event| matches!(event, Event::Asked { .. })).contains("asked for no repair"));
    assert!(mute(|event| matches!(event, Event::Reregistered { .. })).contains("did not try to register"));
    assert!(mute(|event| matches!(event, Event::UpdateAttacked { .. })).contains("attacked no key update"));
    let without_keys = |event: &Event| matches!(event, Event::UpdateAttacked { opened: true, .. });
    assert!(mute(without_keys).contains("opened no key update while it was a member"));
    let blind = |event: &Event| matches!(event, Event::Intercepted { .. });
    assert!(mute(blind).contains("evicted_read_before_switch is 0"));
    let deaf_later = |event: &Event| matches!(event, Event::Intercepted { read: false, .. });
    assert!(mute(deaf_later).contains("evicted_seen_after_switch is 0"));
}

#[test]
fn a_late_switch_too_few_rekeys_and_a_short_stream_fail_it() {
    let late = |lines: &mut Vec<Line>| {
        for line in lines {
            if matches!(line.event, Event::EvictRequested { .. }) {
                line.at_us = 3_299 * MS;
            }
        }
    };
    assert!(failures(late).contains("evict_to_switch_ms is 201"));
    let fewer = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(line.event, Event::Rekeyed { key: Key { epoch: 4 | 5, .. }, .. }));
    };
    assert!(failures(fewer).contains("rekeys_during_stream is 4"));
    let short = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(line.event, Event::Sent { key: Key { epoch: 3..=6, .. }, .. }));
    };
    let failures = failures(short);
    assert!(failures.contains("packets_sent is 1500") && failures.contains("do not add up"), "{failures}");
}

#[test]
fn a_run_that_breaks_or_says_nothing_fails() {
    let broken = Event::Broken { why: "the process of bob ended".to_owned() };
    assert!(failures(|lines| lines.push(at(4_000, broken))).contains("the process of bob ended"));
    assert!(failures(Vec::clear).contains("there was no eviction"));
    let unheard = |lines: &mut Vec<Line>| {
        let left = Event::Left { node: "erin".to_owned(), acknowledged: false };
        lines.push(at(3_200, left));
    };
    assert!(failures(unheard).contains("erin left and the manager did not say so"));
}

#[test]
fn two_elected_managers_and_none_fail_it() {
    let second = Event::Elected { node: "host2".to_owned() };
    assert!(failures(|lines| lines.push(at(4_300, second))).contains("managers_elected is 2"));
    let none = |lines: &mut Vec<Line>| lines.retain(|line| !matches!(line.event, Event::Elected { .. }));
    assert!(failures(none).contains("managers_elected is 0"));
}

#[test]
fn a_member_that_is_not_kept_or_reads_nothing_after_the_restart_fails_it() {
    let forgotten = |lines: &mut Vec<Line>| {
        for line in lines {
            if let Event::Resumed { members, .. } = &mut line.event {
                *members = 2;
            }
        }
    };
    assert!(failures(forgotten).contains("restart_members_kept is 2 and must be 3"));
    let deaf = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(&line.event, Event::Greeted { node, .. } if node == "alice"));
    };
    assert!(failures(deaf).contains("read_after_restart is 2 and must be 3"));
    let old = key(7);
    let under_an_old_key = |lines: &mut Vec<Line>| {
        for line in lines {
            if let Event::Greeted { key, .. } = &mut line.event {
                *key = old;
            }
        }
    };
    assert!(failures(under_an_old_key).contains("read_after_restart is 2 and must be 3"));
}

#[test]
fn a_member_that_registers_again_fails_it_whoever_says_so() {
    let by_itself = Event::Registered { node: "bob".to_owned() };
    assert!(failures(|lines| lines.push(at(4_400, by_itself))).contains("restart_reregistrations is 1"));
    let by_the_manager = Event::Admitted { node: "host2".to_owned() };
    assert!(failures(|lines| lines.push(at(4_400, by_the_manager))).contains("restart_reregistrations is 1"));
}

#[test]
fn a_packet_lost_while_the_manager_is_dead_fails_it() {
    let lost =
        |lines: &mut Vec<Line>| let_bob_receive(lines, key(7), &[received("bob", key(7), 2_000, 2_498)]);
    assert!(failures(lost).contains("packets_lost_at_restart is 1"));
}

#[test]
fn a_restart_that_is_none_fails_it() {
    let without =
        |unwanted: fn(&Event) -> bool| failures(|lines| lines.retain(|line| !unwanted(&line.event)));
    assert!(without(|event| matches!(event, Event::Killed { .. })).contains("no manager was killed"));
    assert!(without(|event| matches!(event, Event::Resumed { .. })).contains("no manager was killed"));
    let same_term = |lines: &mut Vec<Line>| {
        for line in lines {
            if let Event::Resumed { term, .. } = &mut line.event {
                *term = 1;
            }
        }
    };
    assert!(failures(same_term).contains("no manager was killed and came back in a new term"));
    let at_once = |lines: &mut Vec<Line>| {
        for line in lines {
            if matches!(line.event, Event::Killed { .. }) {
                line.at_us = 4_350 * MS;
            }
            if matches!(line.event, Event::Started { process: 10, .. }) {
                line.at_us = 4_351 * MS;
            }
        }
    };
    assert!(failures(at_once).contains("nothing was sent while the manager was dead"));
}

#[test]
fn an_evicted_node_that_comes_back_with_the_restart_fails_it() {
    let read = |lines: &mut Vec<Line>| lines.push(at(4_900, caught(AGAIN, 2_900, 2_900, true)));
    assert!(failures(read).contains("evicted_read_after_switch is 1"));
    let greeting = Event::Intercepted {
        node: "mallory".to_owned(),
        key: AGAIN,
        first: 0,
        last: 0,
        file: false,
        read: true,
    };
    assert!(failures(|lines| lines.push(at(4_900, greeting))).contains("evicted_read_after_switch is 1"));
    assert!(failures(|lines| lines.push(at(4_400, attacked(AGAIN, true)))).contains("opened 1 key updates"));
    let admitted = Event::Reregistered { node: "mallory".to_owned(), admitted: true, why: String::new() };
    assert!(failures(|lines| lines.push(at(4_460, admitted))).contains("was let in again"));
}

#[test]
fn an_evicted_node_that_does_not_try_after_the_restart_fails_it() {
    let no_visit = |lines: &mut Vec<Line>| {
        lines.retain(|line| line.at_us < 4_400 * MS || !matches!(line.event, Event::Reregistered { .. }));
    };
    assert!(failures(no_visit).contains("did not try to register after the restart"));
    let no_attack = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(line.event, Event::UpdateAttacked { key: AGAIN, .. }));
    };
    assert!(failures(no_attack).contains("attacked no key update after the restart"));
    let deaf = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(line.event, Event::Intercepted { key: Key { term: 2.., .. }, .. }));
    };
    let failures = failures(deaf);
    assert!(failures.contains("caught no packet after the restart"), "{failures}");
    assert!(failures.contains("caught no packet after the failover"), "{failures}");
}

#[test]
fn a_failover_that_is_none_fails_it() {
    let without =
        |unwanted: fn(&Event) -> bool| failures(|lines| lines.retain(|line| !unwanted(&line.event)));
    let none = "no manager was killed for good and followed by a standby";
    assert!(without(|event| matches!(event, Event::Lost { .. })).contains(none));
    assert!(without(|event| matches!(event, Event::Succeeded { .. })).contains(none));
    let unused = |event: &Event| matches!(event, Event::Sent { key: TAKEN, .. });
    assert!(without(unused).contains("failover_ms is 18446744073709551615"));
    let spared = |event: &Event| matches!(event, Event::UpdateAttacked { key: TAKEN, .. });
    assert!(without(spared).contains("attacked no key update after the failover"));
}

#[test]
fn a_member_that_reads_nothing_or_registers_again_after_the_failover_fails_it() {
    let deaf = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(&line.event, Event::Greeted { key: TAKEN, .. }));
    };
    assert!(failures(deaf).contains("read_after_failover is 2 and must be 3"));
    let again = Event::Registered { node: "bob".to_owned() };
    let failures_of = failures(|lines| lines.push(at(4_950, again)));
    assert!(failures_of.contains("failover_reregistrations is 1"), "{failures_of}");
    let lost = |lines: &mut Vec<Line>| let_bob_receive(lines, TAKEN, &[received("bob", TAKEN, 3_001, 3_499)]);
    assert!(failures(lost).contains("packets_lost_at_failover is 1"));
}
