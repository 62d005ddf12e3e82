//! From JOIN to ADMITTED, at the manager (GSM 3.2).

use crypto::Secret;
use keytree::Join as TreeJoin;
use protocol::{
    ConnId, Credential, Frame, Grant, Instant, Join, Peer, Refusal, RegNo, Rejected, SenderId, Transmit,
};

use crate::event::{Departure, GsmEvent};
use crate::gsm::Gsm;
use crate::journal::{JoinedEntry, JournalEntry};
use crate::member_list::Listed;
use crate::registrar::{Offer, Request, manager_confirmation};

impl Gsm {
    /// A frame of a registration came.
    pub(crate) fn on_frame(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> Result<(), Rejected> {
        match self.registrar.on_frame(conn, bytes, &self.rules())? {
            Request::Offer(join) => self.offer(conn, join),
            Request::Admit(offer) => self.admit(now, conn, *offer),
            Request::TakeOver(handover) => self.take_over(now, conn, handover),
            Request::Follow(follow) => self.on_follow(now, conn, follow),
            Request::Refuse(why) => self.refuse(conn, why),
        }
        Ok(())
    }

    /// Offers a place, once the manager's own start is durable. Nothing of the offer is recorded: a leaf that is not
    /// confirmed is given to the next who asks.
    pub(crate) fn offer(&mut self, conn: ConnId, join: Join) {
        if let Some(starting) = &mut self.starting {
            self.registrar.waits(conn);
            starting.keep(conn, join);
            return;
        }
        let Some(peer) = self.registrar.peer(conn).cloned() else { return };
        let (Some(reg_no), Some(count)) = (self.free_leaf(), self.issued.checked_add(1)) else {
            self.refuse(conn, Refusal::Full);
            return;
        };
        self.issued = count;
        let sender = SenderId::issue(self.inst, count);
        let Some(grant) = self.grant(&join, &peer, reg_no, sender) else {
            self.refuse(conn, Refusal::Full);
            return;
        };
        let keys = self.domain.registration(&peer.channel, self.inst, reg_no);
        let offer = Offer { join, grant, keys };
        let confirm = manager_confirmation(&offer);
        let frame = Frame::Grant(Box::new(offer.grant.clone()), confirm);
        self.registrar.offered(conn, offer);
        // Nobody hears of an eviction that a crash could undo.
        let commit = self.started.max(self.revoked);
        self.outbox.send_after(commit, Transmit::Frame { conn, bytes: frame.encode() });
    }

    fn grant(&self, join: &Join, peer: &Peer, reg_no: RegNo, sender: SenderId) -> Option<Grant> {
        let signer = &*self.signer.0;
        let state = self.keys.state();
        Some(Grant {
            domain: self.domain,
            state,
            reg_no,
            sender,
            tree: self.keys.tree().tree_id(),
            degree: self.config.degree,
            leaf_steps: self.keys.tree().leaf_steps(),
            manager: signer.public_key(),
            control: self.config.control,
            data: self.config.data,
            manager_address: self.config.address,
            ttl: self.config.ttl,
            timing: self.config.timing,
            credential: Credential::sign(&self.domain, sender, join.signing, peer.roles.manager, signer),
            roster: self.policy.roster().clone(),
            revocations: self.policy.newest_revocations(),
            prefilter: self.prefilters.get(&state.epoch)?.clone(),
        })
    }

    /// Both sides have confirmed: make it durable, then tell. An older registration of the same identity ends.
    fn admit(&mut self, now: Instant, conn: ConnId, offer: Offer) {
        let Some(peer) = self.registrar.peer(conn).cloned() else { return };
        if let Some(older) = self.members.live(&peer.identity).map(|listed| listed.sender) {
            if older == self.own {
                self.refuse(conn, Refusal::Denied);
                return;
            }
            self.depart(older, Departure::Replaced);
        }
        self.registrar.admitted(now, conn);
        let Offer { join, grant, keys } = offer;
        let entry = JoinedEntry {
            reg_no: grant.reg_no,
            sender: grant.sender,
            identity: peer.identity.clone(),
            certificate: peer.certificate,
            signing: join.signing,
            exchange: join.exchange,
            eligible: peer.roles.manager,
            leaf: keys.leaf,
            leaf_steps: grant.leaf_steps,
            unicast: keys.unicast,
        };
        let first = self.keys.tree().members() <= 1;
        let commit = self.enlist(now, entry);
        self.outbox.send_after(commit, Transmit::Frame { conn, bytes: Frame::Admitted.encode() });
        self.outbox.tell_after(
            commit,
            GsmEvent::Admitted { identity: peer.identity, reg_no: grant.reg_no, sender: grant.sender },
        );
        if first { self.cut(now) } else { self.schedule_cut(now) }
    }

    /// Says no, and why; both sides can tell their operators.
    pub(crate) fn refuse(&mut self, conn: ConnId, why: Refusal) {
        self.outbox.send(Transmit::Frame { conn, bytes: Frame::Refused(why).encode() });
        self.outbox.send(Transmit::Close { conn });
        if let Some(peer) = self.registrar.forget(conn) {
            self.outbox.tell(GsmEvent::Refused { identity: peer.identity, address: peer.address, why });
        }
    }

    /// Puts the manager's own node on the list, with a random leaf secret.
    pub(crate) fn enlist_own_node(&mut self, now: Instant) {
        let Some(reg_no) = self.free_leaf() else { return };
        let entry = JoinedEntry {
            reg_no,
            sender: self.own,
            identity: self.config.identity.clone(),
            certificate: self.config.certificate,
            signing: self.config.signing,
            exchange: self.config.exchange,
            eligible: true,
            leaf: Secret::random(&mut *self.rng.0),
            leaf_steps: self.keys.tree().leaf_steps(),
            unicast: Secret::random(&mut *self.rng.0),
        };
        self.enlist(now, entry);
    }

    /// Records a registration, puts it on the member list, and has it let in by the next cut.
    fn enlist(&mut self, now: Instant, entry: JoinedEntry) -> protocol::Commit {
        let join = TreeJoin { reg_no: entry.reg_no, leaf: entry.leaf.clone(), leaf_steps: entry.leaf_steps };
        let listed = Listed::of(&entry, now);
        if entry.eligible {
            self.policy.add_eligible(entry.sender, entry.signing, &*self.signer.0);
        }
        let commit = self.record(JournalEntry::Joined(Box::new(entry)));
        self.members.insert(listed);
        self.keys.join(join);
        commit
    }

    /// Registrations whose deadline is over.
    pub(crate) fn close_overdue(&mut self, now: Instant) {
        for conn in self.registrar.overdue(now) {
            self.registrar.forget(conn);
            self.outbox.forget(conn);
            self.outbox.send(Transmit::Close { conn });
        }
    }
}
