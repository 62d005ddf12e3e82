//! That the adversary finds what there is to be found: leaks are planted, and it must see them.

use std::net::Ipv4Addr;

use crypto::{Aead, Ed25519Signer, EntryIv, MessageXof, PublicKey, Secret, Signer, Suite, key_wrap};
use data::{Inner, KeyRing, Outer, Packet, Sealer, SendKey, StreamId};
use keytree::{Batch, Degree, Join, KeyPath, KeyTree, TreeId};
use protocol::{
    Body, Credential, Domain, Epoch, GroupId, Inst, Instant, RegNo, Roster, RosterVersion, SenderId, StateId,
    SubgroupId, Term, Timing, UpdateHeader, seal_update,
};
use rand_core::UnwrapErr;

use super::*;

const DOMAIN: Domain =
    Domain { suite: Suite::Aes256Ctr, group: GroupId::from_bytes([1; 16]), subgroup: SubgroupId(2) };
const TREE: TreeId = TreeId(0);
/// The adversary's leaf among seven, at degree 4: it shares its first node with two others.
const OWN: RegNo = RegNo(5);

fn state(epoch: u32) -> StateId {
    StateId { term: Term(1), inst: Inst(3), epoch: Epoch(epoch) }
}

fn secret(byte: u8) -> Secret<32> {
    Secret::new([byte; 32])
}

fn manager() -> Ed25519Signer {
    Ed25519Signer::from_seed(&secret(90))
}

fn grant() -> Grant {
    let manager = manager();
    let address = |port| (Ipv4Addr::new(239, 192, 0, 1), port).into();
    Grant {
        domain: DOMAIN,
        state: state(0),
        reg_no: OWN,
        sender: SenderId(55),
        tree: TREE,
        degree: Degree::default(),
        leaf_steps: 0,
        manager: manager.public_key(),
        control: address(1),
        data: address(2),
        manager_address: (Ipv4Addr::LOCALHOST, 3).into(),
        ttl: 1,
        timing: Timing::default(),
        credential: Credential::sign(&DOMAIN, SenderId(55), PublicKey([7; 32]), false, &manager),
        roster: Roster::sign(&DOMAIN, RosterVersion(0), Vec::new(), &manager),
        revocations: Vec::new(),
        prefilter: secret(91),
    }
}

/// A manager's tree with members on leaves 0 to 6, and the adversary's path in it.
struct Subgroup {
    tree: KeyTree,
    path: KeyPath,
}

impl Subgroup {
    fn new() -> Self {
        let join = |reg_no| Join { reg_no: RegNo(reg_no), leaf: secret(reg_no as u8), leaf_steps: 0 };
        let joins: Vec<_> = (0..7).map(join).collect();
        let tree = KeyTree::new(DOMAIN.suite, TREE, Degree::default());
        let path = KeyPath::new(DOMAIN.suite, TREE, Degree::default(), OWN, secret(OWN.0 as u8), 0);
        let mut subgroup = Self { tree, path };
        subgroup.cut(1, &Batch { joins, ..Batch::default() });
        subgroup
    }

    /// Cuts a batch as the manager does; the adversary follows if it can. Returns the packet, through the gate.
    fn cut(&mut self, epoch: u32, batch: &Batch) -> Verified<UpdatePacket> {
        let mut xof = MessageXof::new(DOMAIN.suite, &secret(70), &[&epoch.to_be_bytes()]);
        let staged = self.tree.stage(Epoch(epoch), batch, &mut xof).expect("the batch fits the tree");
        let (version, root) = staged.root().expect("members are left");
        let group_key = DOMAIN.group_key(root, state(epoch));
        let header = UpdateHeader {
            state: state(epoch),
            previous: Epoch(epoch - 1),
            index: 0,
            data_packets: 1,
            block_data: 10,
            block_parity: 0,
            first: RegNo(0),
            last: RegNo(15),
            height: staged.height(),
            root: version,
            leaf_steps: 0,
            hard: !batch.leaves.is_empty(),
            activation: Duration::from_millis(100),
            key_check: DOMAIN.key_check(&group_key, state(epoch)),
            policy: [0; 16],
            iv: EntryIv::new(*staged.iv().as_bytes()),
        };
        let body = Body { targets: staged.targets().to_vec(), entries: staged.all_entries().to_vec() };
        // A member that cannot follow stays where it is.
        let _ = self.path.apply(&staged.view().expect("the plan is sound"));
        let prefilter = (epoch == 1).then(|| grant().prefilter);
        let sealed =
            seal_update(&DOMAIN, &[(header, body)], &manager(), prefilter.as_ref()).expect("one packet");
        self.tree.merge(staged).expect("staged from this tree");
        gate(&grant())
            .key_update(Instant::ZERO, Ipv4Addr::LOCALHOST.into(), None, &sealed.packets[0])
            .expect("signed")
    }

