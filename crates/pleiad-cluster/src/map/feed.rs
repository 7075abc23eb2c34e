//! Where the jobs of a map come from.

use bytes::Bytes;
use pleiad_types::limits::BODY_BYTES_MAX;
use serde::Serialize;

use crate::engine::{ProgramWork, Work};
use crate::error::SubmitError;
use crate::program::{Program, Sink};

/// Items handed in together, at most.
pub(super) const CHUNK_ITEMS: usize = 1024;

/// Arguments handed in together are cut off after so many bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Where the jobs of a map come from.
pub(super) trait Feed {
    /// Adds up to `max` jobs, and says why it has stopped.
    fn feed(&mut self, max: usize, works: &mut Vec<Work>) -> Fed;
    #[cfg(feature = "progress")]
    fn size_hint(&self) -> (usize, Option<usize>);
}

/// Why no more jobs were added.
pub(super) enum Fed {
    /// There may be more.
    Enough,
    /// There are no more.
    All,
    /// The next item cannot be sent; there may be more behind it.
    Refused(SubmitError),
}

pub(super) struct Calls<I> {
    pub(super) place: i64,
    pub(super) items: I,
}

impl<I: Iterator<Item: Serialize>> Feed for Calls<I> {
    /// The arguments of a chunk share one piece of memory.
    fn feed(&mut self, max: usize, works: &mut Vec<Work>) -> Fed {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(max.min(CHUNK_ITEMS));
        let mut fed = Fed::Enough;
        while ends.len() < max && bytes.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else {
                fed = Fed::All;
                break;
            };
            let begin = bytes.len();
            let written = postcard::to_extend(&(item,), Appended(&mut bytes));
            let written = written.map(drop).map_err(|e| e.to_string());
            let length = bytes.len() - begin;
            let refused = match written {
                Ok(()) if length <= BODY_BYTES_MAX => {
                    ends.push(bytes.len());
                    continue;
                }
                Ok(()) => SubmitError::TooLarge(length),
                Err(why) => SubmitError::Unserialisable(why),
            };
            bytes.truncate(begin);
            fed = Fed::Refused(refused);
            break;
        }
        let mut bytes = Bytes::from(bytes);
        let mut begin = 0;
        works.extend(ends.into_iter().map(|end| {
            let args = bytes.split_to(end - begin);
            begin = end;
            Work::Call { place: self.place, args }
        }));
        fed
    }

    #[cfg(feature = "progress")]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

/// Lets the serialiser write behind what is there, which stays if it fails.
struct Appended<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appended<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

pub(super) struct Programs<I>(pub(super) I);

impl<I: Iterator<Item = Program>> Feed for Programs<I> {
    fn feed(&mut self, max: usize, works: &mut Vec<Work>) -> Fed {
        works.extend(self.0.by_ref().take(max).map(|mut program| {
            // Nobody could read the streams of one program among many.
            for sink in [&mut program.stdout, &mut program.stderr] {
                if *sink == Sink::Stream {
                    *sink = Sink::Keep;
                }
            }
            Work::Program(Box::new(ProgramWork { program, chunks: None }))
        }));
        if works.len() == max { Fed::Enough } else { Fed::All }
    }

    #[cfg(feature = "progress")]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
