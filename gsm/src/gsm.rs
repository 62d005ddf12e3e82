//! The manager: routes inputs to the parts that deal with them, and their outcomes to the outbox (GSM 2.1, Fig. 2).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crypto::{Secret, Signer};
use member::Activation;
use protocol::limits::RESYNC_ANSWERS_PER_SECOND;
use protocol::{
    Budget, CloseReason, Commit, ConnId, DatagramKind, Domain, Envelope, Epoch, Input, Inst, Instant, Lane,
    Machine, Outbox, Peer, Record, RegNo, Rejected, SenderId, StateId, Term, Timers, Timing, Transmit,
};
use rand_core::CryptoRng;

use crate::config::GsmConfig;
use crate::event::{Departure, GsmEvent, StandbyGone};
use crate::handing::Handing;
use crate::journal::JournalEntry;
use crate::key_manager::{KeyManager, Leave};
use crate::member_list::{Listed, MemberList, Standing};
use crate::merge::Merging;
use crate::operator::RequestError;
use crate::policy::Policy;
use crate::presence::Announcer;
use crate::registrar::{Registrar, Rules};
use crate::remembered::{Journal, Ledger, Remembered};
use crate::replication::Replication;
use crate::starting::Starting;
use crate::term::Tenure;
use crate::transmitter::Transmitter;

/// Alarms of its own key a second that a manager checks for being another start's.
const ALARM_CHECKS_PER_SECOND: u32 = 20;
/// Alarms ahead of their time a second, for members that hold it for lost.
const SUSPICION_ALARMS_PER_SECOND: u32 = 4;

/// The timers of a manager; registrations have deadlines of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// When to say that we are alive.
    Alarm,
    /// When to send the parity of a key update.
    Parity,
    /// When the rekey interval ends.
    Rekey,
    /// When to look for members that fell silent.
    Expiry,
    /// When the root is replaced and the leaf secrets are stepped even if nobody comes or goes.
    Refresh,
    /// When a key of the own node is past its cut.
    Cut,
    /// When to make ourselves known on the LAN.
    Presence,
    /// When to answer who searches.
    Reply,
    /// When to go on giving way to another manager, or to try that again.
    Merge,
    /// When a start goes on.
    Start,
    /// When to ask a store that failed whether it works again.
    Probe,
    /// When to show once more that this node follows another manager.
    Claim,
    /// When a former manager should have come back.
    Return,
}

/// The randomness handed in; named so that printing a manager never prints it.
pub(crate) struct Rng(pub(crate) Box<dyn CryptoRng + Send>);

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng(..)")
    }
}

/// The manager's signing key, as whatever the driver handed in.
pub(crate) struct SigningKey(pub(crate) Box<dyn Signer>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.0.public_key())
    }
}

/// The group security manager of one subgroup.
///
/// Built by the driver with [`Gsm::start`]; from then on it alarms, admits, cuts and repairs until it is dropped. Its
/// own node is a member like any other, with the first leaf and a random leaf secret.
#[derive(Debug)]
pub struct Gsm {
    pub(crate) config: GsmConfig,
    pub(crate) domain: Domain,
    pub(crate) inst: Inst,
    pub(crate) signer: SigningKey,
    pub(crate) rng: Rng,
    pub(crate) registrar: Registrar,
    pub(crate) members: MemberList,
    pub(crate) keys: KeyManager,
    pub(crate) transmitter: Transmitter,
    pub(crate) policy: Policy,
    /// The own node's keys.
    pub(crate) activation: Activation,
    pub(crate) own: SenderId,
    /// The record of this start: nothing of the term is sent before it is durable.
    pub(crate) started: Commit,
    /// The newest record the own store holds. What is told waits for the standbys too, by the outbox.
    pub(crate) durable: Commit,
    /// Sender ids issued by this start.
    pub(crate) issued: u32,
    /// Prefilter keys of the newest states, for NAKs and grants.
    pub(crate) prefilters: BTreeMap<Epoch, Secret<32>>,
    /// Alarms sent by this start, and when the next one is due.
    pub(crate) alarms: u64,
    pub(crate) alarm_due: Instant,
    pub(crate) resync_answers: Budget,
    pub(crate) read_only: bool,
    /// The next cut steps all leaf secrets.
    pub(crate) step_leaves: bool,
    /// Something asked to be cut at once while another cut waits for its record.
    pub(crate) urgent: bool,
    /// What the journal amounts to, including what is not durable yet.
    pub(crate) ledger: Ledger,
    /// No record was ever refused by the ledger, which would be our own bug: without that, no snapshot.
    pub(crate) sound: bool,
    pub(crate) since_snapshot: usize,
    /// A snapshot is due however few records there are.
    pub(crate) snapshot_due: bool,
    /// `None` where nobody searches by multicast.
    pub(crate) announcer: Option<Announcer>,
    pub(crate) merging: Merging,
    /// Who follows, to take over when this manager is lost.
    pub(crate) replication: Replication,
    pub(crate) handing: Handing,
    /// Records among them that took somebody out.
    pub(crate) removals: usize,
    /// `None` once it serves.
    pub(crate) starting: Option<Starting>,
    /// The newest alarms of this start.
    pub(crate) own_alarms: VecDeque<Vec<u8>>,
    pub(crate) alarm_checks: Budget,
    /// Alarms that suspicions may cause.
    pub(crate) suspected: Budget,
    pub(crate) tenure: Tenure,
    /// How often the newest revocations are still to be multicast, and the record of the newest.
    pub(crate) announcements: u8,
    pub(crate) revoked: Commit,
    pub(crate) timers: Timers<Timer>,
    pub(crate) outbox: Outbox<GsmEvent>,
}

