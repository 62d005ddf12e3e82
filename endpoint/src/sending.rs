//! The sending half of the data plane: payloads in, datagrams out, under the key of the moment.

use std::sync::Arc;
use std::time::Duration;

use data::{KeyRing, SealError, Sealed, Sealer};
use protocol::Instant;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::driver::{Listen, Stopped};
use crate::sockets::UnicastSocket;

/// How long a payload waits for a key to send under before the application is told.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Why a payload was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There was no key to send under for four seconds: the node is in no subgroup, or lags behind its manager.
    #[error("no key to send under: the node is in no subgroup, or a newer key has not arrived")]
    NoKey,
    /// The payload does not fit a datagram.
    #[error("payload of {len} bytes is too long: {max} fit")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit, [`data::MAX_PAYLOAD`].
        max: usize,
    },
    /// The kernel did not take the datagram. It is as lost as one that the network dropped.
    #[error("the network did not take it: {0}")]
    Network(crate::sockets::SendFault),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Where and under what a payload went out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentAs {
    /// Stream, sequence and state of the packet.
    pub sealed: Sealed,
    /// When it was sealed.
    pub at: Instant,
}

/// Seals payloads and sends them. One node has one, for it owns the stream.
pub(crate) struct Sending {
    state: Mutex<State>,
    /// The host's, shared with its other groups.
    socket: Arc<UnicastSocket>,
    place: watch::Receiver<Option<Listen>>,
}

struct State {
    sealer: Sealer,
    keys: watch::Receiver<Arc<KeyRing>>,
    packet: Vec<u8>,
}

impl Sending {
    pub(crate) fn new(
        sealer: Sealer,
        socket: Arc<UnicastSocket>,
        mut keys: watch::Receiver<Arc<KeyRing>>,
        place: watch::Receiver<Option<Listen>>,
    ) -> Self {
        keys.mark_changed();
        Self { state: Mutex::new(State { sealer, keys, packet: Vec::new() }), socket, place }
    }

    /// Sends one payload; while there is no key to send under it waits, and later payloads wait behind it.
    pub(crate) async fn send(&self, payload: &[u8]) -> Result<SentAs, SendError> {
        let mut state = self.state.lock().await;
        let sealed = timeout(LONGEST_WAIT, state.seal(payload)).await.unwrap_or(Err(SendError::NoKey))?;
        let place = (*self.place.borrow()).ok_or(SendError::NoKey)?;
        let sent = self.socket.multicast(&state.packet, place.data, place.ttl).await;
        sent.map(|()| sealed).map_err(SendError::Network)
    }
}

impl State {
    async fn seal(&mut self, payload: &[u8]) -> Result<SentAs, SendError> {
        loop {
            if self.keys.has_changed().map_err(|_| Stopped)? {
                let ring = Arc::clone(&self.keys.borrow_and_update());
                self.sealer.set_ring(&ring);
            }
            let at = Clock.now();
            self.packet.clear();
            match self.sealer.seal(at, payload, &mut self.packet) {
                Ok(sealed) => return Ok(SentAs { sealed, at }),
                Err(SealError::TooLong { len, max }) => return Err(SendError::TooLong { len, max }),
                Err(SealError::NoKey) => self.wait(at).await?,
            }
        }
    }

    /// Until the next key may be there.
    async fn wait(&mut self, now: Instant) -> Result<(), SendError> {
        let next = self.sealer.next_key(now);
        let activation = async {
            match next {
                Some(at) => Clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.keys.changed() => changed.map_err(|_| Stopped)?,
            () = activation => {}
        }
        Ok(())
    }
}
