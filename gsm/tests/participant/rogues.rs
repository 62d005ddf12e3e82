//! Strangers that say they are managers of the group (attacks A1, A12, A29).

use std::time::Duration;

use crypto::{Ed25519Signer, MerkleHash, Secret, Signer, Suite};
use protocol::discovery::{Claim, Mandate, Presence};
use protocol::{
    Alarm, Domain, Epoch, GroupId, Input, Inst, Lane, Machine as _, Rejected, RosterVersion, StateId,
    SubgroupId, Term, Transmit, Version,
};

use crate::lan::{Certificates, GROUP, Lan, address, registrar};

/// A presence as whoever has this certificate and this key would send it.
struct Rogue {
    certificate: Vec<u8>,
    signer: Ed25519Signer,
    mandate: Mandate,
}

impl Rogue {
    fn new(identity: &str, manager: bool) -> Self {
        let certificate = Certificates::certificate(identity, manager);
        let signer = Ed25519Signer::from_seed(&Secret::new([0x33; 32]));
        let mandate = Certificates::mandate(&certificate, signer.public_key());
        Self { certificate, signer, mandate }
    }

    fn presence(&self, group: GroupId, term: u32, counter: u64) -> Vec<u8> {
        let domain = Domain { suite: Suite::Aes256Ctr, group, subgroup: SubgroupId(0x66) };
        let alarm = alarm(term, counter).encode(&domain, &self.signer);
        Presence::encode(group, &self.mandate, &[registrar(70)], &alarm, &self.signer).unwrap()
    }
}

fn alarm(term: u32, counter: u64) -> Alarm {
    Alarm {
        state: StateId { term: Term(term), inst: Inst(1), epoch: Epoch(1) },
        counter,
        journal: 0,
        root: Version::default(),
        height: 1,
        leaf_steps: 0,
        key_check: [0; 8],
        hard: false,
        activation: Duration::ZERO,
        message_root: MerkleHash([0; 16]),
        message_packets: 0,
        oldest: Epoch(1),
        roster: RosterVersion(0),
        policy: [0; 16],
        next_rekey: Duration::ZERO,
        path: Vec::new(),
        successors: Vec::new(),
        in_step: 0,
        members: 1,
        renewals: 0,
    }
}

fn manager() -> (Lan, usize) {
    let mut lan = Lan::new();
    let manager = lan.manager("one");
    lan.run(Duration::from_secs(3));
    (lan, manager)
}

/// What a manager connects to within a minute, with what it hears every two seconds.
fn connects(lan: &mut Lan, manager: usize, mut says: impl FnMut(u64) -> Vec<u8>) -> usize {
    let mut opened = 0;
    for second in 0..30 {
        let _ = lan.inject(manager, Lane::Discovery, &says(second));
        let end = lan.now + Duration::from_secs(2);
        let participant = &mut lan.nodes[manager].participant;
        while let Some(due) = participant.poll_timeout().filter(|due| *due <= end) {
            participant.handle_timeout(due);
            while let Some(record) = participant.poll_record() {
                participant.handle_input(due, Input::Stored { upto: record.commit }).unwrap();
            }
            while let Some(transmit) = participant.poll_transmit() {
                if let Transmit::Open { conn, .. } = transmit {
                    opened += 1;
                    let why = protocol::CloseReason::Unreachable("nobody is there".into());
                    participant.handle_input(due, Input::Closed { conn, why }).unwrap();
                }
            }
        }
        lan.now = end;
    }
    opened
}

#[test]
fn a_presence_of_whoever_is_not_certified_as_manager_does_nothing() {
    let (mut lan, manager) = manager();
    let member = Rogue::new("member", false);
    // Under another authority: the certificate's key is not the one that signed.
    let mut foreign = Rogue::new("foreign", true);
    foreign.mandate = Mandate {
        signature: foreign.signer.sign(&Mandate::message(GROUP, &foreign.signer.public_key())).0.to_vec(),
        ..foreign.mandate
    };
    // With a mandate that was heard, and another key behind it.
    let mut thief = Rogue::new("real", true);
    thief.signer = Ed25519Signer::from_seed(&Secret::new([0x44; 32]));
    // Of another group with the same authority.
    let elsewhere = Rogue::new("elsewhere", true);
    for (rogue, group) in [(&member, GROUP), (&foreign, GROUP), (&thief, GROUP)] {
        let bytes = rogue.presence(group, 9, 1);
        assert_eq!(lan.inject(manager, Lane::Discovery, &bytes), Err(Rejected::NotAuthentic));
    }
    let other = GroupId::from_bytes([8; 16]);
    let bytes = elsewhere.presence(other, 9, 1);
    assert_eq!(lan.inject(manager, Lane::Discovery, &bytes), Err(Rejected::OtherGroup));
    assert!(!member.certificate.is_empty());
    assert_eq!(connects(&mut lan, manager, |counter| member.presence(GROUP, 9, counter)), 0);
    assert!(lan.nodes[manager].participant.accepts());
}

