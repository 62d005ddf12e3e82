//! From standby to manager: when the manager is lost, or hands its office on (DESIGN: failover).
//!
//! For a handover the standby first makes a start of its own durable while it is still a member, and goes on as manager
//! with the word that the other one is none any more. Without that word its journal says that it stepped down.

use std::sync::Arc;
use std::time::Duration;

use crypto::Signer;
use member::Promotion;
use protocol::limits::SUCCESSION_STAGGER;
use protocol::{
    Commit, ConnId, DatagramKind, Envelope, Epoch, Frame, Inst, Instant, OfficeTaken, Record, Rejected,
    SenderId, StateId, Succession, Suspicion, Takeover, Term, Transmit,
};

use super::event::{Mode, ParticipantEvent};
use super::inner::Inner;
use super::{ManagerConfig, Participant};
use crate::config::GsmConfig;
use crate::gsm::Gsm;
use crate::journal::{JournalEntry, LedgerBytes};
use crate::promised::Promised;
use crate::remembered::{Ledger, Remembered};
use crate::takeover::{Claim, Inheritance};

/// How long a start that was prepared waits for its warrant after the connection to the manager has ended: the signed
/// takeover may still come by multicast.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The manager is lost, and this node is one of those who may take over.
#[derive(Debug)]
pub(super) struct Loss {
    suspicions: Vec<Suspicion>,
    /// Its turn.
    due: Instant,
}

/// A start that was made durable at the manager's word.
#[derive(Debug)]
pub(super) struct Prepared {
    start: StateId,
    conn: ConnId,
    /// Its record; whether the manager was told that it is durable.
    commit: Commit,
    told: bool,
    /// When it is dropped, once the connection has ended.
    ends: Option<Instant>,
}

impl Participant {
    /// The member half holds its manager for lost.
    pub(super) fn on_manager_lost(&mut self, suspicions: Vec<Suspicion>) {
        let following = self.follows();
        let turn = following.and_then(|following| self.standby.turn(&following));
        self.loss = turn.map(|turn| Loss { suspicions, due: self.now + SUCCESSION_STAGGER * turn });
    }

    /// When the node is to look whether it takes over, or drops what it prepared.
    pub(super) fn succession_due(&self) -> Option<Instant> {
        let ends = self.prepared.as_ref().and_then(|prepared| prepared.ends);
        [self.loss.as_ref().map(|loss| loss.due), ends].into_iter().flatten().min()
    }

    /// What is due of it.
    pub(super) fn on_succession_due(&mut self, now: Instant) {
        let over = |prepared: &Prepared| prepared.ends.is_some_and(|ends| ends <= now);
        if self.prepared.as_ref().is_some_and(over) {
            self.unprepare();
        }
        let Some(loss) = self.loss.take_if(|loss| loss.due <= now) else { return };
        let lost = self.member().is_some_and(member::Member::manager_lost);
        let in_step = self.follows().is_some_and(|following| self.standby.turn(&following).is_some());
        if lost && in_step && !self.is_shut_out() {
            self.unprepare();
            if let Some(ledger) = self.standby.take() {
                self.succeed(now, ledger, None, Succeeds::Lost(loss.suspicions));
            }
        }
    }

    /// Whether the node has heard that it was evicted itself since it began to follow.
    fn is_shut_out(&self) -> bool {
        let own = self.eligible.as_ref().zip(self.member());
        own.is_some_and(|(config, member)| config.is_shut_out(member))
    }

    /// The manager asks this node to take its office: a start of its own becomes durable first.
    pub(super) fn prepare(&mut self, now: Instant, conn: ConnId) {
        if self.prepared.is_some() || self.store_failed || self.is_shut_out() {
            self.transmits.push_back(Transmit::Close { conn });
            self.standby.on_closed(now);
            return;
        }
        let Some((entries, start)) = self.own_start() else { return };
        for entry in entries {
            self.record(entry);
        }
        let commit = self.journal.last;
        self.prepared = Some(Prepared { start, conn, commit, told: false, ends: None });
    }

