use std::net::Ipv4Addr;
use std::time::Duration;

use socket2::SockRef;
use tokio::time::timeout;

use super::*;

/// Far more than loopback needs; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

fn loopback() -> Interface {
    Interface::resolve("127.0.0.1").unwrap()
}

/// A group of this test alone: concurrent test processes differ by their ports.
fn group(last: u8) -> SocketAddr {
    let free = UnicastSocket::bind(&loopback(), 0).unwrap();
    SocketAddr::from(([239, 192, 77, last], free.address().port()))
}

async fn receive(socket: &MulticastSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_048];
    let (length, from) = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    (buffer[..length].to_vec(), from)
}

#[tokio::test]
async fn every_listener_of_a_group_receives_each_datagram_and_its_sources_port() {
    let group = group(1);
    let listeners = [(); 2].map(|()| MulticastSocket::join(group, &loopback()).unwrap());
    let sender = UnicastSocket::bind(&loopback(), 0).unwrap();
    for payload in [b"first".as_slice(), b"second"] {
        sender.multicast(payload, group, 1).await.unwrap();
        for listener in &listeners {
            assert_eq!(receive(listener).await, (payload.to_vec(), sender.address()));
        }
    }
    assert_eq!(sender.counters().snapshot().sent, 2);
}

#[tokio::test]
async fn a_listener_does_not_hear_the_groups_of_its_neighbours() {
    let ours = group(2);
    let theirs = SocketAddr::from(([239, 192, 77, 3], ours.port()));
    let listener = MulticastSocket::join(ours, &loopback()).unwrap();
    let neighbour = MulticastSocket::join(theirs, &loopback()).unwrap();
    let sender = UnicastSocket::bind(&loopback(), 0).unwrap();
    sender.multicast(b"theirs", theirs, 1).await.unwrap();
    sender.multicast(b"ours", ours, 1).await.unwrap();
    assert_eq!(receive(&neighbour).await.0, b"theirs");
    assert_eq!(receive(&listener).await.0, b"ours");
    assert!(neighbour.try_recv(&mut [0; 16]).is_err());
}

#[tokio::test]
async fn unicast_reaches_the_one_node_it_is_for() {
    let nodes = [(); 3].map(|()| UnicastSocket::bind(&loopback(), 0).unwrap());
    assert_ne!(nodes[0].address(), nodes[1].address());
    nodes[0].send(b"to the second", nodes[1].address()).await.unwrap();
    let mut buffer = [0; 64];
    let (length, from) = timeout(PATIENCE, nodes[1].recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((&buffer[..length], from), (b"to the second".as_slice(), nodes[0].address()));
    assert!(nodes[2].try_recv(&mut buffer).is_err());
}

#[tokio::test]
async fn multicast_leaves_by_the_chosen_interface_with_the_ttl_asked_for() {
    let group = group(4);
    let sender = UnicastSocket::bind(&loopback(), 0).unwrap();
    let options = SockRef::from(&sender.socket);
    assert_eq!(options.multicast_if_v4().unwrap(), Ipv4Addr::LOCALHOST);
    assert!(options.multicast_loop_v4().unwrap());
    for ttl in [1, 32, 2] {
        sender.multicast(b"ring", group, ttl).await.unwrap();
        assert_eq!(options.multicast_ttl_v4().unwrap(), u32::from(ttl));
    }
}

#[tokio::test]
async fn the_granted_receive_buffer_is_told() {
    let most: usize = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap().trim().parse().unwrap();
    let listener = MulticastSocket::join(group(5), &loopback()).unwrap();
    assert_eq!(listener.receive_buffer(), RECEIVE_BUFFER.min(most));
    let node = UnicastSocket::bind(&loopback(), 0).unwrap();
    assert_eq!(node.receive_buffer(), RECEIVE_BUFFER.min(most));
}

#[tokio::test]
async fn a_datagram_that_cannot_go_is_counted_and_the_next_one_goes() {
    let node = UnicastSocket::bind(&loopback(), 0).unwrap();
    let peer = UnicastSocket::bind(&loopback(), 0).unwrap();
    assert_eq!(node.send(&[0; 70_000], peer.address()).await, Err(SendFault::TooLong));
    node.send(b"short", peer.address()).await.unwrap();
    let seen = node.counters().snapshot();
    assert_eq!((seen.sent, seen.too_long), (1, 1));
}

#[tokio::test]
async fn a_taken_port_and_an_address_that_is_no_group_are_refused_in_words() {
    let node = UnicastSocket::bind(&loopback(), 0).unwrap();
    let taken = UnicastSocket::bind(&loopback(), node.address().port()).unwrap_err().to_string();
    assert!(taken.contains("on lo (127.0.0.1): cannot bind it"), "{taken}");
    let unicast = MulticastSocket::join(node.address(), &loopback()).unwrap_err().to_string();
    assert!(unicast.contains("not an IPv4 multicast address"), "{unicast}");
}
