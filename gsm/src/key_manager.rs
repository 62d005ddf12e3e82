//! The key manager (GSM 2.1, 3.3–3.5): gathers joins and leaves, cuts them into one key update, and holds the tree.
//!
//! Rekeying is stage, record, send, merge: a cut is computed on paper, made durable, sent, then merged.

use std::collections::{BTreeMap, BTreeSet};

use crypto::{Label, MessageXof, Secret, hash};
use keytree::{Batch, BatchError, Degree, Join, KeyTree, PathKey, StagedRekey, TreeId};
use protocol::{Commit, Domain, Epoch, Instant, RegNo, SenderId, StateId, Writer};
use rand_core::CryptoRng;

/// The last epoch of a term. What a key update writes about older bases stays within 32 bits up to here; at one cut
/// every 100 ms it is reached after 6 years, and the manager must start a new term.
pub(crate) const LAST_EPOCH: Epoch = Epoch((1 << 31) - 1);

/// What waits for the next cut.
#[derive(Debug, Default)]
struct Pending {
    joins: BTreeMap<RegNo, Join>,
    leaves: BTreeMap<RegNo, SenderId>,
    /// Registrations that are out and have no leaf in this tree: they ended with the start before.
    gone: BTreeSet<SenderId>,
    /// Somebody was evicted.
    hard: bool,
    refresh: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.joins.is_empty() && self.leaves.is_empty() && !self.refresh
    }
}

/// A cut on paper, waiting for its record.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) commit: Commit,
    pub(crate) state: StateId,
    pub(crate) previous: Epoch,
    pub(crate) hard: bool,
    pub(crate) joined: BTreeSet<RegNo>,
    pub(crate) departed: Vec<SenderId>,
    pub(crate) staged: StagedRekey,
    pub(crate) group_key: Secret<32>,
}

/// The state members should hold.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) state: StateId,
    pub(crate) hard: bool,
    pub(crate) group_key: Secret<32>,
    pub(crate) key_check: [u8; 8],
}

/// The keys of a subgroup.
#[derive(Debug)]
pub(crate) struct KeyManager {
    domain: Domain,
    tree: KeyTree,
    /// Epoch 0 of this start: the state before the first key update.
    start: StateId,
    current: Option<Current>,
    pending: Pending,
    cut: Option<Cut>,
}

impl KeyManager {
    /// The keys of a start whose epoch 0 is `start`, before its first key update.
    pub(crate) fn new(domain: Domain, degree: Degree, start: StateId, leaf_steps: u16) -> Self {
        Self {
            domain,
            tree: KeyTree::resumed(domain.suite, TreeId(0), degree, leaf_steps),
            start,
            current: None,
            pending: Pending::default(),
            cut: None,
        }
    }

    /// The state members should hold; epoch 0 before the first key update.
    pub(crate) fn state(&self) -> StateId {
        self.current.as_ref().map_or(self.start, |current| current.state)
    }

    pub(crate) const fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    pub(crate) const fn tree(&self) -> &KeyTree {
        &self.tree
    }

