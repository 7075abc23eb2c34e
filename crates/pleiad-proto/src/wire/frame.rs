//! Frames: what a connection consists of after its greeting.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use pleiad_types::limits::{ATTACHED_MAX, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::wire::{Control, Mention};

/// Kind, and length of what follows: one byte and three.
pub const HEADER_BYTES: usize = 4;

/// Flags of a message.
pub mod flags {
    /// Its sender waits to hear that it was taken.
    pub const CONFIRM: u8 = 1 << 0;
    /// It goes before all that are not urgent.
    pub const URGENT: u8 = 1 << 1;
    /// It needs no room: the end of a task.
    pub const EXEMPT: u8 = 1 << 2;
    /// It has references or replies in it.
    pub const ATTACHED: u8 = 1 << 3;
    /// All that there are.
    pub const ALL: u8 = CONFIRM | URGENT | EXEMPT | ATTACHED;
}

/// What a peer may not do. It is closed for it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// The beginning of a connection cannot be read.
    #[error("its greeting cannot be read, or is too long")]
    Greeting,
    /// A frame is longer than it may be.
    #[error("it sent a frame of {0} bytes, and {FRAME_BYTES_MAX} are allowed")]
    FrameTooLong(usize),
    /// There is no frame of this kind.
    #[error("it sent a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// A frame cannot be read.
    #[error("it sent a frame of kind {0} that cannot be read")]
    Unreadable(u8),
    /// A frame came where none of its kind may come.
    #[error("it sent what makes no sense here: {0}")]
    OutOfPlace(&'static str),
    /// More was sent than was allowed.
    #[error("it sent more than it may: {0}")]
    BeyondLimit(&'static str),
}

/// Which kind of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A sign of life, and how many frames have arrived. Not counted itself.
    Beat = 0,
    /// A message to a task.
    Message = 1,
    /// A message to a task, whose body travels in pieces.
    Large = 2,
    /// A piece of a large body.
    Chunk = 3,
    /// An answer.
    Answer = 4,
    /// An answer, whose body travels in pieces.
    LargeAnswer = 5,
    /// Anything else.
    Control = 6,
}

impl FrameKind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Beat,
            1 => Self::Message,
            2 => Self::Large,
            3 => Self::Chunk,
            4 => Self::Answer,
            5 => Self::LargeAnswer,
            6 => Self::Control,
            _ => return None,
        })
    }
}

/// A frame that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A sign of life.
    Beat {
        /// Frames of this lane that have arrived at the peer.
        received: u64,
    },
    /// A message to a task.
    Message {
        /// The task.
        task: u64,
        /// See [`flags`].
        flags: u8,
        /// What it refers to.
        attached: Vec<Mention>,
        /// The message.
        body: Bytes,
    },
    /// A message to a task, whose body travels in pieces.
    Large {
        /// The task.
        task: u64,
        /// See [`flags`].
        flags: u8,
        /// What it refers to.
        attached: Vec<Mention>,
        /// The number of the body.
        blob: u64,
        /// Its length.
        bytes: usize,
    },
    /// A piece of a large body.
    Chunk {
        /// The number of the body.
        blob: u64,
        /// The piece, in order.
        piece: Bytes,
    },
    /// An answer.
    Answer {
        /// To which question.
        question: u64,
        /// What it refers to.
        attached: Vec<Mention>,
        /// The answer.
        body: Bytes,
    },
    /// An answer, whose body travels in pieces.
    LargeAnswer {
        /// To which question.
        question: u64,
        /// What it refers to.
        attached: Vec<Mention>,
        /// The number of the body.
        blob: u64,
        /// Its length.
        bytes: usize,
    },
    /// Anything else.
    Control(Control),
}

/// Takes the first frame out of what has been read: its kind and content. `None`: it is not complete.
///
/// # Errors
///
/// [`Violation`], as soon as the header shows it.
pub fn split_frame(from: &mut BytesMut) -> Result<Option<(FrameKind, Bytes)>, Violation> {
    let Some(&[kind, a, b, c]) = from.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    if HEADER_BYTES + length > FRAME_BYTES_MAX {
        return Err(Violation::FrameTooLong(HEADER_BYTES + length));
    }
    let kind = FrameKind::of(kind).ok_or(Violation::UnknownKind(kind))?;
    if from.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    from.advance(HEADER_BYTES);
    Ok(Some((kind, from.split_to(length).freeze())))
}

/// How many bytes are missing until the first frame is complete, as far as its header is there.
pub fn missing_bytes(of: &[u8]) -> usize {
    let Some(&[_, a, b, c]) = of.first_chunk::<HEADER_BYTES>() else { return 0 };
    let length = HEADER_BYTES + u32::from_le_bytes([a, b, c, 0]) as usize;
    // A longer one is refused.
    length.min(FRAME_BYTES_MAX).saturating_sub(of.len())
}

impl Frame {
    /// Reads the content of a frame.
    ///
    /// # Errors
    ///
    /// [`Violation::Unreadable`].
    pub fn read(kind: FrameKind, content: Bytes) -> Result<Self, Violation> {
        Self::read_content(kind, content).ok_or(Violation::Unreadable(kind as u8))
    }

