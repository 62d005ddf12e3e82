//! The control socket: HTTP/JSON over a Unix socket, and what is said on it.
//!
//! Whoever can open the socket may read; whoever changes something must be root or the daemon's own user.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/groups` | | [`Groups`] |
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/members` | | [`Members`], at a manager |
//! | `POST /v1/evict` | [`Evict`] | [`Evicted`] when the key update that shuts the member out has gone out |
//! | `POST /v1/handover` | [`HandOver`] | [`HandedOver`] when the standby manages the group |
//! | `POST /v1/rekey` | | [`Rekeyed`] |
//! | `POST /v1/set` | [`Settings`] | [`Settings`] as they are now |
//! | `GET /v1/events` | | one JSON object a line, until either end leaves |
//! | `POST /v1/send` | payloads, each behind its length as 32 bits, big-endian | [`Sent`] at the end |
//! | `GET /v1/recv` | | payloads likewise; with `?json=true` one [`reply::Received`] a line |
//!
//! All but the first are about one group, which `?group=NAME` names; it may be left out at a node with one group.
//! `events` tells of all groups then.
//!
//! An answer other than 200 is [`Refused`] with the reason.

mod caller;
mod handlers;
mod reply;
mod report;
mod server;
mod socket;
mod streams;

pub(crate) use reply::{
    Evict, Evicted, Groups, HandOver, HandedOver, ListedMember, ManagerStatus, MemberStatus, Members,
    Received, Refused, Rekeyed, Sent, Settings, StandbyPart, Status,
};
pub(crate) use server::serve;
pub(crate) use socket::Socket;
