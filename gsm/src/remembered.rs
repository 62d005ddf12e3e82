//! What a manager remembers: the fold of its journal (the DB of GSM 2.1).

mod trusted;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keytree::{MAX_NODE_STEPS, TreeId, step_leaf};
use protocol::limits::MAX_DEPARTED;
use protocol::{Commit, Epoch, Inst, Malformed, RegNo, Revocation, SenderId, StateId, SubgroupId, Term};

use crate::journal::{JoinedEntry, JournalEntry};
use crate::promised::Promised;

pub(crate) use trusted::Trusted;

/// Where a machine's journal goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Journal {
    /// The newest record the store holds or has ever acknowledged; the next one is the one after it.
    pub last: Commit,
}

/// Why a record cannot be what this program wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flaw {
    /// It does not read.
    #[error("it does not read: {0}")]
    Malformed(#[from] Malformed),
    /// It does not follow on the records before it.
    #[error("{0}")]
    Impossible(&'static str),
}

/// A record of the journal, or its snapshot, is not what this program wrote: the store is to blame, or another version.
///
/// Nothing but the revocations and the term in it is believed then; [`JournalError::salvaged`] has them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the journal is broken at record {}: {flaw}", .commit.0)]
pub struct JournalError {
    /// The record; for a snapshot, the last one it contains.
    pub commit: Commit,
    /// What is wrong with it.
    pub flaw: Flaw,
    salvaged: Box<Remembered>,
}

impl JournalError {
    /// What can still be used: a manager that resumes from it keeps nobody, and keeps out whom it knows to be evicted.
    #[must_use]
    pub fn salvaged(self) -> Remembered {
        *self.salvaged
    }
}

/// What a journal says of the manager that wrote it.
///
/// Read by the driver before it builds the machine; [`Gsm::resume`](crate::Gsm::resume) takes it. Printing it shows no
/// secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Remembered {
    pub(crate) ledger: Ledger,
    /// The newest record read.
    pub(crate) last: Commit,
    /// Something may be missing: no leaf secret is used, everybody registers again.
    pub(crate) doubtful: bool,
    /// Records since the snapshot.
    pub(crate) since_snapshot: usize,
}

impl Remembered {
    /// Reads what a store handed back: the snapshot with the newest record it contains, and the records after it in
    /// order. `doubtful` when the store said that something is or may be missing.
    ///
    /// `Ok(None)` when nothing in it is a manager's. The caller wipes the bytes it passed: they may hold leaf secrets.
    pub fn from_loaded<'a>(
        snapshot: Option<(Commit, &[u8])>,
        records: impl IntoIterator<Item = (Commit, &'a [u8])>,
        doubtful: bool,
    ) -> Result<Option<Self>, JournalError> {
        let mut fold = Fold { ledger: Ledger::default(), last: Commit(0), read: 0, broken: None };
        if let Some((commit, bytes)) = snapshot {
            fold.snapshot(commit, bytes);
        }
        records.into_iter().for_each(|(commit, bytes)| fold.record(commit, bytes));
        fold.finish(doubtful)
    }

    /// What there is before the first start.
    pub(crate) fn nothing() -> Self {
        Self { ledger: Ledger::default(), last: Commit(0), doubtful: false, since_snapshot: 0 }
    }

    /// The subgroup whose manager this node is, with everything its members rely on. `None` when it stepped down, or
    /// never was one, and only revocations are remembered.
    pub fn place(&self) -> Option<(SubgroupId, &Promised)> {
        self.ledger.office().map(|start| (start.subgroup, &start.promised))
    }

    /// The registrations there are, the own node's of its last start included; what a simulator compares.
    pub fn registrations(&self) -> impl Iterator<Item = SenderId> {
        self.ledger.members.values().map(|joined| joined.sender)
    }

    /// The own node's registration of the last start; `None` where [`Remembered::place`] is.
    pub fn own(&self) -> Option<SenderId> {
        self.ledger.start.as_ref().map(|start| start.own)
    }

    /// The newest start the journal names, its own or that of the manager it was taken over from; and the newest state cut.
    pub fn newest(&self) -> (Option<Inst>, Option<StateId>) {
        (self.ledger.start.as_ref().map(|start| start.inst), self.ledger.cut)
    }

    /// How many registrations there are, the own node's of its last start included.
    pub fn members(&self) -> usize {
        self.ledger.members.len()
    }

    /// Who must never come back, in the order in which it was recorded.
    pub fn revocations(&self) -> &[Revocation] {
        &self.ledger.revocations.list
    }

