//! The machine's power goes at any moment: images of the disk as it may then be, opened by the real engine.
//!
//! A script runs on a real store in a child process whose system calls are recorded. From the record a model of the
//! disk knows, at every write, what a sync has made safe and what may be there or not. Images are made of what is safe
//! and of any part of the rest.

#![cfg(test)]

mod disk;
mod errors;
mod events;
mod flips;
mod images;
mod planted;
mod promise;
mod recorded;
mod script;
mod support;
mod trace;
