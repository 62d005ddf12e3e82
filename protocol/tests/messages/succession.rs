//! Who may follow a manager: attacks A27 and A28, and that nothing of SUSPICION, TAKEOVER and RENEWAL can be made up or changed.

use std::sync::Arc;

use crypto::{Ed25519Signer, ExchangePublic, ExchangeSecret, PublicKey, Secret, Signer};
use protocol::{
    Credential, Epoch, Gate, Inst, Office, Rejected, Renewal, SenderId, StateId, Succession, Suspicion,
    Takeover, Term, Verified,
};

use super::subgroup::{ELSEWHERE, SUITES, Subgroup, at, domain, flipped};
use super::verifiers::Counting;

/// Milliseconds between two tries, so that the budget for signatures is never what refuses.
const PACE: u64 = 200;
/// The counter of the newest alarm.
const COUNTER: u64 = 100;

fn signer(of: u8) -> Ed25519Signer {
    Ed25519Signer::from_seed(&Secret::new([of; 32]))
}

/// A subgroup whose manager is lost: member 1 is its successor, 2 to 5 are others.
struct Lost {
    subgroup: Subgroup,
    in_step: Vec<SenderId>,
    members: u32,
    hard: Epoch,
    silent: bool,
}

impl Lost {
    fn new() -> Self {
        let subgroup = Subgroup::new(domain(SUITES[0]));
        let hard = subgroup.state.epoch;
        Self { subgroup, in_step: vec![SenderId(1)], members: 6, hard, silent: true }
    }

    fn credential(&self, of: u8) -> Credential {
        self.credential_by(of, of == 1, &self.subgroup.signer)
    }

    fn credential_by(&self, of: u8, eligible: bool, manager: &Ed25519Signer) -> Credential {
        let key = signer(of).public_key();
        Credential::sign(&self.subgroup.domain, SenderId(u64::from(of)), key, eligible, manager)
    }

    fn suspicion(&self, of: u8) -> Suspicion {
        self.suspicion_at(of, self.subgroup.state, COUNTER)
    }

    fn suspicion_at(&self, of: u8, state: StateId, counter: u64) -> Suspicion {
        let (credential, prefilter) = (self.credential(of), &self.subgroup.prefilter);
        Suspicion::sign(&self.subgroup.domain, (state, counter), credential, prefilter, &signer(of))
    }

    fn office(&self) -> Office {
        Office {
            old: self.subgroup.state,
            start: StateId { term: Term(2), inst: Inst(0x77), epoch: Epoch(0) },
            key: signer(1).public_key(),
            sender: SenderId(1),
            address: ([10, 0, 0, 2], 5_000).into(),
            registrar: ([10, 0, 0, 2], 7_400).into(),
        }
    }

    fn takeover(&self, suspicions: &[Suspicion]) -> Vec<u8> {
        Takeover::suspected(&self.subgroup.domain, self.office(), self.credential(1), suspicions, &signer(1))
    }

    fn judge(&self, gate: &mut Gate, ms: u64, datagram: &[u8]) -> Result<Verified<Takeover>, Rejected> {
        let manager = *gate.manager();
        let succession = Succession {
            domain: &self.subgroup.domain,
            manager,
            former: gate.former(),
            known: self.subgroup.state,
            counter: COUNTER,
            in_step: &self.in_step,
            members: self.members,
            hard: self.hard,
            silent: self.silent,
        };
        gate.takeover(at(ms), ELSEWHERE, &succession, datagram)
    }

    /// What a fresh member makes of it.
    fn verdict(&self, datagram: &[u8]) -> Result<(), Rejected> {
        self.judge(&mut self.subgroup.gate(), 0, datagram).map(drop)
    }
}

