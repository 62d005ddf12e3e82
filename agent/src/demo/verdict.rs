//! What a demonstration has shown: a function of its lines and of nothing else.

mod failover;
mod record;
mod restart;

use record::Record;

use super::lines::{Line, Summary};
use crate::failure::Failure;

/// What the lines of a demonstration amount to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    /// The figures.
    pub(super) summary: Summary,
    /// What they had to be.
    pub(super) conditions: Vec<Condition>,
    /// Everything that is not as it must be; empty when the demonstration has shown what it should.
    pub(super) failures: Vec<String>,
}

/// One figure and what it had to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Condition {
    /// The figure's name in the summary.
    pub(super) name: &'static str,
    /// In a reader's words.
    pub(super) meaning: &'static str,
    /// The figure.
    pub(super) figure: u64,
    /// What it had to be.
    pub(super) limit: Limit,
}

/// What a figure has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    /// This or more.
    AtLeast(u64),
    /// This or less.
    AtMost(u64),
    /// This.
    Exactly(u64),
}

impl Verdict {
    /// How the program ends by it: with exit code 0 if there is no failure, else with 1.
    pub(super) fn outcome(&self) -> Result<(), Failure> {
        match self.failures.len() {
            0 => Ok(()),
            count => Err(Failure::Failed(format!("the demonstration failed ({count} reasons, told above)"))),
        }
    }
}

