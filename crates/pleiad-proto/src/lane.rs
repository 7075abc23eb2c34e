//! One direction-pair of a session: frames in order, each exactly once, over connections that may break.
//!
//! Every frame but the signs of life is counted. What has been written stays here until the peer has
//! confirmed it; when a new connection is [attached](Lane::attach), the peer says how many frames have
//! arrived, and the others are written again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use pleiad_types::limits::{LANE_BYTES_GIVE_UP, LANE_BYTES_MAX};

use crate::wire::{HEADER_BYTES, Violation, WriteFrame};

/// Frames are given out in portions of about this size: a few records of TLS, one call of the system.
const PORTION_BYTES: usize = 64 << 10;

/// An idle lane keeps no more than this for its next frames.
const USUAL_BYTES_MIN: usize = 2 << 10;

/// When so much has arrived, it is confirmed with the next thing that is said; less waits for the next sign
/// of life, since it would be a record of TLS for itself.
const MENTION_BYTES: usize = 16 << 10;

/// When so much has arrived without being confirmed, it is confirmed without being asked.
const CONFIRM_BYTES: usize = 256 << 10;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Lane {
    /// Frames that no portion holds yet.
    fresh: BytesMut,
    /// How many they are.
    fresh_frames: u64,
    /// How much memory is reserved for them at once.
    usual_bytes: usize,
    /// What the peer has not confirmed, oldest first. Those before `written` are on the connection.
    portions: VecDeque<Portion>,
    written: usize,
    /// Bytes in `fresh` and `portions`.
    bytes: usize,
    /// Frames that the peer has confirmed.
    confirmed: u64,
    /// Frames that have arrived, and how many of them were confirmed.
    received: u64,
    told: u64,
    /// Bytes of the frames that have arrived and were not confirmed.
    untold_bytes: usize,
    beat_due: bool,
    attached: bool,
}

/// Bytes to be written: first `head`, then `tail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// Whole frames; the last may go on in `tail`.
    pub head: Bytes,
    /// The content of a large frame; often empty.
    pub tail: Bytes,
    frames: u64,
}

impl Portion {
    /// How many bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Lane {
    /// Without a connection.
    pub(crate) fn new() -> Self {
        Self {
            fresh: BytesMut::new(),
            fresh_frames: 0,
            usual_bytes: USUAL_BYTES_MIN,
            portions: VecDeque::new(),
            written: 0,
            bytes: 0,
            confirmed: 0,
            received: 0,
            told: 0,
            untold_bytes: 0,
            beat_due: false,
            attached: false,
        }
    }

    // ---- frames that go ----

