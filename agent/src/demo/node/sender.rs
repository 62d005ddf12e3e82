//! The member that sends the file.

use std::time::Duration;

use conclave::{Group, SentAs};
use tokio::time::{MissedTickBehavior, interval};

use super::receiver::{REPORT, join};
use crate::demo::lines::Event;
use crate::demo::node::{Command, Node, NodeError, Orders, Voice};
use crate::demo::stream::Content;

/// Joins, and sends when it is told to.
pub(super) async fn run(node: Node) -> Result<(), NodeError> {
    let name = node.name();
    let content = Content::read(&node.spec.file)?;
    let mut group = Group::start(&node.host().await?, node.options()).await?;
    let epoch = join(&mut group).await?;
    node.voice.say(Event::Joined { node: name.clone(), epoch });
    let mut orders = node.orders;
    let mut streamed = None;
    loop {
        match orders.next().await? {
            Command::Stream { rate } => {
                let sender =
                    Sender { name: name.clone(), voice: node.voice.clone(), batch: None, packets: 0 };
                streamed = Some(sender.stream(&group, &content, rate, &mut orders).await?);
            }
            Command::Leave => {
                let acknowledged = group.leave().await;
                node.voice.say(Event::Left { node: name, acknowledged });
                return Ok(());
            }
            Command::Stop => {
                group.stop().await;
                return Ok(());
            }
            Command::Finish => {}
        }
        if streamed == Some(Command::Stop) {
            group.stop().await;
            return Ok(());
        }
    }
}

/// What a sender keeps while it sends.
struct Sender {
    name: String,
    voice: Voice,
    batch: Option<Batch>,
    packets: u64,
}

/// Packets sent under one epoch that were not told of yet.
struct Batch {
    epoch: u32,
    first: u64,
    sent_us: Vec<u64>,
    bytes: u64,
}

impl Sender {
    /// Sends one packet a tick until it is told to finish or to stop, and returns which of the two.
    ///
    /// A tick that was missed is not made up for: on a busy machine the stream gets slower, not bursty.
    async fn stream(
        mut self,
        group: &Group,
        content: &Content,
        rate: u32,
        orders: &mut Orders,
    ) -> Result<Command, NodeError> {
        self.voice.say(Event::StreamBegan { node: self.name.clone(), rate });
        let mut tick = interval(Duration::from_secs(1) / rate.max(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut report = interval(REPORT);
        let order = loop {
            tokio::select! {
                biased;
                order = orders.next() => match order? {
                    order @ (Command::Finish | Command::Stop) => break order,
                    Command::Stream { .. } | Command::Leave => {}
                },
                _ = report.tick() => self.report(),
                _ = tick.tick() => {
                    let payload = content.payload(self.packets);
                    let sent = group.send(&payload).await?;
                    self.note(sent, payload.len());
                }
            }
        };
        self.report();
        self.voice.say(Event::StreamEnded { node: self.name, packets: self.packets });
        Ok(order)
    }

    fn note(&mut self, sent: SentAs, bytes: usize) {
        let epoch = sent.sealed.state.epoch.0;
        let first = sent.sealed.sequence;
        if self.batch.as_ref().is_some_and(|batch| batch.epoch != epoch) {
            self.report();
        }
        let batch = self.batch.get_or_insert_with(|| Batch { epoch, first, sent_us: Vec::new(), bytes: 0 });
        batch.sent_us.push(self.voice.since(sent.at));
        batch.bytes += bytes as u64;
        self.packets += 1;
    }

    fn report(&mut self) {
        if let Some(Batch { epoch, first, sent_us, bytes }) = self.batch.take() {
            self.voice.say(Event::Sent { node: self.name.clone(), epoch, first, sent_us, bytes });
        }
    }
}
