//! Becoming manager where there is none: one of many, the better one, and not at a recording's word.

use std::time::Duration;

use member::MemberEvent;
use protocol::{DatagramKind, Input, Instant, Lane, Machine, Rejected, Revocation, Transmit};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::manager::Manager;
use super::node::{Node, registrar};
use super::others::{DISCOVERY, Holder, holder, presence};

const MILLI: Duration = Duration::from_millis(1);
/// The node under test: of middling rank.
const OWN: Holder = holder(100);

fn standing(holder: Holder, priority: u16, seed: u64) -> Node {
    let mut node = Node::with(seed, holder.config());
    node.member.stand(holder.candidacy(priority));
    node.begun()
}

fn claims(node: &Node) -> Vec<Instant> {
    node.multicast(DatagramKind::Claim).iter().map(|(at, _)| *at).collect()
}

fn is_elected(node: &Node) -> bool {
    node.events.contains(&MemberEvent::Elected)
}

/// Passes until it has claimed once.
fn claiming(seed: u64) -> Node {
    let mut node = standing(OWN, 5, seed);
    while claims(&node).is_empty() {
        node.pass_to_the_next_timer();
    }
    node
}

/// Nodes on one LAN whose multicast reaches each other node after half a millisecond or not at all.
struct Lan {
    nodes: Vec<Node>,
    managers: Vec<Manager>,
    dice: ChaCha12Rng,
    loss: u64,
    now: Instant,
    /// When, and who becomes manager next or speaks as one.
    presences: Vec<(Instant, usize, usize)>,
}

impl Lan {
    fn new(count: u8, loss: u64, seed: u64) -> Self {
        let dice = ChaCha12Rng::seed_from_u64(seed ^ 0x5eed);
        let node = |number: u8| standing(holder(number), 5, seed * 1_000 + u64::from(number));
        let nodes: Vec<_> = (1..=count).map(node).collect();
        let now = nodes[0].now;
        Self { nodes, managers: Vec::new(), dice, loss, now, presences: Vec::new() }
    }

    fn multicast(&mut self, from: usize, bytes: &[u8]) {
        for to in 0..self.nodes.len() {
            let lost = self.dice.next_u64() % 100 < self.loss;
            if to == from || lost {
                continue;
            }
            let node = &mut self.nodes[to];
            node.now = self.now;
            let _ = node.discovery(bytes);
        }
    }

    /// Carries everything for `time`; who is elected speaks as a manager from then on.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            for at in 0..self.nodes.len() {
                let elapsed = self.now.saturating_since(self.nodes[at].now);
                self.nodes[at].pass(elapsed);
                let sent = std::mem::take(&mut self.nodes[at].sent);
                for (_, transmit) in sent {
                    if let Transmit::Multicast { to, bytes, .. } = transmit
                        && to == DISCOVERY.into()
                    {
                        self.multicast(at, &bytes);
                    }
                }
                if is_elected(&self.nodes[at]) {
                    self.nodes[at].events.clear();
                    self.managers.push(Manager::of(at as u64, at as u8 + 1));
                    let place = self.managers.len() - 1;
                    self.presences.push((self.now, at, place));
                }
            }
            for turn in 0..self.presences.len() {
                let (due, node, manager) = self.presences[turn];
                if due <= self.now {
                    self.presences[turn].0 = self.now + Duration::from_millis(500);
                    let by = holder(node as u8 + 1);
                    let bytes = presence(by, &mut self.managers[manager], &[by.registrar()]);
                    self.multicast(node, &bytes);
                }
            }
            self.now += MILLI / 2;
        }
    }
}

#[test]
fn twenty_nodes_started_at_one_instant_elect_one() {
    for seed in 0..40 {
        let mut lan = Lan::new(20, 0, seed);
        lan.run(Duration::from_secs(4));
        assert_eq!(lan.managers.len(), 1, "seed {seed}");
        assert_eq!(lan.managers[0].domain.subgroup.0, 0, "the best of them: the lowest fingerprint");
    }
}

/// Where a fifth is lost two may win; they hear of each other then, and become one.
#[test]
fn twenty_nodes_on_a_lan_that_loses_a_fifth_nearly_always_elect_one() {
    let mut more = 0;
    for seed in 0..60 {
        let mut lan = Lan::new(20, 20, seed);
        lan.run(Duration::from_secs(5));
        assert!(!lan.managers.is_empty(), "seed {seed}");
        more += usize::from(lan.managers.len() > 1);
    }
    assert!(more <= 1, "{more} of 60 elections had two winners");
}

