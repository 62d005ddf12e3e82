//! Who was in at which state, by the order of the manager's journal.

use std::collections::{BTreeMap, BTreeSet};

use crypto::Secret;
use gsm::{JoinedEntry, JournalEntry};
use protocol::{Commit, Inst, RegNo, SenderId, StateId, Term};

use crate::node::NodeId;

/// What the journal says of one registration.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its leaf.
    pub reg_no: RegNo,
    /// Who it is.
    pub identity: String,
    /// The leaf secret it began with.
    pub leaf: Secret<32>,
    /// The leaf steps that secret counts from.
    pub leaf_steps: u16,
    /// Its unicast key.
    pub unicast: Secret<32>,
}

/// Where the journal stands after one record.
#[derive(Clone, Debug, Default)]
struct Mark {
    /// The registration of the manager's own node.
    own: Option<SenderId>,
    live: BTreeSet<SenderId>,
    evicted: BTreeSet<SenderId>,
    /// Somebody was evicted since the last cut.
    eviction: bool,
    /// The newest state it has cut.
    cut: Option<StateId>,
    /// The newest renewal that its leaf secrets have in them.
    renewal: Option<usize>,
    /// The newest term.
    term: Option<Term>,
    /// Who was told everything since the last renewal: those who stood by.
    trusted: BTreeSet<String>,
    /// Whose registration another manager handed over as ended.
    handed: BTreeSet<SenderId>,
}

/// The journal of one node that manages the subgroup, or did.
#[derive(Clone, Debug, Default)]
struct Pages {
    now: Mark,
    /// The journal's past, for when its end is lost.
    marks: BTreeMap<Commit, Mark>,
    /// What was lost of it: a standby may go on from there.
    lost: Vec<Mark>,
}

/// What a node goes on with that takes over.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) live: BTreeSet<SenderId>,
    /// The highest term in it.
    pub(crate) term: Term,
    /// The registration of the manager before.
    pub(crate) own: Option<SenderId>,
    /// That one's start, and the newest state it has cut.
    pub(crate) of: Option<Inst>,
    pub(crate) cut: Option<StateId>,
}

/// A record of one node.
type Place = (NodeId, Commit);

/// The members of every state: who joined before its cut was recorded and had not departed by then.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    registered: BTreeMap<SenderId, Registered>,
    journals: BTreeMap<NodeId, Pages>,
    /// Who started last.
    manager: Option<NodeId>,
    states: BTreeMap<StateId, BTreeSet<SenderId>>,
    /// After which state each was cut.
    befores: BTreeMap<StateId, StateId>,
    /// The records of each registration's admission, departure and eviction.
    joined: BTreeMap<SenderId, Place>,
    departed: BTreeMap<SenderId, Place>,
    /// Who departed for its silence alone: another manager may hear it.
    silent: BTreeSet<SenderId>,
    evicted: BTreeMap<SenderId, Place>,
    /// The record of each state's cut.
    cuts: BTreeMap<StateId, Place>,
    /// States before whose cut, and after the one before, somebody was evicted.
    after_eviction: BTreeSet<StateId>,
    /// States that put out somebody who was evicted by then.
    hard: BTreeSet<StateId>,
    /// How many renewals there were, and the newest one that the secrets of each start have in them: two sides of a
    /// partition renew apart from each other.
    renewals: usize,
    renewed: BTreeMap<Inst, usize>,
    /// Who took over from whom, and has not renewed since.
    followed_by: BTreeMap<NodeId, NodeId>,
}

impl Mark {
    /// Nobody is in whose registration ended on the other side before a merge.
    fn check_handed(&self, node: NodeId) -> Result<(), String> {
        match self.live.intersection(&self.handed).next() {
            Some(sender) => Err(format!("{sender} was out on the other side, and is in at {node:?}")),
            None => Ok(()),
        }
    }
}

impl Roll {
    /// Nobody has joined.
    pub const fn new() -> Self {
        Self {
            registered: BTreeMap::new(),
            journals: BTreeMap::new(),
            manager: None,
            states: BTreeMap::new(),
            befores: BTreeMap::new(),
            joined: BTreeMap::new(),
            departed: BTreeMap::new(),
            silent: BTreeSet::new(),
            evicted: BTreeMap::new(),
            cuts: BTreeMap::new(),
            after_eviction: BTreeSet::new(),
            hard: BTreeSet::new(),
            renewals: 0,
            renewed: BTreeMap::new(),
            followed_by: BTreeMap::new(),
        }
    }

