//! Finding a manager with nothing configured, among nodes that answer first, answer wrong, or answer without end.

use std::net::SocketAddr;
use std::time::Duration;

use member::MemberEvent;
use protocol::{CloseReason, ConnId, DatagramKind, Frame, Input, Instant, Rejected, Transmit};

use super::manager::Manager;
use super::node::{Node, peer, registrar};
use super::others::{DISCOVERY, Holder, holder, presence, reply};

const MILLI: Duration = Duration::from_millis(1);

fn searching(seed: u64) -> Node {
    Node::with(seed, holder(1).config()).begun()
}

fn rogue(host: u8) -> SocketAddr {
    ([10, 0, 66, host], 7_400).into()
}

/// The connections asked for and neither opened nor closed so far.
fn open_attempts(node: &Node) -> Vec<(Instant, ConnId, SocketAddr)> {
    node.asked().into_iter().filter(|(_, conn, _)| !node.is_closed(*conn)).collect()
}

/// Whether a JOIN went out on `conn`.
fn was_told(node: &Node, conn: ConnId) -> bool {
    node.sent
        .iter()
        .any(|(_, transmit)| matches!(transmit, Transmit::Frame { conn: told, .. } if *told == conn))
}

#[test]
fn a_node_asks_three_times_at_ttl_1_and_takes_the_answer_of_a_manager() {
    let mut node = searching(1);
    node.pass(Duration::from_millis(700));
    let finds = node.multicast(DatagramKind::Find);
    let begun = finds[0].0;
    let at: Vec<_> = finds.iter().map(|(at, _)| at.saturating_since(begun).as_millis()).collect();
    assert_eq!(at, [0, 300, 600]);
    for (_, transmit) in &node.sent {
        let Transmit::Multicast { to, ttl, bytes } = transmit else { panic!("{transmit:?}") };
        assert_eq!((*to, *ttl, bytes.len()), (DISCOVERY.into(), 1, 1_200));
    }
    let nonces = node.nonces();
    assert!(nonces[0] != nonces[1] && nonces[1] != nonces[2]);
    node.unicast_from(1, &reply(nonces[1], 0x5555, vec![registrar(1)])).unwrap();
    node.pass(Duration::ZERO);
    let mut manager = Manager::new();
    node.register_at(registrar(1), &mut manager);
    let mut node = node.let_in(&mut manager);
    node.forget();
    node.pass(Duration::from_secs(2));
    assert_eq!(node.multicast(DatagramKind::Find).len(), 0, "it has found one");
}

#[test]
fn an_answer_to_no_find_of_this_search_is_no_candidate() {
    let mut node = searching(1);
    let nonce = node.nonces()[0];
    let bytes = reply(nonce ^ 1, 0x5555, vec![rogue(1)]);
    let input = Input::Datagram { lane: protocol::Lane::Unicast, from: rogue(1), bytes: &bytes };
    assert_eq!(node.refuses(input), Rejected::OutOfPlace);
    let lane = protocol::Lane::Discovery;
    let bytes = reply(nonce, 0x5555, vec![rogue(1)]);
    assert_eq!(node.refuses(Input::Datagram { lane, from: rogue(1), bytes: &bytes }), Rejected::NotForUs);
    node.pass(Duration::from_secs(1));
    assert_eq!(node.tried(), []);
}

/// Attack A1: a node with an ordinary certificate answers every FIND before the manager does.
#[test]
fn a_rogue_that_answers_every_find_first_gets_nothing_and_delays_nobody_for_long() {
    for seed in 0..20 {
        let mut node = searching(seed);
        let begun = node.now;
        let mut answered = 0;
        let mut told = Vec::new();
        while node.now < begun + Duration::from_secs(60) && node.member.known().is_none() {
            let nonces = node.nonces();
            for nonce in &nonces[answered..] {
                let host = 1 + (answered % 200) as u8;
                node.unicast_from(66, &reply(*nonce, 0x5555, vec![rogue(host)])).unwrap();
                node.unicast_from(1, &reply(*nonce, 0x5555, vec![registrar(1)])).unwrap();
                answered += 1;
            }
            for (at, conn, to) in open_attempts(&node) {
                if to == registrar(1) && node.now >= at + 20 * MILLI {
                    let mut manager = Manager::new();
                    node.register_at(to, &mut manager);
                    break;
                } else if to != registrar(1) && node.now >= at + 5 * MILLI {
                    // What TLS makes of a certificate without the manager role.
                    let why = CloseReason::Refused("the peer is no manager".into());
                    let _ = node.input(Input::Closed { conn, why });
                    told.push(conn);
                }
            }
            node.pass(5 * MILLI);
        }
        assert!(node.member.known().is_some() && node.now <= begun + Duration::from_secs(5), "seed {seed}");
        assert!(!told.iter().any(|conn| was_told(&node, *conn)), "the rogue was told something");
    }
}

