//! Who was evicted from the group: what the node knows of it, and how it learns the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use crypto::{PublicKey, Signature};
use protocol::limits::{MAX_REVOCATIONS, MAX_REVOCATIONS_A_PACKET, RESYNC_INTERVAL};
use protocol::{
    Alarm, Domain, Gate, Instant, Rejected, Revocation, RosterVersion, SignedRevocation, policy_digest,
};
use rand_core::CryptoRng;

use crate::registration::jitter;

/// The rest after the manager's whole list did not fit what its alarm says.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// Unanswered requests after which the member rests as well.
const MAX_UNANSWERED: u32 = 5;

/// Managers before the newest one whose word on a revocation is kept.
const MAX_WORDS_BEFORE: usize = 4;

/// How a revocation came, which says how new it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// At this place of the manager's list, oldest first.
    Listed(u32),
    /// With the grant, among the newest of then.
    Granted,
    /// Multicast just now.
    Heard,
}

/// A manager's word.
type Word = (PublicKey, Signature);

#[derive(Clone, Debug)]
struct Entry {
    /// Its manager's word; `None` if this node was the manager.
    signed: Option<Word>,
    /// The words of managers before that one, newest last: each of them may come back with an old journal, and believes
    /// nobody but itself then.
    before: Vec<Word>,
    /// Greater is newer, as far as is known.
    age: u64,
}

impl Entry {
    /// This manager's word, whether or not it is the newest.
    fn word(&self, signer: &PublicKey) -> Option<Signature> {
        let words = self.before.iter().chain(&self.signed);
        words.filter(|(known, _)| known == signer).map(|(_, signature)| *signature).next()
    }

    /// Takes a newer word, and keeps the one before. Returns whether that changed anything.
    fn take(&mut self, word: Word) -> bool {
        if self.signed == Some(word) {
            return false;
        }
        self.before.retain(|(known, _)| *known != word.0);
        let before = self.signed.replace(word).filter(|(known, _)| *known != word.0);
        self.before.extend(before);
        if self.before.len() > MAX_WORDS_BEFORE {
            self.before.remove(0);
        }
        true
    }
}

/// The revocations of one group that this node knows. It outlives every membership.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    known: BTreeMap<Revocation, Entry>,
    /// Counts the changes; ages of what was heard come from it, and it tells a digest that is out of date.
    changes: u64,
}

impl Revocations {
    pub(crate) const fn new() -> Self {
        Self { known: BTreeMap::new(), changes: 0 }
    }

    /// Whether a node of this identity or with this certificate was evicted.
    pub(crate) fn shut_out(&self, identity: &str, certificate: &[u8; 32]) -> bool {
        if self.known.is_empty() {
            return false;
        }
        let identity = Revocation::identity_hash(identity);
        self.known.keys().any(|known| known.identity == identity || known.certificate == *certificate)
    }

    /// Adds what this node knew when it was manager itself.
    pub(crate) fn add(&mut self, revocation: Revocation) {
        self.insert(revocation, None, Origin::Granted);
    }

    /// Adds one that `signer` was found to have signed.
    pub(crate) fn learn(&mut self, signer: PublicKey, signed: &SignedRevocation, origin: Origin) {
        self.insert(signed.revocation, Some((signer, signed.signature)), origin);
    }

    /// Whether it is known as `signer`'s word.
    pub(crate) fn holds(&self, signer: &PublicKey, revocation: &Revocation) -> bool {
        self.known.get(revocation).and_then(|entry| entry.signed).is_some_and(|(known, _)| known == *signer)
    }

    /// How many there are of this signer.
    pub(crate) fn count(&self, signer: &PublicKey) -> usize {
        self.known.values().filter(|entry| entry.signed.is_some_and(|(known, _)| known == *signer)).count()
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Revocation> {
        self.known.keys()
    }

    /// The newest that this signer has ever signed, newest first, for the signer that may have lost them. Another manager may
    /// have signed them since.
    pub(crate) fn newest(&self, signer: &PublicKey, most: usize) -> Vec<SignedRevocation> {
        let mut newest: Vec<_> = self
            .known
            .iter()
            .filter_map(|(revocation, entry)| {
                let signature = entry.word(signer)?;
                Some((entry.age, SignedRevocation { revocation: *revocation, signature }))
            })
            .collect();
        newest.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
        newest.truncate(most);
        newest.into_iter().map(|(_, signed)| signed).collect()
    }

    /// All of this signer.
    pub(crate) fn by<'a>(&'a self, signer: &'a PublicKey) -> impl Iterator<Item = SignedRevocation> + 'a {
        self.known.iter().filter_map(move |(revocation, entry)| {
            let (_, signature) = entry.signed.filter(|(known, _)| known == signer)?;
            Some(SignedRevocation { revocation: *revocation, signature })
        })
    }

    /// Grows with every change.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The digest an alarm carries whose manager knows exactly what it has told this node.
    fn digest(&self, domain: &Domain, signer: &PublicKey, roster: RosterVersion) -> [u8; 16] {
        let told =
            self.known.iter().filter(|(_, entry)| entry.signed.is_some_and(|(known, _)| known == *signer));
        policy_digest(domain, roster, told.map(|(revocation, _)| revocation))
    }

    fn insert(&mut self, revocation: Revocation, signed: Option<Word>, origin: Origin) {
        let age = match origin {
            Origin::Listed(place) => u64::from(place),
            Origin::Granted => 1 << 32,
            Origin::Heard => (1 << 33) + self.changes,
        };
        let room = self.known.len() < MAX_REVOCATIONS;
        match self.known.get_mut(&revocation) {
            Some(entry) => {
                if signed.is_some_and(|word| entry.take(word)) {
                    self.changes += 1;
                }
                entry.age = entry.age.max(age);
            }
            None if room => {
                self.known.insert(revocation, Entry { signed, before: Vec::new(), age });
                self.changes += 1;
            }
            None => {}
        }
    }
}

/// How far the member is with asking for what it lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing is lacking, as far as is known.
    Idle,
    /// It asks from this place of the manager's list on, at the due instant.
    Asking { next: u32, whole: bool, nonce: Option<u64>, unanswered: u32 },
    /// The manager's list does not fit its alarm; that is its fault, and asking again helps little.
    GivenUp { until: Instant },
}