#[test]
fn a_node_alone_claims_three_times_within_a_second_and_then_has_won() {
    for seed in 0..10 {
        let mut node = standing(OWN, 5, seed);
        let begun = node.now;
        node.pass(Duration::from_secs(3));
        let at = claims(&node);
        assert_eq!(at.len(), 3);
        let first = at[0].saturating_since(begun);
        assert!((Duration::from_millis(900)..Duration::from_millis(1_400)).contains(&first), "{first:?}");
        let spread = at[2].saturating_since(at[0]);
        assert!((Duration::from_millis(600)..Duration::from_secs(1)).contains(&spread));
        assert_eq!(node.events, [MemberEvent::Standing, MemberEvent::Elected]);
        assert_eq!(node.member.poll_timeout(), None, "a member that was elected does nothing any more");
        let claim = holder(1).claim(9);
        assert_eq!(node.refuses_discovery(&claim), Rejected::NotForUs);
    }
}

#[test]
fn who_cannot_manage_never_claims() {
    let mut node = Node::with(1, OWN.config()).begun();
    node.pass(Duration::from_secs(60));
    assert_eq!(claims(&node), []);
    let mut evicted = Node::with(1, OWN.config());
    evicted.member.stand(OWN.candidacy(5));
    let identity = Revocation::identity_hash(&OWN.identity());
    evicted.member.shut_out([Revocation { identity, certificate: [0; 32] }]);
    let mut evicted = evicted.begun();
    evicted.pass(Duration::from_secs(60));
    assert_eq!(claims(&evicted), []);
}

#[test]
fn a_node_withdraws_on_a_better_claim_and_repeats_its_own_on_a_worse_one() {
    for (better, priority) in [(holder(1), 5), (holder(200), 6)] {
        let mut node = claiming(1);
        node.discovery(&better.claim(priority)).unwrap();
        node.forget();
        node.pass(Duration::from_millis(1_900));
        assert_eq!(claims(&node), []);
        assert!(!is_elected(&node));
    }
    for (worse, priority) in [(holder(200), 5), (holder(1), 4)] {
        let mut node = claiming(1);
        node.forget();
        node.discovery(&worse.claim(priority)).unwrap();
        assert_eq!(claims(&node), [node.now], "at once");
        for _ in 0..50 {
            node.discovery(&worse.claim(priority)).unwrap();
        }
        assert!(claims(&node).len() <= 6, "and seldom: {}", claims(&node).len());
        node.pass(Duration::from_secs(2));
        assert!(is_elected(&node));
    }
}

#[test]
fn who_withdrew_goes_to_the_claimant_as_soon_as_it_is_heard() {
    let mut node = claiming(1);
    node.discovery(&holder(1).claim(5)).unwrap();
    let mut manager = Manager::of(0x9999, 1 ^ 0xff);
    node.discovery(&presence(holder(1), &mut manager, &[registrar(1)])).unwrap();
    node.pass(Duration::ZERO);
    assert_eq!(node.tried(), [registrar(1)]);
    node.register_at(registrar(1), &mut manager);
    node.pass(Duration::from_secs(10));
    assert!(!is_elected(&node));
}

