use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pleiad_proto::wire::{Hello, VERSION_NEWEST, VERSION_OLDEST};
use pleiad_types::NodeId;
use pleiad_types::limits::{
    FILE_BYTES_MAX, FILES_BYTES_MAX, LOST_AFTER, LOST_AFTER_MIN, NAME_BYTES_MAX,
};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;

use crate::addresses::Target;
use crate::discovery::{Announcement, Reached};
use crate::error::StartError;
use crate::files::Request;
use crate::files::{FILES, FileOptions, Files};
use crate::find::Discovery;
use crate::mesh::{Mesh, random};
use crate::node::Node;
use crate::own::{self, OwnThread};
use crate::registry::Offer;
use crate::system;
use crate::trust::{self, ClusterKey, DEFAULT_PORT, Home, Invitation, Member, Pki, Revoked};

/// Connections that wait to be accepted: a thousand nodes that come at once. The system makes whoever is
/// beyond it wait for a second.
const LISTEN_BACKLOG: u32 = 1024;

/// How a node starts: see [`Node::builder`].
#[derive(Debug)]
#[must_use = "a node starts when `start` is called"]
pub struct NodeBuilder {
    name: Option<String>,
    listen: Vec<String>,
    announce: Vec<String>,
    peers: Vec<String>,
    discovery: bool,
    trust: Trust,
    home: Option<PathBuf>,
    lost_after: Duration,
    files: FileOptions,
}

#[derive(Debug)]
enum Trust {
    /// Whatever this user's nodes are.
    Home,
    Key(Box<ClusterKey>),
    Member(Box<Member>),
    Pki(Pki),
    Invitation(Invitation),
}

impl NodeBuilder {
    pub(crate) fn new() -> Self {
        Self {
            name: None,
            listen: Vec::new(),
            announce: Vec::new(),
            peers: Vec::new(),
            discovery: true,
            trust: Trust::Home,
            home: None,
            lost_after: LOST_AFTER,
            files: FileOptions {
                directory: None,
                file_bytes_max: FILE_BYTES_MAX,
                files_bytes_max: FILES_BYTES_MAX,
            },
        }
    }

    /// Its name, for people and for [`Node::peer`]; it should be the only one. Default: that of the
    /// program, and the number of the process.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Listens there: `host`, `host:port`, `[v6]:port`; may be said several times. `0.0.0.0` and `[::]` are
    /// all interfaces. Without a port, it is 9705; port 0 is any that is free. Default: `127.0.0.1:0`, so
    /// that no other machine can reach it.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Tells others that it is to be reached there, instead of where it listens: behind a router that
    /// forwards, in a cloud. `host` or `host:port`; may be said several times.
    pub fn announce(mut self, address: impl Into<String>) -> Self {
        self.announce.push(address.into());
        self
    }

    /// Connects to the node there, and again whenever it is gone: after 0.1 s, then after twice as long
    /// each time, up to 10 s. `host`, `host:port` or `[v6]:port`; may be said several times. One side is
    /// enough.
    pub fn peer(mut self, address: impl Into<String>) -> Self {
        self.peers.push(address.into());
        self
    }

    /// Whether it looks for others and lets itself be found: on this machine always, on the local
    /// network if it listens there. Default: yes. Without it, nothing is sent and nothing is listened to.
    pub fn discovery(mut self, discovery: bool) -> Self {
        self.discovery = discovery;
        self
    }

    /// Belongs to the cluster of this key. Default: what this user's nodes are, see
    /// [`Home::member`](crate::Home::member).
    pub fn cluster(mut self, key: ClusterKey) -> Self {
        self.trust = Trust::Key(Box::new(key));
        self
    }

    /// Is this member of a cluster.
    pub fn member(mut self, member: Member) -> Self {
        self.trust = Trust::Member(Box::new(member));
        self
    }

    /// Shows this certificate, and trusts those that this authority has signed.
    pub fn pki(mut self, pki: Pki) -> Self {
        self.trust = Trust::Pki(pki);
        self
    }

    /// Joins the cluster that has given this invitation; the membership is kept in the
    /// [home](Self::home), and used the next time. The inviting node becomes a [peer](Self::peer).
    pub fn invitation(mut self, invitation: Invitation) -> Self {
        self.trust = Trust::Invitation(invitation);
        self
    }

    /// Where keys and memberships are kept. Default: `PLEIAD_HOME`, or else the user's directory for
    /// such things.
    pub fn home(mut self, directory: impl Into<PathBuf>) -> Self {
        self.home = Some(directory.into());
        self
    }

    /// Time without a sign of life after which a peer is lost, at least 0.1 s. Default: 5 s. On a good
    /// local network, 1 s is enough. Signs of life are given five times within this time, or within that
    /// of the peer, whichever is shorter.
    pub fn lost_after(mut self, silence: Duration) -> Self {
        self.lost_after = silence.max(LOST_AFTER_MIN);
        self
    }

    /// Has a directory in which other nodes may [put](Node::send_file), [fetch](Node::fetch_file) and
    /// [delete](Node::delete_file) files, and nowhere else. It is made if there is none. Default: none, so
    /// that others can do none of this.
    ///
    /// Parts of files that are not whole are kept in it too, under `.pleiad-parts`, for at most a day.
    pub fn files(mut self, directory: impl Into<PathBuf>) -> Self {
        self.files.directory = Some(directory.into());
        self
    }

