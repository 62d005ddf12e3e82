//! The group security manager of a Conclave subgroup as a sans-IO machine.
//!
//! It has no clock, no randomness, no socket and no thread of its own: `now` is an argument, and the driver hands in
//! randomness and the signing key when it starts one. The parts are those of GSM Fig. 2: registrar, key manager with
//! key generator (`keytree`), transmitter, crypto, control and timer.

mod acl;
mod admission;
mod answering;
mod config;
mod event;
mod gsm;
mod handing;
mod journal;
mod key_manager;
mod member_list;
mod merge;
mod operator;
mod packing;
mod participant;
mod policy;
mod presence;
mod promised;
mod recording;
mod registrar;
mod rekeying;
mod remembered;
mod renewal;
mod replication;
mod revoking;
mod service;
mod snapshot;
mod standby;
mod starting;
mod takeover;
mod term;
mod transmitter;

pub use acl::{AccessList, AccessRule};
pub use config::GsmConfig;
pub use event::{Departure, GsmEvent, RekeySummary, StandbyGone};
pub use gsm::Gsm;
pub use journal::{JoinedEntry, JournalEntry, LedgerBytes};
pub use member_list::{Listed, Standing};
pub use operator::{GsmStatus, RequestError, StandbyStatus};
pub use participant::{
    Eligible, ManagerConfig, Mode, NotEligible, Part, Participant, ParticipantConfig, ParticipantEvent,
};
pub use presence::PresenceConfig;
pub use promised::Promised;
pub use remembered::{Flaw, Journal, JournalError, Remembered};
