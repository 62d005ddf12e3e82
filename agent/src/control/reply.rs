//! What is said on the control socket. Names are stable: fields may be added, none changes its meaning under one
//! version. Times are seconds, sizes bytes.

use std::collections::BTreeMap;

use protocol::StateId;
use serde::{Deserialize, Serialize};

use crate::config::Role;
use crate::daemon::Standing;

/// The version of everything here; the `1` of `/v1`.
pub(crate) const VERSION: u32 = 1;

/// What a node is in a group at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleName {
    /// It holds a subgroup's keys.
    Manager,
    /// It is a member, or was one until it was put out.
    Member,
    /// It looks for a manager.
    Searching,
}

impl RoleName {
    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Member => "member",
            Self::Searching => "searching",
        }
    }
}

/// What a node may be in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConfiguredRole {
    /// Manager if it can be and the group has none.
    Auto,
    /// Never manager.
    Member,
    /// Manager from the start.
    Manager,
}

impl From<Role> for ConfiguredRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Auto => Self::Auto,
            Role::Member => Self::Member,
            Role::Manager => Self::Manager,
        }
    }
}

/// Names one state of a subgroup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StateName {
    /// The managership.
    pub(crate) term: u32,
    /// The manager's start within it, in hexadecimal.
    pub(crate) inst: String,
    /// The key update within that.
    pub(crate) epoch: u32,
}

impl From<StateId> for StateName {
    fn from(state: StateId) -> Self {
        Self { term: state.term.0, inst: format!("{:016x}", state.inst.0), epoch: state.epoch.0 }
    }
}

/// Every group of a node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Groups {
    /// See [`VERSION`].
    pub(crate) version: u32,
    /// As they are configured.
    pub(crate) groups: Vec<Status>,
}

/// How a node is in one group.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// See [`VERSION`].
    pub(crate) version: u32,
    /// What it is now.
    pub(crate) role: RoleName,
    /// What it may be.
    pub(crate) configured_role: ConfiguredRole,
    /// Its name.
    pub(crate) identity: String,
    /// The group's name.
    pub(crate) group: String,
    /// The group's identifier.
    pub(crate) group_id: String,
    /// The network interface in use.
    pub(crate) interface: String,
    /// The daemon's process.
    pub(crate) pid: u32,
    /// How long the daemon has run.
    pub(crate) uptime_seconds: f64,
    /// Everything that makes it degraded, in words; empty when all is well.
    pub(crate) problems: Vec<String>,
    /// The subgroup; absent while it is in none.
    pub(crate) subgroup: Option<String>,
    /// The state it holds; absent while it holds none.
    pub(crate) state: Option<StateName>,
    /// Where control messages are multicast.
    pub(crate) control_address: Option<String>,
    /// Where data is multicast.
    pub(crate) data_address: Option<String>,
    /// What the data plane did.
    pub(crate) data: DataCounts,
    /// What the control plane did.
    pub(crate) node: NodeCounts,
    /// At a manager.
    pub(crate) manager: Option<ManagerStatus>,
    /// At a member.
    pub(crate) member: Option<MemberStatus>,
}

/// Data packets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DataCounts {
    /// Delivered to applications, each once.
    pub(crate) delivered: u64,
    /// Had to wait for a key.
    pub(crate) waited: u64,
    /// Dropped, by reason. `own` are the node's own packets come back.
    pub(crate) dropped: BTreeMap<String, u64>,
}

/// Inputs of the node's machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct NodeCounts {
    /// Taken.
    pub(crate) taken: u64,
    /// Rejected, for whatever reason.
    pub(crate) rejected: u64,
    /// The worst delay of a timer since the start.
    pub(crate) worst_lateness_seconds: f64,
}

/// What only a manager has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ManagerStatus {
    /// Where members register.
    pub(crate) registrar: String,
    /// Registrations, its own node's included.
    pub(crate) members: u64,
    /// Members it kept when it came back; absent if it did not come back.
    pub(crate) members_kept: Option<u64>,
    /// Joins and leaves that wait for the next key update.
    pub(crate) pending: u64,
    /// Until it is cut; absent when nothing waits.
    pub(crate) next_rekey_seconds: Option<f64>,
    /// How long joins and leaves are gathered.
    pub(crate) rekey_interval_seconds: f64,
    /// Key updates sent.
    pub(crate) rekeys: u64,
    /// Since the last one.
    pub(crate) last_rekey_seconds_ago: Option<f64>,
    /// The engine of the journal.
    pub(crate) store: String,
    /// Its directory; absent in memory.
    pub(crate) store_path: Option<String>,
    /// How it was found at the start: `fresh`, `whole`, or what is wrong with it.
    pub(crate) store_health: String,
    /// Whether what it holds survives a restart.
    pub(crate) store_survives_restart: bool,
    /// Whether it failed: nobody is admitted any more.
    pub(crate) read_only: bool,
    /// The newest durable record.
    pub(crate) journal: u64,
    /// Who follows this manager, to take over when it is lost; and who should and does not.
    pub(crate) standbys: Vec<StandbyPart>,
    /// Evictions.
    pub(crate) revocations: u64,
    /// Members admitted since the start.
    pub(crate) admitted: u64,
    /// Members gone since the start, by cause.
    pub(crate) departed: BTreeMap<String, u64>,
    /// Nodes that TLS let in and the registrar did not, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Connections at the registrar's door, which is one for all groups.
    pub(crate) tls: TlsCounts,
}