    /// How many joins and leaves wait for the next cut.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.joins.len() + self.pending.leaves.len()
    }

    /// Whether anything waits for the next cut.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a cut waits for its record.
    pub(crate) const fn is_cutting(&self) -> bool {
        self.cut.is_some()
    }

    /// The record the cut waits for.
    pub(crate) fn awaited(&self) -> Option<Commit> {
        self.cut.as_ref().map(|cut| cut.commit)
    }

    /// The lowest free leaf that `taken` does not hold.
    pub(crate) fn free_leaf(&self, taken: impl Fn(RegNo) -> bool) -> Option<RegNo> {
        self.tree.lowest_free(taken)
    }

    /// A member was admitted; it is in with the next cut.
    pub(crate) fn join(&mut self, join: Join) {
        self.pending.joins.insert(join.reg_no, join);
    }

    /// A member is out with the next cut; `evicted` makes that cut hard. One that was never let in and leaves by itself
    /// needs no cut.
    pub(crate) fn leave(&mut self, reg_no: RegNo, sender: SenderId, evicted: bool) -> Leave {
        // Hard also for one that was never in: its node may hold the key by an older registration of its own.
        self.pending.hard |= evicted;
        if self.pending.joins.remove(&reg_no).is_some() {
            self.pending.refresh |= evicted;
            return Leave::NeverIn;
        }
        self.pending.leaves.insert(reg_no, sender);
        Leave::WithNextCut
    }

    /// A member that is on its way out is evicted: the next cut is hard. If the cut that takes it out is already on
    /// paper, the one after it takes a new root.
    pub(crate) fn harden(&mut self, reg_no: RegNo) {
        self.pending.hard = true;
        self.pending.refresh |= !self.pending.leaves.contains_key(&reg_no);
    }

    /// Registrations of the start before that are out with the first cut of this one.
    pub(crate) fn let_go(&mut self, gone: impl IntoIterator<Item = SenderId>) {
        self.pending.gone.extend(gone);
    }

    /// The next cut is hard: somebody was evicted whom it shuts out.
    pub(crate) const fn harden_next(&mut self) {
        self.pending.hard = true;
    }

    /// Asks for a random root in the next cut even if nobody leaves.
    pub(crate) const fn refresh(&mut self) {
        self.pending.refresh = true;
    }

    /// Computes the next cut on paper. `None` when nothing waits or another cut is under way.
    ///
    /// What was gathered goes into it; on an error everything stays as it was.
    pub(crate) fn stage(
        &mut self,
        now: Instant,
        step_leaves: bool,
        rng: &mut dyn CryptoRng,
    ) -> Result<Option<StagedCut>, BatchError> {
        if self.cut.is_some() || (self.pending.is_empty() && !step_leaves) {
            return Ok(None);
        }
        let previous = self.state().epoch;
        let state = self.start.at(Epoch(previous.0 + 1));
        let batch = Batch {
            joins: self.pending.joins.values().cloned().collect(),
            leaves: self.pending.leaves.keys().copied().collect(),
            refresh_root: self.pending.refresh,
            step_leaves,
        };
        let mut xof = self.message_xof(now, state, &batch, rng);
        let staged = self.tree.stage(state.epoch, &batch, &mut xof)?;
        let pending = std::mem::take(&mut self.pending);
        Ok(Some(StagedCut {
            state,
            previous,
            hard: pending.hard,
            joined: pending.joins.into_keys().collect(),
            departed: pending.leaves.into_values().chain(pending.gone).collect(),
            staged,
        }))
    }

    /// The record of a staged cut was asked for; it is sent when that is durable.
    pub(crate) fn await_record(&mut self, staged: StagedCut, commit: Commit) {
        let StagedCut { state, previous, hard, joined, departed, staged } = staged;
        let Some((_, root)) = staged.root() else { return };
        let group_key = self.domain.group_key(root, state);
        self.cut = Some(Cut { commit, state, previous, hard, joined, departed, staged, group_key });
    }

    /// Takes the cut that waited, to be sent and then merged.
    pub(crate) const fn take_cut(&mut self) -> Option<Cut> {
        self.cut.take()
    }

    /// Makes a cut that was sent the current state.
    pub(crate) fn merge(&mut self, cut: Cut) {
        let key_check = self.domain.key_check(&cut.group_key, cut.state);
        if self.tree.merge(cut.staged).is_ok() {
            self.current =
                Some(Current { state: cut.state, hard: cut.hard, group_key: cut.group_key, key_check });
        }
    }

    /// The path keys of a member, for a resync; `None` while its join is not cut.
    pub(crate) fn path(&self, reg_no: RegNo) -> Option<Vec<PathKey>> {
        self.tree.path(reg_no)
    }

    /// All randomness of a message is one XOF over 32 bytes from the system drawn for it, the state id, the time since
    /// boot and the hash of the batch: a cloned or rolled-back manager cannot repeat it with another content.
    fn message_xof(
        &self,
        now: Instant,
        state: StateId,
        batch: &Batch,
        rng: &mut dyn CryptoRng,
    ) -> MessageXof {
        let seed = Secret::random(rng);
        let mut marked = Writer::new();
        batch.joins.iter().for_each(|join| {
            marked.reg_no(join.reg_no);
        });
        marked.u32(u32::MAX);
        batch.leaves.iter().for_each(|reg_no| {
            marked.reg_no(*reg_no);
        });
        marked.bool(batch.refresh_root).bool(batch.step_leaves);
        let digest = hash(self.domain.suite, Label::BatchHash, &[marked.as_bytes()]);
        let context: [&[u8]; 3] = [&state.to_bytes(), &now.micros().to_be_bytes(), &digest];
        MessageXof::new(self.domain.suite, &seed, &context)
    }
}

/// What a leave leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leave {
    /// The member is out with the next cut.
    WithNextCut,
    /// Its join was not cut yet, and now never will be.
    NeverIn,
}

/// A cut on paper whose record has no number yet.
#[derive(Debug)]
pub(crate) struct StagedCut {
    pub(crate) state: StateId,
    previous: Epoch,
    hard: bool,
    joined: BTreeSet<RegNo>,
    departed: Vec<SenderId>,
    pub(crate) staged: StagedRekey,
}
