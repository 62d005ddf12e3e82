//! One subgroup in two halves with a manager each, and both of them one again (GSM 3.5; attack A29).

use std::collections::BTreeSet;
use std::time::Duration;

use integration::{Cut, NodeId, Scenario, World};
use member::{Member, MemberEvent};
use protocol::StateId;

use crate::support::{SECOND, millis, quick, stand};

const BOSS: NodeId = NodeId(0);
/// Within this, one manager is left after the halves hear each other again, and everybody holds its key.
const BOUND: Duration = Duration::from_secs(15);

/// A subgroup in two halves: the manager's, and that of the standby that takes over.
struct Halves {
    world: World,
    heir: NodeId,
    /// Who stays on either side, the managers among them.
    near: Vec<NodeId>,
    far: Vec<NodeId>,
    /// Who is out, and how many of them were evicted.
    out: Vec<NodeId>,
    evicted: usize,
}

fn state_of(world: &World, manager: NodeId) -> Option<StateId> {
    world.gsm_of(manager)?.current_key().map(|(state, _)| state)
}

/// Whether all of these that do not manage hold a state.
fn hold(world: &World, nodes: &[NodeId], state: Option<StateId>) -> bool {
    let mut members = nodes.iter().filter(|node| world.gsm_of(**node).is_none());
    state.is_some() && members.all(|node| world.member(*node).and_then(Member::held) == state)
}

fn granted(world: &World, since: usize) -> BTreeSet<NodeId> {
    let events = world.log().members.iter().skip(since);
    let granted = events.filter(|(_, _, event)| matches!(event, MemberEvent::Granted(_)));
    granted.map(|(_, node, _)| *node).collect()
}

/// One manager, of a later term than any before, whose key all these hold.
fn is_one(world: &World, before: &[Option<StateId>], nodes: &[NodeId]) -> bool {
    let [manager] = world.managers()[..] else { return false };
    let state = state_of(world, manager);
    let later = |old: &StateId| state.is_some_and(|state| state.term > old.term);
    before.iter().flatten().all(later) && hold(world, nodes, state)
}

impl Halves {
    /// A manager, two standbys and twelve members that all hold the key; then the network is cut. These standbys are on the
    /// manager's side. It is harsh if who could not follow a renewal on the other side may register again.
    fn of(seed: u64, standbys: &[NodeId], harsh: bool) -> Self {
        let scenario = Scenario { eligible: 3, discovery: true, harsh, reserve: 0, ..quick(14) };
        let mut world = stand(World::new(seed, scenario));
        assert_eq!(world.managers(), [BOSS], "seed {seed}");
        let near = |id: &NodeId| id.0 == 0 || standbys.contains(id) || (3..9).contains(&id.0);
        let side = world.ids().map(|id| near(&id)).collect();
        world.cut(Cut { side, one_way: false }, 600 * SECOND, None);
        let (near, far): (Vec<_>, Vec<_>) = world.ids().partition(near);
        assert!(world.run_until(6 * SECOND, |world| world.managers().len() == 2), "seed {seed}");
        let heir = world.managers()[1];
        assert!(world.run_until(2 * SECOND, |world| hold(world, &far, state_of(world, heir))));
        assert!(hold(&world, &near, state_of(&world, BOSS)));
        Self { world, heir, near, far, out: Vec::new(), evicted: 0 }
    }

    fn evict(&mut self, manager: NodeId, node: NodeId) {
        self.world.evict_by(manager, node).expect("a member");
        self.world.run_for(millis(700));
        self.out.push(node);
        self.evicted += 1;
        self.near.retain(|near| *near != node);
        self.far.retain(|far| *far != node);
    }

