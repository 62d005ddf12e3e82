//! A member's keys without the member: follows key updates through all starts of its manager, and answers its question.

use std::net::IpAddr;
use std::sync::Arc;

use crypto::{Ed25519Signer, Ed25519Verifier, ExchangeSecret, Secret};
use keytree::{KeyPath, PathError, RekeyView};
use protocol::{
    Alarm, Answer, DatagramKind, Envelope, Epoch, Gate, Instant, Question, Renewal, SignedRevocation,
    StateId, Suspicion, UpdatePacket,
};

use super::support::{Manager, Offered};

pub(crate) struct Follower {
    pub(crate) offered: Offered,
    gate: Gate,
    path: KeyPath,
    held: Option<StateId>,
    /// The newest alarm and the revocations it was told.
    alarm: Option<Vec<u8>>,
    revocations: Vec<SignedRevocation>,
    renewed: u16,
    /// Whether it can follow a renewal: who knows the secrets of others, and not their X25519 keys, cannot.
    pub(crate) renews: bool,
}

const LAN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 200));

impl Follower {
    pub(crate) fn new(offered: Offered) -> Self {
        let grant = &offered.grant;
        let (suite, tree, leaf) = (grant.domain.suite, grant.tree, offered.keys.leaf.clone());
        let path = KeyPath::new(suite, tree, grant.degree, grant.reg_no, leaf, grant.leaf_steps);
        let verifier = Arc::new(Ed25519Verifier);
        let gate = Gate::new(grant.domain, grant.manager, grant.state, grant.prefilter.clone(), verifier);
        Self {
            offered,
            gate,
            path,
            held: None,
            alarm: None,
            revocations: Vec::new(),
            renewed: 0,
            renews: true,
        }
    }

    /// The state it holds and its key.
    pub(crate) fn key(&self) -> Option<(StateId, Secret<32>)> {
        let state = self.held?;
        let (_, root) = self.path.root()?;
        Some((state, self.offered.grant.domain.group_key(root, state)))
    }

    pub(crate) fn revocations(&self) -> &[SignedRevocation] {
        &self.revocations
    }

    /// Whether it holds what its manager holds.
    pub(crate) fn is_with(&self, manager: &Manager) -> bool {
        let held = self.key();
        held.is_some() && held.as_ref().map(|(state, key)| (*state, key)) == manager.gsm.current_key()
    }

    /// Hears everything the manager multicast, in order.
    pub(crate) fn hear_all(&mut self, manager: &Manager) {
        for bytes in manager.all_multicasts() {
            self.hear(manager.now, &bytes);
        }
    }

    /// The newest alarm it heard.
    pub(crate) fn alarm(&self) -> Alarm {
        self.offered.alarm(self.alarm.as_ref().unwrap()).into_inner()
    }

    /// Its word that its manager is lost.
    pub(crate) fn suspicion(&self, alarm: &Alarm) -> Suspicion {
        let (state, key) = self.key().unwrap();
        let domain = &self.offered.grant.domain;
        let prefilter = domain.prefilter(&key, state);
        let signer = Ed25519Signer::from_seed(&Secret::new(self.offered.node));
        let credential = self.offered.grant.credential;
        Suspicion::sign(domain, (state, alarm.counter), credential, &prefilter, &signer)
    }

    fn renew(&mut self, renewal: &Renewal) {
        let leaf = self.path.leaf_at(renewal.leaf_steps).unwrap();
        let own = ExchangeSecret::from_bytes(Secret::new(self.offered.node));
        let keys = &mut self.offered.keys;
        let before = (&leaf, &keys.unicast);
        let domain = &self.offered.grant.domain;
        let (leaf, unicast) = domain.renew(renewal.number, &own, &renewal.key, before).unwrap();
        self.path = self.path.renewed(leaf, renewal.leaf_steps);
        keys.unicast = unicast;
        self.held = None;
        self.renewed = renewal.number;
    }

    pub(crate) fn hear(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(envelope) = Envelope::parse(bytes) else { return };
        match envelope.kind {
            DatagramKind::KeyUpdate => {
                if let Ok(packet) = self.gate.key_update(now, LAN, self.held_epoch(), bytes) {
                    self.apply(&packet.into_inner());
                }
            }
            DatagramKind::Alarm if self.gate.alarm(now, LAN, bytes).is_ok() => {
                self.alarm = Some(bytes.to_vec());
            }
            DatagramKind::Renewal if self.renews => {
                if let Ok(renewal) = self.gate.renewal(now, LAN, bytes)
                    && renewal.number > self.renewed
                {
                    self.renew(&renewal);
                }
            }
            DatagramKind::Revocations => {
                let known = self.revocations.clone();
                let known = |one: &SignedRevocation| known.contains(one);
                if let Ok(new) = self.gate.revocations(now, LAN, known, bytes) {
                    self.revocations.extend(new.into_inner());
                }
            }
            _ => {}
        }
    }

    fn held_epoch(&self) -> Option<Epoch> {
        self.held.filter(|held| held.same_start(self.gate.start())).map(|held| held.epoch)
    }

    fn apply(&mut self, packet: &UpdatePacket) {
        let header = &packet.header;
        if !header.serves(self.offered.grant.reg_no) {
            return;
        }
        let view = RekeyView {
            epoch: header.state.epoch,
            iv: &header.iv,
            height: header.height,
            root: header.root,
            leaf_steps: header.leaf_steps,
            targets: &packet.body.targets,
            entries: &packet.body.entries,
        };
        let mut path = self.path.clone();
        if self.held.is_some_and(|held| !held.same_start(header.state)) {
            path.forget();
        }
        let domain = self.offered.grant.domain;
        let accept = |root: &Secret<32>| {
            domain.key_check(&domain.group_key(root, header.state), header.state) == header.key_check
        };
        let followed: Result<(), PathError> = path.apply_if(&view, |_, root| accept(root));
        if followed.is_ok() {
            (self.path, self.held) = (path, Some(header.state));
        }
    }

    /// Its answers to a question, as many datagrams as it takes.
    pub(crate) fn answers(&self, question: &Question) -> Vec<Vec<u8>> {
        let Some(alarm) = &self.alarm else { return Vec::new() };
        let domain = &self.offered.grant.domain;
        let mut pages: Vec<_> = self.revocations.chunks(6).collect();
        if pages.is_empty() {
            pages.push(&[]);
        }
        pages.into_iter().map(|page| Answer::encode(domain, question.nonce, alarm, page)).collect()
    }

    /// The newest question the manager asked, verified.
    pub(crate) fn question(&mut self, manager: &Manager) -> Option<Question> {
        let bytes = manager.multicasts(DatagramKind::Question).pop()?;
        Some(self.gate.question(manager.now, LAN, &bytes).ok()?.into_inner())
    }
}