    /// The highest term of this node.
    pub const fn term(&self) -> Term {
        self.ledger.term
    }

    /// Whether the leaf secrets are void, as something may be missing.
    pub const fn doubtful(&self) -> bool {
        self.doubtful
    }
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered")
            .field("ledger", &self.ledger)
            .field("last", &self.last)
            .field("doubtful", &self.doubtful)
            .finish_non_exhaustive()
    }
}

/// Reading a journal: goes on after a flaw, for the evictions behind it.
struct Fold {
    ledger: Ledger,
    last: Commit,
    read: usize,
    broken: Option<(Commit, Flaw)>,
}

impl Fold {
    fn snapshot(&mut self, commit: Commit, bytes: &[u8]) {
        self.last = commit;
        match Ledger::decode(bytes) {
            Ok(ledger) => self.ledger = ledger,
            Err(flaw) => self.broken = Some((commit, flaw.into())),
        }
    }

    fn record(&mut self, commit: Commit, bytes: &[u8]) {
        (self.last, self.read) = (commit, self.read + 1);
        let entry = match JournalEntry::decode(bytes) {
            Ok(entry) => entry,
            Err(flaw) => {
                self.broken.get_or_insert_with(|| (commit, flaw.into()));
                return;
            }
        };
        if self.broken.is_some() {
            self.salvage(&entry);
        } else if let Err(flaw) = self.ledger.apply(entry) {
            self.broken = Some((commit, flaw));
        }
    }

    /// Behind a flaw only what keeps somebody out counts, until a start that kept nobody.
    fn salvage(&mut self, entry: &JournalEntry) {
        match entry {
            JournalEntry::Evicted { revocation, .. } | JournalEntry::Revoked { revocation } => {
                self.ledger.revocations.add(*revocation);
            }
            JournalEntry::Started { subgroup, term, .. } => {
                let before = self.ledger.start.as_ref().map(|start| start.subgroup);
                if before == Some(*subgroup) || self.ledger.apply(entry.clone()).is_err() {
                    self.ledger.term = self.ledger.term.max(*term);
                } else if before.is_some() {
                    self.broken = None;
                }
            }
            JournalEntry::TookOver { ledger } => {
                if let Ok(taken) = Ledger::decode(ledger.as_bytes()) {
                    self.ledger.term = self.ledger.term.max(taken.term);
                    taken.revocations.list.iter().for_each(|one| self.ledger.revocations.add(*one));
                }
            }
            JournalEntry::Joined(_)
            | JournalEntry::Departed { .. }
            | JournalEntry::Silent { .. }
            | JournalEntry::Cut { .. }
            | JournalEntry::SteppedDown
            | JournalEntry::Probe
            | JournalEntry::Trusted { .. }
            | JournalEntry::Renewed { .. } => {}
        }
    }

    fn finish(self, doubtful: bool) -> Result<Option<Remembered>, JournalError> {
        let Self { ledger, last, read, broken } = self;
        let doubtful = doubtful || broken.is_some();
        if ledger == Ledger::default() && broken.is_none() {
            return Ok(None);
        }
        let remembered = Remembered { ledger, last, doubtful, since_snapshot: read };
        match broken {
            None => Ok(Some(remembered)),
            Some((commit, flaw)) => Err(JournalError { commit, flaw, salvaged: Box::new(remembered) }),
        }
    }
}

/// The newest start of the manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) subgroup: SubgroupId,
    pub(crate) inst: Inst,
    /// The registration of the manager's own node.
    pub(crate) own: SenderId,
    pub(crate) promised: Promised,
}

/// Revocations in the order in which they came, each once.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct RevocationList {
    pub(crate) list: Vec<Revocation>,
    known: BTreeSet<Revocation>,
}

impl RevocationList {
    pub(crate) fn add(&mut self, revocation: Revocation) {
        if self.known.insert(revocation) {
            self.list.push(revocation);
        }
    }
}

