//! The application's door: join a group, send to it, receive from it, leave it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Ed25519Verifier, Signer};
use data::{KeyRing, OpenCounters};
use member::{Ending, Member, MemberConfig, MemberEvent, Place};
use protocol::{CloseReason, GroupId, Refusal};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::driver::{Driven, DriverCounters, Effect, Listen, MachineHandle, Stopped};
use crate::host::{Host, StartError};
use crate::node::{Begun, Node, NodeKeys, Setup, system_randomness};
use crate::pki::{Credentials, PkiError};
use crate::receiving::Message;
use crate::sending::{SendError, Sending, SentAs};

/// How long [`Group::leave`] waits for the manager's word.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// How much later than this node another one of the LAN may have seen a new state.
const SETTLING: Duration = Duration::from_millis(50);

impl Driven for Member {
    fn effect(event: &MemberEvent) -> Effect<'_> {
        match event {
            MemberEvent::KeyRing(ring) => Effect::Keys(ring),
            MemberEvent::Granted(place) => {
                Effect::Listen(Listen { control: place.control, data: place.data, ttl: place.ttl })
            }
            _ => Effect::None,
        }
    }
}

/// What a member is started with.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The group's name.
    pub group: String,
    /// Registrars to try in order.
    pub gsm: Vec<SocketAddr>,
}

/// A group as an application sees it: messages in, messages out; keys come and go unseen.
///
/// Dropping it stops the node without leaving: the manager then misses its keepalives. [`Group::leave`] is the polite
/// way out.
pub struct Group<M: Driven<Event = MemberEvent> = Member> {
    node: Node<M>,
    messages: mpsc::Receiver<Message>,
    events: broadcast::Receiver<MemberEvent>,
    place: Option<Place>,
}

/// Why a node is not in, although it was asked to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A manager said no.
    #[error("refused by {registrar}: {why}")]
    Refused {
        /// Which registrar.
        registrar: SocketAddr,
        /// Why.
        why: Refusal,
    },
    /// TLS refused one of the two, or no registrar could be reached. The node keeps trying.
    #[error("{registrar}: {why}")]
    Unreachable {
        /// Which registrar.
        registrar: SocketAddr,
        /// Why.
        why: CloseReason,
    },
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Group {
    /// Starts a member and begins to look for the group's manager. It returns at once; [`Group::joined`] waits until
    /// the node is in. Called within any tokio runtime.
    pub fn join(host: &Host, options: MemberOptions) -> Result<Self, StartError> {
        Self::join_as(host, options, |member| member)
    }
}

impl<M: Driven<Event = MemberEvent> + AsMut<Member>> Group<M> {
    /// Like [`Group::join`], with the member inside another machine, for a program that looks into it (the
    /// demonstration's adversary does).
    pub fn join_as(
        host: &Host,
        options: MemberOptions,
        wrap: impl FnOnce(Member) -> M,
    ) -> Result<Self, StartError> {
        let (group, seat) = host.seat(&options.group)?;
        let keys = NodeKeys::generate();
        let config = MemberConfig {
            group,
            registrars: options.gsm,
            signing: keys.signing.public_key(),
            exchange: keys.exchange,
            verifier: Arc::new(Ed25519Verifier),
            discovery: None,
        };
        let mut member = Member::new(config, system_randomness());
        member.join(Clock.now());
        let setup = Setup { group, seat, store: None };
        let Begun { node, messages, events } = Node::start(host, setup, wrap(member));
        Ok(Self { node, messages, events, place: None })
    }

    /// Waits until the node is in and the others send under a key it holds, and says where it is.
    ///
    /// Holding a key is not enough: others go on under the one before until the new state activates. Meanwhile the node
    /// goes from registrar to registrar; `Err` tells why one of them did not take it, and calling again goes on
    /// waiting.
    pub async fn joined(&mut self) -> Result<Place, JoinError> {
        loop {
            match self.next_event().await? {
                MemberEvent::Installed { .. } => {
                    if let Some(place) = self.place.clone() {
                        self.activated().await;
                        return Ok(place);
                    }
                }
                MemberEvent::Refused { registrar, why } => return Err(JoinError::Refused { registrar, why }),
                MemberEvent::Unreachable { registrar, why } => {
                    return Err(JoinError::Unreachable { registrar, why });
                }
                _ => {}
            }
        }
    }