#[test]
fn two_others_that_suspect_the_manager_let_a_successor_in_step_take_over() {
    let lost = Lost::new();
    let takeover = lost.takeover(&[lost.suspicion(2), lost.suspicion(3)]);
    let mut gate = lost.subgroup.gate();
    let taken = lost.judge(&mut gate, 0, &takeover).unwrap();
    assert_eq!(taken.office, lost.office());
    gate.follow_successor(&taken);
    assert_eq!(*gate.manager(), signer(1).public_key());
    assert_eq!(gate.start(), lost.office().start);
    assert_eq!(gate.former(), Some(lost.subgroup.signer.public_key()));
}

#[test]
fn in_a_smaller_group_all_others_must_suspect_it() {
    for (members, required) in [(1, 0), (2, 0), (3, 1), (4, 2), (5, 2), (10_000, 2)] {
        let lost = Lost { members, ..Lost::new() };
        let suspicions = [lost.suspicion(2), lost.suspicion(3)];
        for count in 0..=2 {
            let verdict = lost.verdict(&lost.takeover(&suspicions[..count]));
            assert_eq!(verdict.is_ok(), count >= required, "{count} of {members} members");
        }
    }
}

/// Attack A27: suspicions that prove nothing about the manager as it is now.
#[test]
fn suspicions_that_are_old_doubled_borrowed_or_made_up_count_for_nothing() {
    let lost = Lost::new();
    let state = lost.subgroup.state;
    let older = state.at(Epoch(state.epoch.0 - 1));
    let other_start = StateId { inst: Inst(9), ..state };
    let stranger = signer(0x66);
    let by_stranger = |of: u8| {
        let credential = lost.credential_by(of, false, &stranger);
        let at = (state, COUNTER);
        Suspicion::sign(&lost.subgroup.domain, at, credential, &lost.subgroup.prefilter, &signer(of))
    };
    let wrong_mac = |of: u8| {
        let (credential, key) = (lost.credential(of), Secret::new([9; 32]));
        Suspicion::sign(&lost.subgroup.domain, (state, COUNTER), credential, &key, &signer(of))
    };
    let wrong_signer = |of: u8| {
        let (credential, key) = (lost.credential(of), &lost.subgroup.prefilter);
        Suspicion::sign(&lost.subgroup.domain, (state, COUNTER), credential, key, &stranger)
    };
    let cases = [
        ("of one member twice", [lost.suspicion(2), lost.suspicion(2)]),
        ("of the successor itself", [lost.suspicion(2), lost.suspicion(1)]),
        ("of an outage before", [lost.suspicion(2), lost.suspicion_at(3, state, COUNTER - 13)]),
        ("of before an eviction", [lost.suspicion(2), lost.suspicion_at(3, older, COUNTER)]),
        ("of another start", [lost.suspicion(2), lost.suspicion_at(3, other_start, COUNTER)]),
        ("of a node without a credential", [lost.suspicion(2), by_stranger(3)]),
        ("without the key of the state", [lost.suspicion(2), wrong_mac(3)]),
        ("not signed by its member", [lost.suspicion(2), wrong_signer(3)]),
    ];
    for (what, suspicions) in cases {
        assert!(lost.verdict(&lost.takeover(&suspicions)).is_err(), "a suspicion {what}");
    }
    let slack = lost.suspicion_at(3, state, COUNTER - 12);
    assert_eq!(lost.verdict(&lost.takeover(&[lost.suspicion(2), slack])), Ok(()));
}

