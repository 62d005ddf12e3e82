//! A manager that comes back finds everybody still in; with an old copy of its state, nobody comes back who was evicted
//! (attack A35).

use std::time::Duration;

use conclave::{Clock, Group, GroupOptions, Host, JoinError, Mode, ParticipantEvent, StartError, State};
use gsm::GsmEvent;
use member::MemberEvent;
use protocol::{Refusal, StateId};
use storage::{Health, StoreError};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;

use crate::disk::Disk;
use crate::support::{GROUP, MANAGER, MEMBER, Site, join, joined, of_manager, of_member, registrar, within};

/// Members that live through the restarts.
const MEMBERS: usize = 6;
/// Between two packets of the stream.
const GAP: Duration = Duration::from_millis(5);

#[tokio::test]
async fn a_restart_of_the_manager_keeps_everybody_and_costs_no_packet() {
    let (site, disk) = (Site::new(), Disk::new());
    let credentials = site.credentials("gsm.example", MANAGER);
    let mut manager = disk.manager(&site, &site.host(credentials.clone()).await).await;
    let mut members = join_all(&site, &mut manager, "m", MEMBERS).await;
    let mut told: Vec<_> = members.iter().map(Group::events).collect();
    let mut registered = 0;

    let (end, ended) = oneshot::channel();
    let sender = members[0].handle();
    let stream = tokio::spawn(async move {
        let mut sent = 0_u64;
        while ended.is_empty() {
            within(sender.send(&sent.to_be_bytes())).await.unwrap();
            sent += 1;
            Clock.sleep_until(Clock.now() + GAP).await;
        }
        sent
    });

    // Dropped as it stands, and stopped in order. Each time it comes back on other ports.
    for stops in [false, true] {
        let before = held(&manager).await;
        if stops {
            within(manager.stop()).await;
        } else {
            drop(manager);
        }
        let host = site.host(credentials.clone()).await;
        let began = Clock.now();
        manager = disk.manager(&site, &host).await;
        let mut events = manager.events_from_start();
        let kept = of_manager(&mut events, |event| match event {
            GsmEvent::Resumed { members, .. } => Some(*members),
            GsmEvent::StartedOver { .. } | GsmEvent::RolledBack { .. } => panic!("{event:?}"),
            _ => None,
        });
        println!("restart_members_kept {}", kept.await);
        for events in &mut told {
            registered += registrations_until(events, before).await;
        }
        let took = Clock.now().saturating_since(began);
        println!("everybody_follows_the_restarted_manager_ms {}", took.as_millis());
        joined(&mut manager).await;
    }
    println!("restart_reregistrations {registered}");
    assert_eq!(registered, 0);
    let listed = within(manager.handle().members()).await.unwrap();
    assert_eq!(listed.len(), MEMBERS + 1);
    assert_eq!(manager.handle().store().unwrap().health, Health::Whole);

    end.send(()).unwrap();
    let sent = within(stream).await.unwrap();
    within(manager.send(b"after")).await.unwrap();
    let mut lost = 0;
    for member in &mut members[1..] {
        let mut next = 0;
        loop {
            let payload = within(member.recv()).await.unwrap().payload;
            let Ok(number) = payload.as_slice().try_into().map(u64::from_be_bytes) else {
                assert_eq!(payload, b"after");
                break;
            };
            assert!(number >= next, "in order");
            lost += number - next;
            next = number + 1;
        }
        lost += sent - next;
    }
    println!("restart_stream_sent {sent}\nrestart_stream_lost {lost}");
    assert_eq!(lost, 0);
}

#[tokio::test]
async fn state_that_is_open_elsewhere_or_has_no_proper_key_is_an_error_in_words() {
    let (site, disk) = (Site::new(), Disk::new());
    let credentials = site.credentials("gsm.example", MANAGER);
    let host = site.host(credentials.clone()).await;
    let manager = disk.manager(&site, &host).await;
    let start = async |host: &Host| {
        let state = State::Directory { data: disk.data(), keys: disk.keys() };
        let started = Group::start(host, GroupOptions { state, ..site.manager_options() }).await;
        started.map(|_| ()).unwrap_err()
    };
    let other = site.host(credentials).await;
    let locked = within(start(&other)).await;
    assert!(matches!(locked, StartError::Store(StoreError::Locked { .. })), "{locked}");
    within(manager.stop()).await;

    let key = disk.keys().join(host.group_id(GROUP).to_string()).join("signing.key");
    std::fs::write(&key, b"short").unwrap();
    let unusable = within(start(&other)).await;
    assert!(matches!(unusable, StartError::SigningKey(_)), "{unusable}");
    assert!(unusable.to_string().contains("a signing key has 32"), "{unusable}");
    std::fs::remove_file(&key).unwrap();
    let manager = disk.manager(&site, &host).await;
    within(manager.stop()).await;
}

/// Members that stay, and members that are evicted between the copy and its return.
const STAY: usize = 8;
const EVICTED: usize = 5;
const EPOCHS: usize = 50;
/// How long everyone who may be in can take to be back.
const BACK: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_old_copy_of_the_data_brings_nobody_back_who_was_evicted() {
    roll_back("data", false).await;
}

#[tokio::test]
async fn an_old_copy_of_data_and_anchor_brings_nobody_back_who_was_evicted() {
    roll_back("data_and_keys", true).await;
}

