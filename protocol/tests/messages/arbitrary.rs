//! Generators for every message: anything its rules allow, and nothing more.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crypto::{EntryIv, ExchangePublic, MerkleHash, PublicKey, Secret, Signature, Suite};
use keytree::{Change, Degree, Entry, NodeId, PathKey, Sealed, Target, TreeId};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use protocol::limits::{
    MAX_DATAGRAM, MAX_DEPTH, MAX_GRANT_REVOCATIONS, MAX_REVOCATIONS_A_PACKET, MAX_ROSTER, MAX_SUCCESSORS,
};
use protocol::{
    Alarm, Body, Commit, Confirm, Credential, Domain, Epoch, Follow, Frame, Grant, GroupId, Handover,
    HandoverTaken, Inst, Join, JoinRole, Nak, Office, OfficeTaken, Refusal, RegNo, ResyncAnswer, Revocation,
    Roster, RosterVersion, SenderId, SignedRevocation, StateId, StatePart, SubgroupId, Term, Timing,
    ToManager, ToMember, UpdateHeader, Version,
};

/// The same cases in every run, unless the environment (`PROPTEST_CASES`, `PROPTEST_RNG_SEED`) says otherwise.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = count;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

pub(crate) fn suite() -> impl Strategy<Value = Suite> + Clone {
    select(vec![Suite::Aes256Ctr, Suite::Aes256Kw])
}

pub(crate) fn domain() -> impl Strategy<Value = Domain> {
    (suite(), any::<[u8; 16]>(), any::<u64>()).prop_map(|(suite, group, subgroup)| Domain {
        suite,
        group: GroupId::from_bytes(group),
        subgroup: SubgroupId(subgroup),
    })
}

pub(crate) fn state() -> impl Strategy<Value = StateId> {
    (number(), any::<u64>(), number()).prop_map(|(term, inst, epoch)| StateId {
        term: Term(term),
        inst: Inst(inst),
        epoch: Epoch(epoch),
    })
}

/// 32-bit numbers, the small and the extreme ones more often than chance would have it.
pub(crate) fn number() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..300_u32, 1 => Just(u32::MAX), 1 => Just(u32::MAX / 2), 3 => any::<u32>()]
}

fn version() -> impl Strategy<Value = Version> {
    (number(), any::<u16>()).prop_map(|(base, steps)| Version { base: Epoch(base), steps })
}

fn signature() -> impl Strategy<Value = Signature> {
    vec(any::<u8>(), 64).prop_map(|bytes| Signature(bytes.try_into().unwrap()))
}

pub(crate) fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        Just(IpAddr::from([239, 192, 0, 1])),
        Just("ff15::c0:ffee".parse().unwrap()),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

fn millis(most: u32) -> impl Strategy<Value = Duration> {
    (1..=most).prop_map(|ms| Duration::from_millis(ms.into()))
}

fn timing() -> impl Strategy<Value = Timing> {
    vec(millis(u32::MAX), 12).prop_map(|times| Timing {
        rekey_interval: times[0],
        alarm_interval: times[1],
        silence: times[2],
        soft_activation: times[3],
        soft_cut: times[4],
        hard_activation: times[5],
        hard_cut: times[6],
        keepalive: times[7],
        nak_wait: times[8],
        nak_round: times[9],
        refresh: times[10],
        t_hard: times[11],
    })
}

pub(crate) fn credential() -> impl Strategy<Value = Credential> {
    (any::<u64>(), any::<[u8; 32]>(), any::<bool>(), signature()).prop_map(
        |(sender, key, eligible, signature)| Credential {
            sender: SenderId(sender),
            key: PublicKey(key),
            eligible,
            signature,
        },
    )
}

pub(crate) fn roster() -> impl Strategy<Value = Roster> {
    (number(), btree_map(any::<u64>(), any::<[u8; 32]>(), 0..=MAX_ROSTER), signature()).prop_map(
        |(version, eligible, signature)| Roster {
            version: RosterVersion(version),
            eligible: eligible.into_iter().map(|(sender, key)| (SenderId(sender), PublicKey(key))).collect(),
            signature,
        },
    )
}

pub(crate) fn revocation() -> impl Strategy<Value = Revocation> {
    any::<([u8; 32], [u8; 32])>().prop_map(|(identity, certificate)| Revocation { identity, certificate })
}

