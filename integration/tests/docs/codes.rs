//! Every code of `docs/protocol.md` is that of the code, and none is missing.

use crypto::{Aead, PublicKey, Secret, Signature, Suite};
use keytree::Epoch;
use protocol::{
    Credential, DatagramKind, Domain, Envelope, GroupId, Inst, Refusal, Registration, ResyncAnswer, SenderId,
    StateId, SubgroupId, Term, ToManager, ToMember,
};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use crate::markdown::{number, protocol_table, read};

#[test]
fn the_kinds_of_datagrams_are_those_of_the_code() {
    let code: Vec<_> = (0..=u8::MAX)
        .filter_map(|code| DatagramKind::from_code(code).map(|kind| (u64::from(code), format!("{kind:?}"))))
        .collect();
    let page: Vec<_> =
        protocol_table("datagram kinds").into_iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    assert_eq!(page, code);
    assert!(code.iter().all(|(code, _)| *code < u64::from(data::KIND_DATA)));
}

#[test]
fn the_frames_are_those_of_the_code() {
    let source = read("protocol/src/registration.rs");
    let constants = source.lines().filter_map(|line| line.strip_prefix("    const "));
    let code: Vec<_> = constants
        .filter_map(|line| line.trim_end_matches(';').split_once(": u8 = "))
        .map(|(name, value)| (number(value), name.to_owned()))
        .collect();
    let page: Vec<_> =
        protocol_table("frames").into_iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    assert_eq!(page, code);
    assert_eq!(page.len(), 14);
}

#[test]
fn the_refusals_are_those_of_the_code() {
    let code: Vec<_> = (1..)
        .zip(Refusal::ALL)
        .map(|(code, why)| {
            let last = if why.is_final() { "yes" } else { "no" };
            [format!("{code}"), format!("{why:?}"), why.to_string(), last.to_owned()].to_vec()
        })
        .collect();
    assert_eq!(protocol_table("refusals"), code);
}

#[test]
fn the_changes_of_nodes_are_those_of_the_code() {
    let source = read("protocol/src/key_update/body.rs");
    let (_, after) = source.split_once("fn change_code(").expect("the codes have their function");
    let (body, _) = after.split_once("\n}").expect("the function ends");
    let code: Vec<_> = body
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Change::"))
        .filter_map(|arm| arm.trim_end_matches(',').split_once(" => "))
        .map(|(change, code)| (code.to_owned(), change.to_owned()))
        .collect();
    let page: Vec<_> =
        protocol_table("changes").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(page, code);
}

/// What is sealed in a unicast datagram, and the datagram's bytes before it.
fn unsealed(datagram: &[u8], key: &Secret<32>) -> (Vec<u8>, usize) {
    let rows = protocol_table("unicast");
    let at = |field: &str| {
        let row = rows.iter().find(|row| row[2] == field).unwrap_or_else(|| panic!("no field {field}"));
        number(&row[0]) as usize
    };
    let (nonce, sealed) = (at("nonce"), at("sealed"));
    let nonce: [u8; 12] = datagram[nonce..sealed].try_into().expect("the nonce is 12 bytes");
    let mut plain = Vec::new();
    Aead::new().open(key, &nonce, &datagram[..sealed], &datagram[sealed..], &mut plain).expect("it opens");
    (plain, sealed)
}

#[test]
fn the_sealed_messages_are_those_of_the_code() {
    let domain =
        Domain { suite: Suite::Aes256Ctr, group: GroupId::from_bytes([1; 16]), subgroup: SubgroupId(2) };
    let key = Secret::new([3; 32]);
    let at = Registration { domain: &domain, sender: SenderId(0x0404_0404_0404_0404), key: &key };
    let mut rng = ChaCha12Rng::seed_from_u64(5);
    let held = Some(StateId { term: Term(1), inst: Inst(2), epoch: Epoch(3) });
    let answer = ResyncAnswer { nonce: 1, alarm: vec![6; 9], path: Vec::new() };
    let revocations = Vec::new();
    let evidence = ToManager::Evidence { nonce: 1, issuer: PublicKey([1; 32]), revocations: Vec::new() };
    let signature = Signature([2; 64]);
    let credential = Credential { sender: SenderId(1), key: PublicKey([1; 32]), eligible: true, signature };
    let sent = [
        ("ToManager", "Keepalive", ToManager::Keepalive { counter: 1, held }.seal(&at, &mut rng)),
        ("ToManager", "Resync", ToManager::Resync { nonce: 1, held }.seal(&at, &mut rng)),
        ("ToManager", "Leave", ToManager::Leave { nonce: 1 }.seal(&at, &mut rng)),
        ("ToManager", "Revocations", ToManager::Revocations { nonce: 1, from: 0 }.seal(&at, &mut rng)),
        ("ToManager", "Probe", ToManager::Probe { nonce: 1 }.seal(&at, &mut rng)),
        ("ToManager", "Credential", ToManager::Credential { nonce: 1 }.seal(&at, &mut rng)),
        ("ToManager", "Evidence", evidence.seal(&at, &mut rng)),
        ("ToMember", "Resync", ToMember::Resync(answer).seal(&at, &mut rng)),
        ("ToMember", "LeaveTaken", ToMember::LeaveTaken { nonce: 1 }.seal(&at, &mut rng)),
        (
            "ToMember",
            "Revocations",
            ToMember::Revocations { nonce: 1, from: 0, revocations }.seal(&at, &mut rng),
        ),
        ("ToMember", "Alive", ToMember::Alive { nonce: 1, alarm: vec![6; 9] }.seal(&at, &mut rng)),
        ("ToMember", "Credential", ToMember::Credential { nonce: 1, credential }.seal(&at, &mut rng)),
        ("ToMember", "EvidenceTaken", ToMember::EvidenceTaken { nonce: 1 }.seal(&at, &mut rng)),
    ];
    let rows = protocol_table("unicast messages");
    assert_eq!(rows.len(), sent.len());
    for (row, (direction, name, datagram)) in rows.iter().zip(sent) {
        assert_eq!((row[0].as_str(), row[2].as_str()), (direction, name));
        let (plain, sealed) = unsealed(&datagram, &key);
        assert_eq!(u64::from(plain[0]), number(&row[1]), "{name}");
        if row[4] != "…" {
            assert_eq!(plain.len() as u64, number(&row[4]), "{name}");
        }
        assert_eq!(datagram.len(), sealed + plain.len() + 16);
        assert_eq!(datagram[Envelope::LEN..Envelope::LEN + 8], [4; 8]);
    }
}
