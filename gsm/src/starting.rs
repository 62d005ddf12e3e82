//! Start and restart: a new term each time, durable before a word is said.

use keytree::Join as TreeJoin;
use member::Activation;
use protocol::{Budget, Epoch, Inst, Instant, SenderId, SubgroupId, Term};

use crate::event::GsmEvent;
use crate::gsm::{Gsm, Timer};
use crate::journal::{JoinedEntry, JournalEntry};
use crate::key_manager::KeyManager;
use crate::member_list::{Listed, MemberList, Standing};
use crate::policy::Policy;
use crate::promised::Promised;
use crate::remembered::Remembered;

impl Gsm {
    /// Begins a start with what is remembered; `now` is when.
    pub(crate) fn begin(&mut self, now: Instant, remembered: Remembered) {
        let Remembered { ledger, doubtful, since_snapshot, .. } = remembered;
        let promised = Promised::of(&self.config, self.signer.0.public_key());
        let before = ledger.start.as_ref().map(|start| (start.subgroup, start.promised == promised));
        let members = ledger.members.len().saturating_sub(1);
        self.ledger = ledger;
        self.since_snapshot = since_snapshot;
        match before {
            Some((subgroup, true)) if !doubtful => self.config.subgroup = subgroup,
            Some(_) => self.config.subgroup = SubgroupId(self.rng.0.next_u64()),
            None => {}
        }
        let term = Term(self.ledger.term.0.saturating_add(1));
        self.take_office(term, promised);
        if before.is_some() {
            self.outbox.tell_after(self.started, GsmEvent::Resumed { members, term });
        }
        self.serve(now);
    }

    /// A new start of the subgroup in the configuration: recorded, and everything of an earlier start forgotten.
    fn take_office(&mut self, term: Term, promised: Promised) {
        self.inst = self.fresh_inst();
        self.domain.subgroup = self.config.subgroup;
        self.own = SenderId::issue(self.inst, 1);
        self.issued = 1;
        let entry = JournalEntry::Started {
            subgroup: self.domain.subgroup,
            term,
            inst: self.inst,
            promised: Box::new(promised),
        };
        self.started = self.record(entry);
        self.keys = KeyManager::new(self.domain, self.config.degree, term, self.inst, self.ledger.leaf_steps);
        self.policy = Policy::new(self.domain, &*self.signer.0);
        self.members = MemberList::new();
        self.activation = Activation::new(self.domain, self.own, self.config.timing);
        self.prefilters = [(Epoch(0), crypto::Secret::random(&mut *self.rng.0))].into();
        let remembered: Vec<_> = self.ledger.revocations.list.clone();
        for revocation in remembered {
            self.policy.revoke(revocation, &*self.signer.0);
        }
        let members: Vec<_> = self.ledger.members.values().cloned().collect();
        members.into_iter().for_each(|entry| self.restore(entry));
    }

    /// 64 random bits of which the upper half names no start that a remembered registration came from.
    fn fresh_inst(&mut self) -> Inst {
        loop {
            let inst = Inst(self.rng.0.next_u64());
            let prefix = SenderId::issue(inst, 0).0;
            if self.ledger.members.values().all(|member| member.sender.0 >> 32 != prefix >> 32) {
                return inst;
            }
        }
    }

    /// A registration of an earlier start: in with the first cut.
    fn restore(&mut self, entry: JoinedEntry) {
        if self.policy.is_revoked(&entry.identity, &entry.certificate) {
            return;
        }
        self.keys.join(TreeJoin {
            reg_no: entry.reg_no,
            leaf: entry.leaf.clone(),
            leaf_steps: entry.leaf_steps,
        });
        if entry.eligible {
            self.policy.add_eligible(entry.sender, entry.signing, &*self.signer.0);
        }
        self.members.insert(Listed::of(&entry, Instant::ZERO));
    }

    /// The manager serves: its own node is in, the first key update is cut.
    fn serve(&mut self, now: Instant) {
        self.enlist_own_node(now);
        self.timers.set(Timer::Expiry, now + self.config.timing.keepalive);
        self.timers.set(Timer::Refresh, now + self.config.timing.refresh);
        self.cut(now);
    }
}

impl Listed {
    /// The list entry of a registration, heard at `now`.
    pub(crate) fn of(entry: &JoinedEntry, now: Instant) -> Self {
        Self {
            reg_no: entry.reg_no,
            sender: entry.sender,
            identity: entry.identity.clone(),
            certificate: entry.certificate,
            signing: entry.signing,
            exchange: entry.exchange,
            eligible: entry.eligible,
            standing: Standing::Pending,
            heard: now,
            held: None,
            address: None,
            unicast: entry.unicast.clone(),
            counter: 0,
            resynced: 0,
            resync_answers: Budget::new(1, 2),
        }
    }
}
