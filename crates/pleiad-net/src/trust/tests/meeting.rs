use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, date_time_ymd};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;

use super::super::certificates::{member_params, new_key};
use super::super::tls::{JOIN, MESH, client_config, joiner_config};
use super::super::verifier::Verifier;
use super::*;

#[tokio::test]
async fn members_of_one_cluster_talk_however_they_got_in() {
    let cluster = cluster("home");
    let one = member(&cluster);
    let two = Member::joined_for_tests(&cluster);

    for (client, server) in [(&one, &two), (&two, &one), (&one, &one)] {
        let met = meet(client.client_config(), server.server_config()).await;
        assert_eq!(met.client.unwrap(), server.fingerprint());
        assert_eq!(met.server.unwrap(), Greeted::Member(client.fingerprint()));
    }
}

#[tokio::test]
async fn members_of_two_clusters_of_one_name_do_not_talk() {
    let home = member(&cluster("home"));
    let other = member(&cluster("home"));

    let met = meet(other.client_config(), home.server_config()).await;
    assert_text(&met.client, "the peer is in another cluster: invite one");
    assert_text(&met.server, "the peer is in another cluster: invite one");
}

#[tokio::test]
async fn a_client_of_another_cluster_is_refused_even_if_it_believes_the_server() {
    let home = cluster("home");
    let server = member(&home).server_config();
    let stranger = cluster("stranger");
    let key = new_key().unwrap();
    let chain = vec![stranger.sign(&key).unwrap(), stranger.certificate().clone()];

    let client = client_of(identity(chain, &key, &home));
    let met = meet(client, server).await;
    assert_text(&met.client, "the peer is in another cluster");
    assert_text(&met.server, "the peer is in another cluster");
}

#[tokio::test]
async fn whoever_signs_for_himself_is_refused() {
    let home = cluster("home");
    let key = new_key().unwrap();
    let own = member_params().unwrap().self_signed(&key).unwrap();

    let client = client_of(identity(vec![own.der().clone()], &key, &home));
    let met = meet(client, member(&home).server_config()).await;
    assert_text(&met.client, "the peer is in another cluster");
    assert_text(&met.server, "the peer is in another cluster");
}

#[tokio::test]
async fn an_expired_or_future_certificate_is_refused_on_either_side() {
    let home = cluster("home");
    for (from, to) in [(2001, 2002), (2900, 2901)] {
        let mut params = member_params().unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let old = || signed(&params, &home);

        let met = meet(client_of(old()), member(&home).server_config()).await;
        assert_text(
            &met.client,
            "the peer finds our certificate not valid now: compare the clocks",
        );
        assert_text(
            &met.server,
            "the certificate of the peer is not valid now: compare the clocks",
        );
        let met = meet(member(&home).client_config(), server_of(old())).await;
        assert_text(&met.client, "the certificate of the peer is not valid now");
        assert_text(&met.server, "the peer finds our certificate not valid now");
    }
}

#[test]
fn a_clock_that_is_a_day_off_is_no_obstacle() {
    let home = cluster("home");
    let leaf = home.sign(&new_key().unwrap()).unwrap();
    let verifier = Verifier::new(vec![home.certificate().clone()]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let accepted = |at| {
        let at = UnixTime::since_unix_epoch(at);
        verifier.verify_client_cert(&leaf, &[], at).is_ok()
    };

    let day = Duration::from_secs(86_400);
    assert!(accepted(now) && accepted(now - day) && accepted(now + 9 * 365 * day));
    assert!(!accepted(now - 3 * day) && !accepted(now + 11 * 365 * day));
}

#[tokio::test]
async fn a_certificate_for_another_purpose_is_no_membership() {
    let home = cluster("home");
    let mut params = member_params().unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];

    let met = meet(client_of(signed(&params, &home)), member(&home).server_config()).await;
    assert!(met.server.is_err() && met.client.is_err(), "{met:?}");
}

#[tokio::test]
async fn revoking_works_at_once_and_on_either_side() {
    let cluster = cluster("home");
    let home = member(&cluster);
    let lost = Member::joined_for_tests(&cluster);
    let met = meet(lost.client_config(), home.server_config()).await;
    assert!(met.client.is_ok() && met.server.is_ok());

    home.revoked().revoke(lost.fingerprint(), "stolen").unwrap();
    let met = meet(lost.client_config(), home.server_config()).await;
    assert_text(&met.client, "this node was revoked: it must join again");
    assert_text(&met.server, "the peer was revoked");
    let met = meet(home.client_config(), lost.server_config()).await;
    assert_text(&met.client, "the peer was revoked");
    assert_text(&met.server, "this node was revoked");
}

