//! Who may act: credentials, the roster of eligible successors, and revocations.

use crypto::{Label, PublicKey, Signature, Signer, Suite, Verifier, hash};

use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::Envelope;
use crate::ids::{GroupId, RosterVersion, SenderId};
use crate::keys::Domain;
use crate::limits::MAX_ROSTER;

/// The manager's word that a sender id belongs to an Ed25519 key.
///
/// Given to the member in its grant; other members and other subgroups check it when the member signs something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credential {
    /// The registration.
    pub sender: SenderId,
    /// The member's signing key, from its JOIN.
    pub key: PublicKey,
    /// Whether its certificate allows it to act as manager.
    pub eligible: bool,
    /// The manager's signature over the above, the group and the subgroup.
    pub signature: Signature,
}

impl Credential {
    /// Signs a credential for a member of `domain`.
    pub fn sign(
        domain: &Domain,
        sender: SenderId,
        key: PublicKey,
        eligible: bool,
        signer: &dyn Signer,
    ) -> Self {
        let signature = signer.sign(&Self::message(domain, sender, &key, eligible));
        Self { sender, key, eligible, signature }
    }

    /// Whether `manager` signed it for `domain`.
    pub fn verify(&self, domain: &Domain, manager: &PublicKey, verifier: &dyn Verifier) -> bool {
        let message = Self::message(domain, self.sender, &self.key, self.eligible);
        verifier.verify(manager, &message, &self.signature)
    }

    fn message(domain: &Domain, sender: SenderId, key: &PublicKey, eligible: bool) -> Vec<u8> {
        let mut writer = signed(Label::SignCredential, domain);
        writer.sender(sender).bytes(&key.0).bool(eligible);
        writer.into_bytes()
    }

    /// Reads one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            sender: reader.sender()?,
            key: PublicKey(reader.array()?),
            eligible: reader.bool()?,
            signature: Signature(reader.array()?),
        })
    }

    /// Writes one.
    pub fn encode(&self, writer: &mut Writer) {
        writer.sender(self.sender).bytes(&self.key.0).bool(self.eligible).bytes(&self.signature.0);
    }
}

/// The members that may become manager, lowest sender id first, signed by the manager.
///
/// A member gets the one of the time in its grant, and checks its signature. Alarms name the version of the newest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    /// Counts rosters of one manager start; 0 is the empty one before any eligible member joined.
    pub version: RosterVersion,
    /// Sender id and signing key of each, ascending; at most [`MAX_ROSTER`].
    pub eligible: Vec<(SenderId, PublicKey)>,
    /// The manager's signature over the above, the group and the subgroup.
    pub signature: Signature,
}

impl Roster {
    /// Signs a roster.
    pub fn sign(
        domain: &Domain,
        version: RosterVersion,
        eligible: Vec<(SenderId, PublicKey)>,
        signer: &dyn Signer,
    ) -> Self {
        let signature = signer.sign(&Self::message(domain, version, &eligible));
        Self { version, eligible, signature }
    }

    /// Whether `manager` signed it for `domain`.
    pub fn verify(&self, domain: &Domain, manager: &PublicKey, verifier: &dyn Verifier) -> bool {
        verifier.verify(manager, &Self::message(domain, self.version, &self.eligible), &self.signature)
    }

    fn message(domain: &Domain, version: RosterVersion, eligible: &[(SenderId, PublicKey)]) -> Vec<u8> {
        let mut writer = signed(Label::SignRoster, domain);
        writer.roster_version(version).list(eligible, |writer, (sender, key)| {
            writer.sender(*sender).bytes(&key.0);
        });
        writer.into_bytes()
    }

