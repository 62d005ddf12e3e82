//! The node of a daemon: started from its configuration, pumped, and stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use conclave::{
    Credentials, Group, GroupHandle, Host, HostOptions, Interface, Manager, ManagerHandle, ManagerOptions,
    MemberOptions, Message, SendError, SentAs, Threads,
};
use gsm::GsmEvent;
use member::{Member, MemberEvent};
use storage::{MemoryStore, Store};
use tokio::sync::broadcast;

use super::Daemon;
use crate::config::{Config, CredentialFiles, GroupConfig, Role};
use crate::control::RoleName;
use crate::failure::Failure;

/// What was settled when the daemon started.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// What the node is.
    pub(crate) role: RoleName,
    /// Its name.
    pub(crate) identity: String,
    /// The group's name.
    pub(crate) group: String,
    /// The group's identifier.
    pub(crate) group_id: String,
    /// The interface in use.
    pub(crate) interface: String,
    /// The control socket.
    pub(crate) socket: PathBuf,
    /// A member's registrars, as configured.
    pub(crate) gsm: Vec<String>,
    /// Whether the manager's store survives a restart.
    pub(crate) store_survives_restart: bool,
}

/// The node, for requests.
#[derive(Clone)]
pub(crate) enum NodeHandle {
    /// It holds a subgroup's keys.
    Manager(ManagerHandle),
    /// It is registered at a manager, or looks for one.
    Member(GroupHandle<Member>),
}

/// The node itself: whoever has it receives its messages and ends it.
pub(super) enum Owner {
    Manager(Manager),
    Member(Group),
}

/// The node's events.
pub(super) enum NodeEvents {
    Manager(broadcast::Receiver<GsmEvent>),
    Member(broadcast::Receiver<MemberEvent>),
}

/// One of them.
pub(super) enum NodeEvent {
    Manager(GsmEvent),
    Member(MemberEvent),
}

/// A node that runs.
pub(super) struct Started {
    pub(super) facts: Facts,
    pub(super) handle: NodeHandle,
    pub(super) owner: Owner,
    pub(super) events: NodeEvents,
}

/// Starts what the configuration says.
pub(super) async fn start(threads: &Threads, config: Config) -> Result<Started, Failure> {
    let group = the_group(&config)?;
    let part = available(&group)?;
    let host = open(threads, &config).await?;
    let store = MemoryStore::new();
    let facts = Facts {
        role: part,
        identity: host.identity().to_owned(),
        group_id: host.group_id(&group.name).to_string(),
        group: group.name.clone(),
        interface: host.interface().to_string(),
        socket: config.control_socket,
        gsm: group.gsm.clone(),
        store_survives_restart: part == RoleName::Manager && store.describe().survives_restart(),
    };
    match part {
        RoleName::Manager => {
            let options = manager_options(group, store);
            let mut manager = Manager::start(&host, options).map_err(Failure::because)?;
            let handle = manager.handle();
            let events = NodeEvents::Manager(manager.events_from_start());
            Ok(Started { facts, handle: NodeHandle::Manager(handle), owner: Owner::Manager(manager), events })
        }
        RoleName::Member => {
            let options = MemberOptions { gsm: resolve(&group.gsm).await?, group: group.name };
            let mut group = Group::join(&host, options).map_err(Failure::because)?;
            let events = NodeEvents::Member(group.events_from_start());
            let handle = NodeHandle::Member(group.handle());
            Ok(Started { facts, handle, owner: Owner::Member(group), events })
        }
    }
}

fn the_group(config: &Config) -> Result<GroupConfig, Failure> {
    match &config.groups[..] {
        [group] => Ok(group.clone()),
        _ => Err(Failure::Failed("several groups a node are not available yet".to_owned())),
    }
}

/// What the node is in the group from the start; `Err` for what this version cannot be yet.
fn available(group: &GroupConfig) -> Result<RoleName, Failure> {
    let missing = match group.role {
        Role::Manager => return Ok(RoleName::Manager),
        Role::Member if !group.gsm.is_empty() => return Ok(RoleName::Member),
        Role::Member => "to find a manager by multicast is not available yet: write gsm = [\"host:port\"]",
        Role::Auto => "role = \"auto\" is not available yet: write role = \"member\" or role = \"manager\"",
    };
    Err(Failure::Failed(format!("group {:?}: {missing}", group.name)))
}

/// Opens what the groups of this process share.
async fn open(threads: &Threads, config: &Config) -> Result<Host, Failure> {
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

impl NodeHandle {
    /// Sends one message to the group.
    pub(crate) async fn send(&self, payload: &[u8]) -> Result<SentAs, SendError> {
        match self {
            Self::Manager(manager) => manager.group().send(payload).await,
            Self::Member(member) => member.send(payload).await,
        }
    }
}

impl Owner {
    /// Hands what is received to whoever reads it. Returns when the node has ended by itself.
    pub(super) async fn pump(&mut self, daemon: &Daemon) {
        while let Some(message) = self.recv().await {
            // Nobody reading is in order.
            let _ = daemon.messages.send(Arc::new(message));
        }
    }

    /// Stops the node. A member says goodbye if it is in; a manager's members keep their keys.
    pub(super) async fn stop(self, joined: bool) {
        match self {
            Self::Manager(manager) => manager.stop().await,
            Self::Member(group) if joined => drop(group.leave().await),
            Self::Member(group) => group.stop().await,
        }
    }

    async fn recv(&mut self) -> Option<Message> {
        match self {
            Self::Manager(manager) => manager.recv().await,
            Self::Member(group) => group.recv().await,
        }
    }
}

impl NodeEvents {
    /// The next event. May be dropped and called again without losing one.
    pub(super) async fn next(&mut self) -> Result<NodeEvent, broadcast::error::RecvError> {
        match self {
            Self::Manager(events) => events.recv().await.map(NodeEvent::Manager),
            Self::Member(events) => events.recv().await.map(NodeEvent::Member),
        }
    }
}

fn manager_options(group: GroupConfig, store: MemoryStore) -> ManagerOptions {
    let settings = group.settings;
    ManagerOptions {
        group: group.name,
        address: settings.address,
        ttl: settings.ttl,
        suite: settings.suite,
        degree: settings.degree,
        packet_size: settings.packet_size,
        timing: settings.timing,
        access: settings.access,
        store: Box::new(store),
    }
}

/// The addresses of the registrars, in order. A name that does not resolve is skipped with a warning unless it was the
/// last hope.
async fn resolve(gsm: &[String]) -> Result<Vec<SocketAddr>, Failure> {
    let mut addresses = Vec::new();
    let mut failures = Vec::new();
    for name in gsm {
        match tokio::net::lookup_host(name).await {
            Ok(found) => addresses.extend(found.filter(SocketAddr::is_ipv4)),
            Err(error) => {
                tracing::warn!(target: "conclave", %name, %error, "registrar.unresolved");
                failures.push(format!("{name}: {error}"));
            }
        }
    }
    if addresses.is_empty() {
        let why = if failures.is_empty() { "no IPv4 address".to_owned() } else { failures.join("; ") };
        return Err(Failure::Failed(format!("cannot resolve any manager of gsm: {why}")));
    }
    Ok(addresses)
}
