//! Every message as a kind: how bytes of it are read and written again, with its proofs made to hold.
//!
//! The proofs are made to hold so that the *form* decides: a MAC is computed for whatever the bytes say, and a
//! signature is believed. What forged proofs come to is the matter of `bit_flips` and `forgeries`.

use std::sync::Arc;
use std::time::Duration;

use crypto::{Aead, Label, PublicKey, Roles, Secret, Signature, Suite, mac};
use proptest::prelude::*;
use protocol::{
    Credential, DatagramKind, Domain, Envelope, Frame, Gate, Nak, Peer, Reader, Registration, Revocation,
    Roster, SenderId, StateId, ToManager, ToMember, UpdateHeader, Writer, seal_update,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng as _};

use super::arbitrary;
use super::comers::{self, Comer};
use super::subgroup::{ELSEWHERE, SIGNATURE_LEN, at, domain, remac};
use super::verifiers::{Credulous, Repeating};

/// Which message some bytes are meant to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Frame,
    Alarm,
    KeyUpdate,
    Nak,
    /// The plaintext of a sealed message.
    ToManager,
    ToMember,
    Credential,
    Roster,
    Revocation,
    Envelope,
    /// Of discovery, or of a manager's comeback.
    Comer(Comer),
}

/// A message of each kind in turn, well-formed.
pub(crate) fn messages() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    let fields = |encode: fn(&mut Writer, &Fields)| {
        move |fields: Fields| {
            let mut writer = Writer::new();
            encode(&mut writer, &fields);
            writer.into_bytes()
        }
    };
    let fields_of = (arbitrary::credential(), arbitrary::roster(), arbitrary::revocation());
    let [credential, roster, revocation] = [
        fields(|writer, fields| fields.0.encode(writer)),
        fields(|writer, fields| fields.1.encode(writer)),
        fields(|writer, fields| fields.2.encode(writer)),
    ];
    let fields_of = fields_of.boxed();
    prop_oneof![
        3 => arbitrary::frame().prop_map(|frame| (Kind::Frame, frame.encode())),
        2 => (arbitrary::domain(), arbitrary::alarm())
            .prop_map(|(domain, alarm)| (Kind::Alarm, alarm.encode(&domain, &Repeating(Signature([5; 64]))))),
        4 => (arbitrary::domain(), arbitrary::header(), arbitrary::raw_body())
            .prop_map(|(domain, header, raw)| (Kind::KeyUpdate, packet(&domain, header, &raw))),
        1 => (arbitrary::domain(), arbitrary::nak())
            .prop_map(|(domain, nak)| (Kind::Nak, nak.encode(&domain, &PREFILTER))),
        1 => arbitrary::to_manager().prop_map(|message| (Kind::ToManager, plain_to_manager(&message))),
        2 => arbitrary::to_member().prop_map(|message| (Kind::ToMember, plain_to_member(&message))),
        1 => fields_of.clone().prop_map(move |fields| (Kind::Credential, credential(fields))),
        1 => fields_of.clone().prop_map(move |fields| (Kind::Roster, roster(fields))),
        1 => fields_of.prop_map(move |fields| (Kind::Revocation, revocation(fields))),
        1 => arbitrary::domain().prop_map(|domain| (
            Kind::Envelope, Envelope::begin(DatagramKind::Alarm, &domain).into_bytes()
        )),
        6 => comers::messages().prop_map(|(kind, bytes)| (Kind::Comer(kind), bytes)),
    ]
}

type Fields = (Credential, Roster, Revocation);

/// Reads `bytes` as a message of a kind and writes it again; `None` if they are refused.
pub(crate) fn reencode(kind: Kind, bytes: &[u8]) -> Option<Vec<u8>> {
    match kind {
        Kind::Frame => Some(Frame::decode(bytes, &peer()).ok()?.into_inner().encode()),
        Kind::Alarm => alarm(bytes),
        Kind::KeyUpdate => key_update(bytes),
        Kind::Nak => nak(bytes),
        Kind::ToManager => to_manager(bytes),
        Kind::ToMember => to_member(bytes),
        Kind::Credential => fields(bytes, Credential::decode, Credential::encode),
        Kind::Roster => fields(bytes, Roster::decode, Roster::encode),
        Kind::Revocation => fields(bytes, Revocation::decode, Revocation::encode),
        Kind::Comer(kind) => comers::reencode(kind, bytes),
        Kind::Envelope => {
            let envelope = Envelope::parse(bytes).ok()?;
            let mut again = Envelope::begin(envelope.kind, &envelope.domain).into_bytes();
            again.extend_from_slice(&bytes[Envelope::LEN..]);
            Some(again)
        }
    }
}

/// Whether bytes after the message are part of it as far as its own reader goes.
pub(crate) fn is_prefix(kind: Kind) -> bool {
    kind == Kind::Envelope
}

pub(crate) static PREFILTER: Secret<32> = Secret::new([0x50; 32]);
static UNICAST: Secret<32> = Secret::new([0x55; 32]);
const SENDER: SenderId = SenderId(0x77);

/// Any peer will do: a frame's origin is proven by the connection, and its form does not depend on it.
pub(crate) fn peer() -> Peer {
    Peer {
        identity: "host.example".into(),
        roles: Roles { member: true, manager: true, maa: false },
        certificate: [1; 32],
        valid_for: Duration::from_secs(60),
        address: ([10, 0, 0, 7], 4_000).into(),
        channel: Secret::new([2; 32]),
    }
}

