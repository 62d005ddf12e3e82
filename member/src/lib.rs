//! A member of a Conclave subgroup as a sans-IO machine.
//!
//! It has no clock, no randomness, no socket and no thread of its own: `now` is an argument, and the driver hands in
//! randomness and the signature verifier when it builds one.

mod activation;
mod blocks;
mod candidates;
mod config;
mod election;
mod event;
mod evidence;
mod heard;
mod loss;
mod member;
mod membership;
mod reception;
mod registration;
mod repair;
mod revocations;
mod search;
mod witness;

pub use activation::Activation;
pub use config::{Candidacy, Discovery, MemberConfig};
pub use event::{Ending, MemberEvent, Move, Place};
pub use member::{Following, Member, Promotion, Seat};
