//! Two managers of one subgroup become one (DESIGN: partition and merge; attack A29): after a partition, or where the old
//! manager could not be shown in time that it was taken over from.
//!
//! The winner takes over whom the other one has evicted and who has left there, and begins a new term, so that nothing of
//! either side opens it. The loser signs that the winner follows it. So members of both stay where they are; who registered
//! on the loser's side alone registers again.

use std::collections::BTreeSet;

use protocol::limits::MAX_HANDED;
use protocol::{
    Epoch, Farewell, Handover, Instant, Office, SenderId, StateId, SubgroupId, Takeover, Transmit,
};

use crate::event::Departure;
use crate::gsm::Gsm;
use crate::member_list::Listed;

/// What is handed over besides revocations, to a manager of the same subgroup, and what came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Estate {
    /// Whether the other one manages the same subgroup.
    same: bool,
    departed: Vec<SenderId>,
    /// Departures that were in a frame, or will be.
    named: BTreeSet<SenderId>,
    members: Vec<SenderId>,
    /// Members here whom the winner does not know.
    pub(super) strangers: BTreeSet<SenderId>,
    /// The winner's office, once it has begun its new term.
    pub(super) office: Option<Office>,
}

impl Estate {
    /// The next frame's worth of departures and members.
    pub(super) fn page(&mut self) -> (Vec<SenderId>, Vec<SenderId>) {
        let take = |list: &mut Vec<SenderId>| list.drain(..list.len().min(MAX_HANDED)).collect();
        (take(&mut self.departed), take(&mut self.members))
    }

    /// Who has departed since the attempt began is to be named as well.
    fn add(&mut self, departed: impl Iterator<Item = SenderId>) {
        if self.same {
            self.departed.extend(departed.filter(|sender| self.named.insert(*sender)));
        }
    }

    /// Whether everything was in a frame.
    pub(super) fn is_handed(&self) -> bool {
        self.departed.is_empty() && self.members.is_empty()
    }
}

impl Gsm {
    /// What a manager of that subgroup is handed; nothing if it is another one, where everybody registers anew.
    pub(super) fn estate_for(&self, subgroup: SubgroupId) -> Estate {
        if subgroup != self.domain.subgroup {
            return Estate::default();
        }
        let members = self.ledger.senders.keys().copied().filter(|sender| *sender != self.own).collect();
        let mut estate = Estate { same: true, members, ..Estate::default() };
        estate.add(self.ledger.departed.iter().copied());
        estate
    }

    /// Whether the other one knows everything: who has left here meanwhile was told that it is out.
    pub(super) fn is_estate_handed(&mut self) -> bool {
        self.merging.estate.add(self.ledger.departed.iter().copied());
        self.merging.estate.is_handed()
    }

    /// A part of what another manager of this subgroup hands over. Whose registration ended there is out here too, however
    /// lately it was heard. Returns whom nobody knows here.
    pub(super) fn take_estate(&mut self, now: Instant, handover: &Handover) -> Vec<SenderId> {
        let left = handover
            .departed
            .iter()
            .filter(|sender| **sender != self.own && self.members.get(**sender).is_some_and(Listed::is_live));
        let left: Vec<_> = left.copied().collect();
        for sender in left {
            self.depart(sender, Departure::Left);
        }
        if self.keys.has_pending() {
            self.schedule_cut(now);
        }
        let known = |sender: &SenderId| self.ledger.member(*sender).is_some();
        handover.members.iter().filter(|sender| !known(sender)).copied().collect()
    }

    /// All of it is here: a new term, above the other one's, in which everybody of both sides is who is known here.
    ///
    /// It renews the leaf secrets: whom the other one has let stand by, and has put out, is not known here, and knows them.
    ///
    /// One that hands everything over again, because a slow store kept it waiting for the answer, is told of the term that
    /// was begun for it, unless anything was new: with a term of its own each time it would wait for ever.
    pub(super) fn begin_common_term(&mut self, now: Instant, handover: &Handover) -> Office {
        let theirs = handover.state.at(Epoch(0));
        let again = self.merging.joined == Some(theirs) && self.ledger.term > theirs.term;
        if !again || self.keys.has_pending() || self.keys.is_cutting() {
            self.tenure.overdue = true;
            self.begin_term(now);
            self.merging.joined = Some(theirs);
        }
        let registrars = self.config.presence.as_ref().map(|presence| &presence.registrars);
        let registrar = registrars.and_then(|registrars| registrars.first());
        Office {
            old: handover.state,
            start: StateId { term: self.ledger.term, inst: self.inst, epoch: Epoch(0) },
            key: self.signer.0.public_key(),
            sender: self.own,
            address: self.config.address,
            registrar: registrar.copied().unwrap_or(self.config.address),
        }
    }

    /// The loser's last words: the winner follows it; and to those whom the winner does not know, where to register.
    pub(super) fn say_who_follows(&mut self, office: Office, strangers: &BTreeSet<SenderId>) {
        let takeover = Takeover::handed(&self.domain, office, &*self.signer.0);
        let transmit = self.transmitter.multicast(takeover);
        self.outbox.send(transmit);
        let farewell = Farewell { subgroup: self.domain.subgroup, registrar: office.registrar };
        let bytes = farewell.encode(&self.domain, &*self.signer.0);
        let strangers = strangers.iter().filter_map(|sender| self.members.get(*sender)?.address);
        for to in strangers.collect::<Vec<_>>() {
            self.outbox.send(Transmit::Unicast { to, bytes: bytes.clone() });
        }
    }
}
