//! The operator's door: look at a node, and ask a manager to evict, rekey, tune.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use data::{KeyRing, OpenCounters};
use gsm::{GsmEvent, GsmStatus, Listed, Mode, Participant, ParticipantEvent, RekeySummary, RequestError};
use member::Place;
use protocol::{CloseReason, Instant, StateId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::driver::{Driven, DriverCounters, MachineHandle, Stopped};
use crate::host::Host;
use crate::listener::AdmissionCounters;
use crate::node::Node;
use crate::sending::{SendError, Sending, SentAs};
use crate::state::StoreFacts;

/// A node for whoever does not receive its messages: status, requests, sending. Cheap to clone.
pub struct GroupHandle<M: Driven = Participant> {
    machine: MachineHandle<M>,
    counters: Arc<DriverCounters>,
    opened: watch::Receiver<OpenCounters>,
    keys: watch::Receiver<Arc<KeyRing>>,
    sending: Arc<Sending>,
    host: Host,
    store: Option<StoreFacts>,
}

/// How a node is in its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// Whether it is member or manager now.
    pub mode: Mode,
    /// The subgroup it is in, or was in last.
    pub place: Option<Place>,
    /// The state whose key it holds; `None` while it is in no subgroup.
    pub held: Option<StateId>,
    /// The newest state that any signed message named.
    pub known: Option<StateId>,
    /// Whether its manager gave no sign of life for longer than the configured silence.
    pub manager_silent: bool,
    /// What it says as manager.
    pub manager: Option<GsmStatus>,
    /// How its journal is kept; `None` for a node that cannot manage.
    pub store: Option<StoreFacts>,
}

/// Why an eviction or another request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// It cannot be done.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The node is a member now: the request is for its manager.
    #[error("this node is a member: {}", match manager {
        Some(manager) => format!("ask its manager, {manager}"),
        None => "it looks for a manager itself".to_owned(),
    })]
    NotManager {
        /// The identity of its manager, if it has one.
        manager: Option<String>,
    },
    /// The standby did not take over, and the node goes on managing.
    #[error("{identity} did not take over ({why}): this node goes on managing")]
    NotHandedOver {
        /// Whose office it was to be.
        identity: String,
        /// Why it is not.
        why: CloseReason,
    },
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl<M: Driven> Clone for GroupHandle<M> {
    fn clone(&self) -> Self {
        Self {
            machine: self.machine.clone(),
            counters: Arc::clone(&self.counters),
            opened: self.opened.clone(),
            keys: self.keys.clone(),
            sending: Arc::clone(&self.sending),
            host: self.host.clone(),
            store: self.store.clone(),
        }
    }
}

impl<M: Driven> GroupHandle<M> {
    pub(super) fn of(node: &Node<M>, host: &Host, store: Option<&StoreFacts>) -> Self {
        Self {
            machine: node.machine.clone(),
            counters: Arc::clone(&node.counters),
            opened: node.opened.clone(),
            keys: node.keys.clone(),
            sending: node.sending(),
            host: host.clone(),
            store: store.cloned(),
        }
    }

    /// The machine.
    pub const fn machine(&self) -> &MachineHandle<M> {
        &self.machine
    }

    /// What happens to the node, from now on.
    pub fn events(&self) -> broadcast::Receiver<M::Event> {
        self.machine.events()
    }

    /// What the driver counted.
    pub fn driver_counters(&self) -> &DriverCounters {
        &self.counters
    }

    /// What the data plane received and dropped, at most a fifth of a second old.
    pub fn data_counters(&self) -> OpenCounters {
        *self.opened.borrow()
    }

    /// The data plane's keys, and word of every change.
    pub fn keys(&self) -> watch::Receiver<Arc<KeyRing>> {
        self.keys.clone()
    }

    /// See [`Group::send`](crate::Group::send).
    pub async fn send(&self, payload: &[u8]) -> Result<SentAs, SendError> {
        self.sending.send(payload).await
    }

    /// Where members would register with this node; `None` if its certificate does not allow it to manage.
    pub fn registrar(&self) -> Option<SocketAddr> {
        self.host.registrar()
    }

    /// What happened at the host's door, before any machine saw it; of all groups together.
    pub fn admission(&self) -> &AdmissionCounters {
        self.host.admission()
    }

    /// How the node's journal is kept and was found; `None` for a node that cannot manage.
    pub const fn store(&self) -> Option<&StoreFacts> {
        self.store.as_ref()
    }
}

impl<M: Driven<Event = ParticipantEvent> + AsMut<Participant>> GroupHandle<M> {
    /// How the node is.
    pub async fn status(&self) -> Result<GroupStatus, Stopped> {
        let store = self.store.clone();
        self.machine.call(|machine, now| GroupStatus::of(machine.as_mut(), now, store)).await
    }