    fn read_content(kind: FrameKind, mut content: Bytes) -> Option<Self> {
        let frame = match kind {
            FrameKind::Beat => Self::Beat { received: read_number(&mut content)? },
            FrameKind::Message => {
                let (task, flags, attached) = read_address(&mut content)?;
                return Some(Self::Message { task, flags, attached, body: content });
            }
            FrameKind::Large => {
                let (task, flags, attached) = read_address(&mut content)?;
                let (blob, bytes) = read_blob(&mut content)?;
                Self::Large { task, flags, attached, blob, bytes }
            }
            FrameKind::Chunk => {
                let blob = read_number(&mut content)?;
                return (!content.is_empty()).then_some(Self::Chunk { blob, piece: content });
            }
            FrameKind::Answer => {
                let question = read_number(&mut content)?;
                let attached = read_attached(&mut content)?;
                return Some(Self::Answer { question, attached, body: content });
            }
            FrameKind::LargeAnswer => {
                let question = read_number(&mut content)?;
                let attached = read_attached(&mut content)?;
                let (blob, bytes) = read_blob(&mut content)?;
                Self::LargeAnswer { question, attached, blob, bytes }
            }
            FrameKind::Control => Self::Control(read_postcard(&mut content)?),
        };
        content.is_empty().then_some(frame)
    }
}

/// Writes frames behind each other.
pub trait WriteFrame {
    /// A sign of life.
    fn put_beat(&mut self, received: u64);
    /// A message to a task.
    fn put_message(&mut self, task: u64, flags: u8, attached: &[Mention], body: &[u8]);
    /// The announcement of a large message.
    fn put_large(&mut self, task: u64, flags: u8, attached: &[Mention], blob: u64, bytes: usize);
    /// The header of a piece; `length` bytes of the body must follow.
    fn put_chunk_header(&mut self, blob: u64, length: usize);
    /// An answer.
    fn put_answer(&mut self, question: u64, attached: &[Mention], body: &[u8]);
    /// The announcement of a large answer.
    fn put_large_answer(&mut self, question: u64, attached: &[Mention], blob: u64, bytes: usize);
    /// Anything else.
    fn put_control(&mut self, control: &Control);
}

impl WriteFrame for BytesMut {
    fn put_beat(&mut self, received: u64) {
        put_frame(self, FrameKind::Beat, |to| put_number(to, received));
    }

    fn put_message(&mut self, task: u64, flags: u8, attached: &[Mention], body: &[u8]) {
        put_frame(self, FrameKind::Message, |to| {
            put_address(to, task, flags, attached);
            to.put_slice(body);
        });
    }

    fn put_large(&mut self, task: u64, flags: u8, attached: &[Mention], blob: u64, bytes: usize) {
        put_frame(self, FrameKind::Large, |to| {
            put_address(to, task, flags, attached);
            put_number(to, blob);
            put_number(to, bytes as u64);
        });
    }

    fn put_chunk_header(&mut self, blob: u64, length: usize) {
        let start = self.len();
        put_frame(self, FrameKind::Chunk, |to| put_number(to, blob));
        let whole = self.len() - start - HEADER_BYTES + length;
        set_length(self, start, whole);
    }

    fn put_answer(&mut self, question: u64, attached: &[Mention], body: &[u8]) {
        put_frame(self, FrameKind::Answer, |to| {
            put_number(to, question);
            put_attached(to, attached);
            to.put_slice(body);
        });
    }

    fn put_large_answer(&mut self, question: u64, attached: &[Mention], blob: u64, bytes: usize) {
        put_frame(self, FrameKind::LargeAnswer, |to| {
            put_number(to, question);
            put_attached(to, attached);
            put_number(to, blob);
            put_number(to, bytes as u64);
        });
    }

    fn put_control(&mut self, control: &Control) {
        put_frame(self, FrameKind::Control, |to| put_postcard(to, control));
    }
}

fn put_frame(to: &mut BytesMut, kind: FrameKind, content: impl FnOnce(&mut BytesMut)) {
    let start = to.len();
    to.put_u32_le(u32::from(kind as u8));
    content(to);
    let length = to.len() - start - HEADER_BYTES;
    set_length(to, start, length);
}

fn set_length(to: &mut BytesMut, start: usize, length: usize) {
    debug_assert!(HEADER_BYTES + length <= FRAME_BYTES_MAX, "{length} bytes in a frame");
    let length = (length as u32).to_le_bytes();
    to[start + 1..start + HEADER_BYTES].copy_from_slice(&length[..HEADER_BYTES - 1]);
}

fn put_address(to: &mut BytesMut, task: u64, flags: u8, attached: &[Mention]) {
    put_number(to, task);
    if attached.is_empty() {
        to.put_u8(flags & !flags::ATTACHED);
    } else {
        to.put_u8(flags | flags::ATTACHED);
        put_attached(to, attached);
    }
}

