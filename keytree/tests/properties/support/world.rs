use std::collections::{BTreeMap, BTreeSet};

use crypto::{EntryIv, MessageXof, Secret, Suite};
use keytree::{
    Batch, Degree, Entry, Epoch, Join, KeyPath, KeyTree, NodeId, RegNo, RekeyView, StagedRekey, Target,
    TreeId, Version,
};

use super::{History, Round};

pub(crate) const TREE: TreeId = TreeId(7);

/// One registration; a reg-no that is reused gets another identity.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) identity: u32,
    pub(crate) reg_no: RegNo,
    pub(crate) leaf: Secret<32>,
    pub(crate) path: KeyPath,
    /// Whether an epoch it skipped changed its path by more than steps.
    pub(crate) behind: bool,
}

/// One epoch as everybody in reach of the network saw it, and who was in.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) epoch: Epoch,
    pub(crate) iv: EntryIv,
    pub(crate) height: u8,
    pub(crate) leaf_steps: u16,
    pub(crate) targets: Vec<Target>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) root: Version,
    pub(crate) root_secret: Secret<32>,
    /// Identities by reg-no after the batch.
    pub(crate) members: BTreeMap<RegNo, u32>,
    /// Every inner key of the manager after the batch.
    pub(crate) keys: BTreeMap<(NodeId, Version), Secret<32>>,
}

impl Record {
    pub(crate) fn view(&self) -> RekeyView<'_> {
        RekeyView {
            epoch: self.epoch,
            iv: &self.iv,
            height: self.height,
            root: self.root,
            leaf_steps: self.leaf_steps,
            targets: &self.targets,
            entries: &self.entries,
        }
    }

    pub(crate) fn entries_of(&self, target: &Target) -> &[Entry] {
        &self.entries[target.entries.start as usize..target.entries.end as usize]
    }
}

pub(crate) struct World {
    pub(crate) suite: Suite,
    pub(crate) degree: Degree,
    pub(crate) tree: KeyTree,
    pub(crate) members: BTreeMap<RegNo, Member>,
    pub(crate) departed: Vec<Member>,
    waiting: Vec<Member>,
    seed: u64,
    identities: u32,
}

/// Plays a history; `hear` is called after each epoch, to tell the members. Rounds that ask for nothing are left
/// out, and so are epochs that leave nobody.
pub(crate) fn play(history: &History, size: usize, mut hear: impl FnMut(&mut World, &Record)) -> World {
    let mut world = World::new(history);
    for round in &history.rounds {
        let (batch, joiners) = world.batch(round, size);
        if batch.is_empty() {
            continue;
        }
        if let Some(record) = world.cut(&batch, joiners) {
            hear(&mut world, &record);
        }
    }
    world
}

impl World {
    pub(crate) fn new(history: &History) -> Self {
        let History { suite, degree, seed, .. } = *history;
        let tree = KeyTree::new(suite, TREE, degree);
        let (members, departed, waiting) = Default::default();
        Self { suite, degree, tree, members, departed, waiting, seed, identities: 0 }
    }

    /// Turns a round into a batch for the state at hand, with the members it will admit.
    pub(crate) fn batch(&mut self, round: &Round, size: usize) -> (Batch, Vec<Member>) {
        let present: Vec<RegNo> = self.members.keys().copied().collect();
        let mut leaves: Vec<RegNo> = Vec::new();
        for pick in &round.leaves {
            if let Some(reg_no) = present.get(*pick as usize % present.len().max(1))
                && !leaves.contains(reg_no)
            {
                leaves.push(*reg_no);
            }
        }
        let mut joiners = std::mem::take(&mut self.waiting);
        let mut taken: BTreeSet<RegNo> = joiners.iter().map(|member| member.reg_no).collect();
        let mut given = Vec::new();
        for _ in 0..round.joins.min(size.saturating_sub(present.len())) {
            let free = self.tree.lowest_free(|reg_no| taken.contains(&reg_no)).unwrap();
            taken.insert(free);
            given.push(free);
        }
        let far = round.far.map(RegNo).filter(|far| !self.tree.occupied(*far) && !taken.contains(far));
        given.extend(far);
        if round.hold {
            self.waiting = given.into_iter().map(|reg_no| self.admit(reg_no)).collect();
        } else {
            given.extend(leaves.iter().take(round.reuse));
            joiners.extend(given.into_iter().map(|reg_no| self.admit(reg_no)).collect::<Vec<_>>());
        }
        let joins = joiners.iter().map(|member| Join {
            reg_no: member.reg_no,
            leaf: member.leaf.clone(),
            leaf_steps: member.path.leaf_steps(),
        });
        let batch = Batch {
            joins: joins.collect(),
            leaves,
            refresh_root: round.refresh_root,
            step_leaves: round.step_leaves,
        };
        (batch, joiners)
    }

    pub(crate) fn admit(&mut self, reg_no: RegNo) -> Member {
        self.identities += 1;
        let leaf = self.xof(b"leaf", self.identities).secret();
        let steps = self.tree.leaf_steps();
        let path = KeyPath::new(self.suite, TREE, self.degree, reg_no, leaf.clone(), steps);
        Member { identity: self.identities, reg_no, leaf, path, behind: false }
    }

    pub(crate) fn xof(&self, what: &[u8], number: u32) -> MessageXof {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        MessageXof::new(self.suite, &Secret::new(seed), &[what, &number.to_be_bytes()])
    }

    pub(crate) fn next_epoch(&self) -> Epoch {
        Epoch(self.tree.epoch().0 + 1)
    }

    pub(crate) fn stage(&self, batch: &Batch) -> StagedRekey {
        let epoch = self.next_epoch();
        self.tree.stage(epoch, batch, &mut self.xof(b"message", epoch.0)).unwrap()
    }

    /// Stages and merges; members hear nothing yet. `None` if nobody is left.
    pub(crate) fn cut(&mut self, batch: &Batch, joiners: Vec<Member>) -> Option<Record> {
        let staged = self.stage(batch);
        for reg_no in &batch.leaves {
            self.departed.extend(self.members.remove(reg_no));
        }
        self.members.extend(joiners.into_iter().map(|member| (member.reg_no, member)));
        let kept = staged.root().map(|(version, secret)| (version, secret.clone()));
        let (iv, leaf_steps) = (*staged.iv(), staged.leaf_steps());
        let (targets, entries) = (staged.targets().to_vec(), staged.all_entries().to_vec());
        self.tree.merge(staged).unwrap();
        assert_eq!(self.tree.root(), kept.as_ref().map(|(version, secret)| (*version, secret)));
        let (root, root_secret) = kept?;
        Some(Record {
            epoch: self.tree.epoch(),
            iv,
            height: self.tree.height(),
            leaf_steps,
            targets,
            entries,
            root,
            root_secret,
            members: self.members.iter().map(|(reg_no, member)| (*reg_no, member.identity)).collect(),
            keys: self.keys(),
        })
    }

    fn keys(&self) -> BTreeMap<(NodeId, Version), Secret<32>> {
        let paths = self.tree.reg_nos().map(|reg_no| (reg_no, self.tree.path(reg_no).unwrap()));
        paths
            .flat_map(|(reg_no, path)| {
                path.into_iter().map(move |key| (self.degree.ancestor(reg_no, key.level), key))
            })
            .map(|(node, key)| ((node, key.version), key.secret))
            .collect()
    }

    /// Every member follows a record.
    pub(crate) fn deliver(&mut self, record: &Record) {
        for member in self.members.values_mut() {
            member.path.apply(&record.view()).unwrap();
        }
    }
}
