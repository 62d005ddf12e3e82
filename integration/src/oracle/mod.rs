//! What must hold whatever happens, checked after each event from the oracle's own bookkeeping.
//!
//! - **Agreement**: one state id, one group key, at every node; a registration's states only go up; one key update a
//!   state; the manager's counts are those of its journal.
//! - **Delivery**: a packet reaches an application at most once, only if it was sent, only from and to who was in.
//! - **Secrecy**: what ex-members, joiners and coalitions of them can compute from every key they ever held and every
//!   datagram ever sent, by real cryptography, is no key of a state in which none of them was in.
//!
//! Who was in at which state is read off the manager's journal ([`Roll`]), not off the tree that is being checked.

mod agreement;
mod delivery;
mod knowledge;
mod roll;
mod secrecy;
mod trial;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crypto::{PublicKey, Secret, Verifier};
use data::{KeyRing, Sealed};
use gsm::{JournalEntry, RekeySummary};
use keytree::{Degree, KeyPath, TreeId, Version};
use protocol::{
    DatagramKind, Domain, Envelope, Epoch, Gate, Instant, Record, Registration, Rejected, SenderId, StateId,
    ToMember, claimed_sender,
};

use crate::node::{Delivered, NodeId};

use agreement::Agreement;
use delivery::Deliveries;
pub use roll::{Registered, Roll};
use secrecy::Secrecy;
use trial::Trials;

/// What was violated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Property {
    /// Somebody can read what it must not.
    Secrecy,
    /// Two nodes hold different things under one name.
    Agreement,
    /// A packet was delivered twice, or wrongly.
    Delivery,
    /// After the faults had stopped, somebody was not where the manager is.
    Liveness,
}

/// One violation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// When it was seen.
    pub at: Instant,
    /// What was violated.
    pub property: Property,
    /// By what.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {}", self.at, self.property, self.what)
    }
}

/// What the oracle is told of the group when the run begins.
#[derive(Clone)]
pub struct Setting {
    /// Suite, group, subgroup.
    pub domain: Domain,
    /// The tree's degree.
    pub degree: Degree,
    /// The tree's name in derivations.
    pub tree: TreeId,
    /// The key the manager signs with.
    pub manager: PublicKey,
    /// Checks its signatures.
    pub verifier: Arc<dyn Verifier>,
    /// Chooses coalitions.
    pub seed: u64,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("domain", &self.domain).finish_non_exhaustive()
    }
}

/// Sees everything, believes nothing.
pub struct Oracle {
    setting: Setting,
    roll: Roll,
    /// Reads key updates off the LAN as a member would, signatures included; made when the manager has started.
    gate: Option<Gate>,
    agreement: Agreement,
    deliveries: Deliveries,
    secrecy: Secrecy,
    trials: Trials,
    found: Vec<Violation>,
}

impl Oracle {
    /// An oracle that has seen nothing.
    pub fn new(setting: Setting) -> Self {
        Self {
            roll: Roll::new(),
            gate: None,
            agreement: Agreement::new(),
            deliveries: Deliveries::new(),
            secrecy: Secrecy::new(setting.domain, setting.degree, setting.tree),
            trials: Trials::new(setting.domain, setting.seed),
            found: Vec::new(),
            setting,
        }
    }

    /// What was violated so far.
    pub fn violations(&self) -> &[Violation] {
        &self.found
    }

    /// Who was in at which state.
    pub const fn roll(&self) -> &Roll {
        &self.roll
    }

    /// How many packets were sent and delivered.
    pub fn packets(&self) -> (usize, usize) {
        self.deliveries.counts()
    }

    /// The manager wrote a record.
    pub fn on_record(&mut self, at: Instant, record: &Record) {
        let Ok(entry) = JournalEntry::decode(&record.bytes) else {
            self.report(at, Property::Agreement, Err("a journal entry does not read back".into()));
            return;
        };
        if let JournalEntry::Started { term, inst, .. } = &entry {
            // No update leads on from this epoch, so the gate has no prefilter key to check one with.
            let start = StateId { term: *term, inst: *inst, epoch: Epoch(u32::MAX) };
            let Setting { domain, manager, verifier, .. } = &self.setting;
            let prefilter = Secret::new([0; 32]);
            self.gate = Some(Gate::new(*domain, *manager, start, prefilter, Arc::clone(verifier)));
        }
        self.roll.on_entry(entry);
    }

    /// A datagram went out on the LAN.
    pub fn on_datagram(&mut self, at: Instant, bytes: &[u8]) {
        match Envelope::for_domain(bytes, &self.setting.domain).map(|envelope| envelope.kind) {
            Ok(DatagramKind::KeyUpdate) => self.on_key_update(at, bytes),
            Ok(DatagramKind::ToMember) => self.on_answer(bytes),
            _ => {}
        }
    }

