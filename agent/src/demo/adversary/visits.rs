//! The evicted node asks: for lost key updates, for its path of the key tree, for a new registration.

use std::net::SocketAddr;

use conclave::{Group, Interface, JoinError, UnicastSocket};
use crypto::Secret;
use protocol::{ALL_MISSING, ANY_BLOCK, Grant, Nak, Registration, StateId, Term, ToManager, ToMember};
use rand_core::{CryptoRng, Rng, UnwrapErr};

use super::Shared;
use super::hoard::lock;
use crate::demo::lines::Event;
use crate::demo::node::{Node, NodeError, Voice};

/// Room for the longest answer.
const BUFFER: usize = 65_536;

/// What the evicted node asks for, and how often it was answered. The member inside its machine asks as well, by the
/// rules; this asks past them.
pub(super) struct Visits {
    name: String,
    voice: Voice,
    hoard: Shared,
    grant: Grant,
    unicast: Secret<32>,
    socket: UnicastSocket,
    buffer: Vec<u8>,
    naks: u64,
    resyncs: u64,
    answers: u64,
    /// The term in which it last tried to register again.
    registered_in: Option<Term>,
}

impl Visits {
    /// Prepares to ask, from a port of its own. `None` as long as there is no registration to go back to.
    pub(super) fn new(
        name: &str,
        voice: &Voice,
        interface: &Interface,
        hoard: &Shared,
    ) -> Result<Option<Self>, NodeError> {
        let Some((peer, grant)) = lock(hoard).registration().cloned() else { return Ok(None) };
        let keys = grant.domain.registration(&peer.channel, grant.state.inst, grant.reg_no);
        Ok(Some(Self {
            name: name.to_owned(),
            voice: voice.clone(),
            hoard: hoard.clone(),
            unicast: keys.unicast,
            socket: UnicastSocket::bind(interface, 0)?,
            grant,
            buffer: vec![0; BUFFER],
            naks: 0,
            resyncs: 0,
            answers: 0,
            registered_in: None,
        }))
    }

    /// The manager's address from now on: it may come back with another one.
    pub(super) const fn find_at(&mut self, manager: SocketAddr) {
        self.grant.manager_address = manager;
    }

    /// Asks for the key update to `wanted` in the name of every state ever held, and for the path; the first time in
    /// each of the manager's terms it also registers again.
    pub(super) async fn ask(&mut self, node: &Node, wanted: StateId) -> Result<(), NodeError> {
        if self.registered_in.replace(wanted.term) != Some(wanted.term) {
            self.register_again(node).await?;
        }
        let (control, ttl) = (self.grant.control, self.grant.ttl);
        for nak in self.naks(wanted) {
            // What the network does not take is as lost as any datagram.
            let _ = self.socket.multicast(&nak, control, ttl).await;
            self.naks += 1;
        }
        let request = ToManager::Resync { nonce: randomness().next_u64(), held: None };
        let sealed = request.seal(&self.registration(), &mut randomness());
        let _ = self.socket.send(&sealed, self.grant.manager_address).await;
        self.resyncs += 1;
        self.tell();
        Ok(())
    }

    /// Waits for an answer and counts it. Cancelling loses nothing.
    pub(super) async fn answered(&mut self) -> Result<(), NodeError> {
        let (len, _) = self.socket.recv(&mut self.buffer).await?;
        if ToMember::open(&self.registration(), &self.buffer[..len]).is_ok() {
            self.answers += 1;
            self.tell();
        }
        Ok(())
    }

    fn tell(&self) {
        let Self { naks, resyncs, answers, .. } = *self;
        self.voice.say(Event::Asked { node: self.name.clone(), naks, resyncs, answers });
    }

    const fn registration(&self) -> Registration<'_> {
        Registration { domain: &self.grant.domain, sender: self.grant.sender, key: &self.unicast }
    }

    fn naks(&self, wanted: StateId) -> Vec<Vec<u8>> {
        let domain = &self.grant.domain;
        let hoard = lock(&self.hoard);
        let nak = |(state, key): (&StateId, &Secret<32>)| {
            let nak = Nak {
                wanted,
                held: state.epoch,
                reg_no: self.grant.reg_no,
                block: ANY_BLOCK,
                missing: ALL_MISSING,
                loss: protocol::UNKNOWN_LOSS,
                nonce: randomness().next_u64(),
            };
            nak.encode(domain, &domain.prefilter(key, *state))
        };
        hoard.group_keys().iter().map(nak).collect()
    }

    /// Registers with the same certificate, as a new process would.
    async fn register_again(&self, node: &Node) -> Result<(), NodeError> {
        let mut group = Group::start(&node.host().await?, node.options()).await?;
        let (node, voice) = (self.name.clone(), self.voice.clone());
        tokio::spawn(async move {
            let outcome = loop {
                match group.joined().await {
                    Err(JoinError::Unreachable { .. }) => {}
                    outcome => break outcome,
                }
            };
            let (admitted, why) = match outcome {
                Ok(_) => (true, String::new()),
                Err(error) => (false, error.to_string()),
            };
            voice.say(Event::Reregistered { node, admitted, why });
            group.stop().await;
        });
        Ok(())
    }
}

fn randomness() -> impl CryptoRng {
    UnwrapErr(getrandom::SysRng)
}
