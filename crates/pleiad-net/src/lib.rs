//! Tasks that talk across processes and machines. For users, this is a part of the crate `pleiad`.

#![warn(clippy::print_stdout, clippy::print_stderr, missing_debug_implementations)]

mod addresses;
mod builder;
mod channel;
mod conn;
mod discovery;
mod drive;
mod error;
mod files;
mod find;
mod greet;
mod kind;
mod link;
mod locate;
mod mesh;
mod message;
mod node;
mod own;
mod peer;
mod registry;
mod service;
mod system;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod trust;

pub use addresses::AddressError;
pub use builder::NodeBuilder;
pub use channel::error::{RemotePublishError, RemoteSubscribeError};
pub use channel::locate::LocateChannel;
pub use channel::remote::{RemoteBroadcast, RemoteChannel};
pub use channel::stream::RemoteSubscriber;
pub use discovery::doctor::{
    DiscoveryState, Facts, Finding, InterfaceFacts, Refused, Unreachable, why_nobody_is_found,
};
pub use discovery::here::HereError;
pub use discovery::network::NetworkError;
pub use error::{ConnectError, InviteError, LocateError, RegisterError, StartError};
pub use files::{
    FetchFile, FileArrived, FileError, FileEvent, FileEvents, FileFetched, FilePathError,
    FileProgress, FileRefusal, FileSent, SendFile,
};
pub use locate::Locate;
pub use message::Message;
pub use node::Node;
pub use peer::{Peer, PeerEvent, PeerEvents};
pub use pleiad_types::NodeId;
pub use service::error::CallError;
pub use service::locate::LocateService;
pub use service::remote::{Call, RemoteService};
pub use service::serve::{Serve, ServiceHandle, WhenBusy};
pub use service::started::{RemoteTask, Start};
pub use service::{Service, TaskService};
pub use system::{NameInfo, NodeInfo, PeerInfo, System, SystemError, TaskList, TaskSummary};
pub use trust::{
    ClusterKey, DEFAULT_PORT, Fingerprint, HandshakeError, Home, Invitation, Invitations,
    IssueError, Issued, JoinError, KeyError, Member, ParseFingerprintError, ParseInvitationError,
    Pki, Revoked, Secret, TakeError, join,
};