    fn on_key_update(&mut self, at: Instant, bytes: &[u8]) {
        let Some(gate) = &mut self.gate else { return };
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let packet = match gate.key_update(at, from, Some(Epoch(0)), bytes) {
            Ok(packet) => packet,
            // A repair, byte-equal to what was sent before.
            Err(Rejected::Duplicate) => return,
            Err(why) => {
                self.report(at, Property::Agreement, Err(format!("a key update went out that is {why}")));
                return;
            }
        };
        let verdict = self.agreement.on_update(&packet.header);
        self.report(at, Property::Agreement, verdict);
        self.secrecy.on_update(&packet);
    }

    /// A resync answer is open to whoever has the unicast key of its registration.
    fn on_answer(&mut self, bytes: &[u8]) {
        let Ok(sender) = claimed_sender(bytes) else { return };
        let Some(registered) = self.roll.registered(sender) else { return };
        let domain = self.setting.domain;
        let registration = Registration { domain: &domain, sender, key: &registered.unicast };
        let Ok(message) = ToMember::open(&registration, bytes) else { return };
        if let ToMember::Resync(answer) = &*message {
            let keys = answer.path.iter().map(|key| {
                (self.setting.degree.ancestor(registered.reg_no, key.level), key.version, &key.secret)
            });
            self.secrecy.learns(sender, keys);
        }
    }

    /// A member's process holds these keys of the tree: its registration will have hoarded them.
    pub fn on_path(&mut self, sender: SenderId, path: &KeyPath) {
        self.secrecy.learns(sender, path.keys());
    }

    /// Somebody gave a tree key to a registration by a way that is not in the protocol; for planted bugs.
    pub fn leak(&mut self, to: SenderId, node: keytree::NodeId, version: Version, secret: &Secret<32>) {
        self.secrecy.learns(to, std::iter::once((node, version, secret)));
    }

    /// A machine handed keys to its data plane.
    pub fn on_ring(&mut self, at: Instant, node: NodeId, ring: &KeyRing) {
        let sent = ring.send.iter().map(|key| (key.state, &key.key));
        let keys = ring.receive.iter().map(|key| (key.state, &key.key)).chain(sent);
        for (state, key) in keys {
            let verdict = self.agreement.on_key(node, state, key);
            self.report(at, Property::Agreement, verdict);
            let verdict = self.secrecy.on_group_key(&self.roll, ring.own, state);
            self.report(at, Property::Secrecy, verdict);
            self.trials.on_group_key(ring.own, key);
        }
        self.deliveries.on_ring(node, ring);
    }

    /// A member says that it holds a state.
    pub fn on_installed(&mut self, at: Instant, sender: SenderId, state: StateId) {
        let verdict = self.agreement.on_installed(sender, state);
        self.report(at, Property::Agreement, verdict);
    }

    /// The manager cut a state.
    pub fn on_rekeyed(&mut self, at: Instant, summary: &RekeySummary) {
        let verdict = self.agreement.on_rekeyed(&self.roll, summary);
        self.report(at, Property::Agreement, verdict);
        let verdict = self.secrecy.check_departed(&self.roll, summary.state, self.agreement.keys());
        self.report(at, Property::Secrecy, verdict);
    }

    /// An application packet was sealed and sent.
    pub fn on_sent(&mut self, at: Instant, own: SenderId, sealed: &Sealed, payload: &[u8], packet: &[u8]) {
        self.deliveries.on_sent(own, sealed, payload);
        let verdict = self.trials.on_packet(at, &self.roll, sealed.state, packet);
        self.report(at, Property::Secrecy, verdict);
    }

    /// An application was handed a packet.
    pub fn on_delivered(&mut self, at: Instant, node: NodeId, delivered: &Delivered) {
        let verdict = self.deliveries.on_delivered(at, &self.roll, node, delivered);
        self.report(at, Property::Delivery, verdict);
    }

    /// The faults have stopped long ago: this node should hold what the manager holds.
    pub fn on_rest(&mut self, at: Instant, who: &str, held: Option<StateId>, wanted: Option<StateId>) {
        if held != wanted {
            let what = format!("{who} holds {held:?} while the manager is at {wanted:?}");
            self.report(at, Property::Liveness, Err(what));
        }
    }

    /// The run is over: every coalition that was not looked at on the way.
    pub fn finish(&mut self, at: Instant) {
        let verdict = self.secrecy.check_all(&self.roll, self.agreement.keys(), self.setting.seed);
        self.report(at, Property::Secrecy, verdict);
    }

    fn report(&mut self, at: Instant, property: Property, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.found.push(Violation { at, property, what });
        }
    }
}

impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oracle").field("found", &self.found).finish_non_exhaustive()
    }
}
