//! The member that sends the file.

use std::time::Duration;

use conclave::{Group, Message, ParticipantEvent, SentAs};
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};

use super::receiver::{REPORT, join};
use crate::demo::lines::{Event, Key};
use crate::demo::node::{Command, Node, NodeError};
use crate::demo::stream::{Content, Ledger};

/// Joins, and sends when it is told to.
pub(super) async fn run(node: Node) -> Result<(), NodeError> {
    let content = Content::read(&node.spec.file)?;
    // What others send is compared like at any receiver; they send no file.
    let ledger = Ledger::new(node.name(), Content::read(&node.spec.file)?);
    let mut group = Group::start(&node.host().await?, node.options()).await?;
    let events = join(&node, &mut group).await?;
    let mut sender = Sender { node, events, content, ledger, batch: None, packets: 0 };
    loop {
        let mut order = sender.idle(&mut group).await?;
        if let Command::Stream { rate } = order {
            order = sender.stream(&mut group, rate).await?;
        }
        match order {
            Command::Stop => {
                group.stop().await;
                return Ok(());
            }
            Command::Leave => {
                let acknowledged = group.leave().await;
                sender.node.voice.say(Event::Left { node: sender.node.name(), acknowledged });
                return Ok(());
            }
            Command::Finish | Command::Stream { .. } => {}
        }
    }
}

/// What a sender keeps.
struct Sender {
    node: Node,
    events: broadcast::Receiver<ParticipantEvent>,
    content: Content,
    ledger: Ledger,
    batch: Option<Batch>,
    packets: u64,
}

/// Packets sent under one key that were not told of yet.
struct Batch {
    key: Key,
    first: u64,
    sent_us: Vec<u64>,
    bytes: u64,
}

impl Sender {
    /// Listens until there is an order.
    async fn idle(&mut self, group: &mut Group) -> Result<Command, NodeError> {
        loop {
            tokio::select! {
                biased;
                order = self.node.orders.next() => return order,
                message = group.recv() => self.take(message)?,
                event = self.events.recv() => self.hear(event)?,
            }
        }
    }

    /// Sends one packet a tick until it is told to finish or to end, and returns which of them.
    ///
    /// A tick that was missed is not made up for: on a busy machine the stream gets slower, not bursty.
    async fn stream(&mut self, group: &mut Group, rate: u32) -> Result<Command, NodeError> {
        self.node.voice.say(Event::StreamBegan { node: self.node.name(), rate });
        let sending = group.handle();
        let mut tick = interval(Duration::from_secs(1) / rate.max(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut report = interval(REPORT);
        let order = loop {
            tokio::select! {
                biased;
                order = self.node.orders.next() => match order? {
                    Command::Stream { .. } => {}
                    order => break order,
                },
                message = group.recv() => self.take(message)?,
                event = self.events.recv() => self.hear(event)?,
                _ = report.tick() => self.report(),
                _ = tick.tick() => {
                    let payload = self.content.payload(self.packets);
                    let sent = sending.send(&payload).await?;
                    self.note(sent, payload.len());
                }
            }
        };
        self.report();
        self.node.voice.say(Event::StreamEnded { node: self.node.name(), packets: self.packets });
        Ok(order)
    }

    fn take(&mut self, message: Option<Message>) -> Result<(), NodeError> {
        let message = message.ok_or(conclave::Stopped)?;
        let told = self.ledger.take(message.sequence, message.state.into(), &message.payload);
        told.into_iter().for_each(|event| self.node.voice.say(event));
        Ok(())
    }

    fn hear(&self, event: Result<ParticipantEvent, broadcast::error::RecvError>) -> Result<(), NodeError> {
        match event {
            Ok(event) => self.node.tell(&event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(conclave::Stopped.into()),
        }
        Ok(())
    }

    fn note(&mut self, sent: SentAs, bytes: usize) {
        let key = Key::from(sent.sealed.state);
        let first = sent.sealed.sequence;
        if self.batch.as_ref().is_some_and(|batch| batch.key != key) {
            self.report();
        }
        let batch = self.batch.get_or_insert_with(|| Batch { key, first, sent_us: Vec::new(), bytes: 0 });
        batch.sent_us.push(self.node.voice.since(sent.at));
        batch.bytes += bytes as u64;
        self.packets += 1;
    }

    fn report(&mut self) {
        if let Some(Batch { key, first, sent_us, bytes }) = self.batch.take() {
            self.node.voice.say(Event::Sent { node: self.node.name(), key, first, sent_us, bytes });
        }
    }
}
