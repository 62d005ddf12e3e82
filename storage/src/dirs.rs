use std::path::PathBuf;

/// Where one group's state is kept: what is sealed, and apart from it what opens it.
///
/// Both directories belong to one group and one process alone. They are apart so that a copy of the data directory, a
/// backup for example, opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirs {
    /// The journal and its snapshot, sealed, and nothing else: `/var/lib/conclave/GROUP` for example.
    pub data: PathBuf,
    /// The key file, the data keys wrapped under it, and the anchor: `/etc/conclave/keys/GROUP` for example. It must be
    /// writable, since the anchor is written with every commit.
    pub keys: PathBuf,
}
