//! The program as its operators meet it: real processes, real TLS, real sockets, on loopback.

#![cfg(test)]

mod certificates;
mod commands;
mod groups;
mod messages;
mod refusals;
mod roles;
mod secrets;
mod support;
