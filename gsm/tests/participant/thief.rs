//! Somebody who was told everything once, keeps it for ever, and is given every packet: what does it derive?

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crypto::{Ed25519Verifier, ExchangeSecret, PublicKey, Secret};
use gsm::JournalEntry;
use keytree::{KeyPath, RekeyView, TreeId};
use protocol::{
    Alarm, Budget, DatagramKind, Domain, Envelope, Epoch, Gate, Registration, Renewal, SenderId, StateId,
    Term, ToMember, UpdatePacket,
};

use crate::lan::{Certificates, Lan};

const LAN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 200));

/// A registration whose secrets it knows, and what follows from them.
struct Stolen {
    sender: SenderId,
    unicast: Secret<32>,
    path: KeyPath,
    held: Option<StateId>,
}

/// What a manager or a standby takes along.
pub(crate) struct Thief {
    domain: Domain,
    own: ExchangeSecret,
    stolen: Vec<Stolen>,
    heard: (usize, usize),
    /// The newest state whose key it has derived.
    newest: Option<StateId>,
    /// The newest of those that were told to members by unicast.
    told: Option<StateId>,
}

impl Thief {
    /// Knows the leaf secret and the unicast key of every registration that is in a journal now, and has the X25519 key of
    /// the node that takes them along.
    pub(crate) fn of(lan: &Lan, manager: usize, node: usize) -> Self {
        let domain = *lan.gsm(manager).domain();
        let certificate = Certificates::certificate(&lan.nodes[node].identity, true);
        let own = ExchangeSecret::from_bytes(Secret::new(Certificates::fingerprint(&certificate)));
        let mut thief = Self { domain, own, stolen: Vec::new(), heard: (0, 0), newest: None, told: None };
        for node in &lan.nodes {
            for (_, bytes) in &node.records {
                if let JournalEntry::Joined(joined) = JournalEntry::decode(bytes).unwrap() {
                    let (suite, degree) = (domain.suite, keytree::Degree::default());
                    let leaf = joined.leaf.clone();
                    let path = KeyPath::new(suite, TreeId(0), degree, joined.reg_no, leaf, joined.leaf_steps);
                    let (sender, unicast) = (joined.sender, joined.unicast.clone());
                    thief.stolen.push(Stolen { sender, unicast, path, held: None });
                }
            }
        }
        thief
    }

    /// Hears everything that was sent on the LAN since it last did.
    pub(crate) fn hear(&mut self, lan: &Lan) {
        let starts = starts(lan);
        for (_, bytes) in &lan.recorded[self.heard.0..] {
            match Envelope::for_domain(bytes, &self.domain).map(|envelope| envelope.kind) {
                Ok(DatagramKind::KeyUpdate) => self.on_update(lan, &starts, bytes),
                Ok(DatagramKind::Renewal) => self.on_renewal(bytes),
                _ => {}
            }
        }
        for bytes in &lan.unicast[self.heard.1..] {
            self.on_told(lan, &starts, bytes);
        }
        self.heard = (lan.recorded.len(), lan.unicast.len());
    }

    fn on_update(&mut self, lan: &Lan, starts: &[(StateId, PublicKey)], bytes: &[u8]) {
        let verifier = Arc::new(Ed25519Verifier);
        let read = |(start, key): &(StateId, PublicKey)| {
            // No update leads on from this epoch, so the gate has no prefilter key to check one with.
            let start = StateId { epoch: Epoch(u32::MAX), ..*start };
            let mut gate = Gate::new(self.domain, *key, start, Secret::new([0; 32]), verifier.clone());
            gate.key_update(lan.now, LAN, Some(Epoch(0)), bytes).ok()
        };
        let Some(packet) = starts.iter().find_map(read) else { return };
        for stolen in &mut self.stolen {
            if stolen.follows(&self.domain, &packet) {
                self.newest = self.newest.max(stolen.held);
            }
        }
    }

    /// It tries its own X25519 key on everybody's secrets.
    fn on_renewal(&mut self, bytes: &[u8]) {
        let Ok(renewal) = Renewal::claimed(&self.domain, bytes) else { return };
        let renewed = |stolen: &Stolen| {
            let leaf = stolen.path.leaf_at(renewal.leaf_steps).ok()?;
            let before = (&leaf, &stolen.unicast);
            let (leaf, unicast) = self.domain.renew(renewal.number, &self.own, &renewal.key, before)?;
            let path = stolen.path.renewed(leaf, renewal.leaf_steps);
            Some(Stolen { sender: stolen.sender, unicast, path, held: None })
        };
        let renewed: Vec<_> = self.stolen.iter().filter_map(renewed).take(64).collect();
        self.stolen.extend(renewed);
    }

    /// What a manager seals for a member, it opens with that member's unicast key.
    fn on_told(&mut self, lan: &Lan, starts: &[(StateId, PublicKey)], bytes: &[u8]) {
        for Stolen { sender, unicast, .. } in &self.stolen {
            let registration = Registration { domain: &self.domain, sender: *sender, key: unicast };
            let opened = ToMember::open(&registration, bytes).map(protocol::Verified::into_inner);
            if let Ok(ToMember::Resync(answer)) = opened
                && !answer.path.is_empty()
            {
                let read = |(_, key): &(StateId, PublicKey)| {
                    let budget = (lan.now, &mut Budget::new(1, 1));
                    Alarm::verify(&answer.alarm, &self.domain, key, &Ed25519Verifier, budget).ok()
                };
                self.told = self.told.max(starts.iter().find_map(read).map(|alarm| alarm.state));
            }
        }
    }

    /// The newest state that it has the key of, and the newest that it was told of.
    pub(crate) fn knows(&mut self, lan: &Lan) -> Option<StateId> {
        self.hear(lan);
        self.newest.max(self.told)
    }

    /// The newest term of which it has a key.
    pub(crate) fn term(&mut self, lan: &Lan) -> Term {
        self.knows(lan).map_or(Term(0), |state| state.term)
    }
}

impl Stolen {
    fn follows(&mut self, domain: &Domain, packet: &UpdatePacket) -> bool {
        let header = &packet.header;
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
        let right = |root: &Secret<32>| {
            domain.key_check(&domain.group_key(root, header.state), header.state) == header.key_check
        };
        let followed = path.apply_if(&view, |_, root| right(root)).is_ok();
        if followed {
            (self.path, self.held) = (path, Some(header.state));
        }
        followed
    }
}

/// Every start of every manager, and the key it signs with.
fn starts(lan: &Lan) -> Vec<(StateId, PublicKey)> {
    let records = lan.nodes.iter().flat_map(|node| &node.records);
    let started = records.filter_map(|(_, bytes)| match JournalEntry::decode(bytes).unwrap() {
        JournalEntry::Started { term, inst, promised, .. } => {
            Some((StateId { term, inst, epoch: Epoch(0) }, promised.manager))
        }
        _ => None,
    });
    started.collect()
}
