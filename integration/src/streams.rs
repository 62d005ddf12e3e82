//! Connections as the driver carries them: opened, accepted, frame by frame, closed; and broken where the network is cut.

use std::net::SocketAddr;
use std::time::Duration;

use protocol::{CloseReason, ConnId, Frame, Input, Instant, Peer, Refusal, Role};

use crate::connections::End;
use crate::network;
use crate::node::NodeId;
use crate::trace::Kind;
use crate::world::{Happening, Streamed, World};

/// How long a certificate of the simulation is still valid, whenever it is looked at.
const VALID_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// After so long a caller that reaches nobody is told.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time until an end of a connection notices that nothing passes any more.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

impl World {
    pub(crate) fn on_stream(&mut self, end: End, what: Streamed) {
        match what {
            Streamed::Accepted(peer) => {
                if self.nodes[end.node.0].start == end.start {
                    self.connections.accepted(end, peer);
                }
            }
            Streamed::Opened(peer) => self.on_conn(end, |conn| Input::Opened { conn, peer }),
            Streamed::Frame(bytes) => self.on_frame(end, &bytes),
            Streamed::Closed(why) => self.on_conn(end, |conn| Input::Closed { conn, why }),
        }
    }

    pub(crate) fn push_stream(&mut self, at: Instant, end: End, what: Streamed) {
        self.queue.push(at, Happening::Stream(end, Box::new(what)));
    }

    fn on_conn<'a>(&mut self, end: End, input: impl FnOnce(ConnId) -> Input<'a>) {
        if self.nodes[end.node.0].start != end.start {
            return;
        }
        self.note(end.node, Kind::Connection, end.conn.0, 0);
        self.input(end.node, input(end.conn));
    }

    /// The listener hands a connection to the group's machine with its opening frame, whichever part it plays.
    fn on_frame(&mut self, end: End, bytes: &[u8]) {
        if self.nodes[end.node.0].start != end.start {
            return;
        }
        if let Some(peer) = self.connections.opening(end) {
            if Frame::group_of(bytes) != Some(self.setup.group) {
                self.frame(end, Frame::Refused(Refusal::UnknownGroup).encode());
                self.close(end, CloseReason::ByPeer);
                return;
            }
            self.on_conn(end, |conn| Input::Accepted { conn, peer });
        }
        self.on_conn(end, |conn| Input::Frame { conn, bytes });
    }

    /// The node with a unicast address or a registrar.
    pub(crate) fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        network::node_at(address).filter(|id| id.0 < self.nodes.len())
    }

    /// Stands in for a TLS handshake: both ends learn who the other is, and a channel secret. Whoever expects a manager
    /// refuses a node whose certificate does not name it one.
    pub(crate) fn open(&mut self, caller: End, to: SocketAddr, expect: Role) {
        let arrives = self.now + self.network.stream_delay();
        let called = self.node_at(to);
        let through = |called: NodeId| {
            let both = self.network.passes(caller.node, called) && self.network.passes(called, caller.node);
            both && self.nodes[called.0].backlog.is_none()
        };
        if called.is_some_and(|called| !through(called)) {
            let why = CloseReason::Unreachable("timed out".into());
            self.push_stream(self.now + CONNECT_TIMEOUT, caller, Streamed::Closed(why));
            return;
        }
        let Some(called) = called.filter(|id| self.nodes[id.0].process.is_up()) else {
            let why = CloseReason::Unreachable("nobody listens there".into());
            self.push_stream(arrives, caller, Streamed::Closed(why));
            return;
        };
        let roles = self.nodes[called.0].roles;
        if !(if expect == Role::Manager { roles.manager } else { roles.member }) {
            let why = CloseReason::Refused("its certificate does not name it a manager".into());
            let told = arrives + self.network.stream_delay();
            self.push_stream(told, caller, Streamed::Closed(why));
            return;
        }
        let channel = self.channel();
        let answering = self.connections.open(caller, called, self.nodes[called.0].start);
        let peer = |id: NodeId| Peer {
            identity: self.nodes[id.0].identity.clone(),
            roles: self.nodes[id.0].roles,
            certificate: self.nodes[id.0].certificate,
            valid_for: VALID_FOR,
            address: self.nodes[id.0].address,
            channel: channel.clone(),
        };
        let (caller_seen, answering_seen) = (peer(caller.node), peer(called));
        self.push_stream(arrives, answering, Streamed::Accepted(caller_seen));
        // The caller's first frame cannot arrive before it was accepted: it is sent later than this.
        let answered = arrives + self.network.stream_delay();
        self.push_stream(answered, caller, Streamed::Opened(answering_seen));
    }

    pub(crate) fn frame(&mut self, from: End, bytes: Vec<u8>) {
        if self.network.breaks_connection() {
            self.close(from, CloseReason::Unreachable("reset".into()));
            self.push_stream(self.now, from, Streamed::Closed(CloseReason::Unreachable("reset".into())));
            return;
        }
        if let Some(to) = self.connections.other(from)
            && !self.network.passes(from.node, to.node)
        {
            self.time_out(from, to);
            return;
        }
        let at = self.now + self.network.stream_delay();
        if let Some((end, at)) = self.connections.send(from, at) {
            self.push_stream(at, end, Streamed::Frame(bytes));
        }
    }

    /// Nothing passes between the ends of a connection: each notices some time.
    fn time_out(&mut self, from: End, to: End) {
        self.connections.close(from, self.now);
        self.connections.close(to, self.now);
        for end in [from, to] {
            let at = self.now + self.dice.duration(CONNECT_TIMEOUT, STREAM_TIMEOUT);
            self.push_stream(at, end, Streamed::Closed(CloseReason::Unreachable("timed out".into())));
        }
    }

    /// Ends a connection after what was sent over it before. Across a cut the other end notices much later.
    pub(crate) fn close(&mut self, from: End, why: CloseReason) {
        let cut = self.connections.other(from).is_some_and(|to| !self.network.passes(from.node, to.node));
        let at = self.now + if cut { STREAM_TIMEOUT } else { self.network.stream_delay() };
        if let Some((end, at)) = self.connections.close(from, at) {
            self.push_stream(at, end, Streamed::Closed(why));
        }
    }
}