    /// The largest file that it takes, in bytes. Default: 64 GiB.
    pub fn file_bytes_max(mut self, bytes: u64) -> Self {
        self.files.file_bytes_max = bytes;
        self
    }

    /// How large all files in its directory may be together, in bytes. Default: 1 TiB. Those that are on
    /// their way, and parts that are kept, count too.
    pub fn files_bytes_max(mut self, bytes: u64) -> Self {
        self.files.files_bytes_max = bytes;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// See [`StartError`]; nothing goes on.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, nothing goes on; an invitation may be used up.
    pub async fn start(mut self) -> Result<Node, StartError> {
        let near = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let name = self.name.take().unwrap_or_else(default_name);
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(StartError::NameLength(name.len()));
        }
        let files = self.open_files(&near).await?;
        let (member, home) = self.member_and_home().await?;
        let own = OwnThread::start().map_err(StartError::Thread)?;
        let listeners = self.listeners(own.handle()).await?;
        let bound: Vec<SocketAddr> =
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let reached = Reached::of(&bound, &self.announce).await?;
        let hello = Hello {
            versions: (VERSION_OLDEST, VERSION_NEWEST),
            node: NodeId(random()),
            name: name.clone(),
            addresses: Discovery::addresses(&reached, &bound)?,
            lost_after_ms: u32::try_from(self.lost_after.as_millis()).unwrap_or(u32::MAX),
        };
        let announcement = Announcement {
            node: hello.node,
            name,
            cluster: member.cluster().to_string(),
            versions: hello.versions,
            reached,
        };
        let mesh = Mesh::new(hello, member, self.lost_after, near, own.handle().clone());
        mesh.set_listeners(bound.clone());
        for listener in listeners {
            own.handle().spawn(own::listen(mesh.clone(), listener));
        }
        own.handle().spawn(own::keep_time(mesh.clone()));
        system::serve(&mesh).map_err(StartError::System)?;
        for peer in &self.peers {
            let target = Target::of_peer(peer, DEFAULT_PORT)?;
            own.handle().spawn(own::want(mesh.clone(), target));
        }
        let serving = files.serve(&mesh);
        if let Err(error) = mesh.register(FILES, &serving, Offer::of_system::<Request>()) {
            tracing::warn!(%error, "no files are taken");
        }
        let directory = home.as_deref().map(|home: &Path| home.join("run"));
        let discovery = if self.discovery {
            Discovery::start(&mesh, announcement, bound, directory).await
        } else {
            Discovery::off()
        };
        Ok(Node::new(mesh, own, discovery, files))
    }

    async fn open_files(&self, near: &Handle) -> Result<Arc<Files>, StartError> {
        let options = self.files.clone();
        let path = options.directory.clone().unwrap_or_default();
        let opened = near.spawn_blocking(move || Files::open(&options)).await;
        let opened = opened.unwrap_or_else(|failed| Err(failed.into()));
        opened.map_err(|source| StartError::Files { path, source })
    }

    /// Who it is, and where its things are, if that is not the usual place.
    async fn member_and_home(&mut self) -> Result<(Member, Option<PathBuf>), StartError> {
        let own_home = self.home.take();
        let trust = std::mem::replace(&mut self.trust, Trust::Home);
        let home = || own_home.as_deref().map_or_else(Home::of_user, Home::at);
        let member = match trust {
            Trust::Home => home()?.member()?,
            Trust::Key(key) => Member::of(Arc::new(*key), Revoked::default())?,
            Trust::Member(member) => *member,
            Trust::Pki(pki) => Member::from_pki(&pki, Revoked::default())?,
            Trust::Invitation(invitation) => {
                self.peers.push(invitation.address());
                joined(&home()?, &invitation).await?
            }
        };
        let by_variable = || std::env::var_os("PLEIAD_HOME").map(PathBuf::from);
        Ok((member, own_home.or_else(by_variable)))
    }

    async fn listeners(&self, own: &Handle) -> Result<Vec<TcpListener>, StartError> {
        let mut listeners = Vec::new();
        let texts =
            if self.listen.is_empty() { &["127.0.0.1:0".to_owned()] } else { &*self.listen };
        for text in texts {
            for address in Target::of_listener(text, DEFAULT_PORT)?.resolve().await? {
                let _entered = own.enter();
                let listener = listen(address);
                listeners.push(listener.map_err(|source| StartError::Listen { address, source })?);
            }
        }
        Ok(listeners)
    }
}

/// A member of the cluster of the invitation: as before, or for the first time.
async fn joined(home: &Home, invitation: &Invitation) -> Result<Member, StartError> {
    let path = home.membership();
    if let Ok(member) = Member::load(&path, home.revoked()?)
        && member.cluster() == invitation.cluster()
    {
        return Ok(member);
    }
    let member = trust::join(invitation, home.revoked()?).await?;
    member.save(&path)?;
    Ok(member)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}

fn default_name() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_stem).and_then(|stem| stem.to_str());
    let program: String = program.unwrap_or("node").chars().take(64).collect();
    format!("{program}-{}", std::process::id())
}
