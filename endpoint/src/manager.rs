//! The operator's door: run a manager, look at it, evict, rekey, tune.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crypto::{Ed25519Signer, Ed25519Verifier, Label, Secret, Signer, Suite, hash};
use gsm::{AccessList, Gsm, GsmConfig, GsmEvent, GsmStatus, Journal, Listed, RekeySummary, RequestError};
use keytree::Degree;
use protocol::{Domain, GroupId, StateId, SubgroupId, Timing};
use storage::Store;
use tokio::sync::{broadcast, mpsc};

use crate::clock::Clock;
use crate::driver::{Driven, DriverCounters, Effect, Listen, Stopped};
use crate::group::GroupHandle;
use crate::host::{Host, StartError};
use crate::listener::AdmissionCounters;
use crate::node::{Begun, Node, NodeKeys, Setup, system_randomness};
use crate::receiving::Message;
use crate::store_thread::StoreThread;

impl Driven for Gsm {
    fn effect(event: &GsmEvent) -> Effect<'_> {
        match event {
            GsmEvent::KeyRing(ring) => Effect::Keys(ring),
            _ => Effect::None,
        }
    }

    fn listens_at_start(&self) -> Option<Listen> {
        let config = self.config();
        Some(Listen { control: config.control, data: config.data, ttl: config.ttl })
    }

    fn accepts(&self) -> bool {
        true
    }
}

/// What a manager is started with.
pub struct ManagerOptions {
    /// The group's name.
    pub group: String,
    /// The subgroup's multicast address; `None` derives one from group and subgroup, within 239.192.0.0/14.
    pub address: Option<IpAddr>,
    /// How many hops multicast may go.
    pub ttl: u8,
    /// The cipher suite.
    pub suite: Suite,
    /// The key tree's degree.
    pub degree: Degree,
    /// The largest key update packet.
    pub packet_size: usize,
    /// The group's times.
    pub timing: Timing,
    /// Who may register.
    pub access: AccessList,
    /// Where the journal goes.
    pub store: Box<dyn Store>,
}

/// A running manager: the subgroup's key server, and its own node as a member.
pub struct Manager {
    node: Node<Gsm>,
    messages: mpsc::Receiver<Message>,
    events: broadcast::Receiver<GsmEvent>,
    host: Host,
    registrar: SocketAddr,
    store: &'static str,
}

/// What an operator may ask of a manager. Cheap to clone.
#[derive(Clone)]
pub struct ManagerHandle {
    group: GroupHandle<Gsm>,
    host: Host,
    registrar: SocketAddr,
    store: &'static str,
}

/// Why an eviction or another request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ManagerError {
    /// It cannot be done.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Manager {
    /// Starts a manager of a new subgroup. Called within any tokio runtime. The host's certificate must allow it.
    pub fn start(host: &Host, options: ManagerOptions) -> Result<Self, StartError> {
        let (group, seat) = host.seat(&options.group)?;
        let (config, registrar) = gsm_config(host, &options, group)?;
        let store = options.store.describe().as_str();
        let journal = StoreThread::start(options.store).map_err(StartError::Thread)?;
        let mut rng = system_randomness();
        let signer = Ed25519Signer::from_seed(&Secret::random(&mut *rng));
        let gsm = Gsm::start(Clock.now(), config, Box::new(signer), rng, Journal::default());
        let setup = Setup { group, seat, store: Some(journal) };
        let Begun { node, messages, events } = Node::start(host, setup, gsm);
        Ok(Self { node, messages, events, host: host.clone(), registrar, store })
    }

    /// Where members register.
    pub const fn registrar(&self) -> SocketAddr {
        self.registrar
    }

    /// What has happened at the manager since it was started, and what will. Asked for once; the second time it is from
    /// the first time on.
    pub fn events_from_start(&mut self) -> broadcast::Receiver<GsmEvent> {
        let later = self.node.machine.events();
        std::mem::replace(&mut self.events, later)
    }

    /// A handle for the operator's requests.
    pub fn handle(&self) -> ManagerHandle {
        ManagerHandle {
            group: GroupHandle::of(&self.node),
            host: self.host.clone(),
            registrar: self.registrar,
            store: self.store,
        }
    }

    /// The next message its own node received; `None` when it has stopped.
    pub async fn recv(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// Stops in order. Its members keep their keys.
    pub async fn stop(self) {
        self.node.stop().await;
    }
}

