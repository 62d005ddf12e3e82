use crypto::{ExchangePublic, PublicKey, Secret, Suite};
use keytree::Degree;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use protocol::GroupId;

use super::*;
use crate::journal::LedgerBytes;

type Record = (Commit, Vec<u8>);

fn promised() -> Box<Promised> {
    Box::new(Promised {
        suite: Suite::Aes256Ctr,
        degree: Degree::default(),
        control: ([239, 192, 1, 2], 7_401).into(),
        data: ([239, 192, 1, 2], 7_402).into(),
        manager: PublicKey([8; 32]),
        times: [250; 11],
    })
}

/// What a manager does next, as far as its journal sees it.
#[derive(Clone, Copy, Debug)]
enum Act {
    Start,
    StartOver,
    Join,
    Depart(usize),
    Silence(usize),
    Evict(usize),
    Cut { steps: u16 },
    Revoke(u8),
    StepDown,
    Probe,
    Trust(usize),
    TakeOver,
    Renew,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Start),
        1 => Just(Act::StartOver),
        8 => Just(Act::Join),
        2 => any::<usize>().prop_map(Act::Depart),
        1 => any::<usize>().prop_map(Act::Silence),
        2 => any::<usize>().prop_map(Act::Evict),
        4 => (0_u16..2).prop_map(|steps| Act::Cut { steps }),
        1 => any::<u8>().prop_map(Act::Revoke),
        1 => Just(Act::StepDown),
        1 => Just(Act::Probe),
        2 => any::<usize>().prop_map(Act::Trust),
        1 => Just(Act::TakeOver),
        1 => Just(Act::Renew),
    ]
}

/// Writes the journal of a manager that does all this, and the ledger it comes to.
#[derive(Default)]
struct Author {
    ledger: Ledger,
    records: Vec<Record>,
    count: u32,
}

impl Author {
    fn write(acts: &[Act]) -> Self {
        let mut author = Self::default();
        author.act(Act::Start);
        acts.iter().for_each(|act| author.act(*act));
        author
    }

    fn act(&mut self, act: Act) {
        self.count += 1;
        let unique = self.count;
        let Some(entry) = self.entry(act, unique) else { return };
        let commit = Commit(self.records.len() as u64 + 1);
        self.records.push((commit, entry.encode()));
        self.ledger.apply(entry).unwrap();
    }

    fn entry(&self, act: Act, unique: u32) -> Option<JournalEntry> {
        let serving = self.ledger.start.is_some();
        let pick = |which: usize| {
            let members: Vec<_> = self.ledger.members.values().map(|member| member.sender).collect();
            Some(members[which.checked_rem(members.len())?])
        };
        let named = |name: u32| Revocation { identity: [name as u8; 32], certificate: [name as u8; 32] };
        match act {
            Act::Start | Act::StartOver => {
                let before = self.ledger.start.as_ref().map(|start| start.subgroup);
                let keep = matches!(act, Act::Start);
                let subgroup = before.filter(|_| keep).unwrap_or_else(|| SubgroupId(u64::from(unique)));
                let (term, inst) = (Term(self.ledger.term.0 + 1), Inst(u64::from(unique) << 32));
                let own = SenderId::issue(inst, 1);
                Some(JournalEntry::Started { subgroup, term, inst, own, promised: promised() })
            }
            Act::Trust(which) => Some(JournalEntry::Trusted { sender: pick(which)? }),
            Act::TakeOver if !serving => None,
            Act::TakeOver => Some(JournalEntry::TookOver { ledger: LedgerBytes::new(self.ledger.encode()) }),
            Act::Renew if serving => Some(JournalEntry::Renewed {
                group: GroupId::from_bytes([7; 16]),
                number: self.ledger.renewals + 1,
                secret: Secret::new([unique as u8; 32]),
            }),
            Act::Join if serving => Some(JournalEntry::Joined(Box::new(self.joined(unique)))),
            Act::Depart(which) => Some(JournalEntry::Departed { sender: pick(which)? }),
            Act::Silence(which) => Some(JournalEntry::Silent { sender: pick(which)? }),
            Act::Evict(which) => {
                Some(JournalEntry::Evicted { sender: pick(which)?, revocation: named(unique) })
            }
            Act::Cut { steps } if serving => {
                let start = self.ledger.start.as_ref()?;
                let at = StateId { term: self.ledger.term, inst: start.inst, epoch: Epoch(unique) };
                Some(JournalEntry::Cut { state: at, leaf_steps: self.ledger.leaf_steps + steps })
            }
            Act::Revoke(name) => Some(JournalEntry::Revoked { revocation: named(u32::from(name)) }),
            Act::StepDown => Some(JournalEntry::SteppedDown),
            Act::Probe => Some(JournalEntry::Probe),
            Act::Join | Act::Cut { .. } | Act::Renew => None,
        }
    }

