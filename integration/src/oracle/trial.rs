//! Real trial: what is sent is tried with the opener of everybody who is out, with every group key it ever held.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crypto::Secret;
use data::{KeyRing, Opened, Opener, ReceiveKey};
use protocol::{Domain, Instant, SenderId, StateId};

use super::roll::Roll;
use crate::dice::Dice;

/// Packets of each state that are tried whatever the dice say.
const FIRST: u64 = 2;
/// Of a thousand others.
const SHARE: u32 = 20;

/// The group keys of every registration, and the packets tried so far.
#[derive(Debug)]
pub(crate) struct Trials {
    domain: Domain,
    keys: BTreeMap<SenderId, Vec<Secret<32>>>,
    tried: BTreeMap<StateId, u64>,
    dice: Dice,
}

impl Trials {
    pub(crate) fn new(domain: Domain, seed: u64) -> Self {
        Self { domain, keys: BTreeMap::new(), tried: BTreeMap::new(), dice: Dice::new(seed, "trials", 0) }
    }

    /// A registration holds a group key, and keeps it for ever.
    pub(crate) fn on_group_key(&mut self, sender: SenderId, key: &Secret<32>) {
        let held = self.keys.entry(sender).or_default();
        if !held.contains(key) {
            held.push(key.clone());
        }
    }

    /// A packet was sent under `state`: nobody who was out then may read it.
    pub(crate) fn on_packet(
        &mut self,
        at: Instant,
        roll: &Roll,
        state: StateId,
        packet: &[u8],
    ) -> Result<(), String> {
        let tried = self.tried.entry(state).or_default();
        *tried += 1;
        if *tried > FIRST && !self.dice.chance(SHARE) {
            return Ok(());
        }
        for (sender, keys) in self.keys.iter().filter(|(sender, _)| !roll.was_in(**sender, state)) {
            if reads(self.domain, at, state, keys, packet) {
                return Err(format!("{sender} reads a packet sent under {state}"));
            }
        }
        Ok(())
    }
}

/// Whether an opener that takes each of `keys` for the key of `state` opens the packet.
fn reads(domain: Domain, at: Instant, state: StateId, keys: &[Secret<32>], packet: &[u8]) -> bool {
    // As nobody in particular, so that no packet is taken for the opener's own.
    let mut ring = KeyRing::empty(domain.suite, domain.group, domain.subgroup, SenderId(0));
    ring.receive.extend(keys.iter().map(|key| ReceiveKey { state, key: key.clone(), until: None }));
    let mut opener = Opener::new();
    opener.set_ring(at, &ring);
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    matches!(opener.open(at, packet, from), Opened::Delivered(_))
}
