//! Leaves and sender ids: no two at once, and no sender id ever again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gsm::Standing;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use protocol::{ConnId, Frame, RegNo, ToManager};

use super::support::{Manager, Node, Offered, address};

#[derive(Clone, Debug)]
enum Act {
    Connect(u8),
    Confirm(prop::sample::Index),
    Hang(prop::sample::Index),
    Leave(prop::sample::Index),
    Evict(u8),
    Rekey,
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..24_u8).prop_map(Act::Connect),
        5 => any::<prop::sample::Index>().prop_map(Act::Confirm),
        1 => any::<prop::sample::Index>().prop_map(Act::Hang),
        2 => any::<prop::sample::Index>().prop_map(Act::Leave),
        1 => (0..24_u8).prop_map(Act::Evict),
        1 => Just(Act::Rekey),
        1 => (0..9_000_u16).prop_map(Act::Pass),
    ]
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A manager that is pulled about, with the offers under way and the members that were let in.
struct Play {
    manager: Manager,
    offers: BTreeMap<ConnId, Offered>,
    members: Vec<Offered>,
    issued: BTreeSet<u64>,
}

impl Play {
    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Connect(name) => self.connect(&Node::new(&format!("node-{name}")))?,
            Act::Confirm(pick) if !self.offers.is_empty() => {
                let conn = *self.offers.keys().nth(pick.index(self.offers.len())).unwrap();
                let offered = self.offers.remove(&conn).unwrap();
                if self.manager.frame(conn, &Frame::Confirm(offered.member)).is_ok() {
                    self.members.push(offered);
                }
            }
            Act::Hang(pick) if !self.offers.is_empty() => {
                let conn = *self.offers.keys().nth(pick.index(self.offers.len())).unwrap();
                self.offers.remove(&conn);
                self.manager.close(conn);
            }
            Act::Leave(pick) if !self.members.is_empty() => {
                let leaver = &self.members[pick.index(self.members.len())];
                let _ = self.manager.unicast(address(1), &leaver.seal(ToManager::Leave { nonce: 1 }));
            }
            Act::Evict(name) => {
                let _ = self.manager.gsm.evict(self.manager.now, &format!("node-{name}"));
                self.manager.advance(Duration::ZERO);
            }
            Act::Rekey => self.manager.rekey(),
            Act::Pass(ms) => self.manager.advance(Duration::from_millis((*ms).into())),
            _ => {}
        }
        Ok(())
    }

    fn connect(&mut self, node: &Node) -> Result<(), TestCaseError> {
        let conn = self.manager.connect(node);
        if let Some(offered) = self.manager.ask(conn, node) {
            prop_assert!(self.issued.insert(offered.grant.sender.0), "{} again", offered.grant.sender);
            let held = self.manager.gsm.members().find(|listed| listed.reg_no == offered.grant.reg_no);
            prop_assert!(held.is_none(), "{} is held by {held:?}", offered.grant.reg_no);
            self.offers.insert(conn, offered);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let closed = |conn: &ConnId| self.manager.is_closed(*conn);
        let open: Vec<RegNo> = self
            .offers
            .iter()
            .filter(|(conn, _)| !closed(conn))
            .map(|(_, offer)| offer.grant.reg_no)
            .collect();
        let held: Vec<RegNo> = self.manager.gsm.members().map(|listed| listed.reg_no).collect();
        let all: BTreeSet<RegNo> = open.iter().chain(&held).copied().collect();
        prop_assert_eq!(all.len(), open.len() + held.len(), "offered {:?}, held {:?}", open, held);
        let mut live = BTreeSet::new();
        for listed in self.manager.gsm.members().filter(|listed| listed.standing != Standing::Leaving) {
            prop_assert!(live.insert(&listed.identity), "{} is in twice", listed.identity);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn no_leaf_is_given_twice_and_no_sender_id_ever_again(acts in prop::collection::vec(act(), 1..80)) {
        let (offers, members, issued) = Default::default();
        let mut play = Play { manager: Manager::start(), offers, members, issued };
        play.issued.insert(play.manager.gsm.own_sender().0);
        for act in &acts {
            play.act(act)?;
            play.check()?;
        }
        // Nothing waits for ever: what is pending has a timer, and one cut takes all of it.
        play.manager.advance(Duration::from_secs(12));
        let status = play.manager.gsm.status(play.manager.now);
        prop_assert!(status.pending == 0 || status.next_rekey.is_some(), "{:?}", status);
        play.manager.rekey();
        prop_assert_eq!(play.manager.gsm.status(play.manager.now).pending, 0);
        prop_assert!(play.manager.gsm.members().all(|listed| listed.standing == Standing::In));
    }
}

#[test]
fn fifty_offers_at_once_do_not_collide() {
    let mut manager = Manager::start();
    let nodes: Vec<Node> = (0..50).map(|n| Node::new(&format!("node-{n}"))).collect();
    let offers: Vec<_> = nodes
        .iter()
        .map(|node| {
            let conn = manager.connect(node);
            (conn, manager.ask(conn, node).unwrap())
        })
        .collect();
    let leaves: BTreeSet<RegNo> = offers.iter().map(|(_, offer)| offer.grant.reg_no).collect();
    assert_eq!(leaves, (1..=50).map(RegNo).collect());
    for (conn, offer) in offers.iter().rev() {
        manager.frame(*conn, &Frame::Confirm(offer.member)).unwrap();
    }
    manager.rekey();
    assert_eq!(manager.gsm.members().count(), 51);
}
