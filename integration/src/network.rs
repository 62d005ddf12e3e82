//! The network: LANs with routers between them. Every datagram meets the faults anew at each receiver.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use protocol::GroupId;

use crate::dice::Dice;
use crate::faults::LanFaults;
use crate::node::NodeId;
use crate::world::Packet;

/// Datagrams kept to be replayed.
const MAX_KEPT: usize = 2_048;

/// Which nodes cannot reach which: those on one side do not reach those on the other, nor the other way round unless it is
/// only one way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// By node number, which are on the first side.
    pub side: Vec<bool>,
    /// Whether the second side still reaches the first.
    pub one_way: bool,
}

/// The network.
pub(crate) struct Network {
    pub(crate) faults: LanFaults,
    dice: Dice,
    kept: Vec<Rc<Packet>>,
    next: usize,
    /// The LANs of each node. They stand in a row, with a router between each two neighbours.
    lans: Vec<Vec<usize>>,
    cuts: Vec<(u64, Cut)>,
    made: u64,
    /// Of each node, how many more datagrams the burst takes that it is in.
    bursts: Vec<u64>,
}

impl Network {
    /// A network on which each node is in the LANs given for it.
    pub(crate) fn new(faults: LanFaults, dice: Dice, lans: Vec<Vec<usize>>) -> Self {
        let bursts = vec![0; lans.len()];
        Self { faults, dice, kept: Vec::new(), next: 0, lans, cuts: Vec::new(), made: 0, bursts }
    }

    /// Keeps a datagram for whoever replays it later.
    pub(crate) fn keep(&mut self, kept: Rc<Packet>) {
        if self.faults.replay == 0 {
            return;
        }
        if self.kept.len() < MAX_KEPT {
            self.kept.push(kept);
        } else {
            // One in two of the oldest stays, so that there is always something of earlier starts.
            if self.dice.chance(500) {
                self.kept[self.next] = kept;
            }
            self.next = (self.next + 1) % MAX_KEPT;
        }
    }

    /// Whether what one node multicasts with this TTL gets as far as another one.
    pub(crate) fn reaches(&self, from: NodeId, to: NodeId, ttl: u8) -> bool {
        let (from, to) = (&self.lans[from.0], &self.lans[to.0]);
        from.iter().any(|near| to.iter().any(|far| near.abs_diff(*far) < usize::from(ttl)))
    }

    /// The LANs a node is in.
    pub(crate) fn lans_of(&self, node: NodeId) -> &[usize] {
        &self.lans[node.0]
    }

    /// Whether nothing is cut between two nodes, this way.
    pub(crate) fn passes(&self, from: NodeId, to: NodeId) -> bool {
        let stops = |cut: &Cut| {
            let (near, far) = (cut.side[from.0], cut.side[to.0]);
            near != far && (near || !cut.one_way)
        };
        !self.cuts.iter().any(|(_, cut)| stops(cut))
    }

    /// Whether what several nodes say soon reaches each of them: nothing is cut off, and most datagrams arrive.
    pub(crate) fn is_fair(&self) -> bool {
        self.cuts.is_empty() && self.faults.is_fair()
    }

    /// A cut comes about; the number by which it is healed.
    pub(crate) fn cut(&mut self, cut: Cut) -> u64 {
        self.made += 1;
        self.cuts.push((self.made, cut));
        self.made
    }

    /// A cut heals.
    pub(crate) fn heal(&mut self, number: u64) {
        self.cuts.retain(|(made, _)| *made != number);
    }

    /// All cuts heal.
    pub(crate) fn heal_all(&mut self) {
        self.cuts.clear();
    }

