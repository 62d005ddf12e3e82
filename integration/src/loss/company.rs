//! Who takes part: the nodes of one run with their keys, certificates and addresses.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crypto::{ExchangeSecret, PublicKey, Roles, Secret, Signer, Suite};
use gsm::{AccessList, Eligible, Journal, ManagerConfig, Part, Participant, ParticipantConfig};
use keytree::Degree;
use member::{Discovery, MemberConfig};
use protocol::discovery::{Certified, Certifier, Mandate};
use protocol::limits::MAX_DATAGRAM;
use protocol::{Commit, GroupId, Instant, Peer, Timing};

use crate::dice::Dice;
use crate::signatures::{FakeCertifier, FakeSigner, FakeVerifier, mandate_signature};

const CONTROL_PORT: u16 = 5_000;
const DATA_PORT: u16 = 5_001;
const REGISTRAR_PORT: u16 = 5_002;
const UNICAST_PORT: u16 = 5_003;
/// How long a certificate is still valid, whenever it is looked at.
const VALID_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Everything that all nodes of a run have in common. Node 0 is set up as the manager.
pub(super) struct Company {
    seed: u64,
    group: GroupId,
    timing: Timing,
    /// The first so many nodes may manage.
    eligible: usize,
    signing: Secret<32>,
    authority: Secret<32>,
    /// Present where nodes find each other by multicast.
    certifier: Option<Arc<dyn Certifier>>,
}

/// A node's unicast address.
pub(super) fn address(node: usize) -> SocketAddr {
    let [_, high, middle, low] = u32::try_from(node + 1).unwrap_or(u32::MAX).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, high, middle, low), UNICAST_PORT))
}

/// The node at an address of the company; `None` for any other address.
pub(super) fn node_at(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else { return None };
    let [net, high, middle, low] = address.ip().octets();
    let number = u32::from_be_bytes([0, high, middle, low]);
    (net == 10 && number > 0).then(|| usize::try_from(number - 1).unwrap_or(usize::MAX))
}

fn registrar(node: usize) -> SocketAddr {
    SocketAddr::new(address(node).ip(), REGISTRAR_PORT)
}

/// A node's identity.
pub(super) fn identity(node: usize) -> String {
    format!("n{node}.loss.example")
}

/// The node with an identity of the company.
pub(super) fn named(identity: &str) -> Option<usize> {
    identity.strip_prefix('n')?.strip_suffix(".loss.example")?.parse().ok()
}

impl Company {
    /// `nodes` nodes, of which the first `eligible` may manage; with `discovery` they find each other by multicast.
    pub(super) fn new(seed: u64, nodes: usize, eligible: usize, discovery: bool, timing: Timing) -> Self {
        let mut dice = Dice::new(seed, "company", 0);
        let mut company = Self {
            seed,
            group: GroupId::derive("loss", &seed.to_be_bytes()),
            timing,
            eligible,
            signing: dice.secret(),
            authority: dice.secret(),
            certifier: None,
        };
        let issued: BTreeMap<_, _> = (0..nodes).map(|node| company.issued(node)).collect();
        let certifier =
            || Arc::new(FakeCertifier::new(company.authority.clone(), issued)) as Arc<dyn Certifier>;
        company.certifier = discovery.then(certifier);
        company
    }

    fn issued(&self, node: usize) -> (Vec<u8>, Certified) {
        let fingerprint = self.certificate(node);
        let certified = Certified { identity: identity(node), roles: self.roles(node), fingerprint };
        (fingerprint.to_vec(), certified)
    }

    pub(super) const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Where the nodes find each other.
    pub(super) fn discovery(&self) -> SocketAddr {
        SocketAddr::from((self.group.discovery_ip(), CONTROL_PORT))
    }

    const fn roles(&self, node: usize) -> Roles {
        Roles { member: true, manager: node < self.eligible, maa: false }
    }

    fn dice(&self, node: usize) -> Dice {
        Dice::new(self.seed, "node", node as u64)
    }

    /// A certificate is its own fingerprint.
    fn certificate(&self, node: usize) -> [u8; 32] {
        self.dice(node).bytes()
    }

    /// How a node appears to another one that it is connected with.
    pub(super) fn peer(&self, node: usize, channel: Secret<32>) -> Peer {
        Peer {
            identity: identity(node),
            roles: self.roles(node),
            certificate: self.certificate(node),
            valid_for: VALID_FOR,
            address: address(node),
            channel,
        }
    }

    /// The machine of a node's process, for its `start`th start, without a memory.
    pub(super) fn participant(&self, now: Instant, node: usize, start: u32) -> Participant {
        let mut dice = self.dice(node);
        let (certificate, key) = (dice.bytes(), PublicKey(dice.bytes()));
        let exchange = Arc::new(ExchangeSecret::from_bytes(dice.secret()));
        let signer = Arc::new(FakeSigner::new(key, self.signing.clone()));
        let discovery = self.certifier.as_ref().map(|certifier| Discovery {
            address: self.discovery(),
            certifier: Arc::clone(certifier),
            fingerprint: certificate,
            identity: identity(node),
        });
        let named = discovery.is_none().then(|| registrar(0));
        let member = MemberConfig {
            group: self.group,
            registrars: named.into_iter().collect(),
            signer: signer.clone(),
            exchange,
            verifier: Arc::new(FakeVerifier::new(self.signing.clone())),
            discovery,
        };
        let part = match node {
            0 => Part::Manager,
            node if node < self.eligible => Part::Auto,
            _ => Part::Member,
        };
        let eligible = (node < self.eligible).then(|| self.eligible(node, certificate, signer));
        let rng = Dice::generator(self.seed, "machine", (node as u64) << 32 | u64::from(start));
        let (config, journal) = (ParticipantConfig { part, member }, Journal { last: Commit(0) });
        let participant = Participant::new(now, config, eligible, Box::new(rng), None, journal);
        participant.expect("invariant: who is to manage is eligible")
    }

    fn eligible(&self, node: usize, certificate: [u8; 32], signer: Arc<FakeSigner>) -> Eligible {
        let key = signer.public_key();
        let message = Mandate::message(self.group, &key);
        let signature = mandate_signature(&self.authority, &certificate, &message);
        let config = ManagerConfig {
            suite: Suite::default(),
            degree: Degree::default(),
            identity: identity(node),
            certificate,
            address: address(node),
            registrars: vec![registrar(node)],
            multicast: None,
            control_port: CONTROL_PORT,
            data_port: DATA_PORT,
            ttl: 1,
            packet_size: MAX_DATAGRAM,
            timing: self.timing,
            access: AccessList::default(),
            mandate: Mandate { key, certificate: certificate.to_vec(), signature },
            priority: 100,
            merges: true,
        };
        Eligible { config, signer: Box::new(signer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_its_addresses_and_by_its_name() {
        for node in [0, 1, 255, 4_096, 70_000] {
            assert_eq!(node_at(address(node)), Some(node));
            assert_eq!(node_at(registrar(node)), Some(node));
            assert_eq!(named(&identity(node)), Some(node));
        }
        assert_eq!(node_at(SocketAddr::from(([239, 1, 2, 3], 5_000))), None);
    }
}
