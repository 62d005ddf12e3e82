//! A manager and its members in one place, driven by random batches, with everything kept that anyone ever saw.

mod adversary;
mod past;
mod world;

use crypto::Suite;
use keytree::Degree;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

pub(crate) use adversary::Derivations;
pub(crate) use past::Past;
pub(crate) use world::{Member, Record, TREE, World, play};

/// What one batch of a random history does; read against the state it meets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// Members admitted at the lowest free reg-nos.
    pub(crate) joins: usize,
    /// One more, admitted far out in the tree.
    pub(crate) far: Option<u32>,
    /// Members that leave, picked by these numbers; the first `reuse` of their reg-nos are given away at once.
    pub(crate) leaves: Vec<u32>,
    pub(crate) reuse: usize,
    pub(crate) refresh_root: bool,
    pub(crate) step_leaves: bool,
    /// Whether the admitted wait for the batch after.
    pub(crate) hold: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) suite: Suite,
    pub(crate) degree: Degree,
    pub(crate) seed: u64,
    pub(crate) rounds: Vec<Round>,
}

/// Random histories that fill the tree with up to `size` members at once, again and again.
pub(crate) fn histories(size: usize, rounds: usize) -> impl Strategy<Value = History> {
    let suite = prop_oneof![Just(Suite::Aes256Ctr), Just(Suite::Aes256Kw)];
    let degree = prop::sample::select(vec![2, 3, 4, 8, 16]);
    let rounds = prop::collection::vec(round(size), 1..=rounds);
    (suite, degree, any::<u64>(), rounds).prop_map(|(suite, degree, seed, rounds)| {
        let degree = Degree::new(degree).unwrap();
        History { suite, degree, seed, rounds }
    })
}

fn round(size: usize) -> impl Strategy<Value = Round> {
    let joins = prop_oneof![3 => Just(0), 3 => Just(1), 4 => 0..=size / 8, 1 => size / 4..=size / 2];
    let leaves = prop_oneof![
        5 => Just(0..=0),
        3 => Just(1..=1),
        4 => Just(0..=size / 8),
        1 => Just(size / 2..=size),
    ];
    let leaves = leaves.prop_flat_map(|count| prop::collection::vec(any::<u32>(), count));
    let far = prop::option::weighted(0.05, 0..4 * size as u32);
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (joins, far, leaves, 0..=4usize, flags).prop_map(
        |(joins, far, leaves, reuse, (refresh_root, step_leaves, hold))| Round {
            joins,
            far,
            leaves,
            reuse,
            refresh_root,
            step_leaves,
            hold,
        },
    )
}

/// The same cases in every run, unless the environment (`PROPTEST_CASES`, `PROPTEST_RNG_SEED`) says otherwise.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = count;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}