    /// Writes a frame behind those that wait.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if self.fresh.capacity() - self.fresh.len() < HEADER_BYTES {
            // As much as was needed the last time, and never by copying what is there many times.
            self.fresh.reserve(self.usual_bytes);
        }
        let before = self.fresh.len();
        write(&mut self.fresh);
        self.bytes += self.fresh.len() - before;
        self.fresh_frames += 1;
        if self.fresh.len() >= PORTION_BYTES {
            self.close_portion(Bytes::new());
        }
    }

    /// The same for a frame whose content ends with `tail`, which is not copied. `write` has only
    /// written what is before that.
    pub(crate) fn push_with(&mut self, tail: Bytes, write: impl FnOnce(&mut BytesMut)) {
        let before = self.fresh.len();
        write(&mut self.fresh);
        self.bytes += self.fresh.len() - before + tail.len();
        self.fresh_frames += 1;
        self.close_portion(tail);
    }

    fn close_portion(&mut self, tail: Bytes) {
        let head = self.fresh.split().freeze();
        self.usual_bytes = (2 * head.len()).clamp(USUAL_BYTES_MIN, 2 * PORTION_BYTES);
        self.portions.push_back(Portion { head, tail, frames: self.fresh_frames });
        self.fresh_frames = 0;
    }

    /// Whether messages are refused, because too much is on the way.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= LANE_BYTES_MAX
    }

    /// Whether so much is on the way that the peer is to be given up.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.bytes >= LANE_BYTES_GIVE_UP
    }

    /// Bytes that wait to be written, or to be confirmed.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that wait to be written, about: more than a portion counts as one.
    pub(crate) fn waiting_bytes(&self) -> usize {
        let closed = if self.written < self.portions.len() { PORTION_BYTES } else { 0 };
        self.fresh.len() + closed
    }

    /// Whether everything has arrived.
    pub(crate) fn is_settled(&self) -> bool {
        self.bytes == 0
    }

    /// Whether there is something that [`poll_portion`](Self::poll_portion) would give.
    pub(crate) fn has_portion(&self) -> bool {
        self.attached
            && (self.beat_due || self.written < self.portions.len() || !self.fresh.is_empty())
    }

    /// The next bytes for the connection. What the peer needs to know is put before them.
    pub(crate) fn poll_portion(&mut self) -> Option<Portion> {
        if !self.attached {
            return None;
        }
        if self.written < self.portions.len() {
            let portion = self.portions[self.written].clone();
            self.written += 1;
            return Some(portion);
        }
        if self.beat_due || (self.untold_bytes >= MENTION_BYTES && !self.fresh.is_empty()) {
            self.beat_due = false;
            self.told = self.received;
            self.untold_bytes = 0;
            // Not one of the portions that are kept: it is not counted, and never written again.
            let mut beat = BytesMut::with_capacity(2 * HEADER_BYTES + 8);
            beat.put_beat(self.received);
            return Some(Portion { head: beat.freeze(), tail: Bytes::new(), frames: 0 });
        }
        if self.fresh.is_empty() {
            return None;
        }
        self.close_portion(Bytes::new());
        self.poll_portion()
    }

    /// A sign of life is to be written.
    pub(crate) fn want_beat(&mut self) {
        self.beat_due = true;
    }

    // ---- frames that come ----

    /// A counted frame of so many bytes has arrived.
    pub(crate) fn count_arrival(&mut self, bytes: usize) {
        self.received += 1;
        self.untold_bytes += bytes;
        if self.untold_bytes >= CONFIRM_BYTES {
            self.beat_due = true;
        }
    }

    /// The peer says how many frames have arrived there.
    ///
    /// # Errors
    ///
    /// [`Violation::OutOfPlace`], if it cannot be so.
    pub(crate) fn handle_confirmed(&mut self, received: u64) -> Result<(), Violation> {
        let mut confirmed = self.confirmed;
        while let Some(oldest) = self.portions.front()
            && self.written > 0
            && confirmed + oldest.frames <= received
        {
            confirmed += oldest.frames;
            self.bytes -= oldest.len();
            self.portions.pop_front();
            self.written -= 1;
        }
        self.confirmed = confirmed;
        let rest = if self.written > 0 { self.portions[0].frames } else { 0 };
        if received > confirmed + rest {
            return Err(Violation::OutOfPlace("it confirms frames that were not sent"));
        }
        Ok(())
    }

    // ---- connections ----

    /// Whether it has a connection.
    pub(crate) fn is_attached(&self) -> bool {
        self.attached
    }

    /// Whether the peer has said that it has more frames than so many.
    pub(crate) fn has_confirmed(&self, received: u64) -> bool {
        received < self.confirmed
    }

    /// Compares the books: for tests.
    pub(crate) fn sanity_check(&self) {
        let portions: usize = self.portions.iter().map(Portion::len).sum();
        assert_eq!(self.bytes, portions + self.fresh.len(), "bytes of a lane");
        assert!(self.written <= self.portions.len() && self.told <= self.received);
    }

    /// Frames that have arrived: what the peer needs to know to go on.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// There is a new connection, and the peer has `received` so many frames.
    ///
    /// # Errors
    ///
    /// [`Violation::OutOfPlace`], if it cannot be so.
    pub(crate) fn attach(&mut self, received: u64) -> Result<(), Violation> {
        self.handle_confirmed(received)?;
        // The first may have arrived in part.
        if let Some(first) = self.portions.front_mut()
            && received > self.confirmed
        {
            let before = first.len();
            first.skip_frames(received - self.confirmed)?;
            self.bytes -= before - first.len();
            self.confirmed = received;
        }
        self.written = 0;
        self.attached = true;
        self.told = 0;
        self.beat_due = true;
        Ok(())
    }

    /// The connection is gone.
    pub(crate) fn detach(&mut self) {
        self.attached = false;
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self::new()
    }
}

