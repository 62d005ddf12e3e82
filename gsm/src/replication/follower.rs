//! One standby as its manager sees it: what is on its way to it, what it has answered, and whether it is in step.

use std::collections::VecDeque;
use std::time::Duration;

use crypto::wipe;
use protocol::limits::{MAX_STATE_PART, STANDBY_SILENCE};
use protocol::{Commit, Frame, Instant, Peer, SenderId, StatePart};

/// Frames a standby may owe an answer to. No more are handed to its connection, so that a slow one costs no memory there.
const WINDOW: usize = 64;
/// Records that may wait for a standby. One that lags behind by more gets the whole state again.
const MAX_BACKLOG: usize = 16_384;
/// How long a standby may owe an answer before its connection is closed.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Bytes that hold leaf secrets, wiped when they are dropped.
#[derive(Default)]
pub(crate) struct Sealed(Vec<u8>);

impl Sealed {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// The state on its way, cut into parts as the window lets them go.
#[derive(Debug)]
struct Snapshot {
    upto: Commit,
    bytes: Sealed,
    next: u16,
}

impl Snapshot {
    fn parts(&self) -> u16 {
        u16::try_from(self.bytes.as_bytes().len().div_ceil(MAX_STATE_PART)).unwrap_or(u16::MAX).max(1)
    }

    /// The next part, and whether it is the last one.
    fn next_part(&mut self) -> (Frame, bool) {
        let (part, parts) = (self.next, self.parts());
        self.next += 1;
        let chunk = self.bytes.as_bytes().chunks(MAX_STATE_PART).nth(usize::from(part));
        let bytes = chunk.unwrap_or_default().to_vec();
        (Frame::State(StatePart { upto: self.upto, part, parts, bytes }), part + 1 >= parts)
    }
}

/// How far a standby is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It is told nothing before this record may be told of and all leaf secrets were stepped so often.
    Awaiting { commit: Commit, steps: u16 },
    /// It is told everything.
    Told,
}

/// One standby.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) peer: Peer,
    pub(crate) sender: SenderId,
    pub(crate) stage: Stage,
    /// Whether what is acknowledged to anybody waits for it.
    pub(crate) in_step: bool,
    /// Since when it is in step, or is not.
    pub(crate) since: Instant,
    /// The newest record it holds; `None` until it holds a state.
    pub(crate) holds: Option<Commit>,
    snapshot: Option<Snapshot>,
    changes: VecDeque<(Commit, Sealed)>,
    /// Frames sent that it has not answered, and since when nothing was answered.
    unanswered: usize,
    waiting_since: Instant,
    /// The newest record it was sent.
    told: Commit,
    /// Records it owes, each with the instant at which it was asked for; those of one instant count as one.
    owed: VecDeque<(Commit, Instant)>,
}

impl Follower {
    pub(crate) const fn new(now: Instant, peer: Peer, sender: SenderId, stage: Stage) -> Self {
        Self {
            peer,
            sender,
            stage,
            in_step: false,
            since: now,
            holds: None,
            snapshot: None,
            changes: VecDeque::new(),
            unanswered: 0,
            waiting_since: now,
            told: Commit(0),
            owed: VecDeque::new(),
        }
    }

    /// The whole state up to a record goes to it, and every later record after it.
    pub(crate) fn begin(&mut self, now: Instant, upto: Commit, state: Vec<u8>) {
        self.stage = Stage::Told;
        self.snapshot = Some(Snapshot { upto, bytes: Sealed::new(state), next: 0 });
        self.owed.push_back((upto, now));
    }

    /// One more record goes to it. `false` if it lags behind too far.
    pub(crate) fn tell(&mut self, now: Instant, commit: Commit, bytes: &[u8]) -> bool {
        if self.stage != Stage::Told {
            return true;
        }
        self.changes.push_back((commit, Sealed::new(bytes.to_vec())));
        match self.owed.back_mut() {
            Some((newest, at)) if *at == now => *newest = commit,
            _ => self.owed.push_back((commit, now)),
        }
        self.changes.len() <= MAX_BACKLOG && bytes.len() <= MAX_STATE_PART
    }

    /// The next frame that may go out now.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.unanswered >= WINDOW {
            return None;
        }
        let frame = if let Some(snapshot) = &mut self.snapshot {
            let (frame, last) = snapshot.next_part();
            self.told = snapshot.upto;
            if last {
                self.snapshot = None;
            }
            frame
        } else {
            let (commit, mut bytes) = self.changes.pop_front()?;
            self.told = commit;
            Frame::Change(commit, std::mem::take(&mut bytes.0))
        };
        if self.unanswered == 0 {
            self.waiting_since = now;
        }
        self.unanswered += 1;
        let encoded = frame.encode();
        if let Frame::State(StatePart { mut bytes, .. }) | Frame::Change(_, mut bytes) = frame {
            wipe(&mut bytes);
        }
        Some(encoded)
    }

    /// It has answered one frame, and holds everything up to `upto`. `false` if it holds what it was never sent, or was
    /// sent nothing.
    pub(crate) fn answered(&mut self, now: Instant, upto: Commit) -> bool {
        let Some(unanswered) = self.unanswered.checked_sub(1) else { return false };
        if upto > self.told {
            return false;
        }
        (self.unanswered, self.waiting_since) = (unanswered, now);
        if upto > Commit(0) && self.snapshot.is_none() {
            self.holds = self.holds.max(Some(upto));
        }
        while self.owed.front().is_some_and(|(commit, _)| Some(*commit) <= self.holds) {
            self.owed.pop_front();
        }
        true
    }

    /// From here on everything waits for it; what it owes, it owes from now on.
    pub(crate) fn step_in(&mut self, now: Instant) {
        (self.in_step, self.since) = (true, now);
        if let Some((newest, _)) = self.owed.back().copied() {
            self.owed = VecDeque::from([(newest, now)]);
        }
    }

    /// When it is silent for too long to be waited for.
    pub(crate) fn lags_at(&self) -> Option<Instant> {
        self.owed.front().map(|(_, since)| *since + STANDBY_SILENCE)
    }

    /// When its connection is given up.
    pub(crate) fn given_up_at(&self) -> Option<Instant> {
        (self.unanswered > 0).then(|| self.waiting_since + GIVEN_UP)
    }

    /// Whether it holds a record.
    pub(crate) fn has(&self, commit: Commit) -> bool {
        self.holds >= Some(commit)
    }
}
