//! The manager of a demonstration, as its operator has it: the daemon's control socket.

use std::net::SocketAddr;
use std::time::Duration;

use conclave::Clock;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ground::{Ground, identity, short_name};
use super::lines::{Event, Line};
use super::stage::Heard;
use crate::client::Client;
use crate::control::{Evict, Evicted, Rekeyed, Status};
use crate::failure::Failure;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// The operator's end of the manager's control socket.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    name: String,
    client: Client,
}

impl Operator {
    /// An operator for the manager `name`, whose daemon says that it is ready.
    pub(super) fn new(ground: &Ground, name: &str) -> Self {
        Self { name: name.to_owned(), client: Client::new(&ground.control_socket()) }
    }

    /// Where members register.
    pub(super) async fn registrar(&self) -> Result<SocketAddr, Failure> {
        let status: Status = patiently(self.client.get("/v1/status")).await?;
        let registrar = status.manager.map(|manager| manager.registrar).unwrap_or_default();
        registrar.parse().map_err(|error| Failure::Failed(format!("registrar {registrar:?}: {error}")))
    }

    /// Follows the manager's events: what the demonstration needs of them goes to `mouth`, as long as both ends live.
    /// Returns once they flow.
    pub(super) async fn follow(&self, mouth: mpsc::Sender<Heard>, began_us: u64) -> Result<(), Failure> {
        let mut stream = patiently(self.client.stream("/v1/events")).await?;
        let name = self.name.clone();
        tokio::spawn(async move {
            let mut text = Vec::new();
            while let Some(Ok(bytes)) = stream.next().await {
                text.extend_from_slice(&bytes);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let heard = match serde_json::from_slice(&line) {
                        Ok(told) => {
                            event(&told).map(|event| Heard::Line(Line { at_us: since(began_us), event }))
                        }
                        Err(_) => {
                            let line = String::from_utf8_lossy(&line).into_owned();
                            Some(Heard::Nonsense(name.clone(), line))
                        }
                    };
                    if let Some(heard) = heard
                        && mouth.send(heard).await.is_err()
                    {
                        return;
                    }
                }
            }
        });
        Ok(())
    }

    /// Evicts a member. Returns the first epoch it does not know.
    pub(super) async fn evict(&self, node: &str) -> Result<u32, Failure> {
        let request = Evict { identity: identity(node) };
        let evicted: Evicted = patiently(self.client.post("/v1/evict", &request)).await?;
        Ok(evicted.state.epoch)
    }

    /// Has the group key changed. Returns the new epoch.
    pub(super) async fn rekey(&self) -> Result<u32, Failure> {
        let rekeyed: Rekeyed = patiently(self.client.post("/v1/rekey", &())).await?;
        Ok(rekeyed.state.epoch)
    }
}

async fn patiently<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::Failed("the manager does not answer its operator".to_owned());
    timeout(PATIENCE, asked).await.map_err(|_| late())?
}

fn since(began_us: u64) -> u64 {
    Clock.now().micros().saturating_sub(began_us)
}

/// What one of the daemon's events means here; most of them nothing.
fn event(told: &Value) -> Option<Event> {
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or(0);
    let size = |name: &str| usize::try_from(number(name)).unwrap_or(usize::MAX);
    let node = || short_name(text("identity")).to_owned();
    let departed = |why: &str| Some(Event::Departed { node: node(), why: why.to_owned() });
    match text("event") {
        "member.admitted" => Some(Event::Admitted { node: node() }),
        "member.left" => departed("left"),
        "member.silent" => departed("silent"),
        "member.replaced" => departed("replaced"),
        "member.evicted" => departed("evicted"),
        "group.rekeyed" => Some(Event::Rekeyed {
            epoch: u32::try_from(number("epoch")).unwrap_or(u32::MAX),
            hard: told.get("hard").and_then(Value::as_bool).unwrap_or(false),
            joins: size("joins"),
            leaves: size("leaves"),
            entries: size("entries"),
            packets: size("packets"),
            bytes: size("bytes"),
        }),
        "events.missed" => Some(Event::Broken { why: "the manager's events came too fast".to_owned() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_daemons_events_are_taken_over_with_their_figures() {
        let told = json!({
            "event": "group.rekeyed", "time": 1.5, "term": 1, "epoch": 7, "hard": true,
            "joins": 1, "leaves": 2, "entries": 9, "packets": 1, "bytes": 400,
        });
        let expected =
            Event::Rekeyed { epoch: 7, hard: true, joins: 1, leaves: 2, entries: 9, packets: 1, bytes: 400 };
        assert_eq!(event(&told), Some(expected));
        let told = json!({ "event": "member.evicted", "identity": "mallory.demo" });
        let expected = Event::Departed { node: "mallory".to_owned(), why: "evicted".to_owned() };
        assert_eq!(event(&told), Some(expected));
        assert_eq!(event(&json!({ "event": "member.waved" })), None);
    }
}
