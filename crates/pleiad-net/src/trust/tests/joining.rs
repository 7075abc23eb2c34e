use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use pleiad_types::limits;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::certificates::new_key;
use super::super::exchange::{Answer, Request, read, write};
use super::super::join::join_over;
use super::*;

#[tokio::test]
async fn an_invited_machine_is_a_member_also_after_a_restart() {
    let home = Inviter::start("home").await;
    let invitation = home.invite(1);

    let joined = join(&invitation, Revoked::default()).await.unwrap();
    assert_eq!((joined.cluster(), joined.cluster_name()), (home.cluster.id(), Some("home")));
    assert!(joined.cluster_key().is_none());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("membership");
    joined.save(&path).unwrap();
    let loaded = Member::load(&path, Revoked::default()).unwrap();
    assert_eq!(loaded.fingerprint(), joined.fingerprint());
    for client in [&joined, &loaded] {
        let met = meet(client.client_config(), member(&home.cluster).server_config()).await;
        assert_eq!(met.server.unwrap(), Greeted::Member(joined.fingerprint()));
    }
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 20, whole.len() / 2, whole.len() - 1] {
        files::write_secret(&path, &whole[..length], files::Present::Replace).unwrap();
        let error = Member::load(&path, Revoked::default()).unwrap_err();
        assert!(matches!(error, KeyError::CutOff { .. }), "{error}");
    }
}

#[tokio::test]
async fn of_those_who_use_a_one_time_invitation_at_once_one_gets_in() {
    let home = Inviter::start("home").await;
    let invitation = home.invite(1);

    let tries: Vec<_> = (0..4)
        .map(|_| {
            let invitation = invitation.clone();
            tokio::spawn(async move { join(&invitation, Revoked::default()).await })
        })
        .collect();
    let mut members = 0;
    for one in tries {
        match one.await.unwrap() {
            Ok(_) => members += 1,
            Err(error) => assert_eq!(
                error.to_string(),
                "the inviting node refuses: this invitation was already used: ask for a new one"
            ),
        }
    }
    assert_eq!(members, 1);
}

#[tokio::test]
async fn the_secret_is_not_sent_to_a_node_of_another_cluster() {
    let home = cluster("home");
    let other = Inviter::start("home").await;
    let secret = other.book.lock().unwrap().issue(1, limits::INVITATION_AGE, NOW).unwrap();
    let invitation = Invitation::new("127.0.0.1", other.port, home.id(), secret.clone()).unwrap();

    let error = join(&invitation, Revoked::default()).await.unwrap_err();
    assert!(matches!(error, JoinError::WrongCluster), "{error:?}");
    let here = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(other.book.lock().unwrap().take(&secret, here, NOW), Ok(()), "nobody used it");
}

#[tokio::test]
async fn who_shows_the_certificate_of_the_cluster_but_is_not_of_it_gets_no_secret() {
    let home = cluster("home");
    let fake = cluster("home");
    let key = new_key().unwrap();
    let chain = vec![fake.sign(&key).unwrap(), home.certificate().clone()];
    let (invitation, _) = invitation_of(&home);

    let (client, server) = duplex(1 << 16);
    let server =
        tokio::spawn(TlsAcceptor::from(server_of(identity(chain, &key, &home))).accept(server));
    let error = join_over(client, &invitation, Revoked::default()).await.unwrap_err();
    assert!(matches!(error, JoinError::WrongCluster), "{error:?}");
    assert!(server.await.unwrap().is_err());
}

#[tokio::test]
async fn a_node_without_the_cluster_key_says_that_it_cannot_admit() {
    let home = cluster("home");
    let (invitation, _) = invitation_of(&home);
    let (client, server) = duplex(1 << 16);
    let config = Member::joined_for_tests(&home).server_config();
    tokio::spawn(TlsAcceptor::from(config).accept(server));

    let error = join_over(client, &invitation, Revoked::default()).await.unwrap_err();
    assert!(matches!(error, JoinError::CannotAdmit), "{error:?}");
}

#[tokio::test]
async fn where_nobody_listens_the_address_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let home = cluster("home");
    let secret = invitation_of(&home).1;
    let invitation = Invitation::new("127.0.0.1", port, home.id(), secret).unwrap();

    let error = join(&invitation, Revoked::default()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach 127.0.0.1:{port}: check")), "{error}");
}

