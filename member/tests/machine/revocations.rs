//! Everybody knows who was evicted: from the grant, from what is multicast, or by asking.

use std::time::Duration;

use crypto::{Ed25519Signer, Secret, Signer as _};
use protocol::{
    Frame, Rejected, Revocation, SignedRevocation, ToManager, ToMember, encode_revocations, policy_digest,
};

use super::manager::{GROUP, Manager};
use super::node::{Node, channel};

const fn revocation(number: u8) -> Revocation {
    Revocation { identity: [number; 32], certificate: [number ^ 0x80; 32] }
}

/// A manager that has evicted so many.
struct Evicting {
    manager: Manager,
    list: Vec<SignedRevocation>,
}

impl Evicting {
    fn new(count: u8) -> Self {
        let mut evicting = Self { manager: Manager::new(), list: Vec::new() };
        (0..count).for_each(|number| evicting.evict(number));
        evicting
    }

    fn evict(&mut self, number: u8) {
        self.list.push(SignedRevocation::sign(GROUP, revocation(number), &self.manager.signer));
        let mut sorted: Vec<_> = self.list.iter().map(|signed| signed.revocation).collect();
        sorted.sort();
        self.manager.policy = policy_digest(&self.manager.domain, self.manager.roster, sorted.iter());
    }

    /// A member whose grant listed the newest `known` of them.
    fn member(&mut self, known: usize) -> Node {
        let mut node = Node::joining(1);
        let conn = node.opened();
        let mut newest: Vec<_> = self.list.iter().rev().take(known).copied().collect();
        newest.sort_by_key(|signed| signed.revocation);
        let (grant, confirm) =
            self.manager.grant(&node.join(), &channel(), |grant, _| grant.revocations.clone_from(&newest));
        node.frame(conn, &Frame::Grant(Box::new(grant), confirm)).unwrap();
        node.frame(conn, &Frame::Admitted).unwrap();
        let mut node = node.let_in(&mut self.manager);
        node.forget();
        node
    }

    fn page(&mut self, nonce: u64, from: u32) -> Vec<u8> {
        let page: Vec<_> = self.list.iter().skip(from as usize).take(6).copied().collect();
        self.manager.seal(&ToMember::Revocations { nonce, from, revocations: page })
    }

    /// Lets `time` pass with alarms, and answers what is asked.
    fn run(&mut self, node: &mut Node, time: Duration) -> Vec<(u64, u32)> {
        let (end, mut asked) = (node.now + time, Vec::new());
        while node.now < end {
            node.control(&self.manager.alarm()).unwrap();
            node.pass(Duration::from_millis(250));
            for (nonce, from) in requests(node, &self.manager) {
                asked.push((nonce, from));
                let page = self.page(nonce, from);
                node.unicast(&page).unwrap();
            }
            node.forget();
        }
        asked
    }
}

fn requests(node: &Node, manager: &Manager) -> Vec<(u64, u32)> {
    let asked = node.said(manager).into_iter().filter_map(|said| match said {
        ToManager::Revocations { nonce, from } => Some((nonce, from)),
        _ => None,
    });
    asked.collect()
}

fn known(node: &Node) -> usize {
    node.member.revocations().count()
}

#[test]
fn a_member_that_knows_everybody_asks_nothing() {
    let mut evicting = Evicting::new(9);
    let mut node = evicting.member(9);
    assert_eq!(known(&node), 9);
    assert_eq!(evicting.run(&mut node, Duration::from_secs(5)), []);
}

#[test]
fn what_was_multicast_and_missed_is_asked_for_and_nothing_else() {
    let mut evicting = Evicting::new(9);
    let mut node = evicting.member(9);
    for number in 20..23 {
        evicting.evict(number);
    }
    let asked = evicting.run(&mut node, Duration::from_secs(4));
    assert_eq!(asked.iter().map(|(_, from)| *from).collect::<Vec<_>>(), [9]);
    assert_eq!(known(&node), 12);
}

#[test]
fn a_list_longer_than_a_grant_is_read_page_by_page_a_second_apart() {
    let mut evicting = Evicting::new(40);
    let mut node = evicting.member(3);
    let asked = evicting.run(&mut node, Duration::from_secs(12));
    let from: Vec<_> = asked.iter().map(|(_, from)| *from).collect();
    assert_eq!(from, [3, 9, 15, 21, 27, 33, 39, 0], "first what follows, then what came before");
    assert!(asked.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1_000_000), "{asked:?}");
    assert_eq!(known(&node), 40);
}

