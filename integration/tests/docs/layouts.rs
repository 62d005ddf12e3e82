//! Every offset and length of `docs/protocol.md` is where the code puts the field.

use std::time::Duration;

use crypto::{Ed25519Signer, EntryIv, MerkleHash, Secret, Suite};
use data::{Inner, Outer, Packet, StreamId};
use keytree::{Epoch, RegNo, Version};
use protocol::{
    Alarm, DatagramKind, Domain, Envelope, GroupId, Inst, Nak, RosterVersion, SenderId, StateId, SubgroupId,
    Term, UpdateHeader,
};

use crate::markdown::{number, protocol_table};

pub(crate) const DOMAIN: Domain = Domain {
    suite: Suite::Aes256Kw,
    group: GroupId::from_bytes([0xa1; 16]),
    subgroup: SubgroupId(0xa2a2_a2a2_a2a2_a2a2),
};
const STATE: StateId = StateId { term: Term(0xb1b1_b1b1), inst: Inst(0xb1b1_b1b1_b1b1_b1b1), epoch: EPOCH };
const EPOCH: Epoch = Epoch(0xb1b1_b1b1);

/// Compares a table's rows, whose column `name` says the field, with `bytes`: what stands at each offset is what
/// `expected` says for the field, and nothing is left out between two rows. Returns where the last row ends.
fn check(table: &str, name: usize, bytes: &[u8], expected: &[(&str, &[u8])]) -> usize {
    let rows = protocol_table(table);
    let fixed =
        rows.iter().take_while(|row| row[0].parse::<usize>().is_ok() && row[1].parse::<usize>().is_ok());
    let mut at = 0;
    for (row, (field, value)) in fixed.clone().zip(expected) {
        let (offset, len) = (number(&row[0]) as usize, number(&row[1]) as usize);
        assert_eq!((offset, row[name].as_str()), (at, *field), "{table}");
        assert_eq!(&bytes[offset..offset + len], *value, "{table}: {field}");
        at = offset + len;
    }
    assert_eq!(fixed.count(), expected.len(), "{table}: rows");
    at
}

fn envelope(kind: DatagramKind) -> Vec<u8> {
    Envelope::begin(kind, &DOMAIN).into_bytes()
}

#[test]
fn the_envelope_stands_as_its_table_says() {
    let bytes = envelope(DatagramKind::Nak);
    let expected: [(&str, &[u8]); 5] = [
        ("version", &[1]),
        ("kind", &[DatagramKind::Nak.code()]),
        ("suite", &[0, 2]),
        ("group", &[0xa1; 16]),
        ("subgroup", &[0xa2; 8]),
    ];
    assert_eq!(check("envelope", 2, &bytes, &expected), Envelope::LEN);
    assert_eq!(bytes.len(), Envelope::LEN);
}

#[test]
fn the_key_update_header_stands_as_its_table_says() {
    let header = UpdateHeader {
        state: STATE,
        previous: Epoch(0xb2b2_b2b2),
        index: 0xb3b3,
        data_packets: 0xb4b4,
        block_data: 0xb5,
        block_parity: 0xb6,
        first: RegNo(0xb7b7_b7b7),
        last: RegNo(0xb8b8_b8b8),
        height: 0xb9,
        root: Version { base: Epoch(0xc1c1_c1c1), steps: 0xc1c1 },
        leaf_steps: 0xc2c2,
        hard: true,
        activation: Duration::from_millis(0xc3c3),
        key_check: [0xc4; 8],
        policy: [0xc5; 16],
        iv: EntryIv::new([0x46; 12]),
    };
    let bytes = header.encode(&DOMAIN).into_bytes();
    let envelope = envelope(DatagramKind::KeyUpdate);
    let expected: [(&str, &[u8]); 19] = [
        ("envelope", &envelope),
        ("scheme", &[protocol::SCHEME_LKH]),
        ("strategy", &[protocol::STRATEGY_GROUP_ORIENTED]),
        ("state", &[0xb1; 16]),
        ("previous", &[0xb2; 4]),
        ("index", &[0xb3; 2]),
        ("data packets", &[0xb4; 2]),
        ("block data", &[0xb5]),
        ("block parity", &[0xb6]),
        ("first", &[0xb7; 4]),
        ("last", &[0xb8; 4]),
        ("height", &[0xb9]),
        ("root", &[0xc1; 6]),
        ("leaf steps", &[0xc2; 2]),
        ("hard", &[1]),
        ("activation", &[0xc3; 2]),
        ("key check", &[0xc4; 8]),
        ("policy", &[0xc5; 16]),
        ("IV", &[0x46; 12]),
    ];
    assert_eq!(check("key update header", 2, &bytes, &expected), UpdateHeader::LEN);
    assert_eq!(bytes.len(), UpdateHeader::LEN);
    let rows = protocol_table("key update header");
    assert!(rows[1][3].starts_with(&format!("{}:", protocol::SCHEME_LKH)), "{:?}", rows[1]);
    assert!(rows[2][3].starts_with(&format!("{}:", protocol::STRATEGY_GROUP_ORIENTED)), "{:?}", rows[2]);
}

/// An alarm with a different byte in each field.
pub(crate) fn plain_alarm() -> Alarm {
    Alarm {
        state: STATE,
        counter: 0xb2b2_b2b2_b2b2_b2b2,
        journal: 0xb3b3_b3b3_b3b3_b3b3,
        root: Version { base: Epoch(0xb4b4_b4b4), steps: 0xb4b4 },
        height: 0xb5,
        leaf_steps: 0xb6b6,
        key_check: [0xb7; 8],
        hard: true,
        activation: Duration::from_millis(0xb8b8),
        message_root: MerkleHash([0xb9; 16]),
        message_packets: 0xc1c1,
        oldest: Epoch(0xc2c2_c2c2),
        roster: RosterVersion(0xc3c3_c3c3),
        policy: [0xc4; 16],
        next_rekey: Duration::from_millis(0xc5c5_c5c5),
        path: vec![SubgroupId(1); 3],
        successors: vec![SenderId(2); 2],
        in_step: 0xc8,
        members: 0xc9c9_c9c9,
        renewals: 0xcaca,
    }
}

