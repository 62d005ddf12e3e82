//! How a manager makes itself known (GSM 3.1): PRESENCE for all who listen, REPLY for who searches.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crypto::PublicKey;
use protocol::discovery::{Certifier, DiscoveryGate, Find, FindKind, Hint, Mandate, Presence, Reply};
use protocol::limits::{PRESENCE_INTERVAL, REPLIES_PER_SECOND, REPLY_DELAY};
use protocol::{Budget, DatagramKind, Envelope, Instant, Rejected, Transmit};
use rand_core::CryptoRng;

use crate::config::GsmConfig;
use crate::gsm::{Gsm, Timer};

/// A presence goes no further than the LAN: who is further away searches for a parent, not for this.
const PRESENCE_TTL: u8 = 1;
/// The waits after the first presences of a start, so that one that is lost is made up for at once: elections and
/// merges under way look out for them.
const QUICK: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(200), Duration::from_millis(400)];
/// Between two presences, whatever asks for them.
const PRESENCE_GAP: Duration = Duration::from_millis(200);
/// Answers to one source address in a second: a fourth of what all get together, so that one node cannot use up
/// the rest, and a forged address is not flooded.
const REPLIES_PER_SOURCE: u32 = REPLIES_PER_SECOND / 4;

/// What a manager makes itself known with. Without it, it is found by configured addresses alone.
#[derive(Clone)]
pub struct PresenceConfig {
    /// Where the group's nodes find each other.
    pub discovery: SocketAddr,
    /// Binds the manager's signing key to its certificate. One that does not fit a datagram makes no presence: the
    /// manager is found by REPLY alone then, and never merges.
    pub mandate: Mandate,
    /// Where members register, best first.
    pub registrars: Vec<SocketAddr>,
    /// Checks other managers' certificates.
    pub certifier: Arc<dyn Certifier>,
    /// Whether it becomes one with other managers of the group on its LAN. Default true; false leaves the group in
    /// parts that do not hear each other's data, and neither gives way nor lets another one give way to it.
    pub merges: bool,
}

impl std::fmt::Debug for PresenceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PresenceConfig")
            .field("discovery", &self.discovery)
            .field("registrars", &self.registrars)
            .field("merges", &self.merges)
            .finish_non_exhaustive()
    }
}

/// Tells the LAN that a manager is here, and answers who searches for one.
#[derive(Debug)]
pub(crate) struct Announcer {
    config: PresenceConfig,
    gate: DiscoveryGate,
    /// Presences sent by this start.
    sent: usize,
    last: Option<Instant>,
    replies: Replies,
}

impl Announcer {
    pub(crate) fn of(config: &GsmConfig) -> Option<Self> {
        let presence = config.presence.clone()?;
        let (verifier, certifier) = (Arc::clone(&config.verifier), Arc::clone(&presence.certifier));
        let gate = DiscoveryGate::new(config.group, verifier, certifier);
        Some(Self { config: presence, gate, sent: 0, last: None, replies: Replies::new() })
    }

    pub(crate) const fn merges(&self) -> bool {
        self.config.merges
    }

    const fn key(&self) -> &PublicKey {
        &self.config.mandate.key
    }

    /// A presence was sent; when the next one is due.
    fn on_sent(&mut self, now: Instant) -> Instant {
        let wait = QUICK.get(self.sent).copied().unwrap_or(PRESENCE_INTERVAL);
        self.sent += 1;
        self.last = Some(now);
        now + wait
    }

    /// The earliest moment for one that was asked for.
    fn soonest(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| now.max(last + PRESENCE_GAP))
    }
}

/// The answers to FIND that wait for their moment, and how many may be given.
#[derive(Debug)]
struct Replies {
    all: Budget,
    /// Answers given in the second that began at the instant, by source. No longer than the budget of all.
    given: (Instant, BTreeMap<IpAddr, u32>),
    waiting: BTreeMap<(Instant, SocketAddr), u64>,
}

impl Replies {
    const fn new() -> Self {
        let all = Budget::new(REPLIES_PER_SECOND, REPLIES_PER_SECOND);
        Self { all, given: (Instant::ZERO, BTreeMap::new()), waiting: BTreeMap::new() }
    }

    /// Whether one more answer may be given to this source now; it is counted then.
    fn take(&mut self, now: Instant, source: IpAddr) -> bool {
        let (since, given) = &mut self.given;
        if now.saturating_since(*since) >= Duration::from_secs(1) {
            *since = now;
            given.clear();
        }
        let count = given.get(&source).copied().unwrap_or(0);
        let granted = count < REPLIES_PER_SOURCE && self.all.take(now);
        if granted {
            given.insert(source, count + 1);
        }
        granted
    }

    /// Answers after a short random wait, so that the answers of several managers do not collide.
    fn schedule(&mut self, now: Instant, to: SocketAddr, nonce: u64, rng: &mut dyn CryptoRng) {
        let most = u64::try_from(REPLY_DELAY.as_micros()).unwrap_or(u64::MAX);
        let due = now + Duration::from_micros(rng.next_u64() % most);
        self.waiting.insert((due, to), nonce);
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// Takes an answer whose moment has come.
    fn expired(&mut self, now: Instant) -> Option<(SocketAddr, u64)> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, to), nonce) = entry.remove_entry();
        Some((to, nonce))
    }
}

