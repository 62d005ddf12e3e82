//! What loss costs: how long until everybody holds a new key, how many bytes that takes, and whether anybody holds a
//! living manager for lost.
//!
//! [`Drill`] runs one subgroup of any size through key updates at one rate of loss, and [`Row`] is what that amounted to.
//! [`Vigil`] lets five nodes stand for hours and counts takeovers. Both run the program's own machines on a `stage` that
//! is plainer than the [`World`](crate::World): one LAN on which only loss goes wrong, and no oracle, since secrecy and
//! agreement are the world's matter and a thousand members for many epochs, or a thousand hours, are this one's.

mod company;
mod drill;
mod meter;
mod stage;
mod table;
mod vigil;

pub use drill::{Batch, Drill};
pub use table::{Limits, Row, TABLE_RATES, heading};
pub use vigil::{Vigil, Watched};
