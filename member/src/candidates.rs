//! Whom a node may try to register with, in which order, and whom it leaves alone for a while.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use protocol::Instant;
use protocol::limits::{CANDIDATE_BACKOFF, MAX_CANDIDATES};
use rand_core::CryptoRng;

use crate::registration::jitter;

/// Hints remembered from one source address, so that one that shouts leaves room for the others.
const MAX_HINTS_A_SOURCE: usize = 8;
/// Registrars remembered that a certificate vouches for. Managers of one LAN are few.
const MAX_PROVEN: usize = 16;
/// Bad endpoints remembered; beyond, the one whose rest ends first is forgotten.
const MAX_BAD: usize = 256;
/// The rest after the first failure of an address that is configured or proven; it doubles with each further failure
/// in a row, up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_millis(250);
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_secs(8);

/// Who vouches for an address, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Tier {
    /// A presence, whose manager a certificate names, or the node's own manager.
    Proven,
    /// The operator.
    Configured,
    /// Nobody: whoever answered a FIND.
    Hinted(IpAddr),
}

#[derive(Clone, Debug)]
struct Candidate {
    to: SocketAddr,
    tier: Tier,
    failures: u32,
    /// Not to be tried before.
    rests_until: Instant,
}

/// Addresses of possible registrars (attacks A1, A2, A4).
///
/// What is proven comes before what is configured, and that before hints, of which there are at most
/// [`MAX_CANDIDATES`]: a flood of hints pushes out nothing that came before it. Of the hints, those come first of whose
/// source the fewest were tried; of the others, those that failed least.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    list: Vec<Candidate>,
    /// Hinted addresses that did not prove to be a manager, and until when they are left alone.
    bad: BTreeMap<SocketAddr, Instant>,
    /// How many hints of a source were tried since the list was cleared; bounded, as hints of new sources are.
    tried: BTreeMap<IpAddr, u32>,
}

impl Candidates {
    pub(crate) const fn new() -> Self {
        Self { list: Vec::new(), bad: BTreeMap::new(), tried: BTreeMap::new() }
    }

    /// A certified manager names this registrar. That it was bad as a hint is forgiven.
    pub(crate) fn prove(&mut self, to: SocketAddr) {
        if !is_a_place(to) {
            return;
        }
        self.bad.remove(&to);
        match self.list.iter_mut().find(|candidate| candidate.to == to) {
            Some(known) => known.tier = Tier::Proven,
            None => self.list.push(Candidate::new(to, Tier::Proven)),
        }
        let proven = |candidate: &Candidate| candidate.tier == Tier::Proven;
        if self.list.iter().filter(|candidate| proven(candidate)).count() > MAX_PROVEN
            && let Some(oldest) = self.list.iter().position(proven)
        {
            self.list.remove(oldest);
        }
    }

    /// The operator names these, in this order.
    pub(crate) fn configure(&mut self, registrars: &[SocketAddr]) {
        for to in registrars {
            match self.list.iter_mut().find(|candidate| candidate.to == *to) {
                Some(known) => known.tier = known.tier.min(Tier::Configured),
                None => self.list.push(Candidate::new(*to, Tier::Configured)),
            }
        }
    }

    /// Somebody at `source` named this one. Returns whether it was taken.
    pub(crate) fn hint(&mut self, now: Instant, to: SocketAddr, source: IpAddr) -> bool {
        self.bad.retain(|_, until| *until > now);
        let hinted = |candidate: &&Candidate| matches!(candidate.tier, Tier::Hinted(_));
        let taken = is_a_place(to)
            && !self.bad.contains_key(&to)
            && self.list.iter().all(|candidate| candidate.to != to)
            && self.list.iter().filter(hinted).count() < MAX_CANDIDATES
            && self.list.iter().filter(|candidate| candidate.tier == Tier::Hinted(source)).count()
                < MAX_HINTS_A_SOURCE;
        if taken {
            self.list.push(Candidate::new(to, Tier::Hinted(source)));
        }
        taken
    }

    /// The one to try at `now`; it counts as tried. `busy` says which are being tried.
    pub(crate) fn next(&mut self, now: Instant, busy: impl Fn(SocketAddr) -> bool) -> Option<SocketAddr> {
        let ready = |candidate: &&Candidate| candidate.rests_until <= now && !busy(candidate.to);
        let rank = |candidate: &&Candidate| match candidate.tier {
            Tier::Proven => (0, candidate.failures),
            Tier::Configured => (1, candidate.failures),
            Tier::Hinted(source) => (2, self.tried.get(&source).copied().unwrap_or(0)),
        };
        let next = self.list.iter().filter(ready).min_by_key(rank)?;
        let (to, tier) = (next.to, next.tier);
        if let Tier::Hinted(source) = tier
            && (self.tried.len() < MAX_BAD || self.tried.contains_key(&source))
        {
            *self.tried.entry(source).or_default() += 1;
        }
        Some(to)
    }

