//! The member's gate: the only way from a control datagram of the manager to a [`Verified`] message.
//!
//! Cheap checks come first: version, group, header → state window → byte-equal to something verified before → MAC
//! prefilter → body and path → Merkle root → known root, or a signature under a budget. Nothing is marked as seen before
//! it is verified.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crypto::{Label, PublicKey, Secret, Verifier, hash};
use keytree::Epoch;

use crate::Instant;
use crate::alarm::{self, Alarm};
use crate::budget::Budget;
use crate::comeback::{Farewell, Question, decode_revocations};
use crate::envelope::{DatagramKind, Envelope, Verified};
use crate::ids::StateId;
use crate::key_update::{UpdatePacket, UpdateRoot, signed_root};
use crate::keys::Domain;
use crate::limits::{MAX_TERM_JUMP, SIGNATURE_CHECKS_PER_SECOND};
use crate::machine::Rejected;
use crate::renewal::Renewal;
use crate::roster::SignedRevocation;
use crate::suspicion::Suspicion;
use crate::takeover::{Succession, Takeover, is_current, is_genuine};

/// Verified datagrams remembered, so that a copy costs one hash.
const MAX_SEEN: usize = 1_024;
/// Signed roots remembered: the newest states.
const MAX_ROOTS: usize = 8;
/// Prefilter keys remembered: the newest states.
const MAX_PREFILTERS: usize = 8;

/// Where a state stands towards the start that is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Window {
    /// It is of that start.
    Same,
    /// It is of a later one.
    Later,
}

/// Verifies what claims to come from one manager, through all its starts: a higher term signed by the same key is
/// followed, for the manager came back (DESIGN: start and restart; attack A14 for what is older).
pub struct Gate {
    domain: Domain,
    manager: PublicKey,
    /// The manager before, while credentials by it still count.
    former: Option<PublicKey>,
    verifier: Arc<dyn Verifier>,
    start: StateId,
    prefilters: BTreeMap<Epoch, Secret<32>>,
    roots: VecDeque<UpdateRoot>,
    seen: BTreeSet<[u8; 32]>,
    /// The same, oldest first.
    seen_in_order: VecDeque<[u8; 32]>,
    newest_alarm: Option<(StateId, u64)>,
    /// The address the last verified alarm came from has a signature budget of its own, so that a flood from
    /// elsewhere cannot starve it.
    source: Option<IpAddr>,
    known_source: Budget,
    strangers: Budget,
}

impl Gate {
    /// A gate for the manager named in a grant: `start` is its state then, `prefilter` that state's prefilter key.
    pub fn new(
        domain: Domain,
        manager: PublicKey,
        start: StateId,
        prefilter: Secret<32>,
        verifier: Arc<dyn Verifier>,
    ) -> Self {
        let half = SIGNATURE_CHECKS_PER_SECOND / 2;
        Self {
            domain,
            manager,
            former: None,
            verifier,
            start,
            prefilters: BTreeMap::from([(start.epoch, prefilter)]),
            roots: VecDeque::new(),
            seen: BTreeSet::new(),
            seen_in_order: VecDeque::new(),
            newest_alarm: None,
            source: None,
            known_source: Budget::new(half, half),
            strangers: Budget::new(half, half / 4),
        }
    }

    /// The prefilter key of an epoch of this start, if it is one of the newest.
    pub fn prefilter(&self, epoch: Epoch) -> Option<&Secret<32>> {
        self.prefilters.get(&epoch)
    }

    /// Learns the prefilter key of a state the member installed.
    pub fn install_prefilter(&mut self, epoch: Epoch, key: Secret<32>) {
        self.prefilters.insert(epoch, key);
        while self.prefilters.len() > MAX_PREFILTERS {
            self.prefilters.pop_first();
        }
    }

