//! What a machine has to say, and what must be durable before it may say it.

use std::collections::VecDeque;
use std::mem::Discriminant;

use crate::ids::{Commit, ConnId, SenderId};
use crate::machine::{Record, Transmit};
use crate::unicast::ToMember;

/// Outputs a machine may hold before it rejects further input. A manager's largest key update is far below it.
pub const MAX_OUTBOX: usize = 65_536;

/// Who has asked, and for which kind of answer.
pub type Asked = (SenderId, Discriminant<ToMember>);

/// One output that waits for a record.
#[derive(Debug)]
enum Held<E> {
    Transmit(Transmit),
    Answer(Asked, Transmit),
    Event(E),
}

/// The output queues of one machine.
///
/// What follows from a record is handed in with its [`Commit`] and comes out once the driver has reported it stored.
/// Frames of one connection never overtake each other; alarms and repairs wait for nothing.
#[derive(Debug)]
pub struct Outbox<E> {
    records: VecDeque<Record>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<E>,
    held: VecDeque<(Commit, Held<E>)>,
    last: Commit,
    stored: Commit,
}

impl<E> Outbox<E> {
    /// Empty queues; the next record is the one after `last`, which the store already holds.
    pub const fn new(last: Commit) -> Self {
        Self {
            records: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            held: VecDeque::new(),
            last,
            stored: last,
        }
    }

    /// Whether there is no room for the outputs of another input.
    pub fn is_full(&self) -> bool {
        self.transmits.len() + self.held.len() + self.events.len() + self.records.len() >= MAX_OUTBOX
    }

    /// Asks for `bytes` to be made durable and says under which number.
    pub fn record(&mut self, bytes: Vec<u8>) -> Commit {
        self.last = Commit(self.last.0 + 1);
        self.records.push_back(Record { commit: self.last, bytes });
        self.last
    }

    /// The number of the newest record asked for.
    pub const fn last_commit(&self) -> Commit {
        self.last
    }

    /// The number of the newest record known to be durable.
    pub const fn stored(&self) -> Commit {
        self.stored
    }

    /// Sends at once, but never before an earlier frame of the same connection.
    pub fn send(&mut self, transmit: Transmit) {
        match self.held_on(&transmit) {
            Some(commit) => self.held.push_back((commit, Held::Transmit(transmit))),
            None => self.transmits.push_back(transmit),
        }
    }

    /// Sends once `commit` is durable.
    pub fn send_after(&mut self, commit: Commit, transmit: Transmit) {
        let commit = self.held_on(&transmit).map_or(commit, |held| held.max(commit));
        if commit <= self.stored {
            self.transmits.push_back(transmit);
        } else {
            self.held.push_back((commit, Held::Transmit(transmit)));
        }
    }

    /// Sends an answer once `commit` is durable. It takes the place of one of its kind that still waits: a question is
    /// repeated until it is answered, and a store that is down for long would have all the answers go out at once.
    pub fn answer_after(&mut self, commit: Commit, asked: Asked, transmit: Transmit) {
        self.held.retain(|(_, output)| !matches!(output, Held::Answer(held, _) if *held == asked));
        if commit <= self.stored {
            self.transmits.push_back(transmit);
        } else {
            self.held.push_back((commit, Held::Answer(asked, transmit)));
        }
    }

    /// The record that an answer waits for, while it does.
    pub fn awaited(&self, asked: Asked) -> Option<Commit> {
        self.held.iter().find_map(|(commit, output)| match output {
            Held::Answer(held, _) if *held == asked => Some(*commit),
            _ => None,
        })
    }

    /// Tells the application at once.
    pub fn tell(&mut self, event: E) {
        self.events.push_back(event);
    }

    /// Tells the application once `commit` is durable.
    pub fn tell_after(&mut self, commit: Commit, event: E) {
        if commit <= self.stored {
            self.events.push_back(event);
        } else {
            self.held.push_back((commit, Held::Event(event)));
        }
    }

    /// The driver reports everything up to `upto` durable: what waited for it comes out, in order.
    pub fn on_stored(&mut self, upto: Commit) {
        self.stored = self.stored.max(upto.min(self.last));
        let waiting = std::mem::take(&mut self.held);
        for (commit, output) in waiting {
            if commit > self.stored {
                self.held.push_back((commit, output));
                continue;
            }
            match output {
                Held::Transmit(transmit) | Held::Answer(_, transmit) => self.transmits.push_back(transmit),
                Held::Event(event) => self.events.push_back(event),
            }
        }
    }

    /// What waits for a record is dropped, and never told: the machine is not the one any more whose word counts.
    pub fn forget_held(&mut self) {
        self.held.clear();
    }

