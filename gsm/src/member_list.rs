//! The members of a subgroup as their manager knows them (the member list of GSM 2.1's DB).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crypto::{ExchangePublic, PublicKey, Secret};
use protocol::{Budget, Instant, RegNo, SenderId, StateId};

use crate::answering::Asked;

/// Where a registration stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Admitted; the next key update lets it in.
    Pending,
    /// In: it holds the group key.
    In,
    /// Out with the next key update.
    Leaving,
}

/// One registration.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its leaf.
    pub reg_no: RegNo,
    /// The registration.
    pub sender: SenderId,
    /// The name in its certificate.
    pub identity: String,
    /// SHA-256 of its certificate.
    pub certificate: [u8; 32],
    /// Its signing key.
    pub signing: PublicKey,
    /// Its X25519 key.
    pub exchange: ExchangePublic,
    /// Whether its certificate allows it to act as manager.
    pub eligible: bool,
    /// Where it stands.
    pub standing: Standing,
    /// When it was last heard.
    pub heard: Instant,
    /// The state it said it holds.
    pub held: Option<StateId>,
    /// Its unicast address, as its last keepalive came from there.
    pub address: Option<SocketAddr>,
    pub(crate) unicast: Secret<32>,
    pub(crate) counter: u64,
    /// The nonce of the newest resync request that was answered, and what answers are left to it.
    pub(crate) resynced: u64,
    pub(crate) resync_answers: Budget,
    /// The same for requests for revocations.
    pub(crate) caught_up: u64,
    pub(crate) catch_up_answers: Budget,
    /// The same for everything else it may ask.
    pub(crate) asked: Asked,
}

impl Listed {
    /// Whether it is not on its way out.
    pub(crate) fn is_live(&self) -> bool {
        self.standing != Standing::Leaving
    }
}

/// All registrations of a subgroup, by leaf, with the ways to find one by sender id and by identity.
#[derive(Debug, Default)]
pub(crate) struct MemberList {
    by_reg_no: BTreeMap<RegNo, Listed>,
    by_sender: BTreeMap<SenderId, RegNo>,
    by_identity: BTreeMap<String, SenderId>,
}

impl MemberList {
    pub(crate) const fn new() -> Self {
        Self { by_reg_no: BTreeMap::new(), by_sender: BTreeMap::new(), by_identity: BTreeMap::new() }
    }

    /// Adds a registration. The caller has ended an older one of the same identity.
    pub(crate) fn insert(&mut self, listed: Listed) {
        self.by_sender.insert(listed.sender, listed.reg_no);
        self.by_identity.insert(listed.identity.clone(), listed.sender);
        self.by_reg_no.insert(listed.reg_no, listed);
    }

    /// Takes a registration off the list.
    pub(crate) fn remove(&mut self, sender: SenderId) -> Option<Listed> {
        let reg_no = self.by_sender.remove(&sender)?;
        let listed = self.by_reg_no.remove(&reg_no)?;
        if self.by_identity.get(&listed.identity) == Some(&sender) {
            self.by_identity.remove(&listed.identity);
        }
        Some(listed)
    }

    pub(crate) fn get(&self, sender: SenderId) -> Option<&Listed> {
        self.by_reg_no.get(self.by_sender.get(&sender)?)
    }

    pub(crate) fn get_mut(&mut self, sender: SenderId) -> Option<&mut Listed> {
        self.by_reg_no.get_mut(self.by_sender.get(&sender)?)
    }

    /// Nobody has had an occasion to be heard before `now`.
    pub(crate) fn heard_all(&mut self, now: Instant) {
        self.by_reg_no.values_mut().for_each(|listed| listed.heard = now);
    }

    /// The live registration of an identity; one that is leaving does not count.
    pub(crate) fn live(&self, identity: &str) -> Option<&Listed> {
        let listed = self.get(*self.by_identity.get(identity)?)?;
        (listed.standing != Standing::Leaving).then_some(listed)
    }

    /// The newest registration of an identity, leaving or not.
    pub(crate) fn newest(&self, identity: &str) -> Option<&Listed> {
        self.get(*self.by_identity.get(identity)?)
    }

    /// Whether a leaf is taken by a registration, cut or not.
    pub(crate) fn holds(&self, reg_no: RegNo) -> bool {
        self.by_reg_no.contains_key(&reg_no)
    }

    /// All registrations, by leaf.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.by_reg_no.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_reg_no.len()
    }
}
