//! The door of a host: takes TCP connections, lets only so many shake hands at once, and hands on who got through to
//! the group its first frame names.

mod counters;
mod door;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use protocol::{Frame, Refusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use counters::{AdmissionCounters, AdmissionSnapshot};

use crate::host::{Acceptor, Switchboard};
use crate::tls::{Connection, Expect, Frames, HandshakeLimits, TlsConfig, TlsPeer, accept};
use door::{Door, Place};

/// How long to wait after the kernel had no file descriptor or memory for a connection.
const OUT_OF_ROOM: Duration = Duration::from_millis(100);
/// How long a group's machine may take to take a connection before the node is told to come back.
const HAND_OVER: Duration = Duration::from_secs(1);
/// How long a refused node may take to hear why and close.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many unfinished connections the door holds, all counted from TCP's accept until a group's machine has them.
///
/// A handshake costs milliseconds of CPU and a silent client costs a place for a second, so both are bounded: in total,
/// and for each source (an IPv4 address, or the /64 of an IPv6 one), lest one host keep all others out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdmissionLimits {
    /// Connections at once that no machine has yet. Above, new ones stay in the kernel's queue. Default 512.
    pub(crate) total: usize,
    /// Handshakes at once from one source. Above, connections wait their turn. Default 8: at 1 every host with many
    /// nodes is slow to join; without bound one host can take all places.
    pub(crate) handshakes_per_source: usize,
    /// Connections at once from one source that no machine has yet. Above, new ones are closed. Default 64.
    pub(crate) per_source: usize,
    /// How long a connection waits for its turn before it is closed. Default 2 s: clients give up after 3.
    pub(crate) wait: Duration,
    /// The clock of each handshake.
    pub(crate) handshake: HandshakeLimits,
    /// From the handshake to the first frame, which names the group. Default 3 s: an honest node sends it at once.
    pub(crate) first_frame: Duration,
}

/// A connection that stands, for the machine of the group that its first frame names.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The connection, its first frame taken off.
    pub(crate) frames: Frames,
    /// Who is at the other end.
    pub(crate) peer: TlsPeer,
    /// The first frame.
    pub(crate) first: BytesMut,
}

/// A listening socket with its admission limits. It belongs on a runtime of its own, so that handshakes never delay
/// what a machine has to do.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: TlsConfig,
    expect: Expect,
    limits: AdmissionLimits,
    counters: Arc<AdmissionCounters>,
}

impl Listener {
    /// Listens on `address`; port 0 lets the kernel choose. Called on the runtime that will [`Listener::run`] it.
    ///
    /// Only peers certified for `expect` get through.
    pub(crate) async fn bind(
        address: SocketAddr,
        tls: TlsConfig,
        expect: Expect,
        limits: AdmissionLimits,
    ) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        Ok(Self { tcp, tls, expect, limits, counters: Arc::default() })
    }

    /// Where it listens, with the port the kernel chose.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Its counters, to be kept by whoever answers `status`.
    #[must_use]
    pub(crate) fn counters(&self) -> Arc<AdmissionCounters> {
        Arc::clone(&self.counters)
    }

    /// Takes connections until `stop` is cancelled, then closes the door, gives up unfinished ones and returns.
    ///
    /// Every connection that got through goes to the machine of the group it names; while that is busy the connection
    /// keeps its place, and so fewer are taken. What goes wrong with one connection is counted, never fatal.
    pub(crate) async fn run(self, board: Arc<Switchboard>, stop: CancellationToken) {
        let admission = Arc::new(Admission {
            tls: self.tls,
            expect: self.expect,
            limits: self.limits,
            counters: self.counters,
            board,
        });
        let door = Door::new(self.limits);
        let total = Arc::new(Semaphore::new(self.limits.total));
        let tasks = TaskTracker::new();
        let serve = async {
            loop {
                let room = Arc::clone(&total).acquire_owned().await.expect("invariant: never closed");
                let Some((stream, from)) = next(&self.tcp).await else { continue };
                match door.enter(from.ip()) {
                    Some(place) => {
                        tasks.spawn(stop.clone().run_until_cancelled_owned(
                            Arc::clone(&admission).admit(stream, from, place, room),
                        ));
                    }
                    None => admission.counters.over_limit(),
                }
            }
        };
        tokio::select! {
            () = serve => {}
            () = stop.cancelled() => {}
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            total: 512,
            handshakes_per_source: 8,
            per_source: 64,
            wait: Duration::from_secs(2),
            handshake: HandshakeLimits::default(),
            first_frame: Duration::from_secs(3),
        }
    }
}

/// What every connection needs.
struct Admission {
    tls: TlsConfig,
    expect: Expect,
    limits: AdmissionLimits,
    counters: Arc<AdmissionCounters>,
    board: Arc<Switchboard>,
}

impl Admission {
    /// One connection's way through the door. Its places are free again when this ends.
    async fn admit(
        self: Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
        _room: OwnedSemaphorePermit,
    ) {
        let Some(turn) = place.turn(self.limits.wait).await else {
            self.counters.over_limit();
            return;
        };
        match accept(stream, &self.tls, self.expect, self.limits.handshake).await {
            Ok(connection) => {
                self.counters.accepted();
                tracing::debug!(%from, identity = %connection.peer.facts.identity, "connected");
                // Others of the same host may shake hands while this one finds its words.
                drop(turn);
                self.introduce(connection).await;
            }
            Err(refused) => {
                self.counters.refused(&refused.why);
                tracing::debug!(%from, reason = refused.why.kind(), "{refused}");
            }
        }
    }

    /// Waits for the first frame and hands the connection to the group that it names.
    async fn introduce(&self, connection: Connection) {
        let (mut frames, peer) = connection.into_frames();
        let first = timeout(self.limits.first_frame, frames.next()).await;
        let Ok(Some(Ok(first))) = first else {
            self.counters.silent();
            return;
        };
        let Some(group) = Frame::group_of(&first) else {
            self.counters.silent();
            tracing::debug!(identity = %peer.facts.identity, "its first frame names no group");
            return;
        };
        let arrival = Arrival { frames, peer, first };
        match self.board.acceptor(group) {
            Acceptor::Machine(machine) => {
                if let Err(busy) = machine.send_timeout(arrival, HAND_OVER).await {
                    self.counters.over_limit();
                    refuse(busy.into_inner(), Refusal::Full).await;
                }
            }
            Acceptor::NoManager => {
                self.counters.unknown_group();
                refuse(arrival, Refusal::NotManager).await;
            }
            Acceptor::Unknown => {
                self.counters.unknown_group();
                refuse(arrival, Refusal::UnknownGroup).await;
            }
        }
    }
}

/// Tells a node why it is not let in, and gives it a moment to take that in.
async fn refuse(mut arrival: Arrival, why: Refusal) {
    tracing::debug!(identity = %arrival.peer.facts.identity, %why, "refused at the door");
    let farewell = async {
        if arrival.frames.send(Frame::Refused(why).encode().into()).await.is_ok() {
            // Closing with bytes unread would reset the connection and lose the answer.
            let _ = arrival.frames.close().await;
            while let Some(Ok(_)) = arrival.frames.next().await {}
        }
    };
    let _ = timeout(FAREWELL, farewell).await;
}

/// The next connection; `None` after an error, none of which is the listener's end.
async fn next(tcp: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match tcp.accept().await {
        Ok(taken) => Some(taken),
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
        Err(error) => {
            tracing::warn!(%error, "cannot take connections");
            tokio::time::sleep(OUT_OF_ROOM).await;
            None
        }
    }
}

#[cfg(test)]
mod tests;