    fn joined(&self, unique: u32) -> JoinedEntry {
        let free = (0..).map(RegNo).find(|reg_no| !self.ledger.members.contains_key(reg_no)).unwrap();
        JoinedEntry {
            reg_no: free,
            sender: SenderId(u64::from(unique)),
            identity: format!("node {unique}"),
            certificate: [1; 32],
            signing: PublicKey([2; 32]),
            exchange: ExchangePublic([3; 32]),
            eligible: unique.is_multiple_of(2),
            leaf: Secret::new([unique as u8; 32]),
            // Granted before the last step, confirmed after it.
            leaf_steps: self.ledger.leaf_steps.saturating_sub(1),
            unicast: Secret::new([4; 32]),
        }
    }
}

fn read(snapshot: Option<(Commit, &[u8])>, records: &[Record]) -> Result<Option<Remembered>, JournalError> {
    Remembered::from_loaded(snapshot, records.iter().map(|(commit, bytes)| (*commit, &bytes[..])), false)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150, failure_persistence: None, rng_seed: RngSeed::Fixed(12), ..ProptestConfig::default()
    })]

    #[test]
    fn a_snapshot_and_the_rest_amount_to_what_all_records_do(
        acts in proptest::collection::vec(act(), 1..60),
        split in any::<prop::sample::Index>(),
    ) {
        let Author { ledger, records, .. } = Author::write(&acts);
        let whole = read(None, &records).unwrap().unwrap();
        prop_assert!(whole.ledger == ledger);
        let split = split.index(records.len()) + 1;
        let first = read(None, &records[..split]).unwrap().unwrap();
        let snapshot = first.ledger.encode();
        prop_assert!(snapshot.capacity() < snapshot.len() + 300, "it never grew");
        let both = read(Some((Commit(split as u64), &snapshot)), &records[split..]).unwrap().unwrap();
        prop_assert!(both.ledger == whole.ledger);
        prop_assert_eq!((both.last, both.since_snapshot), (whole.last, records.len() - split));
        for len in 0..snapshot.len() {
            prop_assert!(Ledger::decode(&snapshot[..len]).is_err());
        }
    }

    #[test]
    fn a_journal_that_is_not_what_was_written_is_named_and_keeps_the_evicted_out(
        acts in proptest::collection::vec(act(), 1..40),
        at in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let Author { ledger, mut records, .. } = Author::write(&acts);
        let at = at.index(records.len());
        let (broken, bytes) = &mut records[at];
        let byte = byte.index(bytes.len());
        bytes[byte] ^= 1 << bit;
        let (broken, entry) = (*broken, JournalEntry::decode(bytes));
        match read(None, &records) {
            Ok(_) => {
                let over = acts.iter().any(|act| matches!(act, Act::StartOver | Act::StepDown));
                prop_assert!(entry.is_ok() || over, "what does not read is noticed");
            }
            Err(error) => {
                prop_assert!(error.commit >= broken);
                prop_assert!(error.to_string().contains(&error.commit.0.to_string()));
                let salvaged = error.salvaged();
                prop_assert!(salvaged.doubtful());
                let known = |one: &&Revocation| !salvaged.revocations().contains(one);
                prop_assert!(ledger.revocations.list.iter().filter(known).count() <= 1);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), snapshot: bool) {
        let records = [(Commit(1), bytes.clone())];
        let found = if snapshot { read(Some((Commit(1), &bytes)), &[]) } else { read(None, &records) };
        prop_assert!(found.is_ok_and(|found| found.is_some()) == (!snapshot && JournalEntry::decode(&bytes).is_ok()
            && Ledger::default().apply(JournalEntry::decode(&bytes).unwrap()).is_ok()
            && JournalEntry::decode(&bytes) != Ok(JournalEntry::Probe)
            && JournalEntry::decode(&bytes) != Ok(JournalEntry::SteppedDown)));
    }
}

