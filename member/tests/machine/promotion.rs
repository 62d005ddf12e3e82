//! From member to manager, and from manager to member.

use std::time::Duration;

use member::MemberEvent;
use protocol::{Machine as _, Revocation};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::manager::Manager;
use super::node::{Node, registrar};
use super::others::{holder, presence};

const EVICTED: Revocation = Revocation { identity: [1; 32], certificate: [2; 32] };

#[test]
fn what_a_manager_needs_comes_out_of_the_member_that_was_elected() {
    let mut node = Node::with(1, holder(1).config());
    node.member.stand(holder(1).candidacy(7));
    node.member.shut_out([EVICTED]);
    let mut node = node.begun();
    let nonce = node.nonces()[0];
    node.unicast_from(1, &super::others::reply(nonce, 1, vec![registrar(1)])).unwrap();
    node.pass(Duration::from_secs(6));
    assert!(node.events.contains(&MemberEvent::Elected));
    assert!(node.is_closed(node.asked()[0].1), "nothing of the member is left open");
    let promotion = node.member.into_promotion();
    let candidacy = promotion.candidacy.unwrap();
    assert_eq!((candidacy.priority, candidacy.registrar), (7, holder(1).registrar()));
    assert_eq!(candidacy.mandate.key, crypto::Signer::public_key(&holder(1).signer()));
    assert_eq!(candidacy.signer.public_key(), candidacy.mandate.key);
    assert_eq!(promotion.next_conn, 3, "no connection's number is used twice");
    assert_eq!(promotion.revocations, [EVICTED]);
}

#[test]
fn a_manager_that_gave_way_goes_where_it_was_sent_first() {
    let config = holder(1).config();
    let rng = Box::new(ChaCha12Rng::seed_from_u64(1));
    let mut node = Node::new(1);
    node.member = member::Member::new_after(config, rng, 41, vec![registrar(7)]);
    node.member.stand(holder(1).candidacy(7));
    node.member.shut_out([EVICTED]);
    let mut node = node.begun();
    let [(_, conn, to)] = node.asked()[..] else { panic!("{:?}", node.asked()) };
    assert_eq!((conn.0, to), (41, registrar(7)));
    let mut manager = Manager::new();
    node.register_at(to, &mut manager);
    assert_eq!(node.member.revocations().copied().collect::<Vec<_>>(), [EVICTED]);
    let node = node.let_in(&mut manager);
    assert!(node.member.poll_timeout().is_some());
}

/// A node that gave way must not come back as manager because its old presence is sent again.
#[test]
fn its_own_presence_is_nobodys() {
    let mut node = Node::with(2, holder(1).config());
    node.member.stand(holder(1).candidacy(7));
    let mut node = node.begun();
    let mut itself = Manager::new();
    itself.signer = holder(1).signer();
    let bytes = presence(holder(1), &mut itself, &[registrar(1)]);
    assert_eq!(node.discovery(&bytes), Err(protocol::Rejected::NotForUs));
    node.pass(Duration::ZERO);
    assert_eq!(node.asked(), []);
}

#[test]
fn a_certificate_too_long_for_its_datagrams_does_not_stand() {
    let mut candidacy = holder(1).candidacy(7);
    candidacy.mandate.certificate.resize(701, 0);
    let mut node = Node::with(2, holder(1).config());
    node.member.stand(candidacy);
    let mut node = node.begun();
    node.pass(Duration::from_secs(30));
    assert!(!node.events.contains(&MemberEvent::Standing));
}