fn revocations() -> impl Strategy<Value = Vec<SignedRevocation>> {
    prop_oneof![
        15 => btree_set(revocation(), 0..8),
        1 => btree_set(revocation(), MAX_GRANT_REVOCATIONS..=MAX_GRANT_REVOCATIONS),
    ]
    .prop_map(|set| {
        let signed = |revocation| SignedRevocation { revocation, signature: Signature([7; 64]) };
        set.into_iter().map(signed).collect()
    })
}

fn grant() -> impl Strategy<Value = Grant> {
    let names = (domain(), state(), number(), any::<u64>(), any::<u32>(), 2..=16_u8, any::<u16>());
    let places = (any::<[u8; 32]>(), address(), address(), address(), any::<u8>(), timing());
    (names, places, credential(), roster(), revocations(), any::<[u8; 32]>()).prop_map(
        |(names, places, credential, roster, revocations, prefilter)| {
            let (domain, state, reg_no, sender, tree, degree, leaf_steps) = names;
            let (manager, control, data, manager_address, ttl, timing) = places;
            Grant {
                domain,
                state,
                reg_no: RegNo(reg_no),
                sender: SenderId(sender),
                tree: TreeId(tree),
                degree: Degree::new(degree).unwrap(),
                leaf_steps,
                manager: PublicKey(manager),
                control,
                data,
                manager_address,
                ttl,
                timing,
                credential,
                roster,
                revocations,
                prefilter: Secret::new(prefilter),
            }
        },
    )
}

fn handover() -> impl Strategy<Value = Handover> {
    let named = (vec(revocation(), 0..8), senders(), senders());
    (any::<([u8; 16], u64, bool)>(), state(), named).prop_map(
        |((group, subgroup, last), state, (revocations, departed, members))| Handover {
            group: GroupId::from_bytes(group),
            subgroup: SubgroupId(subgroup),
            state,
            revocations,
            departed,
            members,
            last,
        },
    )
}

fn senders() -> impl Strategy<Value = Vec<SenderId>> {
    vec(any::<u64>().prop_map(SenderId), 0..8)
}

/// What a node says of its managership: a start is of a later term than what it follows on.
pub(crate) fn office() -> impl Strategy<Value = Office> {
    let terms = (0..u32::MAX, 1..=u32::MAX);
    (terms, state(), state(), any::<([u8; 32], u64)>(), address(), address()).prop_map(
        |((term, more), old, start, (key, sender), address, registrar)| Office {
            old: StateId { term: Term(term), ..old },
            start: StateId { term: Term(term.saturating_add(more)), epoch: Epoch(0), ..start },
            key: PublicKey(key),
            sender: SenderId(sender),
            address,
            registrar,
        },
    )
}

fn following() -> impl Strategy<Value = Frame> {
    let bytes = || vec(any::<u8>(), 0..64);
    prop_oneof![
        any::<([u8; 16], u64, u64)>().prop_map(|(group, subgroup, sender)| Frame::Follow(Follow {
            group: GroupId::from_bytes(group),
            subgroup: SubgroupId(subgroup),
            sender: SenderId(sender),
        })),
        (any::<(u64, u16, u16)>(), bytes()).prop_map(|((upto, part, parts), bytes)| Frame::State(
            StatePart { upto: Commit(upto), part, parts, bytes }
        )),
        (any::<u64>(), bytes()).prop_map(|(commit, bytes)| Frame::Change(Commit(commit), bytes)),
        any::<u64>().prop_map(|upto| Frame::Followed(Commit(upto))),
        any::<u64>().prop_map(|upto| Frame::Office(Commit(upto))),
        office().prop_map(|office| Frame::OfficeTaken(OfficeTaken {
            start: office.start,
            key: office.key,
            address: office.address,
            registrar: office.registrar,
        })),
        bytes().prop_map(Frame::Warrant),
    ]
}

pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    let join = any::<([u8; 16], [u8; 32], [u8; 32])>().prop_map(|(group, signing, exchange)| {
        Frame::Join(Join {
            group: GroupId::from_bytes(group),
            role: JoinRole::Member,
            signing: PublicKey(signing),
            exchange: ExchangePublic(exchange),
        })
    });
    let confirm = any::<[u8; 16]>().prop_map(|mac| Confirm { mac });
    prop_oneof![
        1 => join,
        5 => (grant(), confirm.clone()).prop_map(|(grant, confirm)| Frame::Grant(Box::new(grant), confirm)),
        1 => confirm.prop_map(Frame::Confirm),
        1 => Just(Frame::Admitted),
        1 => select(Refusal::ALL.to_vec()).prop_map(Frame::Refused),
        1 => handover().prop_map(Frame::Handover),
        1 => (option::of(office()), senders())
            .prop_map(|(office, strangers)| Frame::HandoverTaken(HandoverTaken { office, strangers })),
        5 => following(),
    ]
}

