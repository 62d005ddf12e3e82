//! A host of a demonstration: the daemon `conclave run` as its operator has it, by its log and its control socket.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use conclave::Clock;
use futures_util::{Stream, StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ground::{Ground, identity, short_name};
use super::lines::{Event, Key, Line};
use super::stage::Heard;
use super::stream::{Content, GREETING, Ledger};
use crate::client::Client;
use crate::control::{Evict, Evicted, Received, Rekeyed, Sent};
use crate::failure::Failure;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often it is said what a host's node received.
const REPORT: Duration = Duration::from_millis(200);
/// How often the greeting is sent: nothing repeats a datagram that is lost.
const GREETINGS: usize = 5;

/// The operator's end of a host's control socket.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    name: String,
    client: Client,
}

impl Operator {
    /// An operator for the host `name`, whose daemon says that it is ready.
    pub(super) fn new(ground: &Ground, name: &str) -> Self {
        Self { name: name.to_owned(), client: Client::new(&ground.control_socket(name)) }
    }

    /// Reads what the host's node receives, and compares it with the file; what there is to say of it goes to `mouth`,
    /// as long as both ends live. Returns once it flows.
    pub(super) async fn listen(
        &self,
        content: Content,
        mouth: mpsc::Sender<Heard>,
        began_us: u64,
    ) -> Result<(), Failure> {
        let received = patiently(self.client.stream("/v1/recv?json=true")).await?;
        let ledger = Ledger::new(self.name.clone(), content);
        tokio::spawn(listen(received, ledger, self.name.clone(), mouth, began_us));
        Ok(())
    }

    /// Evicts a member. Returns the first key it does not know.
    pub(super) async fn evict(&self, node: &str) -> Result<Key, Failure> {
        let request = Evict { identity: identity(node) };
        let evicted: Evicted = patiently(self.client.post("/v1/evict", &request)).await?;
        Ok(Key { term: evicted.state.term, epoch: evicted.state.epoch })
    }

    /// Has the group key changed. Returns the new one.
    pub(super) async fn rekey(&self) -> Result<Key, Failure> {
        let rekeyed: Rekeyed = patiently(self.client.post("/v1/rekey", &())).await?;
        Ok(Key { term: rekeyed.state.term, epoch: rekeyed.state.epoch })
    }

    /// Sends the greeting to the group, from the host's own node.
    pub(super) async fn greet(&self) -> Result<(), Failure> {
        let mut frame = BytesMut::new();
        frame.put_u32(u32::try_from(GREETING.len()).unwrap_or_default());
        frame.put_slice(GREETING);
        let frames = vec![frame.freeze(); GREETINGS].into_iter().map(Ok);
        let _: Sent = patiently(self.client.upload("/v1/send", stream::iter(frames))).await?;
        Ok(())
    }
}

async fn patiently<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::Failed("the manager does not answer its operator".to_owned());
    timeout(PATIENCE, asked).await.map_err(|_| late())?
}

/// Until the stream ends, which it does with its daemon.
async fn listen(
    mut received: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
    mut ledger: Ledger,
    name: String,
    mouth: mpsc::Sender<Heard>,
    began_us: u64,
) {
    let mut report = tokio::time::interval(REPORT);
    let mut text = Vec::new();
    loop {
        let mut told = Vec::new();
        tokio::select! {
            bytes = received.next() => {
                let Some(Ok(bytes)) = bytes else { return };
                text.extend_from_slice(&bytes);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    told.extend(heard(&line, &mut ledger, &name, began_us));
                }
            }
            _ = report.tick() => told.extend(ledger.report().map(|event| line(began_us, event))),
        }
        for heard in told {
            if mouth.send(heard).await.is_err() {
                return;
            }
        }
    }
}

/// What one line of `recv` means.
fn heard(text: &[u8], ledger: &mut Ledger, name: &str, began_us: u64) -> Option<Heard> {
    let message = serde_json::from_slice::<Received>(text).ok();
    let payload = message.as_ref().and_then(payload);
    match message.zip(payload) {
        Some((message, payload)) => {
            let key = Key { term: message.term, epoch: message.epoch };
            ledger.take(message.sequence, key, &payload).map(|event| line(began_us, event))
        }
        None => Some(Heard::Nonsense(name.to_owned(), String::from_utf8_lossy(text).into_owned())),
    }
}