/// A node that takes over when the manager is lost, if it is in step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct StandbyPart {
    /// The name in its certificate.
    pub(crate) identity: String,
    /// Its registration.
    pub(crate) sender: String,
    /// Whether it holds everything that was acknowledged to anybody.
    pub(crate) in_step: bool,
    /// Since when it is; absent while it is not.
    pub(crate) in_step_seconds: Option<f64>,
    /// The newest record it holds, of those that `journal` counts.
    pub(crate) journal: u64,
}

/// Connections at the registrar's door.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TlsCounts {
    /// Handshakes completed.
    pub(crate) accepted: u64,
    /// Connections closed for lack of room.
    pub(crate) over_limit: u64,
    /// Handshakes that failed, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

/// What only a member has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct MemberStatus {
    /// Where it stands.
    pub(crate) standing: Standing,
    /// Why it is not in, or why its latest try failed.
    pub(crate) reason: Option<String>,
    /// The managers it is configured with.
    pub(crate) gsm: Vec<String>,
    /// The name in its manager's certificate.
    pub(crate) manager: Option<String>,
    /// Whether no sign of life came from the manager for longer than the configured silence.
    pub(crate) manager_silent: bool,
    /// Since the node noticed that; absent while the manager is heard.
    pub(crate) manager_silent_seconds: Option<f64>,
    /// The newest state any signed message named.
    pub(crate) known: Option<StateName>,
    /// Its leaf in the key tree.
    pub(crate) leaf: Option<u32>,
    /// Its registration.
    pub(crate) sender: Option<String>,
    /// How often it was refused, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

/// The registrations of a subgroup.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Members {
    /// See [`VERSION`].
    pub(crate) version: u32,
    /// The group's name.
    pub(crate) group: String,
    /// The state they should hold.
    pub(crate) state: StateName,
    /// By leaf.
    pub(crate) members: Vec<ListedMember>,
}

/// One registration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ListedMember {
    /// The name in its certificate.
    pub(crate) identity: String,
    /// Its leaf in the key tree.
    pub(crate) leaf: u32,
    /// The registration.
    pub(crate) sender: String,
    /// `pending` until the next key update lets it in, `in`, or `leaving`.
    pub(crate) standing: String,
    /// Whether it is the manager's own node.
    pub(crate) own: bool,
    /// Whether its certificate allows it to act as manager.
    pub(crate) eligible: bool,
    /// Whether it is in step with the manager, at one that is to take over when the manager is lost; else absent.
    pub(crate) standby_in_step: Option<bool>,
    /// SHA-256 of its certificate, in hexadecimal.
    pub(crate) certificate: String,
    /// The epoch it said it holds.
    pub(crate) epoch: Option<u32>,
    /// Since it was last heard.
    pub(crate) heard_seconds_ago: f64,
    /// Where its last keepalive came from.
    pub(crate) address: Option<String>,
}

/// Asks for an eviction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evict {
    /// The name in the member's certificate.
    pub(crate) identity: String,
}

/// An eviction that is done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Evicted {
    /// Who.
    pub(crate) identity: String,
    /// The first state it cannot read.
    pub(crate) state: StateName,
}

/// Asks for a handover.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandOver {
    /// The name in the standby's certificate; absent for the first one in step.
    pub(crate) to: Option<String>,
}

/// A handover that is done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct HandedOver {
    /// Who manages the group now.
    pub(crate) identity: String,
    /// The group's name.
    pub(crate) group: String,
}

/// A key update that was sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Rekeyed {
    /// The state it led to.
    pub(crate) state: StateName,
    /// Whether somebody was evicted with it.
    pub(crate) hard: bool,
    /// Members let in.
    pub(crate) joins: u64,
    /// Members put out.
    pub(crate) leaves: u64,
    /// Encrypted keys in it.
    pub(crate) entries: u64,
    /// Packets sent.
    pub(crate) packets: u64,
    /// Bytes of UDP payload sent.
    pub(crate) bytes: u64,
}

/// Settings that can be changed while running.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// How long joins and leaves are gathered.
    pub(crate) rekey_interval_seconds: f64,
}

/// What was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Messages, one packet each.
    pub(crate) packets: u64,
    /// Bytes of payload.
    pub(crate) bytes: u64,
}

/// One message that was received.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Received {
    /// The sender's registration.
    pub(crate) sender: String,
    /// The sender's stream.
    pub(crate) stream: String,
    /// Which packet of the stream.
    pub(crate) sequence: u64,
    /// Under which key it came: its term.
    pub(crate) term: u32,
    /// And its epoch.
    pub(crate) epoch: u32,
    /// Its length.
    pub(crate) bytes: u64,
    /// The payload, if it is text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) text: Option<String>,
    /// The payload in hexadecimal, if it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) hex: Option<String>,
}

/// Why a request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// In words.
    pub(crate) error: String,
}