#[test]
fn the_alarm_stands_as_its_table_says() {
    let bytes = plain_alarm().encode(&DOMAIN, &Ed25519Signer::from_seed(&Secret::new([7; 32])));
    let envelope = envelope(DatagramKind::Alarm);
    let expected: [(&str, &[u8]); 16] = [
        ("envelope", &envelope),
        ("state", &[0xb1; 16]),
        ("counter", &[0xb2; 8]),
        ("journal", &[0xb3; 8]),
        ("root", &[0xb4; 6]),
        ("height", &[0xb5]),
        ("leaf steps", &[0xb6; 2]),
        ("key check", &[0xb7; 8]),
        ("hard", &[1]),
        ("activation", &[0xb8; 2]),
        ("message root", &[0xb9; 16]),
        ("message packets", &[0xc1; 2]),
        ("oldest", &[0xc2; 4]),
        ("roster", &[0xc3; 4]),
        ("policy", &[0xc4; 16]),
        ("next rekey", &[0xc5; 4]),
    ];
    let end = check("alarm", 2, &bytes, &expected);
    let rest = &protocol_table("alarm")[expected.len()..];
    let names: Vec<_> = rest.iter().map(|row| (row[1].as_str(), row[2].as_str())).collect();
    assert_eq!(
        names,
        [
            ("2 + 8 each", "path"),
            ("2 + 8 each", "successors"),
            ("1", "in step"),
            ("4", "members"),
            ("2", "renewals"),
            ("64", "signature")
        ]
    );
    assert_eq!(number(&rest[0][0]) as usize, end);
    assert_eq!(bytes.len(), end + 2 + 3 * 8 + 2 + 2 * 8 + 7 + 64);
}

#[test]
fn the_nak_stands_as_its_table_says() {
    let nak = Nak {
        wanted: STATE,
        held: Epoch(0xb2b2_b2b2),
        reg_no: RegNo(0xb3b3_b3b3),
        block: protocol::ANY_BLOCK,
        missing: protocol::ALL_MISSING,
        loss: protocol::UNKNOWN_LOSS,
        nonce: 0xb4b4_b4b4_b4b4_b4b4,
    };
    let bytes = nak.encode(&DOMAIN, &Secret::new([7; 32]));
    let envelope = envelope(DatagramKind::Nak);
    let expected: [(&str, &[u8]); 9] = [
        ("envelope", &envelope),
        ("wanted", &[0xb1; 16]),
        ("held", &[0xb2; 4]),
        ("reg-no", &[0xb3; 4]),
        ("block", &[0xff; 2]),
        ("missing", &[0xff; 8]),
        ("loss", &[0xff]),
        ("nonce", &[0xb4; 8]),
        ("MAC", &bytes[bytes.len() - 16..]),
    ];
    assert_eq!(check("nak", 2, &bytes, &expected), bytes.len());
}

#[test]
fn the_data_packet_stands_as_its_table_says() {
    let outer = Outer {
        suite: Suite::Aes256Kw,
        group: DOMAIN.group,
        subgroup: DOMAIN.subgroup,
        key_id: 0xb1b1_b1b1,
        epoch: Epoch(0xb2b2_b2b2),
        sender: SenderId(0xb3b3_b3b3_b3b3_b3b3),
        hop: 4,
        wrapped: [0xb5; 40],
    };
    let inner = Inner {
        origin: SubgroupId(0xc1c1_c1c1_c1c1_c1c1),
        sender: SenderId(0xc2c2_c2c2_c2c2_c2c2),
        stream: StreamId(0xc3c3_c3c3_c3c3_c3c3),
        generation: 0xc4c4_c4c4,
        sequence: 0xc5c5_c5c5_c5c5_c5c5,
        commitment: [0xc6; 16],
    };
    let mut bytes = Vec::new();
    Packet { outer, inner, sealed: &[0xd1; 16] }.encode(&mut bytes);
    let outer_fields: [(&str, &[u8]); 10] = [
        ("version", &[data::VERSION]),
        ("kind", &[data::KIND_DATA]),
        ("suite", &[0, 2]),
        ("group", &[0xa1; 16]),
        ("subgroup", &[0xa2; 8]),
        ("key id", &[0xb1; 4]),
        ("epoch", &[0xb2; 4]),
        ("outer sender", &[0xb3; 8]),
        ("hop", &[4]),
        ("{Kr}", &[0xb5; 40]),
    ];
    let inner_fields: [(&str, &[u8]); 7] = [
        ("origin", &[0xc1; 8]),
        ("sender", &[0xc2; 8]),
        ("stream", &[0xc3; 8]),
        ("generation", &[0xc4; 4]),
        ("sequence", &[0xc5; 8]),
        ("commitment", &[0xc6; 16]),
        ("flags", &[0]),
    ];
    let all: Vec<_> = outer_fields.into_iter().chain(inner_fields).collect();
    assert_eq!(check("data packet", 3, &bytes, &all), data::HEADER_LEN);
    let of = |part: &str| -> u64 {
        let rows = protocol_table("data packet").into_iter().filter(|row| row[2] == part);
        rows.map(|row| number(&row[1])).sum()
    };
    assert_eq!((of("outer"), of("inner")), (data::OUTER_LEN as u64, data::INNER_LEN as u64));
}
