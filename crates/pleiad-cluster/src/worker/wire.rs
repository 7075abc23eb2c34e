//! The frames between an agent and its workers, every byte of them.
//!
//! A frame is its length (4 bytes, little-endian, without itself), a tag and the fields, all
//! numbers little-endian. Both ends are the same executable, so there is no version; a worker is
//! not trusted all the same, since user code runs in it: every length is checked.

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use pleiad_types::limits::BODY_BYTES_MAX;
use pleiad_types::{Attempt, JobId};

use super::Fault;

/// A body and the fields around it.
const FRAME_BYTES_MAX: usize = BODY_BYTES_MAX + 256;

/// Which attempt of which job, in which slot of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) slot: u16,
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
}

/// From the agent to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToWorker {
    /// First, at most once: make the data that the jobs share.
    Setup { setup: i64, args: Bytes, cleanup: Option<i64> },
    /// Run this, after all that was given to the same slot before.
    Run { run: Run, place: i64, args: Bytes },
    /// Answer with `NotStarted` if it has not begun.
    Recall(Run),
    /// Tell the job that it should stop, or, if it has not begun, answer with `NotStarted`.
    Stop(Run),
    /// For the job.
    Message { run: Run, body: Bytes },
    /// Run what you have, clean up, end.
    Close,
}

/// From a worker to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromWorker {
    /// The data is there.
    Ready,
    /// The data could not be made; the worker runs no jobs.
    SetupFailed(String),
    /// The job returned.
    Done { run: Run, nanos: u64, result: Bytes },
    /// It did not.
    Failed { run: Run, nanos: u64, fault: Fault },
    /// It was recalled before it began.
    NotStarted(Run),
    /// A provisional result.
    Message { run: Run, body: Bytes },
    /// How far it is.
    Progress { run: Run, done: u64, total: u64 },
    /// How long the worker's two output files were when the job, whose end follows, ended.
    Printed { run: Run, stdout: u64, stderr: u64 },
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong(usize),
    #[error("a frame ends too early")]
    Truncated,
    #[error("a frame has {0} bytes too many")]
    Trailing(usize),
    #[error("no frame has the tag {0}")]
    UnknownTag(u8),
    #[error("a text is not UTF-8")]
    NotText,
}

impl From<TryGetError> for WireError {
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}

/// Takes the next whole frame, without its length, out of what has been read.
///
/// `Ok(None)`: more must be read first.
pub(crate) fn next_frame(read: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
    let Some(missing) = missing_bytes(read)? else {
        return Ok(None);
    };
    if missing > 0 {
        return Ok(None);
    }
    let length = read.get_u32_le() as usize;
    Ok(Some(read.split_to(length).freeze()))
}

/// How many bytes are missing to the end of the first frame; `None` if even its length is not there.
pub(crate) fn missing_bytes(read: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(length) = read.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(WireError::TooLong(length));
    }
    Ok(Some((4 + length).saturating_sub(read.len())))
}

impl ToWorker {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Setup { setup, args, cleanup } => frame(out, 0, args.len() + 17, |out| {
                out.put_i64_le(*setup);
                out.put_u8(u8::from(cleanup.is_some()));
                out.put_i64_le(cleanup.unwrap_or(0));
                out.put_slice(args);
            }),
            Self::Run { run, place, args } => encode_run(out, *run, *place, args),
            Self::Recall(run) => frame(out, 2, Run::BYTES, |out| run.encode(out)),
            Self::Stop(run) => frame(out, 3, Run::BYTES, |out| run.encode(out)),
            Self::Message { run, body } => frame(out, 4, Run::BYTES + body.len(), |out| {
                run.encode(out);
                out.put_slice(body);
            }),
            Self::Close => frame(out, 5, 0, |_| {}),
        }
    }

    pub(crate) fn decode(mut frame: Bytes) -> Result<Self, WireError> {
        let tag = frame.try_get_u8()?;
        let message = match tag {
            0 => {
                let setup = frame.try_get_i64_le()?;
                let has_cleanup = frame.try_get_u8()? != 0;
                let cleanup = frame.try_get_i64_le()?;
                Self::Setup {
                    setup,
                    cleanup: has_cleanup.then_some(cleanup),
                    args: rest(&mut frame),
                }
            }
            1 => {
                let run = Run::decode(&mut frame)?;
                Self::Run { run, place: frame.try_get_i64_le()?, args: rest(&mut frame) }
            }
            2 => Self::Recall(Run::decode(&mut frame)?),
            3 => Self::Stop(Run::decode(&mut frame)?),
            4 => Self::Message { run: Run::decode(&mut frame)?, body: rest(&mut frame) },
            5 => Self::Close,
            _ => return Err(WireError::UnknownTag(tag)),
        };
        at_end(&frame, message)
    }
}

/// [`ToWorker::Run`], for callers that have the arguments by reference.
pub(crate) fn encode_run(out: &mut BytesMut, run: Run, place: i64, args: &[u8]) {
    run_header(out, run, place, args.len());
    out.put_slice(args);
}

