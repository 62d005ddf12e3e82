use std::io;

/// Why a store did not do what it was asked. State is unchanged in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The caller's fault: a record is missing or comes twice.
    #[error("record {found} where {expected} was due")]
    OutOfOrder {
        /// The commit number that had to come next.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The caller's fault: a snapshot of records the store was never given, or older than the last snapshot.
    #[error("snapshot up to record {upto}, but the store holds {held}")]
    SnapshotOutside {
        /// The last commit the snapshot claims to contain.
        upto: u64,
        /// What the store has, in words.
        held: String,
    },
    /// The medium's fault: nothing is acknowledged, and trying again may help.
    #[error("the medium failed: {0}")]
    Medium(#[from] io::Error),
}
