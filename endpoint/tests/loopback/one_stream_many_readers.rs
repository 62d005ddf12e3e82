//! Members read one stream; one that is evicted reads nothing of what is sent after the switch.

use std::time::Duration;

use crate::support::{Site, joined, registrar, within};

#[tokio::test]
async fn every_member_reads_the_stream_and_the_manager_does_too() {
    let site = Site::new();
    let mut manager = site.manager().await;
    let mut members = Vec::new();
    for number in 0..5 {
        let mut member = site.member(&format!("m{number}.example"), registrar(&manager)).await;
        joined(&mut member).await;
        members.push(member);
    }
    for number in 0..20_u8 {
        within(members[0].send(&[number; 100])).await.unwrap();
    }
    for member in &mut members[1..] {
        for number in 0..20_u8 {
            assert_eq!(within(member.recv()).await.unwrap().payload, [number; 100]);
        }
    }
    assert_eq!(within(manager.recv()).await.unwrap().payload, [0; 100]);
    for member in members {
        assert!(within(member.leave()).await, "the leave is acknowledged");
    }
    within(manager.stop()).await;
}

#[tokio::test]
async fn an_evicted_member_reads_nothing_sent_after_the_switch_and_does_not_come_back() {
    let site = Site::new();
    let manager = site.manager().await;
    let handle = manager.handle();
    let mut sender = site.member("sender.example", registrar(&manager)).await;
    let mut reader = site.member("reader.example", registrar(&manager)).await;
    let mut evicted = site.member("evicted.example", registrar(&manager)).await;
    for member in [&mut sender, &mut reader, &mut evicted] {
        joined(member).await;
    }
    within(sender.send(b"before")).await.unwrap();
    assert_eq!(within(evicted.recv()).await.unwrap().payload, b"before");
    assert_eq!(within(reader.recv()).await.unwrap().payload, b"before");
    let hard = within(handle.evict("evicted.example")).await.unwrap().state;
    loop {
        let sent = within(sender.send(b"after")).await.unwrap();
        let read = within(reader.recv()).await.unwrap();
        assert_eq!(read.payload, b"after");
        if sent.sealed.state >= hard {
            break;
        }
        tokio::task::yield_now().await;
    }
    // Everything sent under the new key has passed the evicted node by now: it is on the same host.
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(300), evicted.recv()).await {
        assert!(message.state < hard, "read under {} after its eviction", message.state);
    }
    let mut again = site.member("evicted.example", registrar(&manager)).await;
    let refused = within(again.joined()).await.unwrap_err();
    assert!(refused.to_string().contains("evicted"), "{refused}");
}
