//! The data planes: what applications send and are handed.

use std::net::SocketAddr;
use std::time::Duration;

use data::SealError;
use protocol::Input;

use crate::cast::Delivered;
use crate::node::NodeId;
use crate::trace::Kind;
use crate::world::{Happening, Socket, World};

/// Payloads that wait for a key at one node; an application that sends more loses the newest.
const MAX_UNSENT: usize = 256;

impl World {
    pub(crate) fn set_ring(&mut self, id: NodeId, ring: data::KeyRing) {
        self.oracle.on_ring(self.now, id, &ring);
        let mut delivered = Vec::new();
        let node = &mut self.nodes[id.0];
        node.sealer.set_ring(&ring);
        node.receiver.set_ring(self.now, &ring, &mut delivered);
        node.ring = Some(ring);
        self.deliver(id, delivered);
        self.send_waiting(id);
    }

    pub(crate) fn data(&mut self, id: NodeId, from: SocketAddr, bytes: &[u8]) {
        let node = &mut self.nodes[id.0];
        if !node.process.is_up() || node.ring.is_none() {
            return;
        }
        let mut delivered = Vec::new();
        node.receiver.open(self.now, bytes, from, &mut delivered);
        let hint = node.receiver.hint(self.now);
        self.deliver(id, delivered);
        if let Some(hint) = hint {
            self.input(id, Input::Hint(hint));
        }
    }

    fn deliver(&mut self, id: NodeId, delivered: Vec<Delivered>) {
        for delivered in delivered {
            self.note(id, Kind::Delivered, delivered.stream.0, delivered.sequence);
            self.oracle.on_delivered(self.now, id, &delivered);
            self.log.delivered.push((self.now, id, delivered));
        }
    }

    /// An application somewhere sends, and another one will a while later.
    pub(crate) fn on_packet_due(&mut self) {
        let senders: Vec<_> = self.ids().filter(|id| self.nodes[id.0].sends()).collect();
        if let Some(&id) = self.dice.pick(&senders) {
            self.send(id);
        }
        let wait = self.dice.duration(Duration::ZERO, self.scenario.packet_every * 2);
        self.queue.push(self.now + wait, Happening::Packet);
    }

    /// Sends what waits at a node, as far as there is a key to send under.
    pub(crate) fn send_waiting(&mut self, id: NodeId) {
        self.nodes[id.0].unsent.truncate(MAX_UNSENT);
        while let Some(payload) = self.nodes[id.0].unsent.pop_front() {
            let node = &mut self.nodes[id.0];
            let Some(own) = node.ring.as_ref().map(|ring| ring.own) else { return };
            let mut packet = Vec::new();
            match node.sealer.seal(self.now, &payload, &mut packet) {
                Ok(sealed) => {
                    self.note(id, Kind::Sent, sealed.stream.0, sealed.sequence);
                    self.log.sent.push((self.now, id, sealed));
                    self.oracle.on_sent(self.now, own, &sealed, &payload, &packet);
                    if let Some(listening) = self.nodes[id.0].listening {
                        let ttl = self.nodes[id.0].ttl;
                        self.multicast(id, Socket::Data, (listening.data, ttl), packet);
                    }
                }
                Err(SealError::NoKey) => {
                    node.unsent.push_front(payload);
                    let again = node.sealer.next_key(self.now).filter(|at| *at > self.now);
                    if let Some(at) = again {
                        self.queue.push(at, Happening::Unsent(id));
                    }
                    return;
                }
                Err(SealError::TooLong { .. }) => {}
            }
        }
    }
}