impl Gsm {
    /// A datagram came by the discovery address. While the manager has not said its first word, it only notes others.
    pub(crate) fn on_discovery(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        let Some(announcer) = &mut self.announcer else { return Err(Rejected::NotForUs) };
        match Envelope::for_group(bytes, self.domain.group)?.kind {
            DatagramKind::Find => self.on_find(now, from, &Find::decode(bytes, self.domain.group)?),
            DatagramKind::Claim => {
                let claim = announcer.gate.claim(now, bytes)?;
                if claim.0.mandate.key == *announcer.key() {
                    return Err(Rejected::NotForUs);
                }
                // Whoever claims has not heard us.
                self.announce_soon(now);
                Ok(())
            }
            DatagramKind::Presence => {
                let presence = announcer.gate.presence(now, bytes)?;
                // Our own voice, or our own past.
                if presence.mandate.key == *announcer.key() {
                    return Err(Rejected::NotForUs);
                }
                self.on_other_manager(now, &presence)
            }
            _ => Err(Rejected::NotForUs),
        }
    }

    /// Somebody searches. Whoever it is gets no more than it sent: one answer, or where there are too many who ask, one
    /// presence for all of them (attack A3).
    fn on_find(&mut self, now: Instant, from: SocketAddr, find: &Hint<Find>) -> Result<(), Rejected> {
        let find = find.said();
        let reaches = (1..=self.config.ttl.max(1)).contains(&find.ring);
        // A local search names the subgroup whose manager fell silent; that it is back is what it wants to hear.
        // Nobody's parent is who has none of its own.
        if find.kind != FindKind::Local || !reaches {
            return Err(Rejected::NotForUs);
        }
        if !self.is_serving() {
            return Err(Rejected::NotForUs);
        }
        let Some(announcer) = &mut self.announcer else { return Err(Rejected::NotForUs) };
        if announcer.replies.take(now, from.ip()) {
            announcer.replies.schedule(now, from, find.nonce, &mut *self.rng.0);
            self.set_reply_timer();
        } else {
            self.announce_soon(now);
        }
        Ok(())
    }

    /// Whether this manager would let a node in now: it has cut its first key update, its store works, and it does not
    /// give way to another one.
    pub fn is_serving(&self) -> bool {
        self.keys.current().is_some() && !self.read_only && !self.is_leaving()
    }

    /// The first key update is out, or the store works again: the LAN hears of it at once.
    pub(crate) fn begin_presence(&mut self, now: Instant) {
        if self.announcer.is_some() && self.timers.due(Timer::Presence).is_none() {
            self.timers.set(Timer::Presence, now);
        }
    }

    /// Something made a presence worth sending before its time.
    pub(crate) fn announce_soon(&mut self, now: Instant) {
        if let Some(announcer) = &self.announcer
            && self.timers.due(Timer::Presence).is_some()
        {
            self.timers.set_earlier(Timer::Presence, announcer.soonest(now));
        }
    }

    /// A presence is due. A manager that lets nobody in stays silent, so that the LAN elects one that does.
    pub(crate) fn on_presence_due(&mut self, now: Instant) {
        let serving = self.is_serving();
        let Some(current) = self.keys.current().cloned().filter(|_| serving) else {
            self.timers.set(Timer::Presence, now + PRESENCE_INTERVAL);
            return;
        };
        let alarm = self.alarm(now, &current);
        let Some(announcer) = &mut self.announcer else { return };
        self.timers.set(Timer::Presence, announcer.on_sent(now));
        let PresenceConfig { discovery: to, mandate, registrars, .. } = &announcer.config;
        if let Some(bytes) = Presence::encode(self.domain.group, mandate, registrars, &alarm, &*self.signer.0)
        {
            self.outbox.send(Transmit::Multicast { to: *to, ttl: PRESENCE_TTL, bytes });
        }
    }

    /// Answers whose moment has come.
    pub(crate) fn on_replies_due(&mut self, now: Instant) {
        let (members, state, serving) = (self.members.len(), self.keys.state(), self.is_serving());
        let Some(announcer) = &mut self.announcer else { return };
        while let Some((to, nonce)) = announcer.replies.expired(now) {
            let reply = Reply {
                nonce,
                subgroup: self.domain.subgroup,
                registrars: announcer.config.registrars.clone(),
                term: state.term,
                depth: 0,
                ancestors: Vec::new(),
                load: u32::try_from(members).unwrap_or(u32::MAX),
            };
            if serving {
                self.outbox.send(Transmit::Unicast { to, bytes: reply.encode(self.domain.group) });
            }
        }
        self.set_reply_timer();
    }

    fn set_reply_timer(&mut self) {
        match self.announcer.as_ref().and_then(|announcer| announcer.replies.due()) {
            Some(at) => self.timers.set(Timer::Reply, at),
            None => self.timers.stop(Timer::Reply),
        }
    }
}