pub(crate) fn alarm() -> impl Strategy<Value = Alarm> {
    let numbers = (state(), any::<u64>(), any::<u64>(), version(), any::<u8>(), any::<u16>());
    let checks = (any::<[u8; 8]>(), any::<bool>(), millis(65_535), any::<[u8; 16]>(), any::<u16>(), number());
    let policy = (number(), any::<[u8; 16]>(), millis(u32::MAX));
    let lists = (vec(any::<u64>(), 0..=MAX_DEPTH), vec(any::<u64>(), 0..=MAX_SUCCESSORS));
    let rest = any::<(u8, u32, u16)>();
    (numbers, checks, policy, lists, rest).prop_map(|(numbers, checks, policy, (path, successors), rest)| {
        let (in_step, members, renewals) = rest;
        let (state, counter, journal, root, height, leaf_steps) = numbers;
        let (key_check, hard, activation, message_root, message_packets, oldest) = checks;
        Alarm {
            state,
            counter,
            journal,
            root,
            height,
            leaf_steps,
            key_check,
            hard,
            activation,
            message_root: MerkleHash(message_root),
            message_packets,
            oldest: Epoch(oldest),
            roster: RosterVersion(policy.0),
            policy: policy.1,
            next_rekey: policy.2,
            path: path.into_iter().map(SubgroupId).collect(),
            successors: successors.into_iter().map(SenderId).collect(),
            in_step,
            members,
            renewals,
        }
    })
}

pub(crate) fn nak() -> impl Strategy<Value = Nak> {
    let loss = prop_oneof![0..=100_u8, Just(protocol::UNKNOWN_LOSS)];
    (state(), number(), number(), any::<u16>(), any::<u64>(), loss, any::<u64>()).prop_map(
        |(wanted, held, reg_no, block, missing, loss, nonce)| Nak {
            wanted,
            held: Epoch(held),
            reg_no: RegNo(reg_no),
            block,
            missing,
            loss,
            nonce,
        },
    )
}

pub(crate) fn to_manager() -> impl Strategy<Value = ToManager> {
    let held = || option::of(state());
    prop_oneof![
        (any::<u64>(), held()).prop_map(|(counter, held)| ToManager::Keepalive { counter, held }),
        (any::<u64>(), held()).prop_map(|(nonce, held)| ToManager::Resync { nonce, held }),
        any::<u64>().prop_map(|nonce| ToManager::Leave { nonce }),
        any::<(u64, u32)>().prop_map(|(nonce, from)| ToManager::Revocations { nonce, from }),
        any::<u64>().prop_map(|nonce| ToManager::Probe { nonce }),
        any::<u64>().prop_map(|nonce| ToManager::Credential { nonce }),
        (any::<(u64, [u8; 32])>(), signed_revocations()).prop_map(|((nonce, issuer), revocations)| {
            ToManager::Evidence { nonce, issuer: PublicKey(issuer), revocations }
        }),
    ]
}

pub(crate) fn to_member() -> impl Strategy<Value = ToMember> {
    let key = (any::<u8>(), version(), any::<[u8; 32]>()).prop_map(|(level, version, secret)| PathKey {
        level,
        version,
        secret: Secret::new(secret),
    });
    let answer = (any::<u64>(), vec(any::<u8>(), 0..=MAX_DATAGRAM), vec(key, 0..=31))
        .prop_map(|(nonce, alarm, path)| ToMember::Resync(ResyncAnswer { nonce, alarm, path }));
    let list = (any::<u64>(), any::<u32>(), signed_revocations())
        .prop_map(|(nonce, from, revocations)| ToMember::Revocations { nonce, from, revocations });
    prop_oneof![
        4 => answer,
        1 => any::<u64>().prop_map(|nonce| ToMember::LeaveTaken { nonce }),
        1 => list,
        1 => (any::<u64>(), vec(any::<u8>(), 0..=MAX_DATAGRAM))
            .prop_map(|(nonce, alarm)| ToMember::Alive { nonce, alarm }),
        1 => (any::<u64>(), credential())
            .prop_map(|(nonce, credential)| ToMember::Credential { nonce, credential }),
        1 => any::<u64>().prop_map(|nonce| ToMember::EvidenceTaken { nonce }),
    ]
}

