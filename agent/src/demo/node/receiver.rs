//! A member that receives the file and compares every packet with it.

use std::time::Duration;

use conclave::{Group, JoinError, Message, ParticipantEvent};
use member::MemberEvent;
use tokio::sync::broadcast;
use tokio::time::{Instant, interval_at, timeout};

use crate::demo::lines::Event;
use crate::demo::node::{Command, Node, NodeError};
use crate::demo::stream::{Content, Ledger};

/// How often the receiver says what came.
pub(super) const REPORT: Duration = Duration::from_millis(200);
/// How long joining may take: nobody manages the group when the first ones look for it.
const JOIN_DEADLINE: Duration = Duration::from_secs(15);

/// Joins, receives until it is told to leave or to stop.
pub(super) async fn run(node: Node) -> Result<(), NodeError> {
    let ledger = Ledger::new(node.name(), Content::read(&node.spec.file)?);
    let mut group = Group::start(&node.host().await?, node.options()).await?;
    let events = join(&node, &mut group).await?;
    Listener { node, ledger }.listen(group, events).await
}

/// Waits until the node holds a group key, however often a registrar is out of reach meanwhile, and says so. Returns
/// the node's events after that.
pub(super) async fn join(
    node: &Node,
    group: &mut Group,
) -> Result<broadcast::Receiver<ParticipantEvent>, NodeError> {
    let mut events = group.events();
    let joined = timeout(JOIN_DEADLINE, async {
        loop {
            match group.joined().await {
                Err(JoinError::Unreachable { .. }) => {}
                other => return other,
            }
        }
    });
    joined.await.map_err(|_| std::io::Error::other("no group key in time"))??;
    loop {
        match events.recv().await {
            Ok(ParticipantEvent::Member(MemberEvent::Installed { state, .. })) => {
                node.voice.say(Event::Joined { node: node.name(), key: state.into() });
                return Ok(events);
            }
            Ok(event) => node.tell(&event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(conclave::Stopped.into()),
        }
    }
}

/// What a receiver keeps while it listens.
struct Listener {
    node: Node,
    ledger: Ledger,
}

/// What a receiver wakes for.
enum Woken {
    Message(Option<Message>),
    Event(Result<ParticipantEvent, broadcast::error::RecvError>),
    Order(Result<Command, NodeError>),
    Report,
}

impl Listener {
    async fn listen(
        mut self,
        mut group: Group,
        mut events: broadcast::Receiver<ParticipantEvent>,
    ) -> Result<(), NodeError> {
        let mut report = interval_at(Instant::now() + REPORT, REPORT);
        loop {
            let woken = tokio::select! {
                biased;
                message = group.recv() => Woken::Message(message),
                event = events.recv() => Woken::Event(event),
                order = self.node.orders.next() => Woken::Order(order),
                _ = report.tick() => Woken::Report,
            };
            match woken {
                Woken::Message(Some(message)) => self.take(&message),
                Woken::Message(None) | Woken::Event(Err(broadcast::error::RecvError::Closed)) => {
                    return Err(conclave::Stopped.into());
                }
                Woken::Event(Ok(event)) => self.node.tell(&event),
                Woken::Event(Err(broadcast::error::RecvError::Lagged(_))) => {}
                Woken::Report => self.report(),
                Woken::Order(order) => match order? {
                    Command::Leave => return self.leave(group).await,
                    Command::Stop => {
                        self.report();
                        group.stop().await;
                        return Ok(());
                    }
                    Command::Stream { .. } | Command::Finish => {}
                },
            }
        }
    }

    fn take(&mut self, message: &Message) {
        let told = self.ledger.take(message.sequence, message.state.into(), &message.payload);
        told.into_iter().for_each(|event| self.node.voice.say(event));
    }

    fn report(&mut self) {
        let told = self.ledger.report();
        told.into_iter().for_each(|event| self.node.voice.say(event));
    }

    async fn leave(mut self, group: Group) -> Result<(), NodeError> {
        self.report();
        let acknowledged = group.leave().await;
        self.node.voice.say(Event::Left { node: self.node.name(), acknowledged });
        Ok(())
    }
}
