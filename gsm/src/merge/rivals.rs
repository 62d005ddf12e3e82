//! The other managers of the group on this LAN, and which of them to give way to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crypto::PublicKey;
use protocol::discovery::Presence;
use protocol::limits::PRESENCE_INTERVAL;
use protocol::{Epoch, Instant, StateId, SubgroupId, Term};
use rand_core::CryptoRng;

/// Other managers remembered. More on one LAN are a configuration mistake; the best ones are kept.
const MAX_RIVALS: usize = 16;
/// A manager that was not heard for this long is not merged with: three presences may be lost.
const RIVAL_MEMORY: Duration = Duration::from_secs(4 * PRESENCE_INTERVAL.as_secs());
/// How long a lower manager is heard before the higher one gives way: it seems not to be heard itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// After an attempt that failed; doubled with each one in a row.
const RETRY: Duration = Duration::from_secs(1);
/// The longest of these waits.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Another manager of the group on this LAN.
#[derive(Clone, Debug)]
struct Rival {
    identity: String,
    certificate: [u8; 32],
    subgroup: SubgroupId,
    registrars: Vec<SocketAddr>,
    start: StateId,
    first: Instant,
    heard: Instant,
    failures: u32,
    /// Not tried again before.
    rests_until: Instant,
}

impl Rival {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_since(self.heard) <= RIVAL_MEMORY
    }

    /// Whether it is to be given way to by a manager that is at `own`; `None` for one that does not serve.
    fn wins(&self, own: Option<StateId>) -> bool {
        own.is_none_or(|own| self.start > own)
    }

    /// Whether to give way to it at `now`.
    fn wins_at(&self, now: Instant, own: Option<StateId>) -> bool {
        self.is_fresh(now) && (self.wins(own) || now.saturating_since(self.first) >= PATIENCE)
    }
}

/// Whom the manager gives way to, and where it is reached.
#[derive(Clone, Debug)]
pub(super) struct Successor {
    pub(super) key: PublicKey,
    pub(super) identity: String,
    pub(super) certificate: [u8; 32],
    pub(super) subgroup: SubgroupId,
    pub(super) registrar: SocketAddr,
}

/// The other managers that were heard lately.
#[derive(Debug)]
pub(super) struct Rivals(BTreeMap<PublicKey, Rival>);

impl Rivals {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Notes that a manager was heard. Returns whether it is a new one.
    pub(super) fn hear(&mut self, now: Instant, presence: &Presence) -> bool {
        self.0.retain(|_, rival| rival.is_fresh(now));
        let key = presence.mandate.key;
        let start = presence.alarm.state.at(Epoch(0));
        let before = self.0.remove(&key).filter(|rival| rival.start == start);
        let fresh = before.is_none();
        let base = before.unwrap_or_else(|| Rival {
            identity: presence.manager.identity.clone(),
            certificate: presence.manager.fingerprint,
            subgroup: presence.domain.subgroup,
            registrars: Vec::new(),
            start,
            first: now,
            heard: now,
            failures: 0,
            rests_until: Instant::ZERO,
        });
        self.0.insert(key, Rival { registrars: presence.registrars.clone(), heard: now, ..base });
        if self.0.len() > MAX_RIVALS {
            let lowest = self.0.iter().min_by_key(|(_, rival)| rival.start).map(|(key, _)| *key);
            lowest.map(|key| self.0.remove(&key));
        }
        fresh
    }

    /// The best of those to give way to that may be tried at `now`. Who that is depends on where this manager is by then,
    /// not when they were heard: it may have begun a later term since.
    pub(super) fn best(&self, now: Instant, own: Option<StateId>) -> Option<Successor> {
        let ready = |rival: &&Rival| rival.wins_at(now, own) && rival.rests_until <= now;
        let (key, rival) =
            self.0.iter().filter(|(_, rival)| ready(rival)).max_by_key(|(_, rival)| rival.start)?;
        let place = usize::try_from(rival.failures).unwrap_or(0).checked_rem(rival.registrars.len())?;
        Some(Successor {
            key: *key,
            identity: rival.identity.clone(),
            certificate: rival.certificate,
            subgroup: rival.subgroup,
            registrar: rival.registrars[place],
        })
    }

    /// When the next attempt may be worth making.
    pub(super) fn next_attempt(&self, now: Instant, own: Option<StateId>) -> Option<Instant> {
        let due = |rival: &Rival| {
            let from = if rival.wins(own) { rival.heard } else { rival.first + PATIENCE };
            from.max(rival.rests_until).max(now)
        };
        self.0.values().filter(|rival| rival.is_fresh(now)).map(due).min()
    }

    /// An attempt failed: that one is left alone for a while that is random, so that two that try each other at the
    /// same time do not do so again.
    pub(super) fn rest(&mut self, now: Instant, key: &PublicKey, rng: &mut dyn CryptoRng) {
        if let Some(rival) = self.0.get_mut(key) {
            let wait = (RETRY * (1 << rival.failures.min(6))).min(LONGEST_RETRY);
            rival.failures += 1;
            rival.rests_until = now + wait / 2 + random_below(rng, wait);
        }
    }

    /// That manager has given way to us, or shall not be given way to.
    pub(super) fn forget(&mut self, certificate: &[u8; 32]) {
        self.0.retain(|_, rival| rival.certificate != *certificate);
    }

    /// The highest term among them.
    pub(super) fn highest_term(&self) -> Option<Term> {
        self.0.values().map(|rival| rival.start.term).max()
    }
}

/// A random duration below `most`.
pub(super) fn random_below(rng: &mut dyn CryptoRng, most: Duration) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(rng.next_u64() % micros)
}