#[test]
fn revocations_that_are_multicast_are_learned_and_a_strangers_are_not() {
    let mut evicting = Evicting::new(0);
    let mut node = evicting.member(0);
    evicting.evict(1);
    evicting.evict(2);
    let heard = encode_revocations(&evicting.manager.domain, &evicting.list);
    node.control(&heard).unwrap();
    assert_eq!(known(&node), 2);
    let stranger = Ed25519Signer::from_seed(&Secret::new([0x66; 32]));
    let forged = SignedRevocation::sign(GROUP, revocation(9), &stranger);
    let mixed = [SignedRevocation::sign(GROUP, revocation(8), &evicting.manager.signer), forged];
    let mixed = encode_revocations(&evicting.manager.domain, &mixed);
    assert_eq!(node.refuses_control(&mixed), Rejected::NotAuthentic);
    assert_eq!(known(&node), 2);
    assert_eq!(evicting.run(&mut node, Duration::from_secs(3)), []);
}

#[test]
fn a_grant_with_a_revocation_that_is_not_its_managers_adds_nobody() {
    let stranger = Ed25519Signer::from_seed(&Secret::new([0x66; 32]));
    let mut evicting = Evicting::new(2);
    evicting.list.push(SignedRevocation::sign(GROUP, revocation(9), &stranger));
    let node = evicting.member(3);
    assert_eq!(known(&node), 2);
}

/// A manager whose alarms name a digest that its own list does not give.
#[test]
fn a_list_that_never_fits_is_read_once_in_half_a_minute() {
    let mut evicting = Evicting::new(4);
    let mut node = evicting.member(4);
    evicting.manager.policy = [0x66; 16];
    let asked = evicting.run(&mut node, Duration::from_secs(70));
    assert!((4..=6).contains(&asked.len()), "{asked:?}");
    // An unanswering manager as well.
    let mut evicting = Evicting::new(4);
    let mut node = evicting.member(4);
    evicting.manager.policy = [0x66; 16];
    let end = node.now + Duration::from_secs(70);
    while node.now < end {
        node.control(&evicting.manager.alarm()).unwrap();
        node.pass(Duration::from_millis(250));
    }
    let asked = requests(&node, &evicting.manager).len();
    assert!((5..=15).contains(&asked), "{asked}");
}

#[test]
fn a_part_that_was_not_asked_for_changes_nothing() {
    let mut evicting = Evicting::new(4);
    let mut node = evicting.member(0);
    let page = evicting.page(1, 0);
    assert_eq!(node.refuses_unicast(&page), Rejected::OutOfPlace);
    node.control(&evicting.manager.alarm()).unwrap();
    let mut asked = Vec::new();
    while asked.is_empty() {
        node.pass_to_the_next_timer();
        asked = requests(&node, &evicting.manager);
    }
    let (nonce, from) = asked[0];
    assert_eq!(from, 0);
    for (nonce, from) in [(nonce + 1, from), (nonce - 1, from), (nonce, from + 1)] {
        let page = evicting.page(nonce, from);
        assert_eq!(node.refuses_unicast(&page), Rejected::OutOfPlace);
    }
    let mut page = evicting.list.clone();
    page[1].signature.0[0] ^= 1;
    let page = evicting.manager.seal(&ToMember::Revocations { nonce, from, revocations: page });
    node.unicast(&page).unwrap();
    assert_eq!(known(&node), 3, "what is not the manager's word is passed over");
}

/// The list is the group's: it holds at the next manager too, and is not taken for that one's word.
#[test]
fn who_was_evicted_stays_so_under_another_manager() {
    let mut evicting = Evicting::new(3);
    let mut node = evicting.member(3);
    let mut other = Evicting::new(0);
    other.manager = Manager::of(0x7777, 0x71);
    assert_ne!(other.manager.signer.public_key(), evicting.manager.signer.public_key());
    other.evict(3);
    node.pass(Duration::from_secs(17));
    let (at, conn, _) = *node.asked().last().unwrap();
    assert!(at <= node.now);
    node.input(protocol::Input::Opened { conn, peer: super::node::peer() }).unwrap();
    let (grant, confirm) = other.manager.grant(&node.join(), &channel(), |_, _| {});
    node.frame(conn, &Frame::Grant(Box::new(grant), confirm)).unwrap();
    node.frame(conn, &Frame::Admitted).unwrap();
    let mut node = node.let_in(&mut other.manager);
    node.forget();
    let asked = other.run(&mut node, Duration::from_secs(4));
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(known(&node), 4);
}
