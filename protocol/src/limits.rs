//! Every time and bound of the protocol, with its default and its reason. Other files and the docs take them from here.

use std::time::Duration;

/// The largest payload of a datagram of ours, in bytes: fits an Ethernet frame with room for tunnels.
pub const MAX_DATAGRAM: usize = 1_200;
/// The smallest configurable size of a key update packet: a header, one entry a level and the proofs still fit.
pub const MIN_DATAGRAM: usize = 576;
/// The largest frame of a TLS connection, in bytes.
pub const MAX_FRAME: usize = 65_536;
/// The longest identity taken from a certificate, in bytes; no shorter than what `crypto` reads out of one.
pub const MAX_IDENTITY: usize = 512;
/// The most revocations a grant lists: the newest ones, within one frame.
pub const MAX_GRANT_REVOCATIONS: usize = 256;
/// Revocations in one datagram.
pub const MAX_REVOCATIONS_A_PACKET: usize = 6;
/// Revocations a node keeps; a manager evicts nobody beyond, for nobody could be told.
pub const MAX_REVOCATIONS: usize = 65_536;
/// The longest certificate a mandate carries, in bytes: with an alarm beside it a presence still fits a datagram.
pub const MAX_MANDATE_CERTIFICATE: usize = 700;
/// The longest presence, in bytes: a member can pass it on within an answer no longer than the question.
pub const MAX_PRESENCE: usize = 1_160;
/// FINDs of one search before an eligible node stands for election.
pub const FINDS: u32 = 3;
/// How long each of them waits for answers.
pub const FIND_WAIT: Duration = Duration::from_millis(300);
/// The longest random wait before a FIND is answered.
pub const REPLY_DELAY: Duration = Duration::from_millis(50);
/// Answers to FIND a node gives in a second, to all together.
pub const REPLIES_PER_SECOND: u32 = 100;
/// The longest random wait before a claim.
pub const CLAIM_BACKOFF: Duration = Duration::from_millis(500);
/// How long a claim stands before the claimant is manager.
pub const CLAIM_WINDOW: Duration = Duration::from_secs(1);
/// The priority of a claim unless the operator sets one. A node whose store failed claims with 0.
pub const DEFAULT_PRIORITY: u16 = 100;
/// How often a claim is sent within its window.
pub const CLAIMS_SENT: u32 = 3;
/// How long who withdrew waits for the claimant's presence after its window.
pub const CLAIMANT_SILENCE: Duration = Duration::from_secs(1);
/// How long the claims of a claimant are ignored whose presence did not follow.
pub const CLAIMANT_IGNORED: Duration = Duration::from_secs(60);
/// Between two presences of a manager.
pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(2);
/// Managers a searching node remembers unproven.
pub const MAX_CANDIDATES: usize = 32;
/// How long an address is not tried again that did not prove to be a manager.
pub const CANDIDATE_BACKOFF: Duration = Duration::from_secs(60);
/// Connections to candidates at once.
pub const MAX_ATTEMPTS: usize = 8;
/// Between the beginnings of two of them.
pub const ATTEMPT_STAGGER: Duration = Duration::from_millis(250);
/// How long one of them may take, TLS included.
pub const ATTEMPT_DEADLINE: Duration = Duration::from_secs(2);
/// Checks of certificates a second that discovery may cause at one node.
pub const CERTIFICATE_CHECKS_PER_SECOND: u32 = 50;
/// Alarm intervals a starting manager listens before it speaks.
pub const LISTENING_INTERVALS: u32 = 2;
/// How long a starting manager waits for answers to its question; it asks three times within.
pub const QUESTION_WAIT: Duration = Duration::from_millis(400);
/// Members a starting manager asks, at random.
pub const MEMBERS_ASKED: u32 = 16;
/// Terms above the own one that are taken from multicast.
pub const MAX_TERM_JUMP: u32 = 65_536;
/// The most eligible members a roster lists.
pub const MAX_ROSTER: usize = 64;
/// Successors named in an alarm.
pub const MAX_SUCCESSORS: usize = 5;
/// Standbys that follow a manager: the first of the successors.
pub const STANDBYS: usize = 2;
/// How long a key update waits for a standby to acknowledge what it follows from. After that it is not in step.
pub const STANDBY_LAG: Duration = Duration::from_millis(50);
/// How long anything acknowledged waits for a standby. One that is silent for so long is not waited for any more.
pub const STANDBY_SILENCE: Duration = Duration::from_millis(300);
/// The most bytes of a manager's state in one frame to a standby.
pub const MAX_STATE_PART: usize = 32_768;
/// How long the answer to a probe may take. The probe goes out so long before the silence ends.
pub const PROBE_WAIT: Duration = Duration::from_millis(300);
/// The longest random wait before a suspicion; a quarter of it at least for all but the first hundred members.
pub const SUSPICION_WAIT: Duration = Duration::from_millis(60);
/// Suspicions of others after which a member keeps its own to itself.
pub const SUSPICIONS_HEARD: usize = 3;
/// Suspicions in a takeover.
pub const MAX_SUSPICIONS: usize = 4;
/// How many alarms behind the newest one a suspicion may be: as many as fit into the silence.
pub const SUSPICION_SLACK: u64 = 12;
/// From one successor's turn to take over to the next one's.
pub const SUCCESSION_STAGGER: Duration = Duration::from_millis(700);
/// From the loss of a manager to the election of another one, where no successor takes over.
pub const NO_SUCCESSOR: Duration = Duration::from_secs(3);
/// Between two takeovers of a new manager, which repeats it for [`TAKEOVER_REPEATED`].
pub const TAKEOVER_INTERVAL: Duration = Duration::from_secs(2);
/// How long a new manager repeats its takeover, and how long credentials of the manager before count.
pub const TAKEOVER_REPEATED: Duration = Duration::from_secs(60);
/// How long after a takeover the manager before may come back as a member. After that it counts as removed.
pub const RETURN_TIME: Duration = Duration::from_secs(30);
/// How long after a renewal its datagram goes out with each alarm.
pub const RENEWAL_REPEATED: Duration = Duration::from_secs(10);
/// Departures a manager remembers, to hand them over when it gives way; older ones are forgotten.
pub const MAX_DEPARTED: usize = 4_096;
/// Sender ids in one frame of a handover, of each kind.
pub const MAX_HANDED: usize = 2_048;
/// Subgroups on the path to the root.
pub const MAX_DEPTH: usize = 16;
/// The most packets of one key update, parity included; their number is 16 bits on the wire.
pub const MAX_UPDATE_PACKETS: usize = 65_535;
/// Packets of a block of forward error correction, parity included: a NAK names them by one bit each.
pub const MAX_BLOCK_PACKETS: usize = 64;
/// Data packets of a block, at most. The larger a block, the fewer packets go out for each data packet until all of its members
/// can decode, for the less one of them is behind the others.
pub const BLOCK_DATA: u8 = 20;
/// Parity packets of a block, at most: those sent at once and those kept for repair.
pub const MAX_BLOCK_PARITY: u8 = 44;
/// Parity packets of a block that are signed with the others and kept for repair.
pub const SPARE_PARITY: u8 = 8;
/// Between the data of a key update and its parity, and between one half of that and the other: longer than most bursts in
/// which a LAN loses packets, shorter than the wait before a NAK.
pub const PARITY_DELAY: Duration = Duration::from_millis(4);
/// How many epochs a manager keeps the packets of, to answer NAKs.
pub const KEPT_UPDATES: usize = 8;
/// Data packets that wait for a key not yet held.
pub const MAX_WAITING_PACKETS: usize = 256;
/// The same from one source address.
pub const MAX_WAITING_PER_SOURCE: usize = 64;
/// How long they wait.
pub const WAITING_TIME: Duration = Duration::from_secs(4);
/// Signature checks a second that datagrams may cause at one node (a budget, not a queue).
pub const SIGNATURE_CHECKS_PER_SECOND: u32 = 500;
/// Time between two resync requests of one member. A manager gives it as many answers, and one more at once, for the
/// network brings requests closer together than they were sent.
pub const RESYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Resync answers a manager gives in a second, to all members together.
pub const RESYNC_ANSWERS_PER_SECOND: u32 = 2_000;
/// How much multicast repair one epoch may cost, as a multiple of its key update's bytes without parity.
pub const REPAIR_BYTES_FACTOR: usize = 3;
/// The least loss a manager reckons with, in thousandths: one parity packet a block, and a single packet is not repeated.
pub const MIN_RECKONED_LOSS: u16 = 25;
/// The most, in thousandths: with more parity than that belongs to it, every key update would cost all members more than
/// repair costs those that lost something.
pub const MAX_RECKONED_LOSS: u16 = 400;
/// What it reckons with at least for the first key update of a start, in thousandths: nobody can send a NAK for it.
pub const RESTART_LOSS: u16 = 300;

