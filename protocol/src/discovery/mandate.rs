//! What binds a manager's signing key to its certificate.

use crypto::{Label, PublicKey, Roles};

use crate::codec::{Malformed, Reader, Writer};
use crate::ids::GroupId;
use crate::limits::MAX_MANDATE_CERTIFICATE;

/// The longest signature a certificate's key makes: RSA of 4,096 bits.
const MAX_CERTIFICATE_SIGNATURE: usize = 512;

/// A certificate's word that a signing key is its holder's, for managing one group.
///
/// Made by the driver at its start, since no core holds the certificate's key; carried by every claim and presence. A
/// certificate above [`MAX_MANDATE_CERTIFICATE`] makes none: such a node is found by REPLY and TLS alone, and cannot
/// stand for election.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mandate {
    /// The key that signs for the manager: key updates, alarms, claims, presences.
    pub key: PublicKey,
    /// The certificate (DER).
    pub certificate: Vec<u8>,
    /// By the certificate's key, over [`Mandate::message`].
    pub signature: Vec<u8>,
}

impl Mandate {
    /// What the certificate's key signs.
    pub fn message(group: GroupId, key: &PublicKey) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.text(Label::SignMandate.as_str()).group(group).bytes(&key.0);
        writer.into_bytes()
    }

    /// Whether it is short enough for the datagrams that carry it.
    pub fn fits(&self) -> bool {
        self.certificate.len() <= MAX_MANDATE_CERTIFICATE
            && self.certificate.len() + self.signature.len() <= MAX_MANDATE_CERTIFICATE + 80
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.bytes(&self.key.0).opaque(&self.certificate).opaque(&self.signature);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            key: PublicKey(reader.array()?),
            certificate: reader.opaque(MAX_MANDATE_CERTIFICATE, "certificate")?.to_vec(),
            signature: reader.opaque(MAX_CERTIFICATE_SIGNATURE, "certificate signature")?.to_vec(),
        })
    }
}

/// What a certificate of the group's authority says of its holder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certified {
    /// The name in it.
    pub identity: String,
    /// The roles it grants.
    pub roles: Roles,
    /// SHA-256 of it.
    pub fingerprint: [u8; 32],
}

/// Checks what a certificate's key signed. Handed to a machine at construction: OpenSSL in the program.
pub trait Certifier: Send + Sync {
    /// What `certificate` says, if it is valid now, comes from the group's authority by the rules TLS goes by, and
    /// `signature` is its key's over `message`.
    ///
    /// Costs a chain and a signature check, so the caller has a budget. A wrong answer makes a stranger manager.
    fn certify(&self, certificate: &[u8], message: &[u8], signature: &[u8]) -> Option<Certified>;
}