/// Catching up with the manager's list when its alarm names another digest than the member's own.
#[derive(Debug)]
pub(crate) struct CatchUp {
    domain: Domain,
    manager: PublicKey,
    stage: Stage,
    due: Option<Instant>,
    /// What the newest alarm named.
    named: Option<(RosterVersion, [u8; 16])>,
    /// The own digest as of a number of changes, so that not every alarm costs one.
    own: Option<(RosterVersion, u64, [u8; 16])>,
}

impl CatchUp {
    pub(crate) const fn new(domain: Domain, manager: PublicKey) -> Self {
        Self { domain, manager, stage: Stage::Idle, due: None, named: None, own: None }
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the list is what the newest alarm said.
    pub(crate) fn is_whole(&self) -> bool {
        self.named.is_some() && self.stage == Stage::Idle
    }

    /// A verified alarm. The first request waits a random time, since everybody who missed the same message asks, and
    /// since the message may only be late.
    pub(crate) fn on_alarm(
        &mut self,
        now: Instant,
        alarm: &Alarm,
        list: &Revocations,
        rng: &mut dyn CryptoRng,
    ) {
        self.named = Some((alarm.roster, alarm.policy));
        if self.fits(list) {
            self.rest(Stage::Idle);
            return;
        }
        match self.stage {
            Stage::Asking { .. } => return,
            Stage::GivenUp { until } if now < until => return,
            Stage::Idle | Stage::GivenUp { .. } => {}
        }
        let next = u32::try_from(list.count(&self.manager)).unwrap_or(u32::MAX);
        self.stage = Stage::Asking { next, whole: next == 0, nonce: None, unanswered: 0 };
        self.due = Some(now + jitter(rng, RESYNC_INTERVAL));
    }

    /// Called when it is due: the nonce and the place to ask with, if there is anything to ask.
    pub(crate) fn on_due(&mut self, now: Instant) -> Option<(u64, u32)> {
        self.due = None;
        let Stage::Asking { next, nonce, unanswered, .. } = &mut self.stage else { return None };
        *unanswered += 1;
        if *unanswered > MAX_UNANSWERED {
            self.rest(Stage::GivenUp { until: now + GIVEN_UP });
            return None;
        }
        *nonce = Some(now.micros());
        self.due = Some(now + RESYNC_INTERVAL);
        Some((now.micros(), *next))
    }

    /// A part of the manager's list came. What of it is not the manager's word is passed over.
    pub(crate) fn on_page(
        &mut self,
        now: Instant,
        (nonce, from): (u64, u32),
        page: &[SignedRevocation],
        gate: &Gate,
        list: &mut Revocations,
    ) -> Result<(), Rejected> {
        let Stage::Asking { next, whole, nonce: asked, unanswered } = &mut self.stage else {
            return Err(Rejected::OutOfPlace);
        };
        if *asked != Some(nonce) || *next != from {
            return Err(Rejected::OutOfPlace);
        }
        for (signed, place) in page.iter().zip(from..) {
            if list.holds(&self.manager, &signed.revocation) || gate.is_genuine(signed) {
                list.learn(self.manager, signed, Origin::Listed(place));
            }
        }
        *unanswered = 0;
        *next = from.saturating_add(u32::try_from(page.len()).unwrap_or(u32::MAX));
        let ended = page.len() < MAX_REVOCATIONS_A_PACKET
            || usize::try_from(*next).is_ok_and(|next| next >= MAX_REVOCATIONS);
        if ended && !*whole {
            // The order may be another than when the member counted: all of it, then.
            (*next, *whole, *asked) = (0, true, None);
        } else if ended {
            self.rest(Stage::GivenUp { until: now + GIVEN_UP });
        }
        if self.fits(list) {
            self.rest(Stage::Idle);
        }
        Ok(())
    }

    /// Whether the list is what the newest alarm says.
    fn fits(&mut self, list: &Revocations) -> bool {
        let Some((roster, named)) = self.named else { return true };
        let own = match self.own {
            Some((of, changes, digest)) if (of, changes) == (roster, list.changes) => digest,
            _ => list.digest(&self.domain, &self.manager, roster),
        };
        self.own = Some((roster, list.changes, own));
        own == named
    }

    const fn rest(&mut self, stage: Stage) {
        self.stage = stage;
        self.due = None;
    }
}
