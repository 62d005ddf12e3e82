//! The receiving half of the data plane: datagrams in, payloads out, on a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use data::{Delivery, KeyRing, OpenCounters, Opened, Opener, StreamId};
use protocol::{DataHint, Instant, SenderId, StateId, SubgroupId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::driver::Listen;
use crate::sockets::{Interface, MulticastSocket};

/// Messages an application may leave unread. Beyond, the data plane waits for it, and the kernel drops what its
/// buffer cannot hold, as with any UDP socket.
pub(crate) const MAX_UNREAD: usize = 8_192;
/// Datagrams opened in one turn.
const MAX_BURST: usize = 64;
/// How often counters are published.
const PUBLISH: Duration = Duration::from_millis(200);

/// One message, as it was sent by a member of the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The subgroup it was first sent in.
    pub origin: SubgroupId,
    /// Its sender's registration there. Any member of the group could have written it: proof against the others takes
    /// a signature.
    pub sender: SenderId,
    /// The sender's stream.
    pub stream: StreamId,
    /// Which packet of the stream.
    pub sequence: u64,
    /// Under whose group key it came.
    pub state: StateId,
    /// When it was opened.
    pub at: Instant,
    /// What was sent.
    pub payload: Vec<u8>,
}

/// Opens what arrives on a subgroup's data address.
pub(crate) struct Receiving {
    pub(crate) interface: Interface,
    pub(crate) keys: watch::Receiver<Arc<KeyRing>>,
    pub(crate) place: watch::Receiver<Option<Listen>>,
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) hints: mpsc::Sender<DataHint>,
    pub(crate) counters: watch::Sender<OpenCounters>,
}

/// What woke the loop.
enum Woken {
    Keys,
    Place,
    Datagram(usize, SocketAddr),
    Publish,
    Nothing,
    Stop,
}

impl Receiving {
    /// Runs until `stop` is cancelled or the machine's driver is gone.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut opener = Opener::new();
        let mut socket: Option<MulticastSocket> = None;
        let mut buffer = vec![0; data::MAX_DATAGRAM + 1];
        let mut publish = tokio::time::interval(PUBLISH);
        self.keys.mark_changed();
        self.place.mark_changed();
        loop {
            match self.wait(socket.as_ref(), &mut buffer, &mut publish, &stop).await {
                Woken::Stop => return,
                Woken::Keys => {
                    let ring = Arc::clone(&self.keys.borrow_and_update());
                    opener.set_ring(Clock.now(), &ring);
                    self.release(&mut opener).await;
                }
                Woken::Place => socket = self.join(socket),
                Woken::Datagram(len, from) => {
                    self.deliver(&mut opener, &buffer[..len], from).await;
                    self.burst(&mut opener, socket.as_ref(), &mut buffer).await;
                }
                Woken::Publish => {
                    self.counters.send_replace(*opener.counters());
                }
                Woken::Nothing => {}
            }
            if let Some(hint) = opener.poll_hint(Clock.now()) {
                // A machine that has hints waiting needs no other.
                let _ = self.hints.try_send(hint);
            }
        }
    }

    /// Keys first: a packet that comes after its key was installed must find it.
    async fn wait(
        &mut self,
        socket: Option<&MulticastSocket>,
        buffer: &mut [u8],
        publish: &mut tokio::time::Interval,
        stop: &CancellationToken,
    ) -> Woken {
        tokio::select! {
            biased;
            () = stop.cancelled() => Woken::Stop,
            changed = self.keys.changed() => changed.map_or(Woken::Stop, |()| Woken::Keys),
            changed = self.place.changed() => changed.map_or(Woken::Stop, |()| Woken::Place),
            _ = publish.tick() => Woken::Publish,
            received = heard(socket, buffer) => match received {
                Ok((len, from)) => Woken::Datagram(len, from),
                Err(error) => {
                    tracing::debug!(%error, "the data socket reported an error");
                    Woken::Nothing
                }
            },
        }
    }

    /// Listens where the subgroup is now. A socket that listens there is kept, with what waits in it.
    fn join(&mut self, before: Option<MulticastSocket>) -> Option<MulticastSocket> {
        let place = (*self.place.borrow_and_update())?;
        let kept = before.filter(|socket| socket.group() == place.data);
        if kept.is_some() {
            return kept;
        }
        match MulticastSocket::join(place.data, &self.interface) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::error!(%error, "cannot listen on the subgroup's data address");
                None
            }
        }
    }

    /// Opens the rest of a burst without going back to sleep, unless the keys changed meanwhile.
    async fn burst(&mut self, opener: &mut Opener, socket: Option<&MulticastSocket>, buffer: &mut [u8]) {
        let Some(socket) = socket else { return };
        for _ in 1..MAX_BURST {
            if self.keys.has_changed().unwrap_or(true) {
                return;
            }
            let Ok((len, from)) = socket.try_recv(buffer) else { return };
            self.deliver(opener, &buffer[..len], from).await;
        }
    }

    async fn deliver(&self, opener: &mut Opener, datagram: &[u8], from: SocketAddr) {
        let now = Clock.now();
        if let Opened::Delivered(delivery) = opener.open(now, datagram, from) {
            let message = message(now, &delivery);
            // Nobody reading any more is in order: the node still follows its subgroup.
            drop(self.messages.send(message).await);
        }
    }

    /// Delivers what waited for the keys that just came.
    async fn release(&self, opener: &mut Opener) {
        let now = Clock.now();
        while let Some(message) = opener.poll_waiting(now).map(|delivery| message(now, &delivery)) {
            drop(self.messages.send(message).await);
        }
    }
}

async fn heard(socket: Option<&MulticastSocket>, buffer: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}

fn message(at: Instant, delivery: &Delivery<'_>) -> Message {
    Message {
        origin: delivery.origin,
        sender: delivery.sender,
        stream: delivery.stream,
        sequence: delivery.sequence,
        state: delivery.state,
        at,
        payload: delivery.payload.to_vec(),
    }
}

#[cfg(test)]
mod tests;
