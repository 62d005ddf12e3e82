//! The TLS connections of one machine: opened at its word, pumped frame by frame on the TLS runtime.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use protocol::{CloseReason, ConnId, Peer, Role};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;

use crate::tls::{Frames, TlsConfig, TlsPeer, connect};

/// Frames that may wait for one peer. A registration has two a side; who cannot take them is closed, not waited for.
const MAX_QUEUED_FRAMES: usize = 16;
/// What connections may have told the machine's loop before it reads.
const MAX_TOLD: usize = 1_024;
/// TCP and the whole TLS handshake to a registrar.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How long a connection may take to send what is left and say goodbye.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// What a connection tells the machine's loop.
#[derive(Debug)]
pub(crate) enum Told {
    /// It stands, and the peer has the expected role.
    Opened(ConnId, Box<Peer>),
    /// A frame came.
    Frame(ConnId, Vec<u8>),
    /// It is gone, or never came to be. A connection the machine closed says nothing.
    Closed(ConnId, CloseReason),
}

/// The connections of one machine.
#[derive(Debug)]
pub(crate) struct Connections {
    tls: TlsConfig,
    runtime: Handle,
    told: mpsc::Sender<Told>,
    open: BTreeMap<ConnId, mpsc::Sender<Bytes>>,
    next_accepted: u64,
}

impl Connections {
    pub(crate) fn new(tls: TlsConfig, runtime: Handle) -> (Self, mpsc::Receiver<Told>) {
        let (told, heard) = mpsc::channel(MAX_TOLD);
        (Self { tls, runtime, told, open: BTreeMap::new(), next_accepted: 2 }, heard)
    }

    /// Takes over a connection that the listener let in, and gives it a number.
    pub(crate) fn accepted(&mut self, frames: Frames, peer: TlsPeer) -> (ConnId, Peer) {
        let conn = ConnId(self.next_accepted);
        self.next_accepted += 2;
        let outgoing = self.enlist(conn);
        let (tls, told) = (self.tls.clone(), self.told.clone());
        self.runtime.spawn(async move { pump(frames, conn, outgoing, &tls, &told).await });
        (conn, peer.into())
    }

    /// Connects to a registrar; the machine hears `Opened` or `Closed`.
    pub(crate) fn open(&mut self, conn: ConnId, to: SocketAddr, expect: Role) {
        let outgoing = self.enlist(conn);
        let (tls, told) = (self.tls.clone(), self.told.clone());
        self.runtime.spawn(async move {
            match connect(to, &tls, expect.into(), CONNECT_DEADLINE).await {
                Ok(connection) => {
                    let (frames, peer) = connection.into_frames();
                    if told.send(Told::Opened(conn, Box::new(peer.into()))).await.is_ok() {
                        pump(frames, conn, outgoing, &tls, &told).await;
                    }
                }
                Err(refused) => drop(told.send(Told::Closed(conn, refused.into())).await),
            }
        });
    }

    /// Sends a frame. Returns `false` when the peer is too slow to take it: the connection is then closed. On one that
    /// has ended by itself nothing is sent, and the machine hears why next.
    pub(crate) fn frame(&mut self, conn: ConnId, bytes: Vec<u8>) -> bool {
        let refused = self.open.get(&conn).map(|outgoing| outgoing.try_send(bytes.into()));
        let too_slow = matches!(refused, Some(Err(TrySendError::Full(_))));
        if too_slow {
            self.open.remove(&conn);
        }
        !too_slow
    }

    /// Closes a connection once what was sent before has gone out.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.open.remove(&conn);
    }

    fn enlist(&mut self, conn: ConnId) -> mpsc::Receiver<Bytes> {
        let (sender, outgoing) = mpsc::channel(MAX_QUEUED_FRAMES);
        self.open.insert(conn, sender);
        outgoing
    }
}

/// Carries frames both ways until either end closes.
async fn pump(
    mut frames: Frames,
    conn: ConnId,
    mut outgoing: mpsc::Receiver<Bytes>,
    tls: &TlsConfig,
    told: &mpsc::Sender<Told>,
) {
    loop {
        let message = tokio::select! {
            frame = outgoing.recv() => match frame {
                // A peer that does not read is found out by the machine's deadline for the exchange.
                Some(frame) => match frames.send(frame).await {
                    Ok(()) => continue,
                    Err(_) => last_words(&mut frames, conn, tls).await,
                },
                None => {
                    drop(timeout(CLOSE_DEADLINE, frames.close()).await);
                    return;
                }
            },
            frame = frames.next() => received(frame, conn, tls),
        };
        let last = matches!(message, Told::Closed(..));
        if told.send(message).await.is_err() || last {
            return;
        }
    }
}

fn received(frame: Option<io::Result<BytesMut>>, conn: ConnId, tls: &TlsConfig) -> Told {
    match frame {
        Some(Ok(bytes)) => Told::Frame(conn, bytes.to_vec()),
        Some(Err(error)) => {
            let refused = tls.refusal_from_read(&error).map(CloseReason::from);
            Told::Closed(conn, refused.unwrap_or_else(|| CloseReason::Unreachable(error.to_string())))
        }
        None => Told::Closed(conn, CloseReason::ByPeer),
    }
}

/// A peer that refuses us closes while we still speak: its reason is what it sent before, so it is read out.
async fn last_words(frames: &mut Frames, conn: ConnId, tls: &TlsConfig) -> Told {
    loop {
        let frame = timeout(CLOSE_DEADLINE, frames.next()).await.unwrap_or(None);
        let told = received(frame, conn, tls);
        if matches!(told, Told::Closed(..)) {
            return told;
        }
    }
}
