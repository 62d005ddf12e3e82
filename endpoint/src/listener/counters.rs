use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::tls::TlsRefusal;

/// How many connections came to which end. Counted by the listener, read by anyone at any time.
#[derive(Debug, Default)]
pub struct AdmissionCounters {
    accepted: AtomicU64,
    over_limit: AtomicU64,
    silent: AtomicU64,
    unknown_group: AtomicU64,
    refused: [AtomicU64; TlsRefusal::KINDS.len()],
}

/// [`AdmissionCounters`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdmissionSnapshot {
    /// Handshakes that were completed.
    pub accepted: u64,
    /// Connections closed because their source had too many, or because they waited too long for their turn or for a
    /// machine that is busy.
    pub over_limit: u64,
    /// Handshakes that were completed and followed by no frame that names a group.
    pub silent: u64,
    /// Nodes turned away because the group they named is not served here, or not managed.
    pub unknown_group: u64,
    /// Handshakes that failed, by [`TlsRefusal::kind`]; kinds that never came up are there with 0.
    pub refused: BTreeMap<&'static str, u64>,
}

impl AdmissionCounters {
    /// All counts now. Not one instant's: the listener may count on between two of them.
    #[must_use]
    pub fn snapshot(&self) -> AdmissionSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AdmissionSnapshot {
            accepted: load(&self.accepted),
            over_limit: load(&self.over_limit),
            silent: load(&self.silent),
            unknown_group: load(&self.unknown_group),
            refused: TlsRefusal::KINDS.into_iter().zip(self.refused.iter().map(load)).collect(),
        }
    }

    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn over_limit(&self) {
        self.over_limit.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn silent(&self) {
        self.silent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unknown_group(&self) {
        self.unknown_group.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, why: &TlsRefusal) {
        self.refused[why.index()].fetch_add(1, Ordering::Relaxed);
    }
}
