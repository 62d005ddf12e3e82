//! What happens in a demonstration, one line each: the only thing its verdict is made of.

use std::fmt;

use protocol::StateId;
use serde::{Deserialize, Serialize};

/// One thing that happened, as `--json` prints it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// When, in microseconds since the demonstration began. All processes read the clock of the same boot.
    pub(super) at_us: u64,
    /// What.
    #[serde(flatten)]
    pub(super) event: Event,
}

/// One group key: the term of the managership it is from, and its number within that. A manager that was started again
/// begins a new term, and counts anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub(super) struct Key {
    /// The term.
    pub(super) term: u32,
    /// The epoch within it.
    pub(super) epoch: u32,
}

impl From<StateId> for Key {
    fn from(state: StateId) -> Self {
        Self { term: state.term.0, epoch: state.epoch.0 }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.epoch)
    }
}

/// What happened. `node` is always the short name of a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The authority is made and the file to be sent is there.
    Prepared {
        /// The group's name.
        group: String,
        /// The file's name.
        file: String,
        /// Its length in bytes.
        bytes: u64,
    },
    /// A process was started.
    Started {
        /// Which.
        node: String,
        /// Its process id.
        process: u32,
        /// What it is there for.
        role: Role,
    },
    /// A node was elected, and manages the group from now on.
    Elected {
        /// Which.
        node: String,
    },
    /// A manager granted a registration to a node, as the node says.
    Registered {
        /// Which node.
        node: String,
    },
    /// The manager made a registration durable.
    Admitted {
        /// Whose.
        node: String,
    },
    /// The manager took a member off its list.
    Departed {
        /// Whom.
        node: String,
        /// Why, in the manager's word.
        why: String,
    },
    /// The manager changed the group key.
    Rekeyed {
        /// The key it led to.
        #[serde(flatten)]
        key: Key,
        /// Whether somebody was evicted.
        hard: bool,
        /// Members let in by it.
        joins: usize,
        /// Members put out by it.
        leaves: usize,
        /// Keys in it, each wrapped under another.
        entries: usize,
        /// Packets of it.
        packets: usize,
        /// Bytes of UDP payload of these packets.
        bytes: usize,
    },
    /// A member holds its first group key.
    Joined {
        /// Who.
        node: String,
        /// The first key it holds.
        #[serde(flatten)]
        key: Key,
    },
    /// A member holds a further group key.
    Installed {
        /// Who.
        node: String,
        /// Which.
        #[serde(flatten)]
        key: Key,
    },
    /// The sender begins.
    StreamBegan {
        /// Who sends.
        node: String,
        /// Packets a second it aims at.
        rate: u32,
    },
    /// Packets were sent, all under one key, numbered without a gap.
    Sent {
        /// Who sent.
        node: String,
        /// Under which key.
        #[serde(flatten)]
        key: Key,
        /// The number of the first.
        first: u64,
        /// When each was sealed, in microseconds since the demonstration began.
        sent_us: Vec<u64>,
        /// Bytes of the file in them, and the 8 of each packet's number.
        bytes: u64,
    },
    /// A member received packets, numbered without a gap; their content was compared with the file.
    Received {
        /// Who.
        node: String,
        /// Under which key.
        #[serde(flatten)]
        key: Key,
        /// The number of the first.
        first: u64,
        /// The number of the last.
        last: u64,
        /// How many of them held something else than the file.
        wrong: u64,
    },
    /// The adversary caught packets with a socket of its own, numbered without a gap.
    Intercepted {
        /// Who.
        node: String,
        /// Under which key they claim to be.
        #[serde(flatten)]
        key: Key,
        /// The number of the first.
        first: u64,
        /// The number of the last.
        last: u64,
        /// Whether they are of the file's stream; other packets are not numbered with it.
        file: bool,
        /// Whether it could read them. Packets said to be unread may be said to be read later, if it learns a key.
        read: bool,
    },
    /// The adversary tried everything it ever held on a key update.
    UpdateAttacked {
        /// Who.
        node: String,
        /// The key the update leads to.
        #[serde(flatten)]
        key: Key,
        /// Secrets it held from before.
        secrets: usize,
        /// Wrapped keys it tried them on, with each other's outcome: the number of attempts.
        attempts: usize,
        /// Whether one of them is the new group key.
        opened: bool,
    },
    /// What the adversary asked the manager for so far, and what it got. Counts grow.
    Asked {
        /// Who.
        node: String,
        /// Requests on the control address for key updates it "lost".
        naks: u64,
        /// Requests under its unicast key for its path of the key tree.
        resyncs: u64,
        /// Answers to the latter.
        answers: u64,
    },
    /// The adversary tried to register again with its certificate.
    Reregistered {
        /// Who.
        node: String,
        /// Whether it was let in.
        admitted: bool,
        /// What it was told.
        why: String,
    },
    /// The operator is about to ask for a key change.
    RekeyRequested {},
    /// The operator is about to evict a member.
    EvictRequested {
        /// Whom.
        node: String,
    },
    /// The manager says that the eviction is durable and its key update is out.
    Evicted {
        /// Who.
        node: String,
        /// The first key it does not know.
        #[serde(flatten)]
        key: Key,
    },
    /// The manager's process is about to be killed, without a word of warning to it.
    Killed {
        /// Which.
        node: String,
    },
    /// The manager came back with what its journal says.
    Resumed {
        /// Which.
        node: String,
        /// Members it kept, its own node not counted.
        members: u64,
        /// The term it begins.
        term: u32,
    },
    /// A standby holds everything that its manager acknowledged to anybody.
    StandsBy {
        /// Which.
        node: String,
    },
    /// The manager's process is about to be killed, and stays dead until another node has taken over.
    Lost {
        /// Which.
        node: String,
    },
    /// A standby has taken over, in this term.
    Succeeded {
        /// Which.
        node: String,
        /// The term it begins.
        term: u32,
    },
    /// The manager's host is about to send a message of its own to the group.
    Greeting {
        /// Which.
        node: String,
    },
    /// A member read that message.
    Greeted {
        /// Which.
        node: String,
        /// Under which key.
        #[serde(flatten)]
        key: Key,
    },
    /// A member is about to leave.
    LeaveRequested {
        /// Who.
        node: String,
    },
    /// A member has left.
    Left {
        /// Who.
        node: String,
        /// Whether the manager said so.
        acknowledged: bool,
    },
    /// The sender has sent its last packet.
    StreamEnded {
        /// Who.
        node: String,
        /// How many it sent.
        packets: u64,
    },
    /// Something that must not happen: a process died, a deadline passed.
    Broken {
        /// What.
        why: String,
    },
    /// Everything is over; processes end.
    Over {},
}