    /// Reads one; members out of order or twice make it malformed.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let version = reader.roster_version()?;
        let eligible =
            reader.list(MAX_ROSTER, "roster", |reader| Ok((reader.sender()?, PublicKey(reader.array()?))))?;
        if !eligible.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Malformed::Invalid("roster order"));
        }
        Ok(Self { version, eligible, signature: Signature(reader.array()?) })
    }

    /// Writes one.
    pub fn encode(&self, writer: &mut Writer) {
        writer.roster_version(self.version);
        writer.list(&self.eligible, |writer, (sender, key)| {
            writer.sender(*sender).bytes(&key.0);
        });
        writer.bytes(&self.signature.0);
    }
}

/// An identity or a certificate that must never get a key again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Revocation {
    /// Hash of the identity ([`Revocation::identity_hash`]): names stay out of messages.
    pub identity: [u8; 32],
    /// SHA-256 of the certificate it held when it was evicted.
    pub certificate: [u8; 32],
}

impl Revocation {
    /// The hash that stands for an identity. The same in every suite, for a list outlives a change of suite.
    pub fn identity_hash(identity: &str) -> [u8; 32] {
        hash(Suite::Aes256Ctr, Label::IdentityHash, &[identity.as_bytes()])
    }

    /// Reads one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { identity: reader.array()?, certificate: reader.array()? })
    }

    /// Writes one.
    pub fn encode(&self, writer: &mut Writer) {
        writer.bytes(&self.identity).bytes(&self.certificate);
    }
}

/// A revocation with its manager's word for it, so that whoever holds it can show it to others: members to a manager
/// that came back from an older store, above all.
///
/// Group-wide: it names no subgroup, and the manager that takes one over from another signs it anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedRevocation {
    /// Who must never get a key again.
    pub revocation: Revocation,
    /// The manager's signature over it and the group.
    pub signature: Signature,
}

impl SignedRevocation {
    /// Signs a revocation for the group.
    pub fn sign(group: GroupId, revocation: Revocation, signer: &dyn Signer) -> Self {
        Self { revocation, signature: signer.sign(&Self::message(group, &revocation)) }
    }

    /// Whether `manager` signed it for the group. A wrong yes would shut somebody out at a stranger's word.
    pub fn verify(&self, group: GroupId, manager: &PublicKey, verifier: &dyn Verifier) -> bool {
        verifier.verify(manager, &Self::message(group, &self.revocation), &self.signature)
    }

    fn message(group: GroupId, revocation: &Revocation) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.text(Label::SignRevocation.as_str()).group(group);
        revocation.encode(&mut writer);
        writer.into_bytes()
    }

    /// Reads one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { revocation: Revocation::decode(reader)?, signature: Signature(reader.array()?) })
    }

    /// Writes one.
    pub fn encode(&self, writer: &mut Writer) {
        self.revocation.encode(writer);
        writer.bytes(&self.signature.0);
    }
}

/// The digest of roster version and revocations that every key update and alarm carries.
///
/// `revocations` is in ascending order, so all who hold the same set compute the same digest.
pub fn policy_digest<'a>(
    domain: &Domain,
    version: RosterVersion,
    revocations: impl Iterator<Item = &'a Revocation>,
) -> [u8; 16] {
    let mut writer = Writer::new();
    revocations.for_each(|revocation| revocation.encode(&mut writer));
    let parts: [&[u8]; 4] = [
        domain.group.as_bytes(),
        &domain.subgroup.0.to_be_bytes(),
        &version.0.to_be_bytes(),
        writer.as_bytes(),
    ];
    let digest = hash(domain.suite, Label::RosterDigest, &parts);
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// Begins a message to be signed: the label keeps signatures of one kind from being taken for another.
pub(crate) fn signed(label: Label, domain: &Domain) -> Writer {
    signed_with_room(label, domain, 0)
}

/// The same with room for `more` bytes.
pub(crate) fn signed_with_room(label: Label, domain: &Domain, more: usize) -> Writer {
    let mut writer = Writer::with_capacity(label.as_str().len() + Envelope::LEN + more);
    writer.text(label.as_str()).u16(domain.suite.code()).group(domain.group).subgroup(domain.subgroup);
    writer
}
