//! PRESENCE: the manager's alarm, with what proves it to those who are not its members.

use std::net::SocketAddr;

use crypto::{Label, Signature, Signer};

use super::claim::split;
use super::mandate::{Certified, Mandate};
use super::search::{put_registrars, read_registrars};
use super::{expect, nowhere};
use crate::alarm::Alarm;
use crate::codec::{Reader, Writer};
use crate::envelope::{DatagramKind, Envelope};
use crate::ids::GroupId;
use crate::keys::Domain;
use crate::limits::{MAX_DATAGRAM, MAX_PRESENCE};
use crate::machine::Rejected;

/// A manager's alarm on the discovery address: for searching nodes, for other managers of the group, and for members of
/// the subgroup it held before it lost its state.
///
/// Only [`DiscoveryGate`](super::DiscoveryGate) makes one out of bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// What the certificate in its mandate says; it carries the manager role.
    pub manager: Certified,
    /// Its mandate; the key signs its alarms too.
    pub mandate: Mandate,
    /// Where members register.
    pub registrars: Vec<SocketAddr>,
    /// Suite, group and subgroup of the alarm.
    pub domain: Domain,
    /// Its newest alarm when it was sent.
    pub alarm: Alarm,
    /// The whole datagram, to be passed on.
    pub datagram: Vec<u8>,
}

/// A presence as it was read, before anything of it was proven.
pub(super) struct ReadPresence<'a> {
    pub(super) mandate: Mandate,
    pub(super) registrars: Vec<SocketAddr>,
    pub(super) domain: Domain,
    pub(super) alarm: Alarm,
    pub(super) content: &'a [u8],
    pub(super) signature: Signature,
}

impl Presence {
    /// The datagram, signed by the mandate's key; `None` if it is too long to be passed on, which the mandate's limits
    /// rule out for all but the deepest hierarchies.
    ///
    /// `alarm` is the newest alarm's datagram, signed by the same key.
    pub fn encode(
        group: GroupId,
        mandate: &Mandate,
        registrars: &[SocketAddr],
        alarm: &[u8],
        signer: &dyn Signer,
    ) -> Option<Vec<u8>> {
        let mut writer = Envelope::begin(DatagramKind::Presence, &nowhere(group));
        mandate.encode(&mut writer);
        put_registrars(&mut writer, registrars);
        writer.opaque(alarm);
        let signature = signer.sign(&Self::signed_part(writer.as_bytes()));
        writer.bytes(&signature.0);
        let bytes = writer.into_bytes();
        (bytes.len() <= MAX_PRESENCE).then_some(bytes)
    }

    /// Reads a datagram, without believing any of it.
    pub(super) fn decode(datagram: &[u8], group: GroupId) -> Result<ReadPresence<'_>, Rejected> {
        expect(DatagramKind::Presence, group, datagram)?;
        let (content, signature) = split(datagram)?;
        let mut reader = Reader::new(content);
        reader.take(Envelope::LEN)?;
        let mandate = Mandate::decode(&mut reader)?;
        let registrars = read_registrars(&mut reader)?;
        let alarm = reader.opaque(MAX_DATAGRAM, "alarm")?;
        reader.finish()?;
        let envelope = Envelope::for_group(alarm, group)?;
        if envelope.kind != DatagramKind::Alarm {
            return Err(Rejected::Malformed);
        }
        let (alarm, ..) = Alarm::decode(alarm)?;
        Ok(ReadPresence { mandate, registrars, domain: envelope.domain, alarm, content, signature })
    }

    pub(super) fn signed_part(content: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.text(Label::SignPresence.as_str()).bytes(content);
        writer.into_bytes()
    }
}
