use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;
use tokio::net::UdpSocket;

use super::{Interface, Setup, SocketError};

/// Receives what is multicast to one group address, on one interface. It never sends.
///
/// Any number of processes and sockets on a host may listen to the same group and port; each receives every datagram,
/// a node's own included (told apart by sender id).
#[derive(Debug)]
pub struct MulticastSocket {
    socket: UdpSocket,
    group: SocketAddr,
    receive_buffer: usize,
}

impl MulticastSocket {
    /// Joins `group` on `interface`. Called at start and when a subgroup's address is learned, within a tokio runtime.
    ///
    /// The socket is bound to the group's address, and groups that other sockets of this host joined are shut off: a
    /// node must not receive another group's traffic because a neighbour on the same host asked for it.
    pub fn join(group: SocketAddr, interface: &Interface) -> Result<Self, SocketError> {
        let setup = Setup { address: group, interface };
        let (group_ip, interface_ip) = match (group.ip(), interface.ipv4()) {
            (IpAddr::V4(ip), Some(own)) if ip.is_multicast() => (ip, own),
            _ => return setup.step("join it", Err(io::Error::other("not an IPv4 multicast address"))),
        };
        let socket = setup.socket()?;
        setup.step("share its port", socket.set_reuse_address(true))?;
        setup.step("bind it", socket.bind(&SockAddr::from(group)))?;
        setup.step("shut off other groups", socket.set_multicast_all_v4(false))?;
        setup.step("join the group", socket.join_multicast_v4(&group_ip, &interface_ip))?;
        let receive_buffer = setup.granted(&socket)?;
        let socket = setup.step("give it to the runtime", UdpSocket::from_std(socket.into()))?;
        Ok(Self { socket, group, receive_buffer })
    }

    /// Waits for the next datagram. A datagram longer than `buffer` is cut, so hand in room for the longest and one
    /// byte more. Cancelling loses nothing.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }

    /// The next datagram if one waits, else `WouldBlock`. For draining a burst after one [`MulticastSocket::recv`].
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer)
    }

    /// The group address it listens to.
    #[must_use]
    pub const fn group(&self) -> SocketAddr {
        self.group
    }

    /// Bytes of receive buffer the kernel granted; less than 4 MiB when `net.core.rmem_max` says so. `status` tells.
    #[must_use]
    pub const fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }
}
