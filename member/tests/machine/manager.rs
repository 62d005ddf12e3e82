//! A manager made by hand: a real key tree and real signatures, but it says whatever a test wants said.

use std::collections::BTreeMap;
use std::time::Duration;

use crypto::{Ed25519Signer, MerkleHash, MessageXof, Secret, Signer, Suite};
use keytree::{Batch, Degree, Join as TreeJoin, KeyPath, KeyTree, PathKey, TreeId};
use protocol::{
    Alarm, Body, Confirm, Credential, Domain, Epoch, Grant, GroupId, Inst, Join, RegNo, Registration,
    RegistrationKeys, ResyncAnswer, Roster, RosterVersion, SenderId, StateId, SubgroupId, Term, Timing,
    ToMember, UpdateHeader, confirmation, seal_update,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng as _;

pub(crate) const GROUP: GroupId = GroupId::from_bytes([7; 16]);
pub(crate) const MEMBER: RegNo = RegNo(0);
const SENDER: SenderId = SenderId(0xabcd_0000_0002);

pub(crate) struct Manager {
    pub(crate) domain: Domain,
    pub(crate) signer: Ed25519Signer,
    pub(crate) state: StateId,
    pub(crate) tree: KeyTree,
    pub(crate) hard: bool,
    pub(crate) message: (MerkleHash, u16),
    pub(crate) alarms: u64,
    pub(crate) prefilters: BTreeMap<Epoch, Secret<32>>,
    key_check: [u8; 8],
    /// What it shares with the member under test, once it granted.
    pub(crate) keys: Option<RegistrationKeys>,
    sealed: u64,
    pub(crate) roster: RosterVersion,
    /// The digest its messages name.
    pub(crate) policy: [u8; 16],
    /// Whom its alarms name as successors, all in step.
    pub(crate) successors: Vec<SenderId>,
    /// Registrations by its alarms.
    pub(crate) members: u32,
    /// Renewals by its alarms.
    pub(crate) renewals: u16,
}

impl Manager {
    /// A manager at epoch 1, whose members 1 to 9 are in.
    pub(crate) fn new() -> Self {
        Self::of(0x5555, 0x51)
    }

    /// One of this subgroup, with a signing key of its own.
    pub(crate) fn of(subgroup: u64, key: u8) -> Self {
        let domain = Domain { suite: Suite::Aes256Ctr, group: GROUP, subgroup: SubgroupId(subgroup) };
        let mut manager = Self {
            domain,
            signer: Ed25519Signer::from_seed(&Secret::new([key; 32])),
            state: StateId { term: Term(1), inst: Inst(0xabcd), epoch: Epoch(0) },
            tree: KeyTree::new(domain.suite, TreeId(0), Degree::default()),
            hard: false,
            message: (MerkleHash([0; 16]), 0),
            alarms: 0,
            prefilters: BTreeMap::from([(Epoch(0), Secret::new([0x50; 32]))]),
            key_check: [0; 8],
            keys: None,
            sealed: 0,
            roster: RosterVersion(0),
            policy: [3; 16],
            successors: Vec::new(),
            members: 11,
            renewals: 0,
        };
        let _ = manager.cut(&(1..10).collect::<Vec<_>>(), &[]);
        manager
    }

    /// A grant for the member under test, and the manager's half of the confirmation, after `spoil` had its way with
    /// the grant.
    pub(crate) fn grant(
        &mut self,
        join: &Join,
        channel: &Secret<32>,
        spoil: impl FnOnce(&mut Grant, &Self),
    ) -> (Grant, Confirm) {
        let mut grant = Grant {
            domain: self.domain,
            state: self.state,
            reg_no: MEMBER,
            sender: SENDER,
            tree: self.tree.tree_id(),
            degree: self.tree.degree(),
            leaf_steps: self.tree.leaf_steps(),
            manager: self.signer.public_key(),
            control: ([239, 192, 0, 1], 4_000).into(),
            data: ([239, 192, 0, 1], 4_001).into(),
            manager_address: ([10, 0, 0, 200], 5_000).into(),
            ttl: 1,
            timing: Timing::default(),
            credential: Credential::sign(&self.domain, SENDER, join.signing, false, &self.signer),
            roster: Roster::sign(&self.domain, RosterVersion(0), Vec::new(), &self.signer),
            revocations: Vec::new(),
            prefilter: self.prefilters[&self.state.epoch].clone(),
        };
        spoil(&mut grant, self);
        let keys = grant.domain.registration(channel, grant.state.inst, grant.reg_no);
        let mac = confirmation(grant.domain.suite, &keys.confirm_manager, join, &grant);
        self.keys = Some(keys);
        (grant, Confirm { mac })
    }

    /// The member under test, as the tree takes it in.
    pub(crate) fn joiner(&self) -> TreeJoin {
        let leaf = self.keys.as_ref().unwrap().leaf.clone();
        TreeJoin { reg_no: MEMBER, leaf, leaf_steps: self.tree.leaf_steps() }
    }

    /// Lets the member under test in.
    pub(crate) fn let_in(&mut self) -> Vec<u8> {
        let join = self.joiner();
        self.cut_with(vec![join], &[])
    }

    /// A key update in one packet. An eviction, if anybody leaves; a refresh of the root if nobody comes or goes.
    pub(crate) fn cut(&mut self, joins: &[u32], leaves: &[u32]) -> Vec<u8> {
        let join = |reg_no: &u32| TreeJoin {
            reg_no: RegNo(*reg_no),
            leaf: Secret::new([*reg_no as u8; 32]),
            leaf_steps: self.tree.leaf_steps(),
        };
        let joins = joins.iter().map(join).collect();
        self.cut_with(joins, leaves)
    }

    /// The refresh that steps all leaf secrets.
    pub(crate) fn step_leaves(&mut self) -> Vec<u8> {
        self.cut_batch(Batch { joins: Vec::new(), leaves: Vec::new(), refresh_root: true, step_leaves: true })
    }

    /// The prefilter key of an epoch.
    pub(crate) fn prefilter(&self, epoch: Epoch) -> &Secret<32> {
        &self.prefilters[&epoch]
    }

    /// It was started again: its next state is of a new start, and its tree holds leaves and nothing else. Returns the
    /// full key update, under which nobody has a prefilter key.
    pub(crate) fn start_again(&mut self, term: u32, inst: u64, member: &KeyPath) -> Vec<u8> {
        let steps = self.tree.leaf_steps();
        let own = member.keys().next().unwrap().2.clone();
        let others = (1..10).map(|reg_no| (RegNo(reg_no), Secret::new([reg_no as u8; 32])));
        let leaves = std::iter::once((MEMBER, own)).chain(others);
        let joins = leaves.map(|(reg_no, leaf)| TreeJoin { reg_no, leaf, leaf_steps: steps }).collect();
        self.tree = KeyTree::resumed(self.domain.suite, TreeId(0), Degree::default(), steps);
        self.state = StateId { term: Term(term), inst: Inst(inst), epoch: Epoch(0) };
        self.prefilters = BTreeMap::from([(Epoch(0), Secret::new([0x77; 32]))]);
        self.alarms = 0;
        self.cut_with(joins, &[])
    }

    fn cut_with(&mut self, joins: Vec<TreeJoin>, leaves: &[u32]) -> Vec<u8> {
        let refresh_root = joins.is_empty() && leaves.is_empty();
        let leaves = leaves.iter().copied().map(RegNo).collect::<Vec<_>>();
        self.cut_batch(Batch { joins, leaves, refresh_root, step_leaves: false })
    }

    fn cut_batch(&mut self, batch: Batch) -> Vec<u8> {
        self.cut_in_packets(batch, (1, 1, 0)).remove(0)
    }

    /// An eviction in `packets` data packets, in blocks of so many and with so many parity packets each. Each packet serves
    /// one reg-no, the first one the member under test.
    pub(crate) fn evict_in_blocks(&mut self, leaver: u32, packets: u16, block: (u8, u8)) -> Vec<Vec<u8>> {
        let leaves = vec![RegNo(leaver)];
        let batch = Batch { joins: Vec::new(), leaves, refresh_root: false, step_leaves: false };
        self.cut_in_packets(batch, (packets, block.0, block.1))
    }

    fn cut_in_packets(&mut self, batch: Batch, (packets, data, parity): (u16, u8, u8)) -> Vec<Vec<u8>> {
        self.hard = !batch.leaves.is_empty();
        let state = self.state.at(Epoch(self.state.epoch.0 + 1));
        let seed = Secret::new([state.epoch.0 as u8; 32]);
        let mut xof = MessageXof::new(self.domain.suite, &seed, &[b"message"]);
        let staged = self.tree.stage(state.epoch, &batch, &mut xof).unwrap();
        let (root, secret) = staged.root().unwrap();
        let group_key = self.domain.group_key(secret, state);
        let body = Body { targets: staged.targets().to_vec(), entries: staged.all_entries().to_vec() };
        let header = UpdateHeader {
            state,
            previous: self.state.epoch,
            index: 0,
            data_packets: packets,
            block_data: data,
            block_parity: parity,
            first: RegNo(0),
            last: RegNo::MAX,
            height: staged.height(),
            root,
            leaf_steps: staged.leaf_steps(),
            hard: self.hard,
            activation: Timing::default().activation(self.hard),
            key_check: self.domain.key_check(&group_key, state),
            policy: self.policy,
            iv: *staged.iv(),
        };
        self.tree.merge(staged).unwrap();
        let key_check = header.key_check;
        let prefilter = &self.prefilters[&self.state.epoch];
        let of = |index: u16| {
            let last = if index + 1 == packets { RegNo::MAX } else { RegNo(index.into()) };
            let first = RegNo(index.into());
            (UpdateHeader { index, first, last, ..header.clone() }, body.clone())
        };
        let contents: Vec<_> = (0..packets).map(of).collect();
        let sealed = seal_update(&self.domain, &contents, &self.signer, Some(prefilter)).unwrap();
        self.prefilters.insert(state.epoch, self.domain.prefilter(&group_key, state));
        (self.state, self.key_check) = (state, key_check);
        self.message = (sealed.root, sealed.packets.len() as u16);
        sealed.packets
    }

    pub(crate) fn alarm(&mut self) -> Vec<u8> {
        self.alarm_with(|_| {})
    }

    /// An alarm that says something else than what is so, signed all the same.
    pub(crate) fn alarm_with(&mut self, spoil: impl FnOnce(&mut Alarm)) -> Vec<u8> {
        self.alarms += 1;
        let mut alarm = Alarm {
            state: self.state,
            counter: self.alarms,
            journal: 0,
            root: self.tree.root().unwrap().0,
            height: self.tree.height(),
            leaf_steps: self.tree.leaf_steps(),
            key_check: self.key_check,
            hard: self.hard,
            activation: Timing::default().activation(self.hard),
            message_root: self.message.0,
            message_packets: self.message.1,
            oldest: Epoch(0),
            roster: self.roster,
            policy: self.policy,
            next_rekey: Duration::ZERO,
            path: Vec::new(),
            successors: self.successors.clone(),
            in_step: (1 << self.successors.len()) - 1,
            members: self.members,
            renewals: self.renewals,
        };
        spoil(&mut alarm);
        alarm.encode(&self.domain, &self.signer)
    }

    /// The path of a member.
    pub(crate) fn path(&self, reg_no: RegNo) -> Vec<PathKey> {
        self.tree.path(reg_no).unwrap_or_default()
    }

    /// Seals a message for the member under test.
    pub(crate) fn seal(&mut self, message: &ToMember) -> Vec<u8> {
        self.sealed += 1;
        let key = &self.keys.as_ref().unwrap().unicast;
        let registration = Registration { domain: &self.domain, sender: SENDER, key };
        message.seal(&registration, &mut ChaCha12Rng::seed_from_u64(self.sealed))
    }

    /// An answer to a resync request.
    pub(crate) fn answer(&mut self, nonce: u64, path: Vec<PathKey>) -> Vec<u8> {
        let alarm = self.alarm();
        self.seal(&ToMember::Resync(ResyncAnswer { nonce, alarm, path }))
    }

    /// The registration of the member under test, to open what it says.
    pub(crate) fn registration(&self) -> Registration<'_> {
        Registration { domain: &self.domain, sender: SENDER, key: &self.keys.as_ref().unwrap().unicast }
    }

    /// Whether a key path leads to the root of now.
    pub(crate) fn agrees_with(&self, path: &KeyPath) -> bool {
        path.root().map(|(_, secret)| secret) == self.tree.root().map(|(_, secret)| secret)
    }
}
