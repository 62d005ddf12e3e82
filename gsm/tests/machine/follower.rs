//! A member's keys without the member: follows key updates through all starts of its manager, and answers its question.

use std::net::IpAddr;
use std::sync::Arc;

use crypto::{Ed25519Verifier, Secret};
use keytree::{KeyPath, PathError, RekeyView};
use protocol::{
    Answer, DatagramKind, Envelope, Epoch, Gate, Instant, Question, SignedRevocation, StateId, UpdatePacket,
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
}

const LAN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 200));

impl Follower {
    pub(crate) fn new(offered: Offered) -> Self {
        let grant = &offered.grant;
        let (suite, tree, leaf) = (grant.domain.suite, grant.tree, offered.keys.leaf.clone());
        let path = KeyPath::new(suite, tree, grant.degree, grant.reg_no, leaf, grant.leaf_steps);
        let verifier = Arc::new(Ed25519Verifier);
        let gate = Gate::new(grant.domain, grant.manager, grant.state, grant.prefilter.clone(), verifier);
        Self { offered, gate, path, held: None, alarm: None, revocations: Vec::new() }
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

    fn hear(&mut self, now: Instant, bytes: &[u8]) {
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
