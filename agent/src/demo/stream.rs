//! The file as it goes through the group: numbered pieces, and what a receiver checks of them.

use std::io;
use std::path::Path;

use super::lines::{Event, Key};

/// Bytes of the file in one packet.
pub(super) const PIECE: usize = 1_000;
/// Bytes of the packet's number before them.
const NUMBER: usize = 8;
/// What a manager's host says to the group when there was none for a while. No packet of the file is like it.
pub(super) const GREETING: &[u8] = b"The group has a manager again.";
/// How much of the file is sent; the stream begins again at its start if there is time left.
pub(super) const MAX_FILE: u64 = 8 << 20;

/// The file, in the memory of who sends it and of who checks what it receives.
pub(super) struct Content(Vec<u8>);

impl Content {
    /// Reads the file. One shorter than a packet's piece cannot be told from another, and is refused.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        if bytes.len() < PIECE {
            return Err(io::Error::other("the file is shorter than one packet"));
        }
        Ok(Self(bytes))
    }

    /// The payload of packet `number`: its number and its piece of the file.
    pub(super) fn payload(&self, number: u64) -> Vec<u8> {
        let mut payload = number.to_be_bytes().to_vec();
        payload.extend_from_slice(self.piece(number));
        payload
    }

    /// Whether `payload` is what packet `number` must hold, byte for byte.
    pub(super) fn is_genuine(&self, number: u64, payload: &[u8]) -> bool {
        payload.len() == NUMBER + PIECE
            && payload[..NUMBER] == number.to_be_bytes()
            && payload[NUMBER..] == *self.piece(number)
    }

    /// The piece of packet `number`; whole pieces only, so that all are of one length.
    fn piece(&self, number: u64) -> &[u8] {
        let pieces = (self.0.len() / PIECE) as u64;
        let begin = usize::try_from(number % pieces).unwrap_or(0) * PIECE;
        &self.0[begin..begin + PIECE]
    }
}

/// Packets that follow one another and have a fact in common, gathered into one line.
#[derive(Debug)]
pub(super) struct Run<F> {
    /// What they have in common.
    pub(super) fact: F,
    /// The number of the first.
    pub(super) first: u64,
    /// The number of the last.
    pub(super) last: u64,
}

/// Gathers packets into runs, in the order in which they come: a run ends where a number is left out or comes again,
/// or the fact changes. So nothing is lost by it.
#[derive(Debug)]
pub(super) struct Runs<F>(Option<Run<F>>);

impl<F: PartialEq> Runs<F> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Adds a packet. Returns the run that it ended, if it did.
    pub(super) fn add(&mut self, number: u64, fact: F) -> Option<Run<F>> {
        match &mut self.0 {
            Some(run) if run.last.checked_add(1) == Some(number) && run.fact == fact => {
                run.last = number;
                None
            }
            other => other.replace(Run { fact, first: number, last: number }),
        }
    }

    /// Ends the run under way.
    pub(super) const fn take(&mut self) -> Option<Run<F>> {
        self.0.take()
    }
}

/// What a receiver notes of a packet: under which key it came, and whether its content is the file's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Receipt {
    key: Key,
    genuine: bool,
}

/// What one node receives, compared with the file and gathered into lines.
pub(super) struct Ledger {
    node: String,
    content: Content,
    runs: Runs<Receipt>,
    /// The key of the newest greeting.
    greeted: Option<Key>,
}

impl Ledger {
    /// Nothing was received yet.
    pub(super) const fn new(node: String, content: Content) -> Self {
        Self { node, content, runs: Runs::new(), greeted: None }
    }

    /// Takes one message: the number its stream gives it, the key it came under, what it says. Returns what there is to
    /// say now.
    pub(super) fn take(&mut self, number: u64, key: Key, payload: &[u8]) -> Option<Event> {
        if payload == GREETING {
            // It is sent several times, by each manager.
            let newer = self.greeted.is_none_or(|greeted| greeted.term < key.term);
            self.greeted = self.greeted.max(Some(key));
            return newer.then(|| Event::Greeted { node: self.node.clone(), key });
        }
        let receipt = Receipt { key, genuine: self.content.is_genuine(number, payload) };
        let run = self.runs.add(number, receipt);
        run.map(|run| self.event(run))
    }

    /// Says what was received since it was last said.
    pub(super) fn report(&mut self) -> Option<Event> {
        let run = self.runs.take();
        run.map(|run| self.event(run))
    }

    fn event(&self, run: Run<Receipt>) -> Event {
        let Run { fact: Receipt { key, genuine }, first, last } = run;
        let wrong = if genuine { 0 } else { last - first + 1 };
        Event::Received { node: self.node.clone(), key, first, last, wrong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_a_repeat_and_a_changed_fact_each_end_a_run() {
        let mut runs = Runs::new();
        let mut ended = Vec::new();
        for (number, fact) in [(4, 'a'), (5, 'a'), (7, 'a'), (7, 'a'), (8, 'b'), (9, 'b')] {
            ended.extend(runs.add(number, fact));
        }
        ended.extend(runs.take());
        let ended: Vec<_> = ended.iter().map(|run| (run.fact, run.first, run.last)).collect();
        assert_eq!(ended, [('a', 4, 5), ('a', 7, 7), ('a', 7, 7), ('b', 8, 9)]);
        assert!(runs.take().is_none());
    }

    #[test]
    fn a_payload_is_genuine_under_its_own_number_only() {
        let content = Content((0..2_500_u32).map(|byte| (byte % 251) as u8).collect());
        let payload = content.payload(3);
        assert!(content.is_genuine(3, &payload));
        assert!(!content.is_genuine(1, &payload));
        let mut changed = payload.clone();
        changed[500] ^= 1;
        assert!(!content.is_genuine(3, &changed));
        assert!(!content.is_genuine(3, &payload[..900]));
    }

    #[test]
    fn the_greeting_is_told_once_and_is_no_packet_of_the_file() {
        let content = Content((0..2_500_u32).map(|byte| (byte % 251) as u8).collect());
        let (payload, key) = (content.payload(3), Key { term: 2, epoch: 1 });
        let mut ledger = Ledger::new("bob".to_owned(), content);
        let greeted = Event::Greeted { node: "bob".to_owned(), key };
        assert_eq!(ledger.take(0, key, GREETING), Some(greeted));
        assert_eq!(ledger.take(1, key, GREETING), None);
        assert_eq!(ledger.take(3, key, &payload), None);
        let received = Event::Received { node: "bob".to_owned(), key, first: 3, last: 3, wrong: 0 };
        assert_eq!(ledger.report(), Some(received));
        assert_eq!(ledger.report(), None);
    }
}