/// The times of a group. All are set by the manager's configuration, and the members learn
/// them from their grant. Of them only the rekey interval changes while the manager runs, and no member acts on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Joins and leaves are gathered for this long. Default 5 s, 100 ms to 24 h. Shorter costs key updates, longer
    /// lets a member that left voluntarily read on, and a joiner wait.
    pub rekey_interval: Duration,
    /// Between two alarms. Default 250 ms. Shorter costs a signature and a packet each; longer delays repair.
    pub alarm_interval: Duration,
    /// Silence after which members hold the manager for lost. Default 3 s.
    pub silence: Duration,
    /// From the first sight of a soft state to sending under it. Default 500 ms.
    pub soft_activation: Duration,
    /// From that activation to refusing the older key. Default 1 s.
    pub soft_cut: Duration,
    /// From the first sight of a hard state (an eviction) to sending under it. Default 100 ms.
    pub hard_activation: Duration,
    /// From that activation to refusing every older key. Default 50 ms.
    pub hard_cut: Duration,
    /// Between two keepalives of a member. Default 10 s; three missed and the member leaves in the next batch.
    pub keepalive: Duration,
    /// The longest random wait before a NAK. Default 80 ms; the shortest is a quarter of it.
    pub nak_wait: Duration,
    /// From a NAK to the next round. Default 200 ms.
    pub nak_round: Duration,
    /// The root is replaced at random after this long even if nobody leaves. Default 24 h.
    pub refresh: Duration,
    /// Without a manager for this long, members stop sending and give their keys up. Default 10 min. Longer keeps a
    /// group talking whose manager is lost, and lets who was evicted meanwhile read as long.
    pub t_hard: Duration,
}

