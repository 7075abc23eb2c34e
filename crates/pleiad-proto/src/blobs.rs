//! Large bodies, which travel in pieces beside the small messages.

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use pleiad_types::limits::{CHUNK_BYTES, LARGE_BYTES_MAX, MESSAGE_BYTES_MAX};

use crate::wire::{Mention, Violation};

/// Bodies that may be under way from one peer, complete or not. Its sender never comes near it.
const BODIES_MAX: usize = 16_384;

/// Memory that is reserved for a body of which nothing has come.
const RESERVED_BYTES: usize = 1 << 20;

/// Buffers that are kept for the next bodies, until the next sign of life: fresh memory costs more than
/// what is copied into it.
const SPARES_MAX: usize = 4;

/// What a body is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A message to this task.
    Message(u64),
    /// The answer to this question, and what it refers to.
    Answer { question: u64, attached: Vec<Mention> },
    /// Nobody wants it any more.
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct Blobs {
    next: u64,
    /// What is still to be cut into pieces: they take turns.
    outgoing: VecDeque<Outgoing>,
    /// The length of those when they were whole.
    outgoing_whole: usize,
    /// Those that wait for their turn to begin.
    later: VecDeque<(u64, Bytes)>,
    /// What is to be cut, of both.
    outgoing_bytes: usize,
    incoming: HashMap<u64, Assembly>,
    incoming_bytes: usize,
    /// Empty buffers. Who was given what was in them may still have it.
    spares: Vec<BytesMut>,
}

#[derive(Debug)]
struct Outgoing {
    blob: u64,
    rest: Bytes,
    whole: usize,
}

#[derive(Debug, Default)]
struct Assembly {
    body: BytesMut,
    /// Known when its message is there, which may be after the first pieces.
    announced: Option<(usize, Purpose)>,
}

impl Blobs {
    // ---- bodies that go ----

