//! Messages as bytes, and what is attached to them.
//!
//! References and replies do not travel in the bytes. While a message is written or read, this thread
//! knows what is attached to it, and they find it there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use pleiad_types::limits::BODY_BYTES_MAX;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::current;
use crate::far::shape;
use crate::far::target::{Answerer, Arrived, Attached, Encoded};
use crate::reply::Unanswered;

/// A buffer that is larger than this is given back after a message.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static MODE: RefCell<Mode> = const { RefCell::new(Mode::Off) };
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// What was wrong, since postcard's errors cannot say it.
    static PROBLEM: Cell<Option<String>> = const { Cell::new(None) };
}

/// What this thread does with references and replies that it finds in a message.
pub(super) enum Mode {
    /// None is in a message.
    Off,
    /// They are put here.
    Encoding(Vec<Attached>),
    /// The replies go back into a message.
    Restoring(VecDeque<Attached>),
    /// They are taken from here.
    Decoding(Decoding),
}

#[derive(Default)]
pub(super) struct Decoding {
    arrived: Vec<Option<Arrived>>,
    /// Replies that were dropped meanwhile.
    discarded: Vec<Box<dyn Answerer>>,
}

/// Why a message cannot be sent to another node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It is too long.
    #[error("it is longer than {BODY_BYTES_MAX} bytes: send it in parts, or as a file")]
    TooLong,
    /// Its `Serialize` has failed.
    #[error("{0}")]
    Failed(String),
    /// Its `Serialize` has panicked.
    #[error("it has panicked while it was written: {0}")]
    Panicked(String),
}

/// Writes a message. If that fails, the message is as it was.
pub fn encode<M: Serialize>(message: &M) -> Result<Encoded, EncodeError> {
    let mut body = Vec::new();
    let attached = encode_into(message, &mut body)?;
    Ok(Encoded { body, attached })
}

/// As [`encode`], into an empty buffer.
pub(super) fn encode_into<M: Serialize>(
    message: &M,
    body: &mut Vec<u8>,
) -> Result<Vec<Attached>, EncodeError> {
    let entered = Entered::new(Mode::Encoding(Vec::new()));
    let written = current::catch(|| postcard::serialize_with_flavor(message, Sink(body)));
    let Mode::Encoding(attached) = entered.leave() else { return Ok(Vec::new()) };
    match written {
        Ok(Ok(())) => Ok(attached),
        other => {
            let error = encode_error(other);
            restore(message, attached);
            Err(error)
        }
    }
}

#[cold]
fn encode_error(written: Result<postcard::Result<()>, Box<crate::exit::Failure>>) -> EncodeError {
    let problem = PROBLEM.take();
    match written {
        Err(failure) => EncodeError::Panicked(failure.to_string()),
        Ok(Err(postcard::Error::SerializeBufferFull)) => EncodeError::TooLong,
        Ok(Err(error)) => EncodeError::Failed(problem.unwrap_or_else(|| error.to_string())),
        Ok(Ok(())) => EncodeError::Failed(String::new()),
    }
}

/// Puts the replies that were attached to a message back into it: it was not sent.
pub fn restore<M: Serialize>(message: &M, attached: Vec<Attached>) {
    if attached.iter().any(|attached| matches!(attached, Attached::Reply(_))) {
        let entered = Entered::new(Mode::Restoring(attached.into()));
        // It ends where it ended before: with an error, if it was one.
        let _ = current::catch(|| postcard::serialize_with_flavor(message, Sink(&mut scratch())));
        drop(entered.leave());
        PROBLEM.take();
    }
}

/// Reads a message. If that fails, whoever waits for an answer to it is told why.
pub(super) fn decode<M: DeserializeOwned>(body: &[u8], arrived: Vec<Arrived>) -> Result<M, String> {
    if arrived.is_empty() && is_off() {
        return decode_plain(body);
    }
    let arrived = arrived.into_iter().map(Some).collect();
    let entered = Entered::new(Mode::Decoding(Decoding { arrived, discarded: Vec::new() }));
    let read = current::catch(|| postcard::take_from_bytes(body));
    let decoding = entered.leave();
    let read = match read {
        Ok(Ok((message, []))) => Ok(message),
        Ok(Ok((message, rest))) => {
            let why = format!("{} bytes are left over", rest.len());
            fail_replies(&Unanswered::Undecodable(why.clone()), || drop::<M>(message));
            Err(why)
        }
        Ok(Err(error)) => Err(PROBLEM.take().unwrap_or_else(|| error.to_string())),
        Err(failure) => Err(format!("it has panicked while it was read: {failure}")),
    };
    if let Mode::Decoding(decoding) = decoding {
        match &read {
            Ok(_) => decoding.settle(&Unanswered::Dropped),
            Err(why) => decoding.settle(&Unanswered::Undecodable(why.clone())),
        }
    }
    read
}

/// Whether this thread is not at a message.
fn is_off() -> bool {
    MODE.with_borrow(|mode| matches!(mode, Mode::Off))
}

/// Reads a message to which nothing is attached: the usual, and then nobody needs to know of it.
fn decode_plain<M: DeserializeOwned>(body: &[u8]) -> Result<M, String> {
    match current::catch(|| postcard::take_from_bytes(body)) {
        Ok(Ok((message, []))) => Ok(message),
        Ok(Ok((_, rest))) => Err(format!("{} bytes are left over", rest.len())),
        Ok(Err(error)) => Err(PROBLEM.take().unwrap_or_else(|| error.to_string())),
        Err(failure) => Err(format!("it has panicked while it was read: {failure}")),
    }
}