    /// Whether the node is member or manager now.
    pub async fn mode(&self) -> Result<Mode, Stopped> {
        self.machine.call(|machine, _| machine.as_mut().mode()).await
    }

    /// What the manager says of itself.
    pub async fn manager_status(&self) -> Result<GsmStatus, ManagerError> {
        self.ask(|gsm, now| Ok(gsm.status(now))).await
    }

    /// The members, by leaf.
    pub async fn members(&self) -> Result<Vec<Listed>, ManagerError> {
        self.ask(|gsm, _| Ok(gsm.members().cloned().collect())).await
    }

    /// Evicts a member, and returns when the eviction is durable and the key update that shuts it out has gone out.
    pub async fn evict(&self, identity: &str) -> Result<RekeySummary, ManagerError> {
        let mut events = self.events();
        let name = identity.to_owned();
        let out_from = self.ask(move |gsm, now| gsm.evict(now, &name)).await?;
        self.rekeyed(&mut events, out_from).await
    }

    /// Cuts what waits now, and returns what the key update did and cost.
    pub async fn rekey(&self) -> Result<RekeySummary, ManagerError> {
        let mut events = self.events();
        let state = self.ask(|gsm, now| Ok(gsm.rekey(now))).await?;
        self.rekeyed(&mut events, state).await
    }

    /// Hands the group to a standby in step, to this one or to the first. Returns who manages it from then on: this node
    /// is a member of it, and nobody registers again. On `Err` it goes on managing.
    pub async fn hand_over(&self, to: Option<&str>) -> Result<String, ManagerError> {
        let mut events = self.events();
        let to = to.map(str::to_owned);
        self.ask(move |gsm, now| {
            let sender = to.map(|name| {
                let named = gsm.members().find(|member| member.identity == name);
                named.map(|member| member.sender).ok_or(RequestError::NoSuchMember(name))
            });
            gsm.hand_over(now, sender.transpose()?)
        })
        .await?;
        loop {
            match events.recv().await {
                Ok(ParticipantEvent::Manager(GsmEvent::HandedOver { identity, .. })) => return Ok(identity),
                Ok(ParticipantEvent::Manager(GsmEvent::NotHandedOver { identity, why })) => {
                    return Err(ManagerError::NotHandedOver { identity, why });
                }
                Ok(ParticipantEvent::Became(Mode::Member)) => {
                    return Err(self.machine.call(|machine, _| not_manager(machine.as_mut())).await?);
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(Stopped.into()),
            }
        }
    }

    /// Sets the rekey interval.
    pub async fn set_rekey_interval(&self, interval: Duration) -> Result<(), ManagerError> {
        self.ask(move |gsm, now| gsm.set_rekey_interval(now, interval)).await
    }

    /// Runs a request at the manager that the node is.
    async fn ask<R: Send + 'static>(
        &self,
        request: impl FnOnce(&mut gsm::Gsm, Instant) -> Result<R, RequestError> + Send + 'static,
    ) -> Result<R, ManagerError> {
        let answered = self.machine.call(move |machine, now| {
            let participant = machine.as_mut();
            match participant.gsm_mut() {
                Some(gsm) => request(gsm, now).map_err(ManagerError::Request),
                None => Err(not_manager(participant)),
            }
        });
        answered.await?
    }

    /// Until the key update that leads to `state` has gone out.
    async fn rekeyed(
        &self,
        events: &mut broadcast::Receiver<ParticipantEvent>,
        state: StateId,
    ) -> Result<RekeySummary, ManagerError> {
        loop {
            match events.recv().await {
                Ok(ParticipantEvent::Manager(GsmEvent::Rekeyed(summary))) if summary.state >= state => {
                    return Ok(summary);
                }
                Ok(ParticipantEvent::Became(Mode::Member)) => {
                    return Err(self.machine.call(|machine, _| not_manager(machine.as_mut())).await?);
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(Stopped.into()),
            }
        }
    }
}

impl GroupStatus {
    fn of(participant: &Participant, now: Instant, store: Option<StoreFacts>) -> Self {
        let manager = participant.gsm().map(|gsm| gsm.status(now));
        let (member, own) = (participant.member(), manager.as_ref().map(|manager| manager.state));
        Self {
            mode: participant.mode(),
            place: participant.listens().cloned(),
            held: member.map_or(own, member::Member::held),
            known: member.map_or(own, member::Member::known),
            manager_silent: member.is_some_and(member::Member::manager_silent),
            manager,
            store,
        }
    }
}

fn not_manager(participant: &Participant) -> ManagerError {
    let held = participant.member().and_then(member::Member::held);
    let manager = held.and_then(|_| participant.listens()).map(|place| place.manager.clone());
    ManagerError::NotManager { manager }
}
