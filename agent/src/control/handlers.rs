//! Requests with one answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use conclave::{Clock, DriverCounters, GroupHandle, ManagerHandle};
use data::{DropReason, OpenCounters};
use gsm::{GsmStatus, Listed};
use member::Member;
use protocol::{Instant, SenderId};

use super::caller::{Fault, Operator};
use super::reply::{
    DataCounts, Evict, Evicted, ListedMember, ManagerStatus, MemberStatus, Members, NodeCounts, Rekeyed,
    Settings, Status, TlsCounts, VERSION,
};
use crate::daemon::{Daemon, NodeHandle, Standing};

type Shared = State<Arc<Daemon>>;

/// How long an answer may wait for the node: a store that does not answer must not keep the operator.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn status(State(daemon): Shared) -> Result<Json<Status>, Fault> {
    let status = match &daemon.node {
        NodeHandle::Manager(manager) => manager_status(&daemon, manager).await?,
        NodeHandle::Member(member) => member_status(&daemon, member).await?,
    };
    Ok(Json(status))
}

pub(super) async fn members(State(daemon): Shared) -> Result<Json<Members>, Fault> {
    let manager = manager_of(&daemon)?;
    let asked = manager.group().machine().call(|gsm, now| {
        let members: Vec<Listed> = gsm.members().cloned().collect();
        (members, gsm.own_sender(), gsm.status(now).state, now)
    });
    let (listed, own, state, now) = asked.await.map_err(Fault::gone)?;
    let members = listed.iter().map(|member| listed_member(member, own, now)).collect();
    Ok(Json(Members { version: VERSION, group: daemon.facts.group.clone(), state: state.into(), members }))
}

pub(super) async fn evict(
    State(daemon): Shared,
    _operator: Operator,
    Json(request): Json<Evict>,
) -> Result<Json<Evicted>, Fault> {
    let manager = manager_of(&daemon)?;
    let done = patiently(manager.evict(&request.identity)).await?;
    let state = done.map_err(Fault::conflict)?.state.into();
    Ok(Json(Evicted { identity: request.identity, state }))
}

pub(super) async fn rekey(State(daemon): Shared, _operator: Operator) -> Result<Json<Rekeyed>, Fault> {
    let manager = manager_of(&daemon)?;
    let summary = patiently(manager.rekey()).await?.map_err(Fault::gone)?;
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
    State(daemon): Shared,
    _operator: Operator,
    Json(settings): Json<Settings>,
) -> Result<Json<Settings>, Fault> {
    let manager = manager_of(&daemon)?;
    let interval = Duration::try_from_secs_f64(settings.rekey_interval_seconds).map_err(Fault::bad)?;
    manager.set_rekey_interval(interval).await.map_err(Fault::bad)?;
    tracing::info!(target: "conclave", rekey_interval = ?interval, "setting.changed");
    Ok(Json(settings))
}

fn manager_of(daemon: &Daemon) -> Result<&ManagerHandle, Fault> {
    match &daemon.node {
        NodeHandle::Manager(manager) => Ok(manager),
        NodeHandle::Member(_) => {
            let manager = daemon.record().place.as_ref().map(|place| place.manager.clone());
            let manager = manager.unwrap_or_else(|| daemon.facts.gsm.join(", "));
            Err(Fault::conflict(format!("this node is a member: ask its manager, {manager}")))
        }
    }
}

async fn patiently<T>(asked: impl Future<Output = T>) -> Result<T, Fault> {
    let text = "recorded, but the key update has not gone out yet; see `conclave status`";
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| Fault::gone(text))
}

async fn manager_status(daemon: &Daemon, manager: &ManagerHandle) -> Result<Status, Fault> {
    let asked = manager.group().machine().call(|gsm, now| {
        let config = gsm.config();
        (gsm.status(now), config.control, config.data)
    });
    let (asked, control, data) = asked.await.map_err(Fault::gone)?;
    let mut status = common(daemon, &manager.group().data_counters(), manager.driver_counters());
    if asked.read_only {
        status.problems.push("the store failed: nobody is admitted until it is started again".to_owned());
    }
    status.subgroup = Some(asked.subgroup.to_string());
    status.state = Some(asked.state.into());
    status.control_address = Some(control.to_string());
    status.data_address = Some(data.to_string());
    status.manager = Some(manager_part(daemon, manager, &asked));
    Ok(status)
}

fn manager_part(daemon: &Daemon, manager: &ManagerHandle, asked: &GsmStatus) -> ManagerStatus {
    let record = daemon.record();
    let admission = manager.admission().snapshot();
    ManagerStatus {
        registrar: manager.registrar().to_string(),
        members: asked.members as u64,
        pending: asked.pending as u64,
        next_rekey_seconds: asked.next_rekey.map(|left| left.as_secs_f64()),
        rekey_interval_seconds: asked.rekey_interval.as_secs_f64(),
        rekeys: record.rekeys,
        last_rekey_seconds_ago: record.last_rekey.map(|at| Clock.now().saturating_since(at).as_secs_f64()),
        store: manager.store().to_owned(),
        store_survives_restart: daemon.facts.store_survives_restart,
        read_only: asked.read_only,
        journal: asked.journal.0,
        revocations: asked.revocations as u64,
        admitted: record.admitted,
        departed: named(&record.departed),
        refused: named(&record.refused),
        tls: TlsCounts {
            accepted: admission.accepted,
            over_limit: admission.over_limit,
            refused: named(&admission.refused),
        },
    }
}