    /// When [`Candidates::next`] has one, as far as it is known now; an instant in the past if it has one already.
    pub(crate) fn next_due(&self, busy: impl Fn(SocketAddr) -> bool) -> Option<Instant> {
        let idle = self.list.iter().filter(|candidate| !busy(candidate.to));
        idle.map(|candidate| candidate.rests_until).min()
    }

    /// This one did not take the node. A hint goes for [`CANDIDATE_BACKOFF`]; the others rest, ever longer, for a random
    /// time, so that members that lost their manager together do not come back together (RFC 4046, synchronized
    /// requests).
    pub(crate) fn failed(&mut self, now: Instant, to: SocketAddr, rng: &mut dyn CryptoRng) {
        let Some(at) = self.list.iter().position(|candidate| candidate.to == to) else { return };
        let candidate = &mut self.list[at];
        if matches!(candidate.tier, Tier::Hinted(_)) {
            self.list.remove(at);
            if self.bad.len() >= MAX_BAD
                && let Some(first) = self.bad.iter().min_by_key(|(_, until)| **until).map(|(to, _)| *to)
            {
                self.bad.remove(&first);
            }
            self.bad.insert(to, now + CANDIDATE_BACKOFF);
            return;
        }
        candidate.failures = candidate.failures.saturating_add(1);
        let doubled = FIRST_REST * (1 << candidate.failures.min(6).saturating_sub(1));
        let rest = doubled.min(LONGEST_REST);
        candidate.rests_until = now + rest / 2 + jitter(rng, rest / 2);
    }

    /// Forgets whom to try; who is bad stays bad.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.tried.clear();
    }
}

impl Candidate {
    const fn new(to: SocketAddr, tier: Tier) -> Self {
        Self { to, tier, failures: 0, rests_until: Instant::ZERO }
    }
}

/// Whether anybody could be there.
const fn is_a_place(to: SocketAddr) -> bool {
    let ip = to.ip();
    !ip.is_unspecified() && !ip.is_multicast() && to.port() != 0
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;

    const NOW: Instant = Instant::from_micros(1_000_000);

    fn address(host: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, host], port).into()
    }

    fn order(candidates: &mut Candidates) -> Vec<SocketAddr> {
        let mut tried = Vec::new();
        while let Some(next) = candidates.next(NOW, |to| tried.contains(&to)) {
            tried.push(next);
        }
        tried
    }

    /// Attack A1: whoever answers first is not tried before who is vouched for.
    #[test]
    fn proven_comes_before_configured_and_that_before_hints() {
        let mut candidates = Candidates::new();
        assert!(candidates.hint(NOW, address(9, 1), address(9, 0).ip()));
        candidates.configure(&[address(1, 1), address(2, 1)]);
        candidates.prove(address(3, 1));
        assert_eq!(order(&mut candidates), [address(3, 1), address(1, 1), address(2, 1), address(9, 1)]);
    }

    #[test]
    fn a_flood_of_hints_pushes_out_nothing_and_waits_behind_other_sources() {
        let mut candidates = Candidates::new();
        let flood = |candidates: &mut Candidates, host: u8| {
            (0..500).filter(|port| candidates.hint(NOW, address(host, *port), address(host, 0).ip())).count()
        };
        assert_eq!(flood(&mut candidates, 66), MAX_HINTS_A_SOURCE);
        assert!(candidates.hint(NOW, address(5, 1), address(5, 0).ip()));
        let others: usize = (100..200).map(|host| flood(&mut candidates, host)).sum();
        assert_eq!(MAX_HINTS_A_SOURCE + 1 + others, MAX_CANDIDATES);
        candidates.prove(address(3, 1));
        let order = order(&mut candidates);
        assert_eq!(order.len(), MAX_CANDIDATES + 1);
        assert_eq!(order[0], address(3, 1));
        assert!(order[..4].contains(&address(5, 1)), "{:?}", &order[..4]);
    }

    #[test]
    fn a_bad_hint_rests_for_a_minute_and_a_proof_ends_it() {
        let mut candidates = Candidates::new();
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let (to, source) = (address(9, 1), address(9, 0).ip());
        assert!(candidates.hint(NOW, to, source));
        candidates.failed(NOW, to, &mut rng);
        assert_eq!(candidates.next_due(|_| false), None);
        assert!(!candidates.hint(NOW + Duration::from_secs(59), to, source));
        candidates.prove(to);
        assert_eq!(candidates.next(NOW, |_| false), Some(to));
        candidates.failed(NOW, to, &mut rng);
        assert!(candidates.next_due(|_| false).is_some_and(|due| due <= NOW + FIRST_REST), "vouched for");
        let mut floods = Candidates::new();
        for port in 0..2_000 {
            let _ = floods.hint(NOW, address(9, port), source);
            floods.failed(NOW, address(9, port), &mut rng);
        }
        assert_eq!(floods.bad.len(), MAX_BAD);
    }
}
