//! Who asks, by the kernel's word.

use std::sync::Arc;

use axum::Json;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use nix::unistd::Uid;
use serde::Deserialize;
use tokio::net::UnixListener;

use super::reply::Refused;
use crate::daemon::{Daemon, RunningGroup};

/// The user at the other end of the socket; `None` if the kernel did not tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(Option<Uid>);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| Uid::from_raw(credentials.uid())))
    }
}

/// Proof that the caller may change things: a handler that changes something takes one.
pub(super) struct Operator(());

impl FromRequestParts<Arc<Daemon>> for Operator {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Daemon>) -> Result<Self, Fault> {
        let caller = ConnectInfo::<Caller>::from_request_parts(parts, state).await;
        let caller = caller.map_or(None, |ConnectInfo(Caller(uid))| uid);
        if may_change(caller, Uid::effective()) {
            return Ok(Self(()));
        }
        let who = caller.map_or_else(|| "this user".to_owned(), |uid| format!("user {uid}"));
        let text =
            format!("{who} may look and not change: be root or the daemon's user {}", Uid::effective());
        Err(Fault(StatusCode::FORBIDDEN, text))
    }
}

fn may_change(caller: Option<Uid>, own: Uid) -> bool {
    caller.is_some_and(|uid| uid.is_root() || uid == own)
}

/// The group a request is about: `?group=NAME`, which may be left out where there is only one.
pub(super) struct Of(pub(super) Arc<RunningGroup>);

/// The query of a request, as far as it names a group.
#[derive(Deserialize)]
struct Named {
    group: Option<String>,
}

impl FromRequestParts<Arc<Daemon>> for Of {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, daemon: &Arc<Daemon>) -> Result<Self, Fault> {
        match (named(parts)?, &daemon.groups[..]) {
            (None, [only]) => Ok(Self(Arc::clone(only))),
            (None, _) => {
                let text = format!("say which group you mean with --group: {}", names(daemon));
                Err(Fault(StatusCode::NOT_FOUND, text))
            }
            (Some(name), groups) => {
                let found = groups.iter().find(|group| group.facts.name == name);
                found.map(|group| Self(Arc::clone(group))).ok_or_else(|| unknown(&name, daemon))
            }
        }
    }
}

/// The group that a request is limited to, if it names one.
pub(super) struct Within(pub(super) Option<String>);

impl FromRequestParts<Arc<Daemon>> for Within {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, daemon: &Arc<Daemon>) -> Result<Self, Fault> {
        match named(parts)? {
            Some(name) if daemon.groups.iter().all(|group| group.facts.name != name) => {
                Err(unknown(&name, daemon))
            }
            name => Ok(Self(name)),
        }
    }
}

fn named(parts: &Parts) -> Result<Option<String>, Fault> {
    Query::<Named>::try_from_uri(&parts.uri).map(|Query(named)| named.group).map_err(Fault::bad)
}

fn unknown(name: &str, daemon: &Daemon) -> Fault {
    let text = format!("this node is not in the group {name:?}; it is in: {}", names(daemon));
    Fault(StatusCode::NOT_FOUND, text)
}

fn names(daemon: &Daemon) -> String {
    let names: Vec<&str> = daemon.groups.iter().map(|group| group.facts.name.as_str()).collect();
    names.join(", ")
}

/// An answer other than 200, with the reason in words.
pub(super) struct Fault(pub(super) StatusCode, pub(super) String);

impl Fault {
    /// The request is wrong.
    pub(super) fn bad(why: impl std::fmt::Display) -> Self {
        Self(StatusCode::BAD_REQUEST, why.to_string())
    }

    /// The request is right, and cannot be carried out as things are.
    pub(super) fn conflict(why: impl std::fmt::Display) -> Self {
        Self(StatusCode::CONFLICT, why.to_string())
    }

    /// The node is not there any more.
    pub(super) fn gone(why: impl std::fmt::Display) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(Refused { error: self.1 })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_daemons_own_user_may_change() {
        let (root, own, other) = (Uid::from_raw(0), Uid::from_raw(992), Uid::from_raw(1_000));
        assert!(may_change(Some(root), own) && may_change(Some(own), own));
        assert!(!may_change(Some(other), own) && !may_change(None, own));
        assert!(!may_change(Some(other), root));
    }
}
