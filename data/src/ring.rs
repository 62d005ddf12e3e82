//! What a machine tells the data plane: the keys, and from when until when each is used.

use crypto::{Secret, Suite};
use protocol::{Epoch, GroupId, Instant, SenderId, StateId, SubgroupId};

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
    /// From here on nothing may be sent under it, for a newer state activates. If that one's key is not held, the
    /// application's packets queue.
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
    /// The activation of the first state it does not know.
    pub from: Instant,
}

/// The keys of one subgroup, for one node. A machine emits a new ring whenever something in it changes, and the data
/// plane replaces the old one whole.
///
/// The ring holds instants, so a switch happens by time and needs no ring of its own. What makes it soft or hard are
/// the instants: of both kinds the activation is the `from` of the new key, and the cut the `until` of the older ones
///.
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
    /// The newest state that any signed message named, held or not. Epochs begin anew when the manager is started
    /// again, so without it a packet under its first key would look older than every key held.
    pub known: Option<StateId>,
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
            known: None,
        }
    }

    /// The key to send under at `now`: the newest whose time has come, unless its own time is over.
    ///
    /// `None` makes the application's packets queue. An older key is never a way out: it is older because somebody may
    /// have left.
    pub fn send_key_at(&self, now: Instant) -> Option<&SendKey> {
        let newest = self.send.iter().filter(|key| key.from <= now).max_by_key(|key| key.state);
        newest.filter(|key| key.until.is_none_or(|until| now < until))
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
}

impl ReceiveKey {
    /// From when on nothing is taken under this key, its own cut and that of the last hard switch considered.
    pub(crate) fn cut(&self, floor: Option<HardFloor>) -> Option<Instant> {
        let floor = floor.filter(|floor| self.state < floor.state).map(|floor| floor.at);
        self.until.into_iter().chain(floor).min()
    }
}
