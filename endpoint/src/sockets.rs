//! UDP sockets on one explicit interface.
//!
//! A host with several networks would otherwise send by its default route and join wherever the kernel likes; so one
//! [`Interface`] is chosen at start, reported, and used for joining and for sending alike.

mod fault;
mod interface;
mod multicast;
mod unicast;

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

pub use fault::{SendCounters, SendFault, SendSnapshot};
pub use interface::{Interface, InterfaceError};
pub use multicast::MulticastSocket;
pub use unicast::UnicastSocket;

/// What every socket here asks of the kernel for its receive buffer, in bytes. The default of 208 KiB holds 92 full
/// datagrams; the kernel caps the request at `net.core.rmem_max` without a word, hence it is read back.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A socket could not be set up as it must be.
#[derive(Debug, thiserror::Error)]
#[error("UDP socket {address} on {interface}: cannot {step}: {source}")]
pub struct SocketError {
    /// The address the socket is for: a group's, or the node's own.
    pub address: SocketAddr,
    /// The interface in use, as [`Interface`] prints.
    pub interface: String,
    /// What was tried.
    pub step: &'static str,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

/// A socket under construction: knows what to say when a step fails.
struct Setup<'a> {
    address: SocketAddr,
    interface: &'a Interface,
}

impl Setup<'_> {
    /// A non-blocking UDP socket of the address's family with the large receive buffer asked for.
    fn socket(&self) -> Result<Socket, SocketError> {
        let domain = Domain::for_address(self.address);
        let socket = self.step("open it", Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)))?;
        self.step("make it non-blocking", socket.set_nonblocking(true))?;
        self.step("ask for a receive buffer", socket.set_recv_buffer_size(RECEIVE_BUFFER))?;
        Ok(socket)
    }

    /// How many bytes of receive buffer the kernel granted: half of what it tells, since it doubles every request to
    /// make room for its own bookkeeping.
    fn granted(&self, socket: &Socket) -> Result<usize, SocketError> {
        let bytes = self.step("read its receive buffer back", socket.recv_buffer_size())?;
        Ok(bytes / 2)
    }

    fn step<T>(&self, step: &'static str, done: io::Result<T>) -> Result<T, SocketError> {
        done.map_err(|source| SocketError {
            address: self.address,
            interface: self.interface.to_string(),
            step,
            source,
        })
    }
}

#[cfg(test)]
mod tests;
