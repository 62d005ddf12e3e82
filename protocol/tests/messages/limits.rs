//! No list is longer than its limit, whatever its count says, and no number is taken that means nothing.

use crypto::{PublicKey, Signature, Suite};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use protocol::limits::{
    MAX_DATAGRAM, MAX_DEPTH, MAX_GRANT_REVOCATIONS, MAX_MANDATE_CERTIFICATE, MAX_REVOCATIONS_A_PACKET,
    MAX_ROSTER, MAX_SUCCESSORS,
};
use protocol::{
    Body, Epoch, Frame, Reader, ResyncAnswer, Revocation, Roster, RosterVersion, SenderId, SignedRevocation,
    SubgroupId, ToMember, UpdateHeader, Version, Writer,
};

use super::arbitrary;
use super::kinds::{Kind, plain_to_member, reencode};
use super::subgroup::{Subgroup, domain};
use super::verifiers::Repeating;

/// One value of a strategy, the same in every run.
fn one<T>(strategy: impl Strategy<Value = T>) -> T {
    strategy.new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

fn roster(len: usize) -> Roster {
    let eligible = (0..len as u64).map(|sender| (SenderId(sender), PublicKey([1; 32])));
    Roster { version: RosterVersion(1), eligible: eligible.collect(), signature: Signature([2; 64]) }
}

fn written(roster: &Roster) -> Vec<u8> {
    let mut writer = Writer::new();
    roster.encode(&mut writer);
    writer.into_bytes()
}

#[test]
fn a_roster_over_its_limit_is_refused() {
    assert!(reencode(Kind::Roster, &written(&roster(MAX_ROSTER))).is_some());
    assert!(reencode(Kind::Roster, &written(&roster(MAX_ROSTER + 1))).is_none());
}

#[test]
fn a_roster_out_of_order_or_with_one_member_twice_is_refused() {
    let mut shuffled = roster(3);
    shuffled.eligible.swap(0, 2);
    assert!(reencode(Kind::Roster, &written(&shuffled)).is_none());
    let mut twice = roster(3);
    twice.eligible[1] = twice.eligible[0];
    assert!(reencode(Kind::Roster, &written(&twice)).is_none());
}

#[test]
fn a_grant_with_more_revocations_than_its_limit_is_refused() {
    let mut frame = one(arbitrary::frame().prop_filter("a grant", |frame| matches!(frame, Frame::Grant(..))));
    let Frame::Grant(grant, _) = &mut frame else { unreachable!() };
    let revocation = Revocation { identity: [1; 32], certificate: [2; 32] };
    let signed = SignedRevocation { revocation, signature: Signature([3; 64]) };
    grant.revocations = vec![signed; MAX_GRANT_REVOCATIONS];
    assert!(reencode(Kind::Frame, &frame.encode()).is_some());
    let Frame::Grant(grant, _) = &mut frame else { unreachable!() };
    grant.revocations.push(signed);
    assert!(reencode(Kind::Frame, &frame.encode()).is_none());
}

#[test]
fn a_grant_with_a_time_of_zero_is_refused() {
    let mut frame = one(arbitrary::frame().prop_filter("a grant", |frame| matches!(frame, Frame::Grant(..))));
    let Frame::Grant(grant, _) = &mut frame else { unreachable!() };
    grant.timing.nak_round = std::time::Duration::ZERO;
    assert!(reencode(Kind::Frame, &frame.encode()).is_none());
}

#[test]
fn an_alarm_with_too_long_a_path_or_too_many_successors_is_refused() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let signer = Repeating(Signature([5; 64]));
    let mut alarm = subgroup.alarm();
    alarm.path = vec![SubgroupId(1); MAX_DEPTH];
    alarm.successors = vec![SenderId(1); MAX_SUCCESSORS];
    assert!(reencode(Kind::Alarm, &alarm.encode(&subgroup.domain, &signer)).is_some());
    let mut long = alarm.clone();
    long.path.push(SubgroupId(2));
    assert!(reencode(Kind::Alarm, &long.encode(&subgroup.domain, &signer)).is_none());
    alarm.successors.push(SenderId(2));
    assert!(reencode(Kind::Alarm, &alarm.encode(&subgroup.domain, &signer)).is_none());
}