async fn member_status(daemon: &Daemon, member: &GroupHandle<Member>) -> Result<Status, Fault> {
    let asked = member.machine().call(|member, _| (member.held(), member.known(), member.manager_silent()));
    let (held, known, manager_silent) = asked.await.map_err(Fault::gone)?;
    let mut status = common(daemon, &member.data_counters(), member.driver_counters());
    let record = daemon.record().clone();
    match record.standing {
        Standing::Joined if manager_silent => {
            status.problems.push("no sign of life from the manager".to_owned());
        }
        Standing::Joined if held.is_none() => {
            status.problems.push("holds no current key: waits for repair, or was put out".to_owned());
        }
        Standing::Joined if held < known => {
            status.problems.push("behind its manager: waits for a key update it missed".to_owned());
        }
        Standing::Joined => {}
        Standing::Admitted => status.problems.push("admitted; waits for the next key update".to_owned()),
        Standing::Searching | Standing::Out => {
            let why = record.reason.as_deref().unwrap_or("no manager has answered yet");
            status.problems.push(format!("not in the group: {why}"));
        }
    }
    let place = record.place.as_ref();
    status.subgroup = place.map(|place| place.subgroup.to_string());
    status.state = held.map(Into::into);
    status.control_address = place.map(|place| place.control.to_string());
    status.data_address = place.map(|place| place.data.to_string());
    status.member = Some(MemberStatus {
        standing: record.standing,
        reason: record.reason.clone(),
        gsm: daemon.facts.gsm.clone(),
        manager: place.map(|place| place.manager.clone()),
        manager_silent,
        known: known.map(Into::into),
        leaf: place.map(|place| place.reg_no.0),
        sender: place.map(|place| place.sender.to_string()),
        refused: named(&record.refused),
    });
    Ok(status)
}

fn common(daemon: &Daemon, opened: &OpenCounters, driver: &DriverCounters) -> Status {
    let facts = &daemon.facts;
    let dropped =
        DropReason::ALL.into_iter().map(|reason| (drop_word(reason).to_owned(), opened.dropped(reason)));
    Status {
        version: VERSION,
        role: facts.role,
        identity: facts.identity.clone(),
        group: facts.group.clone(),
        group_id: facts.group_id.clone(),
        interface: facts.interface.clone(),
        pid: std::process::id(),
        uptime_seconds: Clock.now().saturating_since(daemon.since).as_secs_f64(),
        problems: Vec::new(),
        subgroup: None,
        state: None,
        control_address: None,
        data_address: None,
        data: DataCounts { delivered: opened.delivered, waited: opened.waited, dropped: dropped.collect() },
        node: NodeCounts {
            taken: driver.taken.load(Ordering::Relaxed),
            rejected: driver.rejected.load(Ordering::Relaxed),
            worst_lateness_seconds: Duration::from_micros(driver.worst_lateness.load(Ordering::Relaxed))
                .as_secs_f64(),
        },
        manager: None,
        member: None,
    }
}

fn listed_member(member: &Listed, own: SenderId, now: Instant) -> ListedMember {
    let standing = match member.standing {
        gsm::Standing::Pending => "pending",
        gsm::Standing::In => "in",
        gsm::Standing::Leaving => "leaving",
    };
    let is_own = member.sender == own;
    ListedMember {
        identity: member.identity.clone(),
        leaf: member.reg_no.0,
        sender: member.sender.to_string(),
        standing: standing.to_owned(),
        own: is_own,
        eligible: member.eligible,
        certificate: hex(&member.certificate),
        epoch: member.held.map(|held| held.epoch.0),
        heard_seconds_ago: if is_own { 0.0 } else { now.saturating_since(member.heard).as_secs_f64() },
        address: member.address.map(|address| address.to_string()),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("invariant: writing to a string cannot fail");
        text
    })
}

fn named(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// The word of a reason in counters.
const fn drop_word(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Malformed => "malformed",
        DropReason::Mismatch => "mismatch",
        DropReason::BadWrap => "bad_wrap",
        DropReason::BadCommitment => "bad_commitment",
        DropReason::BadTag => "bad_tag",
        DropReason::OtherGroup => "other_group",
        DropReason::OtherSuite => "other_suite",
        DropReason::Own => "own",
        DropReason::OldKey => "old_key",
        DropReason::Departed => "departed",
        DropReason::Replayed => "replayed",
        DropReason::BehindWindow => "behind_window",
        DropReason::ClosedStream => "closed_stream",
        DropReason::WaitingFull => "waiting_full",
        DropReason::WaitedTooLong => "waited_too_long",
        DropReason::NotReady => "not_ready",
    }
}