#[test]
fn a_presence_cannot_be_changed_or_said_twice() {
    let (mut lan, manager) = manager();
    let other = Rogue::new("other", true);
    let bytes = other.presence(GROUP, 1, 5);
    for place in 28..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(lan.inject(manager, Lane::Discovery, &changed).is_err(), "{place}");
        // Certificate checks have a budget.
        lan.now += Duration::from_millis(100);
    }
    assert_eq!(lan.inject(manager, Lane::Discovery, &bytes), Ok(()));
    assert_eq!(lan.inject(manager, Lane::Discovery, &bytes), Err(Rejected::Stale));
    let before = other.presence(GROUP, 1, 4);
    assert_eq!(lan.inject(manager, Lane::Discovery, &before), Err(Rejected::Stale));
}

#[test]
fn a_term_far_beyond_is_not_followed() {
    let (mut lan, manager) = manager();
    let other = Rogue::new("other", true);
    let bytes = other.presence(GROUP, u32::MAX, 1);
    assert_eq!(lan.inject(manager, Lane::Discovery, &bytes), Err(Rejected::Stale));
    assert_eq!(connects(&mut lan, manager, |counter| other.presence(GROUP, u32::MAX, counter + 2)), 0);
}

#[test]
fn a_certified_manager_that_is_not_there_costs_a_connection_now_and_then() {
    let (mut lan, manager) = manager();
    let other = Rogue::new("other", true);
    let opened = connects(&mut lan, manager, |counter| other.presence(GROUP, 9, counter + 1));
    assert!((2..12).contains(&opened), "{opened}");
    assert!(lan.nodes[manager].participant.accepts());
}

#[test]
fn nothing_is_handed_to_another_node_than_the_one_that_was_heard() {
    let mut lan = Lan::new();
    let manager = lan.manager("one");
    // At the registrar that the rogue names there is a certified manager, but not the rogue.
    let there = lan.add("there", gsm::Part::Manager, true, &[], |config| config.merges = false);
    lan.deaf.extend([(manager, there), (there, manager)]);
    lan.run(Duration::from_secs(3));
    crate::handover::shut_out(&mut lan, manager, &["x".into()]);
    let other = Rogue::new("other", true);
    for counter in 1..10 {
        let domain = Domain { suite: Suite::Aes256Ctr, group: GROUP, subgroup: SubgroupId(0x66) };
        let alarm = alarm(9, counter).encode(&domain, &other.signer);
        let bytes =
            Presence::encode(GROUP, &other.mandate, &[registrar(there)], &alarm, &other.signer).unwrap();
        lan.inject(manager, Lane::Discovery, &bytes).unwrap();
        lan.run(Duration::from_secs(2));
    }
    assert_eq!(lan.managers(), [manager, there]);
    assert_eq!(lan.gsm(there).status(lan.now).revocations, 0);
    let refused = |event: &gsm::GsmEvent| {
        matches!(event, gsm::GsmEvent::NotMerged { why: protocol::CloseReason::Refused(_), .. })
    };
    assert!(lan.manager_events(manager).any(refused));
}

#[test]
fn a_claim_is_answered_by_a_presence_at_once_and_no_more_than_five_times_a_second() {
    let (mut lan, manager) = manager();
    lan.run(Duration::from_millis(900));
    let other = Rogue::new("other", true);
    let claim = Claim { mandate: other.mandate.clone(), priority: 9, registrar: registrar(70) };
    let bytes = claim.encode(GROUP, &other.signer);
    lan.recorded.clear();
    for _ in 0..100 {
        lan.inject(manager, Lane::Discovery, &bytes).unwrap();
        lan.run(Duration::from_millis(10));
    }
    let said = lan.recorded.iter().filter(|(to, _)| *to == crate::lan::discovery()).count();
    assert!((3..=6).contains(&said), "{said}");
    assert!(lan.managers() == [manager] && address(0) != address(1));
}
