//! The program as its operators meet it: real processes, real TLS, real sockets, on loopback.

mod commands;
mod messages;
mod refusals;
mod secrets;
mod support;
