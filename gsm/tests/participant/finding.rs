//! How a manager makes itself known, and what a flood of questions gets (attacks A3, A4).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::discovery::{Find, FindKind, Reply};
use protocol::limits::{REPLIES_PER_SECOND, REPLY_DELAY};
use protocol::{DatagramKind, Envelope, Input, Instant, Lane, Machine as _, SubgroupId, Transmit};

use crate::lan::{GROUP, Lan, discovery, registrar};

fn manager() -> (Lan, usize) {
    let mut lan = Lan::new();
    let manager = lan.manager("one");
    lan.run(Duration::from_millis(2_900));
    (lan, manager)
}

fn find(kind: FindKind, ring: u8, nonce: u64) -> Vec<u8> {
    Find { kind, ring, nonce, path: Vec::new() }.encode(GROUP)
}

fn asker(host: u8) -> SocketAddr {
    ([10, 1, 0, host], 6_000).into()
}

/// Asks and lets time pass; everything the manager sends meanwhile, and when.
fn ask(
    lan: &mut Lan,
    manager: usize,
    from: SocketAddr,
    bytes: &[u8],
    time: Duration,
) -> Vec<(Instant, Transmit)> {
    let participant = &mut lan.nodes[manager].participant;
    let _ = participant.handle_input(lan.now, Input::Datagram { lane: Lane::Discovery, from, bytes });
    let end = lan.now + time;
    let mut sent = Vec::new();
    sent.extend(std::iter::from_fn(|| participant.poll_transmit()).map(|transmit| (lan.now, transmit)));
    while let Some(due) = participant.poll_timeout().filter(|due| *due <= end) {
        participant.handle_timeout(due);
        sent.extend(std::iter::from_fn(|| participant.poll_transmit()).map(|transmit| (due, transmit)));
    }
    lan.now = end;
    sent
}

fn replies(sent: &[(Instant, Transmit)]) -> Vec<(Instant, SocketAddr, Reply)> {
    let reply = |(at, transmit): &(Instant, Transmit)| match transmit {
        Transmit::Unicast { to, bytes } => Some((*at, *to, Reply::decode(bytes, GROUP).ok()?.said().clone())),
        _ => None,
    };
    sent.iter().filter_map(reply).collect()
}

#[test]
fn who_searches_is_answered_soon_and_with_all_it_needs() {
    let (mut lan, manager) = manager();
    let asked = lan.now;
    let sent = ask(&mut lan, manager, asker(1), &find(FindKind::Local, 1, 42), Duration::from_millis(60));
    let status = lan.gsm(manager).status(lan.now);
    let [(at, to, reply)] = &replies(&sent)[..] else { panic!("{sent:?}") };
    assert!(at.saturating_since(asked) < REPLY_DELAY);
    assert_eq!(*to, asker(1));
    assert_eq!((reply.nonce, reply.subgroup, reply.term), (42, status.subgroup, status.state.term));
    assert_eq!((reply.registrars.as_slice(), reply.depth, reply.load), (&[registrar(manager)][..], 0, 1));
}

#[test]
fn a_search_of_another_kind_or_from_further_away_is_not_answered() {
    let (mut lan, manager) = manager();
    for bytes in [find(FindKind::Parent, 1, 1), find(FindKind::Local, 0, 1), find(FindKind::Local, 2, 1)] {
        let sent = ask(&mut lan, manager, asker(1), &bytes, Duration::from_millis(60));
        assert!(replies(&sent).is_empty());
    }
    // A member whose manager fell silent names its subgroup, and is answered.
    let subgroup: SubgroupId = lan.gsm(manager).domain().subgroup;
    let back = Find { kind: FindKind::Local, ring: 1, nonce: 1, path: vec![subgroup] }.encode(GROUP);
    assert_eq!(replies(&ask(&mut lan, manager, asker(1), &back, Duration::from_millis(60))).len(), 1);
}

