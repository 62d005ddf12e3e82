//! One `[[group]]`: its keys as they are written, and the checks that make a [`GroupConfig`] of them.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crypto::Suite;
use gsm::{AccessList, AccessRule};
use keytree::Degree;
use protocol::Timing;
use protocol::limits::{DEFAULT_PRIORITY, MIN_DATAGRAM};
use serde::Deserialize;
use toml::Spanned;

use super::fault::Fault;
use super::text::within;
use super::{GroupConfig, Role, Settings, limits};
use crate::spoken;

/// The largest key update packet a UDP datagram can carry with room for what tunnels add.
const MAX_PACKET_SIZE: usize = 65_000;
/// The longest group name: it is shown in tables and logs.
const MAX_GROUP_NAME: usize = 255;

/// A group's table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupText {
    pub(super) name: Spanned<String>,
    role: Option<Spanned<RoleText>>,
    gsm: Option<Spanned<Vec<Spanned<String>>>>,
    priority: Option<Spanned<u16>>,
    merge: Option<Spanned<bool>>,
    address: Option<Spanned<String>>,
    ttl: Option<Spanned<u8>>,
    suite: Option<Spanned<SuiteText>>,
    degree: Option<Spanned<u8>>,
    packet_size: Option<Spanned<usize>>,
    rekey_interval: Option<Spanned<String>>,
    alarm_interval: Option<Spanned<String>>,
    silence: Option<Spanned<String>>,
    soft_activation: Option<Spanned<String>>,
    soft_cut: Option<Spanned<String>>,
    hard_activation: Option<Spanned<String>>,
    hard_cut: Option<Spanned<String>>,
    keepalive: Option<Spanned<String>>,
    nak_wait: Option<Spanned<String>>,
    nak_round: Option<Spanned<String>>,
    refresh: Option<Spanned<String>>,
    give_up_after: Option<Spanned<String>>,
    access: Option<Spanned<Vec<Spanned<AccessText>>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleText {
    Auto,
    Member,
    Manager,
}

#[derive(Clone, Copy, Deserialize)]
enum SuiteText {
    #[serde(rename = "aes256ctr-blake3")]
    Aes256Ctr,
    #[serde(rename = "aes256kw-sha256")]
    Aes256Kw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessText {
    allow: Option<String>,
    deny: Option<String>,
}

impl GroupText {
    /// Checks every value of the table.
    pub(super) fn checked(&self) -> Result<GroupConfig, Fault> {
        let name = self.name.get_ref();
        if name.is_empty() || name.len() > MAX_GROUP_NAME || name.chars().any(char::is_control) {
            let what = format!("name = {name:?} is not a name of 1 to {MAX_GROUP_NAME} printable bytes");
            return Err(Fault::new(self.name.span(), what));
        }
        let role = self.role.as_ref().map_or_else(Role::default, |role| role.get_ref().role());
        self.fits(role)?;
        let gsm = self.gsm.iter().flat_map(|gsm| gsm.get_ref());
        Ok(GroupConfig {
            name: name.clone(),
            role,
            gsm: gsm.map(registrar).collect::<Result<_, _>>()?,
            priority: self.priority.as_ref().map_or(DEFAULT_PRIORITY, |priority| *priority.get_ref()),
            merge: self.merge.as_ref().is_none_or(|merge| *merge.get_ref()),
            settings: self.settings()?,
        })
    }

    /// What has no effect under its role is a mistake of whoever wrote it.
    fn fits(&self, role: Role) -> Result<(), Fault> {
        let written = |key: Option<Range<usize>>, what: &str| match key {
            Some(span) => Err(Fault::new(span, what)),
            None => Ok(()),
        };
        match role {
            Role::Auto => {}
            Role::Manager => {
                let gsm = self.gsm.as_ref().map(Spanned::span);
                written(gsm, "gsm is for members: role = \"manager\" looks for no manager")?;
                let priority = self.priority.as_ref().map(Spanned::span);
                written(
                    priority,
                    "priority is for role = \"auto\": role = \"manager\" stands for no election",
                )?;
            }
            Role::Member => {
                for (key, span) in self.for_managers() {
                    written(
                        span,
                        &format!("{key} is for who may manage the group: role = \"member\" never does"),
                    )?;
                }
            }
        }
        match &self.gsm {
            Some(gsm) if gsm.get_ref().is_empty() => {
                let what = "gsm names no manager: write gsm = [\"host:port\"], or leave it out to find one by multicast";
                Err(Fault::new(gsm.span(), what))
            }
            _ => Ok(()),
        }
    }

    /// Every key that only a manager has a use for, and where it stands.
    fn for_managers(&self) -> impl Iterator<Item = (&'static str, Option<Range<usize>>)> {
        let of = |text: &Option<Spanned<String>>| text.as_ref().map(Spanned::span);
        let others = [
            ("priority", self.priority.as_ref().map(Spanned::span)),
            ("merge", self.merge.as_ref().map(Spanned::span)),
            ("address", of(&self.address)),
            ("ttl", self.ttl.as_ref().map(Spanned::span)),
            ("suite", self.suite.as_ref().map(Spanned::span)),
            ("degree", self.degree.as_ref().map(Spanned::span)),
            ("packet_size", self.packet_size.as_ref().map(Spanned::span)),
            ("access", self.access.as_ref().map(Spanned::span)),
        ];
        let times = limits::of(&mut Timing::default())
            .map(|limit| (limit.key, self.time(limit.key).map(Spanned::span)));
        others.into_iter().chain(times)
    }

