//! What must hold whatever happens, checked after each event from the oracle's own bookkeeping.
//!
//! - **Agreement**: one state id, one group key, at every node; a registration's states only go up; one key update a
//!   state; the manager's counts are those of its journal.
//! - **Delivery**: a packet reaches an application at most once, only if it was sent, only from and to who was in.
//! - **Durability**: what a manager told is on its disk when it is told, and its member list is what its journal says,
//!   after a restart above all; no state is cut twice. Who takes over holds all that was told while it was in step.
//! - **Revocation**: who was evicted is in no later state, even if the manager's store is put back to an older one; whose
//!   registration ended on one side of a partition is out on both after a merge.
//! - **Registration**: nobody registers again because its manager came back.
//! - **Bounds**: no node sends, checks or puts out more than it may, whatever comes in.
//! - **Secrecy**: what ex-members, joiners and coalitions of them can compute from every key they ever held and every
//!   datagram ever sent, by real cryptography, is no key of a state in which none of them was in.
//!
//! Who was in at which state is read off the manager's journal ([`Roll`]), not off the tree that is being checked.

mod acknowledged;
mod agreement;
mod book;
mod bounds;
mod delivery;
mod knowledge;
mod roll;
mod secrecy;
mod succession;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crypto::{PublicKey, Secret, Suite, Verifier};
use data::{KeyRing, Sealed};
use gsm::{GsmEvent, JournalEntry, RekeySummary, Remembered};
use keytree::{Degree, KeyPath, TreeId, Version};
use protocol::{
    Commit, DatagramKind, Domain, Envelope, GroupId, Inst, Instant, Record, SenderId, StateId, SubgroupId,
};

use crate::cast::Delivered;
use crate::node::NodeId;

use acknowledged::Acknowledged;
use book::Book;
use bounds::Bounds;
use delivery::Deliveries;
use roll::Taken;
pub use roll::{Registered, Roll};
use succession::Succession;

/// What was violated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Property {
    /// Somebody can read what it must not.
    Secrecy,
    /// Two nodes hold different things under one name.
    Agreement,
    /// A packet was delivered twice, or wrongly.
    Delivery,
    /// What was told is not true any more after a restart, or was told before it was durable.
    Durability,
    /// Somebody who was put out for good is in again.
    Revocation,
    /// A member that its manager knows registered anew.
    Registration,
    /// After the faults had stopped, somebody was not where the manager is.
    Liveness,
    /// A node sent, checked or held more than it ever may.
    Bounds,
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
    /// The group's suite.
    pub suite: Suite,
    /// The group.
    pub group: GroupId,
    /// The trees' degree.
    pub degree: Degree,
    /// The trees' name in derivations.
    pub tree: TreeId,
    /// Checks managers' signatures.
    pub verifier: Arc<dyn Verifier>,
    /// Chooses coalitions.
    pub seed: u64,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("group", &self.group).finish_non_exhaustive()
    }
}

/// Sees everything, believes nothing.
pub struct Oracle {
    setting: Setting,
    /// One for each subgroup there ever was.
    books: BTreeMap<SubgroupId, Book>,
    /// The subgroup that was made first.
    first: Option<SubgroupId>,
    /// The subgroup each node manages, or managed last.
    manages: BTreeMap<NodeId, SubgroupId>,
    /// All subgroups of which each node has kept a journal.
    kept: BTreeMap<NodeId, BTreeSet<SubgroupId>>,
    /// The subgroup of each start of a manager.
    starts: BTreeMap<Inst, SubgroupId>,
    deliveries: Deliveries,
    acknowledged: Acknowledged,
    succession: Succession,
    bounds: Bounds,
    nobody: Roll,
    found: Vec<Violation>,
}

impl Oracle {
    /// An oracle that has seen nothing.
    pub const fn new(setting: Setting) -> Self {
        Self {
            setting,
            books: BTreeMap::new(),
            first: None,
            manages: BTreeMap::new(),
            kept: BTreeMap::new(),
            starts: BTreeMap::new(),
            deliveries: Deliveries::new(),
            acknowledged: Acknowledged::new(),
            succession: Succession::new(),
            bounds: Bounds::new(),
            nobody: Roll::new(),
            found: Vec::new(),
        }
    }

    /// What was violated so far.
    pub fn violations(&self) -> &[Violation] {
        &self.found
    }

    /// Who was in at which state of the subgroup that was made first.
    pub fn roll(&self) -> &Roll {
        let first = self.first.and_then(|subgroup| self.books.get(&subgroup));
        first.map_or(&self.nobody, Book::roll)
    }

    /// Who was in at which state, of every subgroup there ever was.
    pub fn rolls(&self) -> impl Iterator<Item = (SubgroupId, &Roll)> {
        self.books.iter().map(|(subgroup, book)| (*subgroup, book.roll()))
    }