    /// A node goes on with what another one has told it.
    pub(crate) fn on_taken_over(&mut self, node: NodeId, commit: Commit, taken: Taken) {
        let before = taken.own.and_then(|own| self.managed_by(own, node));
        before.map(|before| self.followed_by.insert(before, node));
        let mut trusted = before.map(|before| self.trusted_by(before, &taken)).unwrap_or_default();
        let Taken { mut live, term, own, of, cut } = taken;
        // Whom it has evicted itself stays out, whatever the other one knew.
        live.retain(|sender| self.evicted.get(sender).is_none_or(|(by, _)| *by != node));
        // The manager before has a while to come back.
        if let Some(own) = own.and_then(|own| self.registered(own)) {
            trusted.remove(&own.identity);
        }
        let renewal = of.and_then(|of| self.renewed.get(&of).copied());
        let pages = self.journals.entry(node).or_default();
        let term = Some(term);
        pages.now = Mark { own, live, renewal, cut, term, trusted, ..Mark::default() };
        pages.marks.insert(commit, pages.now.clone());
    }

    /// Whom a manager had told everything where its successor left off: beyond a partition it may have gone on, and whom it
    /// told there is not out because the successor never heard of it.
    fn trusted_by(&self, manager: NodeId, taken: &Taken) -> BTreeSet<String> {
        let Some(pages) = self.journals.get(&manager) else { return BTreeSet::new() };
        let held =
            |mark: &&Mark| mark.live == taken.live && mark.cut == taken.cut && mark.term == Some(taken.term);
        pages.marks.values().chain(&pages.lost).find(held).unwrap_or(&pages.now).trusted.clone()
    }

    /// A manager is none any more, and has handed nothing over: whom it has told everything, its successor would have to
    /// keep out, whether it ever heard of that one or not.
    fn pass_on_trust(&mut self, node: NodeId, before: &mut Mark) {
        let mut trusted = std::mem::take(&mut before.trusted);
        // It has a while to come back itself.
        if let Some(own) = before.own.and_then(|own| self.registered(own)) {
            trusted.remove(&own.identity);
        }
        let Some(successor) = self.followed_by.remove(&node) else { return };
        // It was told everything, and is not out: it manages.
        let own = self.journals.get(&successor).and_then(|pages| pages.now.own);
        own.and_then(|own| self.registered(own)).map(|own| trusted.remove(&own.identity));
        if let Some(pages) = self.journals.get_mut(&successor) {
            pages.now.trusted.extend(trusted);
            if let Some((_, mark)) = pages.marks.iter_mut().next_back() {
                mark.trusted.clone_from(&pages.now.trusted);
            }
        }
    }

    /// The node that manages, or did, under this registration of its own, before `after` took over from it.
    pub(crate) fn managed_by(&self, own: SenderId, after: NodeId) -> Option<NodeId> {
        let mut others = self.journals.iter().filter(|(node, _)| **node != after);
        others.find(|(_, pages)| pages.now.own == Some(own)).map(|(node, _)| *node)
    }

    /// Another manager has handed over everything to this one, and is none any more: whose registration ended there is in
    /// no more here.
    pub(crate) fn on_handed_over(&mut self, from: NodeId, to: NodeId) -> Result<(), String> {
        let by = |(_, (of, _)): &(&SenderId, &Place)| *of == from;
        let departed = self.departed.iter().filter(by).map(|(sender, _)| *sender);
        let departed = departed.filter(|sender| !self.silent.contains(sender));
        let evicted = self.evicted.iter().filter(by).map(|(sender, _)| *sender);
        let gone: BTreeSet<_> = departed.chain(evicted).collect();
        let Some(pages) = self.journals.get_mut(&to) else { return Ok(()) };
        let own = pages.now.own;
        pages.now.handed.extend(gone.into_iter().filter(|sender| Some(*sender) != own));
        if let Some((_, mark)) = pages.marks.iter_mut().next_back() {
            mark.handed.clone_from(&pages.now.handed);
        }
        pages.now.check_handed(to)
    }