    /// The records of a start in the manager's place.
    fn own_start(&mut self) -> Option<([JournalEntry; 2], StateId)> {
        let template = self.eligible.clone()?;
        let own_term = self.remembered.as_ref().map_or(Term(0), Remembered::term);
        let Self { standby, inner: Inner::Member(member), .. } = self else { return None };
        let ledger = standby.ledger()?;
        let inst = fresh_inst(ledger, || member.random());
        let following = member.following()?;
        let own = following.sender;
        let highest = ledger.term.max(following.alarm.state.term).max(own_term);
        let term = Term(highest.0.saturating_add(1));
        let before = ledger.start.as_ref()?;
        let config = template.of_succession(&self.config.member, before.subgroup, &before.promised);
        let promised = Box::new(Promised::of(&config, self.config.member.signer.public_key()));
        let took_over = JournalEntry::TookOver { ledger: LedgerBytes::new(ledger.encode()) };
        let started = JournalEntry::Started { subgroup: before.subgroup, term, inst, own, promised };
        Some(([took_over, started], StateId { term, inst, epoch: Epoch(0) }))
    }

    /// Asks for a record of the node's journal while it is a member.
    fn record(&mut self, entry: JournalEntry) {
        self.journal.last = Commit(self.journal.last.0 + 1);
        self.records.push_back(Record { commit: self.journal.last, bytes: entry.encode() });
        let remembered = self.remembered.get_or_insert_with(Remembered::nothing);
        remembered.last = self.journal.last;
        remembered.since_snapshot += 1;
        // What does not follow on the journal is found at the next start, which keeps nobody then.
        remembered.doubtful |= remembered.ledger.apply(entry).is_err();
    }

    /// The store reports, in member mode: the manager hears that the start is durable. A store that failed works again when
    /// it holds all it was asked for.
    pub(super) fn on_stored_as_member(&mut self, upto: Commit) {
        self.stored = self.stored.max(upto);
        self.store_failed &= self.stored < self.journal.last;
        let Some(prepared) = &mut self.prepared else { return };
        if prepared.commit > upto || std::mem::replace(&mut prepared.told, true) {
            return;
        }
        let (start, conn) = (prepared.start, prepared.conn);
        let Some(template) = &self.eligible else { return };
        let Some(registrar) = template.registrars.first() else { return };
        let taken = OfficeTaken {
            start,
            key: self.config.member.signer.public_key(),
            address: template.address,
            registrar: *registrar,
        };
        self.answer_manager(conn, &Frame::OfficeTaken(taken));
    }

    /// The connection to the manager is gone: the warrant may still come by multicast, for a while.
    pub(super) fn on_manager_gone(&mut self, now: Instant) {
        if let Some(prepared) = &mut self.prepared {
            prepared.ends.get_or_insert(now + LAST_WORDS);
        }
    }

    /// Drops a start that is not warranted.
    pub(super) fn unprepare(&mut self) {
        if self.prepared.take().is_some() {
            self.record(JournalEntry::SteppedDown);
            self.leave_office();
        }
    }

    /// The node is no manager any more, or did not become one. A record makes the store report, and what it holds of the
    /// subgroup is dropped then.
    pub(super) fn leave_office(&mut self) {
        self.record(JournalEntry::Probe);
        self.tidies = Some(self.journal.last);
    }

    /// The snapshot that leaves nothing of a subgroup on the disk, once it is durable that the office is over.
    pub(super) fn forget_on_disk(&mut self) -> Option<(Commit, Vec<u8>)> {
        let upto = self.tidies.filter(|upto| *upto <= self.stored && *upto == self.journal.last)?;
        let remembered = self.remembered.as_mut().filter(|remembered| !remembered.doubtful)?;
        self.tidies = None;
        remembered.since_snapshot = 0;
        Some((upto, remembered.ledger.encode()))
    }

    /// Whether a datagram is the takeover that was prepared for.
    pub(super) fn warrants(&self, bytes: &[u8]) -> bool {
        let (Some(prepared), Some(following)) = (&self.prepared, self.follows()) else { return false };
        let takeover = Envelope::for_domain(bytes, following.domain)
            .is_ok_and(|envelope| envelope.kind == DatagramKind::Takeover);
        takeover
            && Takeover::claimed(following.domain, bytes)
                .is_ok_and(|takeover| takeover.office.start == prepared.start)
    }