    /// How many packets were sent and delivered.
    pub fn packets(&self) -> (usize, usize) {
        self.deliveries.counts()
    }

    /// A node wrote a record; `signs_with` is its key as a manager.
    pub fn on_record(&mut self, at: Instant, node: NodeId, signs_with: PublicKey, record: &Record) {
        let Ok(entry) = JournalEntry::decode(&record.bytes) else {
            self.report(at, Property::Agreement, Err("a journal entry does not read back".into()));
            return;
        };
        if let JournalEntry::TookOver { .. } = &entry {
            self.on_taken_over(at, node, record);
        }
        if let JournalEntry::Started { subgroup, term, inst, .. } = &entry {
            let Setting { suite, group, .. } = self.setting;
            let domain = Domain { suite, group, subgroup: *subgroup };
            let before = self.manages.insert(node, *subgroup).filter(|before| before != subgroup);
            if let Some(before) = before.and_then(|before| self.books.get_mut(&before)) {
                before.on_abandoned(node);
                self.succession.forget(node);
            }
            self.kept.entry(node).or_default().insert(*subgroup);
            self.acknowledged.takes_office(node);
            self.starts.insert(*inst, *subgroup);
            self.first.get_or_insert(*subgroup);
            let book = self.books.entry(*subgroup).or_insert_with(|| Book::new(domain, &self.setting));
            book.on_started(*term, *inst, signs_with, &self.setting);
        }
        self.succession.on_record(node, &entry);
        if matches!(entry, JournalEntry::SteppedDown) {
            self.on_stepped_down(at, node);
        }
        if let JournalEntry::Revoked { revocation } = &entry {
            self.acknowledged.learns(node, revocation.identity, record.commit);
        }
        let managed = self.manages.get(&node).and_then(|subgroup| self.books.get_mut(subgroup));
        let verdict = match managed {
            Some(book) => book.on_entry(node, record.commit, entry),
            None => Err(format!("{node:?} records before it starts")),
        };
        self.report(at, Property::Agreement, verdict);
    }

    /// A node goes on in the place of a manager it has followed.
    fn on_taken_over(&mut self, at: Instant, node: NodeId, record: &Record) {
        let read = Remembered::from_loaded(None, [(record.commit, &record.bytes[..])], false);
        let of = |own: SenderId| {
            let knows = |(_, book): &(&SubgroupId, &Book)| book.roll().registered(own).is_some();
            self.books.iter().find(knows).map(|(subgroup, _)| *subgroup)
        };
        let Some((held, subgroup)) = read.ok().flatten().and_then(|held| {
            let subgroup = held.own().and_then(of);
            Some((held, subgroup?))
        }) else {
            self.report(at, Property::Durability, Err(format!("{node:?} takes over nothing")));
            return;
        };
        let Some(book) = self.books.get_mut(&subgroup) else { return };
        let (of, cut) = held.newest();
        let (live, term) = (held.registrations().collect(), held.term());
        let taken = Taken { live, term, own: held.own(), of, cut };
        let manager = taken.own.and_then(|own| book.roll().managed_by(own, node));
        let verdict = match (manager, self.acknowledged.member(node)) {
            (Some(manager), Some(own)) => self.succession.check_taken(book.roll(), (manager, own), &taken),
            _ => Ok(()),
        };
        self.succession.forget(node);
        book.on_taken_over(node, record.commit, taken);
        self.manages.insert(node, subgroup);
        self.kept.entry(node).or_default().insert(subgroup);
        self.report(at, Property::Durability, verdict);
    }

    /// One manager of a subgroup says that it has, durably, everything that another one has handed over.
    pub fn on_united(&mut self, winner: NodeId, loser: NodeId, subgroup: SubgroupId) {
        if self.manages.get(&winner) == Some(&subgroup) && self.manages.get(&loser) == Some(&subgroup) {
            self.succession.on_united(winner, loser);
        }
    }

    /// A manager is none any more.
    fn on_stepped_down(&mut self, at: Instant, node: NodeId) {
        let Some(winner) = self.succession.on_stepped_down(node) else { return };
        let book = self.manages.get(&winner).and_then(|subgroup| self.books.get_mut(subgroup));
        let verdict = book.map_or(Ok(()), |book| book.on_handed_over(node, winner));
        self.report(at, Property::Revocation, verdict);
    }