    /// The next entry of a node's journal.
    pub(crate) fn on_entry(
        &mut self,
        node: NodeId,
        commit: Commit,
        entry: JournalEntry,
    ) -> Result<(), String> {
        let place = (node, commit);
        let mut verdict = Ok(());
        let mut now = std::mem::take(&mut self.journals.entry(node).or_default().now);
        match entry {
            JournalEntry::Started { own, inst, term, .. } => {
                if now.term.is_some_and(|before| term <= before) {
                    verdict = Err(format!("{node:?} starts in term {}, which was there before", term.0));
                }
                now.term = Some(term);
                self.manager = Some(node);
                now.renewal.map(|renewal| self.renewed.insert(inst, renewal));
                // The manager itself is not out, whether or not its new registration has been recorded.
                for own in now.own.into_iter().chain([own]) {
                    self.registered(own).map(|registered| now.trusted.remove(&registered.identity));
                }
                // The own node's registration ends, unless the start goes on with it.
                if let Some(before) = now.own.replace(own).filter(|before| *before != own) {
                    now.live.remove(&before);
                }
            }
            JournalEntry::Revoked { .. } | JournalEntry::Probe | JournalEntry::TookOver { .. } => {}
            JournalEntry::SteppedDown => {
                self.followed_by.retain(|_, successor| *successor != node);
                self.pass_on_trust(node, &mut now);
                now.handed.clear();
            }
            JournalEntry::Trusted { sender } => {
                now.trusted.extend(self.registered(sender).map(|registered| registered.identity.clone()));
            }
            JournalEntry::Renewed { .. } => {
                let live = self.identities(&now.live);
                now.trusted.retain(|identity| live.contains(identity.as_str()));
                self.followed_by.retain(|_, successor| *successor != node);
                self.renewals += 1;
                now.renewal = Some(self.renewals);
            }
            JournalEntry::Joined(joined) => {
                let JoinedEntry { reg_no, sender, identity, leaf, leaf_steps, unicast, .. } = *joined;
                now.live.insert(sender);
                self.joined.insert(sender, place);
                self.registered.insert(sender, Registered { reg_no, identity, leaf, leaf_steps, unicast });
            }
            JournalEntry::Departed { sender } => {
                self.departed.insert(sender, place);
                self.silent.remove(&sender);
                now.live.remove(&sender);
            }
            JournalEntry::Silent { sender } => {
                self.departed.insert(sender, place);
                self.silent.insert(sender);
                now.live.remove(&sender);
            }
            JournalEntry::Evicted { sender, .. } => {
                self.evicted.insert(sender, place);
                now.live.remove(&sender);
                now.evicted.insert(sender);
                now.eviction = true;
            }
            JournalEntry::Cut { state, .. } => {
                verdict = now.check_handed(node).and_then(|()| self.check_renewed(&now, state));
                self.on_cut(place, state, &mut now);
            }
        }
        let pages = self.journals.entry(node).or_default();
        pages.marks.insert(commit, now.clone());
        pages.now = now;
        verdict
    }

    fn identities(&self, senders: &BTreeSet<SenderId>) -> BTreeSet<&str> {
        senders.iter().filter_map(|sender| Some(self.registered(*sender)?.identity.as_str())).collect()
    }

    /// Who was told everything and is out knows no secret that a key update is made with.
    fn check_renewed(&self, now: &Mark, state: StateId) -> Result<(), String> {
        let live = self.identities(&now.live);
        match now.trusted.iter().find(|identity| !live.contains(identity.as_str())) {
            Some(identity) => {
                Err(format!("{identity} stood by and is out, and {state} is cut without a renewal"))
            }
            None => Ok(()),
        }
    }

    fn on_cut(&mut self, place: Place, state: StateId, now: &mut Mark) {
        now.cut.replace(state).map(|before| self.befores.insert(state, before));
        let before = self.before(state).map(|(_, members)| members);
        let mut out = before.into_iter().flatten().filter(|sender| !now.live.contains(sender));
        if out.any(|sender| now.evicted.contains(sender)) {
            self.hard.insert(state);
        }
        self.states.insert(state, now.live.clone());
        self.cuts.insert(state, place);
        if std::mem::take(&mut now.eviction) {
            self.after_eviction.insert(state);
        }
    }