    /// All cuts heal, and nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.faults = LanFaults::none();
        self.cuts.clear();
    }

    /// After which times a datagram of this length arrives at one receiver: none, one or two.
    pub(crate) fn arrivals(&mut self, to: NodeId, len: usize) -> impl Iterator<Item = Duration> + use<> {
        let lost = self.loses(to, len);
        let twice = self.dice.chance(self.faults.duplication);
        let first = (!lost).then(|| self.faults.delay(&mut self.dice));
        let second = (!lost && twice).then(|| self.faults.delay(&mut self.dice));
        first.into_iter().chain(second)
    }

    fn loses(&mut self, to: NodeId, len: usize) -> bool {
        let LanFaults { loss, burst, longest_burst, mtu, .. } = self.faults;
        if burst > 0 {
            let left = &mut self.bursts[to.0];
            if *left == 0 && self.dice.chance(burst) {
                *left = self.dice.between(1, longest_burst.into());
            }
            if *left > 0 {
                *left -= 1;
                return true;
            }
        }
        mtu.is_some_and(|most| len > most) || self.dice.chance(loss)
    }

    /// What arrives in place of a datagram: itself, or something that differs in a few bits.
    pub(crate) fn garbled(&mut self, packet: &Rc<Packet>) -> Rc<Packet> {
        if !self.dice.chance(self.faults.corruption) || packet.bytes.is_empty() {
            return Rc::clone(packet);
        }
        let mut bytes = packet.bytes.clone();
        for _ in 0..self.dice.between(1, 3) {
            let at = usize::try_from(self.dice.below(bytes.len() as u64)).unwrap_or_default();
            bytes[at] ^= 1 << self.dice.below(8);
        }
        Rc::new(Packet { bytes, ..**packet })
    }

    /// An old datagram that arrives along with another one, and after which time.
    pub(crate) fn replayed(&mut self, to: NodeId) -> Option<(Rc<Packet>, Duration)> {
        if !self.dice.chance(self.faults.replay) {
            return None;
        }
        let kept = self.dice.pick(&self.kept).cloned()?;
        // Whoever replays is in one LAN.
        if !self.reaches(kept.source, to, kept.ttl) {
            return None;
        }
        Some((kept, self.faults.delay(&mut self.dice)))
    }

    /// How long something takes over a connection; it is not lost there.
    pub(crate) fn stream_delay(&mut self) -> Duration {
        self.faults.delay(&mut self.dice)
    }

    /// Whether the frame that is being sent breaks its connection.
    pub(crate) fn breaks_connection(&mut self) -> bool {
        self.dice.chance(self.faults.broken_connection)
    }
}

/// The port of control messages, discovery's too.
pub(crate) const CONTROL_PORT: u16 = 5_000;
/// The port of data.
pub(crate) const DATA_PORT: u16 = 5_001;

/// Where the group's nodes find each other.
pub(crate) fn discovery(group: GroupId) -> SocketAddr {
    SocketAddr::from((group.discovery_ip(), CONTROL_PORT))
}

/// A node's registrar.
pub(crate) fn registrar(node: NodeId) -> SocketAddr {
    SocketAddr::new(unicast(node).ip(), 5_002)
}

/// A node's unicast address.
pub(crate) fn unicast(node: NodeId) -> SocketAddr {
    let [high, low] = u16::try_from(node.0 + 1).unwrap_or(u16::MAX).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 5_003))
}

/// The node with a unicast address or registrar, if there is one.
pub(crate) fn node_at(address: SocketAddr) -> Option<NodeId> {
    let std::net::IpAddr::V4(ip) = address.ip() else { return None };
    let [10, 0, high, low] = ip.octets() else { return None };
    usize::from(u16::from_be_bytes([high, low])).checked_sub(1).map(NodeId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(faults: LanFaults) -> Network {
        Network::new(faults, Dice::new(1, "lan", 0), vec![vec![0], vec![0], vec![1], vec![0, 2]])
    }

    #[test]
    fn what_is_multicast_goes_as_far_as_its_ttl() {
        let network = network(LanFaults::none());
        let reached = |ttl| [1, 2, 3].map(|to| network.reaches(NodeId(0), NodeId(to), ttl));
        assert_eq!(reached(1), [true, false, true], "a node on two LANs is in both");
        assert_eq!(reached(2), [true, true, true]);
        assert!(!network.reaches(NodeId(0), NodeId(1), 0));
    }

    #[test]
    fn a_cut_stops_one_way_or_both_until_it_heals() {
        let mut network = network(LanFaults::none());
        let side = vec![true, false, false, false];
        let both = network.cut(Cut { side: side.clone(), one_way: false });
        assert!(!network.passes(NodeId(0), NodeId(1)) && !network.passes(NodeId(1), NodeId(0)));
        assert!(network.passes(NodeId(1), NodeId(2)));
        network.heal(both);
        network.cut(Cut { side, one_way: true });
        assert!(!network.passes(NodeId(0), NodeId(1)) && network.passes(NodeId(1), NodeId(0)));
        network.calm();
        assert!(network.passes(NodeId(0), NodeId(1)));
    }

    #[test]
    fn bursts_take_several_in_a_row_and_long_datagrams_do_not_pass_a_small_mtu() {
        let faults = LanFaults { burst: 20, longest_burst: 50, mtu: Some(600), ..LanFaults::none() };
        let mut network = network(faults);
        let lost: Vec<_> = (0..5_000).map(|_| network.arrivals(NodeId(1), 100).next().is_none()).collect();
        let longest = lost.split(|lost| !lost).map(<[bool]>::len).max().unwrap_or_default();
        assert!((20..=150).contains(&longest), "{longest}");
        assert!(lost.iter().filter(|lost| !**lost).count() > 2_000);
        assert!((0..100).all(|_| network.arrivals(NodeId(1), 601).next().is_none()));
    }
}
