//! Requests with one answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use conclave::ManagerError;
use gsm::Listed;

use super::caller::{Fault, Of, Operator};
use super::reply::{
    Evict, Evicted, Groups, HandOver, HandedOver, Members, Rekeyed, Settings, Status, VERSION,
};
use super::report;
use crate::daemon::Daemon;

type Shared = State<Arc<Daemon>>;

/// How long an answer may wait for the node: a store that does not answer must not keep the operator.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn groups(State(daemon): Shared) -> Result<Json<Groups>, Fault> {
    let mut groups = Vec::with_capacity(daemon.groups.len());
    for group in &daemon.groups {
        groups.push(report::status(&daemon, group).await?);
    }
    Ok(Json(Groups { version: VERSION, groups }))
}

pub(super) async fn status(State(daemon): Shared, Of(group): Of) -> Result<Json<Status>, Fault> {
    Ok(Json(report::status(&daemon, &group).await?))
}

pub(super) async fn members(Of(group): Of) -> Result<Json<Members>, Fault> {
    let asked = group.node.machine().call(|node, now| {
        let gsm = node.gsm()?;
        let members: Vec<Listed> = gsm.members().cloned().collect();
        Some((members, gsm.own_sender(), gsm.status(now), now))
    });
    let Some((listed, own, gsm, now)) = asked.await.map_err(Fault::gone)? else {
        return Err(group.node.members().await.map_or_else(fault, |_| Fault::conflict("ask again")));
    };
    let members =
        listed.iter().map(|member| report::listed_member(member, own, &gsm.standbys, now)).collect();
    Ok(Json(Members { version: VERSION, group: group.facts.name.clone(), state: gsm.state.into(), members }))
}

pub(super) async fn evict(
    Of(group): Of,
    _operator: Operator,
    Json(request): Json<Evict>,
) -> Result<Json<Evicted>, Fault> {
    let done = patiently(group.node.evict(&request.identity)).await?;
    let state = done.map_err(fault)?.state.into();
    Ok(Json(Evicted { identity: request.identity, state }))
}

pub(super) async fn handover(
    Of(group): Of,
    _operator: Operator,
    Json(request): Json<HandOver>,
) -> Result<Json<HandedOver>, Fault> {
    let asked = tokio::time::timeout(PATIENCE, group.node.hand_over(request.to.as_deref())).await;
    let text = "no word of the handover's end; see `conclave status`";
    let identity = asked.map_err(|_| Fault::gone(text))?.map_err(fault)?;
    Ok(Json(HandedOver { identity, group: group.facts.name.clone() }))
}

pub(super) async fn rekey(Of(group): Of, _operator: Operator) -> Result<Json<Rekeyed>, Fault> {
    let summary = patiently(group.node.rekey()).await?.map_err(fault)?;
    Ok(Json(Rekeyed {
        state: summary.state.into(),
        hard: summary.hard,
        joins: summary.joins as u64,
        leaves: summary.leaves as u64,
        entries: summary.entries as u64,
        packets: summary.packets as u64,
        bytes: summary.bytes as u64,
    }))
}

pub(super) async fn set(
    Of(group): Of,
    _operator: Operator,
    Json(settings): Json<Settings>,
) -> Result<Json<Settings>, Fault> {
    let interval = Duration::try_from_secs_f64(settings.rekey_interval_seconds).map_err(Fault::bad)?;
    group.node.set_rekey_interval(interval).await.map_err(|error| match error {
        ManagerError::Request(error) => Fault::bad(error),
        error => fault(error),
    })?;
    tracing::info!(target: "conclave", group = %group.facts.name, rekey_interval = ?interval, "setting.changed");
    Ok(Json(settings))
}

/// Why the node did not do it.
fn fault(error: ManagerError) -> Fault {
    match error {
        ManagerError::Stopped(_) => Fault::gone(error),
        _ => Fault::conflict(error),
    }
}

async fn patiently<T>(asked: impl Future<Output = T>) -> Result<T, Fault> {
    let text = "recorded, but the key update has not gone out yet; see `conclave status`";
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| Fault::gone(text))
}