/// Attack A26: the claim of a better node that is long gone, sent again and again.
#[test]
fn a_replayed_claim_delays_an_election_once_a_minute() {
    let recorded = holder(1).claim(9);
    let mut node = claiming(2);
    let begun = node.now;
    let mut withdrew = false;
    while !is_elected(&node) && node.now < begun + Duration::from_secs(20) {
        let taken = node.discovery(&recorded);
        withdrew |= taken.is_ok() && claims(&node).len() < 2;
        node.pass(Duration::from_millis(50));
    }
    assert!(withdrew && is_elected(&node));
    let took = node.now.saturating_since(begun);
    assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

/// One certificate vouches for any number of keys; they are ignored together.
#[test]
fn a_claimant_with_a_thousand_keys_is_one_claimant() {
    use crypto::{Ed25519Signer, Secret};
    use protocol::discovery::Claim;
    let mut node = claiming(2);
    let begun = node.now;
    let mut number = 0_u16;
    while !is_elected(&node) && node.now < begun + Duration::from_secs(20) {
        number += 1;
        let mut seed = [9; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let signer = Ed25519Signer::from_seed(&Secret::new(seed));
        let by = holder(1);
        let claim = Claim { mandate: by.mandate(&signer), priority: 9, registrar: by.registrar() };
        let _ = node.discovery(&claim.encode(super::manager::GROUP, &signer));
        node.pass(Duration::from_millis(50));
    }
    assert!(is_elected(&node));
    assert!(node.now < begun + Duration::from_secs(4));
}

#[test]
fn a_claim_of_a_node_that_was_evicted_or_that_is_no_manager_counts_for_nothing() {
    let mut node = claiming(3);
    let identity = Revocation::identity_hash(&holder(1).identity());
    node.member.shut_out([Revocation { identity, certificate: [0; 32] }]);
    let bytes = holder(1).claim(9);
    let input = Input::Datagram { lane: Lane::Discovery, from: registrar(1), bytes: &bytes };
    assert_eq!(node.input(input), Err(Rejected::Refused));
    let member = Holder { number: 2, is_manager: false };
    assert_eq!(node.refuses_discovery(&member.claim(9)), Rejected::NotAuthentic);
    let mut spoiled = holder(3).claim(9);
    let last = spoiled.len() - 65;
    spoiled[last] ^= 1;
    let _ = node.refuses_discovery(&spoiled);
    node.pass(Duration::from_secs(1));
    assert!(is_elected(&node));
}

#[test]
fn a_presence_ends_a_candidacy_at_any_point() {
    for after in [300, 950, 1_300, 1_600] {
        let mut node = standing(OWN, 5, 4);
        node.pass(Duration::from_millis(after));
        node.discovery(&presence(holder(1), &mut Manager::new(), &[registrar(1)])).unwrap();
        node.forget();
        node.pass(Duration::from_secs(4));
        assert!(claims(&node).is_empty() && !is_elected(&node), "after {after} ms");
    }
}

/// A manager that stands in the way and does not let the node in is heard no more: then it is gone.
#[test]
fn a_manager_that_falls_silent_delays_an_election_by_seconds() {
    let mut node = standing(OWN, 5, 5);
    node.discovery(&presence(holder(1), &mut Manager::new(), &[registrar(1)])).unwrap();
    let begun = node.now;
    while !is_elected(&node) && node.now < begun + Duration::from_secs(60) {
        for (_, conn, _) in node.asked() {
            let why = protocol::CloseReason::Unreachable("refused".into());
            let _ = node.input(Input::Closed { conn, why });
        }
        node.pass(Duration::from_millis(100));
    }
    let took = node.now.saturating_since(begun);
    assert!((Duration::from_secs(6)..Duration::from_secs(16)).contains(&took), "{took:?}");
}

/// Members of a silent manager hold a state: who is new does not claim beside them, and not for ever either, for such
/// answers can be made of recordings.
#[test]
fn nobody_claims_while_others_hold_a_state_and_no_longer_than_a_state_lasts() {
    use protocol::discovery::Held;
    let mut node = standing(OWN, 5, 6);
    let held = presence(holder(1), &mut Manager::new(), &[registrar(1)]);
    let begun = node.now;
    let mut answered = 0;
    while !is_elected(&node) && node.now < begun + Duration::from_secs(1_200) {
        let nonces = node.nonces();
        for nonce in &nonces[answered.min(nonces.len())..] {
            let answer = Held { nonce: *nonce, presence: held.clone() };
            node.unicast_from(7, &answer.encode(super::manager::GROUP)).unwrap();
        }
        answered = nonces.len();
        for (_, conn, _) in node.asked() {
            let _ = node.input(Input::Closed { conn, why: protocol::CloseReason::TimedOut });
        }
        if answered > 100 {
            node.forget();
            answered = 0;
        }
        node.pass(Duration::from_millis(100));
    }
    let took = node.now.saturating_since(begun);
    assert!((Duration::from_secs(600)..Duration::from_secs(620)).contains(&took), "{took:?}");
    let mut alone = standing(OWN, 5, 6);
    let nonce = alone.nonces()[0];
    let answer = Held { nonce, presence: held };
    alone.unicast_from(7, &answer.encode(super::manager::GROUP)).unwrap();
    let mut forged = answer.clone();
    forged.presence[100] ^= 1;
    let forged = forged.encode(super::manager::GROUP);
    assert!(matches!(alone.unicast_from(7, &forged), Err(Rejected::NotAuthentic | Rejected::Malformed)));
    alone.pass(Duration::from_secs(30));
    assert!(is_elected(&alone), "one answer does not hold it up for long");
}

#[test]
fn candidates_that_say_nothing_delay_a_claim_by_three_seconds_at_most() {
    let mut node = standing(OWN, 5, 7);
    let begun = node.now;
    for (host, nonce) in (1..30).zip(node.nonces().into_iter().cycle()) {
        let to = ([10, 0, 66, host], 7_400).into();
        let _ = node.unicast_from(host, &super::others::reply(nonce, 1, vec![to]));
    }
    while claims(&node).is_empty() {
        node.pass_to_the_next_timer();
    }
    let took = node.now.saturating_since(begun);
    assert!(took < Duration::from_millis(4_500), "{took:?}");
}

/// Attack A26: the presences of a manager that is gone, recorded for a day, must not keep the group without one.
#[test]
fn recorded_presences_hold_an_election_up_no_longer_than_the_keys_of_their_subgroup_last() {
    let mut node = standing(OWN, 5, 31);
    let mut gone = Manager::of(7, 7);
    let began = node.now;
    while !is_elected(&node) && node.now < began + Duration::from_secs(900) {
        let _ = node.discovery(&presence(holder(2), &mut gone, &[holder(2).registrar()]));
        let open: Vec<_> = node.asked().into_iter().map(|(_, conn, _)| conn).collect();
        for conn in open {
            let why = protocol::CloseReason::Unreachable("nobody is there".into());
            let _ = node.input(Input::Closed { conn, why });
        }
        node.sent.retain(|(_, transmit)| !matches!(transmit, Transmit::Open { .. }));
        node.pass(Duration::from_secs(2));
    }
    let took = node.now.saturating_since(began);
    assert!((600..640).contains(&took.as_secs()), "{took:?}");
}
