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
pub const MAX_GRANT_REVOCATIONS: usize = 512;
/// The most eligible members a roster lists.
pub const MAX_ROSTER: usize = 64;
/// Successors named in an alarm.
pub const MAX_SUCCESSORS: usize = 5;
/// Subgroups on the path to the root.
pub const MAX_DEPTH: usize = 16;
/// The most packets of one key update, parity included; their number is 16 bits on the wire.
pub const MAX_UPDATE_PACKETS: usize = 65_535;
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
/// How much multicast repair one epoch may cost, as a multiple of its key update's bytes.
pub const REPAIR_BYTES_FACTOR: usize = 3;

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
        }
    }
}