/// [`ToWorker::Run`] up to the arguments, which the caller must send next.
pub(crate) fn run_header(out: &mut BytesMut, run: Run, place: i64, args_bytes: usize) {
    out.put_u32_le(length(1 + Run::BYTES + 8 + args_bytes));
    out.put_u8(1);
    run.encode(out);
    out.put_i64_le(place);
}

impl FromWorker {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ready => frame(out, 0, 0, |_| {}),
            Self::SetupFailed(why) => frame(out, 1, why.len(), |out| out.put_slice(why.as_bytes())),
            Self::Done { run, nanos, result } => encode_done(out, *run, *nanos, result),
            Self::Failed { run, nanos, fault } => {
                let (kind, texts): (u8, [&str; 3]) = match fault {
                    Fault::Panicked { message, location, backtrace } => {
                        (0, [message, location, backtrace])
                    }
                    Fault::Returned(message) => (1, [message, "", ""]),
                    Fault::Unreadable(message) => (2, [message, "", ""]),
                    Fault::NoSuchFunction(message) => (3, [message, "", ""]),
                };
                let bytes = Run::BYTES + 9 + texts.iter().map(|t| 4 + t.len()).sum::<usize>();
                frame(out, 3, bytes, |out| {
                    run.encode(out);
                    out.put_u64_le(*nanos);
                    out.put_u8(kind);
                    for text in texts {
                        out.put_u32_le(length(text.len()));
                        out.put_slice(text.as_bytes());
                    }
                });
            }
            Self::NotStarted(run) => frame(out, 4, Run::BYTES, |out| run.encode(out)),
            Self::Message { run, body } => frame(out, 5, Run::BYTES + body.len(), |out| {
                run.encode(out);
                out.put_slice(body);
            }),
            Self::Progress { run, done, total } => frame(out, 6, Run::BYTES + 16, |out| {
                run.encode(out);
                out.put_u64_le(*done);
                out.put_u64_le(*total);
            }),
            Self::Printed { run, stdout, stderr } => frame(out, 7, Run::BYTES + 16, |out| {
                run.encode(out);
                out.put_u64_le(*stdout);
                out.put_u64_le(*stderr);
            }),
        }
    }

    pub(crate) fn decode(mut frame: Bytes) -> Result<Self, WireError> {
        let tag = frame.try_get_u8()?;
        let message = match tag {
            0 => Self::Ready,
            1 => Self::SetupFailed(text(rest(&mut frame))?),
            2 => {
                let run = Run::decode(&mut frame)?;
                Self::Done { run, nanos: frame.try_get_u64_le()?, result: rest(&mut frame) }
            }
            3 => {
                let run = Run::decode(&mut frame)?;
                let nanos = frame.try_get_u64_le()?;
                let kind = frame.try_get_u8()?;
                let [message, location, backtrace] =
                    [counted(&mut frame)?, counted(&mut frame)?, counted(&mut frame)?];
                let fault = match kind {
                    0 => Fault::Panicked { message, location, backtrace },
                    1 => Fault::Returned(message),
                    2 => Fault::Unreadable(message),
                    3 => Fault::NoSuchFunction(message),
                    _ => return Err(WireError::UnknownTag(kind)),
                };
                Self::Failed { run, nanos, fault }
            }
            4 => Self::NotStarted(Run::decode(&mut frame)?),
            5 => Self::Message { run: Run::decode(&mut frame)?, body: rest(&mut frame) },
            6 => {
                let run = Run::decode(&mut frame)?;
                Self::Progress {
                    run,
                    done: frame.try_get_u64_le()?,
                    total: frame.try_get_u64_le()?,
                }
            }
            7 => {
                let run = Run::decode(&mut frame)?;
                let (stdout, stderr) = (frame.try_get_u64_le()?, frame.try_get_u64_le()?);
                Self::Printed { run, stdout, stderr }
            }
            _ => return Err(WireError::UnknownTag(tag)),
        };
        at_end(&frame, message)
    }
}

/// [`FromWorker::Done`], for callers that have the result by reference.
pub(crate) fn encode_done(out: &mut Vec<u8>, run: Run, nanos: u64, result: &[u8]) {
    frame(out, 2, Run::BYTES + 8 + result.len(), |out| {
        run.encode(out);
        out.put_u64_le(nanos);
        out.put_slice(result);
    });
}

impl Run {
    pub(crate) fn new(slot: u16, (job, attempt): (JobId, Attempt)) -> Self {
        Self { slot, job, attempt }
    }

    const BYTES: usize = 2 + 8 + 4;

    fn encode(self, out: &mut impl BufMut) {
        out.put_u16_le(self.slot);
        out.put_u64_le(self.job.0);
        out.put_u32_le(self.attempt.0);
    }

    fn decode(frame: &mut Bytes) -> Result<Self, WireError> {
        Ok(Self {
            slot: frame.try_get_u16_le()?,
            job: JobId(frame.try_get_u64_le()?),
            attempt: Attempt(frame.try_get_u32_le()?),
        })
    }
}

