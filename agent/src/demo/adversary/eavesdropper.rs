//! What the adversary makes of data packets it catches with a socket of its own.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use crypto::{Aead, Label, Secret, derive, key_unwrap};
use data::{KeyRing, Opened, Opener, Outer, Packet, ReceiveKey, StreamId};
use protocol::{Grant, Instant, SenderId, StateId};

use super::Shared;
use super::hoard::lock;
use crate::demo::lines::{Event, Key};
use crate::demo::stream::{Run, Runs};

/// Data keys of earlier generations tried on each packet: those of the last three seconds and a little more.
const MAX_DATA_KEYS: usize = 64;
/// Packets kept that it could not read, to be tried again with every key that comes later.
const MAX_UNREAD: usize = 8_192;
/// Openers are told a source for their fairness between sources; here all packets are caught.
const SOURCE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Catches data packets and tries to read each in three ways: as it is, with every group key ever held, none of them
/// ever cut; rewritten to name each of these keys in turn; and past all rules of the format with every data key it
/// had, its own or an earlier one.
pub(super) struct Eavesdropper {
    name: String,
    hoard: Shared,
    /// Holds every group key ever held.
    with_all: Option<Opener>,
    /// One for each group key, and its state.
    with_one: BTreeMap<StateId, Opener>,
    keys: BTreeMap<StateId, Secret<32>>,
    data_keys: VecDeque<Secret<32>>,
    aead: Aead,
    unread: VecDeque<Vec<u8>>,
    /// The stream of the file: the first that was heard.
    file: Option<(SenderId, StreamId)>,
    /// The states that signed messages named, by the names that packets have for them.
    states: BTreeMap<u32, StateId>,
    runs: Runs<Catch>,
}

/// What is told of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Catch {
    key: Key,
    file: bool,
    read: bool,
}

impl Eavesdropper {
    pub(super) fn new(name: &str, hoard: Shared) -> Self {
        Self {
            name: name.to_owned(),
            hoard,
            with_all: None,
            with_one: BTreeMap::new(),
            keys: BTreeMap::new(),
            data_keys: VecDeque::new(),
            aead: Aead::new(),
            unread: VecDeque::new(),
            file: None,
            states: BTreeMap::new(),
            runs: Runs::new(),
        }
    }

    /// Learns that there is such a state: by a key update, whether it opened it or not.
    pub(super) fn learn_of(&mut self, state: StateId) {
        self.states.insert(state.key_id(), state);
    }

    /// Takes a datagram of the data address. Returns what there is to say now.
    pub(super) fn catch(&mut self, now: Instant, datagram: &[u8]) -> Vec<Event> {
        let Ok(packet) = Packet::decode(datagram) else { return Vec::new() };
        let mut told = self.learn(now);
        let read = self.read(now, datagram, &packet);
        if !read {
            self.unread.push_back(datagram.to_vec());
            self.unread.truncate(MAX_UNREAD);
        }
        told.extend(self.note(&packet, read));
        told
    }

    /// Says what was caught since it was last said.
    pub(super) fn report(&mut self) -> Vec<Event> {
        self.runs.take().map(|run| self.event(run)).into_iter().collect()
    }

    fn note(&mut self, packet: &Packet<'_>, read: bool) -> Option<Event> {
        let stream = (packet.inner.sender, packet.inner.stream);
        let file = *self.file.get_or_insert(stream) == stream;
        let catch = Catch { key: self.claimed(packet), file, read };
        self.runs.add(packet.inner.sequence, catch).map(|run| self.event(run))
    }

    /// The key a packet claims to be under. It names term and epoch by a digest and the epoch by its number, so of a
    /// state never heard of the term is a guess.
    fn claimed(&self, packet: &Packet<'_>) -> Key {
        let outer = &packet.outer;
        let named = self
            .states
            .get(&outer.key_id)
            .or_else(|| self.keys.keys().find(|state| state.key_id() == outer.key_id));
        let newest = || self.states.values().max().map_or(0, |state| state.term.0);
        Key { term: named.map_or_else(newest, |state| state.term.0), epoch: outer.epoch.0 }
    }

    fn event(&self, run: Run<Catch>) -> Event {
        let Run { fact: Catch { key, file, read }, first, last } = run;
        Event::Intercepted { node: self.name.clone(), key, first, last, file, read }
    }