    /// The connection is gone: frames that wait for it are dropped.
    pub fn forget(&mut self, conn: ConnId) {
        self.held.retain(
            |(_, output)| !matches!(output, Held::Transmit(transmit) if connection(transmit) == Some(conn)),
        );
        self.transmits.retain(|transmit| connection(transmit) != Some(conn));
    }

    /// See [`crate::Machine::poll_record`].
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// See [`crate::Machine::poll_transmit`].
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// See [`crate::Machine::poll_event`].
    pub fn poll_event(&mut self) -> Option<E> {
        self.events.pop_front()
    }

    /// The commit the newest held frame of this transmit's connection waits for.
    fn held_on(&self, transmit: &Transmit) -> Option<Commit> {
        let conn = connection(transmit)?;
        self.held.iter().rev().find_map(|(commit, output)| match output {
            Held::Transmit(held) if connection(held) == Some(conn) => Some(*commit),
            _ => None,
        })
    }
}

/// The connection a transmit belongs to; datagrams belong to none.
const fn connection(transmit: &Transmit) -> Option<ConnId> {
    match transmit {
        Transmit::Frame { conn, .. } | Transmit::Close { conn } | Transmit::Open { conn, .. } => Some(*conn),
        Transmit::Multicast { .. } | Transmit::Unicast { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(conn: u64, byte: u8) -> Transmit {
        Transmit::Frame { conn: ConnId(conn), bytes: vec![byte] }
    }

    fn drain(outbox: &mut Outbox<char>) -> Vec<u8> {
        std::iter::from_fn(|| outbox.poll_transmit())
            .map(|transmit| match transmit {
                Transmit::Frame { bytes, .. } | Transmit::Unicast { bytes, .. } => bytes[0],
                other => panic!("unexpected {other:?}"),
            })
            .collect()
    }

    #[test]
    fn nothing_is_told_before_its_record_is_durable_and_alarms_wait_for_nothing() {
        let mut outbox = Outbox::new(Commit(7));
        let commit = outbox.record(vec![1]);
        assert_eq!(commit, Commit(8));
        outbox.send_after(commit, frame(2, 1));
        outbox.tell_after(commit, 'a');
        outbox.send(Transmit::Unicast { to: ([127, 0, 0, 1], 1).into(), bytes: vec![9] });
        assert_eq!(drain(&mut outbox), [9]);
        assert_eq!(outbox.poll_event(), None);
        outbox.on_stored(commit);
        assert_eq!(drain(&mut outbox), [1]);
        assert_eq!(outbox.poll_event(), Some('a'));
    }

    #[test]
    fn frames_of_a_connection_keep_their_order_behind_a_held_one() {
        let mut outbox: Outbox<char> = Outbox::new(Commit(0));
        let first = outbox.record(vec![1]);
        outbox.send_after(first, frame(2, 1));
        outbox.send(frame(2, 2));
        outbox.send(frame(4, 3));
        assert_eq!(drain(&mut outbox), [3]);
        outbox.on_stored(first);
        assert_eq!(drain(&mut outbox), [1, 2]);
    }

    #[test]
    fn of_the_answers_to_a_question_that_is_repeated_the_newest_waits_and_no_other() {
        let mut outbox: Outbox<char> = Outbox::new(Commit(0));
        let first = outbox.record(vec![1]);
        let kind = |answer: &ToMember| std::mem::discriminant(answer);
        let left = (SenderId(1), kind(&ToMember::LeaveTaken { nonce: 0 }));
        let taken = (SenderId(1), kind(&ToMember::EvidenceTaken { nonce: 0 }));
        let unicast = |byte| Transmit::Unicast { to: ([127, 0, 0, 1], 1).into(), bytes: vec![byte] };
        outbox.answer_after(first, left, unicast(1));
        outbox.answer_after(first, taken, unicast(2));
        outbox.answer_after(first, (SenderId(2), left.1), unicast(3));
        let second = outbox.record(vec![2]);
        outbox.answer_after(second, left, unicast(4));
        outbox.answer_after(first, taken, unicast(5));
        assert_eq!([left, taken].map(|asked| outbox.awaited(asked)), [Some(second), Some(first)]);
        outbox.on_stored(first);
        assert_eq!(drain(&mut outbox), [3, 5]);
        outbox.answer_after(first, left, unicast(6));
        outbox.on_stored(second);
        assert_eq!(drain(&mut outbox), [6], "what waited is of no use any more");
        assert_eq!(outbox.awaited(left), None);
    }

    #[test]
    fn a_report_beyond_what_was_asked_for_does_not_release_the_future() {
        let mut outbox: Outbox<char> = Outbox::new(Commit(0));
        outbox.on_stored(Commit(u64::MAX));
        let commit = outbox.record(vec![1]);
        outbox.send_after(commit, frame(2, 1));
        assert_eq!(drain(&mut outbox), [0_u8; 0]);
    }
}
