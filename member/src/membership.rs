//! One standing registration: the key path, the gate, the schedule of keys, and what is missing.

mod neighbours;
mod succession;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crypto::{PublicKey, Secret};
use data::KeyRing;
use keytree::{KeyPath, PathError, RekeyView};
use protocol::{
    Alarm, Domain, Epoch, Farewell, Gate, Grant, Instant, Question, Registration, RegistrationKeys, Rejected,
    ResyncAnswer, SignedRevocation, StateId, UpdateHeader, UpdatePacket, Verified,
};

use crate::activation::Activation;
use crate::blocks::Blocks;
use crate::config::MemberConfig;
use crate::event::Place;
use crate::reception::Reception;
use crate::registration::Admission;

/// Key update packets for this member that wait for an earlier one.
const MAX_PENDING: usize = 16;

/// A member's place in its subgroup, from the grant to the end.
#[derive(Debug)]
pub(crate) struct Membership {
    grant: Grant,
    keys: RegistrationKeys,
    /// The manager's identity; of one that took over, its sender id until it is known.
    manager: String,
    /// Where it registered.
    registrar: SocketAddr,
    /// Where the manager takes unicast. A manager that was started again may have another port than when it granted.
    manager_address: SocketAddr,
    path: KeyPath,
    gate: Gate,
    activation: Activation,
    /// The start of the manager that is followed.
    start: StateId,
    /// The newest alarm verified, and its datagram, to be shown to the manager that comes back.
    newest_alarm: Option<(Alarm, Vec<u8>)>,
    /// The height of the key tree by the newest alarm.
    height: u8,
    /// The newest epoch of the start that is followed that is known to have come by an eviction.
    hard: Epoch,
    /// The keys of the managers before, newest first.
    former: Vec<PublicKey>,
    /// The renewals its secrets have in them, if that is known.
    renewals: Option<u16>,
    /// The newest state any signed message has named.
    known: StateId,
    /// The newest state ever held; before the first one, the state of the grant. It stays where it is when a cut takes
    /// the last key held, so that no message up to it is ever taken again.
    reached: StateId,
    /// Updates that lead past the one this member lacks.
    pending: BTreeMap<Epoch, Verified<UpdatePacket>>,
    /// The packets of the newest updates.
    blocks: Blocks,
    reception: Reception,
    /// Nonces of the newest NAKs.
    heard_naks: VecDeque<u64>,
    /// The newest signed alarm says that this state is current, and its join was not cut by then.
    not_cut_at: Option<StateId>,
}

/// What an accepted message led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Effect {
    /// The key ring changed.
    pub(crate) ring: bool,
    /// A new state is held; whether it came by an eviction.
    pub(crate) installed: Option<(StateId, bool)>,
    /// The manager was started again: the first state of its new start that was seen.
    pub(crate) restarted: Option<StateId>,
}

impl Membership {
    pub(crate) fn new(admission: Admission, config: &MemberConfig) -> Self {
        let Admission { grant, keys, manager, registrar } = admission;
        let path = KeyPath::new(
            grant.domain.suite,
            grant.tree,
            grant.degree,
            grant.reg_no,
            keys.leaf.clone(),
            grant.leaf_steps,
        );
        let gate = Gate::new(
            grant.domain,
            grant.manager,
            grant.state,
            grant.prefilter.clone(),
            std::sync::Arc::clone(&config.verifier),
        );
        let blocks = Blocks::new(grant.domain, grant.reg_no);
        let activation = Activation::new(grant.domain, grant.sender, grant.timing);
        Self {
            registrar,
            manager_address: grant.manager_address,
            start: grant.state,
            known: grant.state,
            reached: grant.state,
            grant,
            keys,
            manager,
            path,
            gate,
            activation,
            newest_alarm: None,
            height: 0,
            hard: Epoch(0),
            former: Vec::new(),
            renewals: None,
            pending: BTreeMap::new(),
            blocks,
            reception: Reception::default(),
            heard_naks: VecDeque::new(),
            not_cut_at: None,
        }
    }

    pub(crate) const fn grant(&self) -> &Grant {
        &self.grant
    }

