//! The key update (GSM 3.4): signed multicast that moves members to the next epoch.
//!
//! A key update is one or more packets. Each serves a range of reg-nos and holds every entry those members need, so a
//! member needs one packet, not all. Parity packets stand in for packets that are lost: any as many packets of a block as it
//! has data packets give all of it (KS 4.1). A packet is content (header and body), proof (Merkle path and one signature for
//! the whole message) and a MAC that keeps strangers from making members check signatures.

mod block;
mod body;
mod header;
mod packet;
mod parity;
mod proactivity;

pub use block::{Block, PARITY_EXCESS};
pub use body::{Body, entry_bound, target_bound};
pub use header::{SCHEME_LKH, STRATEGY_GROUP_ORIENTED, UpdateHeader};
pub use packet::{SealedUpdate, UpdatePacket, packet_overhead, seal_update};
pub(crate) use packet::{UpdateRoot, signed_root};
pub use proactivity::{message_loss, packet_loss, parity_for_message, parity_for_packet};