impl Gsm {
    /// Starts a manager of a new subgroup, in its first term. `journal` is where the numbers of its records go on.
    ///
    /// The driver hands in the signing key and the randomness. No key update and no alarm goes out before the start is
    /// durable.
    pub fn start(
        now: Instant,
        config: GsmConfig,
        signer: Box<dyn Signer>,
        rng: Box<dyn CryptoRng + Send>,
        journal: Journal,
    ) -> Self {
        let nothing = Remembered::nothing();
        Self::resume(now, config, signer, rng, nothing, journal)
    }

    /// Starts a manager again with what its journal remembers: in the same subgroup, with its members, unless the
    /// journal or the configuration does not allow that; who was evicted stays out in any case.
    ///
    /// The configuration names the addresses of [`Remembered::place`], or everybody has to register again. Nothing goes
    /// out before the start is durable, and it first listens for another start of this manager and asks its members for
    /// the newest they saw.
    pub fn resume(
        now: Instant,
        config: GsmConfig,
        signer: Box<dyn Signer>,
        rng: Box<dyn CryptoRng + Send>,
        remembered: Remembered,
        journal: Journal,
    ) -> Self {
        let mut gsm = Self::new(now, config, signer, rng, journal);
        gsm.begin(now, remembered);
        gsm
    }

    /// A manager of nothing yet.
    pub(crate) fn new(
        now: Instant,
        config: GsmConfig,
        signer: Box<dyn Signer>,
        rng: Box<dyn CryptoRng + Send>,
        journal: Journal,
    ) -> Self {
        let domain = Domain { suite: config.suite, group: config.group, subgroup: config.subgroup };
        let (inst, own) = (Inst(0), SenderId(0));
        let nowhere = StateId { term: Term(0), inst, epoch: Epoch(0) };
        Self {
            domain,
            inst,
            registrar: Registrar::new(),
            members: MemberList::new(),
            keys: KeyManager::new(domain, config.degree, nowhere, 0),
            transmitter: Transmitter::new(config.control, config.ttl, config.packet_size),
            policy: Policy::new(domain, &*signer),
            activation: Activation::new(domain, own, config.timing),
            own,
            started: journal.last,
            durable: journal.last,
            issued: 0,
            prefilters: BTreeMap::new(),
            alarms: 0,
            alarm_due: now,
            resync_answers: Budget::new(RESYNC_ANSWERS_PER_SECOND, RESYNC_ANSWERS_PER_SECOND),
            read_only: false,
            step_leaves: false,
            urgent: false,
            ledger: Ledger::default(),
            sound: true,
            since_snapshot: 0,
            snapshot_due: false,
            announcer: Announcer::of(&config),
            merging: Merging::new(),
            replication: Replication::default(),
            handing: Handing::default(),
            removals: 0,
            starting: None,
            own_alarms: VecDeque::new(),
            alarm_checks: Budget::new(ALARM_CHECKS_PER_SECOND, ALARM_CHECKS_PER_SECOND),
            suspected: Budget::new(SUSPICION_ALARMS_PER_SECOND, SUSPICION_ALARMS_PER_SECOND),
            tenure: Tenure::default(),
            announcements: 0,
            revoked: Commit(0),
            timers: Timers::new(),
            outbox: Outbox::new(journal.last),
            signer: SigningKey(signer),
            rng: Rng(rng),
            config,
        }
    }

