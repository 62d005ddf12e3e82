//! Properties of the packing: one packet is enough for each member, and the packets together serve everyone once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crypto::{Ed25519Signer, MessageXof, Secret, Suite};
use keytree::{Batch, Entry, Join, KeyPath, KeyTree, RekeyView, Target, TreeId};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use protocol::limits::MAX_DATAGRAM;
use protocol::{
    Domain, Epoch, GroupId, Inst, Instant, Reader, StateId, SubgroupId, Term, Transmit, UpdateHeader, Writer,
    packet_overhead,
};

use super::*;
use crate::transmitter::{Transmitter, UpdateTerms};

const TREE: TreeId = TreeId(0);

/// A subgroup whose members hear everything, or all but what only steps.
struct World {
    suite: Suite,
    degree: Degree,
    tree: KeyTree,
    members: BTreeMap<RegNo, KeyPath>,
}

/// What one batch does: numbers are read against the state they meet.
#[derive(Clone, Debug)]
struct Round {
    joins: usize,
    /// One more joins this far out, so that the tree grows.
    far: Option<u32>,
    leaves: Vec<u32>,
    /// How many of the leaves are given away in the same batch.
    reuse: usize,
    refresh_root: bool,
    step_leaves: bool,
    /// Members that do not hear of it, if it only steps.
    deaf: bool,
}

#[derive(Clone, Debug)]
struct History {
    suite: Suite,
    degree: u8,
    rounds: Vec<Round>,
    room: usize,
}

fn round(size: usize) -> impl Strategy<Value = Round> {
    let joins = prop_oneof![2 => Just(0), 3 => 1..4_usize, 3 => 0..=size / 8, 2 => size / 2..=size];
    let leaves = prop_oneof![3 => Just(0..=0_usize), 3 => Just(1..=2), 3 => Just(0..=size / 16), 1 => Just(size / 4..=size / 2)];
    let leaves = leaves.prop_flat_map(|count| prop::collection::vec(any::<u32>(), count));
    let far = prop::option::weighted(0.1, 0..8 * size as u32);
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.1), any::<bool>());
    (joins, far, leaves, 0..3_usize, flags).prop_map(
        |(joins, far, leaves, reuse, (refresh_root, step_leaves, deaf))| Round {
            joins,
            far,
            leaves,
            reuse,
            refresh_root,
            step_leaves,
            deaf,
        },
    )
}

fn histories(size: usize, rounds: usize) -> impl Strategy<Value = History> {
    let suite = prop_oneof![3 => Just(Suite::Aes256Ctr), 1 => Just(Suite::Aes256Kw)];
    let degree = prop::sample::select(vec![2, 3, 4, 8, 16]);
    let room = prop_oneof![1 => 100..500_usize, 2 => 800..1_100_usize, 1 => Just(50_000)];
    (suite, degree, prop::collection::vec(round(size), 1..=rounds), room)
        .prop_map(|(suite, degree, rounds, room)| History { suite, degree, rounds, room })
}

