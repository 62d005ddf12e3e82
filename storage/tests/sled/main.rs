//! The engine on disk, from outside: what it keeps, and what it notices when somebody or something changes its files.

#![cfg(test)]

mod bit_rot;
mod chain;
mod key_files;
mod order;
mod rollback;
mod round_trip;
mod support;
