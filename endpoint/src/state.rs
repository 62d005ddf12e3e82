//! What a node that may manage keeps beyond its own life: journal, signing key, and what they say at its next start.

mod signing_key;

use std::path::PathBuf;

use crypto::{Ed25519Signer, Secret};
use gsm::{Journal, Remembered};
use protocol::{Commit, GroupId};
use storage::{Health, Loaded, MemoryStore, StateDirs, Store, StoreKind};
use tokio::task::spawn_blocking;

use crate::host::StartError;
use crate::node::system_randomness;
use crate::store_thread::open_store;

pub use signing_key::SigningKeyError;

/// Where a node that may manage keeps what it must not forget: members, evictions, and the key it signs with.
pub enum State {
    /// Nowhere: when the process ends, everybody has to register again, and evictions are forgotten.
    Memory,
    /// On this machine's disk: members are kept over a restart, and who was evicted stays out. Each group has a
    /// directory of its own in both, named by the group's identifier; they are made if they are missing. One process
    /// alone may have them open.
    Directory {
        /// For what is sealed: `/var/lib/conclave` for example.
        data: PathBuf,
        /// For what opens it, and for the signing key; not inside `data`: `/etc/conclave/keys` for example.
        keys: PathBuf,
    },
    /// In an engine of the program's own. Its signing key is new at each start, so nobody is kept over a restart.
    Engine(Box<dyn Store>),
}

/// How a node's journal is kept, and how it was found at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreFacts {
    /// Which engine keeps it.
    pub kind: StoreKind,
    /// The directory of what is sealed; `None` where there is none.
    pub directory: Option<PathBuf>,
    /// How it was found. `Behind` and `Damaged` mean that all members have to register again.
    pub health: Health,
}

/// What the journal says of the time before this start.
#[derive(Default)]
pub(crate) struct Past {
    pub(crate) remembered: Option<Remembered>,
    pub(crate) journal: Journal,
    pub(crate) health: Health,
}

/// State that is open.
pub(crate) struct OpenState {
    pub(crate) store: Box<dyn Store>,
    pub(crate) signer: Ed25519Signer,
    pub(crate) past: Past,
    pub(crate) facts: StoreFacts,
}

impl State {
    /// Opens it for one group. What can be wrong with it is an error only where nothing can be known of the past; the
    /// rest is in the past's health.
    pub(crate) async fn open(self, group: GroupId, name: &str) -> Result<OpenState, StartError> {
        match self {
            Self::Memory => Self::open_engine(Box::new(MemoryStore::new()), name).await,
            Self::Engine(store) => Self::open_engine(store, name).await,
            Self::Directory { data, keys } => {
                let own = group.to_string();
                let dirs = StateDirs { data: data.join(&own), keys: keys.join(&own) };
                let (directory, keys) = (Some(dirs.data.clone()), dirs.keys.clone());
                let (store, loaded) = open_store(dirs).await?;
                // The store's lock keeps every other process from making another one at this moment.
                let signer = spawn_blocking(move || signing_key::read_or_make(&keys)).await;
                let signer = signer.map_err(|panic| StartError::Thread(std::io::Error::other(panic)))??;
                Ok(OpenState::new(store, signer, loaded, directory, name))
            }
        }
    }

    async fn open_engine(mut store: Box<dyn Store>, name: &str) -> Result<OpenState, StartError> {
        let loaded = store.load().await?;
        let signer = Ed25519Signer::from_seed(&Secret::random(&mut *system_randomness()));
        Ok(OpenState::new(store, signer, loaded, None, name))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            Self::Directory { data, keys } => {
                f.debug_struct("Directory").field("data", data).field("keys", keys).finish()
            }
            Self::Engine(store) => write!(f, "Engine({})", store.describe()),
        }
    }
}

impl OpenState {
    fn new(
        store: Box<dyn Store>,
        signer: Ed25519Signer,
        loaded: Loaded,
        directory: Option<PathBuf>,
        name: &str,
    ) -> Self {
        let kind = store.describe();
        let past = Past::read(loaded);
        // What to make of it is for whoever asks for the facts.
        tracing::debug!(group = name, health = %past.health, "the store is open");
        let facts = StoreFacts { kind, directory, health: past.health.clone() };
        Self { store, signer, past, facts }
    }
}

impl Past {
    /// Reads the journal. One that cannot be read to its end counts as damaged, with what could be read. The bytes, which
    /// may hold leaf secrets, are wiped as they are dropped.
    fn read(loaded: Loaded) -> Self {
        let next = loaded.next_commit();
        let doubtful = matches!(loaded.health, Health::Behind { .. } | Health::Damaged { .. });
        let snapshot = loaded.snapshot.as_ref().map(|held| (Commit(held.upto), &held.bytes[..]));
        let records = loaded.records.iter().map(|record| (Commit(record.commit), &record.bytes[..]));
        let read = Remembered::from_loaded(snapshot, records, doubtful);
        let (remembered, health) = match read {
            Ok(remembered) => (remembered, loaded.health),
            Err(error) => {
                let (held, anchored) = match loaded.health {
                    Health::Behind { held, anchored } | Health::Damaged { held, anchored, .. } => {
                        (held, anchored)
                    }
                    Health::Fresh | Health::Whole => (next - 1, next - 1),
                };
                let health = Health::Damaged { what: error.to_string(), held, anchored };
                (Some(error.salvaged()), health)
            }
        };
        Self { remembered, journal: Journal { last: Commit(next - 1) }, health }
    }
}