/// What a process is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// A host whose daemon may manage the group.
    Host,
    /// The member that sends the file.
    Sender,
    /// A member that receives it.
    Receiver,
    /// A member that keeps every key, and is evicted.
    Adversary,
}

/// The figures of a demonstration. The names are those of the last line of `--json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Members in the group when the stream began, the manager's own node not counted.
    pub(super) members: u64,
    /// Group keys there were, in all terms.
    pub(super) epochs: u64,
    /// Members let in. At the end there are `joins − leaves − evictions` members.
    pub(super) joins: u64,
    /// Members that left by themselves.
    pub(super) leaves: u64,
    /// Members put out.
    pub(super) evictions: u64,
    /// Bytes of payload the sender handed in.
    pub(super) bytes_sent: u64,
    /// Bytes of UDP payload of all key updates; repairs are not counted.
    pub(super) key_update_bytes: u64,
    /// From the beginning to the end.
    pub(super) elapsed_ms: u64,
    /// Key updates between the first packet of the stream and the last.
    pub(super) rekeys_during_stream: u64,
    /// Packets of the stream.
    pub(super) packets_sent: u64,
    /// Packets sent minus packets received, summed over the members that were in for the whole stream: all packets but
    /// those of `packets_lost_at_eviction`, `packets_lost_at_restart` and `packets_lost_at_failover`.
    pub(super) packets_lost_at_rekey: u64,
    /// The same for the packets sent under the hard epoch, and for those sent under an older one since the eviction was
    /// requested: what the hard switch could have cut off.
    pub(super) packets_lost_at_eviction: u64,
    /// From the request to evict until the first packet was sealed under the hard epoch, rounded up.
    pub(super) evict_to_switch_ms: u64,
    /// Packets the evicted node read that were sent before that first packet; more than 0, or its attack is no attack.
    pub(super) evicted_read_before_switch: u64,
    /// Packets it caught from that first packet on.
    pub(super) evicted_seen_after_switch: u64,
    /// How many of those it could read, and of all other packets since.
    pub(super) evicted_read_after_switch: u64,
    /// From the start of the first process that may manage until one of them was elected.
    pub(super) election_ms: u64,
    /// How often a node was elected, from the beginning to the end; a standby takes over without.
    pub(super) managers_elected: u64,
    /// Nodes that were in when the manager was killed, the manager's own not counted.
    pub(super) restart_live_members: u64,
    /// Members the manager kept, by its own word.
    pub(super) restart_members_kept: u64,
    /// Live members that read a packet under a key of the new term.
    pub(super) read_after_restart: u64,
    /// Registrations granted after the kill to nodes that were in.
    pub(super) restart_reregistrations: u64,
    /// Like `packets_lost_at_rekey`, for the packets sent since the kill up to those under the first key of the new term.
    pub(super) packets_lost_at_restart: u64,
    /// From the moment the manager's process was started again until the first packet was sealed under a key of its new
    /// term, rounded up.
    pub(super) restart_ms: u64,
    /// Nodes that were in when the manager was killed for good, the manager's own not counted.
    pub(super) failover_live_members: u64,
    /// Live members that read a packet under a key of the standby's term.
    pub(super) read_after_failover: u64,
    /// Registrations granted after that kill to nodes that were in.
    pub(super) failover_reregistrations: u64,
    /// Like `packets_lost_at_restart`, for the packets sent since that kill up to those under the standby's first key.
    pub(super) packets_lost_at_failover: u64,
    /// From that kill until the first packet was sealed under a key of the standby's term, rounded up.
    pub(super) failover_ms: u64,
}
