//! The node of one group: started from its configuration, pumped, and stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conclave::{
    Credentials, Group, GroupHandle, GroupOptions, Host, HostOptions, Interface, ManagerSettings, Part,
    ParticipantEvent, State, Threads,
};
use storage::Health;
use tokio::sync::broadcast;

use super::RunningGroup;
use crate::config::{Config, CredentialFiles, GroupConfig, Role};
use crate::failure::Failure;

/// How long a name of a manager that has no address is left alone.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);

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
    /// Names of `gsm` that have no address yet.
    pub(super) unresolved: Vec<String>,
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
    let roles = host.certificate().roles;
    if group.role == Role::Auto && roles.manager && !roles.member {
        let (group, identity) = (&group.name, host.identity());
        return Err(Failure::Failed(format!(
            "group {group:?}: the certificate of {identity} has the role manager and not the role member: with \
             role = \"auto\" it needs both; or write role = \"manager\""
        )));
    }
    let (name, id) = (group.name.clone(), host.group_id(&group.name).to_string());
    let (role, gsm) = (group.role, group.gsm.clone());
    let (options, unresolved) = options(group, directories).await;
    let because = |error| Failure::Failed(format!("group {name:?}: {error}"));
    let mut owner = Group::start(host, options).await.map_err(because)?;
    let (handle, events) = (owner.handle(), owner.events_from_start());
    let store = handle.store().map(|store| StoreFacts {
        survives_restart: store.kind.survives_restart(),
        path: store.directory.clone(),
        health: store.health.clone(),
    });
    let store = store.unwrap_or(StoreFacts { survives_restart: false, path: None, health: Health::Fresh });
    Ok(Started { facts: Facts { name, id, role, gsm, store }, unresolved, handle, owner, events })
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

async fn options(group: GroupConfig, (state, keys): (&Path, &Path)) -> (GroupOptions, Vec<String>) {
    let (gsm, unresolved) = resolve(&group.name, &group.gsm).await;
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
    (GroupOptions { name: group.name, part, gsm, settings, state }, unresolved)
}

/// The addresses of these registrars, in order, and the names that have none.
async fn resolve(group: &str, names: &[String]) -> (Vec<SocketAddr>, Vec<String>) {
    let (mut addresses, mut unresolved) = (Vec::new(), Vec::new());
    for name in names {
        let found = tokio::net::lookup_host(name).await;
        let error = found.as_ref().err().map_or_else(|| "no IPv4 address".to_owned(), ToString::to_string);
        let before = addresses.len();
        addresses.extend(found.into_iter().flatten().filter(SocketAddr::is_ipv4));
        if addresses.len() == before {
            tracing::warn!(target: "conclave", %group, %name, %error, "registrar.unresolved");
            unresolved.push(name.clone());
        }
    }
    (addresses, unresolved)
}

/// Tries names that had no address again and again until each has one, and hands the addresses to the node: name
/// service may come up after the node. Meanwhile the node looks around by multicast. Returns when none is left.
pub(super) async fn resolve_rest(group: Arc<RunningGroup>) {
    loop {
        let names = group.record().unresolved.clone();
        if names.is_empty() {
            return;
        }
        tokio::time::sleep(RESOLVE_AGAIN).await;
        let (addresses, unresolved) = resolve(&group.facts.name, &names).await;
        let learned = group.node.machine().call(move |node, _| node.learn_registrars(&addresses));
        if learned.await.is_err() {
            return;
        }
        group.record().unresolved = unresolved;
    }
}
