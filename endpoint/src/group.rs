//! The application's door: start a node in a group, send to it, receive from it, leave it.

mod handle;
mod options;

use std::net::SocketAddr;
use std::time::Duration;

use data::KeyRing;
use gsm::{Mode, Part, Participant, ParticipantEvent};
use member::{Ending, MemberEvent, Place};
use protocol::{CloseReason, GroupId, Instant, Refusal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::driver::{Driven, Stopped};
use crate::host::{Host, StartError};
use crate::node::{Begun, Node, Setup};
use crate::pki::{Credentials, PkiError};
use crate::receiving::Message;
use crate::role::{Office, Role};
use crate::sending::{SendError, SentAs};
use crate::state::{OpenState, StoreFacts};
use crate::store_thread::StoreThread;

pub use handle::{GroupHandle, GroupStatus, ManagerError};
pub use options::{GroupOptions, ManagerSettings};

/// How long [`Group::leave`] waits for the manager's word.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// How much later than this node another one of the LAN may have seen a new state.
const SETTLING: Duration = Duration::from_millis(50);

/// A group as an application sees it: messages in, messages out. Keys come and go unseen, and so do managers: this node
/// may be the group's manager itself, now or later.
///
/// Dropping it stops the node without leaving: the manager then misses its keepalives. [`Group::leave`] is the polite
/// way out.
pub struct Group<M: Driven<Event = ParticipantEvent> = Participant> {
    node: Node<M>,
    messages: mpsc::Receiver<Message>,
    events: broadcast::Receiver<ParticipantEvent>,
    host: Host,
    store: Option<StoreFacts>,
    /// The registrars it was told of.
    configured: Vec<SocketAddr>,
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
    /// TLS refused one of the two, or a configured registrar could not be reached. The node keeps trying.
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
    /// Starts a node in a group. Called within any tokio runtime.
    ///
    /// It returns when the node's own state is read, before it has found anybody: [`Group::joined`] waits until the
    /// node is in. An error is the caller's or the operator's to mend, and nothing was sent: a wrong setting, another
    /// node of this process in the group, state that another process has open or that cannot be read.
    pub async fn start(host: &Host, options: GroupOptions) -> Result<Self, StartError> {
        Self::start_as(host, options, |participant| participant).await
    }
}

impl<M: Driven<Event = ParticipantEvent> + AsMut<Participant>> Group<M> {
    /// Like [`Group::start`], with the participant inside another machine, for a program that looks into it (the
    /// demonstration's adversary does).
    pub async fn start_as(
        host: &Host,
        options: GroupOptions,
        wrap: impl FnOnce(Participant) -> M,
    ) -> Result<Self, StartError> {
        let GroupOptions { name, part, gsm, settings, state } = options;
        let (group, seat) = host.seat(&name)?;
        let mut role = Role { group, part, registrars: gsm.clone(), settings, office: None };
        let (mut journal, mut facts) = (None, None);
        if part != Part::Member && host.registrar().is_some() {
            let OpenState { store, signer, past, facts: found } = state.open(group, &name).await?;
            role.office = Some(Office { signer, past });
            (journal, facts) = (Some(store), Some(found));
        }
        let participant = role.begin(host)?;
        let store = journal.map(StoreThread::start).transpose().map_err(StartError::Thread)?;
        let setup = Setup { group, seat, store };
        let Begun { node, messages, events } = Node::start(host, setup, wrap(participant));
        Ok(Self { node, messages, events, host: host.clone(), store: facts, configured: gsm })
    }

    /// Waits until the node holds the key that the others send under, as member or as manager, and says where it is.
    ///
    /// Holding a key is not enough: others go on under the one before until the new state activates. Meanwhile the node
    /// goes from registrar to registrar; `Err` tells that a manager does not want this node, or why a *configured* one
    /// did not take it, and calling again goes on waiting. A manager that was found by multicast and is of no use is
    /// not an error, nor is one that is none yet, because it has just been started: the next one is tried.
    pub async fn joined(&mut self) -> Result<Place, JoinError> {
        let mut keys = self.node.keys.clone();
        loop {
            let settled = first_key(&keys.borrow_and_update()).map(|from| from + SETTLING);
            if settled.is_some_and(|settled| settled <= Clock.now())
                && let Some(place) = self.place().await?
            {
                return Ok(place);
            }
            tokio::select! {
                changed = keys.changed() => changed.map_err(|_| Stopped)?,
                () = until(settled) => {}
                event = self.events.recv() => match event {
                    Ok(event) => self.obstacle(event).map_or(Ok(()), Err)?,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(Stopped.into()),
                },
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

    /// Leaves: the manager takes the node out with its next key update. Returns whether the manager said so. A node
    /// that is the manager has nobody to ask: it stops, and its members keep their keys.
    pub async fn leave(self) -> bool {
        let mut events = self.node.machine.events();
        let asked = self.node.machine.call(|machine, now| {
            let participant = machine.as_mut();
            participant.leave(now);
            participant.mode()
        });
        let acknowledged = match asked.await {
            Ok(Mode::Manager) => true,
            Ok(Mode::Member) => timeout(LEAVE_DEADLINE, left(&mut events)).await.unwrap_or(false),
            Err(Stopped) => false,
        };
        self.stop().await;
        acknowledged
    }

    /// Stops the node without leaving: what was recorded is made durable, and the state is closed when this returns, so
    /// that it can be opened again. A manager that stops does not end its group: its members keep their keys and wait
    /// for its return.
    pub async fn stop(self) {
        self.node.stop().await;
    }

    /// What happens to the node, from now on.
    pub fn events(&self) -> broadcast::Receiver<ParticipantEvent> {
        self.node.machine.events()
    }

    /// What has happened to the node since it was started, and what will. For who does not wait with [`Group::joined`],
    /// which sees only what happens later. Asked for once; the second time it is from the first time on.
    pub fn events_from_start(&mut self) -> broadcast::Receiver<ParticipantEvent> {
        let later = self.node.machine.events();
        std::mem::replace(&mut self.events, later)
    }

    /// A handle that outlives borrowing the group, for status and control.
    pub fn handle(&self) -> GroupHandle<M> {
        GroupHandle::of(&self.node, &self.host, self.store.as_ref())
    }

    async fn place(&self) -> Result<Option<Place>, Stopped> {
        self.node.machine.call(|machine, _| machine.as_mut().listens().cloned()).await
    }

    /// What an event means for somebody who waits to be in.
    fn obstacle(&self, event: ParticipantEvent) -> Option<JoinError> {
        match event {
            ParticipantEvent::Member(MemberEvent::Refused { registrar, why })
                if why.is_final() || (why != Refusal::NotManager && self.configured.contains(&registrar)) =>
            {
                Some(JoinError::Refused { registrar, why })
            }
            ParticipantEvent::Member(MemberEvent::Unreachable { registrar, why })
                if self.configured.contains(&registrar) =>
            {
                Some(JoinError::Unreachable { registrar, why })
            }
            _ => None,
        }
    }
}

/// When the first key held is the one that is sent under.
fn first_key(ring: &KeyRing) -> Option<Instant> {
    ring.send.first().map(|key| key.from)
}

/// Until then; for ever without a time, or when it is over.
async fn until(settled: Option<Instant>) {
    match settled {
        Some(settled) if settled > Clock.now() => Clock.sleep_until(settled).await,
        _ => std::future::pending().await,
    }
}

/// Until the membership has ended; `true` if the manager acknowledged it.
async fn left(events: &mut broadcast::Receiver<ParticipantEvent>) -> bool {
    loop {
        match events.recv().await {
            Ok(ParticipantEvent::Member(MemberEvent::Ended(how))) => return how == Ending::Left,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return false,
        }
    }
}

/// The group's identifier: its name under its authority.
pub fn group_id(name: &str, credentials: &Credentials) -> Result<GroupId, PkiError> {
    Ok(GroupId::derive(name, &credentials.authority_key()?))
}