    /// On both sides somebody leaves, somebody is evicted and the keys are renewed.
    fn live(&mut self, time: Duration) {
        for manager in [BOSS, self.heir] {
            let side = if manager == BOSS { &mut self.near } else { &mut self.far };
            let (left, evicted) = (side.pop().expect("a member"), *side.last().expect("a member"));
            self.world.leave(left);
            self.out.push(left);
            self.world.run_for(millis(700));
            self.evict(manager, evicted);
        }
        self.world.run_for(time);
        for (manager, side) in [(BOSS, &self.near), (self.heir, &self.far)] {
            let before = state_of(&self.world, manager);
            self.world.rekey_by(manager);
            let newer = |world: &World| {
                state_of(world, manager) > before && hold(world, side, state_of(world, manager))
            };
            assert!(self.world.run_until(SECOND, newer));
        }
        assert_eq!(self.world.managers(), [BOSS, self.heir]);
        assert_eq!(self.world.violations(), []);
    }

    /// The halves hear each other again: one manager is left within the bound, nobody who is out is back or reads what is
    /// sent. Returns the world, the manager, and who became a member anew.
    fn heal(self, seed: u64) -> (World, NodeId, BTreeSet<NodeId>) {
        let Self { mut world, heir, near, far, out, evicted } = self;
        let subgroup = world.gsm().domain().subgroup;
        let since = world.log().members.len();
        let stay = [&near[..], &far[..]].concat();
        let before = [BOSS, heir].map(|manager| state_of(&world, manager));
        world.heal();
        let one = world.run_until(BOUND, |world| is_one(world, &before, &stay));
        assert!(one, "seed {seed}: {:?}", world.managers());
        assert_eq!(world.gsm().domain().subgroup, subgroup, "seed {seed}");
        assert_eq!(world.gsm().status(world.now()).revocations, evicted, "seed {seed}");
        for node in &out {
            let mut listed = world.gsm().members();
            assert!(listed.all(|listed| listed.identity != world.identity(*node)), "seed {seed}: {node:?}");
        }
        // Until everybody sends under the newest key, who came last too.
        world.run_for(3 * SECOND);
        let delivered = world.log().delivered.len();
        world.send(stay[1]);
        world.run_for(SECOND);
        let heard: BTreeSet<_> =
            world.log().delivered[delivered..].iter().map(|(_, node, _)| *node).collect();
        assert!(stay.iter().all(|node| *node == stay[1] || heard.contains(node)), "seed {seed}: {heard:?}");
        assert!(out.iter().all(|node| !heard.contains(node)), "seed {seed}: {heard:?}");
        world.judge();
        assert_eq!(world.violations(), [], "seed {seed}");
        let (manager, anew) = (world.managers()[0], granted(&world, since));
        (world, manager, anew)
    }
}

#[test]
fn two_halves_of_one_subgroup_become_one_and_who_left_or_was_evicted_on_either_side_stays_out() {
    for seed in 0..12 {
        let mut halves = Halves::of(seed, &[], false);
        let heir = halves.heir;
        halves.live(Duration::from_secs(seed % 4 * 5));
        let (.., anew) = halves.heal(seed);
        // Only whoever has managed becomes a member anew.
        assert!(anew.iter().all(|node| [BOSS, heir].contains(node)), "seed {seed}: {anew:?}");
    }
}

#[test]
fn halves_that_were_apart_until_they_held_each_other_for_silent_become_one_and_the_winners_keep_their_places()
{
    for seed in 0..6 {
        let mut halves = Halves::of(seed, &[], false);
        let (near, heir) = (halves.near.clone(), halves.heir);
        halves.live(Duration::from_secs(60));
        let far = halves.far.clone();
        let (_, manager, anew) = halves.heal(seed);
        let kept = if manager == BOSS { near } else { far };
        assert!(kept.iter().all(|node| *node == heir || !anew.contains(node)), "seed {seed}: {anew:?}");
    }
}

#[test]
fn a_standby_that_was_evicted_on_one_side_derives_nothing_of_the_common_term() {
    for seed in 0..12 {
        // It stands by on the manager's side, or on the other one.
        let near = [NodeId(2)];
        let with_the_manager = seed % 2 == 0;
        let mut halves = Halves::of(seed, if with_the_manager { &near } else { &[] }, true);
        let heir = halves.heir;
        let other = if heir == near[0] { NodeId(1) } else { near[0] };
        halves.evict(if with_the_manager { BOSS } else { heir }, other);
        halves.live(Duration::ZERO);
        halves.heal(seed);
    }
}
