//! What becomes of a group when its manager is killed, paused or told to hand over: real daemons on loopback, two of which
//! may manage the group and three may not, with an application that sends and receives all the time.
//!
//! `CONCLAVE_ROUNDS` says how often the manager is killed.

#![cfg(test)]

mod application;
mod crew;
#[expect(dead_code, reason = "the tests of crashes use the rest")]
#[path = "../crashes/eavesdropper.rs"]
mod eavesdropper;
mod handed;
mod killed;
mod paused;
#[expect(dead_code, reason = "the tests of single daemons use the rest")]
#[path = "../daemon/support.rs"]
mod support;
