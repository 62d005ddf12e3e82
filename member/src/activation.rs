//! When a key is used: the schedule from the first sight of a state to its activation and its cut.

use crypto::Secret;
use data::{Departed, HardFloor, KeyRing, ReceiveKey, SendKey};
use protocol::{Domain, Epoch, Instant, SenderId, StateId, Timing};

/// States a node keeps in its schedule. Older ones are cut long before.
const MAX_STATES: usize = 32;
/// Senders that left, kept until no key they held is received any more.
const MAX_DEPARTED: usize = 4_096;

/// One state that was seen signed, with its group key once it is held.
#[derive(Clone, Debug)]
struct Scheduled {
    state: StateId,
    key: Option<Secret<32>>,
    /// When data is first sent under it.
    activates: Instant,
    /// When every older key stops being received.
    cuts: Instant,
    /// Whether somebody was evicted.
    hard: bool,
}

/// The keys of one registration in one subgroup, and when each is sent and received under.
///
/// A key is received from the moment it is held. It is sent under from its activation on, counted from the first
/// signed sight of the state, so that all have had time to install it. Every older key is cut a while later, so that
/// nothing in flight is lost. A state that is known but not held still ends the older ones: a laggard stops sending
/// instead of talking under a key that an evicted node holds (attack A16).
#[derive(Clone, Debug)]
pub struct Activation {
    domain: Domain,
    own: SenderId,
    timing: Timing,
    states: Vec<Scheduled>,
    departed: Vec<(SenderId, StateId)>,
    floor: Option<StateId>,
}

impl Activation {
    /// An empty schedule for the registration `own`.
    pub const fn new(domain: Domain, own: SenderId, timing: Timing) -> Self {
        Self { domain, own, timing, states: Vec::new(), departed: Vec::new(), floor: None }
    }

    /// Notes a state the first time it is seen signed, in a key update or an alarm. Returns whether it was new.
    ///
    /// `delay` is the activation delay the manager put into the message. Seeing it again moves nothing.
    pub fn sight(&mut self, now: Instant, state: StateId, hard: bool, delay: std::time::Duration) -> bool {
        if self.states.iter().any(|scheduled| scheduled.state == state)
            || self.floor.is_some_and(|floor| state <= floor)
        {
            return false;
        }
        let activates = now + delay;
        let cuts = activates + self.timing.cut(hard);
        self.states.push(Scheduled { state, key: None, activates, cuts, hard });
        self.states.sort_by_key(|scheduled| scheduled.state);
        if self.states.len() > MAX_STATES {
            let oldest = self.states.remove(0);
            self.floor = Some(oldest.state);
        }
        true
    }

    /// Installs the group key of a state that was sighted; it is received under at once. A key already installed is
    /// not installed again (attack A14).
    pub fn install(&mut self, state: StateId, key: Secret<32>) {
        if let Some(scheduled) = self.states.iter_mut().find(|scheduled| scheduled.state == state)
            && scheduled.key.is_none()
        {
            scheduled.key = Some(key);
        }
    }

    /// The newest state whose key is held.
    pub fn held(&self) -> Option<(StateId, &Secret<32>)> {
        self.states
            .iter()
            .rev()
            .find_map(|scheduled| scheduled.key.as_ref().map(|key| (scheduled.state, key)))
    }

    /// Notes that a sender is out from `state` on: nothing of it is taken once that state activates.
    pub fn depart(&mut self, sender: SenderId, state: StateId) {
        self.departed.push((sender, state));
        if self.departed.len() > MAX_DEPARTED {
            self.departed.remove(0);
        }
    }

    /// The manager named the oldest epoch still received: older ones of the same start end here. Returns whether
    /// anything went.
    ///
    /// A manager that was started again holds no key of its starts before, so its first epoch says nothing of them:
    /// they end by their own time, counted from the first sight of the new start. Once that epoch is over, so are they.
    pub fn cut_below(&mut self, state: StateId, oldest: Epoch) -> bool {
        let (cut, past_first) = (state.at(oldest), oldest > Epoch(1));
        self.raise_floor(|scheduled| scheduled.state < cut && (past_first || scheduled.state.same_start(cut)))
    }

    /// Forgets what is past its cut at `now`. Returns whether anything went.
    pub fn expire(&mut self, now: Instant) -> bool {
        let newest_cutting =
            self.states.iter().rev().find(|newer| newer.cuts <= now).map(|newer| newer.state);
        newest_cutting.is_some_and(|newest| self.raise_floor(|scheduled| scheduled.state < newest))
    }

    /// The next instant at which [`Activation::expire`] has something to do.
    pub fn next_cut(&self) -> Option<Instant> {
        self.states.iter().skip(1).map(|newer| newer.cuts).min()
    }

    /// The oldest epoch of a state's start still received, for the manager's alarm: states of a start before it end by
    /// their own time.
    pub fn oldest_of(&self, state: StateId) -> Option<Epoch> {
        let mut of_start = self.states.iter().filter(|scheduled| scheduled.state.same_start(state));
        of_start.next().map(|scheduled| scheduled.state.epoch)
    }

    /// The key ring for the data plane, as of now; it holds the times of every switch ahead.
    pub fn ring(&self) -> KeyRing {
        KeyRing {
            send: self.send_keys(),
            receive: self.receive_keys(),
            hard_floor: self.hard_floor(),
            departed: self.departed_from(),
            known: self.states.last().map(|scheduled| scheduled.state).max(self.floor),
            ..KeyRing::empty(self.domain.suite, self.domain.group, self.domain.subgroup, self.own)
        }
    }

    fn raise_floor(&mut self, ends: impl Fn(&Scheduled) -> bool) -> bool {
        let Some(highest) =
            self.states.iter().filter(|scheduled| ends(scheduled)).map(|scheduled| scheduled.state).max()
        else {
            return false;
        };
        self.floor = self.floor.max(Some(highest));
        self.states.retain(|scheduled| !ends(scheduled));
        let floor = self.floor;
        self.departed.retain(|(_, state)| floor.is_none_or(|floor| *state > floor));
        true
    }

    /// A key is sent under from its activation until the next state's, held or not.
    fn send_keys(&self) -> Vec<SendKey> {
        self.states
            .iter()
            .enumerate()
            .filter_map(|(place, scheduled)| {
                let until = self.states[place + 1..].iter().map(|newer| newer.activates).min();
                let key = scheduled.key.clone()?;
                (until.is_none_or(|until| scheduled.activates < until)).then_some(SendKey {
                    state: scheduled.state,
                    key,
                    from: scheduled.activates,
                    until,
                })
            })
            .collect()
    }

    /// A key is received until the earliest cut of any newer state.
    fn receive_keys(&self) -> Vec<ReceiveKey> {
        self.states
            .iter()
            .enumerate()
            .filter_map(|(place, scheduled)| {
                let until = self.states[place + 1..].iter().map(|newer| newer.cuts).min();
                Some(ReceiveKey { state: scheduled.state, key: scheduled.key.clone()?, until })
            })
            .collect()
    }

    /// The newest eviction still in the schedule.
    fn hard_floor(&self) -> Option<HardFloor> {
        let newest = self.states.iter().rev().find(|scheduled| scheduled.hard)?;
        Some(HardFloor { state: newest.state, at: newest.cuts })
    }

    /// Each sender that left, with the instant from which nothing of it is taken.
    fn departed_from(&self) -> Vec<Departed> {
        self.departed
            .iter()
            .filter_map(|(sender, state)| {
                let from = self.states.iter().find(|scheduled| scheduled.state >= *state)?;
                Some(Departed { sender: *sender, from: from.activates })
            })
            .collect()
    }
}
