//! Commands that show how things are.

use std::collections::BTreeMap;

use crate::client::Client;
use crate::control::{Groups, ListedMember, ManagerStatus, MemberStatus, Members, StandbyPart, Status};
use crate::daemon::Standing;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::spoken;

pub(super) async fn groups(client: &Client, output: Output) -> Result<(), Failure> {
    let Groups { version, groups } = client.get("/v1/groups").await?;
    let healthy = groups.iter().all(|group| group.problems.is_empty());
    if output.json {
        Output::json(&Groups { version, groups })?;
    } else {
        let rows: Vec<_> = groups.iter().map(group_row).collect();
        output.table(["GROUP", "ROLE", "SUBGROUP", "STATE", "MEMBERS", "STORE"], &rows)?;
    }
    if healthy { Ok(()) } else { Err(Failure::Degraded) }
}

fn group_row(status: &Status) -> [String; 6] {
    let manager = status.manager.as_ref();
    [
        status.group.clone(),
        status.role.as_str().to_owned(),
        dash(status.subgroup.as_ref()),
        state_word(status).to_owned(),
        dash(manager.map(|manager| spoken::count(manager.members)).as_ref()),
        dash(manager.map(|manager| manager.store.clone()).as_ref()),
    ]
}

/// How a group is, in a word or two.
fn state_word(status: &Status) -> &'static str {
    match (&status.manager, &status.member) {
        (Some(manager), _) if manager.read_only => "read-only",
        (Some(_), _) if !status.problems.is_empty() => "degraded",
        (_, Some(member)) => match member.standing {
            Standing::Joined if status.state.is_none() => "no key",
            Standing::Joined if member.manager_silent => "manager silent",
            Standing::Joined => "joined",
            Standing::Admitted => "admitted",
            Standing::Searching => "searching",
            Standing::Out => "out",
        },
        _ => "ok",
    }
}

pub(super) async fn status(client: &Client, output: Output, verbose: bool) -> Result<(), Failure> {
    let status: Status = client.get("/v1/status").await?;
    if output.json {
        Output::json(&status)?;
    } else {
        show(&status, output, verbose)?;
    }
    if status.problems.is_empty() { Ok(()) } else { Err(Failure::Degraded) }
}

pub(super) async fn members(client: &Client, output: Output) -> Result<(), Failure> {
    let members: Members = client.get("/v1/members").await?;
    if output.json {
        return Output::json(&members);
    }
    let rows: Vec<_> = members.members.iter().map(|member| row(member, members.state.epoch)).collect();
    output.table(["IDENTITY", "LEAF", "SENDER", "PART", "STANDING", "EPOCH", "LAST SEEN", "ADDRESS"], &rows)
}

/// What a member is to its group.
const fn part(member: &ListedMember) -> &'static str {
    match (member.own, member.standby_in_step, member.eligible) {
        (true, ..) => "manager",
        (_, Some(true), _) => "standby",
        (_, Some(false), _) => "standby, not in step",
        (_, None, true) => "may manage",
        (_, None, false) => "member",
    }
}

