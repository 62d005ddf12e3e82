//! What a machine tells the data plane: the keys, and from when until when each is used.

use std::time::Duration;

use crypto::{Secret, Suite};
use protocol::{Epoch, GroupId, Instant, SenderId, StateId, SubgroupId, Timing};

/// A group key to send under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SendKey {
    /// The state it belongs to.
    pub state: StateId,
    /// The group key.
    pub key: Secret<32>,
    /// From here on it is used, unless a newer one is. Too early, and members that do not hold it yet make packets
    /// wait; too late, and whoever left reads on.
    pub from: Instant,
    /// From here on nothing may be sent under it: a newer state is known and not held, or no manager was heard for too
    /// long. The application's packets queue then.
    pub until: Option<Instant>,
}

/// A group key to receive under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceiveKey {
    /// The state it belongs to.
    pub state: StateId,
    /// The group key.
    pub key: Secret<32>,
    /// The cut: from here on nothing is taken under it. `None` while no newer state is known.
    pub until: Option<Instant>,
}

/// The last hard switch: from `at` on, no key older than `state` opens anything, whatever its own `until` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HardFloor {
    /// The first state that who was evicted does not know.
    pub state: StateId,
    /// The cut of that switch.
    pub at: Instant,
}

/// A registration that ended: from `from` on, nothing is taken from it, under whatever key.
///
/// It may be taken off the ring when every state it knew is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Departed {
    /// The registration.
    pub sender: SenderId,
    /// The first state it does not know.
    pub state: StateId,
    /// The activation of that state.
    pub from: Instant,
}

/// When a new state comes into use, counted from its first signed sight in an update or alarm (DESIGN 6, activation).
///
/// *Soft* (joins, voluntary leaves, refresh) leaves room for stragglers, so that no packet is lost; *hard* (evictions)
/// leaves as little as a LAN allows, since in between who was evicted still reads and is still heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switch {
    /// From here on the new key is sent under.
    pub activation: Instant,
    /// From here on the older keys are not received under.
    pub cut: Instant,
    /// Whether the cut takes every older key.
    pub hard: bool,
}

impl Switch {
    /// The switch to a state first seen, signed, at `seen`.
    pub fn new(seen: Instant, hard: bool, timing: &Timing) -> Self {
        Self::after(seen, timing.activation(hard), hard, timing)
    }

    /// The switch to a state first seen at `seen` whose key update names its own `activation` delay.
    pub fn after(seen: Instant, activation: Duration, hard: bool, timing: &Timing) -> Self {
        let activation = seen + activation;
        Self { activation, cut: activation + timing.cut(hard), hard }
    }

    /// The switch to the first state of a subgroup, or of a member that has no older key: everything at `now`.
    pub const fn at_once(now: Instant) -> Self {
        Self { activation: now, cut: now, hard: false }
    }
}

/// The keys of one subgroup, for one node. A machine emits a new ring whenever something in it changes, and the data
/// plane replaces the old one whole.
///
/// The ring holds instants, so a switch needs no ring of its own. A machine builds it with [`KeyRing::empty`],
/// [`KeyRing::install`], [`KeyRing::suspend_sending`] and [`KeyRing::depart`], which keep the rules of soft and hard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRing {
    /// The group's suite.
    pub suite: Suite,
    /// The group.
    pub group: GroupId,
    /// The subgroup these keys belong to.
    pub subgroup: SubgroupId,
    /// The node's own registration: it sends as this, and drops packets of it that come back.
    pub own: SenderId,
    /// Keys to send under, oldest first.
    pub send: Vec<SendKey>,
    /// Keys to receive under, oldest first.
    pub receive: Vec<ReceiveKey>,
    /// The last hard switch.
    pub hard_floor: Option<HardFloor>,
    /// Registrations that ended while a key they know is still received under.
    pub departed: Vec<Departed>,
}

impl KeyRing {
    /// A ring without keys: nothing can be sent, and what is received waits for a key.
    pub const fn empty(suite: Suite, group: GroupId, subgroup: SubgroupId, own: SenderId) -> Self {
        Self {
            suite,
            group,
            subgroup,
            own,
            send: Vec::new(),
            receive: Vec::new(),
            hard_floor: None,
            departed: Vec::new(),
        }
    }