/// Runs `discard`, which drops messages: to whoever waits for an answer to one of them, this is why
/// there is none.
pub(super) fn fail_replies(why: &Unanswered, discard: impl FnOnce()) {
    let entered = Entered::new(Mode::Decoding(Decoding::default()));
    if let Err(failure) = current::catch(discard) {
        tracing::error!(%failure, "a message has failed to be dropped");
    }
    if let Mode::Decoding(decoding) = entered.leave() {
        decoding.settle(why);
    }
}

/// A reference or reply is written: gives its index. `make`: what it is attached as. `put_back`: if it
/// is to be as it was before.
pub(super) fn attach(
    make: impl FnOnce() -> Result<Attached, &'static str>,
    put_back: impl FnOnce(Attached),
) -> Result<u32, &'static str> {
    enum Wanted {
        Nothing,
        Index(usize),
        PutBack(Option<Attached>),
    }

    let wanted = MODE.with_borrow_mut(|mode| match mode {
        Mode::Encoding(attached) => Wanted::Index(attached.len()),
        Mode::Restoring(attached) => Wanted::PutBack(attached.pop_front()),
        Mode::Off | Mode::Decoding(_) => Wanted::Nothing,
    });
    let index = match wanted {
        Wanted::Index(index) => index,
        Wanted::PutBack(Some(attached)) => {
            put_back(attached);
            return Ok(0);
        }
        Wanted::PutBack(None) => return problem("there is nothing to be put back"),
        Wanted::Nothing => return problem(ONLY_IN_MESSAGES),
    };
    let made = make().or_else(problem)?;
    MODE.with_borrow_mut(|mode| {
        if let Mode::Encoding(attached) = mode {
            attached.push(made);
        }
    });
    u32::try_from(index).or_else(|_| problem("it has too many references"))
}

/// A reference or reply is read, with this index.
pub(super) fn arrived(index: u32) -> Result<Arrived, &'static str> {
    let found = MODE.with_borrow_mut(|mode| match mode {
        Mode::Decoding(decoding) => {
            let place = decoding.arrived.get_mut(index as usize);
            place.and_then(Option::take).ok_or("a reference in it was not sent with it")
        }
        _ => Err(ONLY_IN_MESSAGES),
    });
    if found.as_ref().is_err_and(|why| *why == ONLY_IN_MESSAGES) {
        // Somebody else's error, who has a text for it: it is not to be found by the next message.
        return found;
    }
    found.or_else(problem)
}

/// What is wrong with a reference or reply that is read from anything but a message of this crate: its
/// form is of no interest then.
#[cold]
pub(super) fn not_an_index<E: serde::de::Error>(error: E) -> E {
    if !shape::is_tracing() && MODE.with_borrow(|mode| matches!(mode, Mode::Off)) {
        return E::custom(ONLY_IN_MESSAGES);
    }
    error
}

/// What has arrived, of which nothing is to be made.
pub(super) fn put_aside(answerer: Box<dyn Answerer>) -> Result<(), Box<dyn Answerer>> {
    let mut answerer = Some(answerer);
    // At the end of a thread there may be no mode any more.
    let _ = MODE.try_with(|mode| {
        if let Mode::Decoding(decoding) = &mut *mode.borrow_mut() {
            decoding.discarded.extend(answerer.take());
        }
    });
    answerer.map_or(Ok(()), Err)
}

/// Tells [`encode`] or [`decode`] what is wrong: postcard's errors have no texts.
#[cold]
pub(super) fn problem<T, W: Copy + Into<String>>(what: W) -> Result<T, W> {
    PROBLEM.set(Some(what.into()));
    Err(what)
}

const ONLY_IN_MESSAGES: &str = "a task reference or a reply can only travel in a message";

impl Decoding {
    /// Replies that nobody has taken, or that were dropped, get no answer.
    fn settle(self, why: &Unanswered) {
        let left = self.arrived.into_iter().flatten().filter_map(|arrived| match arrived {
            Arrived::Reply(answerer) => Some(answerer),
            Arrived::Task(_) => None,
        });
        for answerer in left.chain(self.discarded) {
            answerer.fail(why.clone());
        }
    }
}

/// This thread is in a mode, until this is dropped.
struct Entered(Option<Mode>);

impl Entered {
    fn new(mode: Mode) -> Self {
        Self(Some(MODE.replace(mode)))
    }

    /// Ends it; gives what has become of the mode.
    fn leave(mut self) -> Mode {
        self.0.take().map_or(Mode::Off, |before| MODE.replace(before))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            drop(MODE.replace(before));
        }
    }
}

/// An empty buffer, which this thread uses again.
pub(super) fn scratch() -> Scratch {
    Scratch(SCRATCH.take())
}

pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    /// What is in it, if it is large: it would not be used again anyway.
    pub(super) fn take_large(&mut self) -> Option<Bytes> {
        (self.0.len() > KEPT_BYTES).then(|| mem::take(&mut self.0).into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.capacity() <= KEPT_BYTES {
            self.0.clear();
            let buffer = mem::take(&mut self.0);
            // At the end of a thread there is nobody who would use it.
            let _ = SCRATCH.try_with(|kept| kept.set(buffer));
        }
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// Where postcard writes to.
struct Sink<'a>(&'a mut Vec<u8>);

impl Flavor for Sink<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.0.len() >= BODY_BYTES_MAX {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > BODY_BYTES_MAX.saturating_sub(self.0.len()) {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
