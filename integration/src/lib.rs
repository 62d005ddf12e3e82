//! A seeded world for Conclave's machines, and an oracle that looks on.
//!
//! [`World`] runs any number of nodes, each a [`gsm::Participant`], unchanged, with its data plane and its store, on a
//! virtual clock and a LAN that delays, loses, doubles, reorders and replays. Any node may manage, and is killed and
//! started again at any point. Everything in a run follows from its seed and its [`Scenario`], so a failing seed replays
//! exactly. The [`Oracle`] keeps its own books and checks secrecy, agreement, delivery and durability after each event,
//! liveness at the end.
//!
//! Nothing here sleeps or reads a clock: an hour of the group's life takes seconds.

mod cast;
mod churn;
mod connections;
mod dice;
mod drawn;
mod driver;
mod election;
mod faults;
pub mod loss;
mod network;
mod node;
mod oracle;
mod process;
mod queue;
mod report;
mod scenario;
mod setup;
mod signatures;
mod store;
mod streams;
mod trace;
mod traffic;
mod trouble;
mod world;

pub use cast::{Cast, Delivered, Honest, Player, Receiver};
pub use dice::Dice;
pub use election::ElectionReport;
pub use faults::{LanFaults, StoreFaults};
pub use network::Cut;
pub use node::NodeId;
pub use oracle::{Oracle, Property, Registered, Roll, Setting, Violation};
pub use process::Back;
pub use report::{Failure, Log, Report};
pub use scenario::{Churn, Scenario};
pub use signatures::{FakeCertifier, FakeSigner, FakeVerifier};
pub use trace::{Kind, Line, Trace};
pub use world::World;