#[tokio::test]
async fn without_a_certificate_one_can_only_join_and_only_where_it_is_possible() {
    let cluster = cluster("home");
    let admits = member(&cluster).server_config();
    let does_not = Member::joined_for_tests(&cluster).server_config();

    let met = meet(stranger(&cluster, MESH), Arc::clone(&admits)).await;
    assert_text(&met.server, "the peer shows no certificate: it must join first");
    let met = meet(stranger(&cluster, JOIN), Arc::clone(&admits)).await;
    assert_eq!(met.server.unwrap(), Greeted::Joiner);
    let met = meet(stranger(&cluster, b"h2"), admits).await;
    assert_text(&met.client, "no protocol in common");
    assert_text(&met.server, "no protocol in common");

    let met = meet(stranger(&cluster, MESH), Arc::clone(&does_not)).await;
    assert_text(&met.client, "the peer wants a certificate: join its cluster first");
    assert_text(&met.server, "the peer shows no certificate");
    let met = meet(stranger(&cluster, JOIN), does_not).await;
    assert_text(&met.client, "no protocol in common");
    assert_text(&met.server, "no protocol in common");
}

#[tokio::test]
async fn a_peer_that_names_no_protocol_is_refused() {
    let cluster = cluster("home");
    let mut client = ClientConfig::clone(&member(&cluster).client_config());
    client.alpn_protocols.clear();

    let met = meet(Arc::new(client), member(&cluster).server_config()).await;
    assert_text(&met.server, "no protocol in common");
    assert_text(&met.client, "no protocol in common");
}

#[tokio::test]
async fn what_speaks_old_tls_or_none_is_told_apart() {
    let server = member(&cluster("home")).server_config();
    for (hello, text) in [
        (tls12_hello(), "does not speak TLS 1.3: update it"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "does not speak TLS: is this"),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "does not speak TLS: is this"),
        (vec![0; 600], "does not speak TLS: is this"),
        (Vec::new(), "the connection was lost during the handshake: try again"),
    ] {
        let (mut client, stream) = duplex(4096);
        client.write_all(&hello).await.unwrap();
        client.shutdown().await.unwrap();
        let refused = TlsAcceptor::from(Arc::clone(&server)).accept(stream).await.err().unwrap();
        let refused = HandshakeError::explain(refused).to_string();
        assert!(refused.contains(text), "{refused}");
    }
}

#[tokio::test]
async fn an_own_authority_serves_in_one_file_or_in_three() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        files::write_secret(&path, text.as_bytes(), files::Present::Replace).unwrap();
        path
    };
    let (authority_key, authority) = own_authority();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["www.example.org".to_owned()]).unwrap();
    let issuer = rcgen::Issuer::new(authority_params(), authority_key);
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let all = write("all", &format!("{}{}{}", key.serialize_pem(), leaf.pem(), authority.pem()));
    let one_file = Pki { cert: all.clone(), key: all.clone(), ca: all };
    let three_files = Pki {
        cert: write("cert", &leaf.pem()),
        key: write("key", &key.serialize_pem()),
        ca: write("ca", &authority.pem()),
    };

    let one = Member::from_pki(&one_file, Revoked::default()).unwrap();
    let three = Member::from_pki(&three_files, Revoked::default()).unwrap();
    assert_eq!(one.cluster(), three.cluster());
    let met = meet(one.client_config(), three.server_config()).await;
    assert_eq!(met.server.unwrap(), Greeted::Member(one.fingerprint()));
    assert_eq!(met.client.unwrap(), three.fingerprint());

    let stranger = member(&cluster("home"));
    let met = meet(stranger.client_config(), three.server_config()).await;
    assert_text(&met.server, "the peer is in another cluster");
    assert!(matches!(three.save(&dir.path().join("x")), Err(KeyError::NotJoined)));

    let wrong = |pki: Pki, text: &str| {
        let error = Member::from_pki(&pki, Revoked::default()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    let other_key = write("other.key", &KeyPair::generate().unwrap().serialize_pem());
    let other_ca = write("other.ca", &own_authority().1.pem());
    wrong(Pki { key: other_key, ..three_files.clone() }, "it is for another key");
    wrong(Pki { ca: other_ca, ..three_files.clone() }, "not signed by the given authority");
    wrong(Pki { cert: three_files.ca.clone(), ..three_files.clone() }, "it is an authority's");
    wrong(Pki { key: three_files.cert.clone(), ..three_files.clone() }, "holds no private key");
    wrong(Pki { cert: three_files.key.clone(), ..three_files.clone() }, "holds no certificate");
    wrong(Pki { ca: dir.path().join("none"), ..three_files }, "cannot read");
}

fn client_of(identity: Identity) -> Arc<ClientConfig> {
    Arc::new(client_config(&identity, Revoked::default()).unwrap())
}

fn signed(params: &CertificateParams, cluster: &ClusterKey) -> Identity {
    let key = new_key().unwrap();
    let leaf = params.signed_by(&key, cluster.issuer()).unwrap();
    identity(vec![leaf.der().clone()], &key, cluster)
}

/// A client without a certificate, which wants to speak this protocol.
fn stranger(cluster: &ClusterKey, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut config = joiner_config(cluster.id()).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

fn own_authority() -> (KeyPair, rcgen::Certificate) {
    let key = KeyPair::generate().unwrap();
    let certificate = authority_params().self_signed(&key).unwrap();
    (key, certificate)
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
}

/// What a client says that knows TLS 1.2 at most: one suite, null compression, and the extensions
/// for groups and signatures.
fn tls12_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3, 0, 11, 0, 2, 1, 0];
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}
