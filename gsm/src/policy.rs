//! The roster of eligible successors, the revocation list, and the digest of both.

use std::collections::{BTreeMap, BTreeSet};

use crypto::{PublicKey, Signer};
use protocol::limits::{
    MAX_GRANT_REVOCATIONS, MAX_REVOCATIONS, MAX_REVOCATIONS_A_PACKET, MAX_ROSTER, MAX_SUCCESSORS,
};
use protocol::{Domain, Revocation, Roster, RosterVersion, SenderId, SignedRevocation, policy_digest};

/// The certificate of a revocation whose node was never seen.
pub(crate) const NO_CERTIFICATE: [u8; 32] = [0; 32];

/// Who may succeed the manager, and who must never come back.
#[derive(Debug)]
pub(crate) struct Policy {
    domain: Domain,
    eligible: BTreeMap<SenderId, PublicKey>,
    roster: Roster,
    revocations: BTreeSet<Revocation>,
    /// The hashes of the revoked identities and certificates, either of which is enough.
    identities: BTreeSet<[u8; 32]>,
    certificates: BTreeSet<[u8; 32]>,
    /// The revocations in the order in which they came, newest last.
    recent: Vec<SignedRevocation>,
    digest: [u8; 16],
}

impl Policy {
    pub(crate) fn new(domain: Domain, signer: &dyn Signer) -> Self {
        let roster = Roster::sign(&domain, RosterVersion(0), Vec::new(), signer);
        let digest = policy_digest(&domain, roster.version, [].iter());
        Self {
            domain,
            eligible: BTreeMap::new(),
            roster,
            revocations: BTreeSet::new(),
            identities: BTreeSet::new(),
            certificates: BTreeSet::new(),
            recent: Vec::new(),
            digest,
        }
    }

    /// Begins a start: its subgroup, everybody revoked so far in the order in which it was recorded, and who is eligible
    /// among the members that are kept. Signs each revocation it has not signed yet, and the roster once.
    pub(crate) fn begin(
        &mut self,
        domain: Domain,
        revocations: &[Revocation],
        eligible: BTreeMap<SenderId, PublicKey>,
        signer: &dyn Signer,
    ) {
        self.domain = domain;
        self.roster = Roster::sign(&domain, RosterVersion(0), Vec::new(), signer);
        self.eligible = eligible;
        for revocation in revocations {
            self.add(*revocation, signer);
        }
        self.renew_roster(signer);
        self.renew_digest();
    }

    /// The digest that key updates and alarms carry.
    pub(crate) const fn digest(&self) -> [u8; 16] {
        self.digest
    }

    /// The signed roster.
    pub(crate) const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The first successors, in the order in which they would take over; the manager's own node is none.
    pub(crate) fn successors(&self, own: SenderId) -> Vec<SenderId> {
        let eligible = self.roster.eligible.iter().map(|(sender, _)| *sender);
        eligible.filter(|sender| *sender != own).take(MAX_SUCCESSORS).collect()
    }

    /// An eligible member came in; the roster is signed anew if it changes by that.
    pub(crate) fn add_eligible(&mut self, sender: SenderId, key: PublicKey, signer: &dyn Signer) {
        self.eligible.insert(sender, key);
        self.renew_roster(signer);
    }

    /// A member is out, eligible or not.
    pub(crate) fn remove_eligible(&mut self, sender: SenderId, signer: &dyn Signer) {
        if self.eligible.remove(&sender).is_some() {
            self.renew_roster(signer);
        }
    }

    /// Adds a revocation; it is never taken back. Returns whether it is a new one.
    pub(crate) fn revoke(&mut self, revocation: Revocation, signer: &dyn Signer) -> bool {
        let new = self.add(revocation, signer);
        if new {
            self.renew_digest();
        }
        new
    }

    /// The same for many at once: the digest is over the whole list, and is made once.
    pub(crate) fn revoke_all(&mut self, revocations: &[Revocation], signer: &dyn Signer) {
        let new = revocations.iter().filter(|revocation| self.add(**revocation, signer)).count();
        if new > 0 {
            self.renew_digest();
        }
    }

    /// Whether there is no room for one more.
    pub(crate) fn is_full(&self) -> bool {
        self.revocations.len() >= MAX_REVOCATIONS
    }

    /// Whether exactly this was revoked.
    pub(crate) fn knows(&self, revocation: &Revocation) -> bool {
        self.revocations.contains(revocation)
    }

    fn add(&mut self, revocation: Revocation, signer: &dyn Signer) -> bool {
        let new = self.revocations.insert(revocation);
        if new {
            self.identities.insert(revocation.identity);
            // An identity that was revoked unseen names no certificate.
            if revocation.certificate != NO_CERTIFICATE {
                self.certificates.insert(revocation.certificate);
            }
            self.recent.push(SignedRevocation::sign(self.domain.group, revocation, signer));
        }
        new
    }

    /// Whether a node of this identity or with this certificate was evicted.
    pub(crate) fn is_revoked(&self, identity: &str, certificate: &[u8; 32]) -> bool {
        self.is_revoked_node(&Revocation::identity_hash(identity), certificate)
    }

    /// The same by [`Revocation::identity_hash`].
    pub(crate) fn is_revoked_node(&self, identity: &[u8; 32], certificate: &[u8; 32]) -> bool {
        self.identities.contains(identity) || self.certificates.contains(certificate)
    }

    /// Whether a node of this identity was evicted; by [`Revocation::identity_hash`].
    pub(crate) fn is_revoked_identity(&self, identity: &[u8; 32]) -> bool {
        self.identities.contains(identity)
    }

    /// The newest revocations, ascending, for a grant.
    pub(crate) fn newest_revocations(&self) -> Vec<SignedRevocation> {
        let mut newest: Vec<_> = self.recent.iter().rev().take(MAX_GRANT_REVOCATIONS).copied().collect();
        newest.sort_unstable_by_key(|signed| signed.revocation);
        newest
    }

    /// All of them, in the order in which they came; new ones are added at the end.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = Revocation> {
        self.recent.iter().map(|signed| signed.revocation)
    }

    /// The newest revocations that fit a datagram, newest first.
    pub(crate) fn announced(&self) -> Vec<SignedRevocation> {
        self.recent.iter().rev().take(MAX_REVOCATIONS_A_PACKET).copied().collect()
    }

    /// A datagram's worth of revocations from a place of the list on; empty beyond its end.
    pub(crate) fn page(&self, from: u32) -> Vec<SignedRevocation> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        self.recent.iter().skip(from).take(MAX_REVOCATIONS_A_PACKET).copied().collect()
    }

    /// How many there are.
    pub(crate) fn revocations(&self) -> usize {
        self.revocations.len()
    }

    fn renew_roster(&mut self, signer: &dyn Signer) {
        let listed: Vec<_> =
            self.eligible.iter().take(MAX_ROSTER).map(|(sender, key)| (*sender, *key)).collect();
        if listed == self.roster.eligible {
            return;
        }
        let version = RosterVersion(self.roster.version.0 + 1);
        self.roster = Roster::sign(&self.domain, version, listed, signer);
        self.renew_digest();
    }

    fn renew_digest(&mut self) {
        self.digest = policy_digest(&self.domain, self.roster.version, self.revocations.iter());
    }
}