fn packet(domain: &Domain, header: UpdateHeader, raw: &arbitrary::RawBody) -> Vec<u8> {
    let (index, packets) = (header.index, header.data_packets);
    let body = arbitrary::body(domain.suite, &header, raw);
    // Only the packet itself is needed; the others give the Merkle tree its shape.
    let empty = (header.clone(), protocol::Body::default());
    let mut contents = vec![empty; usize::from(packets)];
    contents[usize::from(index)] = (header, body);
    let sealed = seal_update(domain, &contents, &Repeating(Signature([6; 64])), Some(&PREFILTER)).unwrap();
    sealed.packets[usize::from(index)].clone()
}

fn alarm(bytes: &[u8]) -> Option<Vec<u8>> {
    let envelope = Envelope::parse(bytes).ok()?;
    let state = Reader::new(bytes.get(Envelope::LEN..)?).state().ok()?;
    let mut gate = gate(envelope.domain, state);
    let alarm = gate.alarm(at(0), ELSEWHERE, bytes).ok()?;
    let signature = bytes.last_chunk::<SIGNATURE_LEN>()?;
    Some(alarm.encode(&envelope.domain, &Repeating(Signature(*signature))))
}

fn key_update(bytes: &[u8]) -> Option<Vec<u8>> {
    let domain = Envelope::parse(bytes).ok()?.domain;
    // Scheme and strategy, then the state and the epoch before it.
    let mut reader = Reader::new(bytes.get(Envelope::LEN + 2..)?);
    let start = reader.state().ok()?.at(reader.epoch().ok()?);
    let mut proven = bytes.to_vec();
    remac(domain.suite, &PREFILTER, &mut proven);
    let packet = gate(domain, start).key_update(at(0), ELSEWHERE, None, &proven).ok()?;
    let mut body = Writer::new();
    packet.body.encode(&packet.header, &mut body);
    let mut again = packet.header.encode(&domain);
    again.opaque(body.as_bytes());
    let body_len = Reader::new(bytes.get(UpdateHeader::LEN..)?).u16().ok()?;
    again.bytes(&bytes[UpdateHeader::LEN + 2 + usize::from(body_len)..]);
    Some(again.into_bytes())
}

pub(crate) fn gate(domain: Domain, start: StateId) -> Gate {
    Gate::new(domain, PublicKey([0; 32]), start, PREFILTER.clone(), Arc::new(Credulous))
}

fn nak(bytes: &[u8]) -> Option<Vec<u8>> {
    let domain = Envelope::parse(bytes).ok()?.domain;
    let content = &bytes[..bytes.len().checked_sub(16)?];
    let tag = mac(domain.suite, &PREFILTER, Label::NakMac, &[content]);
    let nak = Nak::verify(&[content, &tag].concat(), &domain, |_| Some(&PREFILTER)).ok()?;
    let again = nak.encode(&domain, &PREFILTER);
    Some([&again[..again.len() - 16], &bytes[content.len()..]].concat())
}

/// Seals arbitrary plaintext the way a member's or manager's own messages are sealed, with the nonce of `rng`.
fn seal(kind: DatagramKind, plain: &[u8]) -> Vec<u8> {
    let domain = domain(Suite::Aes256Ctr);
    let mut nonce = [0; 12];
    rng().fill_bytes(&mut nonce);
    let mut writer = Envelope::begin(kind, &domain);
    writer.sender(SENDER).bytes(&nonce);
    let mut sealed = Vec::new();
    Aead::new().seal(&UNICAST, &nonce, writer.as_bytes(), plain, &mut sealed);
    writer.bytes(&sealed);
    writer.into_bytes()
}

fn rng() -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(3)
}

/// The plaintext of a sealed datagram.
fn unseal(datagram: &[u8]) -> Vec<u8> {
    let (aad, sealed) = datagram.split_at(Envelope::LEN + 8 + 12);
    let mut plain = Vec::new();
    Aead::new().open(&UNICAST, aad.last_chunk().unwrap(), aad, sealed, &mut plain).unwrap();
    plain
}

pub(crate) fn plain_to_manager(message: &ToManager) -> Vec<u8> {
    let domain = domain(Suite::Aes256Ctr);
    unseal(&message.seal(&Registration { domain: &domain, sender: SENDER, key: &UNICAST }, &mut rng()))
}

pub(crate) fn plain_to_member(message: &ToMember) -> Vec<u8> {
    let domain = domain(Suite::Aes256Ctr);
    unseal(&message.seal(&Registration { domain: &domain, sender: SENDER, key: &UNICAST }, &mut rng()))
}

fn to_manager(plain: &[u8]) -> Option<Vec<u8>> {
    let domain = domain(Suite::Aes256Ctr);
    let at = Registration { domain: &domain, sender: SENDER, key: &UNICAST };
    let message = ToManager::open(&at, &seal(DatagramKind::ToManager, plain)).ok()?;
    Some(plain_to_manager(&message))
}

fn to_member(plain: &[u8]) -> Option<Vec<u8>> {
    let domain = domain(Suite::Aes256Ctr);
    let at = Registration { domain: &domain, sender: SENDER, key: &UNICAST };
    let message = ToMember::open(&at, &seal(DatagramKind::ToMember, plain)).ok()?;
    Some(plain_to_member(&message))
}

fn fields<T, E>(
    bytes: &[u8],
    decode: fn(&mut Reader<'_>) -> Result<T, E>,
    encode: fn(&T, &mut Writer),
) -> Option<Vec<u8>> {
    let mut reader = Reader::new(bytes);
    let value = decode(&mut reader).ok()?;
    reader.finish().ok()?;
    let mut writer = Writer::new();
    encode(&value, &mut writer);
    Some(writer.into_bytes())
}
