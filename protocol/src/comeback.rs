//! What a manager and its members say when it comes back, or gives way: QUESTION, ANSWER, REVOCATIONS, FAREWELL.
//!
//! All are under the subgroup's envelope. QUESTION, REVOCATIONS and FAREWELL are multicast on the control address and
//! verified by the member's [`Gate`](crate::Gate); ANSWER is unicast to the manager and proves itself.

use std::net::SocketAddr;

use crypto::{Label, PublicKey, Signature, Signer, Verifier};

use crate::alarm::Alarm;
use crate::codec::{Malformed, Reader, Writer};
use crate::envelope::{DatagramKind, Envelope, Verified};
use crate::ids::{Inst, SubgroupId};
use crate::keys::Domain;
use crate::limits::{MAX_DATAGRAM, MAX_REVOCATIONS_A_PACKET};
use crate::machine::Rejected;
use crate::roster::{SignedRevocation, signed};

/// "What is the newest you saw of me?" A starting manager asks it before it speaks, lest it go on from a store that is
/// older than what its members hold (attack A35).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// The start that asks.
    pub inst: Inst,
    /// Random; echoed by the answers.
    pub nonce: u64,
    /// Where to answer to.
    pub answer_to: SocketAddr,
    /// Of 65,536 members this many shall answer, each by its own dice; all if it is 65,535.
    pub share: u16,
}

/// A member's answer: the newest alarm it verified and revocations it holds, newest first. All of it is signed by the
/// manager itself, so whoever sends it can only tell the truth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// From the question.
    pub nonce: u64,
    /// The newest alarm verified.
    pub alarm: Alarm,
    /// Revocations, at most [`MAX_REVOCATIONS_A_PACKET`] a datagram; a member sends as many datagrams as it takes, up to
    /// a bound.
    pub revocations: Vec<SignedRevocation>,
}

/// "Register with that manager instead": the manager found another one of its group and gives way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Farewell {
    /// The other manager's subgroup.
    pub subgroup: SubgroupId,
    /// Where to register.
    pub registrar: SocketAddr,
}

impl Question {
    /// The start that claims to ask. Nothing is proven: it only says which question is not worth a signature check.
    pub fn asker(datagram: &[u8]) -> Result<Inst, Rejected> {
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        Ok(Inst(reader.u64()?))
    }

    /// The datagram, signed.
    pub fn encode(&self, domain: &Domain, signer: &dyn Signer) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Question, domain);
        writer.u64(self.inst.0).u64(self.nonce).socket_addr(self.answer_to).u16(self.share);
        finish(Label::SignQuestion, domain, writer, signer)
    }

    pub(crate) fn open(
        datagram: &[u8],
        domain: &Domain,
        manager: &PublicKey,
        verifier: &dyn Verifier,
    ) -> Result<Option<Self>, Malformed> {
        open(Label::SignQuestion, datagram, domain, manager, verifier, |reader| {
            Ok(Self {
                inst: Inst(reader.u64()?),
                nonce: reader.u64()?,
                answer_to: reader.socket_addr()?,
                share: reader.u16()?,
            })
        })
    }
}

impl Farewell {
    /// The datagram, signed.
    pub fn encode(&self, domain: &Domain, signer: &dyn Signer) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Farewell, domain);
        writer.subgroup(self.subgroup).socket_addr(self.registrar);
        finish(Label::SignFarewell, domain, writer, signer)
    }

    pub(crate) fn open(
        datagram: &[u8],
        domain: &Domain,
        manager: &PublicKey,
        verifier: &dyn Verifier,
    ) -> Result<Option<Self>, Malformed> {
        open(Label::SignFarewell, datagram, domain, manager, verifier, |reader| {
            Ok(Self { subgroup: reader.subgroup()?, registrar: reader.socket_addr()? })
        })
    }
}