/// Attack A2: ten nodes accept the connection and say nothing, and the manager's answer comes last.
#[test]
fn ten_tar_pits_delay_a_join_by_less_than_five_seconds() {
    for apart in [false, true] {
        let mut node = searching(3);
        let begun = node.now;
        let nonce = node.nonces()[0];
        for host in 1..=10 {
            let source = if apart { host } else { 66 };
            let _ = node.unicast_from(source, &reply(nonce, 0x5555, vec![rogue(host)]));
        }
        node.unicast_from(200, &reply(nonce, 0x5555, vec![registrar(1)])).unwrap();
        while !node.tried().contains(&registrar(1)) {
            node.pass_to_the_next_timer();
        }
        let took = node.now.saturating_since(begun);
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(
            apart || took < Duration::from_secs(1),
            "one source does not come before all others: {took:?}"
        );
        assert!(open_attempts(&node).len() <= 8);
        node.register_at(registrar(1), &mut Manager::new());
        assert_eq!(open_attempts(&node).len(), 0);
    }
}

/// Attack A4: whatever answers, the search goes on until the node is in.
#[test]
fn answers_that_lead_nowhere_do_not_end_the_search() {
    let mut node = searching(4);
    for round in 0..20 {
        let nonce = *node.nonces().last().unwrap();
        let _ = node.unicast_from(66, &reply(nonce, 0x5555, vec![rogue(round)]));
        node.pass(Duration::from_secs(1));
    }
    let finds = node.multicast(DatagramKind::Find).len();
    assert!(finds >= 15, "{finds} FINDs in 20 s");
}

#[test]
fn pauses_between_the_runs_grow_to_five_seconds_and_differ() {
    let pauses = |seed| {
        let mut node = searching(seed);
        node.pass(Duration::from_secs(40));
        let finds: Vec<_> = node.multicast(DatagramKind::Find).iter().map(|(at, _)| *at).collect();
        finds.chunks(3).map(|run| run[0]).collect::<Vec<_>>()
    };
    let apart: Vec<_> = pauses(1).windows(2).map(|pair| pair[1].saturating_since(pair[0])).collect();
    assert!(apart[0] < Duration::from_millis(1_401), "{apart:?}");
    assert!(apart.iter().skip(5).all(|apart| *apart > Duration::from_millis(3_399)), "{apart:?}");
    assert!(apart.iter().all(|apart| *apart < Duration::from_millis(5_901)), "{apart:?}");
    assert_ne!(pauses(1)[3], pauses(2)[3]);
}

#[test]
fn a_manager_that_a_certificate_vouches_for_is_tried_at_once_and_before_hints() {
    let mut node = searching(5);
    let nonce = node.nonces()[0];
    let heard = presence(holder(2), &mut Manager::new(), &[registrar(1)]);
    for host in 1..=8 {
        node.unicast_from(66, &reply(nonce, 0x5555, vec![rogue(host)])).unwrap();
    }
    node.discovery(&heard).unwrap();
    node.pass(Duration::ZERO);
    assert_eq!(node.tried(), [registrar(1)]);
    assert_eq!(node.refuses_discovery(&heard), Rejected::Stale, "a recorded one says nothing");
    // While the search rests, too.
    let mut late = searching(6);
    late.pass(Duration::from_secs(30));
    late.discovery(&heard).unwrap();
    late.pass(Duration::ZERO);
    assert_eq!(late.tried(), [registrar(1)]);
}

#[test]
fn a_presence_without_the_manager_role_or_a_genuine_mandate_is_refused() {
    let mut node = searching(5);
    let mut manager = Manager::new();
    let member = Holder { number: 9, is_manager: false };
    let bytes = presence(member, &mut manager, &[rogue(1)]);
    assert_eq!(node.refuses_discovery(&bytes), Rejected::NotAuthentic);
    let genuine = presence(holder(2), &mut manager, &[registrar(1)]);
    for at in [40, 200, genuine.len() - 1] {
        let mut spoiled = genuine.clone();
        spoiled[at] ^= 1;
        let _ = node.refuses_discovery(&spoiled);
    }
    // Another manager's mandate under one's own alarm.
    let stranger = Manager::of(0x5555, 0x66);
    manager.signer = stranger.signer;
    let mixed = {
        let alarm = Manager::new().alarm();
        let mandate = holder(2).mandate(&manager.signer);
        protocol::discovery::Presence::encode(
            super::manager::GROUP,
            &mandate,
            &[rogue(1)],
            &alarm,
            &Manager::new().signer,
        )
    };
    assert_eq!(node.refuses_discovery(&mixed.unwrap()), Rejected::NotAuthentic);
    node.pass(Duration::ZERO);
    assert_eq!(node.tried(), []);
}

