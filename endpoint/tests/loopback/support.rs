//! A manager and members on loopback: real sockets, real TLS, real certificates.

use std::net::SocketAddr;
use std::time::Duration;

use conclave::{
    Authority, Credentials, Group, GroupOptions, Host, HostOptions, Interface, IssueRequest, KeyKind,
    ManagerSettings, Part, ParticipantEvent, Threads,
};
use crypto::Roles;
use gsm::GsmEvent;
use member::{MemberEvent, Place};
use protocol::Timing;
use tokio::sync::broadcast;

/// Every wait of a test ends here, so that a bug fails the test instead of hanging it.
const DEADLINE: Duration = Duration::from_secs(30);
/// The name of the group of every test; groups are told apart by their authorities.
pub(crate) const GROUP: &str = "loopback";

/// An authority and what runs under it.
pub(crate) struct Site {
    pub(crate) authority: Authority,
    pub(crate) threads: Threads,
}

impl Site {
    pub(crate) fn new() -> Self {
        let authority = Authority::create("test", KeyKind::P256, Duration::from_secs(3_600)).unwrap();
        Self { authority, threads: Threads::start().unwrap() }
    }

    pub(crate) fn credentials(&self, identity: &str, roles: Roles) -> Credentials {
        let request = IssueRequest::new(identity.parse().unwrap(), roles, Duration::from_secs(3_600));
        self.authority.issue(&request).unwrap().into_credentials()
    }

    /// A host on loopback with ports of the kernel's choice.
    pub(crate) async fn host(&self, credentials: Credentials) -> Host {
        self.host_on(credentials, 0).await
    }

    /// The same with this control port, if it is free.
    pub(crate) async fn host_on(&self, credentials: Credentials, control_port: u16) -> Host {
        let interface = Interface::resolve("lo").unwrap();
        let options = HostOptions { credentials, interface, port: 0, control_port, data_port: 0 };
        Host::open(&self.threads, options).await.unwrap()
    }

    /// A host that may manage.
    pub(crate) async fn managing_host(&self) -> Host {
        self.host(self.credentials("gsm.example", MANAGER)).await
    }

    pub(crate) fn manager_options(&self) -> GroupOptions {
        GroupOptions { part: Part::Manager, settings: settings(), ..GroupOptions::named(GROUP) }
    }

    pub(crate) async fn manager(&self) -> Group {
        self.manager_with(self.manager_options()).await
    }

    pub(crate) async fn manager_with(&self, options: GroupOptions) -> Group {
        Group::start(&self.managing_host().await, options).await.unwrap()
    }

    pub(crate) async fn member(&self, identity: &str, registrar: SocketAddr) -> Group {
        self.member_with(self.credentials(identity, MEMBER), registrar).await
    }

    pub(crate) async fn member_with(&self, credentials: Credentials, registrar: SocketAddr) -> Group {
        join(&self.host(credentials).await, GROUP, registrar).await
    }
}

/// Begins to join the group called `name`.
pub(crate) async fn join(host: &Host, name: &str, registrar: SocketAddr) -> Group {
    let options = GroupOptions { gsm: vec![registrar], ..GroupOptions::named(name) };
    Group::start(host, options).await.unwrap()
}

/// Times short enough for a test.
pub(crate) fn settings() -> ManagerSettings {
    let timing = Timing { rekey_interval: Duration::from_millis(300), ..Timing::default() };
    ManagerSettings { timing, ..ManagerSettings::default() }
}

/// Where members register with a manager.
pub(crate) fn registrar(manager: &Group) -> SocketAddr {
    manager.handle().registrar().unwrap()
}

/// The roles of a node that may manage.
pub(crate) const MANAGER: Roles = Roles { member: true, manager: true, maa: false };
/// The roles of a plain member.
pub(crate) const MEMBER: Roles = Roles { member: true, manager: false, maa: false };

/// Waits until the member is in.
pub(crate) async fn joined(group: &mut Group) -> Place {
    within(group.joined()).await.unwrap()
}

/// The next event for which `wanted` has an answer.
pub(crate) async fn event<T>(
    events: &mut broadcast::Receiver<ParticipantEvent>,
    wanted: impl Fn(&ParticipantEvent) -> Option<T>,
) -> T {
    loop {
        if let Some(answer) = wanted(&within(events.recv()).await.unwrap()) {
            return answer;
        }
    }
}

/// The next event of the manager for which `wanted` has an answer.
pub(crate) async fn of_manager<T>(
    events: &mut broadcast::Receiver<ParticipantEvent>,
    wanted: impl Fn(&GsmEvent) -> Option<T>,
) -> T {
    event(events, |event| match event {
        ParticipantEvent::Manager(event) => wanted(event),
        _ => None,
    })
    .await
}

/// The next event of the member for which `wanted` has an answer.
pub(crate) async fn of_member<T>(
    events: &mut broadcast::Receiver<ParticipantEvent>,
    wanted: impl Fn(&MemberEvent) -> Option<T>,
) -> T {
    event(events, |event| match event {
        ParticipantEvent::Member(event) => wanted(event),
        _ => None,
    })
    .await
}

/// Awaits `what`, and fails the test when it takes too long.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("took too long")
}
