//! The beginning of a connection, on the side that dials and on the side that is dialled.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pleiad_proto::Over;
use pleiad_proto::wire::{
    Attach, Greeting, Hello, LaneKind, Part, Refusal, VERSION_NEWEST, VERSION_OLDEST, Welcome,
    agree, read_part, write_part,
};
use pleiad_types::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::conn::Conn;
use crate::error::ConnectError;
use crate::link::Link;
use crate::mesh::{self, Mesh};
use crate::trust::{self, Greeted, HandshakeError};

/// Time for a connection to be made and greeted, on either side: short enough that there is time for
/// another attempt before a peer is lost.
pub(crate) const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// The next address of a peer is tried beside those before it when they have not answered in this time:
/// one that leads nowhere is silent for longer than a peer may be.
const NEXT_ADDRESS: Duration = Duration::from_millis(200);

/// How long a peer has that is about to connect from its side.
const DIAL_AGAIN: Duration = Duration::from_millis(100);

/// Somebody who was reached.
pub(crate) enum Reached {
    /// A new connection, or one that there was already.
    Peer(NodeId),
    /// This node itself.
    Itself,
}

/// Dials an address where a peer may be.
pub(crate) async fn dial(mesh: &Arc<Mesh>, address: SocketAddr) -> Result<Reached, ConnectError> {
    let dialled = dial_lane(mesh, address, LaneKind::Messages, None);
    tokio::time::timeout(GREETING_TIMEOUT, dialled)
        .await
        .unwrap_or(Err(ConnectError::TimedOut { address, after: GREETING_TIMEOUT }))
}

/// Dials an address until the peer there is online, which it may become from its side: then that may also
/// fail, and is to be tried again. None: it is this node itself.
pub(crate) async fn reach(
    mesh: &Arc<Mesh>,
    address: SocketAddr,
) -> Result<Option<Arc<Link>>, ConnectError> {
    let reached = async {
        let mut changes = mesh.watch();
        loop {
            let Reached::Peer(node) = dial(mesh, address).await? else { return Ok(None) };
            let is_online = async {
                loop {
                    let online = mesh.online();
                    let found = online.into_iter().find(|(_, link)| link.peer == node);
                    if found.is_some() || changes.changed().await.is_err() {
                        return found;
                    }
                }
            };
            if let Ok(Some((_, link))) = tokio::time::timeout(DIAL_AGAIN, is_online).await {
                return Ok(Some(link));
            }
            if mesh.is_finished() {
                return Err(ConnectError::Closed);
            }
        }
    };
    tokio::time::timeout(GREETING_TIMEOUT, reached)
        .await
        .unwrap_or(Err(ConnectError::TimedOut { address, after: GREETING_TIMEOUT }))
}

/// Connects a lane of a link, by the addresses that its peer has said.
pub(crate) async fn connect(mesh: &Arc<Mesh>, link: &Arc<Link>, lane: LaneKind) {
    let about = link.about();
    let parsed = about.addresses.iter().filter_map(|text| text.parse().ok());
    let mut addresses = parsed.collect::<Vec<SocketAddr>>().into_iter().peekable();
    let mut attempts = JoinSet::new();
    let (mut are_all_refused, mut is_gone) = (addresses.peek().is_some(), false);
    while addresses.peek().is_some() || !attempts.is_empty() {
        if let Some(address) = addresses.next() {
            attempts.spawn(connect_to(mesh.clone(), address, lane, link.peer));
        }
        let ended = tokio::select! {
            ended = attempts.join_next() => ended,
            () = tokio::time::sleep(NEXT_ADDRESS), if addresses.peek().is_some() => None,
        };
        let Some(Ok((address, reached))) = ended else { continue };
        // This may be the work of another: it may also come from the other side.
        if link.is_over() || link.is_attached(lane) {
            return;
        }
        let is_refused = reached.as_ref().is_err_and(is_nobody_there);
        let is_other = matches!(reached, Ok(Reached::Peer(node)) if node != link.peer);
        are_all_refused &= is_refused;
        is_gone |= (is_refused || is_other) && link.was_seen_at(address.ip());
        is_gone |= reached.as_ref().is_err_and(is_revoked);
        if let Err(error) = reached {
            let error = mesh::with_sources(&error);
            tracing::debug!(peer = %link.name(), ?lane, error, "a connection failed");
        }
    }
    link.connect_failed(lane, is_gone || are_all_refused);
}