#[test]
fn a_list_of_a_discovery_message_over_its_limit_is_refused() {
    use super::comers::Comer;
    use protocol::discovery::{Claim, Find, FindKind, Mandate, Reply};
    let group = domain(Suite::Aes256Ctr).group;
    let find = |depth| {
        let find = Find { kind: FindKind::Local, ring: 1, nonce: 2, path: vec![SubgroupId(1); depth] };
        reencode(Kind::Comer(Comer::Find), &find.encode(group))
    };
    assert!(find(MAX_DEPTH).is_some() && find(MAX_DEPTH + 1).is_none());
    let registrar = ([10, 0, 0, 1], 7_400).into();
    let claim = |certificate, signature| {
        let mandate = Mandate {
            key: PublicKey([1; 32]),
            certificate: vec![2; certificate],
            signature: vec![3; signature],
        };
        let claim = Claim { mandate, priority: 1, registrar };
        reencode(Kind::Comer(Comer::Claim), &claim.encode(group, &Repeating(Signature([5; 64]))))
    };
    assert!(claim(MAX_MANDATE_CERTIFICATE, 72).is_some());
    assert!(claim(MAX_MANDATE_CERTIFICATE + 1, 72).is_none() && claim(100, 513).is_none());
    let mut reply = Reply {
        nonce: 1,
        subgroup: SubgroupId(1),
        registrars: vec![registrar; 9],
        term: protocol::Term(1),
        depth: 1,
        ancestors: vec![SubgroupId(2); MAX_DEPTH],
        load: 3,
    };
    assert!(reencode(Kind::Comer(Comer::Reply), &reply.encode(group)).is_some(), "four are named");
    let mut five = reply.encode(group);
    // The count of registrars, after envelope, nonce and subgroup.
    five[28 + 16 + 1] = 5;
    assert!(reencode(Kind::Comer(Comer::Reply), &five).is_none());
    reply.ancestors.push(SubgroupId(3));
    assert!(reencode(Kind::Comer(Comer::Reply), &reply.encode(group)).is_none());
    let signed = SignedRevocation {
        revocation: Revocation { identity: [1; 32], certificate: [2; 32] },
        signature: Signature([3; 64]),
    };
    for (count, taken) in [(MAX_REVOCATIONS_A_PACKET, true), (MAX_REVOCATIONS_A_PACKET + 1, false)] {
        let bytes = protocol::encode_revocations(&domain(Suite::Aes256Ctr), &vec![signed; count]);
        assert_eq!(reencode(Kind::Comer(Comer::Revocations), &bytes).is_some(), taken);
    }
}

#[test]
fn a_resync_answer_over_its_limits_is_refused() {
    let key = |level| keytree::PathKey {
        level,
        version: Version { base: Epoch(1), steps: 0 },
        secret: crypto::Secret::new([level; 32]),
    };
    let answer = |alarm, keys| {
        let path = (0..keys).map(key).collect();
        plain_to_member(&ToMember::Resync(ResyncAnswer { nonce: 1, alarm: vec![0; alarm], path }))
    };
    assert!(reencode(Kind::ToMember, &answer(MAX_DATAGRAM, 31)).is_some());
    assert!(reencode(Kind::ToMember, &answer(MAX_DATAGRAM + 1, 31)).is_none());
    assert!(reencode(Kind::ToMember, &answer(MAX_DATAGRAM, 32)).is_none());
}

#[test]
fn a_count_beyond_the_bytes_is_refused_wherever_a_list_stands() {
    // Whatever two bytes are read as a count of 65,535: refused, and never allocated for.
    for kind in [Kind::Frame, Kind::Alarm, Kind::Roster, Kind::ToMember, Kind::KeyUpdate] {
        let messages = super::kinds::messages().prop_filter("of the kind", move |(of, _)| *of == kind);
        let (_, bytes) = one(messages);
        for at in 0..bytes.len() - 1 {
            let mut spoiled = bytes.clone();
            spoiled[at..at + 2].copy_from_slice(&[0xff; 2]);
            if let Some(again) = reencode(kind, &spoiled) {
                assert_eq!(again, spoiled);
            }
        }
    }
}

#[test]
fn a_merkle_path_longer_than_any_tree_is_refused() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let packet = subgroup.cut(&[9], &[], 2).sealed.packets.remove(0);
    let path_len = packet.len() - 8 - 64 - 16 - 1;
    assert_eq!(packet[path_len], 1);
    let mut long = packet[..path_len].to_vec();
    long.push(17);
    long.extend([0; 17 * 16 + 64 + 8]);
    assert!(reencode(Kind::KeyUpdate, &packet).is_some());
    assert!(reencode(Kind::KeyUpdate, &long).is_none());
}

