//! What tokio leaves to its users when they talk to programs and over streams.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod chunks;
pub mod limits;
mod lines;
mod message_reader;
mod message_writer;
mod messages;
mod up_to;

pub use chunks::Chunks;
pub use lines::{LineError, Lines};
pub use message_reader::{MessageReader, RecvError};
pub use message_writer::{MessageWriter, SendError};
pub use messages::Messages;
pub use up_to::{Part, ReadUpTo, ReadUpToError, read_up_to};