/// The state that the records of a journal amount to. A running manager keeps it beside its own, so that a snapshot is
/// the fold of the records by construction.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The highest term.
    pub(crate) term: Term,
    /// The newest start, unless the manager has stepped down since.
    pub(crate) start: Option<Start>,
    /// Who is a member, by leaf, the own node included; each leaf secret stepped to `leaf_steps`.
    pub(crate) members: BTreeMap<RegNo, JoinedEntry>,
    pub(crate) senders: BTreeMap<SenderId, RegNo>,
    /// How often all leaf secrets were stepped.
    pub(crate) leaf_steps: u16,
    pub(crate) revocations: RevocationList,
    /// The state of the last cut, of whichever start.
    pub(crate) cut: Option<StateId>,
    /// Somebody was evicted since.
    pub(crate) uncut_eviction: bool,
    /// That cut shuts somebody out who was evicted, and is not known to have gone out: none of the same start follows it.
    pub(crate) unheard_eviction: bool,
    /// The newest registrations that ended for good, newest last, to be handed over if this manager gives way. Who was
    /// only silent may be heard by the other manager.
    pub(crate) departed: VecDeque<SenderId>,
    /// Renewals of the leaf secrets so far.
    pub(crate) renewals: u16,
    /// Who knows, or has known, every leaf secret.
    pub(crate) trusted: Trusted,
    /// The state is that of a manager this node followed, and no start of its own has followed yet.
    pub(crate) taken: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            term: Term(0),
            start: None,
            members: BTreeMap::new(),
            senders: BTreeMap::new(),
            leaf_steps: 0,
            revocations: RevocationList::default(),
            cut: None,
            uncut_eviction: false,
            unheard_eviction: false,
            departed: VecDeque::new(),
            renewals: 0,
            trusted: Trusted::default(),
            taken: false,
        }
    }
}

impl Ledger {
    /// Adds one record. On `Err` nothing changed: the record does not follow on those before it.
    pub(crate) fn apply(&mut self, entry: JournalEntry) -> Result<(), Flaw> {
        match entry {
            JournalEntry::Started { subgroup, term, inst, own, promised } => {
                self.started(term, Start { subgroup, inst, own, promised: *promised })
            }
            JournalEntry::Joined(joined) => self.joined(*joined),
            JournalEntry::Departed { sender } => {
                let gone = self.take(sender).ok_or(Flaw::Impossible("somebody departs who is no member"))?;
                self.trusted.on_departed(&gone);
                Ok(())
            }
            JournalEntry::Silent { sender } => {
                let gone =
                    self.remove(sender).ok_or(Flaw::Impossible("somebody is silent who is no member"))?;
                self.trusted.on_departed(&gone);
                Ok(())
            }
            JournalEntry::Evicted { sender, revocation } => {
                // One that was leaving by itself is off the list already.
                if let Some(gone) = self.take(sender) {
                    self.trusted.on_departed(&gone);
                }
                self.uncut_eviction = true;
                self.revocations.add(revocation);
                Ok(())
            }
            JournalEntry::Cut { state, leaf_steps } => self.cut(state, leaf_steps),
            JournalEntry::Revoked { revocation } => {
                self.revocations.add(revocation);
                Ok(())
            }
            JournalEntry::SteppedDown => {
                self.forget_subgroup();
                Ok(())
            }
            JournalEntry::Probe => Ok(()),
            JournalEntry::Trusted { sender } => {
                if !self.senders.contains_key(&sender) {
                    return Err(Flaw::Impossible("somebody is trusted who is no member"));
                }
                self.trusted.on_trusted(sender);
                Ok(())
            }
            JournalEntry::TookOver { ledger } => self.took_over(Self::decode(ledger.as_bytes())?),
            JournalEntry::Renewed { group, number, secret } => self.renewed(group, number, &secret),
        }
    }

    /// A registration, if it is one of a member.
    pub(crate) fn member(&self, sender: SenderId) -> Option<&JoinedEntry> {
        self.members.get(self.senders.get(&sender)?)
    }

    /// The newest start, if it is one of this manager's own.
    pub(crate) fn office(&self) -> Option<&Start> {
        self.start.as_ref().filter(|_| !self.taken)
    }

    /// The newest state anything in the journal names.
    pub(crate) fn newest(&self) -> Option<StateId> {
        let start = self.start.as_ref();
        let begun = start.map(|start| StateId { term: self.term, inst: start.inst, epoch: Epoch(0) });
        // A start whose first cut is missing is of a higher term than the last cut.
        self.cut.max(begun)
    }

    fn started(&mut self, term: Term, start: Start) -> Result<(), Flaw> {
        if term <= self.term {
            return Err(Flaw::Impossible("a start in a term that was there before"));
        }
        match self.start.take() {
            Some(before) if before.subgroup == start.subgroup => self.succeed(&before, &start),
            _ => self.forget_subgroup(),
        }
        (self.term, self.start, self.taken) = (term, Some(start), false);
        Ok(())
    }

