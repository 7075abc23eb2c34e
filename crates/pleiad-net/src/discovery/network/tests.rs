use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use pleiad_types::NodeId;
use pleiad_types::limits::FOUND_INTERVAL;
use tokio::time::timeout;

use super::super::Reached;
use super::*;

/// As long as a wait that must not end early may take; a node is found in 0.1 s.
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn two_nodes_find_each_other() {
    let wire = wire();
    let start = Instant::now();
    let (first, mut found_by_first) = Network::start_on(wire.clone(), node(1)).unwrap();
    let (second, mut found_by_second) = Network::start_on(wire, node(2)).unwrap();

    let expected =
        |node| Found { node: NodeId(node), name: format!("n{node}"), addresses: vec![at(node)] };
    assert_eq!(next(&mut found_by_second).await, expected(1));
    assert_eq!(next(&mut found_by_first).await, expected(2));
    println!("found within {:?}", start.elapsed());

    first.stop().await;
    second.stop().await;
    assert_eq!(found_by_first.recv().await, None);
    assert_eq!(found_by_second.recv().await, None);
}

#[tokio::test]
async fn a_node_that_is_reached_everywhere_is_found_at_the_address_of_the_interface() {
    let wire = wire();
    let everywhere = Announcement { reached: Reached::Everywhere(77), ..node(1) };
    let (_first, _) = Network::start_on(wire.clone(), everywhere).unwrap();
    let (_second, mut found) = Network::start_on(wire, node(2)).unwrap();
    assert_eq!(next(&mut found).await.addresses, [SocketAddr::from(([127, 0, 0, 1], 77))]);
}

/// Goal: who is known is given again on demand, and a node that comes late is found by the early one.
#[tokio::test]
async fn refresh_gives_those_who_are_known_again() {
    let (wire, start) = (wire(), Instant::now());
    let (first, mut found) = Network::start_on(wire.clone(), node(1)).unwrap();
    let (_second, _) = Network::start_on(wire, node(2)).unwrap();
    assert_eq!(next(&mut found).await.node, NodeId(2));

    let given_again = async {
        let mut again = interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                found = found.recv() => return found.unwrap(),
                _ = again.tick() => first.refresh(),
            }
        }
    };
    assert_eq!(timeout(LIMIT, given_again).await.unwrap().node, NodeId(2));
    assert!(start.elapsed() >= FOUND_INTERVAL, "given twice within a second");
}

#[tokio::test]
async fn other_clusters_are_counted_but_not_given() {
    let wire = wire();
    let theirs = Announcement { cluster: "theirs".to_owned(), ..node(1) };
    let (_theirs, mut found_by_them) = Network::start_on(wire.clone(), theirs).unwrap();
    let (ours, mut found) = Network::start_on(wire.clone(), node(2)).unwrap();
    let (_friend, _) = Network::start_on(wire, node(3)).unwrap();

    assert_eq!(next(&mut found).await.node, NodeId(3));
    let heard = async {
        while ours.other_clusters() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, heard).await.unwrap();
    assert_eq!(ours.other_clusters(), 1);
    assert!(found.try_recv().is_err() && found_by_them.try_recv().is_err());
    assert_eq!(ours.last_error(), None);
}

/// Goal: others hear at once that a node has gone, and nothing of it goes on.
/// Method: a bare socket looks at the packets.
#[tokio::test]
async fn stop_and_drop_say_goodbye_and_nothing_more() {
    for is_dropped in [false, true] {
        let wire = wire();
        let spy = spy(wire.port);
        let (network, found) = Network::start_on(wire, node(1)).unwrap();
        assert!(heard(&spy, |ttl| ttl > 0).await, "no announcement");

        if is_dropped {
            drop(network);
        } else {
            network.stop().await;
        }
        assert!(heard(&spy, |ttl| ttl == 0).await, "no goodbye");
        assert!(is_dropped || found.is_closed());
        let only_goodbyes = async {
            let mut packet = [0; 9000];
            loop {
                let bytes = spy.recv(&mut packet).await.unwrap();
                assert_eq!(ttl(&packet[..bytes]), Some(0), "more after the end");
            }
        };
        let ended: Result<(), _> = timeout(Duration::from_millis(300), only_goodbyes).await;
        assert!(ended.is_err());
    }
}

