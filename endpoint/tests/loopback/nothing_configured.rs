//! Nodes that know their group's name, authority and certificate, and nothing else, find each other and a manager.

use std::time::Duration;

use conclave::{Clock, Group, GroupOptions, Mode};

use crate::support::{GROUP, MANAGER, MEMBER, Site, joined, settings, within};

/// How long everything may take from nothing to a key.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_member_configured_with_nothing_finds_its_manager() {
    let site = Site::new();
    let mut manager = site.manager().await;
    joined(&mut manager).await;
    let host = site.host(site.credentials("member.example", MEMBER)).await;
    let began = Clock.now();
    let mut member = Group::start(&host, GroupOptions::named(GROUP)).await.unwrap();
    let place = joined(&mut member).await;
    let took = Clock.now().saturating_since(began);
    println!("found_manager_ms {}", took.as_millis());
    assert_eq!(place.manager, "gsm.example");
    assert!(took <= SOON, "{took:?}");

    within(member.send(b"hello")).await.unwrap();
    assert_eq!(within(manager.recv()).await.unwrap().payload, b"hello");
    within(manager.send(b"welcome")).await.unwrap();
    assert_eq!(within(member.recv()).await.unwrap().payload, b"welcome");
    assert_eq!(within(member.handle().mode()).await.unwrap(), Mode::Member);
    let refused = within(member.handle().evict("gsm.example")).await.unwrap_err();
    assert_eq!(refused.to_string(), "this node is a member: ask its manager, gsm.example");
    assert!(within(member.leave()).await);
    within(manager.stop()).await;
}

#[tokio::test]
async fn nodes_that_start_at_once_elect_one_manager() {
    let site = Site::new();
    let mut hosts = Vec::new();
    for number in 0..8 {
        hosts.push(site.host(site.credentials(&format!("n{number}.example"), MANAGER)).await);
    }
    let began = Clock.now();
    let mut nodes = Vec::new();
    for host in &hosts {
        let options = GroupOptions { settings: settings(), ..GroupOptions::named(GROUP) };
        nodes.push(Group::start(host, options).await.unwrap());
    }
    let mut places = Vec::new();
    for node in &mut nodes {
        places.push(joined(node).await);
    }
    let took = Clock.now().saturating_since(began);
    println!("eight_nodes_elected_and_joined_ms {}", took.as_millis());
    assert!(took <= SOON, "{took:?}");
    let mut managers = Vec::new();
    for node in &nodes {
        if within(node.handle().mode()).await.unwrap() == Mode::Manager {
            managers.push(node.handle());
        }
    }
    assert_eq!(managers.len(), 1, "exactly one manager");
    let subgroup = within(managers[0].manager_status()).await.unwrap().subgroup;
    assert!(places.iter().all(|place| place.subgroup == subgroup), "{places:?}");

    within(nodes[0].send(b"to all")).await.unwrap();
    for node in &mut nodes[1..] {
        assert_eq!(within(node.recv()).await.unwrap().payload, b"to all");
    }
    for node in nodes {
        within(node.stop()).await;
    }
}
