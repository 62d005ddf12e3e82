//! The member that keeps every key it ever holds, is evicted, and goes on.
//!
//! It joins like anybody, with an honest certificate, and runs the same member as the others, wrapped into a machine
//! that notes down every secret that passes. Beside it, with sockets of its own, it listens to the group's addresses
//! from the first minute to the last: no eviction takes it off the network. On every data packet it tries every group
//! key and the data keys it had; on every key update every secret of the tree, with all that follows from a guess. Once
//! it is shut out it asks for repair in both ways there are, and tries to register again.
//!
//! As long as it is a member, the same attacks must succeed: that shows that they are real ones.

mod eavesdropper;
mod hoard;
mod hoarder;
mod updates;
mod visits;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave::{Clock, Group, MulticastSocket};
use crypto::Ed25519Verifier;
use protocol::{DatagramKind, Envelope, Gate, Grant, StateId, Takeover, UpdatePacket, Verified};
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::eavesdropper::Eavesdropper;
use self::hoard::Hoard;
use self::hoarder::Hoarder;
use self::visits::Visits;
use super::lines::{Event, Key};
use super::node::{Command, Node, NodeError, Voice};

/// How long joining may take.
const JOIN_DEADLINE: Duration = Duration::from_secs(15);
/// How often it says what it caught.
const REPORT: Duration = Duration::from_millis(200);
/// How often it asks for repair once it is shut out.
const ASK: Duration = Duration::from_millis(500);
/// Room for the longest datagram.
const BUFFER: usize = 65_536;

/// What it hoards, for its machine and its eavesdropping alike.
type Shared = Arc<Mutex<Hoard>>;

/// Joins as a member, hoards and listens until it is told to stop.
pub(super) async fn run(mut node: Node) -> Result<(), NodeError> {
    let hoard = Shared::default();
    let host = node.host().await?;
    let kept = Arc::clone(&hoard);
    let mut group = Group::start_as(&host, node.options(), |member| Hoarder::new(member, kept)).await?;
    let joined = timeout(JOIN_DEADLINE, group.joined()).await;
    joined.map_err(|_| std::io::Error::other("no group key in time"))??;
    let (grant, newest) = {
        let hoard = hoard::lock(&hoard);
        let grant = hoard.grant().cloned().ok_or(conclave::Stopped)?;
        (grant, hoard.newest().map_or_else(Key::default, Key::from))
    };
    let sockets = Sockets {
        control: MulticastSocket::join(grant.control, host.interface())?,
        data: MulticastSocket::join(grant.data, host.interface())?,
    };
    let name = node.name();
    let visits = Visits::new(&name, &node.voice, host.interface(), &hoard)?.ok_or(conclave::Stopped)?;
    node.voice.say(Event::Joined { node: name.clone(), key: newest });
    let spy = Spy {
        eavesdropper: Eavesdropper::new(&name, Arc::clone(&hoard)),
        gate: gate(&grant),
        grant,
        hoard,
        name,
        voice: node.voice.clone(),
        shut_out: None,
        visits,
    };
    spy.listen(&mut node, sockets).await?;
    group.stop().await;
    Ok(())
}

/// Sockets of its own on the group's addresses.
struct Sockets {
    control: MulticastSocket,
    data: MulticastSocket,
}

/// What the adversary keeps beside its member.
struct Spy {
    name: String,
    voice: Voice,
    hoard: Shared,
    eavesdropper: Eavesdropper,
    grant: Grant,
    /// Tells the manager's key updates from forgeries, which would waste its time.
    gate: Gate,
    /// The newest state whose key update no secret opened.
    shut_out: Option<StateId>,
    visits: Visits,
}

impl Spy {
    async fn listen(mut self, node: &mut Node, sockets: Sockets) -> Result<(), NodeError> {
        let (mut control, mut data) = (vec![0; BUFFER], vec![0; BUFFER]);
        let mut report = interval(REPORT);
        let mut ask = interval(ASK);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = node.orders.next() => if matches!(order?, Command::Stop | Command::Leave) {
                    break;
                },
                heard = sockets.data.recv(&mut data) => self.on_data(&data[..heard?.0]),
                heard = sockets.control.recv(&mut control) => {
                    let (len, from) = heard?;
                    self.on_control(&control[..len], from);
                }
                answered = self.visits.answered() => answered?,
                _ = report.tick() => self.report(),
                _ = ask.tick() => if let Some(wanted) = self.shut_out {
                    self.visits.ask(node, wanted).await?;
                },
            }
        }
        self.report();
        Ok(())
    }

    fn on_data(&mut self, datagram: &[u8]) {
        let caught = self.eavesdropper.catch(Clock.now(), datagram);
        caught.into_iter().for_each(|event| self.voice.say(event));
    }

    fn report(&mut self) {
        let caught = self.eavesdropper.report();
        caught.into_iter().for_each(|event| self.voice.say(event));
    }

    fn on_control(&mut self, datagram: &[u8], from: SocketAddr) {
        match Envelope::parse(datagram).map(|envelope| envelope.kind) {
            Ok(DatagramKind::KeyUpdate) => {}
            Ok(DatagramKind::Takeover) => return self.on_takeover(datagram),
            _ => return,
        }
        if let Ok(packet) = self.gate.key_update(Clock.now(), from.ip(), None, datagram) {
            self.visits.find_at(from);
            self.eavesdropper.learn_of(packet.header.state);
            self.attack(&packet);
        }
    }

    /// It takes anybody's word for who manages the group: a wrong one costs it time.
    fn on_takeover(&mut self, datagram: &[u8]) {
        if let Ok(takeover) = Takeover::claimed(&self.grant.domain, datagram)
            && takeover.office.key != self.grant.manager
        {
            self.grant.manager = takeover.office.key;
            self.gate = gate(&self.grant);
        }
    }

    /// Tries on a key update every secret hoarded before it. Secrets it has by now as a member are left out: they
    /// would only prove that a member can read what is for members.
    fn attack(&mut self, packet: &Verified<UpdatePacket>) {
        let state = packet.header.state;
        let secrets = hoard::lock(&self.hoard).secrets_before(state);
        let attempt = updates::attack(packet, &self.grant, &secrets);
        let opened = attempt.group_key.is_some();
        if let Some(key) = attempt.group_key {
            hoard::lock(&self.hoard).keep_group_key(state, key);
        }
        if !opened && (packet.header.hard || self.shut_out.is_some()) {
            self.shut_out = self.shut_out.max(Some(state));
        }
        self.voice.say(Event::UpdateAttacked {
            node: self.name.clone(),
            key: state.into(),
            secrets: secrets.len(),
            attempts: attempt.attempts,
            opened,
        });
    }
}

fn gate(grant: &Grant) -> Gate {
    Gate::new(grant.domain, grant.manager, grant.state, grant.prefilter.clone(), Arc::new(Ed25519Verifier))
}

#[cfg(test)]
mod tests;