    /// Takes up the group keys that were hoarded since, and tries again what was not read so far.
    fn learn(&mut self, now: Instant) -> Vec<Event> {
        let (keys, grant) = {
            let hoard = lock(&self.hoard);
            let Some(grant) = hoard.grant() else { return Vec::new() };
            if hoard.group_keys().len() == self.keys.len() {
                return Vec::new();
            }
            (hoard.group_keys().clone(), grant.clone())
        };
        for (state, key) in &keys {
            self.with_one.entry(*state).or_insert_with(|| opener(now, &grant, [(*state, key)]));
        }
        let all = keys.iter().map(|(state, key)| (*state, key));
        match &mut self.with_all {
            Some(opener) => {
                opener.set_ring(now, &ring(&grant, all));
                // What waited in there is among the unread and tried again below.
                while opener.poll_waiting(now).is_some() {}
            }
            none => *none = Some(opener(now, &grant, all)),
        }
        self.keys = keys;
        self.try_again(now)
    }

    fn try_again(&mut self, now: Instant) -> Vec<Event> {
        let mut told = Vec::new();
        for datagram in std::mem::take(&mut self.unread) {
            let Ok(packet) = Packet::decode(&datagram) else { continue };
            if self.read(now, &datagram, &packet) {
                told.extend(self.note(&packet, true));
            } else {
                self.unread.push_back(datagram);
            }
        }
        told
    }

    /// Whether the packet can be read in any way.
    fn read(&mut self, now: Instant, datagram: &[u8], packet: &Packet<'_>) -> bool {
        let as_it_is = self.with_all.as_mut().is_some_and(|opener| opens(opener, now, datagram));
        let rewritten = self.with_one.iter_mut().any(|(state, opener)| {
            let outer = Outer { key_id: state.key_id(), epoch: state.epoch, ..packet.outer };
            let mut bytes = Vec::with_capacity(datagram.len());
            Packet { outer, ..*packet }.encode(&mut bytes);
            opens(opener, now, &bytes)
        });
        let by_hand = self.read_by_hand(packet);
        as_it_is || rewritten || by_hand
    }

    /// Unwraps the data key with every group key, and tries it and all earlier ones, whatever the packet says of its
    /// generation or its commitment.
    fn read_by_hand(&mut self, packet: &Packet<'_>) -> bool {
        for (state, key) in &self.keys {
            let wrap_key = wrap_key(key, *state, packet);
            let Ok(data_key) = key_unwrap(&wrap_key, &packet.outer.wrapped) else { continue };
            if !self.data_keys.contains(&data_key) {
                self.data_keys.push_front(data_key);
                self.data_keys.truncate(MAX_DATA_KEYS);
            }
        }
        let (aead, mut plain) = (&mut self.aead, Vec::new());
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&packet.inner.sequence.to_be_bytes());
        let aad = packet.inner.to_bytes();
        self.data_keys.iter().any(|key| aead.open(key, &nonce, &aad, packet.sealed, &mut plain).is_ok())
    }
}

fn opens(opener: &mut Opener, now: Instant, datagram: &[u8]) -> bool {
    matches!(opener.open(now, datagram, SOURCE), Opened::Delivered(_))
}

/// An opener that holds these keys and never cuts one.
fn opener<'a>(
    now: Instant,
    grant: &Grant,
    keys: impl IntoIterator<Item = (StateId, &'a Secret<32>)>,
) -> Opener {
    let mut opener = Opener::new();
    opener.set_ring(now, &ring(grant, keys));
    opener
}

fn ring<'a>(grant: &Grant, keys: impl IntoIterator<Item = (StateId, &'a Secret<32>)>) -> KeyRing {
    let mut ring =
        KeyRing::empty(grant.domain.suite, grant.domain.group, grant.domain.subgroup, grant.sender);
    let receive = |(state, key): (StateId, &Secret<32>)| ReceiveKey { state, key: key.clone(), until: None };
    ring.receive = keys.into_iter().map(receive).collect();
    ring
}

/// The key that wraps data keys under a group key, as every member derives it.
pub(super) fn wrap_key(group_key: &Secret<32>, state: StateId, packet: &Packet<'_>) -> Secret<32> {
    let Outer { suite, group, subgroup, sender, hop, .. } = packet.outer;
    let context: [&[u8]; 6] = [
        group.as_bytes(),
        &subgroup.0.to_be_bytes(),
        &state.to_bytes(),
        &sender.0.to_be_bytes(),
        &[hop],
        &packet.inner.stream.0.to_be_bytes(),
    ];
    derive(suite, group_key, Label::KrWrap, &context)
}
