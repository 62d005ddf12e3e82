//! A manager made by hand: a real key tree, real signatures, and no machine around them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{
    Ed25519Signer, Ed25519Verifier, Label, MerkleHash, MessageXof, Secret, Signer, Suite, Verifier, mac,
};
use keytree::{Batch, Degree, Join, KeyTree, TreeId};
use protocol::{
    Alarm, Body, Domain, Epoch, Gate, GroupId, Inst, Instant, RegNo, Rejected, RosterVersion, SealedUpdate,
    StateId, SubgroupId, Term, UpdateHeader, UpdatePacket, Verified, seal_update,
};

pub(crate) const MAC_LEN: usize = 8;
pub(crate) const SIGNATURE_LEN: usize = 64;
/// Where the manager sends from, and where everybody else does.
pub(crate) const MANAGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 99));

/// The instant `ms` milliseconds after the tests begin.
pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000_000) + Duration::from_millis(ms)
}

pub(crate) const fn domain(suite: Suite) -> Domain {
    Domain { suite, group: GroupId::from_bytes([7; 16]), subgroup: SubgroupId(0x5555) }
}

pub(crate) const SUITES: [Suite; 2] = [Suite::Aes256Ctr, Suite::Aes256Kw];

/// One subgroup as its manager sees it.
pub(crate) struct Subgroup {
    pub(crate) domain: Domain,
    pub(crate) signer: Ed25519Signer,
    pub(crate) state: StateId,
    pub(crate) tree: KeyTree,
    /// Of the current state.
    pub(crate) prefilter: Secret<32>,
    pub(crate) key_check: [u8; 8],
    /// Root and packets of the newest key update.
    pub(crate) message: (MerkleHash, u16),
    pub(crate) alarms: u64,
}

/// One key update, as it was made and as it was sent.
pub(crate) struct Update {
    pub(crate) contents: Vec<(UpdateHeader, Body)>,
    pub(crate) sealed: SealedUpdate,
    /// The key its MACs were made with.
    pub(crate) prefilter: Secret<32>,
}

impl Subgroup {
    /// A manager whose members 0 to 8 are in since epoch 1.
    pub(crate) fn new(domain: Domain) -> Self {
        let tree = KeyTree::new(domain.suite, TreeId(0), Degree::default());
        let mut subgroup = Self {
            domain,
            signer: Ed25519Signer::from_seed(&Secret::new([0x51; 32])),
            state: StateId { term: Term(1), inst: Inst(0xabcd), epoch: Epoch(0) },
            tree,
            prefilter: Secret::new([0x50; 32]),
            key_check: [0; 8],
            message: (MerkleHash([0; 16]), 0),
            alarms: 0,
        };
        let _ = subgroup.cut(&(0..9).collect::<Vec<_>>(), &[], 1);
        subgroup
    }

    /// Lets members in and out, or refreshes the root if there are none, and sends it in `packets` packets that each hold the whole plan.
    pub(crate) fn cut(&mut self, joins: &[u32], leaves: &[u32], packets: u16) -> Update {
        self.cut_as(joins, leaves, packets, |_, _| {})
    }

    /// A member's eviction in blocks with parity. Packet `i` serves the reg-nos from 10·i on, and its length depends on `i`.
    pub(crate) fn cut_in_blocks(
        &mut self,
        leaver: u32,
        packets: u16,
        block_data: u8,
        block_parity: u8,
    ) -> Update {
        self.cut_as(&[9], &[leaver], packets, |header, body| {
            (header.block_data, header.block_parity) = (block_data, block_parity);
            header.first = RegNo(u32::from(header.index) * 10);
            if header.index + 1 < packets {
                header.last = RegNo(header.first.0 + 9);
            }
            body.targets.truncate(1 + usize::from(header.index) % body.targets.len());
            let entries = body.targets.last().map_or(0, |target| target.entries.end);
            body.entries.truncate(entries as usize);
        })
    }

