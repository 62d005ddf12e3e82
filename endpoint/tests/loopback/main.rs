//! End to end on loopback: real sockets, real TLS, real certificates; one property a file.

#![cfg(test)]

mod support;

mod fifty_members;
mod one_stream_many_readers;
mod refused_nodes;
mod slow_store;
