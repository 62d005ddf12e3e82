//! The messages by which nodes find each other and managers come back, as kinds of bytes.

use std::sync::Arc;

use crypto::{ExchangePublic, PublicKey, Roles, Signature};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::discovery::{
    Certified, Certifier, Claim, DiscoveryGate, Find, FindKind, Held, Mandate, Presence, Reply,
};
use protocol::limits::{MAX_DEPTH, MAX_PRESENCE, MAX_REVOCATIONS_A_PACKET, MAX_SUSPICIONS};
use protocol::{
    Alarm, Answer, Credential, Domain, Envelope, Epoch, Farewell, GroupId, Inst, Question, Reader, Renewal,
    Revocation, SignedRevocation, StateId, SubgroupId, Succession, Suspicion, Takeover, Term, Warrant,
    encode_revocations,
};

use super::arbitrary::{address, alarm, credential, domain, number, office, revocation, state};
use super::kinds::{PREFILTER, gate};
use super::subgroup::{ELSEWHERE, SIGNATURE_LEN, at};
use super::verifiers::{Credulous, Repeating};

/// Which of them some bytes are meant to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comer {
    Find,
    Reply,
    Held,
    Claim,
    Presence,
    Question,
    Answer,
    Revocations,
    Farewell,
    Suspicion,
    Takeover,
    Renewal,
}

impl Comer {
    pub(crate) const ALL: [Self; 12] = [
        Self::Find,
        Self::Reply,
        Self::Held,
        Self::Claim,
        Self::Presence,
        Self::Question,
        Self::Answer,
        Self::Revocations,
        Self::Farewell,
        Self::Suspicion,
        Self::Takeover,
        Self::Renewal,
    ];
}

const SIGNED: Repeating = Repeating(Signature([5; 64]));

/// Vouches for every certificate.
pub(crate) struct AnyCertificate;

impl Certifier for AnyCertificate {
    fn certify(&self, _: &[u8], _: &[u8], _: &[u8]) -> Option<Certified> {
        let roles = Roles { member: true, manager: true, maa: false };
        Some(Certified { identity: "host.example".into(), roles, fingerprint: [7; 32] })
    }
}

fn subgroups() -> impl Strategy<Value = Vec<SubgroupId>> {
    vec(any::<u64>().prop_map(SubgroupId), 0..=MAX_DEPTH)
}

fn mandate() -> impl Strategy<Value = Mandate> {
    (any::<[u8; 32]>(), vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..80))
        .prop_map(|(key, certificate, signature)| Mandate { key: PublicKey(key), certificate, signature })
}

fn signed_revocations() -> impl Strategy<Value = Vec<SignedRevocation>> {
    let signed = |revocation| SignedRevocation { revocation, signature: Signature([7; 64]) };
    vec(revocation().prop_map(signed), 0..=MAX_REVOCATIONS_A_PACKET)
}

fn suspected(domain: &Domain, (state, counter, credential): (StateId, u64, Credential)) -> Suspicion {
    Suspicion::sign(domain, (state, counter), credential, &PREFILTER, &SIGNED)
}

fn suspicion() -> impl Strategy<Value = (StateId, u64, Credential)> {
    (state(), any::<u64>(), credential())
}

