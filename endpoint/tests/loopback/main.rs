//! End to end on loopback: real sockets, real TLS, real certificates; one property a file.

#![cfg(test)]

mod disk;
mod support;

mod a_hundred_nodes_in_one_process;
mod damaged_stores;
mod fifty_members;
mod manager_restarts;
mod nothing_configured;
mod one_stream_many_readers;
mod refused_nodes;
mod rogue_and_tar_pits;
mod slow_store;
mod two_groups_in_one_process;
mod two_managers;