    /// Verifies a key update packet; `held` is the newest epoch installed, the grant's before there is one.
    ///
    /// Neither body nor path is parsed before the MAC holds. On `Err` nothing changed but the budgets. Accepting a
    /// forged packet would hand the subgroup to an insider; refusing a genuine one costs a repair.
    pub fn key_update(
        &mut self,
        now: Instant,
        from: IpAddr,
        held: Option<Epoch>,
        datagram: &[u8],
    ) -> Result<Verified<UpdatePacket>, Rejected> {
        self.expect(DatagramKind::KeyUpdate, datagram)?;
        let header = UpdatePacket::header_of(datagram)?;
        // An update leads on from an epoch no earlier than what is held. Checked on both ends: by naming an epoch
        // whose prefilter key is long gone, a stranger would get past the MAC.
        let window = self.window(header.state)?;
        if window == Window::Same && header.previous < held.unwrap_or(self.start.epoch) {
            return Err(Rejected::Stale);
        }
        let print = self.unseen(datagram)?;
        // The prefilter keys are of the start that is followed; a new start's first updates come without one.
        if window == Window::Same
            && let Some(key) = self.prefilters.get(&header.previous)
            && !UpdatePacket::mac_holds(&self.domain, key, datagram)
        {
            return Err(Rejected::BadMac);
        }
        let packet = UpdatePacket::decode(&self.domain, datagram)?;
        let root = packet.root.ok_or(Rejected::NotAuthentic)?;
        self.admit_root(now, from, root, &packet)?;
        self.follow(window, packet.header.state);
        self.remember(print);
        Ok(Verified::new(packet))
    }

    /// Verifies a packet of an update that leads to a state already installed, so that it can be passed on to members that
    /// lost it. It must be of the very message that was verified before, so it costs no signature check.
    pub fn spare(&mut self, datagram: &[u8]) -> Result<Verified<UpdatePacket>, Rejected> {
        self.expect(DatagramKind::KeyUpdate, datagram)?;
        let header = UpdatePacket::header_of(datagram)?;
        if !header.state.same_start(self.start) {
            return Err(Rejected::Stale);
        }
        let print = self.unseen(datagram)?;
        if let Some(key) = self.prefilters.get(&header.previous)
            && !UpdatePacket::mac_holds(&self.domain, key, datagram)
        {
            return Err(Rejected::BadMac);
        }
        let packet = UpdatePacket::decode(&self.domain, datagram)?;
        if !packet.root.is_some_and(|root| self.roots.contains(&root)) {
            return Err(Rejected::NotAuthentic);
        }
        self.remember(print);
        Ok(Verified::new(packet))
    }