/// A message of each kind in turn, well-formed.
pub(crate) fn messages() -> impl Strategy<Value = (Comer, Vec<u8>)> {
    let group = || any::<[u8; 16]>().prop_map(GroupId::from_bytes);
    let find =
        (group(), select(vec![FindKind::Local, FindKind::Parent]), any::<u8>(), any::<u64>(), subgroups());
    let reply = (
        (group(), any::<u64>(), any::<u64>(), vec(address(), 0..=4)),
        (number(), any::<u8>(), subgroups(), number()),
    );
    let presence = (domain(), mandate(), vec(address(), 0..=4), alarm());
    prop_oneof![
        find.prop_map(|(group, kind, ring, nonce, path)| {
            (Comer::Find, Find { kind, ring, nonce, path }.encode(group))
        }),
        reply.prop_map(|((group, nonce, subgroup, registrars), (term, depth, ancestors, load))| {
            let (subgroup, term) = (SubgroupId(subgroup), Term(term));
            let reply = Reply { nonce, subgroup, registrars, term, depth, ancestors, load };
            (Comer::Reply, reply.encode(group))
        }),
        (group(), any::<u64>(), vec(any::<u8>(), 0..=MAX_PRESENCE))
            .prop_map(|(group, nonce, presence)| (Comer::Held, Held { nonce, presence }.encode(group))),
        (group(), mandate(), any::<u16>(), address()).prop_map(|(group, mandate, priority, registrar)| {
            (Comer::Claim, Claim { mandate, priority, registrar }.encode(group, &SIGNED))
        }),
        presence.prop_filter_map("fits a datagram", |(domain, mandate, registrars, alarm)| {
            let alarm = alarm.encode(&domain, &SIGNED);
            let bytes = Presence::encode(domain.group, &mandate, &registrars, &alarm, &SIGNED)?;
            Some((Comer::Presence, bytes))
        }),
        (domain(), any::<(u64, u64, u16)>(), address()).prop_map(
            |(domain, (inst, nonce, share), answer_to)| {
                let question = Question { inst: Inst(inst), nonce, answer_to, share };
                (Comer::Question, question.encode(&domain, &SIGNED))
            }
        ),
        (domain(), any::<u64>(), alarm(), signed_revocations()).prop_map(|(domain, nonce, alarm, list)| {
            let alarm = alarm.encode(&domain, &SIGNED);
            (Comer::Answer, Answer::encode(&domain, nonce, &alarm, &list))
        }),
        (domain(), signed_revocations())
            .prop_map(|(domain, list)| (Comer::Revocations, encode_revocations(&domain, &list))),
        (domain(), any::<u64>(), address()).prop_map(|(domain, subgroup, registrar)| {
            let farewell = Farewell { subgroup: SubgroupId(subgroup), registrar };
            (Comer::Farewell, farewell.encode(&domain, &SIGNED))
        }),
        (domain(), suspicion())
            .prop_map(|(domain, of)| (Comer::Suspicion, suspected(&domain, of).encode(&domain))),
        (domain(), office(), credential(), vec(suspicion(), 0..=MAX_SUSPICIONS), any::<bool>()).prop_map(
            |(domain, office, credential, suspicions, handed)| {
                let suspicions: Vec<_> = suspicions.into_iter().map(|of| suspected(&domain, of)).collect();
                let bytes = if handed {
                    Takeover::handed(&domain, office, &SIGNED)
                } else {
                    Takeover::suspected(&domain, office, credential, &suspicions, &SIGNED)
                };
                (Comer::Takeover, bytes)
            }
        ),
        (domain(), state(), 1..=u16::MAX, any::<(u16, [u8; 32])>()).prop_map(
            |(domain, start, number, rest)| {
                let (leaf_steps, key) = rest;
                let renewal =
                    Renewal { start: start.at(Epoch(0)), number, leaf_steps, key: ExchangePublic(key) };
                (Comer::Renewal, renewal.encode(&domain, &SIGNED))
            }
        ),
    ]
}

