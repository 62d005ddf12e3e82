//! The engine on disk, from outside: what it keeps, and what it notices when somebody or something changes its files.

#![cfg(test)]

mod at_rest;
mod bit_rot;
mod chain;
mod full_disk;
mod interrupted;
mod key_files;
mod kill;
mod order;
mod power_loss;
mod rollback;
mod round_trip;
mod support;