impl Condition {
    /// Whether the figure is what it had to be.
    pub(super) const fn holds(&self) -> bool {
        match self.limit {
            Limit::AtLeast(least) => self.figure >= least,
            Limit::AtMost(most) => self.figure <= most,
            Limit::Exactly(value) => self.figure == value,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(value) => write!(f, "{value}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
        }
    }
}

/// Judges a demonstration. Its exit code is 0 if and only if no failure comes out.
///
/// Lines may be in any order: each says when it happened. What the lines do not say did not happen, so a missing line
/// can only make a verdict worse; the one exception would be a missing line about the adversary's reading, and for that
/// its readings before the switch are counted too and must not be none.
pub(super) fn verdict(lines: &[Line]) -> Verdict {
    let record = Record::of(lines);
    let summary = summary(&record);
    let conditions = conditions(&summary);
    let mut failures: Vec<String> = record.broken.clone();
    failures.extend(conditions.iter().filter(|condition| !condition.holds()).map(|condition| {
        let Condition { name, figure, limit, .. } = condition;
        format!("{name} is {figure} and must be {limit}")
    }));
    failures.extend(misdelivered(&record));
    failures.extend(attack_failures(&record));
    failures.extend(restart_failures(&record));
    failures.extend(failover_failures(&record));
    Verdict { summary, conditions, failures }
}

fn summary(record: &Record) -> Summary {
    let loss = record.losses();
    let switch = record.switch();
    let evicted = record.interception(switch.map(|switch| switch.number));
    let requested = record.evict_requested.as_ref().map(|(_, at)| *at);
    let to_switch = switch.zip(requested).map(|(switch, at)| switch.sent_us.saturating_sub(at));
    Summary {
        members: record.members_at_stream_start(),
        epochs: record.rekeys.len() as u64,
        joins: record.admitted,
        leaves: record.left,
        evictions: record.evicted,
        bytes_sent: record.bytes_sent,
        key_update_bytes: record.rekeys.values().map(|rekey| rekey.bytes).sum(),
        elapsed_ms: record.over_at.unwrap_or(0) / 1_000,
        rekeys_during_stream: record.rekeys_during_stream(),
        packets_sent: record.sent.len() as u64,
        packets_lost_at_rekey: loss.soft,
        packets_lost_at_eviction: loss.hard,
        // Without a switch it took for ever.
        evict_to_switch_ms: to_switch.map_or(u64::MAX, |micros| micros.div_ceil(1_000)),
        evicted_read_before_switch: evicted.read_before,
        evicted_seen_after_switch: evicted.seen_after,
        evicted_read_after_switch: evicted.read_after,
        packets_lost_at_restart: loss.restart,
        packets_lost_at_failover: loss.failover,
        ..managers(record)
    }
}

/// The figures about the election, the restart and the failover.
fn managers(record: &Record) -> Summary {
    let elected = record.elected.iter().min().zip(record.hosts_began);
    let restart = record.restart();
    let restart = restart.as_ref();
    let failover = record.failover();
    let failover = failover.as_ref();
    Summary {
        // Without one it took for ever.
        election_ms: elected.map_or(u64::MAX, |(at, began)| at.saturating_sub(began).div_ceil(1_000)),
        managers_elected: record.elected.len() as u64,
        restart_live_members: restart.map_or(0, |restart| restart.live.len() as u64),
        restart_members_kept: restart.map_or(0, |restart| restart.kept),
        read_after_restart: restart.map_or(0, |restart| restart.readers),
        restart_reregistrations: restart.map_or(0, |restart| restart.reregistrations),
        restart_ms: restart.map_or(u64::MAX, |restart| restart.took_us.div_ceil(1_000)),
        failover_live_members: failover.map_or(0, |failover| failover.live.len() as u64),
        read_after_failover: failover.map_or(0, |failover| failover.readers),
        failover_reregistrations: failover.map_or(0, |failover| failover.reregistrations),
        failover_ms: failover.map_or(u64::MAX, |failover| failover.took_us.div_ceil(1_000)),
        ..Summary::default()
    }
}

fn conditions(summary: &Summary) -> Vec<Condition> {
    let mut conditions = stream_conditions(summary);
    conditions.extend(manager_conditions(summary));
    conditions.extend(failover_conditions(summary));
    conditions
}

const fn condition(name: &'static str, meaning: &'static str, figure: u64, limit: Limit) -> Condition {
    Condition { name, meaning, figure, limit }
}

fn stream_conditions(summary: &Summary) -> Vec<Condition> {
    vec![
        condition(
            "rekeys_during_stream",
            "times the group key was changed during the stream",
            summary.rekeys_during_stream,
            Limit::AtLeast(5),
        ),
        condition("packets_sent", "packets in the stream", summary.packets_sent, Limit::AtLeast(2_000)),
        condition(
            "packets_lost_at_rekey",
            "packets a remaining member missed at joins and leaves",
            summary.packets_lost_at_rekey,
            Limit::Exactly(0),
        ),
        condition(
            "packets_lost_at_eviction",
            "packets a remaining member missed at the eviction",
            summary.packets_lost_at_eviction,
            Limit::Exactly(0),
        ),
        condition(
            "evict_to_switch_ms",
            "milliseconds from the word to evict to the new key",
            summary.evict_to_switch_ms,
            Limit::AtMost(200),
        ),
        condition(
            "evicted_read_before_switch",
            "packets the evicted node read before it was shut out",
            summary.evicted_read_before_switch,
            Limit::AtLeast(1),
        ),
        condition(
            "evicted_seen_after_switch",
            "packets it still caught afterwards",
            summary.evicted_seen_after_switch,
            Limit::AtLeast(500),
        ),
        condition(
            "evicted_read_after_switch",
            "packets it could read of those",
            summary.evicted_read_after_switch,
            Limit::Exactly(0),
        ),
    ]
}

fn manager_conditions(summary: &Summary) -> Vec<Condition> {
    let live = summary.restart_live_members;
    vec![
        condition(
            "election_ms",
            "milliseconds from the hosts' start to one that is elected",
            summary.election_ms,
            Limit::AtMost(5_000),
        ),
        condition("managers_elected", "hosts that were elected", summary.managers_elected, Limit::Exactly(1)),
        condition(
            "restart_live_members",
            "members in the group when its manager was killed",
            live,
            Limit::AtLeast(3),
        ),
        condition(
            "restart_members_kept",
            "members it kept when it was started again",
            summary.restart_members_kept,
            Limit::Exactly(live),
        ),
        condition(
            "read_after_restart",
            "members that read under a key of its new term",
            summary.read_after_restart,
            Limit::Exactly(live),
        ),
        condition(
            "restart_reregistrations",
            "times one of them had to register again",
            summary.restart_reregistrations,
            Limit::Exactly(0),
        ),
        condition(
            "packets_lost_at_restart",
            "packets a remaining member missed from the kill to the new key",
            summary.packets_lost_at_restart,
            Limit::Exactly(0),
        ),
        condition(
            "restart_ms",
            "milliseconds from the manager's new start to its new key in use",
            summary.restart_ms,
            Limit::AtMost(10_000),
        ),
    ]
}

fn failover_conditions(summary: &Summary) -> Vec<Condition> {
    let live = summary.failover_live_members;
    vec![
        condition(
            "failover_live_members",
            "members in the group when its manager was killed for good",
            live,
            Limit::AtLeast(3),
        ),
        condition(
            "read_after_failover",
            "members that read under a key of the standby's term",
            summary.read_after_failover,
            Limit::Exactly(live),
        ),
        condition(
            "failover_reregistrations",
            "times one of them had to register again",
            summary.failover_reregistrations,
            Limit::Exactly(0),
        ),
        condition(
            "packets_lost_at_failover",
            "packets a remaining member missed from that kill to the standby's key",
            summary.packets_lost_at_failover,
            Limit::Exactly(0),
        ),
        condition(
            "failover_ms",
            "milliseconds from that kill to the standby's key in use",
            summary.failover_ms,
            Limit::AtMost(6_000),
        ),
    ]
}

/// Every way in which what arrived was not exactly what was sent.
fn misdelivered(record: &Record) -> Vec<String> {
    let mut failures = Vec::new();
    if record.entitled().is_empty() {
        failures.push("no member was in for the whole stream".to_owned());
    }
    if !record.stream_is_whole() {
        failures.push("the sender's lines do not add up to one stream without a gap".to_owned());
    }
    for (node, reception) in &record.received {
        if reception.wrong > 0 {
            failures.push(format!("{node} received {} packets with wrong content", reception.wrong));
        }
        let doubled = reception.packets.values().filter(|copies| copies.len() > 1).count();
        if doubled > 0 {
            failures.push(format!("{node} was given {doubled} packets more than once"));
        }
        let strange = record.strange(reception);
        if strange > 0 {
            failures.push(format!("{node} received {strange} packets that were not sent like that"));
        }
        let past = record.read_of_the_past(node, reception);
        if past > 0 {
            failures.push(format!("{node} read {past} packets from before it was let in"));
        }
        let gaps = record.gaps_of_passing_member(node, reception);
        if gaps > 0 {
            failures.push(format!("{node}, in for a part of the stream, missed {gaps} packets of that part"));
        }
    }
    failures
}

/// What the adversary achieved, and whether it really tried.
fn attack_failures(record: &Record) -> Vec<String> {
    let Some(hard) = record.hard_key() else {
        return vec!["there was no eviction".to_owned()];
    };
    let mut failures = Vec::new();
    let (before, after): (Vec<_>, Vec<_>) = record.attacks.iter().partition(|(key, _)| **key < hard);
    let opened = after.iter().filter(|(_, opened)| **opened).count();
    if opened > 0 {
        failures.push(format!("the evicted node opened {opened} key updates that shut it out"));
    }
    if after.is_empty() {
        failures.push("the evicted node attacked no key update after its eviction".to_owned());
    }
    if !before.iter().any(|(_, opened)| **opened) {
        failures.push("the adversary's attack opened no key update while it was a member".to_owned());
    }
    if record.asked.naks == 0 || record.asked.resyncs == 0 {
        failures.push("the evicted node asked for no repair".to_owned());
    }
    if record.asked.answers > 0 {
        failures.push(format!("the manager answered {} requests of the evicted node", record.asked.answers));
    }
    if record.reregistered.is_empty() {
        failures.push("the evicted node did not try to register again".to_owned());
    }
    if record.reregistered.iter().any(|(_, admitted)| *admitted) {
        failures.push("the evicted node was let in again".to_owned());
    }
    failures
}

/// Whether the restart was one, and whether the evicted node went on trying.
fn restart_failures(record: &Record) -> Vec<String> {
    let Some(restart) = record.restart() else {
        return vec!["no manager was killed and came back in a new term".to_owned()];
    };
    let mut failures = Vec::new();
    if record.sent_without_manager() == 0 {
        failures.push("nothing was sent while the manager was dead".to_owned());
    }
    if record.seen_from(restart.switch) == 0 {
        failures.push("the evicted node caught no packet after the restart".to_owned());
    }
    if !record.attacks.keys().any(|key| key.term == restart.term) {
        failures.push("the evicted node attacked no key update after the restart".to_owned());
    }
    if !record.reregistered.iter().any(|(at, _)| *at >= restart.resumed_at) {
        failures.push("the evicted node did not try to register after the restart".to_owned());
    }
    failures
}

/// Whether a standby took over, and whether the evicted node had something to catch afterwards.
fn failover_failures(record: &Record) -> Vec<String> {
    let Some(failover) = record.failover() else {
        return vec!["no manager was killed for good and followed by a standby in a new term".to_owned()];
    };
    let mut failures = Vec::new();
    if record.seen_from(failover.switch) == 0 {
        failures.push("the evicted node caught no packet after the failover".to_owned());
    }
    if !record.attacks.keys().any(|key| key.term >= failover.term) {
        failures.push("the evicted node attacked no key update after the failover".to_owned());
    }
    failures
}

#[cfg(test)]
mod tests;
