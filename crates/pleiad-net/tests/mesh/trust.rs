//! Who gets in, and who does not.

use std::time::Duration;

use pleiad_net::{ConnectError, HandshakeError, StartError};
use pleiad_task::{TaskRef, spawn};

use crate::common::{Lab, Say, connect, listener, soon, until};

#[tokio::test]
async fn nodes_of_two_clusters_do_not_talk() {
    let (one, two) = (Lab::new(), Lab::new());
    let (a, b) = (one.node("a").await, two.node("b").await);
    let refused = soon(a.connect(&b.addresses()[0])).await.unwrap_err();
    let why = HandshakeError::OtherCluster.to_string();
    assert!(
        matches!(&refused, ConnectError::Handshake { source, .. } if source.to_string() == why),
        "{refused:?}"
    );
    assert!(a.peers().is_empty() && b.peers().is_empty());
}

#[tokio::test]
async fn an_invitation_lets_one_in_and_no_second() {
    let (host, one, two) = (Lab::new(), Lab::new(), Lab::new());
    let node = host.node("host").await;
    let task = spawn(listener);
    node.register("task", &task).unwrap();
    let invitation = node.invite(1, Duration::from_secs(60)).unwrap();
    let guest = soon(one.builder("guest").invitation(invitation.clone()).start()).await.unwrap();
    let far: TaskRef<Say> = soon(guest.locate("task")).await.unwrap();
    assert_eq!(soon(far.ask(|reply| Say::Echo(1, reply))).await.unwrap(), 1);

    let second = soon(two.builder("late").invitation(invitation).start()).await;
    assert!(matches!(second, Err(StartError::Join(_))), "{second:?}");
    // The first has its membership, and needs no invitation.
    soon(guest.close()).await;
    let again = node.invite(1, Duration::from_secs(60)).unwrap();
    let guest = soon(one.builder("guest").invitation(again.clone()).start()).await.unwrap();
    assert_eq!(guest.cluster(), node.cluster());
    assert!(soon(two.builder("late").invitation(again).start()).await.is_ok());
}

#[tokio::test]
async fn an_invitation_that_is_over_lets_nobody_in() {
    let (host, guest) = (Lab::new(), Lab::new());
    let node = host.node("host").await;
    let invitation = node.invite(1, Duration::ZERO);
    let Ok(invitation) = invitation else { return };
    let joined = soon(guest.builder("guest").invitation(invitation).start()).await;
    assert!(matches!(joined, Err(StartError::Join(_))), "{joined:?}");
}

#[tokio::test]
async fn who_is_revoked_is_gone_at_once_and_does_not_come_back() {
    let (host, guest) = (Lab::new(), Lab::new());
    let node = host.node("host").await;
    let invitation = node.invite(1, Duration::from_secs(60)).unwrap();
    let guest = soon(guest.builder("guest").invitation(invitation).start()).await.unwrap();
    let peer = soon(node.peer("guest")).await.unwrap();
    let member = pleiad_net::testing::fingerprint(&guest);
    let begun = std::time::Instant::now();
    node.revoke(member, "for a test").unwrap();
    soon(peer.gone()).await;
    until("it hears of it", || guest.peers().is_empty()).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let refused = soon(guest.connect(&node.addresses()[0])).await.unwrap_err();
    assert!(refused.to_string().contains("trust"), "{refused}");
    assert!(node.peers().is_empty());
}

#[tokio::test]
async fn a_node_does_not_take_itself_for_a_peer() {
    let lab = Lab::new();
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    let itself = soon(a.connect(&a.addresses()[0])).await.unwrap_err();
    assert!(matches!(itself, ConnectError::Itself(_)), "{itself:?}");
    connect(&a, &b).await;
    assert_eq!(a.peers().len(), 1);
}
