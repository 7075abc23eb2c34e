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
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::conn::Conn;
use crate::error::ConnectError;
use crate::link::Link;
use crate::mesh::{self, Mesh};
use crate::trust::{self, Greeted};

/// Time for a connection to be made and greeted, on either side: short enough that there is time for
/// another attempt before a peer is lost.
pub(crate) const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Waits until a peer that was just reached is there.
pub(crate) async fn until_online(mesh: &Arc<Mesh>, node: NodeId) -> Option<Arc<Link>> {
    let mut changes = mesh.watch();
    let found = async {
        loop {
            let online = mesh.online();
            if let Some((_, link)) = online.into_iter().find(|(_, link)| link.peer == node) {
                return Some(link);
            }
            changes.changed().await.ok()?;
        }
    };
    tokio::time::timeout(GREETING_TIMEOUT, found).await.ok().flatten()
}

/// Connects a lane of a link, by the addresses that its peer has said.
pub(crate) async fn connect(mesh: &Arc<Mesh>, link: &Arc<Link>, lane: LaneKind) {
    let about = link.about();
    let mut failure = io::Error::other("the peer has said no address where it can be dialled");
    for text in &about.addresses {
        let Ok(address) = text.parse::<SocketAddr>() else { continue };
        let dialled = dial_lane(mesh, address, lane, Some(link.peer));
        match tokio::time::timeout(GREETING_TIMEOUT, dialled).await {
            Ok(Ok(_)) => return,
            Ok(Err(ConnectError::Refused { refusal: Refusal::Simultaneous, .. })) => {
                // It comes from the other side; if not, the next sign of life tries again.
                failure = io::Error::other("the peer connects from its side");
            }
            Ok(Err(ConnectError::Unreachable { source, .. })) => failure = source,
            Ok(Err(error)) => failure = io::Error::other(error.to_string()),
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    tracing::debug!(peer = %link.name(), ?lane, %failure, "a connection failed");
    link.connect_failed(lane, &failure);
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
    let hello: Hello = read(&mut tls, &mut bytes).await.map_err(unreachable)?;
    if hello.node == mesh.me() {
        return Ok(Reached::Itself);
    }
    if agree(hello.versions).is_none() {
        let refusal = Refusal::Version { ours: hello.versions };
        return Err(ConnectError::Refused { address, refusal });
    }
    let node = hello.node;
    if let Some(expected) = expected
        && expected != node
    {
        // Another process has taken its place.
        if let Some(link) = mesh.link(expected) {
            link.end(Over::Gone);
        }
    }
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
    let greeted = mesh::Greeted { hello, fingerprint, lane };
    if let Some((link, received)) = mesh.handle_welcome(node, &attach, &welcome) {
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
    send(&mut tls, mesh.hello()).await.map_err(unreachable)?;
    let mut bytes = BytesMut::new();
    let attach: Attach = read(&mut tls, &mut bytes).await.map_err(unreachable)?;
    let greeted = mesh::Greeted { hello: attach.hello.clone(), fingerprint, lane: attach.lane };
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