    fn leave(&mut self, epoch: u32, reg_no: RegNo) -> Verified<UpdatePacket> {
        self.cut(epoch, &Batch { leaves: vec![reg_no], ..Batch::default() })
    }
}

fn opened(packet: &UpdatePacket, hoard: &Hoard) -> bool {
    let secrets = hoard.secrets_before(packet.header.state);
    updates::attack(packet, &grant(), &secrets).group_key.is_some()
}

#[test]
fn a_member_that_hoards_opens_every_update_until_it_is_evicted_and_none_after() {
    let (mut subgroup, mut hoard) = (Subgroup::new(), Hoard::default());
    hoard.keep_path(state(0), &subgroup.path);
    let join = Join { reg_no: RegNo(7), leaf: secret(7), leaf_steps: 0 };
    let joined = subgroup.cut(2, &Batch { joins: vec![join], ..Batch::default() });
    assert!(opened(&joined, &hoard), "stepped without an entry of its own");
    hoard.keep_path(state(0), &subgroup.path);
    for (epoch, leaver) in [(3, RegNo(6)), (4, RegNo(0))] {
        assert!(opened(&subgroup.leave(epoch, leaver), &hoard), "epoch {epoch}");
        hoard.keep_path(state(0), &subgroup.path);
    }
    assert!(!opened(&subgroup.leave(5, OWN), &hoard), "the update that shuts it out");
    let join = Join { reg_no: OWN, leaf: secret(77), leaf_steps: 0 };
    let reused = subgroup.cut(6, &Batch { joins: vec![join], ..Batch::default() });
    assert!(!opened(&reused, &hoard), "its leaf is another's");
    assert!(!opened(&subgroup.leave(7, RegNo(1)), &hoard));
}

#[test]
fn one_leaked_leaf_of_another_member_opens_the_update_that_shuts_it_out() {
    let (mut subgroup, mut hoard) = (Subgroup::new(), Hoard::default());
    hoard.keep_path(state(0), &subgroup.path);
    let other = KeyPath::new(DOMAIN.suite, TREE, Degree::default(), RegNo(2), secret(2), 0);
    let neighbour = KeyPath::new(DOMAIN.suite, TREE, Degree::default(), RegNo(4), secret(4), 0);
    let evicting = subgroup.leave(2, OWN);
    assert!(!opened(&evicting, &hoard));
    hoard.keep_path(state(0), &neighbour);
    assert!(opened(&evicting, &hoard), "by the neighbour's entry, and the chain or entry above it");
    let mut hoard = Hoard::default();
    hoard.keep_path(state(0), &other);
    assert!(!opened(&evicting, &hoard), "its leaf is not what wraps a changed key");
}

/// A hoard with a registration and nothing else.
fn registered() -> Shared {
    let peer = protocol::Peer {
        identity: "manager".to_owned(),
        roles: crypto::Roles { member: true, manager: true, maa: false },
        certificate: [0; 32],
        valid_for: Duration::ZERO,
        address: (Ipv4Addr::LOCALHOST, 4).into(),
        channel: secret(92),
    };
    let shared = Shared::default();
    hoard::lock(&shared).keep_registration(&peer, &grant());
    shared
}

