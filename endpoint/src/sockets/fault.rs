use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use serde::Serialize;

/// Why a datagram did not leave. Never a reason to stop: each counts as a lost packet, and what was lost is repeated
/// by the same means as any other loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendFault {
    /// This host's own firewall refused it (EPERM, EACCES). Lasts until somebody changes the rules.
    Forbidden,
    /// No route, or the interface is down (ENETUNREACH, EHOSTUNREACH, ENETDOWN, ENODEV). Passes when the link is back.
    Unreachable,
    /// The kernel has no room (ENOBUFS, ENOMEM). Passes at once.
    NoBuffers,
    /// An earlier datagram to that node met a closed port (ECONNREFUSED).
    Refused,
    /// Longer than the interface takes (EMSGSIZE): the same datagram will never go.
    TooLong,
    /// Anything else.
    Other,
}

impl SendFault {
    /// All faults, in the order of [`SendSnapshot`].
    const ALL: [Self; 6] =
        [Self::Forbidden, Self::Unreachable, Self::NoBuffers, Self::Refused, Self::TooLong, Self::Other];

    /// Sorts an error of `sendto` or `recvfrom`.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => Self::Forbidden,
            Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::ENODEV) => {
                Self::Unreachable
            }
            Some(Errno::ENOBUFS | Errno::ENOMEM) => Self::NoBuffers,
            Some(Errno::ECONNREFUSED) => Self::Refused,
            Some(Errno::EMSGSIZE) => Self::TooLong,
            _ => Self::Other,
        }
    }

    /// Whether the same datagram may go through later without anyone doing anything about it.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Forbidden | Self::Unreachable | Self::NoBuffers | Self::Refused)
    }

    /// The word used in counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::NoBuffers => "no_buffers",
            Self::Refused => "refused",
            Self::TooLong => "too_long",
            Self::Other => "other",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for SendFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many datagrams a socket sent and why others did not go. Counted by the socket, read by anyone.
#[derive(Debug, Default)]
pub struct SendCounters {
    sent: AtomicU64,
    faults: [AtomicU64; SendFault::ALL.len()],
}

/// [`SendCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SendSnapshot {
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Not sent: [`SendFault::Forbidden`].
    pub forbidden: u64,
    /// Not sent: [`SendFault::Unreachable`].
    pub unreachable: u64,
    /// Not sent: [`SendFault::NoBuffers`].
    pub no_buffers: u64,
    /// Sent in vain, as the kernel told afterwards: [`SendFault::Refused`].
    pub refused: u64,
    /// Not sent: [`SendFault::TooLong`].
    pub too_long: u64,
    /// Not sent: [`SendFault::Other`].
    pub other: u64,
}

impl SendCounters {
    /// All counts now. Not one instant's: sends may go on between two fields.
    #[must_use]
    pub fn snapshot(&self) -> SendSnapshot {
        let [forbidden, unreachable, no_buffers, refused, too_long, other] =
            SendFault::ALL.map(|fault| self.faults[fault.index()].load(Ordering::Relaxed));
        let sent = self.sent.load(Ordering::Relaxed);
        SendSnapshot { sent, forbidden, unreachable, no_buffers, refused, too_long, other }
    }

    pub(super) fn count(&self, outcome: Result<(), SendFault>) {
        let counter = match outcome {
            Ok(()) => &self.sent,
            Err(fault) => &self.faults[fault.index()],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_firewall_lost_route_and_full_buffers_pass_but_an_overlong_datagram_does_not() {
        for (errno, fault) in [
            (Errno::EPERM, SendFault::Forbidden),
            (Errno::ENETUNREACH, SendFault::Unreachable),
            (Errno::ENOBUFS, SendFault::NoBuffers),
            (Errno::ECONNREFUSED, SendFault::Refused),
        ] {
            assert_eq!(SendFault::of(&errno.into()), fault);
            assert!(fault.is_transient());
        }
        assert_eq!(SendFault::of(&Errno::EMSGSIZE.into()), SendFault::TooLong);
        assert!(!SendFault::TooLong.is_transient());
        assert_eq!(SendFault::of(&io::Error::other("odd")), SendFault::Other);
    }

    #[test]
    fn each_fault_has_its_own_counter() {
        let counters = SendCounters::default();
        counters.count(Ok(()));
        for fault in SendFault::ALL {
            counters.count(Err(fault));
        }
        counters.count(Err(SendFault::Other));
        let seen = counters.snapshot();
        assert_eq!((seen.sent, seen.forbidden, seen.too_long, seen.other), (1, 1, 1, 2));
    }
}