fn signed_revocations() -> impl Strategy<Value = Vec<SignedRevocation>> {
    let signed = |revocation| SignedRevocation { revocation, signature: Signature([7; 64]) };
    vec(revocation().prop_map(signed), 0..=MAX_REVOCATIONS_A_PACKET)
}

/// A header whose packet stands alone or among up to 65,535.
pub(crate) fn header() -> impl Strategy<Value = UpdateHeader> {
    let blocks = prop_oneof![
        60 => (1..=3_u16, 1..=31_u8, 0..=1_u8),
        1 => (1..=u16::MAX, 1..=32_u8, Just(0)),
        20 => (1..=25_u16, 1..=10_u8, 0..=22_u8),
    ];
    let counts = (blocks, any::<u32>());
    let numbers = (state(), any::<u32>(), counts, number(), number(), any::<u8>(), version(), any::<u16>());
    let checks = (any::<bool>(), millis(65_535), any::<[u8; 8]>(), any::<[u8; 16]>(), any::<[u8; 12]>());
    (numbers, checks).prop_map(|(numbers, checks)| {
        let (
            mut state,
            previous,
            ((data_packets, block_data, block_parity), index),
            a,
            b,
            height,
            root,
            leaf_steps,
        ) = numbers;
        let (hard, activation, key_check, policy, iv) = checks;
        state.epoch.0 = state.epoch.0.max(1);
        let mut header = UpdateHeader {
            state,
            previous: Epoch(previous % state.epoch.0),
            index: 0,
            data_packets,
            block_data,
            block_parity,
            first: RegNo(a.min(b)),
            last: RegNo(a.max(b)),
            height,
            root,
            leaf_steps,
            hard,
            activation,
            key_check,
            policy,
            iv: EntryIv::new(iv),
        };
        header.index = (index % u32::from(data_packets)) as u16;
        header
    })
}

/// One changed node, before the header says what its versions may be.
#[derive(Clone, Debug)]
pub(crate) struct RawTarget {
    change: Change,
    chained_from: Option<u8>,
    version: (u32, u16),
    children: u16,
    wrapping: Vec<(u32, u16)>,
    fill: u8,
}

pub(crate) type RawBody = BTreeMap<(u8, u32), RawTarget>;

pub(crate) fn raw_body() -> impl Strategy<Value = RawBody> {
    let steps = prop_oneof![Just(0), 1..200_u16, any::<u16>()];
    let target = (
        select(vec![Change::Replace, Change::Step, Change::Fresh]),
        option::of(0..16_u8),
        (number(), 1..=u16::MAX),
        prop_oneof![Just(0), any::<u16>()],
        vec((number(), steps), 16),
        any::<u8>(),
    );
    let target = target.prop_map(|(change, chained_from, version, children, wrapping, fill)| RawTarget {
        change,
        chained_from: chained_from.filter(|_| change == Change::Replace),
        version,
        children,
        wrapping,
        fill,
    });
    btree_map((prop_oneof![4 => 1..4_u8, 1 => 1..=31_u8], number()), target, 0..12)
}

/// The body that a raw one makes under a header.
pub(crate) fn body(suite: Suite, header: &UpdateHeader, raw: &RawBody) -> Body {
    let mut body = Body::default();
    // A base may lie at most 31 bits back: the last bit says whether steps follow.
    let base = |since: u32| Epoch(header.state.epoch.0 - since.min(u32::MAX / 2).min(header.state.epoch.0));
    for ((level, index), raw) in raw {
        let start = body.entries.len() as u32;
        for child in (0..16_u8).filter(|child| raw.children & 1 << child != 0) {
            let (since, steps) = raw.wrapping[usize::from(child)];
            let wrapping = match level {
                1 => Version { base: Epoch(0), steps: header.leaf_steps },
                _ => Version { base: base(since), steps },
            };
            let sealed = Sealed::from_slice(&vec![raw.fill ^ child; suite.entry_len()]).unwrap();
            body.entries.push(Entry { child, wrapping, sealed });
        }
        let version = match raw.change {
            Change::Step => Version { base: base(raw.version.0), steps: raw.version.1 },
            Change::Replace | Change::Fresh => Version { base: header.state.epoch, steps: 0 },
        };
        let entries = start..body.entries.len() as u32;
        let node = NodeId { level: *level, index: *index };
        let (change, chained_from) = (raw.change, raw.chained_from);
        body.targets.push(Target { node, change, chained_from, version, entries });
    }
    body
}
