//! Every byte that two nodes exchange.
//!
//! A connection begins with a greeting: three messages, in which both sides say
//! who they are and agree on a version. After it there are only frames: a header of
//! four bytes (kind, length), then the content. What is sent a million times a second has a form of its own;
//! all else is a [`Control`], in postcard.
//!
//! # Versions
//!
//! Each side says which versions it speaks, oldest and newest; the newest that both speak counts. A
//! change that an older node could not read raises [`VERSION_NEWEST`]; [`VERSION_OLDEST`] rises when an
//! older form is given up. Within a version, forms only grow at their end: variants of [`Control`] are
//! never reordered or removed.

mod control;
mod frame;
mod greeting;

pub(crate) use control::trim;
pub use control::{Control, Mention, Reason, Why};
pub use frame::{
    Frame, FrameKind, HEADER_BYTES, Violation, WriteFrame, flags, missing_bytes, split_frame,
};
pub use greeting::{
    Attach, Greeting, Hello, LaneKind, Part, Refusal, Resume, Welcome, read_part, write_part,
};

/// The oldest version of the protocol that is still spoken.
pub const VERSION_OLDEST: u16 = 1;

/// The newest version of the protocol.
pub const VERSION_NEWEST: u16 = 1;

/// The newest version that both sides speak, if there is one.
pub fn agree(theirs: (u16, u16)) -> Option<u16> {
    let version = VERSION_NEWEST.min(theirs.1);
    (version >= VERSION_OLDEST && version >= theirs.0).then_some(version)
}

/// A [`NodeId`](pleiad_types::NodeId) on the wire.
mod node_id {
    use pleiad_types::NodeId;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub(super) fn serialize<S: Serializer>(node: &NodeId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(node.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NodeId, D::Error> {
        u64::deserialize(from).map(NodeId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_counts() {
        assert_eq!(agree((1, 1)), Some(1));
        assert_eq!(agree((1, 9)), Some(VERSION_NEWEST));
        assert_eq!(agree((VERSION_NEWEST + 1, VERSION_NEWEST + 2)), None);
        assert_eq!(agree((0, VERSION_OLDEST - 1)), None);
        assert_eq!(agree((9, 1)), None);
    }
}