/// Attack A28: a successor that is none.
#[test]
fn nobody_takes_over_that_the_newest_alarm_does_not_name_as_in_step() {
    let lost = Lost::new();
    let (domain, office) = (&lost.subgroup.domain, lost.office());
    let suspicions = [lost.suspicion(2), lost.suspicion(3)];
    let made = |office, credential, signer: &Ed25519Signer| {
        Takeover::suspected(domain, office, credential, &suspicions, signer)
    };
    let not_eligible = lost.credential_by(1, false, &lost.subgroup.signer);
    let self_made = lost.credential_by(1, true, &signer(1));
    let far = Office { start: StateId { term: Term(70_000), ..office.start }, ..office };
    let other_key = Office { key: signer(2).public_key(), ..office };
    let other_sender = Office { sender: SenderId(2), ..office };
    let credential = lost.credential(1);
    let cases = [
        ("not eligible", made(office, not_eligible, &signer(1))),
        ("vouched for by itself", made(office, self_made, &signer(1))),
        ("signed by another", made(office, credential, &signer(2))),
        ("of a term far away", made(far, credential, &signer(1))),
        ("for another key", made(other_key, credential, &signer(1))),
        ("for another registration", made(other_sender, credential, &signer(1))),
        ("handed on by itself", Takeover::handed(domain, office, &signer(1))),
    ];
    for (what, datagram) in cases {
        assert!(lost.verdict(&datagram).is_err(), "a successor {what}");
    }
    let genuine = lost.takeover(&suspicions);
    assert_eq!(lost.verdict(&genuine), Ok(()));
    let out_of_step = Lost { in_step: vec![SenderId(2)], ..Lost::new() };
    assert_eq!(out_of_step.verdict(&genuine), Err(Rejected::OutOfPlace));
    let not_silent = Lost { silent: false, ..Lost::new() };
    assert_eq!(not_silent.verdict(&genuine), Err(Rejected::OutOfPlace));
}

#[test]
fn a_manager_hands_its_office_on_to_whom_it_likes_without_any_silence() {
    let lost = Lost { silent: false, in_step: Vec::new(), ..Lost::new() };
    let handed = Takeover::handed(&lost.subgroup.domain, lost.office(), &lost.subgroup.signer);
    let mut gate = lost.subgroup.gate();
    let taken = lost.judge(&mut gate, 0, &handed).unwrap();
    gate.follow_successor(&taken);
    // The manager before has nothing to say any more.
    let alarm = Lost::new().subgroup.signed_alarm();
    assert!(gate.alarm(at(1), ELSEWHERE, &alarm).is_err());
}

#[test]
fn a_takeover_that_shows_nothing_costs_no_signature_check() {
    let lost = Lost::new();
    let verifier = Arc::new(Counting::default());
    let mut gate = lost.subgroup.gate_with(Arc::<Counting>::clone(&verifier));
    let key = Secret::new([9; 32]);
    let at_state = (lost.subgroup.state, COUNTER);
    let forged =
        |of: u8| Suspicion::sign(&lost.subgroup.domain, at_state, lost.credential(of), &key, &signer(of));
    let takeover = lost.takeover(&[forged(2), forged(3)]);
    for ms in 0..1_000 {
        assert!(lost.judge(&mut gate, ms, &takeover).is_err());
    }
    assert_eq!(verifier.checks(), 0);
}

#[test]
fn no_bit_of_a_suspicion_a_takeover_or_a_renewal_can_be_changed() {
    let lost = Lost::new();
    let domain = &lost.subgroup.domain;
    let takeover = lost.takeover(&[lost.suspicion(2), lost.suspicion(3)]);
    let handed = Takeover::handed(domain, lost.office(), &lost.subgroup.signer);
    let start = StateId { term: Term(2), inst: Inst(3), epoch: Epoch(0) };
    let renewal = Renewal { start, number: 1, leaf_steps: 3, key: ExchangePublic([7; 32]) };
    let renewal = renewal.encode(domain, &lost.subgroup.signer);
    for (bit, datagram) in bits(&takeover).chain(bits(&handed)) {
        assert!(lost.verdict(&datagram).is_err(), "bit {bit} of a takeover");
    }
    for (bit, datagram) in bits(&renewal) {
        assert!(lost.subgroup.gate().renewal(at(0), ELSEWHERE, &datagram).is_err(), "bit {bit}");
    }
    assert!(lost.subgroup.gate().renewal(at(0), ELSEWHERE, &renewal).is_ok());
    let genuine = lost.suspicion(2).encode(domain);
    let mut gate = lost.subgroup.gate();
    let manager = lost.subgroup.signer.public_key();
    for (bit, datagram) in bits(&genuine) {
        let ms = bit as u64 * PACE;
        assert!(heard(&lost, &mut gate, manager, ms, &datagram).is_err(), "bit {bit} of a suspicion");
    }
    assert!(heard(&lost, &mut gate, manager, 0, &genuine).is_ok());
}

