//! The routes.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use tokio::net::UnixListener;

use super::caller::{Caller, Fault};
use super::{handlers, streams};
use crate::daemon::Daemon;

/// Serves until the daemon stops.
pub(crate) async fn serve(listener: UnixListener, daemon: Arc<Daemon>) {
    let stop = daemon.stop.clone();
    let app = Router::new()
        .route("/v1/groups", get(handlers::groups))
        .route("/v1/status", get(handlers::status))
        .route("/v1/members", get(handlers::members))
        .route("/v1/evict", post(handlers::evict))
        .route("/v1/handover", post(handlers::handover))
        .route("/v1/rekey", post(handlers::rekey))
        .route("/v1/set", post(handlers::set))
        .route("/v1/events", get(streams::events))
        .route("/v1/send", post(streams::send))
        .route("/v1/recv", get(streams::recv))
        .fallback(unknown)
        .with_state(daemon);
    let app = app.into_make_service_with_connect_info::<Caller>();
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(target: "conclave", %error, "control.failed");
    }
}

async fn unknown(uri: Uri) -> Fault {
    Fault(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}
