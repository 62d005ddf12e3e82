//! The node of one group: started from its configuration, pumped, and stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave::{
    Credentials, Group, GroupHandle, GroupOptions, Host, HostOptions, Interface, ManagerSettings, Part,
    ParticipantEvent, State, Threads,
};
use storage::Health;
use tokio::sync::broadcast;

use super::RunningGroup;
use crate::config::{Config, CredentialFiles, GroupConfig, Role};
use crate::failure::Failure;

/// What was settled about a group when the daemon started.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The group's name.
    pub(crate) name: String,
    /// The group's identifier.
    pub(crate) id: String,
    /// What the node may be in it.
    pub(crate) role: Role,
    /// The managers to register at, as configured.
    pub(crate) gsm: Vec<String>,
    /// Where the journal is while the node manages the group.
    pub(crate) store: StoreFacts,
}

/// What is known of a store from its beginning.
#[derive(Clone, Debug)]
pub(crate) struct StoreFacts {
    /// Whether what it holds survives a restart.
    pub(crate) survives_restart: bool,
    /// Its directory; `None` in memory.
    pub(crate) path: Option<PathBuf>,
    /// How it was found.
    pub(crate) health: Health,
}

/// A node that runs.
pub(super) struct Started {
    pub(super) facts: Facts,
    pub(super) handle: GroupHandle,
    /// Whoever has it receives its messages and ends it.
    pub(super) owner: Group,
    pub(super) events: broadcast::Receiver<ParticipantEvent>,
}

/// Starts the node of one group, with the directories of all journals and of their keys.
pub(super) async fn start(
    host: &Host,
    group: GroupConfig,
    directories: (&Path, &Path),
) -> Result<Started, Failure> {
    let (name, id) = (group.name.clone(), host.group_id(&group.name).to_string());
    let (role, gsm) = (group.role, group.gsm.clone());
    let options = options(group, directories).await?;
    let because = |error| Failure::Failed(format!("group {name:?}: {error}"));
    let mut owner = Group::start(host, options).await.map_err(because)?;
    let (handle, events) = (owner.handle(), owner.events_from_start());
    let store = handle.store().map(|store| StoreFacts {
        survives_restart: store.kind.survives_restart(),
        path: store.directory.clone(),
        health: store.health.clone(),
    });
    let store = store.unwrap_or(StoreFacts { survives_restart: false, path: None, health: Health::Fresh });
    Ok(Started { facts: Facts { name, id, role, gsm, store }, handle, owner, events })
}

/// Opens what the groups of this process share.
pub(super) async fn open(threads: &Threads, config: &Config) -> Result<Host, Failure> {
    let CredentialFiles { certificate, key, ca } = &config.credentials;
    let interface = match &config.interface {
        Some(name) => Interface::resolve(name),
        None => Interface::choose(),
    };
    let options = HostOptions {
        credentials: Credentials::load(certificate, key, ca).map_err(Failure::because)?,
        interface: interface.map_err(Failure::because)?,
        port: config.ports.registrar,
        control_port: config.ports.control,
        data_port: config.ports.data,
    };
    Host::open(threads, options).await.map_err(Failure::because)
}

/// Hands what is received to whoever reads it. Returns when the node has ended by itself.
pub(super) async fn pump(node: &mut Group, group: &RunningGroup) {
    while let Some(message) = node.recv().await {
        // Nobody reading is in order.
        let _ = group.messages.send(Arc::new(message));
    }
}

/// Stops the node. A member says goodbye if it is in; a manager's members keep their keys.
pub(super) async fn stop(node: Group, joined: bool) {
    if joined {
        let _ = node.leave().await;
    } else {
        node.stop().await;
    }
}

async fn options(group: GroupConfig, (state, keys): (&Path, &Path)) -> Result<GroupOptions, Failure> {
    let gsm = resolve(&group).await?;
    let part = match group.role {
        Role::Auto => Part::Auto,
        Role::Member => Part::Member,
        Role::Manager => Part::Manager,
    };
    let settings = group.settings;
    let settings = ManagerSettings {
        address: settings.address,
        ttl: settings.ttl,
        suite: settings.suite,
        degree: settings.degree,
        packet_size: settings.packet_size,
        timing: settings.timing,
        access: settings.access,
        priority: group.priority,
        merges: group.merge,
    };
    let state = State::Directory { data: state.to_owned(), keys: keys.to_owned() };
    Ok(GroupOptions { name: group.name, part, gsm, settings, state })
}

/// The addresses of the registrars, in order. A name that does not resolve is skipped with a warning unless it was the
/// last hope.
async fn resolve(group: &GroupConfig) -> Result<Vec<SocketAddr>, Failure> {
    let mut addresses = Vec::new();
    let mut failures = Vec::new();
    for name in &group.gsm {
        match tokio::net::lookup_host(name).await {
            Ok(found) => addresses.extend(found.filter(SocketAddr::is_ipv4)),
            Err(error) => {
                tracing::warn!(target: "conclave", group = %group.name, %name, %error, "registrar.unresolved");
                failures.push(format!("{name}: {error}"));
            }
        }
    }
    if addresses.is_empty() && !group.gsm.is_empty() {
        let why = if failures.is_empty() { "no IPv4 address".to_owned() } else { failures.join("; ") };
        let text = format!("group {:?}: cannot resolve any manager of gsm: {why}", group.name);
        return Err(Failure::Failed(text));
    }
    Ok(addresses)
}