    /// A manager tells of something. Everything up to `durable` is on its disk.
    pub fn on_told(&mut self, at: Instant, node: NodeId, event: &GsmEvent, durable: Commit) {
        self.succession.on_told(node, event);
        let subgroup = match event {
            GsmEvent::Rekeyed(summary) => self.starts.get(&summary.state.inst),
            // What waited for a record may be told when the manager is in another subgroup already.
            GsmEvent::Admitted { sender, .. } | GsmEvent::Departed { sender, .. } => {
                let known = |book: &&Book| book.roll().registered(*sender).is_some();
                let mut books = self.books.iter().filter(|(_, book)| known(book));
                books.next().map(|(subgroup, _)| subgroup)
            }
            _ => self.manages.get(&node),
        };
        let Some(book) = subgroup.and_then(|subgroup| self.books.get(subgroup)) else { return };
        let verdict = self.acknowledged.on_told(book.roll(), node, event, durable);
        self.report(at, Property::Durability, verdict);
    }

    /// Whom a manager lists, without those that are leaving.
    pub fn on_list(&mut self, at: Instant, node: NodeId, listed: &BTreeSet<SenderId>) {
        let book = self.manages.get(&node).and_then(|subgroup| self.books.get(subgroup));
        let verdict = book.map_or(Ok(()), |book| book.check_list(node, listed));
        self.report(at, Property::Durability, verdict);
    }

    /// A node is granted a place, in this start of its process. One that has a place already must have lost it.
    pub fn on_granted(&mut self, at: Instant, node: NodeId, start: u32) {
        let Some(own) = self.acknowledged.own(node, start) else { return };
        if self.books.values().any(|book| book.is_live(own)) {
            let what = format!("{node:?} registers again, and its manager still knows it as {own}");
            self.report(at, Property::Registration, Err(what));
        }
    }

    /// A node was told that it is in, by the manager of this subgroup. Everything up to `durable` is on that one's disk.
    pub fn on_admitted(
        &mut self,
        at: Instant,
        (node, start): (NodeId, u32),
        (subgroup, sender): (SubgroupId, SenderId),
        durable: Commit,
    ) {
        let Some(book) = self.books.get(&subgroup) else { return };
        let manager = self.manager_of(subgroup).unwrap_or(node);
        let verdict = self.acknowledged.on_admitted(book.roll(), node, start, sender, (manager, durable));
        self.report(at, Property::Durability, verdict);
    }

    /// The node that manages a subgroup, or managed it last.
    pub fn manager_of(&self, subgroup: SubgroupId) -> Option<NodeId> {
        self.books.get(&subgroup)?.roll().manager()
    }

    /// The subgroup of a start of a manager.
    pub fn subgroup_of(&self, inst: Inst) -> Option<SubgroupId> {
        self.starts.get(&inst).copied()
    }

    /// Who was put out for good, as far as it was told.
    pub fn revoked(&self) -> Vec<String> {
        self.acknowledged.revoked().cloned().collect()
    }

    /// Nobody is left who could tell this manager that this one was put out.
    pub fn forgive(&mut self, identity: &str, manager: NodeId) {
        self.acknowledged.forgive(identity, manager);
    }

    /// A node was killed; its store held the records up to `durable`, and holds now those up to `held`: fewer, if
    /// somebody put an older copy of it back.
    pub fn on_killed(&mut self, node: NodeId, durable: Commit, held: Commit) {
        self.succession.on_killed(node, held < durable);
        self.deliveries.on_killed(node);
        self.acknowledged.on_killed(node, durable);
        for subgroup in self.kept.get(&node).into_iter().flatten() {
            if let Some(book) = self.books.get_mut(subgroup) {
                book.on_killed(node, durable, held);
            }
        }
    }

    /// A node starts from a journal that ends in this subgroup: another one than it managed last, if an older copy of its
    /// store was put back.
    pub fn on_remembered(&mut self, node: NodeId, subgroup: SubgroupId) {
        if self.books.contains_key(&subgroup) {
            self.manages.insert(node, subgroup);
        }
    }

    /// A node checked so many signatures because of one input.
    pub fn on_checks(&mut self, at: Instant, node: NodeId, checks: u64) {
        let verdict = self.bounds.on_checks(at, node, checks);
        self.report(at, Property::Bounds, verdict);
    }

    /// A node put out so much after one input or timer.
    pub fn on_outputs(&mut self, at: Instant, node: NodeId, outputs: u64) {
        let verdict = self.bounds.on_outputs(node, outputs);
        self.report(at, Property::Bounds, verdict);
    }

    /// The most control datagrams, bytes and signature checks of one node in a second, and the most outputs at once.
    pub const fn most_spent(&self) -> [u64; 4] {
        self.bounds.most()
    }

    /// A node sent a control datagram.
    pub fn on_datagram(&mut self, at: Instant, node: NodeId, bytes: &[u8]) {
        let verdict = self.bounds.on_sent(at, node, bytes.len());
        self.report(at, Property::Bounds, verdict);
        let Ok(envelope) = Envelope::for_group(bytes, self.setting.group) else { return };
        let Some(book) = self.books.get_mut(&envelope.domain.subgroup) else { return };
        let verdict = book.on_datagram(at, envelope.kind, bytes);
        let sealed = envelope.kind == DatagramKind::ToMember;
        self.report(at, if sealed { Property::Secrecy } else { Property::Agreement }, verdict);
    }