impl ManagerHandle {
    /// The node, for sending, counters and events.
    pub const fn group(&self) -> &GroupHandle<Gsm> {
        &self.group
    }

    /// Where members register.
    pub const fn registrar(&self) -> SocketAddr {
        self.registrar
    }

    /// What happened at the host's door, before any machine saw it; of all groups together.
    pub fn admission(&self) -> &AdmissionCounters {
        self.host.admission()
    }

    /// Which engine keeps the journal.
    pub const fn store(&self) -> &'static str {
        self.store
    }

    /// How the manager is.
    pub async fn status(&self) -> Result<GsmStatus, Stopped> {
        self.group.machine().call(|gsm, now| gsm.status(now)).await
    }

    /// The members, by leaf.
    pub async fn members(&self) -> Result<Vec<Listed>, Stopped> {
        self.group.machine().call(|gsm, _| gsm.members().cloned().collect()).await
    }

    /// Evicts a member, and returns when the eviction is durable and the key update that shuts it out has gone out.
    pub async fn evict(&self, identity: &str) -> Result<RekeySummary, ManagerError> {
        let mut events = self.events();
        let name = identity.to_owned();
        let out_from = self.group.machine().call(move |gsm, now| gsm.evict(now, &name)).await??;
        Ok(rekeyed(&mut events, out_from).await?)
    }

    /// Cuts what waits now, and returns what the key update did and cost.
    pub async fn rekey(&self) -> Result<RekeySummary, Stopped> {
        let mut events = self.events();
        let state = self.group.machine().call(|gsm, now| gsm.rekey(now)).await?;
        rekeyed(&mut events, state).await
    }

    /// Sets the rekey interval.
    pub async fn set_rekey_interval(&self, interval: Duration) -> Result<(), ManagerError> {
        Ok(self.group.machine().call(move |gsm, now| gsm.set_rekey_interval(now, interval)).await??)
    }

    /// What happens at the manager, from now on.
    pub fn events(&self) -> broadcast::Receiver<GsmEvent> {
        self.group.machine().events()
    }

    /// What the driver counted.
    pub fn driver_counters(&self) -> &DriverCounters {
        self.group.driver_counters()
    }
}

/// Until the key update that leads to `state` has gone out.
async fn rekeyed(
    events: &mut broadcast::Receiver<GsmEvent>,
    state: StateId,
) -> Result<RekeySummary, Stopped> {
    loop {
        match events.recv().await {
            Ok(GsmEvent::Rekeyed(summary)) if summary.state >= state => return Ok(summary),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(Stopped),
        }
    }
}

fn gsm_config(
    host: &Host,
    options: &ManagerOptions,
    group: GroupId,
) -> Result<(GsmConfig, SocketAddr), StartError> {
    let own = host.certificate();
    let Some(registrar) = host.registrar() else {
        return Err(StartError::Setting(format!(
            "the certificate of {} does not carry the manager role: issue one with it",
            own.identity
        )));
    };
    let mut rng = system_randomness();
    let subgroup = SubgroupId(rng.next_u64());
    let domain = Domain { suite: options.suite, group, subgroup };
    let local = options.address.unwrap_or_else(|| derived_address(&domain));
    let keys = NodeKeys::generate();
    let config = GsmConfig {
        group,
        subgroup,
        suite: options.suite,
        degree: options.degree,
        identity: own.identity.clone(),
        certificate: own.fingerprint,
        signing: keys.signing.public_key(),
        exchange: keys.exchange,
        control: SocketAddr::new(local, host.control_port()),
        data: SocketAddr::new(local, host.data_port()),
        address: host.control_address(),
        ttl: options.ttl,
        packet_size: options.packet_size,
        timing: options.timing,
        access: options.access.clone(),
        verifier: Arc::new(Ed25519Verifier),
        presence: None,
    };
    Ok((config, registrar))
}

/// The subgroup's address where no server hands one out: within 239.192.0.0/14, the organization-local scope of RFC
/// 2365, by a hash of group and subgroup. Keys, not addresses, separate groups, so two that meet only cost traffic.
fn derived_address(domain: &Domain) -> IpAddr {
    let digest =
        hash(domain.suite, Label::LocalAddress, &[domain.group.as_bytes(), &domain.subgroup.0.to_be_bytes()]);
    IpAddr::V4(Ipv4Addr::new(239, 192 | (digest[0] & 0x03), digest[1], digest[2]))
}