    /// Cuts what waits now; with nothing waiting, the root is replaced at random. Returns the state the cut leads to.
    pub fn rekey(&mut self, now: Instant) -> StateId {
        self.replication.at(now);
        if !self.keys.has_pending() {
            self.keys.refresh();
        }
        let state = self.keys.state();
        let cuts_ahead = if self.keys.is_cutting() { 2 } else { 1 };
        self.cut(now);
        state.at(Epoch(state.epoch.0.saturating_add(cuts_ahead)))
    }

    /// Sets how long joins and leaves are gathered from now on; what waits already waits no longer than this.
    pub fn set_rekey_interval(&mut self, now: Instant, interval: Duration) -> Result<(), RequestError> {
        if !(Timing::MIN_REKEY_INTERVAL..=Timing::MAX_REKEY_INTERVAL).contains(&interval) {
            return Err(RequestError::IntervalOutOfRange { given: interval });
        }
        self.config.timing.rekey_interval = interval;
        if self.timers.due(Timer::Rekey).is_some() {
            self.timers.set_earlier(Timer::Rekey, now + interval);
        }
        Ok(())
    }

    /// The members, by leaf.
    pub fn members(&self) -> impl Iterator<Item = &Listed> {
        self.members.iter()
    }

    /// What it was started with; the rekey interval is the one in force.
    pub const fn config(&self) -> &GsmConfig {
        &self.config
    }

    /// The registration of the manager's own node.
    pub const fn own_sender(&self) -> SenderId {
        self.own
    }

    /// The leaf of the manager's own node, once it has one.
    pub fn own_leaf(&self) -> Option<RegNo> {
        self.members.get(self.own).map(|listed| listed.reg_no)
    }

    /// The subgroup.
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The state members should hold and its group key, for a simulator's oracle.
    pub fn current_key(&self) -> Option<(StateId, &Secret<32>)> {
        self.keys.current().map(|current| (current.state, &current.group_key))
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            domain: &self.domain,
            access: &self.config.access,
            policy: &self.policy,
            read_only: self.read_only,
            hands_over: self.handing.is_under_way(),
            takes_over: self.takes_over(),
        }
    }

    /// Takes a member out: recorded now, cut with the next key update. Returns the record's number.
    pub(crate) fn depart(&mut self, sender: SenderId, why: Departure) -> Option<Commit> {
        let listed = self.members.get_mut(sender)?;
        let leaving = std::mem::replace(&mut listed.standing, Standing::Leaving) == Standing::Leaving;
        let (reg_no, identity, certificate) = (listed.reg_no, listed.identity.clone(), listed.certificate);
        self.dismiss_standby(sender, StandbyGone::Out);
        let entry = if why == Departure::Evicted {
            let revocation = protocol::Revocation {
                identity: protocol::Revocation::identity_hash(&identity),
                certificate,
            };
            self.policy.revoke(revocation, &*self.signer.0);
            JournalEntry::Evicted { sender, revocation }
        } else if why == Departure::Silent {
            JournalEntry::Silent { sender }
        } else {
            JournalEntry::Departed { sender }
        };
        if self.ledger.trusted.members.contains(&sender) {
            self.tenure.out.clone_from(&identity);
        }
        let commit = self.record(entry);
        if why == Departure::Evicted {
            self.revoked = commit;
        }
        self.policy.remove_eligible(sender, &*self.signer.0);
        if leaving {
            self.keys.harden(reg_no);
        } else if self.keys.leave(reg_no, sender, why == Departure::Evicted) == Leave::NeverIn {
            self.members.remove(sender);
        }
        self.outbox.tell_after(commit, GsmEvent::Departed { identity, sender, why });
        Some(commit)
    }

    /// The lowest leaf that nobody has or was offered.
    pub(crate) fn free_leaf(&self) -> Option<RegNo> {
        self.keys.free_leaf(|reg_no| self.members.holds(reg_no) || self.registrar.is_offered(reg_no))
    }

    fn on_datagram(
        &mut self,
        now: Instant,
        lane: Lane,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Rejected> {
        if lane == Lane::Discovery {
            return self.on_discovery(now, from, bytes);
        }
        match (lane, Envelope::for_domain(bytes, &self.domain)?.kind) {
            (Lane::Control, DatagramKind::Nak) => self.on_nak(now, from, bytes),
            (Lane::Control, DatagramKind::KeyUpdate) => self.on_answered(now, from, bytes),
            (Lane::Control, DatagramKind::Alarm) => self.on_own_alarm(now, bytes),
            (Lane::Control, DatagramKind::Suspicion) => self.on_suspicion(now, bytes),
            (Lane::Control, DatagramKind::Question) => self.answer_former(now),
            (Lane::Control | Lane::Unicast, DatagramKind::Takeover) => self.on_takeover(now, bytes),
            (Lane::Unicast, DatagramKind::ToManager) => self.on_unicast(now, from, bytes),
            (Lane::Unicast, DatagramKind::Answer) => self.on_answer(now, bytes),
            _ => Err(Rejected::NotForUs),
        }
    }

    fn on_accepted(&mut self, now: Instant, conn: ConnId, peer: Peer) -> Result<(), Rejected> {
        let taken = self.registrar.on_accepted(now, conn, peer);
        if taken.is_err() {
            self.outbox.send(Transmit::Close { conn });
        }
        taken
    }

    fn on_closed(&mut self, now: Instant, conn: ConnId, why: CloseReason) -> Result<(), Rejected> {
        if self.merging.is_on(conn) {
            self.give_up(now, why);
            return Ok(());
        }
        if self.on_standby_closed(now, conn) {
            return Ok(());
        }
        self.outbox.forget(conn);
        self.registrar.forget(conn).map(|_| ()).ok_or(Rejected::UnknownConnection)
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        // Whoever is on its way out does nothing else.
        if self.is_leaving() && !matches!(timer, Timer::Merge | Timer::Cut) {
            return;
        }
        match timer {
            Timer::Alarm => self.send_alarm(now),
            Timer::Parity => self.on_parity_due(now),
            Timer::Rekey => self.cut(now),
            Timer::Expiry => self.expire_members(now),
            Timer::Refresh => {
                self.timers.set(Timer::Refresh, now + self.config.timing.refresh);
                self.step_leaves = true;
                self.keys.refresh();
                self.cut(now);
            }
            Timer::Cut => self.on_key_cut(now),
            Timer::Presence => self.on_presence_due(now),
            Timer::Reply => self.on_replies_due(now),
            Timer::Merge => self.on_merge_due(now),
            Timer::Start => self.on_start_due(now),
            Timer::Probe => self.probe(now),
            Timer::Claim => self.on_claim_due(now),
            Timer::Return => self.on_return_due(now),
        }
    }
}