    /// A member's process holds these keys of the tree: its registration will have hoarded them.
    pub fn on_path(&mut self, subgroup: SubgroupId, sender: SenderId, path: &KeyPath) {
        if let Some(book) = self.books.get_mut(&subgroup) {
            book.learns(sender, path.keys());
        }
    }

    /// Somebody gave a tree key to a registration by a way that is not in the protocol; for planted bugs.
    pub fn leak(&mut self, to: SenderId, node: keytree::NodeId, version: Version, secret: &Secret<32>) {
        let registered = self.books.values_mut().find(|book| book.roll().registered(to).is_some());
        if let Some(book) = registered {
            book.learns(to, std::iter::once((node, version, secret)));
        }
    }

    /// A machine handed keys to its data plane.
    pub fn on_ring(&mut self, at: Instant, node: NodeId, ring: &KeyRing) {
        if let Some(book) = self.books.get_mut(&ring.subgroup) {
            for (property, verdict) in book.on_ring(node, ring) {
                self.report(at, property, verdict);
            }
        }
        self.deliveries.on_ring(node, ring);
    }

    /// A member says that it holds a state.
    pub fn on_installed(&mut self, at: Instant, sender: SenderId, state: StateId) {
        let verdict = self.book_of(state).and_then(|book| book.on_installed(sender, state));
        self.report(at, Property::Agreement, verdict);
    }

    /// A manager cut a state.
    pub fn on_rekeyed(&mut self, at: Instant, summary: &RekeySummary) {
        let verdict = self.book_of(summary.state).and_then(|book| book.on_rekeyed(summary));
        self.report(at, Property::Agreement, verdict);
        let verdict = self.book_of(summary.state).and_then(|book| book.check_departed(summary.state));
        self.report(at, Property::Secrecy, verdict);
        let book = self.starts.get(&summary.state.inst).and_then(|subgroup| self.books.get(subgroup));
        // Of several that manage at once, the one that cut it.
        let cut = book.and_then(|book| book.roll().cut(summary.state));
        let verdict = match (book, cut) {
            (Some(book), Some((node, _))) => {
                self.acknowledged.check_revoked(book.roll(), node, summary.state)
            }
            _ => Ok(()),
        };
        self.report(at, Property::Revocation, verdict);
    }

    /// An application packet was sealed and sent.
    pub fn on_sent(&mut self, at: Instant, own: SenderId, sealed: &Sealed, payload: &[u8], packet: &[u8]) {
        self.deliveries.on_sent(own, sealed, payload);
        let verdict = self.book_of(sealed.state).and_then(|book| book.on_packet(at, sealed.state, packet));
        self.report(at, Property::Secrecy, verdict);
    }

    /// An application was handed a packet.
    pub fn on_delivered(&mut self, at: Instant, node: NodeId, delivered: &Delivered) {
        let subgroup = self.starts.get(&delivered.state.inst);
        let verdict = match subgroup.and_then(|subgroup| Some((*subgroup, self.books.get(subgroup)?))) {
            Some((subgroup, book)) => {
                self.deliveries.on_delivered(at, subgroup, book.roll(), node, delivered)
            }
            None => Err(format!("{node:?} was handed a packet of {}, which nobody started", delivered.state)),
        };
        self.report(at, Property::Delivery, verdict);
    }

    /// The faults have stopped long ago: this node should hold what a manager holds that it hears.
    pub fn on_rest(&mut self, at: Instant, who: &str, held: Option<StateId>, wanted: &[StateId]) {
        let alone = held.is_none() && wanted.is_empty();
        if !alone && !held.is_some_and(|held| wanted.contains(&held)) {
            let what = format!("{who} holds {held:?} while the manager is at {wanted:?}");
            self.report(at, Property::Liveness, Err(what));
        }
    }

    /// Something that the world saw itself.
    pub fn on_wrong(&mut self, at: Instant, property: Property, what: String) {
        self.report(at, property, Err(what));
    }

    /// The run is over: every coalition that was not looked at on the way.
    pub fn finish(&mut self, at: Instant) {
        let verdict = self.books.values().try_for_each(|book| book.check_all(self.setting.seed));
        self.report(at, Property::Secrecy, verdict);
    }

    fn book_of(&mut self, state: StateId) -> Result<&mut Book, String> {
        let book = self.starts.get(&state.inst).and_then(|subgroup| self.books.get_mut(subgroup));
        book.ok_or_else(|| format!("nobody started {state}"))
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