fn read_address(from: &mut Bytes) -> Option<(u64, u8, Vec<Mention>)> {
    let task = read_number(from)?;
    let flags = from.try_get_u8().ok().filter(|flags| flags & !flags::ALL == 0)?;
    let attached = if flags & flags::ATTACHED == 0 { Vec::new() } else { read_attached(from)? };
    Some((task, flags & !flags::ATTACHED, attached))
}

fn put_attached(to: &mut BytesMut, attached: &[Mention]) {
    put_number(to, attached.len() as u64);
    attached.iter().for_each(|mention| put_postcard(to, mention));
}

fn read_attached(from: &mut Bytes) -> Option<Vec<Mention>> {
    let count = usize::try_from(read_number(from)?).ok().filter(|count| *count <= ATTACHED_MAX)?;
    // No memory is reserved for what may not be there.
    let mut attached = Vec::new();
    for _ in 0..count {
        attached.push(read_postcard(from)?);
    }
    Some(attached)
}

fn read_blob(from: &mut Bytes) -> Option<(u64, usize)> {
    let blob = read_number(from)?;
    let bytes = usize::try_from(read_number(from)?).ok()?;
    (1..=MESSAGE_BYTES_MAX).contains(&bytes).then_some((blob, bytes))
}

fn put_postcard<T: serde::Serialize>(to: &mut BytesMut, value: &T) {
    let bytes = postcard::to_stdvec(value).expect("the forms of the wire can be serialised");
    to.put_slice(&bytes);
}

fn read_postcard<T: DeserializeOwned>(from: &mut Bytes) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(from).ok()?;
    let read = from.len() - rest.len();
    from.advance(read);
    Some(value)
}

/// LEB128: seven bits a byte, least first; the highest bit says that more follow.
fn put_number(to: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        to.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    to.put_u8(number as u8);
}

fn read_number(from: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use pleiad_types::NodeId;
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<Frame>, Violation> {
        let mut bytes = BytesMut::from(bytes);
        let mut frames = Vec::new();
        while let Some((kind, content)) = split_frame(&mut bytes)? {
            frames.push(Frame::read(kind, content)?);
        }
        Ok(frames)
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let task = Mention::Task { node: NodeId(3), task: 12, name: "counter".to_owned() };
        let attached = vec![task, Mention::Question(300)];
        let mut bytes = BytesMut::new();
        bytes.put_beat(u64::MAX);
        bytes.put_message(127, 0, &[], b"body");
        bytes.put_message(128, flags::CONFIRM, &attached, b"");
        bytes.put_large(1 << 40, flags::URGENT, &attached, 9, 100_000);
        bytes.put_chunk_header(9, 3);
        bytes.put_slice(b"abc");
        bytes.put_answer(5, &[], b"42");
        bytes.put_large_answer(6, &attached, 10, 1);
        bytes.put_control(&Control::Goodbye);
        let empty = Vec::new;
        assert_eq!(
            read_all(&bytes).unwrap(),
            [
                Frame::Beat { received: u64::MAX },
                Frame::Message { task: 127, flags: 0, attached: empty(), body: "body".into() },
                Frame::Message {
                    task: 128,
                    flags: flags::CONFIRM,
                    attached: attached.clone(),
                    body: Bytes::new()
                },
                Frame::Large {
                    task: 1 << 40,
                    flags: flags::URGENT,
                    attached: attached.clone(),
                    blob: 9,
                    bytes: 100_000
                },
                Frame::Chunk { blob: 9, piece: "abc".into() },
                Frame::Answer { question: 5, attached: empty(), body: "42".into() },
                Frame::LargeAnswer { question: 6, attached, blob: 10, bytes: 1 },
                Frame::Control(Control::Goodbye),
            ]
        );
    }

    #[test]
    fn a_small_message_has_seven_bytes_more_than_its_body() {
        let mut bytes = BytesMut::new();
        bytes.put_message(300, 0, &[], &[0; 64]);
        assert_eq!(bytes.len(), 64 + 7);
    }

    #[test]
    fn what_is_too_long_or_unknown_is_refused_by_its_header() {
        let mut long = BytesMut::from(&[1, 0xff, 0xff, 0xff][..]);
        assert_eq!(split_frame(&mut long), Err(Violation::FrameTooLong((1 << 24) + 3)));
        let mut unknown = BytesMut::from(&[99, 0, 0, 0][..]);
        assert_eq!(split_frame(&mut unknown), Err(Violation::UnknownKind(99)));
    }

    proptest! {
        #[test]
        fn random_bytes_are_frames_or_a_violation(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_all(&bytes);
        }

        #[test]
        fn random_content_is_a_frame_or_unreadable(
            kind in 0_u8..7,
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let kind = FrameKind::of(kind).unwrap();
            let _ = Frame::read(kind, bytes.into());
        }

        #[test]
        fn a_number_is_read_as_it_was_written(number: u64) {
            let mut bytes = BytesMut::new();
            put_number(&mut bytes, number);
            prop_assert_eq!(read_number(&mut bytes.freeze()), Some(number));
        }
    }
}