impl Machine for Gsm {
    type Event = GsmEvent;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Rejected> {
        self.wake(now);
        // Reports of the store shrink the queues, so they are taken even when those are full.
        self.replication.at(now);
        let reports = matches!(input, Input::Stored { .. } | Input::StoreFailed);
        if self.outbox.is_full() && !reports {
            return Err(Rejected::Busy);
        }
        if self.is_leaving() && !reports {
            return self.on_late_input(&input);
        }
        let taken = match input {
            Input::Datagram { bytes, .. } if self.is_listening() && !self.hears(bytes) => Err(Rejected::Busy),
            Input::Datagram { lane, from, bytes } => self.on_datagram(now, lane, from, bytes),
            Input::Accepted { conn, peer } => self.on_accepted(now, conn, peer),
            Input::Opened { conn, peer } => self.on_opened(now, conn, peer),
            Input::Frame { conn, bytes } if self.merging.is_on(conn) => self.on_merge_frame(now, bytes),
            Input::Frame { conn, bytes } if self.replication.is_on(conn) => {
                self.on_standby_frame(now, conn, bytes)
            }
            Input::Frame { conn, bytes } => self.on_frame(now, conn, bytes),
            Input::Closed { conn, why } => self.on_closed(now, conn, why),
            Input::Stored { upto } => {
                self.on_stored(now, upto);
                Ok(())
            }
            Input::StoreFailed => {
                self.on_store_failed(now);
                Ok(())
            }
            // Its own keys are never unknown to it.
            Input::Hint(_) => Err(Rejected::NotForUs),
        };
        if self.standbys_changed() {
            self.settle_standbys(now);
        }
        taken
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.replication.at(now);
        self.wake(now);
        if self.is_listening() {
            return;
        }
        // What was on paper when it began to listen.
        self.complete_cut_if_due(now);
        while let Some(timer) = self.timers.expired(now) {
            self.on_timer(now, timer);
        }
        self.close_overdue(now);
        self.on_handing_due(now);
        self.on_standbys_due(now);
    }

    fn poll_record(&mut self) -> Option<Record> {
        self.outbox.poll_record()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<GsmEvent> {
        self.outbox.poll_event()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.is_listening() {
            return self.tenure.listens_until;
        }
        let cut = self.keys.awaited().is_some_and(|awaited| awaited <= self.durable);
        let deadlines =
            [self.timers.next(), self.registrar.due(), self.replication.due(cut), self.handing.due()];
        deadlines.into_iter().flatten().min()
    }
}