fn payload(message: &Received) -> Option<Vec<u8>> {
    if let Some(text) = &message.text {
        return Some(text.clone().into_bytes());
    }
    let digits = message.hex.as_ref()?.as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn line(began_us: u64, event: Event) -> Heard {
    Heard::Line(Line { at_us: Clock.now().micros().saturating_sub(began_us), event })
}

/// Reads a host's log. It says the same as `conclave events`, and from the daemon's first moment on.
pub(super) struct Log {
    node: String,
    joined: bool,
}

impl Log {
    pub(super) fn of(node: &str) -> Self {
        Self { node: node.to_owned(), joined: false }
    }

    /// What a line of the log means here; most lines nothing.
    pub(super) fn read(&mut self, text: &str, began_us: u64) -> Option<Heard> {
        let told: Value = serde_json::from_str(text).ok()?;
        if told.get("message").and_then(Value::as_str) == Some("daemon.ready") {
            return Some(Heard::Ready(self.node.clone()));
        }
        self.event(&told).map(|event| line(began_us, event))
    }

    fn event(&mut self, told: &Value) -> Option<Event> {
        let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| text(name).parse::<u64>().unwrap_or(0);
        let own = || self.node.clone();
        let other = || short_name(text("identity")).to_owned();
        let departed = |why: &str| Some(Event::Departed { node: other(), why: why.to_owned() });
        match text("message") {
            "manager.elected" => Some(Event::Elected { node: own() }),
            "manager.resumed" => {
                let term = u32::try_from(number("term")).unwrap_or(u32::MAX);
                Some(Event::Resumed { node: own(), members: number("members"), term })
            }
            "standby.in_step" => Some(Event::StandsBy { node: other() }),
            "manager.took_office" => Some(Event::Succeeded {
                node: own(),
                term: u32::try_from(number("term")).unwrap_or(u32::MAX),
            }),
            "member.admitted" => Some(Event::Admitted { node: other() }),
            "member.left" => departed("left"),
            "member.silent" => departed("silent"),
            "member.replaced" => departed("replaced"),
            "member.evicted" => departed("evicted"),
            "group.rekeyed" => Some(rekeyed(told)),
            "join.granted" => Some(Event::Registered { node: own() }),
            "state.installed" => {
                let (node, key) = (own(), key(told));
                let first = !std::mem::replace(&mut self.joined, true);
                Some(if first { Event::Joined { node, key } } else { Event::Installed { node, key } })
            }
            // None of these may happen to a store that nobody touched.
            name @ ("group.rolled_back"
            | "manager.started_over"
            | "store.read_only"
            | "store.behind"
            | "store.damaged"
            | "events.missed") => Some(Event::Broken { why: format!("{} says {name}", self.node) }),
            _ => None,
        }
    }
}

fn key(told: &Value) -> Key {
    let number = |name: &str| told.get(name)?.as_str()?.parse().ok();
    Key { term: number("term").unwrap_or(0), epoch: number("epoch").unwrap_or(0) }
}

fn rekeyed(told: &Value) -> Event {
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
    let size = |name: &str| text(name).parse().unwrap_or(0);
    Event::Rekeyed {
        key: key(told),
        hard: text("hard") == "true",
        joins: size("joins"),
        leaves: size("leaves"),
        entries: size("entries"),
        packets: size("packets"),
        bytes: size("bytes"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_daemons_log_is_taken_over_with_its_figures() {
        let mut log = Log::of("host1");
        let told = json!({
            "message": "group.rekeyed", "term": "2", "epoch": "7", "hard": "true",
            "joins": "1", "leaves": "2", "entries": "9", "packets": "1", "bytes": "400",
        });
        let key = Key { term: 2, epoch: 7 };
        let expected =
            Event::Rekeyed { key, hard: true, joins: 1, leaves: 2, entries: 9, packets: 1, bytes: 400 };
        assert_eq!(log.event(&told), Some(expected));
        let told = json!({ "message": "member.evicted", "identity": "mallory.demo" });
        let expected = Event::Departed { node: "mallory".to_owned(), why: "evicted".to_owned() };
        assert_eq!(log.event(&told), Some(expected));
        let told = json!({ "message": "manager.resumed", "members": "6", "term": "2" });
        let expected = Event::Resumed { node: "host1".to_owned(), members: 6, term: 2 };
        assert_eq!(log.event(&told), Some(expected));
        assert_eq!(log.event(&json!({ "message": "member.waved" })), None);
        assert!(log.read("not a line of the log", 0).is_none());
    }

    #[test]
    fn what_a_host_received_is_taken_over_byte_for_byte() {
        let message = |text: Option<&str>, hex: Option<&str>| Received {
            sender: String::new(),
            stream: String::new(),
            sequence: 0,
            term: 1,
            epoch: 1,
            bytes: 2,
            text: text.map(str::to_owned),
            hex: hex.map(str::to_owned),
        };
        assert_eq!(payload(&message(Some("hi"), None)), Some(b"hi".to_vec()));
        assert_eq!(payload(&message(None, Some("00ff"))), Some(vec![0, 255]));
        assert_eq!(payload(&message(None, Some("0g"))), None);
        assert_eq!(payload(&message(None, None)), None);
    }
}
