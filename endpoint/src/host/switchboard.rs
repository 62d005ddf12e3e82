//! Which groups this process serves, and where what arrives for each of them goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{Envelope, GroupId};
use tokio::sync::mpsc;

use super::inbox::{Inbox, Slot, inbox};
use crate::listener::Arrival;

/// Connections through TLS that may wait for one group's machine.
const MAX_ARRIVALS: usize = 256;

/// The groups of a process by their identifiers.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    desks: Mutex<BTreeMap<GroupId, Desk>>,
    counters: Counters,
}

/// Where what arrives for one group goes.
#[derive(Debug)]
struct Desk {
    letters: Slot,
    arrivals: mpsc::Sender<Arrival>,
    /// Whether its node is a manager now.
    accepts: bool,
}

#[derive(Debug, Default)]
struct Counters {
    unknown_group: AtomicU64,
    too_short: AtomicU64,
    queue_full: AtomicU64,
}

/// Datagrams on the shared unicast socket that no group got, since the host was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct StraySnapshot {
    /// For a group that is not served here.
    pub unknown_group: u64,
    /// Too short to name a group.
    pub too_short: u64,
    /// Lost because their own group's queue was full.
    pub queue_full: u64,
}

/// Who takes the connections for a group.
#[derive(Debug)]
pub(crate) enum Acceptor {
    /// The machine of a manager.
    Machine(mpsc::Sender<Arrival>),
    /// The group is served here, and its node is no manager now.
    NoManager,
    /// The group is not served here.
    Unknown,
}

/// One group's place at the switchboard, given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    group: GroupId,
    board: Arc<Switchboard>,
    accepts: bool,
    /// Datagrams for the group that came by the shared socket.
    pub(crate) inbox: Inbox,
    /// Connections for the group, each with its first frame.
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
}

impl Switchboard {
    /// A place for `group`; `None` when it has one. At first no connections are accepted.
    pub(crate) fn seat(self: &Arc<Self>, group: GroupId) -> Option<Seat> {
        let (letters, inbox) = inbox();
        let (sender, arrivals) = mpsc::channel(MAX_ARRIVALS);
        let mut desks = self.desks();
        if desks.contains_key(&group) {
            return None;
        }
        desks.insert(group, Desk { letters, arrivals: sender, accepts: false });
        drop(desks);
        Some(Seat { group, board: Arc::clone(self), accepts: false, inbox, arrivals })
    }

    /// Hands a datagram to the group it names. Nothing about it is believed yet.
    pub(crate) fn deliver(&self, from: SocketAddr, datagram: &[u8]) {
        let lost = match Envelope::group_of(datagram) {
            None => &self.counters.too_short,
            Some(group) => match self.desks().get(&group) {
                None => &self.counters.unknown_group,
                Some(desk) if !desk.letters.put(from, datagram) => &self.counters.queue_full,
                Some(_) => return,
            },
        };
        lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Who takes connections for `group`.
    pub(crate) fn acceptor(&self, group: GroupId) -> Acceptor {
        match self.desks().get(&group) {
            None => Acceptor::Unknown,
            Some(desk) if desk.accepts => Acceptor::Machine(desk.arrivals.clone()),
            Some(_) => Acceptor::NoManager,
        }
    }

    pub(crate) fn strays(&self) -> StraySnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StraySnapshot {
            unknown_group: load(&self.counters.unknown_group),
            too_short: load(&self.counters.too_short),
            queue_full: load(&self.counters.queue_full),
        }
    }

    fn desks(&self) -> MutexGuard<'_, BTreeMap<GroupId, Desk>> {
        // Nothing is left half done under this lock, so a panic elsewhere does not spoil what it guards.
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Says whether the group's node takes registrations now. Called after every turn of the driver, so that what the
    /// listener does follows the machine's role and is never told of it separately.
    pub(crate) fn accept(&mut self, accepts: bool) {
        if self.accepts != accepts {
            self.accepts = accepts;
            if let Some(desk) = self.board.desks().get_mut(&self.group) {
                desk.accepts = accepts;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.desks().remove(&self.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    fn group(last: u8) -> GroupId {
        GroupId::from_bytes([last; GroupId::LEN])
    }

    fn datagram(group: GroupId, len: usize) -> Vec<u8> {
        let mut bytes = vec![1, 1, 0, 1];
        bytes.extend_from_slice(group.as_bytes());
        bytes.resize(len.max(bytes.len()), 0);
        bytes
    }

    #[test]
    fn a_datagram_goes_to_the_group_it_names_and_to_no_other() {
        let board = Arc::new(Switchboard::default());
        let (mut ours, mut theirs) = (board.seat(group(1)).unwrap(), board.seat(group(2)).unwrap());
        board.deliver(FROM, &datagram(group(2), 40));
        board.deliver(FROM, &datagram(group(3), 40));
        board.deliver(FROM, &datagram(group(2), 40)[..19]);
        assert!(ours.inbox.try_recv().is_none());
        assert_eq!(theirs.inbox.try_recv().unwrap().bytes, datagram(group(2), 40));
        assert!(theirs.inbox.try_recv().is_none());
        assert_eq!(board.strays(), StraySnapshot { unknown_group: 1, too_short: 1, queue_full: 0 });
    }

    #[test]
    fn a_flood_for_one_group_costs_the_other_nothing() {
        let board = Arc::new(Switchboard::default());
        let (mut flooded, mut other) = (board.seat(group(1)).unwrap(), board.seat(group(2)).unwrap());
        for len in [40, 60_000] {
            (0..10_000).for_each(|_| board.deliver(FROM, &datagram(group(1), len)));
            assert!(board.strays().queue_full > 5_000);
            board.deliver(FROM, &datagram(group(2), 40));
            assert!(other.inbox.try_recv().is_some());
            let waiting: usize =
                std::iter::from_fn(|| flooded.inbox.try_recv()).map(|letter| letter.bytes.len()).sum();
            assert!((1..=4 << 20).contains(&waiting), "{waiting}");
        }
        board.deliver(FROM, &datagram(group(1), 40));
        assert!(flooded.inbox.try_recv().is_some(), "a queue that was emptied takes the next");
    }

    #[test]
    fn a_group_has_one_place_and_it_is_free_again_when_given_up() {
        let board = Arc::new(Switchboard::default());
        let seat = board.seat(group(1)).unwrap();
        assert!(board.seat(group(1)).is_none());
        drop(seat);
        assert!(board.seat(group(1)).is_some());
    }

    #[test]
    fn connections_are_taken_only_while_the_node_is_a_manager() {
        let board = Arc::new(Switchboard::default());
        assert!(matches!(board.acceptor(group(1)), Acceptor::Unknown));
        let mut seat = board.seat(group(1)).unwrap();
        assert!(matches!(board.acceptor(group(1)), Acceptor::NoManager));
        seat.accept(true);
        assert!(matches!(board.acceptor(group(1)), Acceptor::Machine(_)));
        seat.accept(false);
        assert!(matches!(board.acceptor(group(1)), Acceptor::NoManager));
    }
}