    fn cut_as(
        &mut self,
        joins: &[u32],
        leaves: &[u32],
        packets: u16,
        shape: impl Fn(&mut UpdateHeader, &mut Body),
    ) -> Update {
        let batch = Batch {
            joins: joins.iter().map(|reg_no| self.join(*reg_no)).collect(),
            leaves: leaves.iter().copied().map(RegNo).collect(),
            refresh_root: joins.is_empty() && leaves.is_empty(),
            step_leaves: false,
        };
        let state = self.state.at(Epoch(self.state.epoch.0 + 1));
        let seed = Secret::new([state.epoch.0 as u8; 32]);
        let mut xof = MessageXof::new(self.domain.suite, &seed, &[b"message"]);
        let staged = self.tree.stage(state.epoch, &batch, &mut xof).unwrap();
        let (version, root) = staged.root().unwrap();
        let group_key = self.domain.group_key(root, state);
        let body = Body { targets: staged.targets().to_vec(), entries: staged.all_entries().to_vec() };
        let header = UpdateHeader {
            state,
            previous: self.state.epoch,
            index: 0,
            data_packets: packets,
            block_data: 10,
            block_parity: 0,
            first: RegNo(0),
            last: RegNo::MAX,
            height: staged.height(),
            root: version,
            leaf_steps: staged.leaf_steps(),
            hard: !leaves.is_empty(),
            activation: Duration::from_millis(100),
            key_check: self.domain.key_check(&group_key, state),
            policy: [3; 16],
            iv: *staged.iv(),
        };
        self.tree.merge(staged).unwrap();
        let shaped = |index| {
            let (mut header, mut body) = (UpdateHeader { index, ..header.clone() }, body.clone());
            shape(&mut header, &mut body);
            (header, body)
        };
        let contents: Vec<_> = (0..packets).map(shaped).collect();
        self.seal(state, contents, &group_key)
    }

    fn seal(
        &mut self,
        state: StateId,
        contents: Vec<(UpdateHeader, Body)>,
        group_key: &Secret<32>,
    ) -> Update {
        let next = self.domain.prefilter(group_key, state);
        let prefilter = std::mem::replace(&mut self.prefilter, next);
        let sealed = seal_update(&self.domain, &contents, &self.signer, Some(&prefilter)).unwrap();
        self.state = state;
        self.key_check = contents[0].0.key_check;
        self.message = (sealed.root, sealed.packets.len() as u16);
        Update { contents, sealed, prefilter }
    }

    fn join(&self, reg_no: u32) -> Join {
        Join { reg_no: RegNo(reg_no), leaf: leaf(reg_no), leaf_steps: self.tree.leaf_steps() }
    }

    /// The next alarm.
    pub(crate) fn alarm(&mut self) -> Alarm {
        self.alarms += 1;
        Alarm {
            state: self.state,
            counter: self.alarms,
            journal: 12,
            root: self.tree.root().unwrap().0,
            height: self.tree.height(),
            leaf_steps: 0,
            key_check: self.key_check,
            hard: false,
            activation: Duration::from_millis(500),
            message_root: self.message.0,
            message_packets: self.message.1,
            oldest: self.state.epoch,
            roster: RosterVersion(1),
            policy: [3; 16],
            next_rekey: Duration::from_secs(2),
            path: vec![SubgroupId(9)],
            successors: vec![],
            in_step: 0,
            members: 1,
            renewals: 0,
        }
    }

    pub(crate) fn signed_alarm(&mut self) -> Vec<u8> {
        self.alarm().encode(&self.domain, &self.signer)
    }

    /// The gate of a member that holds the current state.
    pub(crate) fn gate(&self) -> Gate {
        self.gate_with(Arc::new(Ed25519Verifier))
    }

    pub(crate) fn gate_with(&self, verifier: Arc<dyn Verifier>) -> Gate {
        Gate::new(self.domain, self.signer.public_key(), self.state, self.prefilter.clone(), verifier)
    }
}

/// The leaf secret of a member.
pub(crate) fn leaf(reg_no: u32) -> Secret<32> {
    let mut bytes = [0x1e; 32];
    bytes[..4].copy_from_slice(&reg_no.to_be_bytes());
    Secret::new(bytes)
}

/// Puts a MAC under `key` over a packet that was tampered with, as an insider can.
pub(crate) fn remac(suite: Suite, key: &Secret<32>, packet: &mut [u8]) {
    let Some(content_len) = packet.len().checked_sub(MAC_LEN) else { return };
    let (content, tag) = packet.split_at_mut(content_len);
    tag.copy_from_slice(&mac(suite, key, Label::PrefilterMac, &[content])[..MAC_LEN]);
}

/// Hands a packet to the gate of a member that holds `held`.
pub(crate) fn receive(
    gate: &mut Gate,
    ms: u64,
    held: StateId,
    packet: &[u8],
) -> Result<Verified<UpdatePacket>, Rejected> {
    gate.key_update(at(ms), ELSEWHERE, Some(held.epoch), packet)
}

/// The message with one bit flipped.
pub(crate) fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}