    /// The manager before has signed that this node follows it.
    pub(super) fn on_warrant(&mut self, now: Instant, datagram: Vec<u8>) -> Result<(), Rejected> {
        let (Some(prepared), Some(following)) = (&self.prepared, self.follows()) else {
            return Err(Rejected::OutOfPlace);
        };
        let succession = Succession {
            domain: following.domain,
            manager: following.manager,
            former: None,
            known: following.alarm.state,
            counter: following.alarm.counter,
            in_step: &[],
            members: following.alarm.members,
            hard: Epoch(0),
            silent: false,
        };
        let verifier = &*self.config.member.verifier;
        let takeover = Takeover::verify(&datagram, &succession, verifier, |_| None, |_| true)?;
        let own = self.config.member.signer.public_key();
        if takeover.office.start != prepared.start || takeover.office.key != own {
            return Err(Rejected::NotForUs);
        }
        let start = prepared.start;
        self.prepared = None;
        self.standby.take();
        let ledger = self.remembered.take().map(|remembered| remembered.ledger);
        if let Some(ledger) = ledger {
            self.succeed(now, ledger, Some(start), Succeeds::Warranted(datagram));
        }
        Ok(())
    }

    /// The swap: the member becomes its subgroup's manager. Its registration, its streams and its replay windows stay.
    fn succeed(&mut self, now: Instant, ledger: Ledger, start: Option<StateId>, right: Succeeds) {
        self.drain_machine();
        let (Some(template), Some(before)) = (self.eligible.clone(), ledger.start.clone()) else { return };
        let Inner::Member(member) = std::mem::replace(&mut self.inner, Inner::Neither) else { return };
        let Promotion { rng, next_conn, place, revocations, .. } = member.into_promotion();
        let config = template.of_succession(&self.config.member, before.subgroup, &before.promised);
        self.transmits.extend(self.standby.stop());
        let Some(seat) = place else {
            // It cannot be: whoever follows has heard an alarm.
            let member = member::Member::new_after(self.config.member.clone(), rng, next_conn, Vec::new());
            let signer: Box<dyn Signer> = Box::new(Arc::clone(&self.config.member.signer));
            self.search(now, member, Some(signer));
            return;
        };
        let claim = match right {
            Succeeds::Lost(suspicions) => Claim::Suspected { credential: seat.credential, suspicions },
            Succeeds::Warranted(datagram) => Claim::Handed { datagram },
        };
        let before = self.remembered.take();
        let inheritance = Inheritance { journal: self.journal, before, held: ledger, seat, claim, start };
        let signer: Box<dyn Signer> = Box::new(Arc::clone(&self.config.member.signer));
        let mut gsm = Gsm::succeed(now, config, signer, rng, inheritance);
        gsm.number_connections_from(next_conn);
        gsm.adopt(now, &revocations);
        self.inner = Inner::Manager(Box::new(gsm));
        self.events.push_back(ParticipantEvent::Became(Mode::Manager));
    }
}

/// By what right the node becomes manager.
enum Succeeds {
    Lost(Vec<Suspicion>),
    Warranted(Vec<u8>),
}

/// 64 random bits of which the upper half names no start that a registration came from.
fn fresh_inst(ledger: &Ledger, mut random: impl FnMut() -> u64) -> Inst {
    loop {
        let inst = Inst(random());
        let prefix = SenderId::issue(inst, 0).0 >> 32;
        if ledger.members.values().all(|member| member.sender.0 >> 32 != prefix) {
            return inst;
        }
    }
}

impl ManagerConfig {
    /// What the manager of a subgroup is told that another one managed until now: members stay with what that one promised.
    fn of_succession(
        &self,
        member: &member::MemberConfig,
        subgroup: protocol::SubgroupId,
        promised: &Promised,
    ) -> GsmConfig {
        GsmConfig {
            suite: promised.suite,
            degree: promised.degree,
            control: promised.control,
            data: promised.data,
            timing: promised.timing(self.timing.rekey_interval),
            ..self.of_subgroup(member, subgroup)
        }
    }
}