    /// Verifies an alarm. It must be newer than every alarm verified before; a replayed one is stale.
    pub fn alarm(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Verified<Alarm>, Rejected> {
        self.expect(DatagramKind::Alarm, datagram)?;
        let (alarm, content, signature) = Alarm::decode(datagram)?;
        let window = self.window(alarm.state)?;
        if self.newest_alarm.is_some_and(|newest| (alarm.state, alarm.counter) <= newest) {
            return Err(Rejected::Stale);
        }
        self.spend(now, from)?;
        if !alarm::is_genuine(&self.domain, &self.manager, &*self.verifier, content, &signature) {
            return Err(Rejected::NotAuthentic);
        }
        let alarm = Verified::new(alarm);
        self.follow(window, alarm.state);
        self.source = Some(from);
        self.newest_alarm = Some((alarm.state, alarm.counter));
        self.know_root(UpdateRoot {
            state: alarm.state,
            packets: u32::from(alarm.message_packets),
            root: alarm.message_root,
        });
        Ok(alarm)
    }

    /// Verifies the alarm inside a resync answer, which may be one that was heard before. The answer it came in was
    /// sealed by the manager, so it costs no budget.
    pub fn enclosed_alarm(&mut self, datagram: &[u8]) -> Result<Verified<Alarm>, Rejected> {
        self.expect(DatagramKind::Alarm, datagram)?;
        let alarm = self.signed_alarm(datagram)?;
        let window = self.window(alarm.state)?;
        self.follow(window, alarm.state);
        Ok(alarm)
    }

    /// Verifies a starting manager's question. That it is asked once and not again by whoever recorded it is for the
    /// caller to see to: a member answers each start once, and only while its manager is silent.
    pub fn question(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Verified<Question>, Rejected> {
        self.expect(DatagramKind::Question, datagram)?;
        self.spend(now, from)?;
        let question = Question::open(datagram, &self.domain, &self.manager, &*self.verifier)?;
        question.map(Verified::new).ok_or(Rejected::NotAuthentic)
    }

    /// Verifies a manager's farewell.
    pub fn farewell(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Verified<Farewell>, Rejected> {
        self.expect(DatagramKind::Farewell, datagram)?;
        self.spend(now, from)?;
        let farewell = Farewell::open(datagram, &self.domain, &self.manager, &*self.verifier)?;
        farewell.map(Verified::new).ok_or(Rejected::NotAuthentic)
    }

    /// Verifies revocations that were multicast; `known` says which ones the member holds, for those cost nothing. None
    /// is given out unless all hold.
    pub fn revocations(
        &mut self,
        now: Instant,
        from: IpAddr,
        known: impl Fn(&SignedRevocation) -> bool,
        datagram: &[u8],
    ) -> Result<Verified<Vec<SignedRevocation>>, Rejected> {
        self.expect(DatagramKind::Revocations, datagram)?;
        let mut unknown = decode_revocations(datagram)?;
        unknown.retain(|revocation| !known(revocation));
        for revocation in &unknown {
            self.spend(now, from)?;
            if !revocation.verify(self.domain.group, &self.manager, &*self.verifier) {
                return Err(Rejected::NotAuthentic);
            }
        }
        Ok(Verified::new(unknown))
    }

    /// Checks a revocation that came sealed by the manager or in its grant, so that it can be shown to others later.
    pub fn is_genuine(&self, revocation: &SignedRevocation) -> bool {
        revocation.verify(self.domain.group, &self.manager, &*self.verifier)
    }

    /// Verifies a renewal. It must name a start no older than the one that is followed; a later one is followed.
    pub fn renewal(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Verified<Renewal>, Rejected> {
        let claimed = Renewal::claimed(&self.domain, datagram)?;
        let window = self.window(claimed.start)?;
        self.spend(now, from)?;
        let renewal = Renewal::open(datagram, &self.domain, &self.manager, &*self.verifier)?;
        let renewal = renewal.ok_or(Rejected::NotAuthentic)?;
        self.follow(window, renewal.start);
        Ok(Verified::new(renewal))
    }

    /// Verifies another member's suspicion of the manager, by its MAC first: it costs up to three signature checks.
    pub fn suspicion(
        &mut self,
        now: Instant,
        from: IpAddr,
        succession: &Succession<'_>,
        datagram: &[u8],
    ) -> Result<Verified<Suspicion>, Rejected> {
        let suspicion = Suspicion::decode(&self.domain, datagram)?;
        if !is_current(&suspicion, succession) {
            return Err(Rejected::Stale);
        }
        let prefilter = self.prefilters.get(&suspicion.state.epoch).ok_or(Rejected::Stale)?;
        if !suspicion.mac_holds(&self.domain, prefilter) {
            return Err(Rejected::BadMac);
        }
        self.spend(now, from)?;
        if is_genuine(&suspicion, succession, &*self.verifier) {
            Ok(Verified::new(suspicion))
        } else {
            Err(Rejected::NotAuthentic)
        }
    }

    /// Verifies a change of managers; see [`Takeover::verify`]. Nothing is followed before
    /// [`Gate::follow_successor`].
    pub fn takeover(
        &mut self,
        now: Instant,
        from: IpAddr,
        succession: &Succession<'_>,
        datagram: &[u8],
    ) -> Result<Verified<Takeover>, Rejected> {
        let Self { verifier, prefilters, source, known_source, strangers, .. } = self;
        let budget = if *source == Some(from) { known_source } else { strangers };
        let spend = |checks| budget.take_many(now, checks);
        Takeover::verify(datagram, succession, &**verifier, |epoch| prefilters.get(&epoch), spend)
    }

    /// From here on the new manager is followed, from its start on, and the one before no more.
    pub fn follow_successor(&mut self, takeover: &Verified<Takeover>) {
        self.former = Some(std::mem::replace(&mut self.manager, takeover.office.key));
        self.roots.clear();
        self.source = None;
        self.follow(Window::Later, takeover.office.start);
    }

    /// The key of the manager that is followed.
    pub const fn manager(&self) -> &PublicKey {
        &self.manager
    }

    /// The key of the manager before, as long as credentials by it count.
    pub const fn former(&self) -> Option<PublicKey> {
        self.former
    }

    /// Credentials by the manager before count no more: everybody has had the time to get one of the new manager.
    pub const fn forget_former(&mut self) {
        self.former = None;
    }

    /// The start of the manager that is followed, at the epoch from which it was.
    pub const fn start(&self) -> StateId {
        self.start
    }

    /// Whether a state is of the start that is followed or of a later one of the same key.
    fn window(&self, state: StateId) -> Result<Window, Rejected> {
        if state.same_start(self.start) {
            return Ok(Window::Same);
        }
        let jump = state.term.0.checked_sub(self.start.term.0);
        // Within one term there is one start: another inst of it is a clone, and is not followed.
        if jump.is_some_and(|jump| (1..=MAX_TERM_JUMP).contains(&jump)) {
            Ok(Window::Later)
        } else {
            Err(Rejected::Stale)
        }
    }

    /// A signed message named a later start: from here on that one is followed, and nothing older is taken. Its epochs
    /// count anew, so what was remembered by epoch is forgotten.
    fn follow(&mut self, window: Window, state: StateId) {
        if window == Window::Later {
            self.start = state.at(Epoch(0));
            self.prefilters.clear();
            self.newest_alarm = None;
        }
    }

    fn expect(&self, kind: DatagramKind, datagram: &[u8]) -> Result<(), Rejected> {
        if Envelope::for_domain(datagram, &self.domain)?.kind == kind {
            Ok(())
        } else {
            Err(Rejected::NotForUs)
        }
    }

    fn signed_alarm(&self, datagram: &[u8]) -> Result<Verified<Alarm>, Rejected> {
        let alarm = Alarm::open(datagram, &self.domain, &self.manager, &*self.verifier)?;
        alarm.map(Verified::new).ok_or(Rejected::NotAuthentic)
    }

    /// A root that was signed before costs nothing; another one costs a signature check.
    fn admit_root(
        &mut self,
        now: Instant,
        from: IpAddr,
        root: UpdateRoot,
        packet: &UpdatePacket,
    ) -> Result<(), Rejected> {
        if self.roots.contains(&root) {
            return Ok(());
        }
        self.spend(now, from)?;
        if !self.verifier.verify(&self.manager, &signed_root(&self.domain, &root), &packet.signature) {
            return Err(Rejected::NotAuthentic);
        }
        self.know_root(root);
        Ok(())
    }

    fn know_root(&mut self, root: UpdateRoot) {
        if self.roots.contains(&root) {
            return;
        }
        self.roots.push_back(root);
        if self.roots.len() > MAX_ROOTS {
            self.roots.pop_front();
        }
    }

    fn spend(&mut self, now: Instant, from: IpAddr) -> Result<(), Rejected> {
        let budget = if self.source == Some(from) { &mut self.known_source } else { &mut self.strangers };
        if budget.take(now) { Ok(()) } else { Err(Rejected::OverBudget) }
    }

    fn unseen(&self, datagram: &[u8]) -> Result<[u8; 32], Rejected> {
        let print = hash(self.domain.suite, Label::DatagramPrint, &[datagram]);
        if self.seen.contains(&print) { Err(Rejected::Duplicate) } else { Ok(print) }
    }

    fn remember(&mut self, print: [u8; 32]) {
        if self.seen.insert(print) {
            self.seen_in_order.push_back(print);
        }
        if self.seen_in_order.len() > MAX_SEEN
            && let Some(oldest) = self.seen_in_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("domain", &self.domain)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
