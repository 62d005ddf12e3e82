//! Who has held every leaf secret, and when a renewal is due because such a node is out (DESIGN: failover).

use std::collections::{BTreeSet, VecDeque};

use crypto::{ExchangeSecret, PublicKey, Secret};
use protocol::{Domain, GroupId, Malformed, Reader, Revocation, SenderId, Writer};

use super::{Flaw, Ledger, bounded};
use crate::journal::JoinedEntry;

/// Former managers remembered: the newest ones.
const MAX_FORMER: usize = 16;
/// Registrations and identities that are trusted or exposed; no more than there are places in the tree.
const MAX_TRUSTED: usize = 65_536;

/// A node that managed the subgroup before this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Former {
    /// It signed with this key; what it signed about evictions still counts.
    pub(crate) key: PublicKey,
    /// Its identity, by [`Revocation::identity_hash`].
    pub(crate) identity: [u8; 32],
    /// Its certificate.
    pub(crate) certificate: [u8; 32],
    /// There was no renewal since: it knows every leaf secret.
    pub(crate) holds: bool,
    /// It has not come back as a member yet.
    pub(crate) away: bool,
}

/// The nodes that know every leaf secret, or have known them since the last renewal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Trusted {
    /// Members that follow or have followed the manager, or managed before.
    pub(crate) members: BTreeSet<SenderId>,
    /// Identities, hashed, of those of them that are members no more: a renewal is due, unless they have just registered
    /// again.
    pub(crate) exposed: BTreeSet<[u8; 32]>,
    /// Newest last.
    pub(crate) former: VecDeque<Former>,
}

impl Trusted {
    /// A member will be told everything.
    pub(super) fn on_trusted(&mut self, sender: SenderId) {
        self.members.insert(sender);
    }

    /// A registration ended.
    pub(super) fn on_departed(&mut self, gone: &JoinedEntry) {
        if self.members.remove(&gone.sender) {
            self.exposed.insert(Revocation::identity_hash(&gone.identity));
        }
    }

    /// A node registered. What it held before, it still holds.
    pub(super) fn on_joined(&mut self, joined: &JoinedEntry) {
        let identity = Revocation::identity_hash(&joined.identity);
        let mut holds = self.exposed.remove(&identity);
        for former in self.former.iter_mut().filter(|former| former.identity == identity) {
            holds |= former.holds;
            former.away = false;
        }
        if holds {
            self.members.insert(joined.sender);
        }
    }

    /// Another manager follows the one that signed with `key`; `gone` is that one's own registration.
    pub(super) fn on_succeeded(&mut self, key: PublicKey, gone: Option<&JoinedEntry>) {
        let identity = gone.map_or([0; 32], |gone| Revocation::identity_hash(&gone.identity));
        let certificate = gone.map_or([0; 32], |gone| gone.certificate);
        if let Some(gone) = gone {
            self.members.remove(&gone.sender);
        }
        self.former.push_back(Former { key, identity, certificate, holds: true, away: true });
        if self.former.len() > MAX_FORMER
            && let Some(oldest) = self.former.pop_front()
            && oldest.holds
            && oldest.away
        {
            self.exposed.insert(oldest.identity);
        }
    }

    /// The manager itself is not on the list.
    pub(super) fn on_office(&mut self, own: SenderId) {
        self.members.remove(&own);
    }

    /// All secrets are new: who is out knows none of them.
    fn on_renewed(&mut self) {
        self.exposed.clear();
        self.former.iter_mut().for_each(|former| (former.holds, former.away) = (false, false));
    }

    /// Former managers that may still come back as members, and know every leaf secret.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &Former> {
        self.former.iter().filter(|former| former.holds && former.away)
    }

    /// Bytes of [`Trusted::encode`].
    pub(crate) fn encoded_len(&self) -> usize {
        16 + 8 * self.members.len() + 32 * self.exposed.len() + 98 * self.former.len()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u32(super::count(self.members.len()));
        self.members.iter().for_each(|sender| {
            writer.sender(*sender);
        });
        writer.u32(super::count(self.exposed.len()));
        self.exposed.iter().for_each(|identity| {
            writer.bytes(identity);
        });
        writer.u32(super::count(self.former.len()));
        for Former { key, identity, certificate, holds, away } in &self.former {
            writer.bytes(&key.0).bytes(identity).bytes(certificate).bool(*holds).bool(*away);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut trusted = Self::default();
        for _ in 0..bounded(reader.u32()?, MAX_TRUSTED, "trusted members")? {
            trusted.members.insert(reader.sender()?);
        }
        for _ in 0..bounded(reader.u32()?, MAX_TRUSTED, "exposed identities")? {
            trusted.exposed.insert(reader.array()?);
        }
        for _ in 0..bounded(reader.u32()?, MAX_FORMER, "former managers")? {
            trusted.former.push_back(Former {
                key: PublicKey(reader.array()?),
                identity: reader.array()?,
                certificate: reader.array()?,
                holds: reader.bool()?,
                away: reader.bool()?,
            });
        }
        Ok(trusted)
    }
}

impl Ledger {
    /// Moves every secret on. A member whose X25519 key agrees on nothing is out: anybody could follow its secrets.
    pub(super) fn renewed(&mut self, group: GroupId, number: u16, secret: &Secret<32>) -> Result<(), Flaw> {
        let start = self.start.as_ref().ok_or(Flaw::Impossible("a renewal before the manager's start"))?;
        if self.renewals.checked_add(1) != Some(number) {
            return Err(Flaw::Impossible("a renewal that does not follow on the one before"));
        }
        let domain = Domain { suite: start.promised.suite, group, subgroup: start.subgroup };
        let key = ExchangeSecret::from_bytes(secret.clone());
        let mut unfit = Vec::new();
        for member in self.members.values_mut() {
            match domain.renew(number, &key, &member.exchange, (&member.leaf, &member.unicast)) {
                Some(renewed) => (member.leaf, member.unicast) = renewed,
                None => unfit.push(member.sender),
            }
        }
        for sender in unfit {
            self.take(sender);
            self.trusted.members.remove(&sender);
        }
        self.renewals = number;
        self.trusted.on_renewed();
        Ok(())
    }
}