    pub(crate) fn place(&self) -> Place {
        Place::of(&self.grant, &self.manager)
    }

    pub(crate) const fn registrar(&self) -> SocketAddr {
        self.registrar
    }

    pub(crate) const fn manager_address(&self) -> SocketAddr {
        self.manager_address
    }

    pub(crate) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The datagram of the newest alarm verified.
    pub(crate) fn newest_alarm(&self) -> Option<&[u8]> {
        self.newest_alarm.as_ref().map(|(_, datagram)| datagram.as_slice())
    }

    /// The newest alarm of the start that is followed.
    pub(crate) fn alarm(&self) -> Option<&Alarm> {
        let newest = self.newest_alarm.as_ref().map(|(alarm, _)| alarm);
        newest.filter(|alarm| alarm.state.same_start(self.start))
    }

    /// Leaves of the key tree, taken or not: an upper bound of the number of members.
    pub(crate) fn leaves(&self) -> u64 {
        u64::from(self.grant.degree.get()).saturating_pow(u32::from(self.height.max(self.path.height())))
    }

    pub(crate) const fn path(&self) -> &KeyPath {
        &self.path
    }

    /// The registration that seals unicast messages.
    pub(crate) const fn registration(&self) -> Registration<'_> {
        Registration { domain: &self.grant.domain, sender: self.grant.sender, key: &self.keys.unicast }
    }

    pub(crate) fn held(&self) -> Option<StateId> {
        self.activation.held().map(|(state, _)| state)
    }

    pub(crate) const fn known(&self) -> StateId {
        self.known
    }

    pub(crate) fn ring(&self) -> KeyRing {
        self.activation.ring()
    }

    pub(crate) fn next_cut(&self) -> Option<Instant> {
        self.activation.next_cut()
    }

    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.activation.expire(now)
    }

    /// The state whose key update is missing, and the epoch it leads on from, whose prefilter key makes the NAK's MAC.
    pub(crate) fn missing(&self) -> Option<(StateId, Epoch)> {
        if self.reached >= self.known || self.not_cut_at == Some(self.known) {
            return None;
        }
        Some((self.known, self.reached.epoch))
    }

    pub(crate) fn prefilter(&self, epoch: Epoch) -> Option<&Secret<32>> {
        self.gate.prefilter(epoch)
    }

    /// A key update packet arrived.
    pub(crate) fn on_key_update(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Effect, Rejected> {
        if let Some(claimed) = UpdatePacket::claimed(datagram)
            && self.on_spare(&claimed, datagram)?
        {
            return Ok(Effect::default());
        }
        let packet = self.gate.key_update(now, from.ip(), Some(self.reached.epoch), datagram)?;
        let (named, header) = (Named::from(&*packet), &packet.header);
        let hard = header.hard;
        let mut effect = self.follow(header.state, from);
        effect.ring = self.activation.sight(now, header.state, hard, header.activation);
        self.known = self.known.max(header.state);
        if hard {
            self.hard = self.hard.max(header.state.epoch);
        }
        if let Some(own) = self.blocks.take(packet) {
            self.pending.insert(named.state.epoch, own);
            while self.pending.len() > MAX_PENDING {
                self.pending.pop_last();
            }
            self.install_pending(&mut effect);
        } else if self.step_to(&named) {
            effect.installed = Some((named.state, hard));
            effect.ring = true;
        }
        Ok(effect)
    }

    /// An alarm arrived.
    pub(crate) fn on_alarm(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(Verified<Alarm>, Effect), Rejected> {
        let alarm = self.gate.alarm(now, from.ip(), datagram)?;
        let timing = &self.grant.timing;
        self.reception.on_alarm(now, timing.alarm_interval, timing.silence);
        let mut effect = self.follow(alarm.state, from);
        effect.ring = self.note_alarm(now, &alarm, datagram);
        if self.reached < alarm.state && self.step_to(&Named::from(&*alarm)) {
            effect.installed = Some((alarm.state, alarm.hard));
            effect.ring = true;
        }
        Ok((alarm, effect))
    }

    /// The manager answered a resync request. Installed only if the alarm in it verifies and the path reproduces its
    /// key check; else nothing changes, but that a later start the alarm is signed by is followed.
    pub(crate) fn on_resync(&mut self, now: Instant, answer: &ResyncAnswer) -> Result<Effect, Rejected> {
        let alarm = self.gate.enclosed_alarm(&answer.alarm)?;
        let mut effect = self.follow(alarm.state, self.manager_address);
        let stays = |effect: Effect, why| if effect.restarted.is_some() { Ok(effect) } else { Err(why) };
        if self.reached >= alarm.state {
            return stays(effect, Rejected::Stale);
        }
        if answer.path.is_empty() {
            effect.ring = self.note_alarm(now, &alarm, &answer.alarm);
            self.not_cut_at = Some(alarm.state);
            return Ok(effect);
        }
        let Some(path) = self.path_of(answer, &alarm) else { return stays(effect, Rejected::NotAuthentic) };
        self.note_alarm(now, &alarm, &answer.alarm);
        self.path = path;
        self.hold(alarm.state);
        effect.ring = true;
        effect.installed = Some((alarm.state, alarm.hard));
        self.install_pending(&mut effect);
        Ok(effect)
    }

    /// A starting manager's question.
    pub(crate) fn on_question(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Verified<Question>, Rejected> {
        self.gate.question(now, from, datagram)
    }

    /// The manager gives way.
    pub(crate) fn on_farewell(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Verified<Farewell>, Rejected> {
        self.gate.farewell(now, from, datagram)
    }

    /// Revocations were multicast; `known` says which ones the member holds.
    pub(crate) fn on_revocations(
        &mut self,
        now: Instant,
        from: IpAddr,
        known: impl Fn(&SignedRevocation) -> bool,
        datagram: &[u8],
    ) -> Result<Verified<Vec<SignedRevocation>>, Rejected> {
        self.gate.revocations(now, from, known, datagram)
    }

    /// The gate verified a message of `state`. Of a later start than the one followed: everything of the tree but the
    /// leaf means other keys from here on. The group keys stay until their time is over, so nobody falls silent.
    fn follow(&mut self, state: StateId, from: SocketAddr) -> Effect {
        if !state.same_start(self.grant.state) {
            self.manager_address = from;
        }
        if state.same_start(self.start) {
            return Effect::default();
        }
        self.start = state;
        self.path.forget();
        self.pending.clear();
        self.blocks.forget();
        self.not_cut_at = None;
        self.hard = Epoch(0);
        self.reached = state.at(Epoch(0));
        self.known = self.known.max(self.reached);
        Effect { restarted: Some(state), ..Effect::default() }
    }

    /// The path in a resync answer, if it leads to the key its alarm names.
    fn path_of(&self, answer: &ResyncAnswer, alarm: &Alarm) -> Option<KeyPath> {
        let mut path = self.path.clone();
        path.install(alarm.height, alarm.state.epoch, answer.path.clone()).ok()?;
        let (version, root) = path.root()?;
        let fits = version == alarm.root && self.checks(root, alarm.state, &alarm.key_check);
        fits.then_some(path)
    }

    /// What every signed alarm tells, whether or not its state can be reached. Returns whether the key ring changed.
    fn note_alarm(&mut self, now: Instant, alarm: &Alarm, datagram: &[u8]) -> bool {
        // At epoch 0 there is no key to switch to.
        let sighted = alarm.state.epoch > Epoch(0)
            && self.activation.sight(now, alarm.state, alarm.hard, alarm.activation);
        let cut = self.activation.cut_below(alarm.state, alarm.oldest);
        self.known = self.known.max(alarm.state);
        if alarm.hard {
            self.hard = self.hard.max(alarm.state.epoch);
        }
        // Secrets are renewed between two starts of a manager only.
        if self.renewals.is_none() && alarm.state.same_start(self.grant.state) {
            self.renewals = Some(alarm.renewals);
        }
        let place = |alarm: &Alarm| (alarm.state, alarm.counter);
        if self.newest_alarm.as_ref().is_none_or(|(newest, _)| place(alarm) > place(newest)) {
            self.newest_alarm = Some((alarm.clone(), datagram.to_vec()));
            self.height = alarm.height;
        }
        sighted || cut
    }

    /// Applies the pending updates that can be applied, in order. One that cannot holds no later one up: a joiner
    /// cannot follow an update that was cut before its join, and needs none of it.
    fn install_pending(&mut self, effect: &mut Effect) {
        for (epoch, packet) in std::mem::take(&mut self.pending) {
            match self.apply(&packet) {
                Ok(()) => {
                    self.hold(packet.header.state);
                    effect.ring = true;
                    effect.installed = Some((packet.header.state, packet.header.hard));
                }
                Err(PathError::Stale { .. } | PathError::Behind { .. }) => {}
                // It leads past an update that is missing, or it is not for this member: repair will tell.
                Err(why) => {
                    if self.came_before_join(&packet.header, &why) {
                        self.not_cut_at = Some(packet.header.state);
                    }
                    self.pending.insert(epoch, packet);
                }
            }
        }
    }

    /// Whether this is an update from before the newcomer's join: nothing in it leads to its leaf, and it leads on from where
    /// the newcomer was not in. Then nothing is missing until a later one.
    fn came_before_join(&self, header: &UpdateHeader, why: &PathError) -> bool {
        let before = self.not_cut_at.unwrap_or(self.grant.state);
        self.reached == self.grant.state
            && header.state.same_start(before)
            && header.previous == before.epoch
            && matches!(why, PathError::NoEntry { .. } | PathError::NeedsRepair { .. })
    }

    fn apply(&mut self, packet: &UpdatePacket) -> Result<(), PathError> {
        let header = &packet.header;
        let view = RekeyView {
            epoch: header.state.epoch,
            iv: &header.iv,
            height: header.height,
            root: header.root,
            leaf_steps: header.leaf_steps,
            targets: &packet.body.targets,
            entries: &packet.body.entries,
        };
        let domain = self.grant.domain;
        self.path.apply_if(&view, |_, root| key_checks(&domain, root, header.state, &header.key_check))
    }

    /// Follows a state that only stepped the root (a join-only batch) without any entry.
    fn step_to(&mut self, named: &Named) -> bool {
        let mut path = self.path.clone();
        if path.height() != named.height || path.step_root(named.root).is_err() {
            return false;
        }
        let reached = path.root().is_some_and(|(_, root)| self.checks(root, named.state, &named.key_check));
        if reached {
            self.path = path;
            self.hold(named.state);
        }
        reached
    }

    fn checks(&self, root: &Secret<32>, state: StateId, key_check: &[u8; 8]) -> bool {
        key_checks(&self.grant.domain, root, state, key_check)
    }

    /// Takes the group key of `state`, whose root the path has reached.
    fn hold(&mut self, state: StateId) {
        let Some((_, root)) = self.path.root() else { return };
        let key = self.grant.domain.group_key(root, state);
        self.gate.install_prefilter(state.epoch, self.grant.domain.prefilter(&key, state));
        self.activation.install(state, key);
        self.reached = self.reached.max(state);
        self.blocks.on_held(self.reached);
        self.pending.retain(|epoch, _| *epoch > state.epoch);
        self.not_cut_at = None;
    }
}

/// A state as a header or an alarm names it.
struct Named {
    state: StateId,
    root: keytree::Version,
    height: u8,
    key_check: [u8; 8],
}

impl From<&UpdatePacket> for Named {
    fn from(packet: &UpdatePacket) -> Self {
        let header = &packet.header;
        Self { state: header.state, root: header.root, height: header.height, key_check: header.key_check }
    }
}

impl From<&Alarm> for Named {
    fn from(alarm: &Alarm) -> Self {
        Self { state: alarm.state, root: alarm.root, height: alarm.height, key_check: alarm.key_check }
    }
}

/// Whether `root` is the manager's root secret of `state`.
fn key_checks(domain: &Domain, root: &Secret<32>, state: StateId, key_check: &[u8; 8]) -> bool {
    let key = domain.group_key(root, state);
    crypto::constant_time_eq(&domain.key_check(&key, state), key_check)
}