#[test]
fn a_journal_without_a_manager_in_it_is_nothing() {
    assert_eq!(read(None, &[]), Ok(None));
    assert_eq!(read(None, &[(Commit(1), JournalEntry::Probe.encode())]), Ok(None));
}

#[test]
fn records_that_cannot_follow_are_named() {
    let state = |term, epoch| StateId { term: Term(term), inst: Inst(1 << 32), epoch: Epoch(epoch) };
    let started = |term| JournalEntry::Started {
        subgroup: SubgroupId(1),
        term: Term(term),
        inst: Inst(1 << 32),
        own: SenderId::issue(Inst(1 << 32), 1),
        promised: promised(),
    };
    let cut = |term, epoch, leaf_steps| JournalEntry::Cut { state: state(term, epoch), leaf_steps };
    let author = Author::write(&[Act::Join]);
    let joined = JournalEntry::decode(&author.records[1].1).unwrap();
    let impossible = [
        vec![joined.clone()],
        vec![cut(1, 1, 0)],
        vec![started(2), started(2)],
        vec![started(2), joined.clone(), joined.clone()],
        vec![started(2), JournalEntry::Departed { sender: SenderId(9) }],
        vec![started(2), JournalEntry::Silent { sender: SenderId(9) }],
        vec![started(2), cut(3, 1, 0)],
        vec![started(2), cut(2, 2, 0), cut(2, 2, 0)],
        vec![started(2), cut(2, 1, 1), cut(2, 2, 0)],
        vec![started(2), JournalEntry::SteppedDown, joined],
    ];
    for entries in impossible {
        let numbered = (1..).map(Commit).zip(&entries);
        let records: Vec<Record> = numbered.map(|(commit, entry)| (commit, entry.encode())).collect();
        let error = read(None, &records).unwrap_err();
        assert_eq!(error.commit.0 as usize, records.len(), "{error}");
        assert!(matches!(error.flaw, Flaw::Impossible(_)));
    }
}

#[test]
fn a_start_that_kept_nobody_ends_what_was_broken_before_it() {
    let mut author = Author::write(&[Act::Join, Act::Evict(0), Act::Join]);
    let (broken, bytes) = &mut author.records[1];
    let broken = *broken;
    bytes.truncate(20);
    let error = read(None, &author.records).unwrap_err();
    assert_eq!(error.commit, broken);
    author.act(Act::StartOver);
    author.act(Act::Join);
    let whole = read(None, &author.records).unwrap().unwrap();
    assert_eq!((whole.members(), whole.revocations().len()), (1, 1));
    assert!(!whole.doubtful());
}

/// A journal with a manager that is followed by the member on leaf 1, which takes over.
fn taken_over() -> (Author, JoinedEntry) {
    let mut author = Author::write(&[Act::Join, Act::Join, Act::Join]);
    let own = author.ledger.start.as_ref().unwrap().own;
    let heir = author.ledger.members[&RegNo(1)].clone();
    author.ledger.senders.remove(&author.ledger.members[&RegNo(0)].sender);
    let manager = author.ledger.members.get_mut(&RegNo(0)).unwrap();
    manager.sender = own;
    author.ledger.senders.insert(own, RegNo(0));
    author.ledger.apply(JournalEntry::Trusted { sender: heir.sender }).unwrap();
    (author, heir)
}

fn own_start(ledger: &Ledger, own: SenderId) -> JournalEntry {
    let subgroup = ledger.start.as_ref().unwrap().subgroup;
    let promised = Box::new(Promised { manager: PublicKey([9; 32]), ..*promised() });
    let term = Term(ledger.term.0 + 1);
    JournalEntry::Started { subgroup, term, inst: Inst(77 << 32), own, promised }
}

