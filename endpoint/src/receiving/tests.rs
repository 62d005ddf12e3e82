use std::time::Duration;

use data::DropReason;
use tokio::time::timeout;

use super::*;
use crate::sockets::UnicastSocket;

const DEADLINE: Duration = Duration::from_secs(10);

/// A node that becomes manager where it was a member is told its addresses anew, and they are the same.
#[tokio::test]
async fn nothing_that_waits_to_be_received_is_lost_when_the_node_is_told_its_addresses_again() {
    let interface = Interface::resolve("lo").unwrap();
    let sender = UnicastSocket::bind(&interface, 0).unwrap();
    let data = SocketAddr::from(([239, 192, 77, 98], sender.address().port()));
    let place = Some(Listen { control: data, data, ttl: 1 });
    let (_keys, keys) = watch::channel(Arc::new(KeyRing::empty(
        crypto::Suite::default(),
        protocol::GroupId::from_bytes([1; 16]),
        SubgroupId(2),
        SenderId(3),
    )));
    let (told, places) = watch::channel(None);
    let (messages, _messages) = mpsc::channel(1);
    let (hints, _hints) = mpsc::channel(1);
    let (counters, mut counted) = watch::channel(OpenCounters::default());
    let receiving = Receiving { interface, keys, place: places, messages, hints, counters };
    let stop = CancellationToken::new();
    let running = tokio::spawn(receiving.run(stop.clone()));
    told.send_replace(place);
    for _ in 0..100 {
        // Until it has nothing to do but wait.
        tokio::task::yield_now().await;
    }
    for round in 1..=5 {
        // Both wait when the receiver runs again, on this one thread.
        sender.multicast(b"not a packet", data, 1).await.unwrap();
        told.send_replace(place);
        let heard = counted.wait_for(|counters| counters.dropped(DropReason::Malformed) == round);
        timeout(DEADLINE, heard).await.expect("it was received").unwrap();
    }
    stop.cancel();
    running.await.unwrap();
}
