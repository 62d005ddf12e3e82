//! The driver: carries out what machines ask for, and hands them what happens. The other one is tokio's, in `endpoint`.

use std::net::SocketAddr;
use std::rc::Rc;

use gsm::{GsmEvent, ParticipantEvent, Standing};
use member::{Member, MemberEvent};
use protocol::{CloseReason, DatagramKind, Envelope, Input, Lane, Record, Rejected, Transmit};

use crate::connections::End;
use crate::node::{Listening, Node, NodeId};
use crate::process::Back;
use crate::store::StoreReport;
use crate::trace::Kind;
use crate::world::{Happening, Packet, Socket, World};

impl World {
    /// One event of the queue.
    pub(crate) fn happen(&mut self, happening: Happening) {
        let Some(happening) = self.unless_stopped(happening) else { return };
        match happening {
            Happening::Datagram { node, packet } => self.on_datagram(node, &packet),
            Happening::Stream(end, what) => self.on_stream(end, *what),
            Happening::Wake(node) => self.wake(node),
            Happening::Committed { node, start } => self.on_committed(node, start),
            Happening::Back { node, back, again } => self.on_back(node, back, again),
            Happening::Cutting(cutting) => self.on_cutting(cutting),
            Happening::Resume { node, start } => self.on_resume(node, start),
            Happening::Join(node) => self.join(node),
            Happening::Churn(churn) => self.churn(churn),
            Happening::Quiet => self.network.calm(),
            Happening::Packet => self.on_packet_due(),
            Happening::Unsent(node) => self.send_waiting(node),
        }
    }

    fn on_datagram(&mut self, node: NodeId, packet: &Packet) {
        let Packet { socket, from, bytes, .. } = packet;
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

    /// Drains a machine after anything was done to it: records, transmits, events; then its next timer.
    pub(crate) fn settle(&mut self, id: NodeId) {
        let mut outputs = 0;
        while let Some(record) = self.nodes[id.0].process.poll_record() {
            outputs += 1;
            if self.dies_now(id) {
                return;
            }
            self.on_record(id, record);
        }
        while let Some(transmit) = self.nodes[id.0].process.poll_transmit() {
            outputs += 1;
            if self.dies_now(id) {
                return;
            }
            self.transmit(id, transmit);
        }
        while let Some(event) = self.nodes[id.0].process.poll_event() {
            outputs += 1;
            if self.dies_now(id) {
                return;
            }
            self.on_event(id, event);
        }
        self.oracle.on_outputs(self.now, id, outputs);
        self.watch(id);
        let node = &mut self.nodes[id.0];
        node.wakes_at = node.process.poll_timeout().map(|at| at.max(self.now));
        self.await_timer(id);
    }

    /// A timer that moves away, as with each alarm, moves nothing in the queue: the wake-up comes early and goes on waiting.
    pub(crate) fn await_timer(&mut self, id: NodeId) {
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

    pub(crate) fn input(&mut self, id: NodeId, input: Input<'_>) {
        if !self.nodes[id.0].process.is_up() {
            return;
        }
        let asked = self.setup.counted.asked();
        let taken = self.nodes[id.0].process.handle_input(self.now, input);
        self.oracle.on_checks(self.now, id, self.setup.counted.asked() - asked);
        if let Err(reason) = taken {
            *self.log.rejected.entry(reason).or_default() += 1;
            self.note(id, Kind::Rejected, reason_number(reason), 0);
        }
        self.settle(id);
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
            Transmit::Multicast { to, ttl, bytes } => {
                let socket = if to == self.setup.discovery { Socket::Discovery } else { Socket::Control };
                self.multicast(id, socket, (to, ttl), bytes);
            }
            Transmit::Unicast { to, bytes } => {
                let Some(node) = self.node_at(to) else { return };
                self.oracle.on_datagram(self.now, id, &bytes);
                let from = self.nodes[id.0].address;
                let packet = Rc::new(Packet { socket: Socket::Unicast, source: id, from, ttl: 1, bytes });
                self.carry(id, node, &packet);
                self.network.keep(packet);
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
    pub(crate) fn multicast(
        &mut self,
        from: NodeId,
        socket: Socket,
        (to, ttl): (SocketAddr, u8),
        bytes: Vec<u8>,
    ) {
        if socket == Socket::Control
            && Envelope::parse(&bytes).is_ok_and(|envelope| envelope.kind == DatagramKind::Alarm)
        {
            self.log.alarms.push(self.now);
        }
        if socket != Socket::Data {
            self.oracle.on_datagram(self.now, from, &bytes);
        }
        let listens = |node: &Node| match (socket, node.listening) {
            (Socket::Discovery, _) => node.process.is_up(),
            (Socket::Data, Some(listening)) => listening.data == to,
            (_, Some(listening)) => listening.control == to,
            (_, None) => false,
        };
        let packet = Rc::new(Packet { socket, source: from, from: self.nodes[from.0].address, ttl, bytes });
        for id in self.ids() {
            if listens(&self.nodes[id.0]) && self.network.reaches(from, id, ttl) {
                self.carry(from, id, &packet);
            }
        }
        self.network.keep(packet);
    }

    fn carry(&mut self, from: NodeId, to: NodeId, packet: &Rc<Packet>) {
        if !self.network.passes(from, to) {
            return;
        }
        for delay in self.network.arrivals(to, packet.bytes.len()) {
            let packet = self.network.garbled(packet);
            self.queue.push(self.now + delay, Happening::Datagram { node: to, packet });
        }
        if let Some((packet, delay)) = self.network.replayed(to) {
            self.queue.push(self.now + delay, Happening::Datagram { node: to, packet });
        }
    }

    fn on_event(&mut self, id: NodeId, event: ParticipantEvent) {
        if let Some(place) = event.place() {
            self.nodes[id.0].listening = Some(Listening { control: place.control, data: place.data });
            self.nodes[id.0].ttl = place.ttl;
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
            GsmEvent::TookOver { identity, subgroup } => {
                if let Some(loser) = self.ids().find(|id| self.nodes[id.0].identity == *identity) {
                    self.oracle.on_united(id, loser, *subgroup);
                }
                self.note(id, Kind::Member, 0, 0);
            }
            GsmEvent::Resumed { .. } => {
                self.note(id, Kind::Member, 2, 0);
                // Its members may have gone over to another manager since it was put back, and are asked no more; or a cut
                // kept their answers from it.
                if self.log.starts.iter().any(|(_, of, back)| *of == id && *back != Back::Whole) {
                    let since = self.log.starts.iter().rev().find(|(_, of, _)| *of == id).map(|(at, ..)| *at);
                    let whole = self.network.is_fair() && self.log.cuts.last().copied() < since;
                    if whole { self.forgive_what_few_know(id) } else { self.forgive_what_is_lost(id) }
                }
                self.check_list(id);
            }
            GsmEvent::RolledBack { held, .. } => {
                self.note(id, Kind::Member, 0, 0);
                // Another one may have taken over before its members could be asked. It is in another subgroup now.
                let asked = held.and_then(|held| self.oracle.subgroup_of(held.inst));
                self.forgive_what_few_know_in(id, asked);
            }
            GsmEvent::SteppedDown { .. } => {
                self.note(id, Kind::Member, 0, 0);
                if self.log.starts.iter().any(|(_, of, back)| *of == id && *back != Back::Whole) {
                    self.forgive_what_is_lost(id);
                }
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
                if !self.scenario.harsh && (self.scenario.discovery || !silent) {
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
}

/// The reason's place in a fixed order, for the trace.
const fn reason_number(reason: Rejected) -> u64 {
    reason as u64
}