    /// Whether another may go.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing_bytes < LARGE_BYTES_MAX
    }

    /// Gives the body a number.
    pub(crate) fn send(&mut self, body: Bytes) -> u64 {
        let blob = self.next;
        self.next += 1;
        self.outgoing_bytes += body.len();
        self.later.push_back((blob, body));
        self.begin();
        blob
    }

    /// Whether something is to be cut.
    pub(crate) fn is_sending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Lets bodies begin, as many as the peer has memory for while they are not complete: besides those
    /// that are, one more of any size.
    fn begin(&mut self) {
        while self.outgoing_whole < LARGE_BYTES_MAX
            && self.outgoing.len() < BODIES_MAX / 2
            && let Some((blob, rest)) = self.later.pop_front()
        {
            let whole = rest.len();
            self.outgoing_whole += whole;
            self.outgoing.push_back(Outgoing { blob, rest, whole });
        }
    }

    /// The next piece.
    pub(crate) fn poll_piece(&mut self) -> Option<(u64, Bytes)> {
        let mut first = self.outgoing.pop_front()?;
        let piece = first.rest.split_to(first.rest.len().min(CHUNK_BYTES));
        let blob = first.blob;
        self.outgoing_bytes -= piece.len();
        if first.rest.is_empty() {
            self.outgoing_whole -= first.whole;
            self.begin();
        } else {
            self.outgoing.push_back(first);
        }
        Some((blob, piece))
    }

    // ---- bodies that come ----

    /// The message of a body is there. Gives the body, if it is complete.
    pub(crate) fn handle_announced(
        &mut self,
        blob: u64,
        bytes: usize,
        purpose: Purpose,
    ) -> Result<Option<(Purpose, Bytes)>, Violation> {
        let assembly = self.assembly(blob)?;
        if assembly.announced.is_some() {
            return Err(Violation::OutOfPlace("two messages with the same body"));
        }
        assembly.announced = Some((bytes, purpose));
        // Nothing is reserved for one of which nothing has come.
        if !assembly.body.is_empty() {
            let missing = bytes.saturating_sub(assembly.body.len());
            assembly.body.reserve(missing.min(RESERVED_BYTES));
        }
        self.finish(blob)
    }

    /// A piece is there. Gives the body, if it is complete.
    pub(crate) fn handle_piece(
        &mut self,
        blob: u64,
        piece: &Bytes,
    ) -> Result<Option<(Purpose, Bytes)>, Violation> {
        self.incoming_bytes += piece.len();
        if self.incoming_bytes > 2 * LARGE_BYTES_MAX + MESSAGE_BYTES_MAX {
            return Err(Violation::BeyondLimit("large messages that do not come to their end"));
        }
        let assembly = self.assembly(blob)?;
        if assembly.body.is_empty() {
            let announced = assembly.announced.as_ref().map_or(0, |(bytes, _)| *bytes);
            let wanted = announced.min(RESERVED_BYTES).max(piece.len());
            let body = self.take_spare(wanted);
            self.assembly(blob)?.body = body;
        }
        self.assembly(blob)?.body.extend_from_slice(piece);
        self.finish(blob)
    }

    /// Whether a body was announced that is not complete.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.incoming.values().any(|assembly| assembly.announced.is_some())
    }

    /// Compares the books: for tests.
    pub(crate) fn sanity_check(&self) {
        let incoming: usize = self.incoming.values().map(|assembly| assembly.body.len()).sum();
        assert_eq!(self.incoming_bytes, incoming, "bytes of bodies that come");
        let turns = self.outgoing.iter().map(|body| body.rest.len());
        let outgoing: usize = turns.chain(self.later.iter().map(|(_, body)| body.len())).sum();
        assert_eq!(self.outgoing_bytes, outgoing, "bytes of bodies that go");
        assert!(self.outgoing.is_empty() <= self.later.is_empty(), "somebody has the turn");
    }

    fn assembly(&mut self, blob: u64) -> Result<&mut Assembly, Violation> {
        if self.incoming.len() >= BODIES_MAX && !self.incoming.contains_key(&blob) {
            return Err(Violation::BeyondLimit("large messages at once"));
        }
        Ok(self.incoming.entry(blob).or_default())
    }

    /// An empty buffer: one that was used before, if nobody has it any more.
    fn take_spare(&mut self, bytes: usize) -> BytesMut {
        let free = self.spares.iter_mut().position(|spare| spare.try_reclaim(bytes));
        match free {
            Some(index) => self.spares.swap_remove(index),
            None => BytesMut::with_capacity(bytes),
        }
    }

    /// Gives back the memory that is kept for the next bodies.
    pub(crate) fn rest(&mut self) {
        self.spares.clear();
    }

    fn finish(&mut self, blob: u64) -> Result<Option<(Purpose, Bytes)>, Violation> {
        let Some(assembly) = self.incoming.get(&blob) else { return Ok(None) };
        let Some((bytes, _)) = assembly.announced else { return Ok(None) };
        if assembly.body.len() > bytes {
            return Err(Violation::OutOfPlace("a body longer than it was announced"));
        }
        if assembly.body.len() < bytes {
            return Ok(None);
        }
        self.incoming_bytes -= bytes;
        let whole = self.incoming.remove(&blob);
        Ok(whole.and_then(|mut whole| {
            let body = whole.body.split().freeze();
            if bytes <= RESERVED_BYTES && self.spares.len() < SPARES_MAX {
                self.spares.push(whole.body);
            }
            Some((whole.announced?.1, body))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_whole_whichever_comes_first() {
        let body: Bytes = (0..300_000_u32).map(|n| n as u8).collect::<Vec<_>>().into();
        for announced_after in 0..=body.len().div_ceil(CHUNK_BYTES) {
            let (mut from, mut to) = (Blobs::default(), Blobs::default());
            let blob = from.send(body.clone());
            let mut whole = None;
            let mut pieces = 0;
            loop {
                if pieces == announced_after {
                    let got = to.handle_announced(blob, body.len(), Purpose::Message(7)).unwrap();
                    whole = whole.or(got);
                }
                let Some((blob, piece)) = from.poll_piece() else { break };
                whole = whole.or(to.handle_piece(blob, &piece).unwrap());
                pieces += 1;
            }
            assert_eq!(pieces, body.len().div_ceil(CHUNK_BYTES));
            assert_eq!(whole, Some((Purpose::Message(7), body.clone())), "{announced_after}");
            assert_eq!((from.outgoing_bytes, to.incoming_bytes), (0, 0));
        }
    }

    #[test]
    fn bodies_take_turns() {
        let mut blobs = Blobs::default();
        let large = blobs.send(vec![0; 3 * CHUNK_BYTES].into());
        let small = blobs.send(vec![0; CHUNK_BYTES].into());
        let order: Vec<u64> = std::iter::from_fn(|| Some(blobs.poll_piece()?.0)).collect();
        assert_eq!(order, [large, small, large, large]);
    }

    #[test]
    fn a_peer_cannot_fill_the_memory() {
        let mut blobs = Blobs::default();
        let piece = Bytes::from(vec![0; CHUNK_BYTES]);
        let refused = (0..10_000).find(|blob| blobs.handle_piece(*blob, &piece).is_err());
        assert!(refused.is_some());
        let mut blobs = Blobs::default();
        let piece = Bytes::from_static(b"x");
        let refused = (0..100_000).find(|blob| blobs.handle_piece(*blob, &piece).is_err());
        assert_eq!(refused, Some(BODIES_MAX as u64));
        let mut blobs = Blobs::default();
        blobs.handle_announced(1, 1, Purpose::Nothing).unwrap();
        assert!(blobs.handle_piece(1, &Bytes::from_static(b"xy")).is_err());
    }
}
