//! The driver: carries out what machines ask for, and hands them what happens. The other one is tokio's, in `endpoint`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use data::SealError;
use gsm::{GsmEvent, ParticipantEvent, Standing};
use member::{Member, MemberEvent};
use protocol::{
    CloseReason, ConnId, DatagramKind, Envelope, Frame, Input, Instant, Lane, Peer, Record, Refusal,
    Rejected, Role, Transmit,
};

use crate::cast::Delivered;
use crate::connections::End;
use crate::node::{Listening, Node, NodeId};
use crate::store::StoreReport;
use crate::trace::Kind;
use crate::world::{Happening, Packet, Socket, Streamed, World};

/// Payloads that wait for a key at one node; an application that sends more loses the newest.
const MAX_UNSENT: usize = 256;
/// How long a certificate of the simulation is still valid, whenever it is looked at.
const VALID_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

impl World {
    /// One event of the queue.
    pub(crate) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Datagram { node, packet } => self.on_datagram(node, &packet),
            Happening::Stream(end, what) => self.on_stream(end, *what),
            Happening::Wake(node) => self.wake(node),
            Happening::Committed { node, start } => self.on_committed(node, start),
            Happening::Back { node, back } => {
                self.start_again(node, back);
            }
            Happening::Join(node) => self.join(node),
            Happening::Churn(churn) => self.churn(churn),
            Happening::Quiet => self.lan.faults = crate::faults::LanFaults::none(),
            Happening::Packet => self.on_packet_due(),
            Happening::Unsent(node) => self.send_waiting(node),
        }
    }

    fn on_datagram(&mut self, node: NodeId, packet: &Packet) {
        let Packet { socket, from, bytes } = packet;
        self.note(node, Kind::Datagram, *socket as u64, bytes.len() as u64);
        let lane = match socket {
            Socket::Control if self.nodes[node.0].deaf_until > self.now => return,
            Socket::Control => Lane::Control,
            Socket::Unicast => Lane::Unicast,
            Socket::Discovery => Lane::Discovery,
            Socket::Data => return self.data(node, *from, bytes),
        };
        self.input(node, Input::Datagram { lane, from: *from, bytes });
    }

    fn on_stream(&mut self, end: End, what: Streamed) {
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

    /// Drains a machine after anything was done to it: records, transmits, events; then its next timer.
    pub(crate) fn settle(&mut self, id: NodeId) {
        while let Some(record) = self.nodes[id.0].process.poll_record() {
            if self.dies_now(id) {
                return;
            }
            self.on_record(id, record);
        }
        while let Some(transmit) = self.nodes[id.0].process.poll_transmit() {
            if self.dies_now(id) {
                return;
            }
            self.transmit(id, transmit);
        }
        while let Some(event) = self.nodes[id.0].process.poll_event() {
            if self.dies_now(id) {
                return;
            }
            self.on_event(id, event);
        }
        self.watch(id);
        let node = &mut self.nodes[id.0];
        node.wakes_at = node.process.poll_timeout().map(|at| at.max(self.now));
        self.await_timer(id);
    }

    /// A timer that moves away, as with each alarm, moves nothing in the queue: the wake-up comes early and goes on waiting.
    fn await_timer(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        if let Some(at) = node.wakes_at
            && node.woken_at.is_none_or(|woken| at < woken)
        {
            node.woken_at = Some(at);
            self.queue.push(at, Happening::Wake(id));
        }
    }

    /// What a member holds now, its registration will have hoarded.
    fn watch(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        let path = node.process.player().and_then(|player| player.member()?.key_path());
        let (Some(path), Some(ring)) = (path, &node.ring) else { return };
        let watched = node.watched.iter().map(|(place, version, secret)| (*place, *version, secret));
        if path.keys().map(|(place, version, secret)| (place, version, secret.expose())).eq(watched) {
            return;
        }
        node.watched.clear();
        node.watched.extend(path.keys().map(|(place, version, secret)| (place, version, *secret.expose())));
        self.oracle.on_path(ring.subgroup, ring.own, path);
    }

    fn input(&mut self, id: NodeId, input: Input<'_>) {
        if !self.nodes[id.0].process.is_up() {
            return;
        }
        let taken = self.nodes[id.0].process.handle_input(self.now, input);
        if let Err(reason) = taken {
            *self.log.rejected.entry(reason).or_default() += 1;
            self.note(id, Kind::Rejected, reason_number(reason), 0);
        }
        self.settle(id);
    }

    fn on_conn<'a>(&mut self, end: End, input: impl FnOnce(ConnId) -> Input<'a>) {
        if self.nodes[end.node.0].start != end.start {
            return;
        }
        self.note(end.node, Kind::Connection, end.conn.0, 0);
        self.input(end.node, input(end.conn));
    }

    fn wake(&mut self, id: NodeId) {
        if self.nodes[id.0].woken_at != Some(self.now) {
            return;
        }
        self.nodes[id.0].woken_at = None;
        if self.nodes[id.0].wakes_at != Some(self.now) {
            self.await_timer(id);
            return;
        }
        self.note(id, Kind::Timer, 0, 0);
        self.nodes[id.0].wakes_at = None;
        self.nodes[id.0].process.handle_timeout(self.now);
        self.settle(id);
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

    fn on_record(&mut self, id: NodeId, record: Record) {
        let node = &mut self.nodes[id.0];
        self.oracle.on_record(self.now, id, node.manager_key, &record);
        if let Some(at) = node.store.append(self.now, record) {
            self.queue.push(at, Happening::Committed { node: id, start: node.start });
        }
    }

    fn on_committed(&mut self, id: NodeId, start: u32) {
        if self.nodes[id.0].start != start {
            return;
        }
        let (report, next) = self.nodes[id.0].store.finish(self.now);
        if let Some(at) = next {
            self.queue.push(at, Happening::Committed { node: id, start });
        }
        match report {
            Some(StoreReport::Stored(upto)) => {
                self.note(id, Kind::Stored, upto.0, 0);
                self.input(id, Input::Stored { upto });
                if let Some((upto, snapshot)) = self.nodes[id.0].process.compaction() {
                    self.nodes[id.0].store.compact(upto, snapshot);
                }
            }
            Some(StoreReport::Failed) => {
                self.note(id, Kind::Stored, u64::MAX, 0);
                self.input(id, Input::StoreFailed);
            }
            None => {}
        }
    }

    fn transmit(&mut self, id: NodeId, transmit: Transmit) {
        match transmit {
            Transmit::Multicast { to, bytes, .. } => {
                let socket = if to == self.setup.discovery { Socket::Discovery } else { Socket::Control };
                self.multicast(id, socket, to, bytes);
            }
            Transmit::Unicast { to, bytes } => {
                let Some(node) = self.ids().find(|node| self.nodes[node.0].address == to) else { return };
                self.oracle.on_datagram(self.now, &bytes);
                let from = self.nodes[id.0].address;
                let packet = Rc::new(Packet { socket: Socket::Unicast, from, bytes });
                self.carry(node, &packet);
                self.lan.keep(packet);
            }
            Transmit::Open { conn, to, expect } => {
                self.open(End { node: id, start: self.nodes[id.0].start, conn }, to, expect)
            }
            Transmit::Frame { conn, bytes } => {
                self.frame(End { node: id, start: self.nodes[id.0].start, conn }, bytes)
            }
            Transmit::Close { conn } => {
                self.close(End { node: id, start: self.nodes[id.0].start, conn }, CloseReason::ByPeer);
            }
        }
    }

    /// To everybody who listens, the sender's own copy included.
    pub(crate) fn multicast(&mut self, from: NodeId, socket: Socket, to: SocketAddr, bytes: Vec<u8>) {
        if socket == Socket::Control {
            if Envelope::parse(&bytes).is_ok_and(|envelope| envelope.kind == DatagramKind::Alarm) {
                self.log.alarms.push(self.now);
            }
            self.oracle.on_datagram(self.now, &bytes);
        }
        let listens = |node: &Node| match (socket, node.listening) {
            (Socket::Discovery, _) => node.process.is_up(),
            (Socket::Data, Some(listening)) => listening.data == to,
            (_, Some(listening)) => listening.control == to,
            (_, None) => false,
        };
        let packet = Rc::new(Packet { socket, from: self.nodes[from.0].address, bytes });
        for id in self.ids() {
            if listens(&self.nodes[id.0]) {
                self.carry(id, &packet);
            }
        }
        self.lan.keep(packet);
    }

    fn carry(&mut self, to: NodeId, packet: &Rc<Packet>) {
        for delay in self.lan.arrivals() {
            let datagram = Happening::Datagram { node: to, packet: Rc::clone(packet) };
            self.queue.push(self.now + delay, datagram);
        }
        if let Some((packet, delay)) = self.lan.replayed() {
            self.queue.push(self.now + delay, Happening::Datagram { node: to, packet });
        }
    }

    /// Stands in for a TLS handshake: both ends learn who the other is, and a channel secret. Whoever expects a manager
    /// refuses a node whose certificate does not name it one.
    fn open(&mut self, caller: End, to: SocketAddr, expect: Role) {
        let arrives = self.now + self.lan.stream_delay();
        let called = self.ids().find(|id| self.nodes[id.0].registrar == to);
        let Some(called) = called.filter(|id| self.nodes[id.0].process.is_up()) else {
            let why = CloseReason::Unreachable("nobody listens there".into());
            self.push_stream(arrives, caller, Streamed::Closed(why));
            return;
        };
        let roles = self.nodes[called.0].roles;
        if !(if expect == Role::Manager { roles.manager } else { roles.member }) {
            let why = CloseReason::Refused("its certificate does not name it a manager".into());
            let told = arrives + self.lan.stream_delay();
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
        let answered = arrives + self.lan.stream_delay();
        self.push_stream(answered, caller, Streamed::Opened(answering_seen));
    }

    fn frame(&mut self, from: End, bytes: Vec<u8>) {
        if self.lan.breaks_connection() {
            self.close(from, CloseReason::Unreachable("reset".into()));
            self.push_stream(self.now, from, Streamed::Closed(CloseReason::Unreachable("reset".into())));
            return;
        }
        let at = self.now + self.lan.stream_delay();
        if let Some((end, at)) = self.connections.send(from, at) {
            self.push_stream(at, end, Streamed::Frame(bytes));
        }
    }

    /// Ends a connection after what was sent over it before.
    pub(crate) fn close(&mut self, from: End, why: CloseReason) {
        let at = self.now + self.lan.stream_delay();
        if let Some((end, at)) = self.connections.close(from, at) {
            self.push_stream(at, end, Streamed::Closed(why));
        }
    }

    fn on_event(&mut self, id: NodeId, event: ParticipantEvent) {
        if let Some(place) = event.place() {
            self.nodes[id.0].listening = Some(Listening { control: place.control, data: place.data });
        }
        if let Some(ring) = event.ring() {
            self.set_ring(id, ring.clone());
            return;
        }
        match event {
            ParticipantEvent::Manager(event) => self.on_manager_event(id, event),
            ParticipantEvent::Member(event) => self.on_member_event(id, event),
            ParticipantEvent::Became(mode) => self.log.modes.push((self.now, id, mode)),
            ParticipantEvent::Place(_) => {}
        }
    }

    fn on_manager_event(&mut self, id: NodeId, event: GsmEvent) {
        let durable = self.nodes[id.0].store.durable();
        self.oracle.on_told(self.now, id, &event, durable);
        match &event {
            GsmEvent::Resumed { .. } => {
                self.note(id, Kind::Member, 2, 0);
                self.check_list(id);
            }
            GsmEvent::Rekeyed(summary) => {
                self.check_list(id);
                self.note(id, Kind::State, u64::from(summary.state.epoch.0), summary.entries as u64);
                // The ring with the new key was told before.
                self.oracle.on_rekeyed(self.now, summary);
            }
            _ => self.note(id, Kind::Member, 0, 0),
        }
        self.log.manager.push((self.now, event));
    }

    fn check_list(&mut self, id: NodeId) {
        let Some(gsm) = self.nodes[id.0].gsm() else { return };
        let stays = gsm.members().filter(|listed| listed.standing != Standing::Leaving);
        let listed = stays.map(|listed| listed.sender).collect();
        self.oracle.on_list(self.now, id, &listed);
    }

    fn on_member_event(&mut self, id: NodeId, event: MemberEvent) {
        match &event {
            MemberEvent::Granted(place) => {
                // Where nothing is searched, a node goes back to the registrar it knows when all has been silent for long.
                let silent = self.nodes[id.0].member().is_some_and(Member::manager_silent);
                if self.scenario.discovery || !silent {
                    self.oracle.on_granted(self.now, id, self.nodes[id.0].start);
                }
                self.nodes[id.0].granted = Some((place.subgroup, place.sender));
            }
            MemberEvent::Admitted => {
                if let Some(place) = self.nodes[id.0].granted.take()
                    && let Some(manager) = self.oracle.manager_of(place.0)
                {
                    let durable = self.nodes[manager.0].store.durable();
                    self.oracle.on_admitted(self.now, (id, self.nodes[id.0].start), place, durable);
                }
            }
            MemberEvent::Installed { state, .. } => {
                self.note(id, Kind::State, u64::from(state.epoch.0), 1);
                if let Some(ring) = &self.nodes[id.0].ring {
                    self.oracle.on_installed(self.now, ring.own, *state);
                }
            }
            MemberEvent::Ended(_) => self.nodes[id.0].listening = None,
            _ => {}
        }
        self.note(id, Kind::Member, 1, 0);
        self.log.members.push((self.now, id, event));
    }

    fn set_ring(&mut self, id: NodeId, ring: data::KeyRing) {
        self.oracle.on_ring(self.now, id, &ring);
        let mut delivered = Vec::new();
        let node = &mut self.nodes[id.0];
        node.sealer.set_ring(&ring);
        node.receiver.set_ring(self.now, &ring, &mut delivered);
        node.ring = Some(ring);
        self.deliver(id, delivered);
        self.send_waiting(id);
    }

    fn data(&mut self, id: NodeId, from: SocketAddr, bytes: &[u8]) {
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
    fn on_packet_due(&mut self) {
        let senders: Vec<_> = self.ids().filter(|id| self.nodes[id.0].ring.is_some()).collect();
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
                        self.multicast(id, Socket::Data, listening.data, packet);
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

/// The reason's place in a fixed order, for the trace.
const fn reason_number(reason: Rejected) -> u64 {
    reason as u64
}
