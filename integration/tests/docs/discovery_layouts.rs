//! The tables of discovery, of a manager's comeback and of another manager: every field, in its order and of its length.

use std::net::SocketAddr;

use crypto::{Ed25519Signer, ExchangePublic, PublicKey, Secret, Signature, Signer, Suite};
use protocol::discovery::{Claim, Find, FindKind, Held, Mandate, Presence, Reply};
use protocol::limits::MAX_DATAGRAM;
use protocol::{
    Answer, Credential, DatagramKind, Domain, Envelope, Epoch, Farewell, GroupId, Inst, Office, Question,
    Renewal, Revocation, SenderId, SignedRevocation, StateId, SubgroupId, Suspicion, Takeover, Term,
    encode_revocations,
};

use crate::layouts::{DOMAIN, plain_alarm};
use crate::markdown::{number, protocol_table};

const GROUP: GroupId = DOMAIN.group;
const SIGNATURE: usize = 64;

fn signer() -> Ed25519Signer {
    Ed25519Signer::from_seed(&Secret::new([7; 32]))
}

/// Compares all rows of a table with the fields of a datagram, in their order. A row's offset and length are checked
/// where it gives them as numbers, and where a list or an opaque field begins, that its length says "2 +".
fn check(table: &str, bytes: &[u8], fields: &[(&str, Vec<u8>)]) {
    let rows = protocol_table(table);
    let names: Vec<_> = rows.iter().map(|row| row[2].as_str()).collect();
    assert_eq!(names, fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{table}");
    let mut at = 0;
    for (row, (name, value)) in rows.iter().zip(fields) {
        if !row[0].is_empty() {
            assert_eq!(number(&row[0]) as usize, at, "{table}: offset of {name}");
        }
        if row[1].parse::<usize>().is_ok() {
            assert_eq!(number(&row[1]) as usize, value.len(), "{table}: length of {name}");
        }
        assert_eq!(&bytes[at..at + value.len()], value.as_slice(), "{table}: {name}");
        at += value.len();
    }
    assert_eq!(at, bytes.len(), "{table}: something follows");
}

fn discovery(kind: DatagramKind) -> Vec<u8> {
    let nowhere = Domain { suite: Suite::Aes256Ctr, group: GROUP, subgroup: SubgroupId(0) };
    Envelope::begin(kind, &nowhere).into_bytes()
}

fn envelope(kind: DatagramKind) -> Vec<u8> {
    Envelope::begin(kind, &DOMAIN).into_bytes()
}

fn counted(count: u16, items: &[u8]) -> Vec<u8> {
    [&count.to_be_bytes(), items].concat()
}

fn opaque(bytes: &[u8]) -> Vec<u8> {
    counted(bytes.len() as u16, bytes)
}

fn registrar() -> (SocketAddr, Vec<u8>) {
    (([0xc1; 4], 0xc2c2).into(), vec![4, 0xc1, 0xc1, 0xc1, 0xc1, 0xc2, 0xc2])
}

fn mandate() -> Mandate {
    Mandate { key: PublicKey([0xd1; 32]), certificate: vec![0xd2; 300], signature: vec![0xd3; 71] }
}

fn mandate_fields() -> [(&'static str, Vec<u8>); 3] {
    [
        ("key", vec![0xd1; 32]),
        ("certificate", opaque(&[0xd2; 300])),
        ("certificate signature", opaque(&[0xd3; 71])),
    ]
}

fn tail(bytes: &[u8]) -> Vec<u8> {
    bytes[bytes.len() - SIGNATURE..].to_vec()
}

#[test]
fn find_and_its_answers_stand_as_their_tables_say() {
    let path = vec![SubgroupId(0xb2b2_b2b2_b2b2_b2b2); 2];
    for (kind, code) in [(FindKind::Local, 1), (FindKind::Parent, 2)] {
        let find = Find { kind, ring: 0xb0, nonce: 0xb1b1_b1b1_b1b1_b1b1, path: path.clone() };
        let bytes = find.encode(GROUP);
        let fields = [
            ("envelope", discovery(DatagramKind::Find)),
            ("search", vec![code]),
            ("ring", vec![0xb0]),
            ("nonce", vec![0xb1; 8]),
            ("path", counted(2, &[0xb2; 16])),
            ("padding", vec![0; MAX_DATAGRAM - 56]),
        ];
        check("find", &bytes, &fields);
    }
    let reply = Reply {
        nonce: 0xb1b1_b1b1_b1b1_b1b1,
        subgroup: SubgroupId(0xb3b3_b3b3_b3b3_b3b3),
        registrars: vec![registrar().0; 2],
        term: Term(0xb4b4_b4b4),
        depth: 0xb5,
        ancestors: path,
        load: 0xb6b6_b6b6,
    };
    let fields = [
        ("envelope", discovery(DatagramKind::Reply)),
        ("nonce", vec![0xb1; 8]),
        ("subgroup", vec![0xb3; 8]),
        ("registrars", counted(2, &registrar().1.repeat(2))),
        ("term", vec![0xb4; 4]),
        ("depth", vec![0xb5]),
        ("ancestors", counted(2, &[0xb2; 16])),
        ("load", vec![0xb6; 4]),
    ];
    check("reply", &reply.encode(GROUP), &fields);
    let held = Held { nonce: 0xb1b1_b1b1_b1b1_b1b1, presence: vec![0xb7; 500] };
    let fields = [
        ("envelope", discovery(DatagramKind::Held)),
        ("nonce", vec![0xb1; 8]),
        ("presence", opaque(&[0xb7; 500])),
    ];
    check("held", &held.encode(GROUP), &fields);
}

#[test]
fn claim_and_presence_stand_as_their_tables_say() {
    let claim = Claim { mandate: mandate(), priority: 0xb1b1, registrar: registrar().0 };
    let bytes = claim.encode(GROUP, &signer());
    let mut fields = vec![("envelope", discovery(DatagramKind::Claim))];
    fields.extend(mandate_fields());
    fields.extend([("priority", vec![0xb1; 2]), ("registrar", registrar().1), ("signature", tail(&bytes))]);
    check("claim", &bytes, &fields);

    let alarm = plain_alarm().encode(&DOMAIN, &signer());
    let bytes = Presence::encode(GROUP, &mandate(), &[registrar().0], &alarm, &signer()).expect("it fits");
    let mut fields = vec![("envelope", discovery(DatagramKind::Presence))];
    fields.extend(mandate_fields());
    fields.extend([
        ("registrars", counted(1, &registrar().1)),
        ("alarm", opaque(&alarm)),
        ("signature", tail(&bytes)),
    ]);
    check("presence", &bytes, &fields);
}

#[test]
fn what_is_said_at_a_comeback_stands_as_its_tables_say() {
    let question = Question {
        inst: Inst(0xb1b1_b1b1_b1b1_b1b1),
        nonce: 0xb2b2_b2b2_b2b2_b2b2,
        answer_to: registrar().0,
        share: 0xb3b3,
    };
    let bytes = question.encode(&DOMAIN, &signer());
    let fields = [
        ("envelope", envelope(DatagramKind::Question)),
        ("inst", vec![0xb1; 8]),
        ("nonce", vec![0xb2; 8]),
        ("answer to", registrar().1),
        ("share", vec![0xb3; 2]),
        ("signature", tail(&bytes)),
    ];
    check("question", &bytes, &fields);

    let alarm = plain_alarm().encode(&DOMAIN, &signer());
    let revocation = Revocation { identity: [0xe1; 32], certificate: [0xe2; 32] };
    let signed = SignedRevocation { revocation, signature: Signature([0xe3; 64]) };
    let one = [vec![0xe1; 32], vec![0xe2; 32], vec![0xe3; 64]].concat();
    let bytes = Answer::encode(&DOMAIN, 0xb2b2_b2b2_b2b2_b2b2, &alarm, &[signed; 2]);
    let fields = [
        ("envelope", envelope(DatagramKind::Answer)),
        ("nonce", vec![0xb2; 8]),
        ("alarm", opaque(&alarm)),
        ("revocations", counted(2, &one.repeat(2))),
    ];
    check("answer", &bytes, &fields);

    let fields =
        [("envelope", envelope(DatagramKind::Revocations)), ("revocations", counted(3, &one.repeat(3)))];
    check("revocations", &encode_revocations(&DOMAIN, &[signed; 3]), &fields);

    let farewell = Farewell { subgroup: SubgroupId(0xb4b4_b4b4_b4b4_b4b4), registrar: registrar().0 };
    let bytes = farewell.encode(&DOMAIN, &signer());
    let fields = [
        ("envelope", envelope(DatagramKind::Farewell)),
        ("subgroup", vec![0xb4; 8]),
        ("registrar", registrar().1),
        ("signature", tail(&bytes)),
    ];
    check("farewell", &bytes, &fields);
}

#[test]
fn what_is_said_of_another_manager_stands_as_its_tables_say() {
    let state = StateId { term: Term(1), inst: Inst(2), epoch: Epoch(3) };
    let start = StateId { term: Term(2), inst: Inst(4), epoch: Epoch(0) };
    let key = signer().public_key();
    let credential = Credential { sender: SenderId(5), key, eligible: true, signature: Signature([6; 64]) };
    let one = [vec![0, 0, 0, 0, 0, 0, 0, 5], key.0.to_vec(), vec![1], vec![6; 64]].concat();
    let suspicion = Suspicion::sign(&DOMAIN, (state, 7), credential, &Secret::new([8; 32]), &signer());
    let bytes = suspicion.encode(&DOMAIN);
    let fields = [
        ("envelope", envelope(DatagramKind::Suspicion)),
        ("state", state.to_bytes().to_vec()),
        ("counter", vec![0, 0, 0, 0, 0, 0, 0, 7]),
        ("credential", one.clone()),
        ("signature", bytes[157..221].to_vec()),
        ("MAC", bytes[221..].to_vec()),
    ];
    check("suspicion", &bytes, &fields);

    let office = Office {
        old: state,
        start,
        key,
        sender: SenderId(5),
        address: registrar().0,
        registrar: registrar().0,
    };
    let takeover = Takeover::suspected(&DOMAIN, office, credential, &[suspicion; 2], &signer());
    let fields = [
        ("envelope", envelope(DatagramKind::Takeover)),
        ("old", state.to_bytes().to_vec()),
        ("start", start.to_bytes().to_vec()),
        ("key", key.0.to_vec()),
        ("sender id", vec![0, 0, 0, 0, 0, 0, 0, 5]),
        ("address", registrar().1),
        ("registrar", registrar().1),
        ("warrant", vec![1]),
        ("credential", one),
        ("suspicions", counted(2, &bytes[Envelope::LEN..].repeat(2))),
        ("signature", tail(&takeover)),
    ];
    check("takeover", &takeover, &fields);
    let handed = Takeover::handed(&DOMAIN, office, &signer());
    assert_eq!(handed.len(), takeover.len() - 105 - 2 - 2 * 209);

    let renewal = Renewal { start, number: 0xb1b2, leaf_steps: 0xb4b5, key: ExchangePublic([0xb3; 32]) };
    let bytes = renewal.encode(&DOMAIN, &signer());
    let fields = [
        ("envelope", envelope(DatagramKind::Renewal)),
        ("start", start.to_bytes().to_vec()),
        ("number", vec![0xb1, 0xb2]),
        ("leaf steps", vec![0xb4, 0xb5]),
        ("key", vec![0xb3; 32]),
        ("signature", tail(&bytes)),
    ];
    check("renewal", &bytes, &fields);
}