impl Answer {
    /// The datagram. `alarm` is the alarm's own datagram.
    pub fn encode(domain: &Domain, nonce: u64, alarm: &[u8], revocations: &[SignedRevocation]) -> Vec<u8> {
        let mut writer = Envelope::begin(DatagramKind::Answer, domain);
        writer.u64(nonce).opaque(alarm);
        put_revocations(&mut writer, revocations);
        writer.into_bytes()
    }

    /// Reads an answer at the manager whose key is `manager`, and checks that key's signatures on everything in it. The
    /// caller has a budget: it costs one signature check, and one for each revocation.
    pub fn open(
        datagram: &[u8],
        domain: &Domain,
        manager: &PublicKey,
        verifier: &dyn Verifier,
    ) -> Result<Verified<Self>, Rejected> {
        if Envelope::for_domain(datagram, domain)?.kind != DatagramKind::Answer {
            return Err(Rejected::NotForUs);
        }
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let nonce = reader.u64()?;
        let alarm = reader.opaque(MAX_DATAGRAM, "alarm")?;
        let revocations = read_revocations(&mut reader)?;
        reader.finish()?;
        if Envelope::for_domain(alarm, domain)?.kind != DatagramKind::Alarm {
            return Err(Rejected::Malformed);
        }
        let alarm = Alarm::open(alarm, domain, manager, verifier)?.ok_or(Rejected::NotAuthentic)?;
        if !revocations.iter().all(|revocation| revocation.verify(domain.group, manager, verifier)) {
            return Err(Rejected::NotAuthentic);
        }
        Ok(Verified::new(Self { nonce, alarm, revocations }))
    }
}

/// The datagram that names revocations, multicast after an eviction; each proves itself.
pub fn encode_revocations(domain: &Domain, revocations: &[SignedRevocation]) -> Vec<u8> {
    let mut writer = Envelope::begin(DatagramKind::Revocations, domain);
    put_revocations(&mut writer, revocations);
    writer.into_bytes()
}

/// Reads such a datagram, without believing it.
pub(crate) fn decode_revocations(datagram: &[u8]) -> Result<Vec<SignedRevocation>, Malformed> {
    let mut reader = Reader::new(datagram);
    reader.take(Envelope::LEN)?;
    let revocations = read_revocations(&mut reader)?;
    reader.finish()?;
    Ok(revocations)
}

fn put_revocations(writer: &mut Writer, revocations: &[SignedRevocation]) {
    writer.list(revocations, |writer, revocation| revocation.encode(writer));
}

fn read_revocations(reader: &mut Reader<'_>) -> Result<Vec<SignedRevocation>, Malformed> {
    reader.list(MAX_REVOCATIONS_A_PACKET, "revocations", SignedRevocation::decode)
}

fn finish(label: Label, domain: &Domain, mut writer: Writer, signer: &dyn Signer) -> Vec<u8> {
    let signature = signer.sign(&signed_part(label, domain, writer.as_bytes()));
    writer.bytes(&signature.0);
    writer.into_bytes()
}

fn open<M>(
    label: Label,
    datagram: &[u8],
    domain: &Domain,
    manager: &PublicKey,
    verifier: &dyn Verifier,
    read: impl FnOnce(&mut Reader<'_>) -> Result<M, Malformed>,
) -> Result<Option<M>, Malformed> {
    let at = datagram.len().checked_sub(64).ok_or(Malformed::Truncated)?;
    let (content, signature) = datagram.split_at(at);
    let mut reader = Reader::new(content);
    reader.take(Envelope::LEN)?;
    let message = read(&mut reader)?;
    reader.finish()?;
    let signature = Signature(Reader::new(signature).array()?);
    let genuine = verifier.verify(manager, &signed_part(label, domain, content), &signature);
    Ok(genuine.then_some(message))
}

fn signed_part(label: Label, domain: &Domain, content: &[u8]) -> Vec<u8> {
    let mut writer = signed(label, domain);
    writer.bytes(content);
    writer.into_bytes()
}
