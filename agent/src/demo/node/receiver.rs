//! A member that receives the file and compares every packet with it.

use std::time::Duration;

use conclave::{Group, JoinError, Message, ParticipantEvent};
use member::MemberEvent;
use tokio::sync::broadcast;
use tokio::time::{Instant, interval_at, timeout};

use crate::demo::lines::Event;
use crate::demo::node::{Command, Node, NodeError, Orders, Voice};
use crate::demo::stream::{Content, Receipt, Runs};

/// How often the receiver says what came.
pub(super) const REPORT: Duration = Duration::from_millis(200);
/// How long joining may take.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);

/// Joins, receives until it is told to leave or to stop.
pub(super) async fn run(node: Node) -> Result<(), NodeError> {
    let name = node.name();
    let content = Content::read(&node.spec.file)?;
    let mut group = Group::start(&node.host().await?, node.options()).await?;
    let epoch = join(&mut group).await?;
    node.voice.say(Event::Joined { node: name.clone(), epoch });
    let events = group.events();
    let listener = Listener { name, voice: node.voice, content, runs: Runs::new() };
    listener.listen(group, events, node.orders).await
}

/// Waits until the node holds a group key, however often a registrar is out of reach meanwhile. Returns its epoch.
pub(super) async fn join(group: &mut Group) -> Result<u32, NodeError> {
    let mut events = group.events();
    let joined = timeout(JOIN_DEADLINE, async {
        loop {
            match group.joined().await {
                Err(JoinError::Unreachable { .. }) => {}
                other => return other,
            }
        }
    });
    joined.await.map_err(|_| std::io::Error::other("no group key within ten seconds"))??;
    loop {
        match events.recv().await {
            Ok(ParticipantEvent::Member(MemberEvent::Installed { state, .. })) => return Ok(state.epoch.0),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(conclave::Stopped.into()),
        }
    }
}

/// What a receiver keeps while it listens.
struct Listener {
    name: String,
    voice: Voice,
    content: Content,
    runs: Runs<Receipt>,
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
        mut orders: Orders,
    ) -> Result<(), NodeError> {
        let mut report = interval_at(Instant::now() + REPORT, REPORT);
        loop {
            let woken = tokio::select! {
                biased;
                message = group.recv() => Woken::Message(message),
                event = events.recv() => Woken::Event(event),
                order = orders.next() => Woken::Order(order),
                _ = report.tick() => Woken::Report,
            };
            match woken {
                Woken::Message(Some(message)) => self.take(&message),
                Woken::Message(None) | Woken::Event(Err(broadcast::error::RecvError::Closed)) => {
                    return Err(conclave::Stopped.into());
                }
                Woken::Event(Ok(ParticipantEvent::Member(MemberEvent::Installed { state, .. }))) => {
                    self.voice.say(Event::Installed { node: self.name.clone(), epoch: state.epoch.0 });
                }
                Woken::Event(_) => {}
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
        let number = message.sequence;
        let receipt = Receipt {
            epoch: message.state.epoch.0,
            genuine: self.content.is_genuine(number, &message.payload),
        };
        if let Some(run) = self.runs.add(number, receipt) {
            self.voice.say(run.into_event(&self.name));
        }
    }

    fn report(&mut self) {
        if let Some(run) = self.runs.take() {
            self.voice.say(run.into_event(&self.name));
        }
    }

    async fn leave(mut self, group: Group) -> Result<(), NodeError> {
        self.report();
        let acknowledged = group.leave().await;
        self.voice.say(Event::Left { node: self.name, acknowledged });
        Ok(())
    }
}