async fn connect_to(
    mesh: Arc<Mesh>,
    address: SocketAddr,
    lane: LaneKind,
    peer: NodeId,
) -> (SocketAddr, Result<Reached, ConnectError>) {
    let dialled = dial_lane(&mesh, address, lane, Some(peer));
    let reached = tokio::time::timeout(GREETING_TIMEOUT, dialled)
        .await
        .unwrap_or(Err(ConnectError::TimedOut { address, after: GREETING_TIMEOUT }));
    (address, reached)
}

/// Whether one of the two is no member any more, as far as the other knows.
fn is_revoked(error: &ConnectError) -> bool {
    let ConnectError::Handshake { source, .. } = error else { return false };
    matches!(source, HandshakeError::WeRevoked | HandshakeError::PeerRevoked)
}

/// Whether nobody listens there.
pub(crate) fn is_nobody_there(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Unreachable { source, .. }
        if source.kind() == io::ErrorKind::ConnectionRefused)
}

/// `expected`: who is to be there.
async fn dial_lane(
    mesh: &Arc<Mesh>,
    address: SocketAddr,
    lane: LaneKind,
    expected: Option<NodeId>,
) -> Result<Reached, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address, source };
    let tcp = TcpStream::connect(address).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let connector = TlsConnector::from(mesh.member.client_config());
    let mut tls = connector
        .connect(trust::server_name(), tcp)
        .await
        .map_err(|error| ConnectError::handshake(address, error))?;
    let fingerprint = trust::check_server(tls.get_ref().1)
        .map_err(|source| ConnectError::Handshake { address, source })?;

    let mut bytes = BytesMut::new();
    // With TLS 1.3, a client hears only here that it is not trusted.
    let refused = |error: io::Error| match error.get_ref() {
        Some(inner) if inner.is::<rustls::Error>() => ConnectError::handshake(address, error),
        _ => unreachable(error),
    };
    let hello: Hello = read(&mut tls, &mut bytes).await.map_err(refused)?;
    if hello.node == mesh.me() {
        return Ok(Reached::Itself);
    }
    if agree(hello.versions).is_none() {
        let refusal = Refusal::Version { ours: hello.versions };
        return Err(ConnectError::Refused { address, refusal });
    }
    let node = hello.node;
    let lane = match expected {
        Some(expected) if expected != node => {
            // Another process has taken its place, or another machine has the same address.
            if let Some(link) = mesh.link(expected)
                && link.was_seen_at(address.ip())
            {
                link.end(Over::Gone);
            }
            LaneKind::Messages
        }
        _ => lane,
    };
    let Some(attach) = mesh.plan_attach(&hello, lane) else { return Ok(Reached::Peer(node)) };
    let _dialling = Dialling { mesh, node, lane };
    send(&mut tls, &attach).await.map_err(unreachable)?;
    let greeting: Greeting = read(&mut tls, &mut bytes).await.map_err(unreachable)?;
    let welcome = match greeting {
        Ok(welcome) => welcome,
        Err(Refusal::SessionOver) => {
            // Only that which was asked for: another may have begun meanwhile.
            let asked = attach.resume.map(|resume| resume.session);
            if let Some(link) = mesh.link(node)
                && asked == Some(link.with_session(|session| session.number()))
            {
                link.end(Over::Gone);
            }
            return Err(ConnectError::Refused { address, refusal: Refusal::SessionOver });
        }
        Err(Refusal::Simultaneous) if expected.is_none() => return Ok(Reached::Peer(node)),
        Err(refusal) => return Err(ConnectError::Refused { address, refusal }),
    };
    let greeted = mesh::Greeted { hello, fingerprint, lane, since: mesh.now() };
    if let Some((link, received)) = mesh.handle_welcome(&greeted, &attach, &welcome) {
        let (tcp, connection) = tls.into_inner();
        let conn = open(lane, tcp, connection.into(), bytes).map_err(unreachable)?;
        mesh.attach(&link, &greeted, conn, received);
    }
    Ok(Reached::Peer(node))
}