    /// A manager was killed, and what follows is written behind record `held`. What was not durable never happened:
    /// nothing of it was told or sent. What was durable happened, even if the store has forgotten it.
    pub(crate) fn on_killed(&mut self, node: NodeId, durable: Commit, held: Commit) {
        let happened = |(of, commit): &Place| *of != node || *commit <= durable;
        self.states.retain(|state, _| self.cuts.get(state).is_some_and(happened));
        for records in [&mut self.joined, &mut self.departed, &mut self.evicted] {
            settle(records, node, durable);
        }
        settle(&mut self.cuts, node, durable);
        if let Some(pages) = self.journals.get_mut(&node) {
            let lost = pages.marks.split_off(&Commit(held.0 + 1));
            pages.lost.extend(lost.into_values());
            pages.now = pages.marks.last_key_value().map(|(_, mark)| mark.clone()).unwrap_or_default();
        }
    }

    /// The record of a registration's admission.
    pub(crate) fn joined(&self, sender: SenderId) -> Option<(NodeId, Commit)> {
        self.joined.get(&sender).copied()
    }

    /// The record of its departure by itself or for its silence.
    pub(crate) fn departed(&self, sender: SenderId) -> Option<(NodeId, Commit)> {
        self.departed.get(&sender).copied()
    }

    /// The record of its eviction.
    pub(crate) fn evicted(&self, sender: SenderId) -> Option<(NodeId, Commit)> {
        self.evicted.get(&sender).copied()
    }

    /// The record of a state's cut.
    pub(crate) fn cut(&self, state: StateId) -> Option<(NodeId, Commit)> {
        self.cuts.get(&state).copied()
    }

    /// Who is in by a node's journal as it stands.
    pub(crate) fn live_at(&self, node: NodeId) -> Option<&BTreeSet<SenderId>> {
        self.journals.get(&node).map(|pages| &pages.now.live)
    }

    /// Who manages, or did last.
    pub(crate) const fn manager(&self) -> Option<NodeId> {
        self.manager
    }

    /// The number of the newest renewal there was.
    pub(crate) const fn renewals(&self) -> usize {
        self.renewals
    }

    /// The newest renewal that the leaf secrets of a state's start have in them.
    pub(crate) fn renewal_of(&self, state: StateId) -> Option<usize> {
        self.renewed.get(&state.inst).copied()
    }

    /// What is known of a registration.
    pub fn registered(&self, sender: SenderId) -> Option<&Registered> {
        self.registered.get(&sender)
    }

    /// All registrations there ever were.
    pub fn registrations(&self) -> impl Iterator<Item = (SenderId, &Registered)> {
        self.registered.iter().map(|(sender, registered)| (*sender, registered))
    }

    /// Whether a registration was in at a state; no state, nobody.
    pub fn was_in(&self, sender: SenderId, state: StateId) -> bool {
        self.states.get(&state).is_some_and(|members| members.contains(&sender))
    }

    /// The members of a state.
    pub fn members(&self, state: StateId) -> Option<&BTreeSet<SenderId>> {
        self.states.get(&state)
    }

    /// All states cut so far, ascending, with their members.
    pub fn states(&self) -> impl DoubleEndedIterator<Item = (StateId, &BTreeSet<SenderId>)> {
        self.states.iter().map(|(state, members)| (*state, members))
    }

    /// The state that another one was cut after. Beside it there may be states of another manager, which know nothing of
    /// each other.
    pub fn before(&self, state: StateId) -> Option<(StateId, &BTreeSet<SenderId>)> {
        let before = self.befores.get(&state)?;
        Some((*before, self.states.get(before)?))
    }

    /// Whether a state is among those a node has cut, or the ones it took over from, by its journal as it stands.
    pub(crate) fn descends(&self, node: NodeId, from: StateId) -> bool {
        let newest = self.journals.get(&node).and_then(|pages| pages.now.cut);
        let before = |state: &StateId| self.befores.get(state).copied().filter(|before| before < state);
        std::iter::successors(newest, before).any(|state| state == from)
    }

    /// Whether somebody was evicted between a state's cut and the one before.
    pub fn has_eviction(&self, state: StateId) -> bool {
        self.after_eviction.contains(&state)
    }

    /// Whether a state puts out somebody who was evicted before its cut.
    pub fn puts_out_an_evicted(&self, state: StateId) -> bool {
        self.hard.contains(&state)
    }
}

/// Forgets the records of a node that are lost. The others are there for good, whatever numbers are given again later.
fn settle<K: Ord + Copy>(records: &mut BTreeMap<K, Place>, node: NodeId, durable: Commit) {
    records.retain(|_, (of, commit)| *of != node || *commit <= durable);
    records.values_mut().filter(|(of, _)| *of == node).for_each(|(_, commit)| *commit = Commit(0));
}
