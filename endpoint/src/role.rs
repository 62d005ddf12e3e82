//! A node's part in a group, connected to driver and data plane.
//!
//! The machine is a [`Participant`]: member or manager, and able to go from one to the other. What that changes outside
//! of it is here and nowhere else: keys and addresses follow its events, the listener follows [`Driven::accepts`], and
//! the journal is written by whichever machine is at work. Streams, replay windows and sockets stay as they are.

use std::net::SocketAddr;
use std::sync::Arc;

use crypto::{Ed25519Signer, Ed25519Verifier, Signer};
use gsm::{Eligible, ManagerConfig, NotEligible, Part, Participant, ParticipantConfig, ParticipantEvent};
use member::{Discovery, MemberConfig};
use protocol::discovery::Mandate;
use protocol::{Commit, GroupId};

use crate::clock::Clock;
use crate::driver::{Driven, Effect, Listen};
use crate::group::ManagerSettings;
use crate::host::{Host, StartError};
use crate::node::{NodeKeys, system_randomness};
use crate::state::Past;

impl Driven for Participant {
    fn effect(event: &ParticipantEvent) -> Effect<'_> {
        if let Some(ring) = event.ring() {
            return Effect::Keys(ring);
        }
        match event.place() {
            Some(place) => {
                Effect::Listen(Listen { control: place.control, data: place.data, ttl: place.ttl })
            }
            None => Effect::None,
        }
    }

    fn discovers_at(&self) -> Option<SocketAddr> {
        Self::discovers_at(self)
    }

    fn accepts(&self) -> bool {
        Self::accepts(self)
    }

    fn compaction(&mut self) -> Option<(Commit, Vec<u8>)> {
        Self::compaction(self)
    }
}

/// What a participant is built with.
pub(crate) struct Role {
    pub(crate) group: GroupId,
    pub(crate) part: Part,
    pub(crate) registrars: Vec<SocketAddr>,
    pub(crate) settings: ManagerSettings,
    /// For a node that may manage: what signs for it, and what it was.
    pub(crate) office: Option<Office>,
}

/// What a node that may manage brings.
pub(crate) struct Office {
    pub(crate) signer: Ed25519Signer,
    pub(crate) past: Past,
}

impl Role {
    /// The machine, before its first input.
    pub(crate) fn begin(self, host: &Host) -> Result<Participant, StartError> {
        let Self { group, part, registrars, settings, office } = self;
        let own = host.certificate();
        let keys = NodeKeys::generate();
        let discovery = Discovery {
            address: host.discovery_address(group),
            certifier: host.certifier(),
            fingerprint: own.fingerprint,
            identity: own.identity.clone(),
        };
        let mut member = MemberConfig {
            group,
            registrars,
            signer: Arc::new(keys.signing),
            exchange: Arc::new(keys.exchange),
            verifier: Arc::new(Ed25519Verifier),
            discovery: Some(discovery),
        };
        let mut past = Past::default();
        let mut eligible = None;
        if let Some((office, registrar)) = office.zip(host.registrar()) {
            past = office.past;
            let mandate = mandate(host, group, &office.signer, part, &mut member);
            let config = mandate.map(|mandate| manager_config(host, settings, registrar, mandate));
            // A member that takes over is known to the others by the key in its credential.
            let signer: Arc<dyn Signer> = Arc::new(office.signer);
            member.signer = Arc::clone(&signer);
            eligible = config.map(|config| Eligible { config, signer: Box::new(signer) });
        }
        let config = ParticipantConfig { part, member };
        let Past { remembered, journal, .. } = past;
        let begun = Participant::new(Clock.now(), config, eligible, system_randomness(), remembered, journal);
        begun.map_err(|NotEligible| {
            StartError::Setting(format!("{}: {NotEligible}: issue one with it", own.identity))
        })
    }
}

/// The certificate's word for the signing key. A certificate that cannot give it still manages where it is told to, by
/// configured addresses alone.
fn mandate(
    host: &Host,
    group: GroupId,
    signer: &Ed25519Signer,
    part: Part,
    member: &mut MemberConfig,
) -> Option<Mandate> {
    let key = signer.public_key();
    let given = host.mandate(group, key);
    if given.is_none() && part == Part::Manager {
        tracing::warn!("this manager is found by configured addresses only");
        member.discovery = None;
        return Some(Mandate { key, certificate: Vec::new(), signature: Vec::new() });
    }
    given
}

fn manager_config(
    host: &Host,
    settings: ManagerSettings,
    registrar: SocketAddr,
    mandate: Mandate,
) -> ManagerConfig {
    let own = host.certificate();
    let ManagerSettings { address, ttl, suite, degree, packet_size, timing, access, priority, merges } =
        settings;
    ManagerConfig {
        suite,
        degree,
        identity: own.identity.clone(),
        certificate: own.fingerprint,
        address: host.control_address(),
        registrars: vec![registrar],
        multicast: address,
        control_port: host.control_port(),
        data_port: host.data_port(),
        ttl,
        packet_size,
        timing,
        access,
        mandate,
        priority,
        merges,
    }
}
