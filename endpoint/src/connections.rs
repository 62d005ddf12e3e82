//! The TLS connections of one machine: opened at its word, pumped frame by frame.
//!
//! Those that last, between a manager and its standbys, and those this node opens itself are pumped on a thread without
//! handshakes: what is acknowledged to members waits for a standby's word, and a flood at the door must not delay it.

mod outgoing;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use protocol::{CloseReason, ConnId, Frame, Peer, Role};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use zeroize::{Zeroize, Zeroizing};

use crate::host::Runtimes;
use crate::tls::{Frames, MAX_FRAME, TlsConfig, TlsPeer, connect, move_to};
use outgoing::{Outgoing, Waiting, outgoing};

/// Bytes that may wait for one peer. A registration has two small frames a side; who cannot take them is closed, not
/// waited for.
const MAX_WAITING: usize = 1 << 20;
/// The same for a standby, which is sent the whole state at once: that of a million members fits.
const MAX_WAITING_FOR_STANDBY: usize = 512 << 20;
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
    /// A frame came. It may hold a manager's state.
    Frame(ConnId, Zeroizing<Vec<u8>>),
    /// It is gone, or never came to be. A connection the machine closed says nothing.
    Closed(ConnId, CloseReason),
}

/// The connections of one machine.
#[derive(Debug)]
pub(crate) struct Connections {
    tls: TlsConfig,
    runtimes: Runtimes,
    told: mpsc::Sender<Told>,
    open: BTreeMap<ConnId, Outgoing>,
    next_accepted: u64,
}

impl Connections {
    pub(crate) fn new(tls: TlsConfig, runtimes: Runtimes) -> (Self, mpsc::Receiver<Told>) {
        let (told, heard) = mpsc::channel(MAX_TOLD);
        (Self { tls, runtimes, told, open: BTreeMap::new(), next_accepted: 2 }, heard)
    }

    /// Takes over a connection that the listener let in with this first frame, and gives it a number.
    ///
    /// One that follows this manager lasts: none of the door's limits and deadlines holds for it any more, and the
    /// machine alone says when it ends.
    pub(crate) fn accepted(&mut self, mut frames: Frames, peer: TlsPeer, first: &[u8]) -> (ConnId, Peer) {
        let conn = ConnId(self.next_accepted);
        self.next_accepted += 2;
        let peer = Peer::from(peer);
        let lasts = Frame::decode(first, &peer).is_ok_and(|frame| matches!(*frame, Frame::Follow(_)));
        let most = if lasts { MAX_WAITING_FOR_STANDBY } else { MAX_WAITING };
        let waiting = self.enlist(conn, most);
        let (tls, told) = (self.tls.clone(), self.told.clone());
        // Where the socket cannot be moved the connection stays where it is: it is merely slower.
        let moved = lasts && move_to(&mut frames, &self.runtimes.links).is_ok();
        let runtime = if moved { &self.runtimes.links } else { &self.runtimes.tls };
        runtime.spawn(async move { pump(frames, conn, waiting, &tls, &told).await });
        (conn, peer)
    }

    /// Connects to a registrar, to register or to follow it; the machine hears `Opened` or `Closed`.
    pub(crate) fn open(&mut self, conn: ConnId, to: SocketAddr, expect: Role) {
        let outgoing = self.enlist(conn, MAX_WAITING);
        let (tls, told) = (self.tls.clone(), self.told.clone());
        self.runtimes.links.spawn(async move {
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
        // It may hold a manager's state, so it is wiped when it has gone out.
        let frame = Bytes::from_owner(Zeroizing::new(bytes));
        let too_slow = self.open.get(&conn).is_some_and(|outgoing| !outgoing.put(frame));
        if too_slow {
            self.open.remove(&conn);
        }
        !too_slow
    }

    /// Closes a connection once what was sent before has gone out.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.open.remove(&conn);
    }

    fn enlist(&mut self, conn: ConnId, most: usize) -> Waiting {
        let (sender, waiting) = outgoing(most);
        self.open.insert(conn, sender);
        waiting
    }
}

/// Carries frames both ways until either end closes.
async fn pump(
    mut frames: Frames,
    conn: ConnId,
    mut outgoing: Waiting,
    tls: &TlsConfig,
    told: &mpsc::Sender<Told>,
) {
    loop {
        let message = tokio::select! {
            frame = outgoing.next() => match frame {
                // A peer that does not read is found out by the machine's deadline for the exchange.
                Some(frame) => match send(&mut frames, &frame).await {
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

/// Sends one frame past the sink, whose buffer keeps what went through it: this may be a manager's state.
async fn send(frames: &mut Frames, frame: &[u8]) -> io::Result<()> {
    if frame.len() > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too long"));
    }
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
    let whole = Zeroizing::new([&length, frame].concat());
    let stream = frames.get_mut();
    stream.write_all(&whole).await?;
    stream.flush().await
}

fn received(frame: Option<io::Result<BytesMut>>, conn: ConnId, tls: &TlsConfig) -> Told {
    match frame {
        Some(Ok(mut bytes)) => {
            let frame = Zeroizing::new(bytes.to_vec());
            bytes.as_mut().zeroize();
            Told::Frame(conn, frame)
        }
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

#[cfg(test)]
mod tests;