impl Timing {
    /// The shortest rekey interval an operator may set.
    pub const MIN_REKEY_INTERVAL: Duration = Duration::from_millis(100);
    /// The longest.
    pub const MAX_REKEY_INTERVAL: Duration = Duration::from_secs(24 * 3600);
    /// How many keepalives a member may miss before it is held for gone.
    pub const MISSED_KEEPALIVES: u32 = 3;
    /// How many multicast rounds a gap gets before the member asks by unicast.
    pub const NAK_ROUNDS: u32 = 2;

    /// All of them, in the order in which they stand in a grant; the first is the rekey interval, the one that may change
    /// while the manager runs.
    pub const fn in_order(&self) -> [Duration; 12] {
        [
            self.rekey_interval,
            self.alarm_interval,
            self.silence,
            self.soft_activation,
            self.soft_cut,
            self.hard_activation,
            self.hard_cut,
            self.keepalive,
            self.nak_wait,
            self.nak_round,
            self.refresh,
            self.t_hard,
        ]
    }

    /// The activation delay of a state.
    pub const fn activation(&self, hard: bool) -> Duration {
        if hard { self.hard_activation } else { self.soft_activation }
    }

    /// The time from activation to the cut.
    pub const fn cut(&self, hard: bool) -> Duration {
        if hard { self.hard_cut } else { self.soft_cut }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            rekey_interval: Duration::from_secs(5),
            alarm_interval: Duration::from_millis(250),
            silence: Duration::from_secs(3),
            soft_activation: Duration::from_millis(500),
            soft_cut: Duration::from_secs(1),
            hard_activation: Duration::from_millis(100),
            hard_cut: Duration::from_millis(50),
            keepalive: Duration::from_secs(10),
            nak_wait: Duration::from_millis(80),
            nak_round: Duration::from_millis(200),
            refresh: Duration::from_secs(24 * 3600),
            t_hard: Duration::from_secs(600),
        }
    }
}
