//! The oracle's books of one subgroup, through all starts of its manager.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crypto::{PublicKey, Secret};
use data::KeyRing;
use gsm::{JournalEntry, RekeySummary};
use keytree::{Degree, NodeId as TreeNode, Version};
use protocol::{
    Commit, DatagramKind, Domain, Epoch, Gate, Inst, Instant, Registration, Rejected, SenderId, StateId,
    Term, ToMember, claimed_sender,
};

use super::agreement::Agreement;
use super::roll::{Roll, Taken};
use super::secrecy::Secrecy;
use super::trial::Trials;
use super::{Property, Setting};
use crate::node::NodeId;

/// Starts of one manager whose key updates are still read.
const MAX_STARTS: usize = 8;

/// One subgroup.
pub(super) struct Book {
    domain: Domain,
    degree: Degree,
    roll: Roll,
    /// Reads key updates off the LAN as a member would, signatures included; a new one for each start of the manager.
    gates: Vec<Gate>,
    agreement: Agreement,
    secrecy: Secrecy,
    trials: Trials,
    /// An older copy of the manager's store was put back, or the manager began another subgroup.
    void: bool,
}

impl Book {
    pub(super) fn new(domain: Domain, setting: &Setting) -> Self {
        Self {
            domain,
            degree: setting.degree,
            roll: Roll::new(),
            gates: Vec::new(),
            agreement: Agreement::new(),
            secrecy: Secrecy::new(domain, setting.degree, setting.tree, setting.seed),
            trials: Trials::new(domain, setting.seed),
            void: false,
        }
    }

    pub(super) const fn roll(&self) -> &Roll {
        &self.roll
    }

    /// A manager that signs with this key starts.
    pub(super) fn on_started(&mut self, term: Term, inst: Inst, signs_with: PublicKey, setting: &Setting) {
        // No update leads on from this epoch, so the gate has no prefilter key to check one with.
        let start = StateId { term, inst, epoch: Epoch(u32::MAX) };
        let prefilter = Secret::new([0; 32]);
        let verifier = Arc::clone(&setting.verifier);
        self.gates.insert(0, Gate::new(self.domain, signs_with, start, prefilter, verifier));
        // One that goes on undisturbed must not be forgotten because two others begin term after term.
        let mut same = 0;
        self.gates.retain(|gate| {
            same += usize::from(*gate.manager() == signs_with);
            *gate.manager() != signs_with || same <= MAX_STARTS
        });
    }

    pub(super) fn on_entry(
        &mut self,
        node: NodeId,
        commit: Commit,
        entry: JournalEntry,
    ) -> Result<(), String> {
        let verdict = match &entry {
            JournalEntry::Cut { state, .. } if self.roll.members(*state).is_some() => {
                Err(format!("{state} was cut before"))
            }
            _ => Ok(()),
        };
        let renews = matches!(entry, JournalEntry::Renewed { .. });
        let entered = self.roll.on_entry(node, commit, entry);
        if renews {
            self.secrecy.on_renewed(&self.roll);
        }
        verdict.and(entered)
    }

    /// The manager is in another subgroup now.
    pub(super) fn on_abandoned(&mut self, node: NodeId) {
        self.void |= self.roll.manager() == Some(node);
    }

    /// Whether a registration counts: its manager knows it, and was never rolled back.
    pub(super) fn is_live(&self, sender: SenderId) -> bool {
        let live = self.roll.manager().and_then(|node| self.roll.live_at(node));
        !self.void && live.is_some_and(|live| live.contains(&sender))
    }

    /// Whom the manager lists, without those that are leaving: exactly who is in by its journal.
    pub(super) fn check_list(&self, node: NodeId, listed: &BTreeSet<SenderId>) -> Result<(), String> {
        let Some(live) = self.roll.live_at(node) else { return Ok(()) };
        if let Some(lost) = live.difference(listed).next() {
            return Err(format!("the manager has lost {lost}, who is in by its journal"));
        }
        match listed.difference(live).next() {
            Some(extra) => Err(format!("the manager lists {extra}, who is not in by its journal")),
            None => Ok(()),
        }
    }

    /// A manager is none any more, after another one had everything that it handed over.
    pub(super) fn on_handed_over(&mut self, from: NodeId, to: NodeId) -> Result<(), String> {
        self.roll.on_handed_over(from, to)
    }

    /// A node goes on with what the manager has told it.
    pub(super) fn on_taken_over(&mut self, node: NodeId, commit: Commit, taken: Taken) {
        self.roll.on_taken_over(node, commit, taken);
    }

