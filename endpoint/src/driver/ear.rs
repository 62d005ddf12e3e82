//! One multicast address that a driver may listen to, with the buffer for what comes.

use std::net::SocketAddr;

use crate::sockets::{Interface, MulticastSocket};

/// Room for the longest datagram UDP carries. A key update packet may be as large as its manager's configuration says.
const RECEIVE_BUFFER: usize = 65_536;

/// Deaf until it is told where to listen.
#[derive(Debug)]
pub(super) struct Ear {
    socket: Option<MulticastSocket>,
    buffer: Vec<u8>,
}

impl Ear {
    pub(super) fn new() -> Self {
        Self { socket: None, buffer: vec![0; RECEIVE_BUFFER] }
    }

    /// Listens at `group` instead. Where it listens there already, it goes on: what waits in the socket is not lost. A
    /// failure is said and leaves the node as it was, as a cut cable would: it shows as a silent manager.
    pub(super) fn listen(&mut self, group: SocketAddr, interface: &Interface) {
        if self.socket.as_ref().is_some_and(|socket| socket.group() == group) {
            return;
        }
        match MulticastSocket::join(group, interface) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => tracing::error!(%error, "cannot listen on a multicast address"),
        }
    }

    /// Waits for a datagram and returns its length and source; for ever while deaf. Cancelling loses nothing.
    pub(super) async fn recv(&mut self) -> (usize, SocketAddr) {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        loop {
            match socket.recv(&mut self.buffer).await {
                Ok(heard) => return heard,
                Err(error) => tracing::debug!(%error, "a multicast socket reported an error"),
            }
        }
    }

    /// The next datagram if one waits.
    pub(super) fn try_recv(&mut self) -> Option<(usize, SocketAddr)> {
        self.socket.as_ref()?.try_recv(&mut self.buffer).ok()
    }

    /// What came last.
    pub(super) fn heard(&self, len: usize) -> &[u8] {
        &self.buffer[..len]
    }
}