fn frame<B: BufMut>(out: &mut B, tag: u8, bytes: usize, fields: impl FnOnce(&mut B)) {
    out.put_u32_le(length(1 + bytes));
    out.put_u8(tag);
    fields(out);
}

/// Bodies are checked against their limit before they come here.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("bodies are limited to far less than 4 GiB")
}

fn rest(frame: &mut Bytes) -> Bytes {
    frame.split_to(frame.len())
}

fn counted(frame: &mut Bytes) -> Result<String, WireError> {
    let bytes = frame.try_get_u32_le()? as usize;
    if bytes > frame.len() {
        return Err(WireError::Truncated);
    }
    text(frame.split_to(bytes))
}

fn text(bytes: Bytes) -> Result<String, WireError> {
    String::from_utf8(bytes.into()).map_err(|_| WireError::NotText)
}

fn at_end<T>(frame: &Bytes, message: T) -> Result<T, WireError> {
    if frame.is_empty() { Ok(message) } else { Err(WireError::Trailing(frame.len())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs() -> impl Strategy<Value = Run> {
        (any::<u16>(), any::<u64>(), any::<u32>()).prop_map(|(slot, job, attempt)| Run {
            slot,
            job: JobId(job),
            attempt: Attempt(attempt),
        })
    }

    fn bodies() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from)
    }

    fn to_worker() -> impl Strategy<Value = ToWorker> {
        prop_oneof![
            (any::<i64>(), bodies(), any::<Option<i64>>())
                .prop_map(|(setup, args, cleanup)| ToWorker::Setup { setup, args, cleanup }),
            (runs(), any::<i64>(), bodies()).prop_map(|(run, place, args)| ToWorker::Run {
                run,
                place,
                args
            }),
            runs().prop_map(ToWorker::Recall),
            runs().prop_map(ToWorker::Stop),
            (runs(), bodies()).prop_map(|(run, body)| ToWorker::Message { run, body }),
            Just(ToWorker::Close),
        ]
    }

    fn from_worker() -> impl Strategy<Value = FromWorker> {
        let faults = prop_oneof![
            (any::<String>(), any::<String>(), any::<String>()).prop_map(
                |(message, location, backtrace)| Fault::Panicked { message, location, backtrace }
            ),
            any::<String>().prop_map(Fault::Returned),
            any::<String>().prop_map(Fault::Unreadable),
            any::<String>().prop_map(Fault::NoSuchFunction),
        ];
        prop_oneof![
            Just(FromWorker::Ready),
            any::<String>().prop_map(FromWorker::SetupFailed),
            (runs(), any::<u64>(), bodies()).prop_map(|(run, nanos, result)| FromWorker::Done {
                run,
                nanos,
                result
            }),
            (runs(), any::<u64>(), faults).prop_map(|(run, nanos, fault)| FromWorker::Failed {
                run,
                nanos,
                fault
            }),
            runs().prop_map(FromWorker::NotStarted),
            (runs(), bodies()).prop_map(|(run, body)| FromWorker::Message { run, body }),
            (runs(), any::<u64>(), any::<u64>())
                .prop_map(|(run, done, total)| FromWorker::Progress { run, done, total }),
            (runs(), any::<u64>(), any::<u64>())
                .prop_map(|(run, stdout, stderr)| FromWorker::Printed { run, stdout, stderr }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sent in proptest::collection::vec(to_worker(), 0..5)) {
            let mut bytes = BytesMut::new();
            for message in &sent {
                message.encode(&mut bytes);
            }
            let mut read = Vec::new();
            while let Some(frame) = next_frame(&mut bytes).unwrap() {
                read.push(ToWorker::decode(frame).unwrap());
            }
            prop_assert_eq!(read, sent);
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn what_a_worker_writes_is_read(sent in proptest::collection::vec(from_worker(), 0..5)) {
            let mut bytes = Vec::new();
            for message in &sent {
                message.encode(&mut bytes);
            }
            let mut bytes = BytesMut::from(&bytes[..]);
            let mut read = Vec::new();
            while let Some(frame) = next_frame(&mut bytes).unwrap() {
                read.push(FromWorker::decode(frame).unwrap());
            }
            prop_assert_eq!(read, sent);
        }

        #[test]
        fn a_frame_cut_short_is_not_taken(sent in from_worker(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            sent.encode(&mut bytes);
            let mut part = BytesMut::from(&bytes[..cut.index(bytes.len())]);
            prop_assert_eq!(next_frame(&mut part), Ok(None));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = next_frame(&mut BytesMut::from(&bytes[..]));
            let _ = ToWorker::decode(Bytes::from(bytes.clone()));
            let _ = FromWorker::decode(Bytes::from(bytes));
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_reserved() {
        let mut read = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert_eq!(next_frame(&mut read), Err(WireError::TooLong(u32::MAX as usize)));
    }
}