/// Takes a connection that somebody has made to us.
pub(crate) async fn accept(mesh: &Arc<Mesh>, tcp: TcpStream) -> Result<(), ConnectError> {
    let address = tcp.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    tokio::time::timeout(GREETING_TIMEOUT, accept_from(mesh, tcp, address))
        .await
        .unwrap_or(Err(ConnectError::TimedOut { address, after: GREETING_TIMEOUT }))
}

async fn accept_from(
    mesh: &Arc<Mesh>,
    tcp: TcpStream,
    address: SocketAddr,
) -> Result<(), ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address, source };
    tcp.set_nodelay(true).map_err(unreachable)?;
    let acceptor = TlsAcceptor::from(mesh.member.server_config());
    let mut tls =
        acceptor.accept(tcp).await.map_err(|error| ConnectError::handshake(address, error))?;
    let greeted = trust::greet(tls.get_ref().1)
        .map_err(|source| ConnectError::Handshake { address, source })?;
    let fingerprint = match greeted {
        Greeted::Member(fingerprint) => fingerprint,
        Greeted::Joiner => return mesh.admit(tls, address).await,
    };

    // Nothing of what a stranger says has been read until here.
    let since = mesh.now();
    send(&mut tls, mesh.hello()).await.map_err(unreachable)?;
    let mut bytes = BytesMut::new();
    let attach: Attach = read(&mut tls, &mut bytes).await.map_err(unreachable)?;
    let (hello, lane) = (attach.hello.clone(), attach.lane);
    let greeted = mesh::Greeted { hello, fingerprint, lane, since };
    let (resume, link, received) = match mesh.meet(&greeted, &attach) {
        Ok(met) => met,
        Err(refusal) => {
            let refused: Greeting = Err(refusal.clone());
            send(&mut tls, &refused).await.map_err(unreachable)?;
            // So that it arrives before the end.
            let _ = tls.shutdown().await;
            return Err(ConnectError::Refused { address, refusal });
        }
    };
    let version = agree(attach.hello.versions).unwrap_or(VERSION_OLDEST).min(VERSION_NEWEST);
    let welcome: Greeting = Ok(Welcome { version, resume });
    send(&mut tls, &welcome).await.map_err(unreachable)?;
    let (tcp, connection) = tls.into_inner();
    let conn = open(attach.lane, tcp, connection.into(), bytes).map_err(unreachable)?;
    mesh.attach(&link, &greeted, conn, received);
    Ok(())
}

fn open(
    lane: LaneKind,
    tcp: TcpStream,
    tls: rustls::Connection,
    bytes: BytesMut,
) -> io::Result<Conn> {
    Ok(Conn::new(lane, tcp.into_std()?, tls, bytes))
}

async fn read<P: Part>(from: &mut (impl AsyncRead + Unpin), bytes: &mut BytesMut) -> io::Result<P> {
    loop {
        if let Some(part) =
            read_part(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        {
            return Ok(part);
        }
        if from.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn send<P: Part>(to: &mut (impl AsyncWrite + Unpin), part: &P) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    write_part(part, &mut bytes);
    to.write_all(&bytes).await?;
    to.flush().await
}

/// A lane is being connected from here.
struct Dialling<'a> {
    mesh: &'a Arc<Mesh>,
    node: NodeId,
    lane: LaneKind,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.mesh.end_attach(self.node, self.lane);
    }
}
