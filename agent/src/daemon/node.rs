//! The node of one group: started from its configuration, pumped, and stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use conclave::{
    Credentials, Group, GroupHandle, Host, HostOptions, Interface, Manager, ManagerHandle, ManagerOptions,
    MemberOptions, Message, SendError, SentAs, Threads,
};
use gsm::GsmEvent;
use member::{Member, MemberEvent};
use storage::{Health, MemoryStore, Store};
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

/// Starts the node of one group.
pub(super) async fn start(host: &Host, group: GroupConfig) -> Result<Started, Failure> {
    let part = available(&group)?;
    let store = MemoryStore::new();
    let survives_restart = store.describe().survives_restart();
    let facts = Facts {
        name: group.name.clone(),
        id: host.group_id(&group.name).to_string(),
        role: group.role,
        gsm: group.gsm.clone(),
        store: StoreFacts { survives_restart, path: None, health: Health::Fresh },
    };
    let because = |error| Failure::Failed(format!("group {:?}: {error}", facts.name));
    match part {
        Part::Manager => {
            let mut manager = Manager::start(host, manager_options(group, store)).map_err(because)?;
            let handle = NodeHandle::Manager(manager.handle());
            let events = NodeEvents::Manager(manager.events_from_start());
            Ok(Started { facts, handle, owner: Owner::Manager(manager), events })
        }
        Part::Member => {
            let options = MemberOptions { gsm: resolve(&group).await?, group: group.name };
            let mut group = Group::join(host, options).map_err(because)?;
            let events = NodeEvents::Member(group.events_from_start());
            let handle = NodeHandle::Member(group.handle());
            Ok(Started { facts, handle, owner: Owner::Member(group), events })
        }
    }
}

/// What this version can be in a group.
enum Part {
    Manager,
    Member,
}

/// What the node is in the group from the start; `Err` for what this version cannot be yet.
fn available(group: &GroupConfig) -> Result<Part, Failure> {
    let missing = match group.role {
        Role::Manager => return Ok(Part::Manager),
        Role::Member if !group.gsm.is_empty() => return Ok(Part::Member),
        Role::Member => "to find a manager by multicast is not available yet: write gsm = [\"host:port\"]",
        Role::Auto => "role = \"auto\" is not available yet: write role = \"member\" or role = \"manager\"",
    };
    Err(Failure::Failed(format!("group {:?}: {missing}", group.name)))
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
    pub(super) async fn pump(&mut self, group: &RunningGroup) {
        while let Some(message) = self.recv().await {
            // Nobody reading is in order.
            let _ = group.messages.send(Arc::new(message));
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
    if addresses.is_empty() {
        let why = if failures.is_empty() { "no IPv4 address".to_owned() } else { failures.join("; ") };
        let text = format!("group {:?}: cannot resolve any manager of gsm: {why}", group.name);
        return Err(Failure::Failed(text));
    }
    Ok(addresses)
}
