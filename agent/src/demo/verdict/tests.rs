use super::*;
use crate::demo::lines::{Event, Role};

const MS: u64 = 1_000;

/// A line at so many milliseconds.
fn at(ms: u64, event: Event) -> Line {
    Line { at_us: ms * MS, event }
}

fn rekeyed(epoch: u32, hard: bool) -> Event {
    Event::Rekeyed { epoch, hard, joins: 1, leaves: 1, entries: 4, packets: 1, bytes: 300 }
}

fn received(node: &str, epoch: u32, first: u64, last: u64) -> Event {
    Event::Received { node: node.to_owned(), epoch, first, last, wrong: 0 }
}

fn caught(epoch: u32, first: u64, last: u64, read: bool) -> Event {
    Event::Intercepted { node: "mallory".to_owned(), epoch, first, last, read }
}

fn attacked(epoch: u32, opened: bool) -> Event {
    Event::UpdateAttacked { node: "mallory".to_owned(), epoch, secrets: 9, attempts: 500, opened }
}

/// Epochs 3 to 8 with 500 packets each, one a millisecond from 2,000 ms on; epoch 6 is the eviction's, asked for 100 ms
/// before its first packet. bob stays, erin is in for epochs 4 and 5, mallory for 3 to 5.
fn good_run() -> Vec<Line> {
    let node = |name: &str| name.to_owned();
    let mut lines = vec![
        at(1, Event::Started { node: node("mallory"), process: 7, role: Role::Adversary }),
        at(1_900, Event::Joined { node: node("alice"), epoch: 2 }),
        at(1_901, Event::Joined { node: node("bob"), epoch: 3 }),
        at(1_902, Event::Joined { node: node("mallory"), epoch: 3 }),
        at(1_990, Event::StreamBegan { node: node("alice"), rate: 1_000 }),
        at(2_400, Event::Joined { node: node("erin"), epoch: 4 }),
        at(3_100, Event::LeaveRequested { node: node("erin") }),
        at(3_101, Event::Left { node: node("erin"), acknowledged: true }),
        at(3_400, Event::EvictRequested { node: node("mallory") }),
        at(3_405, Event::Evicted { node: node("mallory"), epoch: 6 }),
        at(3_500, Event::Asked { node: node("mallory"), naks: 5, resyncs: 1, answers: 0 }),
        at(3_600, Event::Reregistered { node: node("mallory"), admitted: false, why: node("evicted") }),
        at(5_000, Event::StreamEnded { node: node("alice"), packets: 3_000 }),
        at(5_200, Event::Over {}),
    ];
    lines.extend(
        ["alice", "bob", "mallory", "erin"].map(|name| at(900, Event::Admitted { node: node(name) })),
    );
    for epoch in 3..=8_u32 {
        let first = u64::from(epoch - 3) * 500;
        let begins = 2_000 + first;
        lines.push(at(begins - 95, rekeyed(epoch, epoch == 6)));
        let sent_us = (begins..begins + 500).map(|ms| ms * MS).collect();
        lines.push(at(
            begins + 500,
            Event::Sent { node: node("alice"), epoch, first, sent_us, bytes: 504_000 },
        ));
        lines.push(at(begins + 500, received("bob", epoch, first, first + 499)));
        lines.push(at(begins + 500, caught(epoch, first, first + 499, epoch < 6)));
        lines.push(at(begins - 90, attacked(epoch, epoch < 6)));
    }
    lines.push(at(2_900, received("erin", 4, 500, 999)));
    lines.push(at(3_090, received("erin", 5, 1_000, 1_080)));
    lines
}

/// The failures of a good run in which `spoil` changed something; there must be some, and the exit code is 1.
fn failures(spoil: impl FnOnce(&mut Vec<Line>)) -> String {
    let mut lines = good_run();
    spoil(&mut lines);
    let verdict = verdict(&lines);
    assert_eq!(verdict.outcome().expect_err("a spoiled run passes").exit_code(), 1);
    verdict.failures.join("; ")
}

/// Replaces what bob received under `epoch`.
fn let_bob_receive(lines: &mut Vec<Line>, epoch: u32, instead: &[Event]) {
    lines.retain(|line| {
        !matches!(&line.event, Event::Received { node, epoch: of, .. } if node == "bob" && *of == epoch)
    });
    lines.extend(instead.iter().map(|event| at(4_999, event.clone())));
}

