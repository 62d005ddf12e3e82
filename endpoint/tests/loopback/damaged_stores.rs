//! Whatever a disk does to a manager's journal, its next start ends in a served group: with its members kept, or with a
//! word on what is wrong and everybody registering again (how sled fails; attack A35).

use std::fs;
use std::path::Path;

use conclave::{Group, GroupOptions, Host, Mode};
use gsm::GsmEvent;
use member::MemberEvent;
use storage::Health;

use crate::disk::Disk;
use crate::support::{GROUP, MANAGER, Site, joined, of_manager, of_member, within};

/// Members that live through all of it.
const MEMBERS: usize = 3;
/// Records of a manager since its last snapshot.
const RECORDS: usize = 5;
/// Places in which a bit is flipped, one start each.
const FLIPS: usize = 12;

/// A group whose manager is stopped, spoiled and started again.
struct Patient {
    site: Site,
    disk: Disk,
    host: Host,
    members: Vec<Group>,
    kept: usize,
    registered_again: usize,
}

impl Patient {
    /// A manager that has admitted, cut and evicted, and has stopped.
    async fn new() -> Self {
        let (site, disk) = (Site::new(), Disk::new());
        let host = site.host(site.credentials("gsm.example", MANAGER)).await;
        let manager = disk.manager(&site, &host).await;
        let mut members = Vec::new();
        for number in 0..=MEMBERS {
            let own = site.credentials(&format!("m{number}.example"), crate::support::MEMBER);
            let mut member = Group::start(&site.host(own).await, GroupOptions::named(GROUP)).await.unwrap();
            joined(&mut member).await;
            members.push(member);
        }
        within(manager.handle().evict(&format!("m{MEMBERS}.example"))).await.unwrap();
        within(manager.handle().rekey()).await.unwrap();
        within(members.pop().unwrap().stop()).await;
        within(manager.stop()).await;
        Self { site, disk, host, members, kept: 0, registered_again: 0 }
    }

    /// Starts the manager on what is there, waits until all members are with it, and stops it.
    async fn start(&mut self, what: &str) {
        let mut told: Vec<_> = self.members.iter().map(Group::events).collect();
        let mut manager = self.disk.manager(&self.site, &self.host).await;
        let health = manager.handle().store().unwrap().health.clone();
        let mut events = manager.events_from_start();
        let place = joined(&mut manager).await;
        assert_eq!(within(manager.handle().mode()).await.unwrap(), Mode::Manager);
        let inst = within(manager.handle().manager_status()).await.unwrap().state.inst;
        for events in &mut told {
            of_member(events, |event| match event {
                MemberEvent::Installed { state, .. } => (state.inst == inst).then_some(()),
                _ => None,
            })
            .await;
        }
        let listed = within(manager.handle().members()).await.unwrap();
        assert_eq!(listed.len(), MEMBERS + 1, "{what}");
        let kept = of_manager(&mut events, |event| match event {
            GsmEvent::Resumed { .. } => Some(true),
            GsmEvent::Admitted { .. } | GsmEvent::RolledBack { .. } => Some(false),
            _ => None,
        })
        .await;
        let revocations = within(manager.handle().manager_status()).await.unwrap().revocations;
        let fate = if kept { "kept" } else { "registered again" };
        println!("{what}: found {health}; members {fate}; evicted {revocations}");
        assert_eq!(revocations, 1, "{what}: who was evicted is forgotten");
        match health {
            Health::Whole => assert!(kept, "{what}: nothing is wrong, and nobody was kept"),
            Health::Fresh => panic!("{what}: all is gone, and nothing was said"),
            Health::Behind { .. } | Health::Damaged { .. } => assert!(!kept, "{what}: {health}"),
        }
        self.kept += usize::from(kept);
        self.registered_again += usize::from(!kept);
        for member in &mut self.members {
            assert_eq!(joined(member).await.subgroup, place.subgroup);
        }
        within(manager.send(what.as_bytes())).await.unwrap();
        for member in &mut self.members {
            assert_eq!(within(member.recv()).await.unwrap().payload, what.as_bytes());
        }
        // Records that no snapshot contains yet, to be spoiled.
        for _ in 0..RECORDS {
            within(manager.handle().rekey()).await.unwrap();
        }
        within(manager.stop()).await;
    }

    /// The database's own files, longest first.
    fn database(&self) -> Vec<std::path::PathBuf> {
        let mut files = self.disk.files();
        files.retain(|path| path.parent().is_some_and(|parent| parent.ends_with("db")));
        files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
        files
    }
}

#[tokio::test]
async fn every_start_on_a_damaged_store_ends_in_a_served_group() {
    let mut patient = Patient::new().await;
    patient.start("untouched").await;

    let db = patient.database()[0].clone();
    fs::write(db.parent().unwrap().join("snap.0000000000000BAD.generating"), [0xFF; 100]).unwrap();
    patient.start("leftover snapshot").await;

    let db = patient.database()[0].clone();
    truncate(&db);
    patient.start("truncated database").await;

    for place in 0..FLIPS {
        let db = patient.database()[0].clone();
        flip(&db, place);
        patient.start(&format!("bit flipped at {place} of {FLIPS}")).await;
    }

    fs::remove_dir_all(patient.database()[0].parent().unwrap()).unwrap();
    patient.start("no database").await;
    println!("damaged_stores_kept {}", patient.kept);
    println!("damaged_stores_registered_again {}", patient.registered_again);
}

/// The second half is missing.
fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    fs::write(path, &bytes[..used / 2]).unwrap();
}

/// Flips one bit of what is not empty, somewhere else for each `place`.
fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let at = used[used.len() * (2 * place + 1) / (2 * FLIPS)];
    bytes[at] ^= 1 << (place % 8);
    fs::write(path, bytes).unwrap();
}
