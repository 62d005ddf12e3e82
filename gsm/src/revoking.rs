//! Who must never come back: evictions, revocations of nodes that are no members, and how members learn of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::{Instant, Rejected, Revocation, SenderId, StateId, ToMember, encode_revocations};

use crate::event::{Departure, GsmEvent};
use crate::gsm::Gsm;
use crate::journal::JournalEntry;
use crate::member_list::{Listed, Standing};
use crate::operator::RequestError;
use crate::policy::NO_CERTIFICATE;
use crate::rekeying::ANNOUNCEMENTS;

impl Gsm {
    /// Puts a member out for good and cuts at once (GSM 3.5), also one that is leaving by itself. Returns the state
    /// from which on it is out: the eviction is durable and its key update has gone out when [`GsmEvent::Rekeyed`]
    /// tells of that state or a later one.
    pub fn evict(&mut self, now: Instant, identity: &str) -> Result<StateId, RequestError> {
        self.replication.at(now);
        if self.merging.is_leaving() || self.handing.is_under_way() {
            return Err(RequestError::GivingWay);
        }
        if self.policy.is_full() {
            return Err(RequestError::TooManyRevocations);
        }
        // One that was evicted already is as good as gone.
        let revoked = |listed: &Listed| self.policy.is_revoked(&listed.identity, &listed.certificate);
        let listed = self
            .members
            .newest(identity)
            .filter(|listed| listed.standing != Standing::Leaving || !revoked(listed))
            .ok_or_else(|| RequestError::NoSuchMember(identity.to_owned()))?;
        if listed.sender == self.own {
            return Err(RequestError::OwnNode(identity.to_owned()));
        }
        self.depart(listed.sender, Departure::Evicted);
        Ok(self.rekey(now))
    }

    /// Shuts out an identity for good, member or not. A member is evicted, and the answer is what [`Gsm::evict`] says; for
    /// any other `None`, and [`GsmEvent::Revoked`] follows once it is durable. One that is shut out already stays so.
    pub fn revoke_identity(&mut self, now: Instant, identity: &str) -> Result<Option<StateId>, RequestError> {
        if identity == self.config.identity {
            return Err(RequestError::OwnNode(identity.to_owned()));
        }
        match self.evict(now, identity) {
            Ok(state) => return Ok(Some(state)),
            Err(RequestError::NoSuchMember(_)) => {}
            Err(other) => return Err(other),
        }
        let identity = Revocation::identity_hash(identity);
        let revocation = Revocation { identity, certificate: NO_CERTIFICATE };
        if !self.policy.is_revoked_identity(&identity) {
            self.adopt_revocations(&[revocation]);
        }
        Ok(None)
    }

    /// Records revocations, none of which was known, and has every member told. It puts no member out.
    pub(crate) fn adopt_revocations(&mut self, revocations: &[Revocation]) {
        self.policy.revoke_all(revocations, &*self.signer.0);
        for revocation in revocations {
            let commit = self.record(JournalEntry::Revoked { revocation: *revocation });
            (self.revoked, self.announcements) = (commit, ANNOUNCEMENTS);
            self.outbox.tell_after(commit, GsmEvent::Revoked { revocation: *revocation });
        }
        self.hasten_return();
    }

    /// Records that members are out who are shut out for good: the manager before did not know that, or the record of their
    /// eviction is missing. Otherwise they would keep their leaves in the journal, and what they know would not be renewed.
    pub(crate) fn put_out_revoked(&mut self, own: SenderId) {
        let known = &self.ledger.revocations.list;
        let identities: BTreeMap<_, _> = known.iter().map(|one| (one.identity, *one)).collect();
        let certified = known.iter().filter(|one| one.certificate != NO_CERTIFICATE);
        let certificates: BTreeMap<_, _> = certified.map(|one| (one.certificate, *one)).collect();
        let office = self.ledger.start.as_ref().map(|start| start.own);
        let others =
            self.ledger.members.values().filter(|one| one.sender != own && Some(one.sender) != office);
        let out = others.filter_map(|one| {
            let identity = Revocation::identity_hash(&one.identity);
            let why = identities.get(&identity).or_else(|| certificates.get(&one.certificate))?;
            Some(JournalEntry::Evicted { sender: one.sender, revocation: *why })
        });
        for entry in out.collect::<Vec<_>>() {
            self.record_always(entry);
        }
    }

    /// Multicasts the newest revocations if an eviction is new: once its record is durable, for what members know of and
    /// the journal does not is taken for a sign that the journal is old.
    pub(crate) fn announce_revocations(&mut self) {
        let Some(left) = self.announcements.checked_sub(1) else { return };
        self.announcements = left;
        let newest = self.policy.announced();
        if !newest.is_empty() {
            let transmit = self.transmitter.multicast(encode_revocations(&self.domain, &newest));
            self.outbox.send_after(self.revoked, transmit);
        }
    }

    /// A member does not know everybody who was evicted.
    pub(crate) fn on_catch_up(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: SenderId,
        nonce: u64,
        place: u32,
    ) -> Result<(), Rejected> {
        let listed = self.members.get_mut(sender).ok_or(Rejected::UnknownSender)?;
        // A recorded request, sent again from a forged address, would have the manager throw answers at somebody.
        if nonce <= listed.caught_up {
            return Err(Rejected::Stale);
        }
        if !listed.catch_up_answers.take(now) || !self.resync_answers.take(now) {
            return Err(Rejected::OverBudget);
        }
        listed.caught_up = nonce;
        let revocations = self.policy.page(place);
        let answer = ToMember::Revocations { nonce, from: place, revocations };
        self.answer(sender, from, &answer, Some(self.revoked));
        Ok(())
    }
}
