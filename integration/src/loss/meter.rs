//! What a drill looks at: the key updates of a while, and what each of them cost until the next one began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gsm::{GsmEvent, ParticipantEvent};
use member::MemberEvent;
use protocol::{DatagramKind, Envelope, Instant, Lane, Reader, StateId};

use super::stage::Watcher;

/// The node that manages.
pub(super) const MANAGER: usize = 0;
/// Where a key update's header says its state, which packet it is, and how many data packets there are
/// (`docs/protocol.md`).
const STATE: usize = 30;
const INDEX: std::ops::Range<usize> = 50..52;
const DATA_PACKETS: std::ops::Range<usize> = 52..54;
/// Nobody sends a NAK so early: the shortest wait is a quarter of 80 ms.
const FIRST_NAK: Duration = Duration::from_millis(20);
/// A resync request: a sender id, a nonce, a tag, and 10 bytes without a state or 26 with one. A keepalive is as long,
/// and is not answered.
const RESYNC_REQUESTS: [usize; 2] = [Envelope::LEN + 36 + 10, Envelope::LEN + 36 + 26];

/// One key update, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// When its first packet was sent.
    pub(super) since: Instant,
    /// The state it leads to.
    pub(super) state: StateId,
    /// Who must come to hold it.
    pub(super) expected: BTreeSet<usize>,
    /// When each member held it.
    pub(super) held: BTreeMap<usize, Instant>,
    /// Who got it by a resync.
    pub(super) resynced: BTreeSet<usize>,
    /// Who was admitted since.
    pub(super) admitted: BTreeSet<usize>,
    /// Data packets that were sent, each counted once.
    data: BTreeMap<u16, usize>,
    /// Bytes of all packets of key updates and all answers to resyncs.
    pub(super) bytes: usize,
    /// Those of them that were sent before any member may ask: data, parity and repeats that go along with it.
    pub(super) unasked: usize,
    /// Those that other members sent for the manager.
    pub(super) by_members: usize,
    /// When each NAK reached the manager.
    pub(super) naks: Vec<Instant>,
    /// NAKs sent, and their bytes.
    pub(super) asked: (usize, usize),
}

impl Watch {
    const fn new(since: Instant, state: StateId) -> Self {
        Self {
            since,
            state,
            expected: BTreeSet::new(),
            held: BTreeMap::new(),
            resynced: BTreeSet::new(),
            admitted: BTreeSet::new(),
            data: BTreeMap::new(),
            bytes: 0,
            unasked: 0,
            by_members: 0,
            naks: Vec::new(),
            asked: (0, 0),
        }
    }

    /// Whether everybody holds it who must.
    pub(super) fn is_whole(&self) -> bool {
        self.expected.iter().all(|node| self.held.contains_key(node))
    }

    /// Bytes of the data packets alone, each sent once.
    pub(super) fn data_bytes(&self) -> usize {
        self.data.values().sum()
    }

    /// NAKs that reached the manager in each round of this length; rounds without any are left out.
    pub(super) fn rounds(&self, round: Duration) -> Vec<usize> {
        let mut rounds = BTreeMap::<u128, usize>::new();
        for at in &self.naks {
            *rounds.entry(at.saturating_since(self.since).as_micros() / round.as_micros()).or_default() += 1;
        }
        rounds.into_values().collect()
    }
}

/// Watches key updates.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Those since the drill last cleared them, oldest first. What is sent counts for the newest one.
    pub(super) watches: Vec<Watch>,
    newest: Option<StateId>,
    /// A resync request was just handed to the manager, so what it sends next to one member is the answer.
    asked: bool,
    /// Members that were put out for their silence: a count over the whole run.
    pub(super) expired: usize,
}

fn kind(bytes: &[u8]) -> Option<DatagramKind> {
    Envelope::parse(bytes).ok().map(|envelope| envelope.kind)
}

fn state_of(update: &[u8]) -> Option<StateId> {
    Reader::new(update.get(STATE..)?).state().ok()
}

fn number(bytes: &[u8], at: std::ops::Range<usize>) -> u16 {
    bytes.get(at).and_then(|two| two.try_into().ok()).map(u16::from_be_bytes).unwrap_or_default()
}

impl Watcher for Meter {
    fn sent(&mut self, now: Instant, node: usize, lane: Lane, bytes: &[u8]) {
        let kind = kind(bytes);
        // A repair may be of an older update; its bytes count for the newest one.
        if kind == Some(DatagramKind::KeyUpdate)
            && let Some(state) = state_of(bytes)
            && self.newest.is_none_or(|newest| newest < state)
        {
            self.newest = Some(state);
            self.watches.push(Watch::new(now, state));
        }
        let Some(watch) = self.watches.last_mut() else { return };
        match kind {
            Some(DatagramKind::KeyUpdate) => {
                watch.bytes += bytes.len();
                if node != MANAGER {
                    watch.by_members += bytes.len();
                } else if now.saturating_since(watch.since) < FIRST_NAK {
                    watch.unasked += bytes.len();
                }
                let index = number(bytes, INDEX);
                if node == MANAGER && index < number(bytes, DATA_PACKETS) {
                    watch.data.entry(index).or_insert(bytes.len());
                }
            }
            Some(DatagramKind::ToMember) if lane == Lane::Unicast && self.asked => watch.bytes += bytes.len(),
            Some(DatagramKind::Nak) => watch.asked = (watch.asked.0 + 1, watch.asked.1 + bytes.len()),
            _ => {}
        }
    }

    fn heard(&mut self, now: Instant, node: usize, lane: Lane, bytes: &[u8]) {
        self.asked = node == MANAGER && lane == Lane::Unicast && RESYNC_REQUESTS.contains(&bytes.len());
        if node == MANAGER
            && kind(bytes) == Some(DatagramKind::Nak)
            && let Some(watch) = self.watches.last_mut()
        {
            watch.naks.push(now);
        }
    }

    fn told(&mut self, now: Instant, node: usize, lane: Option<Lane>, event: &ParticipantEvent) {
        match event {
            ParticipantEvent::Manager(GsmEvent::Departed { why: gsm::Departure::Silent, .. }) => {
                self.expired += 1;
            }
            ParticipantEvent::Member(MemberEvent::Admitted) => {
                self.watches.iter_mut().for_each(|watch| _ = watch.admitted.insert(node));
            }
            ParticipantEvent::Member(MemberEvent::Installed { state, .. }) => {
                let reached = self.watches.iter_mut().filter(|watch| watch.state <= *state);
                for watch in reached.filter(|watch| !watch.held.contains_key(&node)) {
                    watch.held.insert(node, now);
                    if lane == Some(Lane::Unicast) {
                        watch.resynced.insert(node);
                    }
                }
            }
            _ => {}
        }
    }
}