/// Goal: memory is bounded though the daemon's own is not, and discovery goes on.
/// Method: more records than the limit, from a bare socket.
#[tokio::test]
async fn a_flood_of_records_is_thrown_away_and_nodes_are_still_found() {
    let limits = Wire { check_interval: Duration::from_millis(20), records_max: 500, ..wire() };
    let (network, mut found) = Network::start_on(limits.clone(), node(1)).unwrap();
    let flooder = spy(limits.port);
    let group = SocketAddr::from((GROUP, limits.port));
    let flooded = async {
        let mut burst = interval(Duration::from_millis(300));
        while network.seen.restarts.load(Ordering::Relaxed) == 0 {
            for n in 0..6 {
                flooder.send_to(&flood(n), group).await.unwrap();
            }
            burst.tick().await;
        }
    };
    timeout(LIMIT, flooded).await.unwrap();

    let (_second, _) = Network::start_on(limits, node(2)).unwrap();
    assert_eq!(next(&mut found).await.node, NodeId(2));
}

#[tokio::test]
async fn packets_of_garbage_do_no_harm() {
    let wire = wire();
    let (_first, mut found) = Network::start_on(wire.clone(), node(1)).unwrap();
    let socket = spy(wire.port);
    let group = SocketAddr::from((GROUP, wire.port));
    let good = flood(1);
    for bytes in (0..good.len()).step_by(23) {
        socket.send_to(&good[..bytes], group).await.unwrap();
        let mut bent = good.clone();
        bent[bytes] ^= 0xff;
        socket.send_to(&bent, group).await.unwrap();
    }
    let (_second, _) = Network::start_on(wire, node(2)).unwrap();
    assert_eq!(next(&mut found).await.node, NodeId(2));
}

#[tokio::test]
async fn a_node_that_others_cannot_reach_is_not_announced() {
    for addresses in [vec![], vec![at(1)]] {
        let me = Announcement { reached: Reached::At(addresses), ..node(1) };
        assert!(matches!(Network::start(me), Err(NetworkError::NoAddress)));
    }
}

#[tokio::test]
async fn who_does_not_read_what_is_found_can_stop_all_the_same() {
    let wire = wire();
    let (first, found) = Network::start_on(wire.clone(), node(1)).unwrap();
    let others: Vec<_> =
        (2..5).map(|n| Network::start_on(wire.clone(), node(n)).unwrap()).collect();
    drop(found);
    let mut last = others.into_iter().last().unwrap();
    assert_eq!(next(&mut last.1).await.name.len(), 2);
    timeout(Duration::from_secs(1), first.stop()).await.unwrap();
}

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// Loopback, and a port that nobody else has: no packet leaves this machine.
fn wire() -> Wire {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    Wire { port: free.local_addr().unwrap().port(), is_loopback: true, ..Wire::USUAL }
}

fn node(node: u64) -> Announcement {
    Announcement {
        node: NodeId(node),
        name: format!("n{node}"),
        cluster: "ours".to_owned(),
        versions: (1, 1),
        reached: Reached::At(vec![at(node)]),
    }
}

fn at(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + u16::try_from(node).unwrap()))
}

async fn next(found: &mut mpsc::Receiver<Found>) -> Found {
    timeout(LIMIT, found.recv()).await.expect("nobody is found").unwrap()
}

/// A socket that hears the packets of this wire, and can send to it.
fn spy(port: u16) -> tokio::net::UdpSocket {
    use socket2::{Domain, Protocol, Socket, Type};

    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()).unwrap();
    socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST).unwrap();
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    socket.set_nonblocking(true).unwrap();
    tokio::net::UdpSocket::from_std(socket.into()).unwrap()
}

/// Whether an answer with such a time to live is heard.
async fn heard(spy: &tokio::net::UdpSocket, is_it: impl Fn(u32) -> bool) -> bool {
    let mut packet = [0; 9000];
    let hear = async {
        loop {
            let bytes = spy.recv(&mut packet).await.unwrap();
            if ttl(&packet[..bytes]).is_some_and(&is_it) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(3), hear).await.is_ok()
}

/// The time to live of the first record of an answer; nothing for a question.
fn ttl(packet: &[u8]) -> Option<u32> {
    let is_answer = packet[2] & 0x80 != 0;
    let mut place = 12;
    while packet[place] != 0 && packet[place] & 0xc0 == 0 {
        place += usize::from(packet[place]) + 1;
    }
    place += if packet[place] == 0 { 1 } else { 2 };
    let ttl = packet[place + 4..place + 8].try_into().unwrap();
    is_answer.then(|| u32::from_be_bytes(ttl))
}

/// An answer that names a hundred services of our kind, others for each `n`.
fn flood(n: u32) -> Vec<u8> {
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 100, 0, 0, 0, 0];
    for i in 0..100 {
        let kind: &[u8] = if i == 0 { b"\x07_pleiad\x04_tcp\x05local\0" } else { b"\xc0\x0c" };
        packet.extend(kind);
        packet.extend([0, 12, 0, 1, 0, 0, 0, 120, 0, 13]);
        packet.extend(format!("\x0a{n:05}{i:05}").bytes());
        packet.extend(b"\xc0\x0c");
    }
    packet
}