    /// Adds the group key of a new state, for receiving at once and for sending from the activation on; the older keys
    /// are cut at the switch's cut.
    ///
    /// Called when a member or manager has installed a key update. A state that is not newer than all that are held is
    /// ignored: a key is never installed twice, and a ring never goes back. `false` says so.
    pub fn install(&mut self, state: StateId, key: Secret<32>, switch: Switch) -> bool {
        if self.receive.last().is_some_and(|newest| newest.state >= state) {
            return false;
        }
        for older in &mut self.receive {
            older.until = Some(older.until.map_or(switch.cut, |until| until.min(switch.cut)));
        }
        if switch.hard {
            self.hard_floor = Some(HardFloor { state, at: switch.cut });
        }
        self.send.push(SendKey { state, key: key.clone(), from: switch.activation, until: None });
        self.receive.push(ReceiveKey { state, key, until: None });
        true
    }

    /// Stops sending at `at`, until a key is installed: a newer state is known but not held, or there is no manager.
    ///
    /// Sending on would let who left at the newer state read what was meant to be kept from it.
    pub fn suspend_sending(&mut self, at: Instant) {
        for key in &mut self.send {
            key.until = Some(key.until.map_or(at, |until| until.min(at)));
        }
    }

    /// Sends again under the newest key after [`KeyRing::suspend_sending`], when it turned out to be the newest still.
    pub fn resume_sending(&mut self) {
        if let Some(newest) = self.send.iter_mut().max_by_key(|key| key.state) {
            newest.until = None;
        }
    }

    /// Refuses everything of `sender` from the activation of `state` on, the first state it does not know.
    pub fn depart(&mut self, sender: SenderId, state: StateId, from: Instant) {
        if !self.departed.iter().any(|departed| departed.sender == sender) {
            self.departed.push(Departed { sender, state, from });
        }
    }

    /// Forgets what has no effect from `now` on: keys that are cut or superseded, and the departed who know none of
    /// the keys left.
    pub fn prune(&mut self, now: Instant) {
        let current = self.newest_active(now).map(|key| key.state);
        self.send.retain(|key| current.is_none_or(|current| key.state >= current));
        let floor = self.hard_floor;
        self.receive.retain(|key| key.cut(floor).is_none_or(|cut| now < cut));
        let oldest = self.receive.iter().map(|key| key.state).min();
        self.departed.retain(|departed| oldest.is_none_or(|oldest| oldest < departed.state));
    }

    /// The key to send under at `now`: the newest whose time has come, unless its own time is over.
    ///
    /// `None` makes the application's packets queue. An older key is never a way out: it is older because somebody may
    /// have left.
    pub fn send_key_at(&self, now: Instant) -> Option<&SendKey> {
        self.newest_active(now).filter(|key| key.until.is_none_or(|until| now < until))
    }

    /// The first instant from `now` on at which there is a key to send under; `None` when this ring has none any more.
    pub fn next_send(&self, now: Instant) -> Option<Instant> {
        let later = self.send.iter().map(|key| key.from).filter(|from| *from > now);
        std::iter::once(now).chain(later).filter(|at| self.send_key_at(*at).is_some()).min()
    }

    /// The key named in a packet's outer part, if it is held and not cut at `now`.
    pub fn receive_key(&self, key_id: u32, epoch: Epoch, now: Instant) -> Option<&ReceiveKey> {
        self.receive.iter().find(|key| {
            key.state.epoch == epoch
                && key.cut(self.hard_floor).is_none_or(|cut| now < cut)
                && key.state.key_id() == key_id
        })
    }

    /// The newest state received under.
    pub fn newest(&self) -> Option<StateId> {
        self.receive.iter().map(|key| key.state).max()
    }

    fn newest_active(&self, now: Instant) -> Option<&SendKey> {
        self.send.iter().filter(|key| key.from <= now).max_by_key(|key| key.state)
    }
}

impl ReceiveKey {
    /// From when on nothing is taken under this key, its own cut and that of the last hard switch considered.
    pub(crate) fn cut(&self, floor: Option<HardFloor>) -> Option<Instant> {
        let floor = floor.filter(|floor| self.state < floor.state).map(|floor| floor.at);
        self.until.into_iter().chain(floor).min()
    }
}