    /// Sends one message to everyone in the group. While a key switch is under way it waits for the key, up to four
    /// seconds. At most [`data::MAX_PAYLOAD`] bytes.
    pub async fn send(&self, payload: &[u8]) -> Result<SentAs, SendError> {
        self.node.send(payload).await
    }

    /// The next message; `None` when the node has stopped. Each is delivered once, in the order of arrival.
    pub async fn recv(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// Leaves: the manager takes the node out with its next key update. Returns whether the manager said so.
    pub async fn leave(self) -> bool {
        let mut events = self.node.machine.events();
        let asked = self.node.machine.call(|machine, now| machine.as_mut().leave(now)).await;
        let ended = async {
            loop {
                match events.recv().await {
                    Ok(MemberEvent::Ended(how)) => return how == Ending::Left,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return false,
                }
            }
        };
        let acknowledged = asked.is_ok() && timeout(LEAVE_DEADLINE, ended).await.unwrap_or(false);
        self.node.stop().await;
        acknowledged
    }

    /// Stops the node without leaving.
    pub async fn stop(self) {
        self.node.stop().await;
    }

    /// What happens to the node, from now on.
    pub fn events(&self) -> broadcast::Receiver<MemberEvent> {
        self.node.machine.events()
    }

    /// What has happened to the node since it was started, and what will. For who does not wait with [`Group::joined`],
    /// which sees only what happens later.
    pub fn events_from_start(&mut self) -> broadcast::Receiver<MemberEvent> {
        let later = self.node.machine.events();
        std::mem::replace(&mut self.events, later)
    }

    /// A handle that outlives borrowing the group, for status and control.
    pub fn handle(&self) -> GroupHandle<M> {
        GroupHandle::of(&self.node)
    }

    /// Until the first key held is the one that is sent under, here and at nodes that saw the state a little later.
    async fn activated(&self) {
        let mut keys = self.node.keys.clone();
        loop {
            let first = keys.borrow_and_update().send.first().map(|key| key.from);
            let Some(from) = first else { return };
            if Clock.now() >= from + SETTLING {
                return;
            }
            tokio::select! {
                () = Clock.sleep_until(from + SETTLING) => {}
                changed = keys.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn next_event(&mut self) -> Result<MemberEvent, Stopped> {
        loop {
            match self.events.recv().await {
                Ok(MemberEvent::Granted(place)) => self.place = Some(place),
                Ok(event) => return Ok(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Err(Stopped),
            }
        }
    }
}

/// What a daemon needs of a node while somebody else reads its messages.
pub struct GroupHandle<M: Driven = Member> {
    machine: MachineHandle<M>,
    counters: Arc<DriverCounters>,
    opened: watch::Receiver<OpenCounters>,
    keys: watch::Receiver<Arc<KeyRing>>,
    sending: Arc<Sending>,
}

impl<M: Driven> Clone for GroupHandle<M> {
    fn clone(&self) -> Self {
        Self {
            machine: self.machine.clone(),
            counters: Arc::clone(&self.counters),
            opened: self.opened.clone(),
            keys: self.keys.clone(),
            sending: Arc::clone(&self.sending),
        }
    }
}

impl<M: Driven> GroupHandle<M> {
    pub(crate) fn of(node: &Node<M>) -> Self {
        Self {
            machine: node.machine.clone(),
            counters: Arc::clone(&node.counters),
            opened: node.opened.clone(),
            keys: node.keys.clone(),
            sending: node.sending(),
        }
    }

    /// The machine.
    pub const fn machine(&self) -> &MachineHandle<M> {
        &self.machine
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

    /// See [`Group::send`].
    pub async fn send(&self, payload: &[u8]) -> Result<SentAs, SendError> {
        self.sending.send(payload).await
    }
}

/// The group's identifier: its name under its authority.
pub fn group_id(name: &str, credentials: &Credentials) -> Result<GroupId, PkiError> {
    Ok(GroupId::derive(name, &credentials.authority_key()?))
}