    /// What of the start before ends with this one.
    fn succeed(&mut self, before: &Start, start: &Start) {
        let gone = if before.own == start.own { None } else { self.take(before.own) };
        if before.promised.manager != start.promised.manager {
            self.trusted.on_succeeded(before.promised.manager, gone.as_ref());
        }
        self.trusted.on_office(start.own);
    }

    /// The state of the manager that this node followed becomes its own. Who was evicted here stays out.
    fn took_over(&mut self, mut taken: Self) -> Result<(), Flaw> {
        if taken.start.is_none() {
            return Err(Flaw::Impossible("a takeover from nobody"));
        }
        let theirs = std::mem::replace(&mut taken.revocations, std::mem::take(&mut self.revocations));
        theirs.list.into_iter().for_each(|revocation| taken.revocations.add(revocation));
        (taken.term, taken.taken) = (self.term.max(taken.term), true);
        *self = taken;
        Ok(())
    }

    pub(crate) fn joined(&mut self, mut joined: JoinedEntry) -> Result<(), Flaw> {
        let start = self.start.as_ref().ok_or(Flaw::Impossible("a member before the manager's start"))?;
        if joined.reg_no > RegNo::MAX
            || self.members.contains_key(&joined.reg_no)
            || self.senders.contains_key(&joined.sender)
        {
            return Err(Flaw::Impossible("a member on a leaf that is taken, or twice"));
        }
        let behind = self.leaf_steps.checked_sub(joined.leaf_steps).filter(|steps| *steps <= MAX_NODE_STEPS);
        let steps = behind.ok_or(Flaw::Impossible("a leaf secret of another time"))?;
        joined.step(start, steps);
        self.trusted.on_joined(&joined);
        self.senders.insert(joined.sender, joined.reg_no);
        self.members.insert(joined.reg_no, joined);
        Ok(())
    }

    fn cut(&mut self, state: StateId, leaf_steps: u16) -> Result<(), Flaw> {
        let start = self.start.as_ref().ok_or(Flaw::Impossible("a key update before the manager's start"))?;
        let follows = state.term == self.term && state.inst == start.inst && self.cut < Some(state);
        let steps = leaf_steps.checked_sub(self.leaf_steps).filter(|steps| *steps <= MAX_NODE_STEPS);
        let (true, Some(steps)) = (follows, steps) else {
            return Err(Flaw::Impossible("a key update that does not follow on the one before"));
        };
        self.members.values_mut().for_each(|member| member.step(start, steps));
        // The next key update of a start is recorded when the one before has gone out; a new start knows nothing of that.
        let went_out = self.cut.is_some_and(|before| before.same_start(state));
        self.unheard_eviction = self.uncut_eviction || (self.unheard_eviction && !went_out);
        (self.cut, self.leaf_steps, self.uncut_eviction) = (Some(state), leaf_steps, false);
        Ok(())
    }

    fn remove(&mut self, sender: SenderId) -> Option<JoinedEntry> {
        self.members.remove(&self.senders.remove(&sender)?)
    }

    fn take(&mut self, sender: SenderId) -> Option<JoinedEntry> {
        let gone = self.remove(sender)?;
        self.departed.push_back(sender);
        if self.departed.len() > MAX_DEPARTED {
            self.departed.pop_front();
        }
        Some(gone)
    }

    /// Nobody of the subgroup counts any more; term and revocations are not the subgroup's.
    fn forget_subgroup(&mut self) {
        let (term, revocations) = (self.term, std::mem::take(&mut self.revocations));
        *self = Self { term, revocations, ..Self::default() };
    }
}

impl JoinedEntry {
    fn step(&mut self, start: &Start, steps: u16) {
        if steps > 0 {
            self.leaf = step_leaf(start.promised.suite, TreeId(0), self.reg_no, &self.leaf, steps);
            self.leaf_steps += steps;
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("newest", &self.newest())
            .field("members", &self.senders)
            .field("leaf_steps", &self.leaf_steps)
            .field("revocations", &self.revocations.list.len())
            .field("uncut_eviction", &self.uncut_eviction)
            .field("unheard_eviction", &self.unheard_eviction)
            .field("renewals", &self.renewals)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}

/// The length of a list as a snapshot has it.
pub(crate) fn count(len: usize) -> u32 {
    u32::try_from(len).expect("invariant: every list is limited below 2^32 items")
}

/// A length that was read, if it is no more than there can be.
pub(crate) fn bounded(count: u32, max: usize, what: &'static str) -> Result<usize, Malformed> {
    let count = count as usize;
    if count > max { Err(Malformed::TooLong(what)) } else { Ok(count) }
}

#[cfg(test)]
mod tests;
