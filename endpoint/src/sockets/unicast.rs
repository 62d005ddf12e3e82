use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use socket2::{SockAddr, SockRef};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{Interface, SendCounters, SendFault, Setup, SocketError};

/// A node's own port: receives what is unicast to it and sends everything, multicast too, so that the source address
/// of a multicast is the one to answer to.
///
/// Bound to the interface's address, hence it receives no multicast. The port belongs to this node alone: unicast to a
/// port shared by several processes would reach only one of them.
#[derive(Debug)]
pub struct UnicastSocket {
    pub(super) socket: UdpSocket,
    address: SocketAddr,
    receive_buffer: usize,
    /// The TTL multicast now leaves with. Held while a multicast is sent, since it is the socket's and not the
    /// datagram's.
    ttl: Mutex<u32>,
    counters: SendCounters,
}

impl UnicastSocket {
    /// Binds to `port` of the interface's address; 0 lets the kernel choose a free one.
    ///
    /// Called once a node at start, within a tokio runtime. The port is not shared: a second process on it is an error.
    pub fn bind(interface: &Interface, port: u16) -> Result<Self, SocketError> {
        let setup = Setup { address: SocketAddr::new(interface.address(), port), interface };
        let Some(own) = interface.ipv4() else {
            return setup.step("bind it", Err(io::Error::other("not an IPv4 interface")));
        };
        let socket = setup.socket()?;
        setup.step("bind it", socket.bind(&SockAddr::from(setup.address)))?;
        // Bound or not, multicast would leave by the default route; and by index alone from another address.
        setup.step("choose the multicast interface", socket.set_multicast_if_v4(&own))?;
        setup.step("let this host hear its multicast", socket.set_multicast_loop_v4(true))?;
        setup.step("set the multicast TTL", socket.set_multicast_ttl_v4(1))?;
        let receive_buffer = setup.granted(&socket)?;
        let socket = setup.step("give it to the runtime", UdpSocket::from_std(socket.into()))?;
        let address = setup.step("read its port", socket.local_addr())?;
        Ok(Self { socket, address, receive_buffer, ttl: Mutex::new(1), counters: SendCounters::default() })
    }

    /// Sends one datagram to a node.
    ///
    /// Never fatal: the outcome is counted, and the caller may drop it. Waits only while the socket's send buffer is
    /// full.
    pub async fn send(&self, bytes: &[u8], to: SocketAddr) -> Result<(), SendFault> {
        self.counted(self.socket.send_to(bytes, to).await)
    }

    /// Sends one datagram to a group, at most `ttl` hops far: 1 stays on the LAN, and TTL has no effect on loopback.
    ///
    /// Never fatal: the outcome is counted, and the caller may drop it. Waits only while the socket's send buffer is
    /// full.
    pub async fn multicast(&self, bytes: &[u8], to: SocketAddr, ttl: u8) -> Result<(), SendFault> {
        let send = || {
            let mut set = self.ttl.lock().unwrap_or_else(PoisonError::into_inner);
            if *set != u32::from(ttl) {
                self.socket.set_multicast_ttl_v4(u32::from(ttl))?;
                *set = u32::from(ttl);
            }
            SockRef::from(&self.socket).send_to(bytes, &SockAddr::from(to))
        };
        self.counted(self.socket.async_io(Interest::WRITABLE, send).await)
    }

    /// Waits for the next datagram. A datagram longer than `buffer` is cut, so hand in room for the longest and one
    /// byte more. What the kernel reports about earlier sends is counted and passed over. Cancelling loses nothing.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let received = self.socket.recv_from(buffer).await;
            match received.as_ref().map_err(SendFault::of) {
                Err(fault) if fault.is_transient() => self.counters.count(Err(fault)),
                _ => return received,
            }
        }
    }

    /// The next datagram if one waits, else `WouldBlock`. For draining a burst after one [`UnicastSocket::recv`].
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer)
    }

    /// Its address and port, to be announced to others.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes of receive buffer the kernel granted; less than 4 MiB when `net.core.rmem_max` says so.
    #[must_use]
    pub const fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// What was sent and what did not go.
    #[must_use]
    pub const fn counters(&self) -> &SendCounters {
        &self.counters
    }

    fn counted(&self, sent: io::Result<usize>) -> Result<(), SendFault> {
        let outcome = match sent {
            Ok(_) => Ok(()),
            Err(error) => {
                let fault = SendFault::of(&error);
                tracing::debug!(%error, %fault, "a datagram did not go");
                Err(fault)
            }
        };
        self.counters.count(outcome);
        outcome
    }
}
