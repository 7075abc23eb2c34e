//! Nodes that meet: who talks to whom, what the refused are told, and how one gets in.

mod joining;
mod meeting;

use std::sync::Arc;

use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tls::{Identity, server_config};
use super::verifier::Anonymous;
use super::*;

#[derive(Debug)]
struct Met {
    client: Result<Fingerprint, HandshakeError>,
    server: Result<Greeted, HandshakeError>,
}

/// Lets two sides shake hands, and then the server say a byte, as a client hears of its refusal
/// only when it reads.
async fn meet(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Met {
    let (near, far) = duplex(1 << 16);
    let (client, server) = tokio::join!(dial(client, near), serve(server, far));
    Met { client, server }
}

async fn dial(
    config: Arc<ClientConfig>,
    stream: DuplexStream,
) -> Result<Fingerprint, HandshakeError> {
    let connecting = TlsConnector::from(config).connect(server_name(), stream);
    let mut stream = connecting.await.map_err(HandshakeError::explain)?;
    let server = check_server(stream.get_ref().1);
    let said = stream.read_u8().await.map_err(HandshakeError::explain);
    let server = server?;
    said.map(|_| server)
}

async fn serve(config: Arc<ServerConfig>, stream: DuplexStream) -> Result<Greeted, HandshakeError> {
    let accepting = TlsAcceptor::from(config).accept(stream);
    let mut stream = accepting.await.map_err(HandshakeError::explain)?;
    let greeted = greet(stream.get_ref().1)?;
    stream.write_all(&[1]).await.map_err(HandshakeError::explain)?;
    stream.flush().await.map_err(HandshakeError::explain)?;
    Ok(greeted)
}

fn assert_text<T: std::fmt::Debug>(result: &Result<T, HandshakeError>, text: &str) {
    let error = result.as_ref().unwrap_err().to_string();
    assert!(error.contains(text), "{error}");
}

fn cluster(name: &str) -> Arc<ClusterKey> {
    Arc::new(ClusterKey::create(name).unwrap())
}

fn member(cluster: &Arc<ClusterKey>) -> Member {
    Member::of(Arc::clone(cluster), Revoked::default()).unwrap()
}

fn identity(chain: Vec<CertificateDer<'static>>, key: &KeyPair, believed: &ClusterKey) -> Identity {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Identity { chain, key, authority: vec![believed.certificate().clone()] }
}

fn server_of(identity: Identity) -> Arc<ServerConfig> {
    Arc::new(server_config(&identity, Revoked::default(), Anonymous::MayJoin).unwrap())
}
