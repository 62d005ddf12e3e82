//! The keys of the file as they are written, and the checks that make a [`Config`] of them.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crypto::Suite;
use gsm::{AccessList, AccessRule};
use keytree::Degree;
use protocol::Timing;
use protocol::limits::MIN_DATAGRAM;
use serde::Deserialize;
use toml::Spanned;

use super::fault::Fault;
use super::{Config, CredentialFiles, DEFAULT_CONTROL_SOCKET, ManagerConfig, Role, limits};
use crate::spoken;

/// The largest key update packet a UDP datagram can carry with room for what tunnels add.
const MAX_PACKET_SIZE: usize = 65_000;
/// The longest group name: it is shown in tables and logs.
const MAX_GROUP_NAME: usize = 255;

/// A parser of configurations whose relative paths begin at `directory`.
pub(super) const fn parse(directory: &Path) -> Parser<'_> {
    Parser { directory }
}

/// See [`parse`].
pub(super) struct Parser<'a> {
    directory: &'a Path,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    group: Spanned<String>,
    role: Spanned<RoleText>,
    interface: Option<Spanned<String>>,
    control_socket: Option<PathBuf>,
    gsm: Option<Spanned<Vec<Spanned<String>>>>,
    credentials: CredentialsText,
    manager: Option<Spanned<ManagerText>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleText {
    Manager,
    Member,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsText {
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManagerText {
    port: Option<u16>,
    control_port: Option<Spanned<u16>>,
    data_port: Option<Spanned<u16>>,
    address: Option<Spanned<String>>,
    ttl: Option<Spanned<u8>>,
    suite: Option<SuiteText>,
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
    access: Option<Vec<Spanned<AccessText>>>,
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

impl Parser<'_> {
    /// Reads the text and checks every value.
    pub(super) fn checked(&self, text: &str) -> Result<Config, Fault> {
        let file: FileText = toml::from_str(text)?;
        let group = file.group.get_ref();
        if group.is_empty() || group.len() > MAX_GROUP_NAME || group.chars().any(char::is_control) {
            let what = format!("group = {group:?} is not a name of 1 to {MAX_GROUP_NAME} printable bytes");
            return Err(Fault::new(file.group.span(), what));
        }
        let role = match file.role.get_ref() {
            RoleText::Manager => Role::Manager(Box::new(manager_role(&file)?)),
            RoleText::Member => Role::Member { gsm: member_role(&file)? },
        };
        let socket = file.control_socket.unwrap_or_else(|| DEFAULT_CONTROL_SOCKET.into());
        Ok(Config {
            group: group.clone(),
            interface: file.interface.map(Spanned::into_inner),
            credentials: CredentialFiles {
                certificate: self.directory.join(file.credentials.certificate),
                key: self.directory.join(file.credentials.key),
                ca: self.directory.join(file.credentials.ca),
            },
            control_socket: self.directory.join(socket),
            role,
        })
    }
}

fn manager_role(file: &FileText) -> Result<ManagerConfig, Fault> {
    if let Some(gsm) = &file.gsm {
        return Err(Fault::new(gsm.span(), "gsm is for role = \"member\": a manager has no manager"));
    }
    match &file.manager {
        Some(manager) => manager.get_ref().checked(),
        None => Ok(ManagerConfig::default()),
    }
}

fn member_role(file: &FileText) -> Result<Vec<String>, Fault> {
    if let Some(manager) = &file.manager {
        return Err(Fault::new(manager.span(), "[manager] is for role = \"manager\""));
    }
    let Some(gsm) = &file.gsm else {
        return Err(Fault::new(
            file.role.span(),
            "a member needs gsm = [\"host:port\"]: where its manager is",
        ));
    };
    if gsm.get_ref().is_empty() {
        return Err(Fault::new(gsm.span(), "gsm names no manager: write gsm = [\"host:port\"]"));
    }
    gsm.get_ref().iter().map(registrar).collect()
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

impl ManagerText {
    fn checked(&self) -> Result<ManagerConfig, Fault> {
        let default = ManagerConfig::default();
        let config = ManagerConfig {
            port: self.port.unwrap_or(default.port),
            control_port: within("control_port", self.control_port.as_ref(), 1..=u16::MAX)?
                .unwrap_or(default.control_port),
            data_port: within("data_port", self.data_port.as_ref(), 1..=u16::MAX)?
                .unwrap_or(default.data_port),
            address: self.address.as_ref().map(multicast).transpose()?,
            ttl: within("ttl", self.ttl.as_ref(), 0..=u8::MAX)?.unwrap_or(default.ttl),
            suite: self.suite.map_or(default.suite, SuiteText::suite),
            degree: self.degree.as_ref().map(degree).transpose()?.unwrap_or(default.degree),
            packet_size: within("packet_size", self.packet_size.as_ref(), MIN_DATAGRAM..=MAX_PACKET_SIZE)?
                .unwrap_or(default.packet_size),
            timing: self.timing()?,
            access: self.access()?,
        };
        if config.control_port == config.data_port {
            let span = self.data_port.as_ref().or(self.control_port.as_ref()).map_or(0..0, Spanned::span);
            let what = format!("control_port and data_port are both {}: they must differ", config.data_port);
            return Err(Fault::new(span, what));
        }
        Ok(config)
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
            _ => &None,
        };
        text.as_ref()
    }

    fn access(&self) -> Result<AccessList, Fault> {
        let rules = self.access.iter().flatten().map(|rule| {
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

impl SuiteText {
    const fn suite(self) -> Suite {
        match self {
            Self::Aes256Ctr => Suite::Aes256Ctr,
            Self::Aes256Kw => Suite::Aes256Kw,
        }
    }
}

fn within<T: Copy + PartialOrd + std::fmt::Display>(
    key: &str,
    text: Option<&Spanned<T>>,
    range: RangeInclusive<T>,
) -> Result<Option<T>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let value = *text.get_ref();
    if range.contains(&value) {
        return Ok(Some(value));
    }
    let what = format!("{key} = {value} is not between {} and {}", range.start(), range.end());
    Err(Fault::new(text.span(), what))
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
