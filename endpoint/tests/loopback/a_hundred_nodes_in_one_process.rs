//! A hundred nodes in one process, each with sockets and a certificate of its own, on three threads.

use conclave::{Clock, Group};

use crate::support::{GROUP, Site, join, registrar, within};

/// The manager is the hundredth.
const MEMBERS: usize = 99;

#[tokio::test]
async fn a_hundred_nodes_in_one_process_hold_the_key_and_read_the_same_packet() {
    let site = Site::new();
    let mut manager = site.manager().await;
    let mut hosts = Vec::new();
    for number in 0..MEMBERS {
        let own = site.credentials(&format!("m{number}.example"), crate::support::MEMBER);
        hosts.push(site.host(own).await);
    }
    let started = Clock.now();
    let mut members: Vec<Group> = Vec::new();
    for host in &hosts {
        members.push(join(host, GROUP, registrar(&manager)).await);
    }
    for member in &mut members {
        // One that finds the door crowded is told so, and goes on by itself.
        within(async { while member.joined().await.is_err() {} }).await;
    }
    let took = Clock.now().saturating_since(started);
    println!("hundred_nodes_hold_the_key_ms {}", took.as_millis());
    println!("hundred_nodes_open_files {}", count("/proc/self/fd"));
    println!("hundred_nodes_threads {}", count("/proc/self/task"));
    assert!(count("/proc/self/task") < MEMBERS, "threads are shared");

    let sent = within(members[0].send(b"to all")).await.unwrap();
    for member in &mut members[1..] {
        let read = within(member.recv()).await.unwrap();
        assert_eq!((read.payload.as_slice(), read.state), (b"to all".as_slice(), sent.sealed.state));
    }
    assert_eq!(within(manager.recv()).await.unwrap().payload, b"to all");
    for member in members {
        within(member.stop()).await;
    }
    within(manager.stop()).await;
}

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}