    fn settings(&self) -> Result<Settings, Fault> {
        let default = Settings::default();
        Ok(Settings {
            address: self.address.as_ref().map(multicast).transpose()?,
            ttl: self.ttl.as_ref().map_or(default.ttl, |ttl| *ttl.get_ref()),
            suite: self.suite.as_ref().map_or(default.suite, |suite| suite.get_ref().suite()),
            degree: self.degree.as_ref().map(degree).transpose()?.unwrap_or(default.degree),
            packet_size: within("packet_size", self.packet_size.as_ref(), MIN_DATAGRAM..=MAX_PACKET_SIZE)?
                .unwrap_or(default.packet_size),
            timing: self.timing()?,
            access: self.access()?,
        })
    }

    fn timing(&self) -> Result<Timing, Fault> {
        let mut timing = Timing::default();
        for limit in limits::of(&mut timing) {
            if let Some(text) = self.time(limit.key) {
                *limit.value = duration(limit.key, text, &limit.range)?;
            }
        }
        if timing.silence < timing.alarm_interval * 2 {
            let span = self.silence.as_ref().or(self.alarm_interval.as_ref()).map_or(0..0, Spanned::span);
            let what = format!(
                "silence = {:?} is less than two alarm intervals ({}): one lost alarm would be a lost manager",
                spoken::exact(timing.silence),
                spoken::exact(timing.alarm_interval),
            );
            return Err(Fault::new(span, what));
        }
        if timing.t_hard < timing.silence {
            let span = self.give_up_after.as_ref().or(self.silence.as_ref()).map_or(0..0, Spanned::span);
            let what = format!(
                "give_up_after = {:?} is less than silence ({}): members would give up a manager they do not miss yet",
                spoken::exact(timing.t_hard),
                spoken::exact(timing.silence),
            );
            return Err(Fault::new(span, what));
        }
        Ok(timing)
    }

    fn time(&self, key: &str) -> Option<&Spanned<String>> {
        let text = match key {
            "rekey_interval" => &self.rekey_interval,
            "alarm_interval" => &self.alarm_interval,
            "silence" => &self.silence,
            "soft_activation" => &self.soft_activation,
            "soft_cut" => &self.soft_cut,
            "hard_activation" => &self.hard_activation,
            "hard_cut" => &self.hard_cut,
            "keepalive" => &self.keepalive,
            "nak_wait" => &self.nak_wait,
            "nak_round" => &self.nak_round,
            "refresh" => &self.refresh,
            "give_up_after" => &self.give_up_after,
            _ => &None,
        };
        text.as_ref()
    }

    fn access(&self) -> Result<AccessList, Fault> {
        let rules = self.access.iter().flat_map(|access| access.get_ref()).map(|rule| {
            let (allow, pattern) = match rule.get_ref() {
                AccessText { allow: Some(pattern), deny: None } => (true, pattern),
                AccessText { allow: None, deny: Some(pattern) } => (false, pattern),
                _ => {
                    let what = "an access rule is { allow = \"PATTERN\" } or { deny = \"PATTERN\" }";
                    return Err(Fault::new(rule.span(), what));
                }
            };
            Ok(AccessRule { allow, pattern: pattern.clone() })
        });
        Ok(AccessList::new(rules.collect::<Result<Vec<_>, _>>()?))
    }
}

impl RoleText {
    const fn role(self) -> Role {
        match self {
            Self::Auto => Role::Auto,
            Self::Member => Role::Member,
            Self::Manager => Role::Manager,
        }
    }
}

impl SuiteText {
    const fn suite(self) -> Suite {
        match self {
            Self::Aes256Ctr => Suite::Aes256Ctr,
            Self::Aes256Kw => Suite::Aes256Kw,
        }
    }
}

fn registrar(text: &Spanned<String>) -> Result<String, Fault> {
    let address = text.get_ref();
    let well = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty()
            && (bracketed || !host.contains(':'))
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if well {
        return Ok(address.clone());
    }
    Err(Fault::new(text.span(), format!("gsm {address:?} is not host:port, such as \"gsm.example:7400\"")))
}

fn degree(text: &Spanned<u8>) -> Result<Degree, Fault> {
    let value = *text.get_ref();
    Degree::new(value)
        .ok_or_else(|| Fault::new(text.span(), format!("degree = {value} is not between 2 and 16")))
}

fn multicast(text: &Spanned<String>) -> Result<IpAddr, Fault> {
    let address = text.get_ref();
    match address.parse::<IpAddr>() {
        Ok(parsed @ IpAddr::V4(group)) if group.is_multicast() => Ok(parsed),
        _ => {
            let what = format!("address = {address:?} is not an IPv4 multicast address (224.0.0.0/4)");
            Err(Fault::new(text.span(), what))
        }
    }
}

fn duration(key: &str, text: &Spanned<String>, range: &RangeInclusive<Duration>) -> Result<Duration, Fault> {
    let written = text.get_ref();
    let Ok(value) = humantime::parse_duration(written) else {
        let what = format!("{key} = {written:?} is not a duration such as \"500ms\", \"5s\" or \"1h\"");
        return Err(Fault::new(text.span(), what));
    };
    if range.contains(&value) {
        return Ok(value);
    }
    let (from, to) = (spoken::exact(*range.start()), spoken::exact(*range.end()));
    Err(Fault::new(text.span(), format!("{key} = {written:?} is not between {from} and {to}")))
}
