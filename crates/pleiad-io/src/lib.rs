//! What tokio leaves to its users when they talk to programs and over streams.
//!
//! - A [`Pipeline`] runs programs, each of which reads what the one before it writes.
//!   [`communicate`](Running::communicate) feeds it and collects what comes out, whatever the sizes.
//! - A [`MessageStream`] sends and receives whole messages over a stream of bytes: a length, then
//!   the body.
//! - [`Lines`] and [`Chunks`] cut what a stream brings into pieces, and [`read_up_to`] reads one.
//!
//! Everything here has a limit, so that neither a peer nor a program can eat the memory: they stand
//! in [`limits`], and reaching one is an error with a name. Everything works on any
//! [`AsyncRead`](tokio::io::AsyncRead) and [`AsyncWrite`](tokio::io::AsyncWrite): TCP, TLS, Unix
//! sockets, the pipes of programs.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod chunks;
mod communicate;
mod end;
pub mod limits;
mod lines;
mod message_reader;
mod message_stream;
mod message_writer;
mod pipeline;
mod running;
mod stdio;
mod tail;
mod up_to;

pub use chunks::Chunks;
pub use communicate::{Communicate, CommunicateError, Output};
pub use end::{PipelineEnd, Stage, StageEnd, StageFailed};
pub use lines::{LineError, Lines};
pub use message_reader::{MessageReader, MessageRecvError};
pub use message_stream::MessageStream;
pub use message_writer::{MessageSendError, MessageWriter};
pub use pipeline::{IntoCommand, Pipeline, PipelineStartError, Stderr};
pub use running::{EndError, Running};
pub use stdio::{PipelineStdin, PipelineStdout};
pub use tail::Tail;
pub use up_to::{Part, ReadUpTo, ReadUpToError, read_up_to};