fn cases(count: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = count;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

impl World {
    fn new(history: &History) -> Self {
        let degree = Degree::new(history.degree).unwrap();
        let tree = KeyTree::new(history.suite, TREE, degree);
        Self { suite: history.suite, degree, tree, members: BTreeMap::new() }
    }

    fn xof(&self, what: &[u8], number: u32) -> MessageXof {
        let epoch = self.tree.epoch().0.to_be_bytes();
        MessageXof::new(self.suite, &Secret::new([7; 32]), &[what, &epoch, &number.to_be_bytes()])
    }

    /// The batch of a round, and the paths of those it lets in.
    fn batch(&self, round: &Round, size: usize) -> (Batch, BTreeMap<RegNo, KeyPath>) {
        let present: Vec<RegNo> = self.members.keys().copied().collect();
        let picked =
            round.leaves.iter().filter_map(|pick| present.get(*pick as usize % present.len().max(1)));
        let leaves: BTreeSet<RegNo> = picked.copied().collect();
        let mut given: BTreeSet<RegNo> = leaves.iter().take(round.reuse).copied().collect();
        for _ in 0..round.joins.min(size.saturating_sub(present.len())) {
            given.insert(self.tree.lowest_free(|reg_no| given.contains(&reg_no)).unwrap());
        }
        given.extend(round.far.map(RegNo).filter(|far| !self.tree.occupied(*far)));
        let steps = self.tree.leaf_steps();
        let secrets = given.iter().map(|reg_no| (*reg_no, self.xof(b"leaf", reg_no.0).secret()));
        let secrets: Vec<(RegNo, Secret<32>)> = secrets.collect();
        let joins = secrets.iter().cloned().map(|(reg_no, leaf)| Join { reg_no, leaf, leaf_steps: steps });
        let batch = Batch {
            joins: joins.collect(),
            leaves: leaves.into_iter().collect(),
            refresh_root: round.refresh_root,
            step_leaves: round.step_leaves,
        };
        let path = |reg_no, leaf| KeyPath::new(self.suite, TREE, self.degree, reg_no, leaf, steps);
        let joiners = secrets.into_iter().map(|(reg_no, leaf)| (reg_no, path(reg_no, leaf)));
        (batch, joiners.collect())
    }

    fn stage(&self, batch: &Batch) -> StagedRekey {
        let epoch = Epoch(self.tree.epoch().0 + 1);
        self.tree.stage(epoch, batch, &mut self.xof(b"message", 0)).unwrap()
    }
}

/// Plays a history; `check` sees each plan, the members it is for, and what a member that hears it makes of it.
fn play(
    history: &History,
    size: usize,
    mut check: impl FnMut(&StagedRekey, &BTreeMap<RegNo, KeyPath>) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut world = World::new(history);
    for round in &history.rounds {
        let (batch, joiners) = world.batch(round, size);
        if batch.is_empty() {
            continue;
        }
        let staged = world.stage(&batch);
        world.members.retain(|reg_no, _| !batch.leaves.contains(reg_no));
        world.members.extend(joiners);
        if let Some(view) = staged.view() {
            check(&staged, &world.members)?;
            let only_steps = staged.targets().iter().all(|target| target.change == keytree::Change::Step);
            for (reg_no, path) in &mut world.members {
                let deaf = round.deaf && only_steps && path.root().is_some() && reg_no.0 % 3 == 0;
                if !deaf {
                    path.apply(&view).unwrap();
                }
            }
        }
        world.tree.merge(staged).unwrap();
    }
    Ok(())
}

fn view<'a>(staged: &'a StagedRekey, body: &'a Body) -> RekeyView<'a> {
    RekeyView { targets: &body.targets, entries: &body.entries, ..staged.view().unwrap() }
}

fn header(staged: &StagedRekey, share: &Share) -> UpdateHeader {
    let epoch = staged.epoch();
    UpdateHeader {
        state: StateId { term: Term(1), inst: Inst(5), epoch },
        previous: Epoch(epoch.0 - 1),
        index: 0,
        data_packets: 1,
        block_data: 10,
        block_parity: 0,
        first: share.first,
        last: share.last,
        height: staged.height(),
        root: staged.root().unwrap().0,
        leaf_steps: staged.leaf_steps(),
        hard: false,
        activation: Duration::from_millis(100),
        key_check: [0; 8],
        policy: [0; 16],
        iv: *staged.iv(),
    }
}

fn encoded(staged: &StagedRekey, share: &Share) -> Vec<u8> {
    let mut writer = Writer::new();
    share.body.encode(&header(staged, share), &mut writer);
    writer.into_bytes()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn ranges_cover_every_reg_no_once(history in histories(300, 6)) {
        play(&history, 300, |staged, _| {
            let shares = pack(staged, history.room);
            prop_assert_eq!(shares.first().map(|share| share.first), Some(RegNo(0)));
            prop_assert_eq!(shares.last().map(|share| share.last), Some(RegNo::MAX));
            for share in &shares {
                prop_assert!(share.first <= share.last, "{} to {}", share.first, share.last);
            }
            for pair in shares.windows(2) {
                prop_assert_eq!(pair[0].last.0 + 1, pair[1].first.0);
            }
            Ok(())
        })?;
    }

    /// User-oriented key assignment: the packet that serves a member is all it needs, whether it was in before, heard
    /// the epochs before or only could have stepped, or joins with this batch.
    #[test]
    fn one_packet_is_enough(history in histories(300, 6)) {
        play(&history, 300, |staged, members| {
            let shares = pack(staged, history.room);
            for (reg_no, path) in members {
                let place = shares.partition_point(|share| share.last < *reg_no);
                let mut path = path.clone();
                let followed = path.apply(&view(staged, &shares[place].body));
                prop_assert_eq!(followed, Ok(()), "reg-no {} in packet {} of {}", reg_no, place, shares.len());
                prop_assert_eq!(path.root(), staged.root(), "reg-no {}", reg_no);
            }
            Ok(())
        })?;
    }

    /// Each packet holds what its own members need, and the packets together hold the plan.
    #[test]
    fn packets_hold_the_entries_of_the_plan_and_nothing_else(history in histories(300, 6)) {
        play(&history, 300, |staged, _| {
            let mut seen = BTreeSet::new();
            for share in pack(staged, history.room) {
                for target in &share.body.targets {
                    let planned = staged.targets().iter().find(|planned| planned.node == target.node).unwrap();
                    prop_assert_eq!(&Target { entries: planned.entries.clone(), ..target.clone() }, planned);
                    for entry in &share.body.entries[target.entries.start as usize..target.entries.end as usize] {
                        prop_assert!(staged.entries(planned).contains(entry));
                        seen.insert((target.node, entry.child));
                    }
                }
            }
            let planned = |target: &Target| {
                let node = target.node;
                staged.entries(target).iter().map(move |entry: &Entry| (node, entry.child)).collect::<Vec<_>>()
            };
            let planned: BTreeSet<_> = staged.targets().iter().flat_map(planned).collect();
            prop_assert_eq!(seen, planned);
            Ok(())
        })?;
    }

    #[test]
    fn bodies_fit_and_read_back(history in histories(300, 6)) {
        play(&history, 300, |staged, members| {
            for share in pack(staged, history.room) {
                let bytes = encoded(staged, &share);
                let header = header(staged, &share);
                let read = Body::decode(staged.suite(), &header, Reader::new(&bytes));
                prop_assert_eq!(read.as_ref(), Ok(&share.body));
                let served = members.range(share.first..=share.last).count();
                // A terminal is one subtree whose own keys did not change: all of it needs the same entries.
                let levels = usize::from(staged.height());
                let alone = share.body.entries.len() <= levels && share.body.targets.len() <= levels;
                prop_assert!(
                    bytes.len() <= history.room || alone,
                    "{} bytes, {} entries for {} members", bytes.len(), share.body.entries.len(), served
                );
            }
            Ok(())
        })?;
    }

    /// Whatever the Merkle path turns out to be, a packet is no longer than configured.
    #[test]
    fn sealed_packets_fit_the_datagram(history in histories(400, 4), size in prop::sample::select(vec![900, MAX_DATAGRAM, 9_000])) {
        let domain = Domain { suite: history.suite, group: GroupId::from_bytes([7; 16]), subgroup: SubgroupId(1) };
        let mut transmitter = Transmitter::new(([239, 192, 0, 1], 4_000).into(), 1, size);
        play(&history, 400, |staged, members| {
            let terms = UpdateTerms {
                state: StateId { term: Term(1), inst: Inst(5), epoch: staged.epoch() },
                previous: Epoch(staged.epoch().0 - 1),
                hard: false,
                activation: Duration::from_millis(100),
                key_check: [0; 8],
                policy: [0; 16],
                unasked: false,
            };
            let signer = Ed25519Signer::from_seed(&Secret::new([1; 32]));
            let now = Instant::from_micros(1_000_000);
            let (transmits, sent) = transmitter.send(now, &domain, &terms, staged, &signer, None);
            prop_assert_eq!(transmits.len(), sent.packets);
            prop_assert!(sent.packets >= 1, "even an update without entries is announced");
            let later = transmitter.due().map(|_| transmitter.on_due(now + Duration::from_secs(1)));
            for transmit in transmits.into_iter().chain(later.into_iter().flatten()) {
                let Transmit::Multicast { bytes, .. } = transmit else { panic!("unexpected {transmit:?}") };
                prop_assert!(bytes.len() <= size, "{} bytes for {} members", bytes.len(), members.len());
            }
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn one_packet_is_enough_in_a_large_tree(history in histories(2_000, 4)) {
        let room = history.room.max(400).min(MAX_DATAGRAM - packet_overhead(64));
        play(&history, 2_000, |staged, members| {
            let shares = pack(staged, room);
            for share in &shares {
                let seen = view(staged, &share.body);
                for (reg_no, path) in members.range(share.first..=share.last) {
                    let mut path = path.clone();
                    prop_assert_eq!(path.apply(&seen), Ok(()), "reg-no {}", reg_no);
                    prop_assert_eq!(path.root(), staged.root());
                }
            }
            Ok(())
        })?;
    }
}
