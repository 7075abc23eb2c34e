//! A member of a cluster that does not behave: it speaks as it likes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use pleiad_net::{Home, Member, NodeId, testing};
use pleiad_proto::wire::{Attach, Greeting, Hello, LaneKind, Part, read_part, write_part};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Lab;

pub(crate) struct Rogue {
    pub(crate) tls: TlsStream<TcpStream>,
    /// What it was told at the beginning.
    pub(crate) hello: Hello,
    pub(crate) node: NodeId,
}

impl Lab {
    pub(crate) fn member(&self) -> Member {
        Home::at(self.home()).and_then(|home| home.member()).expect("a member")
    }
}

impl Rogue {
    /// Speaks TLS with a node, as this member.
    pub(crate) async fn dial(member: &Member, address: &str, node: u64) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let tcp = TcpStream::connect(address).await.expect("it listens");
        let (config, name) = testing::tls(member);
        let mut tls = TlsConnector::from(config).connect(name, tcp).await.expect("it is trusted");
        let hello = read(&mut tls).await.expect("it says who it is");
        Self { tls, hello, node: NodeId(node) }
    }

    /// Goes on until it may say what it likes.
    pub(crate) async fn greet(mut self) -> Self {
        let attach = self.attach();
        let mut bytes = BytesMut::new();
        write_part(&attach, &mut bytes);
        self.say(&bytes).await;
        let greeting: Greeting = read(&mut self.tls).await.expect("an answer");
        greeting.expect("it is taken");
        self
    }

    pub(crate) fn attach(&self) -> Attach {
        let hello = Hello {
            versions: self.hello.versions,
            node: self.node,
            name: "rogue".to_owned(),
            addresses: Vec::new(),
            lost_after_ms: 5000,
        };
        Attach { hello, lane: LaneKind::Messages, resume: None, fresh: self.node.0 }
    }

    /// If the node has closed the connection, that is all right.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        let _ = self.tls.write_all(bytes).await;
        let _ = self.tls.flush().await;
    }

    /// Reads until the node closes the connection.
    pub(crate) async fn closed(mut self) {
        let mut buffer = vec![0; 64 << 10];
        let reads = async { while matches!(self.tls.read(&mut buffer).await, Ok(1..)) {} };
        tokio::time::timeout(Duration::from_secs(5), reads).await.expect("it is closed");
    }
}

async fn read<P: Part>(tls: &mut TlsStream<TcpStream>) -> Option<P> {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(part) = read_part(&mut bytes).ok()? {
            return Some(part);
        }
        // One at a time: what comes after it is not ours.
        let mut byte = [0];
        tls.read_exact(&mut byte).await.ok()?;
        bytes.extend_from_slice(&byte);
    }
}