#[tokio::test]
async fn a_joiner_believes_no_answer_that_does_not_fit() {
    let home = cluster("home");
    let other = cluster("other");
    let key = new_key().unwrap();
    let answer = |leaf: Vec<u8>, authority: &ClusterKey, name: &str| Answer::Admitted {
        certificate: leaf,
        authority: authority.certificate().to_vec(),
        cluster_name: name.to_owned(),
    };
    let for_another_key = home.sign(&key).unwrap().to_vec();
    for (answer, text) in [
        (answer(for_another_key.clone(), &home, "home"), "it is for another key"),
        (answer(other.sign(&key).unwrap().to_vec(), &other, "home"), "of another authority"),
        (answer(other.sign(&key).unwrap().to_vec(), &home, "home"), "not signed by the given"),
        (answer(vec![0x30; 9000], &home, "home"), "makes no sense"),
        (answer(for_another_key, &home, "ho\nme"), "a cluster's name has"),
        (Answer::Refused("no\u{1b}[2J".to_owned()), "the inviting node refuses: no[2J"),
    ] {
        let (client, server) = duplex(1 << 16);
        let config = member(&home).server_config();
        let serving = tokio::spawn(async move {
            let mut stream = TlsAcceptor::from(config).accept(server).await.unwrap();
            let _: Request = read(&mut stream).await.unwrap();
            write(&mut stream, &answer).await.unwrap();
        });
        let joined = join_over(client, &invitation_of(&home).0, Revoked::default()).await;
        let error = joined.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_is_garbage_too_long_or_cut_off_is_an_error() {
    let home = cluster("home");
    for (bytes, text) in [
        (vec![0x40, 0x01], "16385 bytes announced"),
        (vec![0, 1, 9], "not a message of the admission exchange"),
        (vec![0, 9, 0], "the invitation may be used up"),
        (vec![], "the invitation may be used up"),
    ] {
        let (client, server) = duplex(1 << 16);
        let config = member(&home).server_config();
        let serving = tokio::spawn(async move {
            let mut stream = TlsAcceptor::from(config).accept(server).await.unwrap();
            let _: Request = read(&mut stream).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let joined = join_over(client, &invitation_of(&home).0, Revoked::default()).await;
        let error = joined.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        serving.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_joiner_does_not_wait_for_ever() {
    let (invitation, _) = invitation_of(&cluster("home"));
    let (client, _server) = duplex(1 << 16);
    let error = join_over(client, &invitation, Revoked::default()).await.unwrap_err();
    assert!(matches!(error, JoinError::Handshake(HandshakeError::Lost(_))), "{error:?}");
}

const NOW: u64 = 1_800_000_000;

/// A node that admits whoever has one of its invitations, as the listener will do it.
struct Inviter {
    cluster: Arc<ClusterKey>,
    book: Arc<Mutex<Invitations>>,
    port: u16,
    accepting: JoinHandle<()>,
}

impl Inviter {
    async fn start(name: &str) -> Self {
        let cluster = cluster(name);
        let book = Arc::<Mutex<Invitations>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (key, invitations) = (Arc::clone(&cluster), Arc::clone(&book));
        let acceptor = TlsAcceptor::from(member(&cluster).server_config());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let (key, invitations) = (Arc::clone(&key), Arc::clone(&invitations));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    assert_eq!(greet(stream.get_ref().1).unwrap(), Greeted::Joiner);
                    let take =
                        |secret: &Secret| invitations.lock().unwrap().take(secret, from.ip(), NOW);
                    drop(admit(stream, &key, take).await);
                });
            }
        });
        Self { cluster, book, port, accepting }
    }

    fn invite(&self, uses: u32) -> Invitation {
        let age = Duration::from_secs(60);
        let secret = self.book.lock().unwrap().issue(uses, age, NOW).unwrap();
        Invitation::new("127.0.0.1", self.port, self.cluster.id(), secret).unwrap()
    }
}

impl Drop for Inviter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn invitation_of(cluster: &ClusterKey) -> (Invitation, Secret) {
    let secret = Invitations::default().issue(1, limits::INVITATION_AGE, NOW).unwrap();
    (Invitation::new("host", 1, cluster.id(), secret.clone()).unwrap(), secret)
}
