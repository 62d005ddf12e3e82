use std::io;
use std::path::PathBuf;

/// Why a store did not do what it was asked. State is unchanged in every case but one: an append that failed may be there after a restart.
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
    /// Another process, or another store of this one, has the directory open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The operator's fault: somebody else on this machine could read a secret.
    #[error("{} can be read by others (mode {mode:04o}): take that right away, `chmod go= {}`", path.display(), path.display())]
    TooOpen {
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The operator's fault: what opens the state would lie beside it, in every copy of it.
    #[error("the keys directory {} lies inside the data directory: keep it elsewhere", path.display())]
    KeysInside {
        /// The keys directory.
        path: PathBuf,
    },
    /// There is state, but the file that opens it is gone. A new key is never made in its place: the state would be
    /// lost, and evictions with it.
    #[error("{} is missing, but there is state sealed under it: restore the file", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
    },
    /// The key file does not belong to this state, or one of the two was altered.
    #[error("{} does not open under the key beside it: restore the keys directory as it was", path.display())]
    WrongKey {
        /// The file that does not open.
        path: PathBuf,
    },
    /// [`Store::load`](crate::Store::load) comes first: without it a store cannot tell what it may append.
    #[error("the store was not loaded")]
    NotLoaded,
    /// The engine failed in a way that is not an error of the medium: nothing is acknowledged, trying again may help.
    #[error("the store's engine failed: {0}")]
    Engine(String),
    /// The medium's fault: nothing is acknowledged, and trying again may help.
    #[error("the medium failed: {0}")]
    Medium(#[from] io::Error),
}