#[test]
fn who_did_not_prove_to_be_a_manager_is_left_alone_for_a_minute() {
    let mut node = searching(7);
    let begun = node.now;
    while node.now < begun + Duration::from_secs(130) {
        if let Some(nonce) = node.nonces().last() {
            let _ = node.unicast_from(66, &reply(*nonce, 0x5555, vec![rogue(1)]));
        }
        for (_, conn, _) in open_attempts(&node) {
            let _ = node.input(Input::Closed { conn, why: CloseReason::Refused("wrong role".into()) });
            node.sent.push((node.now, Transmit::Close { conn }));
        }
        node.pass(Duration::from_millis(100));
    }
    let tries: Vec<_> = node.asked().iter().map(|(at, ..)| *at).collect();
    assert_eq!(tries.len(), 3, "{tries:?}");
    assert!(tries.windows(2).all(|pair| pair[1] >= pair[0] + Duration::from_secs(60)), "{tries:?}");
}

/// A flood of hints, thousands from all over, and the manager's own among them.
#[test]
fn a_flood_of_hints_keeps_nobody_from_the_manager() {
    let mut node = searching(8);
    let begun = node.now;
    let mut seen = 0;
    let mut taken = false;
    while node.now < begun + Duration::from_secs(20) && !taken {
        let nonces = node.nonces();
        let newest = *nonces.last().unwrap();
        for burst in 0..200_u32 {
            let host = (burst % 250) as u8;
            let to = SocketAddr::from((
                [10, 9, (burst / 250) as u8, host],
                1_000 + (node.now.micros() % 60_000) as u16,
            ));
            let _ = node.unicast_from(host, &reply(newest, 0x5555, vec![to; 4]));
        }
        if nonces.len() > seen {
            seen = nonces.len();
            // The manager is heard by its presence, whatever else is on the LAN.
            let mut manager = Manager::new();
            manager.alarms = seen as u64;
            let _ = node.discovery(&presence(holder(2), &mut manager, &[registrar(1)]));
        }
        node.pass(Duration::from_millis(10));
        taken = node.tried().contains(&registrar(1));
        assert!(open_attempts(&node).len() <= 8);
    }
    assert!(taken && node.now < begun + Duration::from_secs(5));
}

#[test]
fn a_manager_that_the_group_has_evicted_is_told_nothing() {
    use protocol::Revocation;
    let evicted = |identity: &str, certificate| Revocation {
        identity: Revocation::identity_hash(identity),
        certificate,
    };
    for revocation in [evicted(&peer().identity, [0; 32]), evicted("somebody else", peer().certificate)] {
        let mut node = Node::with(9, holder(1).config());
        node.member.shut_out([revocation]);
        let mut node = node.begun();
        let nonce = node.nonces()[0];
        node.unicast_from(1, &reply(nonce, 0x5555, vec![registrar(1)])).unwrap();
        node.pass(Duration::ZERO);
        let conn = node.opened();
        assert!(node.is_closed(conn) && node.frames().is_empty());
        assert!(matches!(node.events[..], [MemberEvent::Unreachable { .. }]), "{:?}", node.events);
    }
    let mut node = Node::with(9, holder(1).config());
    node.member.shut_out([evicted(&holder(2).identity(), [0; 32])]);
    let mut node = node.begun();
    let bytes = presence(holder(2), &mut Manager::new(), &[registrar(1)]);
    assert_eq!(
        node.input(Input::Datagram { lane: protocol::Lane::Discovery, from: rogue(1), bytes: &bytes }),
        Err(Rejected::Refused)
    );
    node.pass(Duration::ZERO);
    assert_eq!(node.tried(), []);
}

#[test]
fn a_manager_that_refuses_for_good_ends_the_asking_for_a_minute() {
    let mut node = Node::with(2, holder(1).config());
    node.member.stand(holder(1).candidacy(5));
    let mut node = node.begun();
    node.discovery(&presence(holder(2), &mut Manager::new(), &[registrar(1)])).unwrap();
    node.pass(Duration::ZERO);
    let conn = node.opened();
    node.frame(conn, &Frame::Refused(protocol::Refusal::Revoked)).unwrap();
    node.forget();
    node.pass(Duration::from_secs(29));
    assert_eq!(node.sent.len(), 0, "no FIND, no connection, and above all no claim");
}