fn row(member: &ListedMember, newest: u32) -> [String; 8] {
    let (epoch, seen) = if member.own {
        (newest.to_string(), "this node".to_owned())
    } else {
        let epoch = member.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        (epoch, format!("{} ago", spoken::rough(member.heard_seconds_ago)))
    };
    [
        member.identity.clone(),
        member.leaf.to_string(),
        member.sender.clone(),
        part(member).to_owned(),
        member.standing.clone(),
        epoch,
        seen,
        member.address.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

/// The first screen: who am I, how am I, where, and what comes next.
fn show(status: &Status, output: Output, verbose: bool) -> Result<(), Failure> {
    let health = if status.problems.is_empty() { "healthy" } else { "DEGRADED" };
    output::line(&format!(
        "{} {}   {health}   up {}   interface {}",
        status.role.as_str(),
        status.identity,
        spoken::rough(status.uptime_seconds),
        status.interface,
    ))?;
    for problem in &status.problems {
        output::line(&format!("  ! {problem}"))?;
    }
    if let Some(manager) = &status.manager {
        show_manager(status, manager, output)?;
    }
    if let Some(member) = &status.member {
        show_member(status, member, output)?;
    }
    show_counts(status, verbose)
}

fn show_manager(status: &Status, manager: &ManagerStatus, output: Output) -> Result<(), Failure> {
    output::line(&format!("registrar {}   store {}", manager.registrar, store(manager)))?;
    let ago = |seconds| format!("{} ago", spoken::rough(seconds));
    let next = match manager.next_rekey_seconds {
        Some(seconds) => format!("in {}", spoken::rough(seconds)),
        None => format!("on demand, {}", spoken::rough(manager.rekey_interval_seconds)),
    };
    output.table(
        ["GROUP", "SUBGROUP", "ADDRESS", "MEMBERS", "EPOCH", "REKEYED", "NEXT REKEY", "PENDING"],
        &[[
            status.group.clone(),
            dash(status.subgroup.as_ref()),
            dash(status.control_address.as_ref()),
            spoken::count(manager.members),
            epoch_of(status),
            manager.last_rekey_seconds_ago.map_or_else(|| "-".to_owned(), ago),
            next,
            manager.pending.to_string(),
        ]],
    )?;
    output::line(&format!("standbys {}", standbys(&manager.standbys)))?;
    output::line(&format!(
        "admitted {}   departed {}   revoked {}   refused {}   tls accepted {} refused {} over limit {}",
        manager.admitted,
        counts(&manager.departed),
        spoken::count(manager.revocations),
        counts(&manager.refused),
        manager.tls.accepted,
        counts(&manager.tls.refused),
        manager.tls.over_limit,
    ))
}

/// `sled /var/lib/conclave/… (whole)`, and in capitals what must not be overlooked.
fn store(manager: &ManagerStatus) -> String {
    let place = manager.store_path.as_ref().map_or_else(String::new, |path| format!(" {path}"));
    let how = match (manager.read_only, manager.store_survives_restart) {
        (true, _) => "FAILED: read-only",
        (false, true) => manager.store_health.as_str(),
        (false, false) => "nothing survives a restart",
    };
    format!("{}{place} ({how})", manager.store)
}

/// `ben.example in step for 4m, cleo.example NOT IN STEP`.
fn standbys(standbys: &[StandbyPart]) -> String {
    let each = standbys.iter().map(|standby| match standby.in_step_seconds {
        Some(seconds) => format!("{} in step for {}", standby.identity, spoken::rough(seconds)),
        None => format!("{} NOT IN STEP", standby.identity),
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() { "none: no other member may manage the group".to_owned() } else { each.join(", ") }
}

fn show_member(status: &Status, member: &MemberStatus, output: Output) -> Result<(), Failure> {
    let manager = member.manager.clone().unwrap_or_else(|| member.gsm.join(", "));
    let known = member.known.as_ref().map(|state| state.epoch.to_string());
    output.table(
        ["GROUP", "SUBGROUP", "ADDRESS", "MANAGER", "EPOCH", "NEWEST", "LEAF", "STATE"],
        &[[
            status.group.clone(),
            dash(status.subgroup.as_ref()),
            dash(status.control_address.as_ref()),
            manager,
            epoch_of(status),
            dash(known.as_ref()),
            dash(member.leaf.map(|leaf| leaf.to_string()).as_ref()),
            state_word(status).to_owned(),
        ]],
    )?;
    if member.refused.is_empty() {
        return Ok(());
    }
    output::line(&format!("refused {}", counts(&member.refused)))
}

fn show_counts(status: &Status, verbose: bool) -> Result<(), Failure> {
    output::line(&format!(
        "data delivered {} waited {} dropped {}   control taken {} rejected {}",
        spoken::count(status.data.delivered),
        spoken::count(status.data.waited),
        counts(&status.data.dropped),
        spoken::count(status.node.taken),
        spoken::count(status.node.rejected),
    ))?;
    if !verbose {
        return Ok(());
    }
    output::line(&format!(
        "group id {}   data address {}   pid {}   worst timer {:.1} ms late",
        status.group_id,
        dash(status.data_address.as_ref()),
        status.pid,
        status.node.worst_lateness_seconds * 1_000.0,
    ))
}

fn epoch_of(status: &Status) -> String {
    status.state.as_ref().map_or_else(|| "-".to_owned(), |state| state.epoch.to_string())
}

fn dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".to_owned())
}

/// The sum of some counters, and those that are not zero.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let sum: u64 = counts.values().sum();
    let parts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} {}", spoken::count(*count)))
        .collect();
    if parts.is_empty() { sum.to_string() } else { format!("{} ({})", spoken::count(sum), parts.join(", ")) }
}
