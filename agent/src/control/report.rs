//! How a group is, in the words of the control socket.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave::{Clock, GroupStatus};
use data::DropReason;
use gsm::{GsmStatus, Listed, StandbyStatus};
use member::Move;
use protocol::{Instant, SenderId};
use storage::Health;

use super::caller::Fault;
use super::reply::{
    DataCounts, ListedMember, ManagerStatus, MemberStatus, NodeCounts, RoleName, StandbyPart, Status,
    TlsCounts, VERSION,
};
use crate::daemon::{Daemon, Record, RunningGroup, Standing};
use crate::spoken;

/// How long a member that may manage has to become a standby before it is missed as one.
const SETTLING: Duration = Duration::from_secs(5);

/// Everything about one group.
pub(super) async fn status(daemon: &Daemon, group: &RunningGroup) -> Result<Status, Fault> {
    let asked = group.node.status().await.map_err(Fault::gone)?;
    let mut status = common(daemon, group, &asked);
    match &asked.manager {
        Some(manager) => manager_status(daemon, group, manager, &mut status),
        None => member_status(group, &asked, &mut status),
    }
    Ok(status)
}

fn manager_status(daemon: &Daemon, group: &RunningGroup, manager: &GsmStatus, status: &mut Status) {
    if let Health::Behind { .. } | Health::Damaged { .. } = &group.facts.store.health {
        status.problems.push(format!("the store was found {}", group.facts.store.health));
    }
    if group.record().other_start {
        let text = "another process manages with this node's key and journal: this one stays silent";
        status.problems.push(text.to_owned());
    }
    if manager.read_only {
        status.problems.push("the store failed: nobody is admitted until it works again".to_owned());
    }
    status.problems.extend(no_standby(&manager.standbys, &group.record()));
    status.subgroup = Some(manager.subgroup.to_string());
    status.manager = Some(manager_part(daemon, group, manager));
}

/// What is to be said where nobody would take over. A group in which no other node may manage it never has a standby,
/// and is in order; one that has lost its standby is not, until there is one again.
fn no_standby(standbys: &[StandbyStatus], record: &Record) -> Option<String> {
    if standbys.iter().any(|standby| standby.in_step.is_some()) {
        return None;
    }
    let text = "no standby in step: if this manager is lost, all must register again";
    if let Some((identity, why, at)) = &record.standby_lost {
        let ago = spoken::rough(Clock.now().saturating_since(*at).as_secs_f64());
        return Some(format!("{text} ({identity}: {why}, {ago} ago)"));
    }
    let settled = record.grew.is_none_or(|at| Clock.now().saturating_since(at) > SETTLING);
    let first = standbys.first().filter(|_| settled)?;
    Some(format!("{text} ({} does not follow)", first.identity))
}

fn standby_part(standby: &StandbyStatus) -> StandbyPart {
    let since = standby.in_step.map(|since| Clock.now().saturating_since(since).as_secs_f64());
    StandbyPart {
        identity: standby.identity.clone(),
        sender: standby.sender.to_string(),
        in_step: since.is_some(),
        in_step_seconds: since,
        journal: standby.followed.0,
    }
}

fn manager_part(daemon: &Daemon, group: &RunningGroup, asked: &GsmStatus) -> ManagerStatus {
    let record = group.record();
    let store = &group.facts.store;
    let admission = daemon.host.admission().snapshot();
    ManagerStatus {
        registrar: daemon.host.registrar().map(|registrar| registrar.to_string()).unwrap_or_default(),
        members: asked.members as u64,
        pending: asked.pending as u64,
        next_rekey_seconds: asked.next_rekey.map(|left| left.as_secs_f64()),
        rekey_interval_seconds: asked.rekey_interval.as_secs_f64(),
        members_kept: record.resumed,
        rekeys: record.rekeys,
        last_rekey_seconds_ago: record.last_rekey.map(|at| Clock.now().saturating_since(at).as_secs_f64()),
        store: group.node.store().map(|store| store.kind.to_string()).unwrap_or_default(),
        store_path: store.path.as_ref().map(|path| path.display().to_string()),
        store_health: store.health.to_string(),
        store_survives_restart: store.survives_restart,
        read_only: asked.read_only,
        journal: asked.journal.0,
        standbys: asked.standbys.iter().map(standby_part).collect(),
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

fn member_status(group: &RunningGroup, asked: &GroupStatus, status: &mut Status) {
    let GroupStatus { held, known, manager_silent, .. } = *asked;
    let record = group.record().clone();
    let silent = record.silent_since.filter(|_| manager_silent);
    let silent = silent.map(|since| Clock.now().saturating_since(since).as_secs_f64());
    status.role = if record.standing == Standing::Searching { RoleName::Searching } else { RoleName::Member };
    match record.standing {
        Standing::Joined if let Some(why) = record.moving => {
            let last = record.reason.as_ref().map(|reason| format!(" (last: {reason})")).unwrap_or_default();
            status.problems.push(format!("looks for another manager: {}{last}", move_text(why)));
        }
        Standing::Joined if manager_silent => {
            status.problems.push(format!("no sign of life from the manager{}", silent_for(silent)));
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
    if !record.unresolved.is_empty() && record.standing != Standing::Joined {
        let names = record.unresolved.join(", ");
        status.problems.push(format!("no address for {names} of gsm; it is asked for again"));
    }
    let place = record.place.as_ref();
    status.subgroup = place.map(|place| place.subgroup.to_string());
    status.member = Some(MemberStatus {
        standing: record.standing,
        reason: record.reason.clone(),
        gsm: group.facts.gsm.clone(),
        manager: place.map(|place| place.manager.clone()),
        manager_silent,
        manager_silent_seconds: silent,
        known: known.map(Into::into),
        leaf: place.map(|place| place.reg_no.0),
        sender: place.map(|place| place.sender.to_string()),
        refused: named(&record.refused),
    });
}

/// What every status has.
fn common(daemon: &Daemon, group: &RunningGroup, asked: &GroupStatus) -> Status {
    let facts = &group.facts;
    let (opened, driver) = (group.node.data_counters(), group.node.driver_counters());
    let place = asked.place.as_ref();
    let dropped =
        DropReason::ALL.into_iter().map(|reason| (drop_word(reason).to_owned(), opened.dropped(reason)));
    Status {
        version: VERSION,
        role: RoleName::Manager,
        configured_role: facts.role.into(),
        identity: daemon.host.identity().to_owned(),
        group: facts.name.clone(),
        group_id: facts.id.clone(),
        interface: daemon.host.interface().to_string(),
        pid: std::process::id(),
        uptime_seconds: Clock.now().saturating_since(daemon.since).as_secs_f64(),
        problems: Vec::new(),
        subgroup: None,
        state: asked.held.map(Into::into),
        control_address: place.map(|place| place.control.to_string()),
        data_address: place.map(|place| place.data.to_string()),
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

/// One line of `members`.
pub(super) fn listed_member(
    member: &Listed,
    own: SenderId,
    standbys: &[StandbyStatus],
    now: Instant,
) -> ListedMember {
    let standby = standbys.iter().find(|standby| standby.sender == member.sender);
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
        standby_in_step: standby.map(|standby| standby.in_step.is_some()),
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

const fn move_text(why: Move) -> &'static str {
    match why {
        Move::SentAway => "its manager sent it there",
        Move::ManagerLost => "its own is silent, and another one is there",
        Move::ManagerForgot => "its own came back without its state",
        Move::OutOfReach => "what its own says to all does not come this far, and another one is near",
        Move::NotKnown => "its own does not know it any more",
    }
}

fn silent_for(seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!(" for {}", spoken::rough(seconds)))
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