    pub(super) fn on_killed(&mut self, node: NodeId, durable: Commit, held: Commit) {
        self.roll.on_killed(node, durable, held);
        if held < durable {
            self.void = true;
            self.agreement.on_rolled_back(node);
        }
    }

    /// A datagram of the subgroup went out.
    pub(super) fn on_datagram(
        &mut self,
        at: Instant,
        kind: DatagramKind,
        bytes: &[u8],
    ) -> Result<(), String> {
        match kind {
            DatagramKind::KeyUpdate => self.on_key_update(at, bytes),
            DatagramKind::ToMember => {
                self.on_answer(bytes);
                self.secrecy.check_told(&self.roll, self.agreement.keys())
            }
            _ => Ok(()),
        }
    }

    fn on_key_update(&mut self, at: Instant, bytes: &[u8]) -> Result<(), String> {
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // Of several that manage at once, and of what is repeated, some is of an earlier start than the newest.
        let mut why = None;
        let read = self.gates.iter_mut().find_map(|gate| {
            match gate.key_update(at, from, Some(Epoch(0)), bytes) {
                Ok(packet) => Some(Some(packet)),
                // A repair, byte-equal to what was sent before.
                Err(Rejected::Duplicate) => Some(None),
                Err(rejected) => {
                    why.get_or_insert(rejected);
                    None
                }
            }
        });
        let packet = match (read, why) {
            (Some(Some(packet)), _) => packet,
            (None, Some(why)) => return Err(format!("a key update went out that is {why}")),
            _ => return Ok(()),
        };
        self.secrecy.on_update(&packet);
        self.agreement.on_update(&packet.header)
    }

    /// A resync answer is open to whoever has the unicast key of its registration.
    fn on_answer(&mut self, bytes: &[u8]) {
        let Ok(sender) = claimed_sender(bytes) else { return };
        let Some(registered) = self.roll.registered(sender) else { return };
        let registration = Registration { domain: &self.domain, sender, key: &registered.unicast };
        let Ok(message) = ToMember::open(&registration, bytes) else { return };
        if let ToMember::Resync(answer) = &*message {
            let keys = answer
                .path
                .iter()
                .map(|key| (self.degree.ancestor(registered.reg_no, key.level), key.version, &key.secret));
            self.secrecy.learns(sender, keys);
        }
    }

    /// A registration holds tree keys, and keeps them for ever.
    pub(super) fn learns<'k>(
        &mut self,
        sender: SenderId,
        keys: impl Iterator<Item = (TreeNode, Version, &'k Secret<32>)>,
    ) {
        self.secrecy.learns(sender, keys);
    }

    /// A machine handed keys to its data plane.
    pub(super) fn on_ring(&mut self, node: NodeId, ring: &KeyRing) -> Vec<(Property, Result<(), String>)> {
        let sent = ring.send.iter().map(|key| (key.state, &key.key));
        let keys = ring.receive.iter().map(|key| (key.state, &key.key)).chain(sent);
        let mut verdicts = Vec::new();
        for (state, key) in keys {
            verdicts.push((Property::Agreement, self.agreement.on_key(node, state, key)));
            verdicts.push((Property::Secrecy, self.secrecy.on_group_key(&self.roll, ring.own, state)));
            self.trials.on_group_key(ring.own, key);
        }
        verdicts
    }

    pub(super) fn on_installed(&mut self, sender: SenderId, state: StateId) -> Result<(), String> {
        self.agreement.on_installed(sender, state)
    }

    pub(super) fn on_rekeyed(&mut self, summary: &RekeySummary) -> Result<(), String> {
        let Some((node, _)) = self.roll.cut(summary.state) else {
            return Err(format!("{} was cut unrecorded", summary.state));
        };
        self.agreement.on_rekeyed(&self.roll, node, summary)
    }

    pub(super) fn check_departed(&mut self, state: StateId) -> Result<(), String> {
        self.secrecy.check_departed(&self.roll, state, self.agreement.keys())
    }

    pub(super) fn on_packet(&mut self, at: Instant, state: StateId, packet: &[u8]) -> Result<(), String> {
        self.trials.on_packet(at, &self.roll, state, packet)
    }

    pub(super) fn check_all(&self, seed: u64) -> Result<(), String> {
        self.secrecy.check_all(&self.roll, self.agreement.keys(), seed)
    }
}