/// Copies the store, runs fifty epochs with five evictions, puts the copy back.
async fn roll_back(what: &str, keys_too: bool) {
    let (site, disk) = (Site::new(), Disk::new());
    let host = site.managing_host().await;
    let mut manager = disk.manager(&site, &host).await;
    let mut staying = join_all(&site, &mut manager, "stays", STAY).await;
    let leaving = join_all(&site, &mut manager, "evicted", EVICTED).await;
    within(manager.stop()).await;
    let (data, keys) = (Disk::copy(&disk.data()), Disk::copy(&disk.keys()));

    let mut manager = disk.manager(&site, &host).await;
    joined(&mut manager).await;
    fifty_epochs(&manager).await;
    let mut told: Vec<_> = staying.iter().map(Group::events).collect();
    let before = held(&manager).await;
    within(manager.stop()).await;
    for member in leaving {
        within(member.stop()).await;
    }
    Disk::put_back(data.path(), &disk.data());
    if keys_too {
        Disk::put_back(keys.path(), &disk.keys());
    }

    let began = Clock.now();
    let mut manager = disk.manager(&site, &host).await;
    let mut events = manager.events_from_start();
    let visits = visits(&site, &manager).await;
    let health = manager.handle().store().unwrap().health.clone();
    println!("rollback_{what}_found {health}");
    assert_eq!(matches!(health, Health::Behind { .. }), !keys_too, "{health}");
    let shown = of_manager(&mut events, |event| match event {
        GsmEvent::RolledBack { revocations, .. } => Some(*revocations),
        _ => None,
    });
    println!("rollback_{what}_evictions_shown_by_members {}", shown.await);
    for events in &mut told {
        registrations_until(events, before).await;
    }
    let took = Clock.now().saturating_since(began);
    println!("rollback_{what}_everyone_back_ms {}", took.as_millis());
    assert!(took <= BACK, "{took:?}");
    let mut back = 0;
    for visit in visits {
        back += usize::from(within(visit).await.unwrap() != Refusal::Revoked);
    }
    println!("rollback_{what}_evicted_back {back}");
    assert_eq!(back, 0);
    assert_eq!(within(manager.handle().manager_status()).await.unwrap().revocations, EVICTED);
    let listed = within(manager.handle().members()).await.unwrap();
    assert!(listed.iter().all(|member| !member.identity.starts_with("evicted")), "{listed:?}");
    for member in &mut staying {
        // What it holds is what the others send under.
        joined(member).await;
    }
    within(manager.send(b"back")).await.unwrap();
    for member in &mut staying {
        assert_eq!(within(member.recv()).await.unwrap().payload, b"back");
    }

    within(manager.stop()).await;
    keeps_everybody(&site, &disk, &host).await;
}

/// Fifty epochs, five of them evictions.
async fn fifty_epochs(manager: &Group) {
    for epoch in 0..EPOCHS {
        if epoch % (EPOCHS / EVICTED) == 0 {
            let number = epoch / (EPOCHS / EVICTED);
            within(manager.handle().evict(&format!("evicted{number}.example"))).await.unwrap();
        } else {
            within(manager.handle().rekey()).await.unwrap();
        }
    }
}

/// Those who were evicted try to come back, all at once.
async fn visits(site: &Site, manager: &Group) -> Vec<JoinHandle<Refusal>> {
    let mut visits = Vec::new();
    for number in 0..EVICTED {
        let own = site.credentials(&format!("evicted{number}.example"), MEMBER);
        let again = join(&site.host(own).await, GROUP, registrar(manager)).await;
        visits.push(tokio::spawn(refusal(again)));
    }
    visits
}

/// What was put right stays right: the next start keeps everybody.
async fn keeps_everybody(site: &Site, disk: &Disk, host: &Host) {
    let mut manager = disk.manager(site, host).await;
    let mut events = manager.events_from_start();
    let kept = of_manager(&mut events, |event| match event {
        GsmEvent::Resumed { members, .. } => Some(*members),
        GsmEvent::StartedOver { .. } | GsmEvent::RolledBack { .. } => panic!("{event:?}"),
        _ => None,
    });
    assert_eq!(kept.await, STAY);
    within(manager.stop()).await;
}

/// The last word on a node that asks to be let in.
async fn refusal(mut node: Group) -> Refusal {
    loop {
        match node.joined().await {
            Err(JoinError::Refused { why, .. }) if why.is_final() => return why,
            Err(_) => {}
            Ok(place) => panic!("{place:?} let it in"),
        }
    }
}

/// Members of the manager that hold its key.
async fn join_all(site: &Site, manager: &mut Group, name: &str, count: usize) -> Vec<Group> {
    let mut members = Vec::new();
    for number in 0..count {
        let identity = format!("{name}{number}.example");
        members.push(site.member(&identity, registrar(manager)).await);
    }
    for member in &mut members {
        joined(member).await;
    }
    assert_eq!(within(manager.handle().mode()).await.unwrap(), Mode::Manager);
    members
}

async fn held(manager: &Group) -> StateId {
    within(manager.handle().manager_status()).await.unwrap().state
}

/// Until the member holds a key of a later start than `before`; returns how often it registered on the way.
async fn registrations_until(events: &mut broadcast::Receiver<ParticipantEvent>, before: StateId) -> usize {
    let registered = std::cell::Cell::new(0);
    of_member(events, |event| match event {
        MemberEvent::Granted(_) => {
            registered.set(registered.get() + 1);
            None
        }
        MemberEvent::Installed { state, .. } => (state.inst != before.inst).then_some(()),
        _ => None,
    })
    .await;
    registered.get()
}
