//! Every message of the protocol, as bytes: what is read back, what is refused, and what a gate believes.
//!
//! Each module states one property or plays one attack. Messages come from real key trees and real signatures, or from
//! generators that know nothing but the message's own rules.

#[cfg(test)]
mod alarms;
#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod bit_flips;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod comers;
#[cfg(test)]
mod forgeries;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod jump_ahead;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod mixed;
#[cfg(test)]
mod other_domains;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod replays;
#[cfg(test)]
mod subgroup;
#[cfg(test)]
mod succession;
#[cfg(test)]
mod truncation;
#[cfg(test)]
mod verifiers;