#[test]
fn a_good_run_passes_with_its_figures() {
    let verdict = verdict(&good_run());
    assert_eq!(verdict.failures, Vec::<String>::new());
    assert!(verdict.outcome().is_ok());
    let expected = Summary {
        members: 3,
        epochs: 8,
        joins: 4,
        leaves: 1,
        evictions: 1,
        bytes_sent: 6 * 504_000,
        key_update_bytes: 6 * 300,
        elapsed_ms: 5_200,
        rekeys_during_stream: 5,
        packets_sent: 3_000,
        packets_lost_at_rekey: 0,
        packets_lost_at_eviction: 0,
        evict_to_switch_ms: 100,
        evicted_read_before_switch: 1_500,
        evicted_seen_after_switch: 1_500,
        evicted_read_after_switch: 0,
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
        let_bob_receive(lines, 7, &[received("bob", 7, 2_000, 2_300), received("bob", 7, 2_302, 2_499)])
    };
    assert!(failures(lost).contains("packets_lost_at_rekey is 1"));
}

#[test]
fn every_lost_packet_counts_at_exactly_one_switch() {
    for (epoch, rekey, eviction) in [(3, 500, 0), (5, 400, 100), (6, 0, 500), (7, 500, 0)] {
        let mut lines = good_run();
        let_bob_receive(&mut lines, epoch, &[]);
        let summary = verdict(&lines).summary;
        let lost = (summary.packets_lost_at_rekey, summary.packets_lost_at_eviction);
        assert_eq!(lost, (rekey, eviction), "epoch {epoch}");
    }
}

#[test]
fn a_leaked_packet_fails_it() {
    let leak = |lines: &mut Vec<Line>| lines.push(at(4_000, caught(6, 1_500, 1_500, true)));
    assert!(failures(leak).contains("evicted_read_after_switch is 1"));
}

#[test]
fn a_double_delivery_fails_it() {
    let twice = |lines: &mut Vec<Line>| lines.push(at(4_000, received("bob", 7, 2_100, 2_100)));
    assert!(failures(twice).contains("bob was given 1 packets more than once"));
}

#[test]
fn wrong_content_fails_it() {
    let wrong = |lines: &mut Vec<Line>| {
        let instead =
            Event::Received { node: "bob".to_owned(), epoch: 7, first: 2_000, last: 2_499, wrong: 3 };
        let_bob_receive(lines, 7, &[instead]);
    };
    assert!(failures(wrong).contains("3 packets with wrong content"));
}

#[test]
fn packets_that_nobody_sent_fail_it() {
    let forged = |lines: &mut Vec<Line>| lines.push(at(4_000, received("bob", 8, 3_000, 3_001)));
    assert!(failures(forged).contains("bob received 2 packets that were not sent like that"));
    let other_epoch = |lines: &mut Vec<Line>| let_bob_receive(lines, 7, &[received("bob", 6, 2_000, 2_499)]);
    assert!(failures(other_epoch).contains("500 packets that were not sent like that"));
}

#[test]
fn a_newcomer_that_reads_the_past_fails_it() {
    let past = |lines: &mut Vec<Line>| lines.push(at(2_900, received("erin", 3, 499, 499)));
    assert!(failures(past).contains("erin read 1 packets from before it was let in"));
}

#[test]
fn a_gap_at_a_passing_member_fails_it() {
    let gap = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(&line.event, Event::Received { node, epoch: 4, .. } if node == "erin"));
        lines.push(at(2_900, received("erin", 4, 503, 999)));
    };
    assert!(failures(gap).contains("missed 3 packets of that part"));
}

#[test]
fn a_key_update_that_the_evicted_node_opens_fails_it() {
    let opened = |lines: &mut Vec<Line>| lines.push(at(4_000, attacked(7, true)));
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
        lines.retain(|line| !matches!(line.event, Event::Rekeyed { epoch: 4 | 5, .. }));
    };
    assert!(failures(fewer).contains("rekeys_during_stream is 3"));
    let short = |lines: &mut Vec<Line>| {
        lines.retain(|line| !matches!(line.event, Event::Sent { epoch: 3 | 7 | 8, .. }));
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