/// One packet of another member under the group key of `epoch`, and the sealer for more of its stream.
fn sealed(epoch: u32, key: &Secret<32>) -> Vec<u8> {
    let mut ring = KeyRing::empty(DOMAIN.suite, DOMAIN.group, DOMAIN.subgroup, SenderId(66));
    ring.send.push(SendKey { state: state(epoch), key: key.clone(), from: Instant::ZERO, until: None });
    let mut sealer = Sealer::new(Box::new(UnwrapErr(getrandom::SysRng)), [0; 16]);
    sealer.set_ring(&ring);
    let mut datagram = Vec::new();
    sealer.seal(Instant::ZERO, b"piece", &mut datagram).expect("a key is held");
    datagram
}

/// What is told in the end: was any packet of that epoch read?
fn read(told: &[Event], epoch: u32) -> bool {
    told.iter().any(|event| matches!(event, Event::Intercepted { key, read: true, .. } if key.epoch == epoch))
}

#[test]
fn a_group_key_that_leaks_late_shows_for_packets_caught_before() {
    let hoard = registered();
    let mut eavesdropper = Eavesdropper::new("mallory", Arc::clone(&hoard));
    hoard::lock(&hoard).keep_group_key(state(1), secret(31));
    let mut told = eavesdropper.catch(Instant::ZERO, &sealed(1, &secret(31)));
    told.extend(eavesdropper.catch(Instant::ZERO, &sealed(2, &secret(32))));
    told.extend(eavesdropper.report());
    assert!(read(&told, 1) && !read(&told, 2));

    hoard::lock(&hoard).keep_group_key(state(2), secret(32));
    let mut told = eavesdropper.catch(Instant::ZERO, &sealed(3, &secret(33)));
    told.extend(eavesdropper.report());
    assert!(read(&told, 2) && !read(&told, 3));
}

#[test]
fn a_key_that_names_the_wrong_epoch_is_still_recognised() {
    let hoard = registered();
    let mut eavesdropper = Eavesdropper::new("mallory", Arc::clone(&hoard));
    hoard::lock(&hoard).keep_group_key(state(1), secret(31));
    // As if a sender went on under the old key and said that it does not.
    let datagram = sealed(1, &secret(31));
    let packet = Packet::decode(&datagram).expect("a data packet");
    let outer = Outer { key_id: state(2).key_id(), epoch: Epoch(2), ..packet.outer };
    let mut renamed = Vec::new();
    Packet { outer, ..packet }.encode(&mut renamed);
    let mut told = eavesdropper.catch(Instant::ZERO, &renamed);
    told.extend(eavesdropper.report());
    assert!(read(&told, 2));
}

#[test]
fn a_data_key_carried_over_the_switch_is_found() {
    let hoard = registered();
    let mut eavesdropper = Eavesdropper::new("mallory", Arc::clone(&hoard));
    hoard::lock(&hoard).keep_group_key(state(1), secret(31));
    let (data_key, stream) = (secret(50), StreamId(9));
    let packet_under = |epoch: u32, group_key: &Secret<32>, sequence: u64| {
        let inner = Inner {
            origin: DOMAIN.subgroup,
            sender: SenderId(66),
            stream,
            generation: epoch,
            sequence,
            commitment: [0; 16],
        };
        let mut outer = Outer {
            suite: DOMAIN.suite,
            group: DOMAIN.group,
            subgroup: DOMAIN.subgroup,
            key_id: state(epoch).key_id(),
            epoch: Epoch(epoch),
            sender: SenderId(66),
            hop: 0,
            wrapped: [0; 40],
        };
        let unwrapped = Packet { outer, inner, sealed: &[] };
        outer.wrapped = key_wrap(&eavesdropper::wrap_key(group_key, state(epoch), &unwrapped), &data_key);
        let (mut nonce, mut sealed, mut datagram) = ([0; 12], Vec::new(), Vec::new());
        nonce[4..].copy_from_slice(&sequence.to_be_bytes());
        Aead::new().seal(&data_key, &nonce, &inner.to_bytes(), b"piece", &mut sealed);
        Packet { outer, inner, sealed: &sealed }.encode(&mut datagram);
        datagram
    };
    let mut told = eavesdropper.catch(Instant::ZERO, &packet_under(1, &secret(31), 0));
    told.extend(eavesdropper.catch(Instant::ZERO, &packet_under(2, &secret(32), 1)));
    told.extend(eavesdropper.report());
    assert!(read(&told, 1) && read(&told, 2));
}