fn bits(datagram: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..datagram.len() * 8).map(|bit| (bit, flipped(datagram, bit)))
}

fn heard(
    lost: &Lost,
    gate: &mut Gate,
    manager: PublicKey,
    ms: u64,
    datagram: &[u8],
) -> Result<Verified<Suspicion>, Rejected> {
    let succession = Succession {
        domain: &lost.subgroup.domain,
        manager,
        former: None,
        known: lost.subgroup.state,
        counter: COUNTER,
        in_step: &lost.in_step,
        members: lost.members,
        hard: lost.hard,
        silent: true,
    };
    gate.suspicion(at(ms), ELSEWHERE, &succession, datagram)
}

#[test]
fn a_renewal_gives_both_ends_secrets_that_who_knew_the_old_ones_does_not_find() {
    for suite in SUITES {
        let domain = domain(suite);
        let (manager, member) = (exchange(1), exchange(2));
        let old = (Secret::new([3; 32]), Secret::new([4; 32]));
        let old = (&old.0, &old.1);
        let (leaf, unicast) = domain.renew(1, &manager, &member.public_key(), old).unwrap();
        assert_eq!(
            domain.renew(1, &member, &manager.public_key(), old),
            Some((leaf.clone(), unicast.clone()))
        );
        assert!(leaf != unicast && leaf != *old.0 && unicast != *old.1);
        // Whoever held the old secrets has neither of the two private keys.
        let former = domain.renew(1, &exchange(5), &member.public_key(), old).unwrap();
        assert!(former.0 != leaf && former.1 != unicast);
        let again = domain.renew(2, &manager, &member.public_key(), old).unwrap();
        assert!(again.0 != leaf && again.1 != unicast);
        // With a point of small order anybody would agree.
        assert_eq!(domain.renew(1, &manager, &ExchangePublic([0; 32]), old), None);
    }
}

fn exchange(of: u8) -> ExchangeSecret {
    ExchangeSecret::from_bytes(Secret::new([of; 32]))
}

#[test]
fn credentials_of_the_manager_before_count_until_they_are_forgotten() {
    let mut lost = Lost::new();
    let first = lost.takeover(&[lost.suspicion(2), lost.suspicion(3)]);
    let mut gate = lost.subgroup.gate();
    let taken = lost.judge(&mut gate, 0, &first).unwrap();
    gate.follow_successor(&taken);
    // The new manager is lost as well, before anybody has a credential of its.
    let state = lost.office().start.at(Epoch(1));
    gate.install_prefilter(state.epoch, lost.subgroup.prefilter.clone());
    lost.subgroup.state = state;
    lost.hard = state.epoch;
    let office = Office {
        old: state,
        start: StateId { term: Term(3), inst: Inst(0x78), epoch: Epoch(0) },
        key: signer(4).public_key(),
        sender: SenderId(4),
        ..lost.office()
    };
    lost.in_step = vec![SenderId(4)];
    let credential = lost.credential_by(4, true, &lost.subgroup.signer);
    let suspicions = [lost.suspicion(2), lost.suspicion(3)];
    let second = Takeover::suspected(&lost.subgroup.domain, office, credential, &suspicions, &signer(4));
    assert!(lost.judge(&mut gate, PACE, &second).is_ok());
    gate.forget_former();
    assert_eq!(lost.judge(&mut gate, 2 * PACE, &second).map(drop), Err(Rejected::NotAuthentic));
}