/// What no honest manager writes into a header, one field at a time.
#[test]
fn a_header_that_contradicts_itself_is_refused() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let (header, body) = subgroup.cut(&[9], &[], 2).contents.remove(0);
    let refused = |header: UpdateHeader| {
        let mut content = header.encode(&subgroup.domain);
        let mut encoded = Writer::new();
        body.encode(&header, &mut encoded);
        content.opaque(encoded.as_bytes()).u8(1).bytes(&[0; 16 + 64 + 8]);
        reencode(Kind::KeyUpdate, content.as_bytes()).is_none()
    };
    let good = header.clone();
    assert!(!refused(good.clone()));
    assert!(refused(UpdateHeader { index: 2, ..good.clone() }), "a packet beyond the last");
    assert!(refused(UpdateHeader { data_packets: 0, ..good.clone() }), "no packets");
    assert!(refused(UpdateHeader { block_data: 0, ..good.clone() }), "empty blocks");
    assert!(
        refused(UpdateHeader { block_data: 10, block_parity: 23, ..good.clone() }),
        "more than a NAK can name"
    );
    assert!(
        refused(UpdateHeader { data_packets: 60_000, block_data: 1, block_parity: 9, ..good.clone() }),
        "more packets than a path can prove"
    );
    assert!(
        refused(UpdateHeader { first: good.last, last: good.first, ..good.clone() }),
        "a range backwards"
    );
    assert!(refused(UpdateHeader { previous: good.state.epoch, ..good.clone() }), "no step forward");
}

#[test]
fn a_body_with_targets_out_of_order_or_twice_is_refused() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let (header, body) = subgroup.cut(&[], &[0, 8], 1).contents.remove(0);
    let alone = |place: usize| {
        let target = &body.targets[place];
        let range = target.entries.start as usize..target.entries.end as usize;
        let entries = body.entries[range].to_vec();
        let target = keytree::Target { entries: 0..entries.len() as u32, ..target.clone() };
        let mut writer = Writer::new();
        Body { targets: vec![target], entries }.encode(&header, &mut writer);
        writer.into_bytes()
    };
    let read = |bytes: &[u8]| Body::decode(Suite::Aes256Ctr, &header, Reader::new(bytes)).is_ok();
    assert!(body.targets[0].node.level < body.targets.last().unwrap().node.level);
    let (low, high) = (alone(0), alone(body.targets.len() - 1));
    assert!(read(&[&low[..], &high].concat()));
    assert!(!read(&[&high[..], &low].concat()), "levels descend");
    assert!(!read(&[&high[..], &high].concat()), "one node twice");
}

/// A step count is written only where it is not zero, and a number in its shortest form.
#[test]
fn a_body_with_a_number_in_a_second_form_is_refused() {
    let mut subgroup = Subgroup::new(domain(Suite::Aes256Ctr));
    let (header, _) = subgroup.cut(&[9], &[], 1).contents.remove(0);
    let read = |bytes: &[u8]| Body::decode(Suite::Aes256Ctr, &header, Reader::new(bytes)).is_ok();
    // Level 2, replaced, index 0, a child mask of one; then the wrapping key, and the sealed key.
    let entry = |wrapping: &[u8]| [&[2, 0, 1], wrapping, &[7; 32]].concat();
    assert!(read(&entry(&[0])));
    assert!(read(&entry(&[1, 5])), "five steps follow");
    assert!(!read(&entry(&[1, 0])), "no steps, and said so twice");
    assert!(!read(&entry(&[0x80, 0])), "a zero in two bytes");
    assert!(!read(&entry(&[1, 0x85, 0])), "five in two bytes");
    assert!(!read(&entry(&[1, 0x80, 0x80, 4])), "more steps than 16 bits hold");
    // Level 1, stepped, index 0: base and steps of the node, no children.
    assert!(read(&[0x21, 0, 1, 5, 0]));
    assert!(!read(&[0x21, 0, 1, 0, 0]), "a step that is none");
    assert!(!read(&[0x21, 0, 3, 5, 0]), "a base before the first epoch");
    assert!(!read(&[0x61, 0, 0]), "a change that means nothing");
    assert!(!read(&[0x20, 0, 1, 5, 0]), "a leaf is no target");
    assert!(!read(&[0xa1, 0, 2, 1, 5, 0]), "a step is not chained");
    assert!(!read(&[0x82, 0, 16, 0]), "a chain from a slot no tree has");
    assert!(!read(&[0x01, 0, 0x80, 0x80, 4]), "a child mask of 17 bits");
}