/// Reads `bytes` as a message of a kind and writes it again; `None` if they are refused.
pub(crate) fn reencode(kind: Comer, bytes: &[u8]) -> Option<Vec<u8>> {
    let Domain { suite, group, subgroup } = Envelope::parse(bytes).ok()?.domain;
    let domain = Domain { suite, group, subgroup };
    let signed = || Some(Repeating(Signature(*bytes.last_chunk::<SIGNATURE_LEN>()?)));
    let mut discovery = DiscoveryGate::new(group, Arc::new(Credulous), Arc::new(AnyCertificate));
    let mut gate = gate(domain, StateId { term: Term(1), inst: Inst(1), epoch: Epoch(1) });
    match kind {
        Comer::Find => Some(Find::decode(bytes, group).ok()?.said().encode(group)),
        Comer::Reply => Some(Reply::decode(bytes, group).ok()?.said().encode(group)),
        Comer::Held => Some(Held::decode(bytes, group).ok()?.said().encode(group)),
        Comer::Claim => {
            let (claim, _) = discovery.claim(at(0), bytes).ok()?.into_inner();
            Some(claim.encode(group, &signed()?))
        }
        Comer::Presence => {
            let presence = discovery.presence(at(0), bytes).ok()?.into_inner();
            let alarm = again(&presence.alarm, &presence.domain, bytes, SIGNATURE_LEN)?;
            Presence::encode(group, &presence.mandate, &presence.registrars, &alarm, &signed()?)
        }
        Comer::Question => Some(gate.question(at(0), ELSEWHERE, bytes).ok()?.encode(&domain, &signed()?)),
        Comer::Answer => {
            let answer = Answer::open(bytes, &domain, &PublicKey([0; 32]), &Credulous).ok()?.into_inner();
            let after = 2 + answer.revocations.len() * (64 + SIGNATURE_LEN);
            let alarm = again(&answer.alarm, &domain, bytes, after)?;
            Some(Answer::encode(&domain, answer.nonce, &alarm, &answer.revocations))
        }
        Comer::Revocations => {
            let list = gate.revocations(at(0), ELSEWHERE, |_| false, bytes).ok()?;
            Some(encode_revocations(&domain, &list))
        }
        Comer::Farewell => Some(gate.farewell(at(0), ELSEWHERE, bytes).ok()?.encode(&domain, &signed()?)),
        Comer::Suspicion => reencode_suspicion(&domain, bytes),
        Comer::Takeover => {
            let takeover = Takeover::claimed(&domain, bytes).ok()?;
            Some(match takeover.warrant {
                Warrant::Handed => Takeover::handed(&domain, takeover.office, &signed()?),
                Warrant::Suspected { credential, suspicions } => {
                    Takeover::suspected(&domain, takeover.office, credential, &suspicions, &signed()?)
                }
            })
        }
        Comer::Renewal => Some(Renewal::claimed(&domain, bytes).ok()?.encode(&domain, &signed()?)),
    }
}

/// A suspicion as a member takes it that is in the state it names.
fn reencode_suspicion(domain: &Domain, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(bytes);
    reader.take(Envelope::LEN).ok()?;
    let known = reader.state().ok()?;
    let succession = Succession {
        domain,
        manager: PublicKey([0; 32]),
        former: None,
        known,
        counter: 0,
        in_step: &[],
        members: 9,
        hard: Epoch(0),
        silent: true,
    };
    let suspicion = gate(*domain, known).suspicion(at(0), ELSEWHERE, &succession, bytes).ok()?;
    Some(suspicion.encode(domain))
}

/// An alarm inside another message, that ends `after` bytes before the end, written again.
fn again(alarm: &Alarm, domain: &Domain, bytes: &[u8], after: usize) -> Option<Vec<u8>> {
    let end = bytes.len().checked_sub(after)?;
    let signature = bytes[..end].last_chunk::<SIGNATURE_LEN>()?;
    Some(alarm.encode(domain, &Repeating(Signature(*signature))))
}

#[test]
fn a_signed_revocation_reads_back() {
    let revocation = Revocation { identity: [1; 32], certificate: [2; 32] };
    let signed = SignedRevocation { revocation, signature: Signature([3; 64]) };
    let mut writer = protocol::Writer::new();
    signed.encode(&mut writer);
    let mut reader = Reader::new(writer.as_bytes());
    assert_eq!(SignedRevocation::decode(&mut reader), Ok(signed));
    assert_eq!(reader.finish(), Ok(()));
}

proptest! {
    #![proptest_config(super::arbitrary::cases(64))]

    /// Every kind comes up, so the properties of all messages are those of these, too.
    #[test]
    fn a_state_of_any_start_is_no_message(state in state()) {
        for kind in Comer::ALL {
            prop_assert_eq!(reencode(kind, &state.to_bytes()), None);
        }
    }
}