#[test]
fn a_flood_of_finds_gets_no_more_bytes_than_it_brings_and_no_more_answers_than_the_limit() {
    let (mut lan, manager) = manager();
    let (mut bytes_in, mut bytes_out) = (0, 0);
    let mut answered: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    let mut presences = 0;
    // 4,000 a second for five seconds, a tenth of them from one forged address.
    for count in 0..20_000_u64 {
        let from = if count % 10 == 0 { asker(1) } else { asker(2 + (count % 200) as u8) };
        let bytes = find(FindKind::Local, 1, count);
        bytes_in += bytes.len();
        for (_, transmit) in ask(&mut lan, manager, from, &bytes, Duration::from_micros(250)) {
            match transmit {
                Transmit::Unicast { to, bytes } => {
                    bytes_out += bytes.len();
                    *answered.entry(to).or_default() += 1;
                }
                Transmit::Multicast { to, bytes, ttl } if to == discovery() => {
                    assert_eq!(ttl, 1);
                    bytes_out += bytes.len();
                    presences += 1;
                }
                _ => {}
            }
        }
    }
    assert!(bytes_out <= bytes_in / 10, "{bytes_out} of {bytes_in}");
    let all: usize = answered.values().sum();
    let seconds = 5;
    assert!(all <= REPLIES_PER_SECOND as usize * (seconds + 1), "{all}");
    assert!(answered.values().all(|count| *count <= REPLIES_PER_SECOND as usize / 4 * (seconds + 1)));
    assert!(presences <= 5 * (seconds + 1), "{presences}");
}

#[test]
fn one_question_costs_one_answer_whatever_was_asked_before() {
    let (mut lan, manager) = manager();
    let mut asked = 0;
    for count in 0..2_000 {
        let bytes = find(FindKind::Local, 1, count);
        asked += bytes.len();
        let sent = ask(&mut lan, manager, asker(1), &bytes, Duration::from_millis(1));
        let out: usize = sent
            .iter()
            .map(|(_, transmit)| match transmit {
                Transmit::Unicast { bytes, .. } => bytes.len(),
                _ => 0,
            })
            .sum();
        assert!(out <= asked);
        asked -= out;
    }
}

#[test]
fn a_manager_that_cannot_let_anybody_in_is_not_found() {
    let mut lan = Lan::new();
    let manager = lan.manager("one");
    // Its start is not durable yet.
    let sent = ask(&mut lan, manager, asker(1), &find(FindKind::Local, 1, 1), Duration::from_millis(100));
    assert!(sent.is_empty(), "{sent:?}");
    lan.run(Duration::from_secs(1));
    assert!(lan.nodes[manager].participant.accepts());
    lan.nodes[manager].stores = false;
    let now = lan.now;
    let _ = lan.nodes[manager].participant.gsm_mut().unwrap().rekey(now);
    lan.settle(manager);
    lan.recorded.clear();
    let sent = ask(&mut lan, manager, asker(1), &find(FindKind::Local, 1, 1), Duration::from_secs(10));
    assert!(replies(&sent).is_empty());
    assert!(
        !sent
            .iter()
            .any(|(_, transmit)| matches!(transmit, Transmit::Multicast { to, .. } if *to == discovery()))
    );
}

#[test]
fn a_manager_is_heard_quickly_at_first_and_then_every_two_seconds() {
    let mut lan = Lan::new();
    let manager = lan.manager("one");
    let mut said = Vec::new();
    while said.len() < 7 {
        lan.recorded.clear();
        lan.run(Duration::from_millis(1));
        let presence = |(to, bytes): &(SocketAddr, Vec<u8>)| {
            *to == discovery() && Envelope::parse(bytes).unwrap().kind == DatagramKind::Presence
        };
        said.extend(lan.recorded.iter().filter(|sent| presence(sent)).map(|_| lan.now));
    }
    let gaps: Vec<_> = said.windows(2).map(|two| two[1].saturating_since(two[0]).as_millis()).collect();
    assert_eq!(gaps, [200, 200, 400, 2_000, 2_000, 2_000]);
    assert!(lan.nodes[manager].participant.accepts());
}
