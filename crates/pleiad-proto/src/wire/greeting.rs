//! How a connection begins: the side that was dialled says [`Hello`], the side that dialled answers with
//! [`Attach`], and the first closes with [`Welcome`] or [`Refusal`].

use bytes::{Buf, BufMut, BytesMut};
use pleiad_types::NodeId;
use pleiad_types::limits::{ADDRESSES_MAX, GREETING_BYTES_MAX, NAME_BYTES_MAX};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::wire::Violation;

/// Length of a part: two bytes.
const LENGTH_BYTES: usize = 2;

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest and newest version of the protocol that it speaks.
    pub versions: (u16, u16),
    /// A number of its own, for as long as it runs.
    #[serde(with = "crate::wire::node_id")]
    pub node: NodeId,
    /// For people.
    pub name: String,
    /// Where it can be dialled, best first: `host:port`.
    pub addresses: Vec<String>,
    /// Milliseconds of silence after which it takes a peer for lost.
    pub lost_after_ms: u32,
}

/// One of the connections between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LaneKind {
    /// Messages, and all that is small.
    Messages,
    /// Large bodies, in pieces.
    Bulk,
}

impl LaneKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Messages, Self::Bulk];

    /// For tables.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What the side that dialled wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Who it is.
    pub hello: Hello,
    /// What the connection is for.
    pub lane: LaneKind,
    /// The session that it goes on with, if it has one with this peer.
    pub resume: Option<Resume>,
    /// The number of a session that begins, if there is none to go on with.
    pub fresh: u64,
}

/// Where a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Which session.
    pub session: u64,
    /// How many frames of this lane have arrived.
    pub received: u64,
}

/// The connection is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that counts.
    pub version: u16,
    /// The session, and how many frames of this lane have arrived.
    pub resume: Resume,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No version is spoken by both.
    Version {
        /// What this side speaks, oldest and newest.
        ours: (u16, u16),
    },
    /// This side is about to connect itself, and goes first.
    Simultaneous,
    /// The session is over here: whoever goes on with it has lost this peer.
    SessionOver,
    /// It is this node itself.
    Itself,
    /// This node takes no new peers.
    Closed,
    /// It is no member of the cluster, or no longer.
    NotAdmitted(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { ours: (oldest, newest) } => write!(
                f,
                "it speaks versions {oldest} to {newest} of the protocol, and this program does not: \
                 use the same version of pleiad on both sides"
            ),
            Self::Simultaneous => f.write_str("it connects from its own side"),
            Self::SessionOver => f.write_str("it has given up this node meanwhile"),
            Self::Itself => f.write_str("it is this node itself"),
            Self::Closed => f.write_str("it takes no new peers"),
            Self::NotAdmitted(why) => write!(f, "it does not admit this node: {why}"),
        }
    }
}

/// What is answered to an [`Attach`].
pub type Greeting = Result<Welcome, Refusal>;

/// A part of the greeting.
pub trait Part: Serialize + DeserializeOwned {
    /// Whether it keeps the limits.
    fn is_sound(&self) -> bool;
}

impl Part for Hello {
    fn is_sound(&self) -> bool {
        self.name.len() <= NAME_BYTES_MAX
            && self.addresses.len() <= ADDRESSES_MAX
            && self.addresses.iter().all(|address| address.len() <= NAME_BYTES_MAX)
    }
}

impl Part for Attach {
    fn is_sound(&self) -> bool {
        self.hello.is_sound()
    }
}

impl Part for Greeting {
    fn is_sound(&self) -> bool {
        true
    }
}

/// Writes a part, its length before it.
///
/// # Panics
///
/// If it does not keep the limits, which [`Part::is_sound`] tells.
pub fn write_part<P: Part>(part: &P, to: &mut BytesMut) {
    let bytes = postcard::to_stdvec(part).expect("a part of the greeting can be serialised");
    assert!(part.is_sound() && bytes.len() <= GREETING_BYTES_MAX, "a greeting keeps its limits");
    to.put_u16_le(bytes.len() as u16);
    to.put_slice(&bytes);
}

/// Reads a part; `None` if it is not complete.
///
/// # Errors
///
/// [`Violation`], if there can be none.
pub fn read_part<P: Part>(from: &mut BytesMut) -> Result<Option<P>, Violation> {
    let Some(length) = from.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_le_bytes(*length));
    if length > GREETING_BYTES_MAX {
        return Err(Violation::Greeting);
    }
    if from.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    from.advance(LENGTH_BYTES);
    let bytes = from.split_to(length);
    let part: P = postcard::from_bytes(&bytes).map_err(|_| Violation::Greeting)?;
    if part.is_sound() { Ok(Some(part)) } else { Err(Violation::Greeting) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: (1, 1),
            node: NodeId(7),
            name: "shop".to_owned(),
            addresses: vec!["127.0.0.1:9705".to_owned()],
            lost_after_ms: 5000,
        }
    }

    #[test]
    fn a_part_is_read_when_it_is_complete() {
        let mut bytes = BytesMut::new();
        write_part(&hello(), &mut bytes);
        let whole = bytes.len();
        for cut in 0..whole {
            let mut torn = BytesMut::from(&bytes[..cut]);
            assert_eq!(read_part::<Hello>(&mut torn), Ok(None), "cut at {cut}");
        }
        bytes.put_slice(b"more");
        assert_eq!(read_part(&mut bytes), Ok(Some(hello())));
        assert_eq!(&bytes[..], b"more");
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_has_come() {
        let mut bytes = BytesMut::from(&[0xff, 0xff][..]);
        assert_eq!(read_part::<Hello>(&mut bytes), Err(Violation::Greeting));

        let many = Hello { addresses: vec![String::new(); ADDRESSES_MAX + 1], ..hello() };
        let content = postcard::to_stdvec(&many).unwrap();
        let mut bytes = BytesMut::new();
        bytes.put_u16_le(content.len() as u16);
        bytes.put_slice(&content);
        assert_eq!(read_part::<Hello>(&mut bytes), Err(Violation::Greeting));
    }
}
