//! What becomes of a received packet, and the counts of it.

use protocol::{Blame, SenderId, StateId, SubgroupId};

use crate::packet::StreamId;

/// What [`Opener::open`](crate::Opener::open) made of a datagram.
#[must_use = "a delivery that is dropped is lost"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened<'a> {
    /// Authentic and new: the application's.
    Delivered(Delivery<'a>),
    /// Kept until its key comes, or for four seconds; see [`Opener::poll_waiting`](crate::Opener::poll_waiting).
    Waiting,
    /// Refused and counted. Nothing was changed by it.
    Dropped(DropReason),
}

/// One payload, delivered once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery<'a> {
    /// The subgroup it was first sent in.
    pub origin: SubgroupId,
    /// Its sender there. Every member of the group could have written it: proof against the others takes a signature.
    pub sender: SenderId,
    /// The sender's stream.
    pub stream: StreamId,
    /// Which data key of the stream.
    pub generation: u32,
    /// Which packet of the stream.
    pub sequence: u64,
    /// Under whose group key it came.
    pub state: StateId,
    /// What was sent; borrowed until the opener's next call.
    pub payload: &'a [u8],
}

/// Why a packet was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum DropReason {
    /// Not a data packet of this version, or one with a field out of range.
    #[error("malformed")]
    Malformed,
    /// Outer and inner part contradict each other (attack A11).
    #[error("outer and inner part disagree")]
    Mismatch,
    /// The data key does not unwrap: some part of the packet is forged.
    #[error("data key does not unwrap")]
    BadWrap,
    /// The data key is not the one the sender committed to.
    #[error("data key is not the committed one")]
    BadCommitment,
    /// The payload or the inner part was changed.
    #[error("tag does not match")]
    BadTag,
    /// Another group or subgroup. Normal where several share an address.
    #[error("other group")]
    OtherGroup,
    /// Another suite than the group's.
    #[error("other suite")]
    OtherSuite,
    /// The node's own packet come back.
    #[error("own packet")]
    Own,
    /// Its key is not held and it is not newer than those that are: it was cut, or skipped.
    #[error("under an old key")]
    OldKey,
    /// Its sender has left.
    #[error("sender has left")]
    Departed,
    /// Delivered before.
    #[error("replayed")]
    Replayed,
    /// Too far behind its stream to tell whether it was delivered.
    #[error("behind the replay window")]
    BehindWindow,
    /// Its stream's replay window was lost, and it proves no freshness.
    #[error("stream is closed")]
    ClosedStream,
    /// No room to wait for its key.
    #[error("too many packets wait")]
    WaitingFull,
    /// Its key did not come in time.
    #[error("waited too long for its key")]
    WaitedTooLong,
    /// No ring was set yet.
    #[error("no keys yet")]
    NotReady,
}

impl DropReason {
    /// Every reason, in the order of the variants.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::Mismatch,
        Self::BadWrap,
        Self::BadCommitment,
        Self::BadTag,
        Self::OtherGroup,
        Self::OtherSuite,
        Self::Own,
        Self::OldKey,
        Self::Departed,
        Self::Replayed,
        Self::BehindWindow,
        Self::ClosedStream,
        Self::WaitingFull,
        Self::WaitedTooLong,
        Self::NotReady,
    ];

    /// Whom it blames, for log levels.
    pub const fn blame(self) -> Blame {
        match self {
            Self::Malformed
            | Self::Mismatch
            | Self::BadWrap
            | Self::BadCommitment
            | Self::BadTag
            | Self::OtherSuite => Blame::Bytes,
            Self::OtherGroup | Self::Own | Self::OldKey | Self::Replayed | Self::BehindWindow => {
                Blame::Nobody
            }
            Self::Departed => Blame::Peer,
            Self::ClosedStream | Self::WaitingFull | Self::WaitedTooLong | Self::NotReady => Blame::Ourselves,
        }
    }
}

/// Counts of one opener, from its beginning.
///
/// Each datagram handed in is in exactly one of `delivered`, the drops, or still waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenCounters {
    /// Payloads delivered.
    pub delivered: u64,
    /// Packets that had to wait for a key; delivered or dropped later, they count there as well.
    pub waited: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl OpenCounters {
    /// How many packets were dropped for `reason`.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many packets were dropped in all.
    pub fn all_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(crate) const fn count_drops(&mut self, reason: DropReason, count: u64) {
        self.dropped[reason as usize] += count;
    }
}
