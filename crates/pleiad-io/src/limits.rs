//! Every limit of this crate, with its unit and its reason.

use std::time::Duration;

/// Bytes of one message, unless reader and writer ask for another number: enough for a picture or a
/// page of results, few enough that a hundred hostile peers do not fill the memory.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Bytes of one line without its end, unless the reader asks for another number. Lines for people
/// are far shorter; a peer that never sends an end of line is stopped here.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Bytes of standard output that `communicate` keeps, unless it is asked for another number. Larger
/// output belongs into a file, or is read as it comes.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// The last bytes of each program's standard error that are kept, unless the pipeline asks for
/// another number: a long backtrace.
pub const STDERR_TAIL_BYTES: usize = 64 << 10;

/// Time that is waited, after the end of the last program, for the rest of its standard error. Only
/// a process that a program has left behind, with the pipe still open, makes use of it.
pub const STDERR_LINGER: Duration = Duration::from_secs(1);

/// Bytes that are asked for at once: what an idle reader costs. Large bodies are read in larger
/// steps, which double as they come.
pub(crate) const READ_BYTES: usize = 8 << 10;
