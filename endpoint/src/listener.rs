//! The registrar's door: takes TCP connections, lets only so many shake hands at once, and hands on who got through.

mod counters;
mod door;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use counters::{AdmissionCounters, AdmissionSnapshot};

use crate::tls::{Connection, Expect, HandshakeLimits, TlsConfig, accept};
use door::{Door, Place};

/// How long to wait after the kernel had no file descriptor or memory for a connection.
const OUT_OF_ROOM: Duration = Duration::from_millis(100);

/// How many unfinished connections the door holds, all counted from TCP's accept to the end of the handshake.
///
/// A handshake costs milliseconds of CPU and a silent client costs a place for a second, so both are bounded: in total,
/// and for each source (an IPv4 address, or the /64 of an IPv6 one), lest one host keep all others out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Connections at once, waiting or shaking hands. Above, new ones stay in the kernel's queue. Default 512.
    pub total: usize,
    /// Handshakes at once from one source. Above, connections wait their turn. Default 8: at 1 every host with many
    /// nodes is slow to join; without bound one host can take all places.
    pub handshakes_per_source: usize,
    /// Connections at once from one source, waiting or shaking hands. Above, new ones are closed. Default 64.
    pub per_source: usize,
    /// How long a connection waits for its turn before it is closed. Default 2 s: clients give up after 3.
    pub wait: Duration,
    /// The clock of each handshake.
    pub handshake: HandshakeLimits,
}

/// A listening socket with its admission limits. It belongs on a runtime of its own, so that handshakes never delay
/// what a machine has to do.
#[derive(Debug)]
pub struct Listener {
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
    pub async fn bind(
        address: SocketAddr,
        tls: TlsConfig,
        expect: Expect,
        limits: AdmissionLimits,
    ) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        Ok(Self { tcp, tls, expect, limits, counters: Arc::default() })
    }

    /// Where it listens, with the port the kernel chose.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Its counters, to be kept by whoever answers `status`.
    #[must_use]
    pub fn counters(&self) -> Arc<AdmissionCounters> {
        Arc::clone(&self.counters)
    }

    /// Takes connections until `stop` is cancelled, then closes the door, gives up unfinished handshakes and returns.
    ///
    /// Every connection that got through is sent to `accepted`; while that channel is full new ones keep their places,
    /// and so fewer are taken. Returns as well when nobody receives any more. What goes wrong with one connection is
    /// counted, never fatal.
    pub async fn run(self, accepted: mpsc::Sender<Connection>, stop: CancellationToken) {
        let admission = Arc::new(Admission {
            tls: self.tls,
            expect: self.expect,
            limits: self.limits,
            counters: self.counters,
            accepted,
        });
        let door = Door::new(self.limits);
        let total = Arc::new(Semaphore::new(self.limits.total));
        let tasks = TaskTracker::new();
        let gone = admission.accepted.clone();
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
            () = gone.closed() => {}
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
        }
    }
}

/// What every handshake needs.
struct Admission {
    tls: TlsConfig,
    expect: Expect,
    limits: AdmissionLimits,
    counters: Arc<AdmissionCounters>,
    accepted: mpsc::Sender<Connection>,
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
        let Some(_turn) = place.turn(self.limits.wait).await else {
            self.counters.over_limit();
            return;
        };
        match accept(stream, &self.tls, self.expect, self.limits.handshake).await {
            Ok(connection) => {
                self.counters.accepted();
                tracing::debug!(%from, identity = %connection.peer.facts.identity, "connected");
                // Fails when the driver is gone, and the connection with it.
                let _ = self.accepted.send(connection).await;
            }
            Err(refused) => {
                self.counters.refused(&refused.why);
                tracing::debug!(%from, reason = refused.why.kind(), "{refused}");
            }
        }
    }
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