#[test]
fn a_takeover_keeps_the_members_and_the_evictions_of_both_and_waits_for_the_manager_before() {
    let (author, heir) = taken_over();
    let mut ledger = Ledger::default();
    let ours = Revocation { identity: [0x33; 32], certificate: [0x34; 32] };
    ledger.apply(JournalEntry::Revoked { revocation: ours }).unwrap();
    ledger.apply(JournalEntry::TookOver { ledger: LedgerBytes::new(author.ledger.encode()) }).unwrap();
    assert!(ledger.office().is_none(), "it manages nothing before its own start");
    assert_eq!(ledger.revocations.list, [ours]);
    let start = own_start(&ledger, heir.sender);
    ledger.apply(start).unwrap();
    let left: Vec<_> = ledger.members.keys().copied().collect();
    assert_eq!(left, [RegNo(1), RegNo(2)], "its own registration goes on, the other manager's ends");
    assert_eq!(ledger.office().unwrap().own, heir.sender);
    assert!(ledger.trusted.members.is_empty() && ledger.trusted.exposed.is_empty());
    let before = author.ledger.members[&RegNo(0)].clone();
    let identity = Revocation::identity_hash(&before.identity);
    let [former] = *ledger.trusted.former.make_contiguous() else { panic!("one manager before") };
    assert_eq!((former.key, former.identity), (PublicKey([8; 32]), identity));
    assert!(former.holds && former.away);
    assert!(ledger.departed.contains(&before.sender));

    let back = JoinedEntry { sender: SenderId(500), ..before };
    ledger.apply(JournalEntry::Joined(Box::new(back))).unwrap();
    assert!(ledger.trusted.members.contains(&SenderId(500)), "who comes back still knows what it knew");
    assert!(!ledger.trusted.former[0].away);
    assert!(Ledger::decode(&ledger.encode()).unwrap() == ledger);
}

#[test]
fn who_has_held_everything_is_exposed_by_its_end_until_it_registers_again_or_everything_is_renewed() {
    let (mut author, heir) = taken_over();
    let ledger = &mut author.ledger;
    let identity = Revocation::identity_hash(&heir.identity);
    ledger.apply(JournalEntry::Departed { sender: heir.sender }).unwrap();
    assert!(ledger.trusted.exposed.contains(&identity));
    let again = JoinedEntry { sender: SenderId(600), ..heir };
    ledger.apply(JournalEntry::Joined(Box::new(again.clone()))).unwrap();
    assert!(ledger.trusted.exposed.is_empty() && ledger.trusted.members.contains(&SenderId(600)));
    let revocation = Revocation { identity, certificate: again.certificate };
    ledger.apply(JournalEntry::Evicted { sender: SenderId(600), revocation }).unwrap();
    assert!(ledger.trusted.exposed.contains(&identity));

    let before = ledger.members[&RegNo(2)].clone();
    let renewed = |number| JournalEntry::Renewed {
        group: GroupId::from_bytes([7; 16]),
        number,
        secret: Secret::new([5; 32]),
    };
    assert!(ledger.apply(renewed(2)).is_err(), "renewals are counted");
    ledger.apply(renewed(1)).unwrap();
    let after = &ledger.members[&RegNo(2)];
    assert!(after.leaf != before.leaf && after.unicast != before.unicast && after.leaf != after.unicast);
    assert!(ledger.trusted.exposed.is_empty());
    assert_eq!(ledger.renewals, 1);
}

#[test]
fn a_member_whose_key_agrees_on_nothing_does_not_outlive_a_renewal() {
    let (mut author, heir) = taken_over();
    let ledger = &mut author.ledger;
    ledger.members.get_mut(&heir.reg_no).unwrap().exchange = ExchangePublic([0; 32]);
    let secret = Secret::new([5; 32]);
    ledger.apply(JournalEntry::Renewed { group: GroupId::from_bytes([7; 16]), number: 1, secret }).unwrap();
    assert!(!ledger.members.contains_key(&heir.reg_no) && ledger.departed.contains(&heir.sender));
}
