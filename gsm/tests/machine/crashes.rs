//! A manager that dies at any point of its journal, again and again (attack A36).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crypto::Secret;
use gsm::{GsmEvent, JournalEntry};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use protocol::{ConnId, DatagramKind, Frame, SenderId, StateId, ToManager, ToMember};

use super::follower::Follower;
use super::support::{Manager, Node, START, address};

/// What happens to the manager next.
#[derive(Clone, Debug)]
enum Step {
    /// A node registers and confirms; it may be one that is a member already.
    Join(u8),
    /// A member leaves by itself.
    Leave(usize),
    /// A member is evicted.
    Evict(usize),
    /// The store has made so many more records durable.
    Store(usize),
    /// Time passes.
    Wait(u64),
    /// An operator cuts.
    Rekey,
    /// The process dies with what is durable, and comes back.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..12).prop_map(Step::Join),
        2 => any::<usize>().prop_map(Step::Leave),
        2 => any::<usize>().prop_map(Step::Evict),
        5 => (1_usize..4).prop_map(Step::Store),
        2 => (1_u64..7_000).prop_map(Step::Wait),
        1 => Just(Step::Rekey),
        2 => Just(Step::Crash),
    ]
}

/// The manager, its members, and what anybody was told.
struct Run {
    manager: Manager,
    members: BTreeMap<SenderId, Follower>,
    waiting: BTreeMap<ConnId, Follower>,
    /// Registrations that were told they are in, and not told to be out since.
    admitted: BTreeSet<SenderId>,
    /// Registrations of which anybody was told that they are out.
    out: BTreeSet<SenderId>,
    evicted: BTreeSet<String>,
    /// Every state that was ever sent, with its key.
    states: BTreeMap<StateId, Secret<32>>,
    read: usize,
    connections: u8,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            manager: Manager::start(),
            members: BTreeMap::new(),
            waiting: BTreeMap::new(),
            admitted: BTreeSet::new(),
            out: BTreeSet::new(),
            evicted: BTreeSet::new(),
            states: BTreeMap::new(),
            read: 0,
            connections: 0,
        };
        run.manager.storing = false;
        run.observe();
        run
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Join(name) => self.join(*name),
            Step::Leave(which) => {
                if let Some(leave) = self.pick(*which).map(|m| m.offered.seal(ToManager::Leave { nonce: 1 }))
                {
                    let _ = self.manager.unicast(address(1), &leave);
                }
            }
            Step::Evict(which) => {
                let identity = self.pick(*which).and_then(|member| {
                    let listed = self.manager.listed(&member.offered)?;
                    Some(listed.identity.clone())
                });
                if let Some(identity) = identity {
                    let _ = self.manager.gsm.evict(self.manager.now, &identity);
                    self.manager.advance(Duration::ZERO);
                }
            }
            Step::Store(count) => self.manager.store_some(*count),
            Step::Wait(millis) => self.manager.advance(Duration::from_millis(*millis)),
            Step::Rekey => {
                self.manager.gsm.rekey(self.manager.now);
                self.manager.advance(Duration::ZERO);
            }
            Step::Crash => self.crash(),
        }
        self.observe();
    }

    fn pick(&self, which: usize) -> Option<&Follower> {
        self.members.values().nth(which.checked_rem(self.members.len())?)
    }

    fn join(&mut self, name: u8) {
        let mut node = Node::new(&format!("node {name}"));
        // Every connection has a secret of its own.
        self.connections += 1;
        node.peer.channel = Secret::new([self.connections; 32]);
        let conn = self.manager.connect(&node);
        // A grant waits until the start is durable.
        let Some(offered) = self.manager.ask(conn, &node) else { return };
        if self.manager.frame(conn, &Frame::Confirm(offered.member)).is_ok() {
            self.waiting.insert(conn, Follower::new(offered));
        }
    }

    fn crash(&mut self) {
        let (now, journal) = std::mem::replace(&mut self.manager, Manager::start()).crash();
        (self.read, self.waiting) = (0, BTreeMap::new());
        self.manager = Manager::resume(now, journal, false);
        self.manager.storing = true;
        while self.manager.multicasts(DatagramKind::Question).is_empty() {
            self.manager.advance(Duration::from_millis(10));
        }
        let mut answers = Vec::new();
        for member in self.members.values_mut() {
            if let Some(question) = member.question(&self.manager) {
                answers.extend(member.answers(&question));
            }
        }
        for answer in answers {
            let _ = self.manager.unicast(address(1), &answer);
        }
        self.manager.advance(START);
        self.manager.storing = false;
        self.check_comeback();
    }

    /// What was told before the crash holds after it.
    fn check_comeback(&mut self) {
        let told = |event: &GsmEvent| matches!(event, GsmEvent::RolledBack { .. });
        assert!(!self.manager.events.iter().any(told), "an honest crash was taken for a rollback");
        let listed: BTreeSet<_> = self.manager.gsm.members().map(|listed| listed.sender).collect();
        assert!(self.admitted.is_subset(&listed), "an acknowledged member is gone");
        assert!(self.out.is_disjoint(&listed), "somebody is back");
        self.observe();
        for sender in &self.admitted {
            assert!(self.members[sender].is_with(&self.manager), "{sender} does not follow");
        }
        for (sender, member) in &self.members {
            let name = &member.offered.join.signing;
            assert!(listed.contains(sender) || !member.is_with(&self.manager), "{name:?} reads on");
        }
        self.members.retain(|sender, _| listed.contains(sender));
        for identity in &self.evicted {
            assert!(self.manager.gsm.members().all(|listed| listed.identity != *identity));
        }
    }

    /// Hears what the manager said since the last time.
    fn observe(&mut self) {
        for member in self.members.values_mut() {
            member.hear_all(&self.manager);
        }
        let sent: Vec<_> = self.waiting.keys().copied().collect();
        for conn in sent {
            if self.manager.last_frame(conn) == Some(Frame::Admitted) {
                let mut follower = self.waiting.remove(&conn).unwrap();
                follower.hear_all(&self.manager);
                self.admitted.insert(follower.offered.grant.sender);
                self.members.insert(follower.offered.grant.sender, follower);
            }
        }
        for (sender, member) in &self.members {
            if self.manager.unicasts(&member.offered).iter().any(|m| matches!(m, ToMember::LeaveTaken { .. }))
            {
                self.admitted.remove(sender);
                self.out.insert(*sender);
            }
        }
        for event in &self.manager.events[self.read..] {
            if let GsmEvent::Departed { sender, identity, why } = event {
                self.admitted.remove(sender);
                self.out.insert(*sender);
                if *why == gsm::Departure::Evicted {
                    self.evicted.insert(identity.clone());
                }
            }
        }
        self.read = self.manager.events.len();
        let updates = self.manager.multicasts(DatagramKind::KeyUpdate);
        if let (false, Some((state, key))) = (updates.is_empty(), self.manager.gsm.current_key()) {
            let before = self.states.insert(state, key.clone());
            assert!(before.is_none_or(|before| before == *key), "{state} names two keys");
        }
        self.manager.sent.retain(|transmit| matches!(transmit, protocol::Transmit::Frame { .. }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 120, failure_persistence: None, rng_seed: RngSeed::Fixed(36), ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_was_told_before_a_crash_holds_after_it(steps in proptest::collection::vec(step(), 1..60)) {
        let mut run = Run::new();
        steps.iter().for_each(|step| run.take(step));
        run.take(&Step::Crash);
    }
}

/// One history, and a crash after each of its records.
#[test]
fn a_crash_after_any_record_loses_nobody_who_was_told() {
    let history = |run: &mut Run| {
        for name in 0..6 {
            run.take(&Step::Join(name));
            run.take(&Step::Store(1));
        }
        run.take(&Step::Wait(6_000));
        run.take(&Step::Store(9));
        run.take(&Step::Evict(2));
        run.take(&Step::Leave(0));
        run.take(&Step::Store(1));
        run.take(&Step::Join(9));
        run.take(&Step::Wait(6_000));
    };
    let mut whole = Run::new();
    history(&mut whole);
    whole.manager.store();
    let records = whole.manager.journal.len();
    let cuts = whole.manager.records.iter().filter(|entry| matches!(entry, JournalEntry::Cut { .. })).count();
    assert!(cuts >= 2 && records > 12, "{cuts} cuts, {records} records");
    for kept in 1..=records {
        let mut manager = Manager::resume(whole.manager.now, whole.manager.journal[..kept].to_vec(), false);
        manager.advance(START);
        assert!(manager.gsm.current_key().is_some(), "crash after record {kept}");
    }
}