impl Portion {
    /// Takes frames away from the front.
    fn skip_frames(&mut self, count: u64) -> Result<(), Violation> {
        const WRONG: Violation = Violation::OutOfPlace("it confirms a part of a frame");
        for _ in 0..count {
            let header = self.head.first_chunk::<HEADER_BYTES>().ok_or(WRONG)?;
            let [_, a, b, c] = *header;
            let length = HEADER_BYTES + u32::from_le_bytes([a, b, c, 0]) as usize;
            if length > self.head.len() {
                return Err(WRONG);
            }
            self.head = self.head.split_off(length);
            self.frames -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, FrameKind, split_frame};

    /// Messages that a connection has carried, and how many frames.
    fn read(bytes: &mut BytesMut, lane: &mut Lane) -> Vec<u64> {
        let mut read = Vec::new();
        while let Some((kind, content)) = split_frame(bytes).unwrap() {
            if kind == FrameKind::Beat {
                let Frame::Beat { received } = Frame::read(kind, content).unwrap() else {
                    panic!()
                };
                lane.handle_confirmed(received).unwrap();
                continue;
            }
            lane.count_arrival(content.len());
            match Frame::read(kind, content).unwrap() {
                Frame::Message { task, .. } => read.push(task),
                Frame::Chunk { blob, .. } => read.push(blob),
                other => panic!("{other:?}"),
            }
        }
        read
    }

    fn carry(from: &mut Lane, bytes: &mut BytesMut) {
        while let Some(portion) = from.poll_portion() {
            bytes.extend_from_slice(&portion.head);
            bytes.extend_from_slice(&portion.tail);
        }
    }

    fn push(lane: &mut Lane, number: u64) {
        if number.is_multiple_of(3) {
            lane.push_with("tail".into(), |to| to.put_chunk_header(number, 4));
        } else {
            lane.push(|to| to.put_message(number, 0, &[], &[0; 50]));
        }
    }

    /// Method: the connection breaks after each number of bytes in turn.
    #[test]
    fn frames_arrive_once_and_in_order_wherever_a_connection_breaks() {
        let whole = {
            let mut lane = Lane::new();
            (1..=20).for_each(|number| push(&mut lane, number));
            lane.bytes()
        };
        for cut in 0..whole + 10 {
            let (mut a, mut b) = (Lane::new(), Lane::new());
            a.attach(0).unwrap();
            b.attach(0).unwrap();
            let mut arrived = Vec::new();
            let mut bytes = BytesMut::new();
            (1..=10).for_each(|number| push(&mut a, number));
            carry(&mut a, &mut bytes);
            (11..=20).for_each(|number| push(&mut a, number));
            carry(&mut a, &mut bytes);
            bytes.truncate(cut);
            arrived.extend(read(&mut bytes, &mut b));
            a.detach();
            b.detach();
            (21..=22).for_each(|number| push(&mut a, number));
            a.attach(b.received()).unwrap();
            b.attach(a.received()).unwrap();
            let mut bytes = BytesMut::new();
            carry(&mut a, &mut bytes);
            arrived.extend(read(&mut bytes, &mut b));
            assert_eq!(arrived, (1..=22).collect::<Vec<_>>(), "cut at {cut}");
            let mut back = BytesMut::new();
            b.want_beat();
            carry(&mut b, &mut back);
            assert!(read(&mut back, &mut a).is_empty());
            assert!(a.is_settled(), "cut at {cut}: {a:?}");
        }
    }

    #[test]
    fn what_was_not_sent_cannot_be_confirmed() {
        let mut lane = Lane::new();
        lane.attach(0).unwrap();
        push(&mut lane, 1);
        assert!(lane.handle_confirmed(1).is_err());
        while lane.poll_portion().is_some() {}
        assert!(lane.handle_confirmed(1).is_ok());
        assert!(lane.handle_confirmed(2).is_err());
        assert!(lane.handle_confirmed(0).is_ok(), "old news are no harm");
    }

    #[test]
    fn it_is_full_until_something_is_confirmed() {
        let mut lane = Lane::new();
        lane.attach(0).unwrap();
        let mut frames = 0;
        while !lane.is_full() {
            lane.push(|to| to.put_message(1, 0, &[], &[0; 60_000]));
            frames += 1;
        }
        while lane.poll_portion().is_some() {}
        assert!(lane.is_full());
        lane.handle_confirmed(frames).unwrap();
        assert!(!lane.is_full() && lane.is_settled());
    }
}
