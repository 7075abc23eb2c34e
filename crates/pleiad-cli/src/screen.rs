//! The thread that writes: output of jobs, notes, and the progress bar, each at its turn.
//!
//! A reader that does not keep up stops this thread and nothing else.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pleiad::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::joblog::{Ended, Joblog, JoblogError};
use crate::kept::Kept;
use crate::progress::Counts;

mod writer;

use writer::Writer;

/// Messages that wait for the thread. Beyond, output waits in its own buffers.
const MESSAGES_MAX: usize = 64;

/// Draws of the bar in a second.
const DRAWS_HZ: u8 = 10;

/// Something to write.
#[derive(Debug)]
pub(crate) enum Message {
    /// All that a job has to show, and the line for the job log once that is written.
    Job { shown: Shown, log: Option<Box<Ended>> },
    /// Lines of a running job.
    Lines { stream: Stream, bytes: Vec<u8> },
    /// Where the run is.
    Progress(Counts),
    /// A line for the user on standard error.
    Note(String),
}

/// What a finished job has to show.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Its output; each line after `tag`, if there is one.
    Output { tag: Option<Box<[u8]>>, stdout: Kept, stderr: Kept },
    /// A JSON object without its end, and the output that belongs into it.
    Json { head: Box<str>, output: Option<(Kept, Kept)> },
    /// Its lines have been handed over before.
    Nothing,
}

/// What went wrong with writing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Standard output does not take what the jobs have written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// The job log cannot be written.
    #[error(transparent)]
    Log(JoblogError),
}

/// A job log that is written as jobs end, and as their output is written.
pub(crate) type SharedLog = Arc<Mutex<Joblog>>;

/// What is shown while the jobs run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Show {
    /// A bar on a terminal, else a line now and then.
    Progress,
    /// No progress.
    OutputOnly,
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Screen {
    messages: mpsc::Sender<Message>,
    has_bar: bool,
    show: Show,
    ended: oneshot::Receiver<()>,
}

/// What goes wrong with writing, as it happens.
#[derive(Debug)]
pub(crate) struct Faults(mpsc::UnboundedReceiver<Fault>);

impl Faults {
    /// Waits for the next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Fault {
        match self.0.recv().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// One that has happened already.
    pub(crate) fn poll(&mut self) -> Option<Fault> {
        self.0.try_recv().ok()
    }
}

impl Screen {
    pub(crate) fn start(show: Show, log: Option<SharedLog>) -> io::Result<(Self, Faults)> {
        let (messages, mut inbox) = mpsc::channel(MESSAGES_MAX);
        let (fault_sender, faults) = mpsc::unbounded_channel();
        let (ended_sender, ended) = oneshot::channel();
        let has_bar = show == Show::Progress && io::stderr().is_terminal();
        thread::Builder::new().name("screen".into()).spawn(move || {
            let mut writer = Writer::new(show, has_bar, log, fault_sender);
            while let Some(message) = inbox.blocking_recv() {
                writer.take(message);
                // The bar is taken away and drawn again for each write: rather seldom.
                if inbox.is_empty() && !has_bar {
                    writer.write_out();
                }
            }
            writer.finish();
            drop(ended_sender);
        })?;
        Ok((Self { messages, has_bar, show, ended }, Faults(faults)))
    }

    /// Whether there is a bar.
    pub(crate) fn has_bar(&self) -> bool {
        self.has_bar
    }

    /// How often the screen wants to know where the run is.
    pub(crate) fn tick(&self) -> Duration {
        match (self.show, self.has_bar) {
            (Show::Progress, true) => Duration::from_secs(1) / u32::from(DRAWS_HZ),
            (Show::Progress, false) => Duration::from_secs(1),
            (Show::OutputOnly, _) => Duration::from_secs(3600),
        }
    }

    /// For who writes on its own, and waits for room.
    pub(crate) fn sender(&self) -> mpsc::Sender<Message> {
        self.messages.clone()
    }

    /// Room for one message, if there is some.
    pub(crate) fn room(&self) -> Option<mpsc::Permit<'_, Message>> {
        self.messages.try_reserve().ok()
    }

    /// Waits for room for one message. Cancel-safe.
    pub(crate) async fn wait_for_room(&self) -> Option<mpsc::Permit<'_, Message>> {
        self.messages.reserve().await.ok()
    }

    /// Waits until there may be room. Cancel-safe.
    pub(crate) async fn until_room(&self) {
        drop(self.messages.reserve().await);
    }

    /// Tells the user something, now if the output does not keep up.
    pub(crate) fn note(&self, note: String) {
        match self.room() {
            Some(room) => room.send(Message::Note(note)),
            None => drop(io::stderr().write_all(format!("pleiad: {note}\n").as_bytes())),
        }
    }

    /// Waits until everything is written and the bar is gone. Then look at the [`Faults`].
    pub(crate) async fn finish(self) {
        let Self { messages, ended, .. } = self;
        drop(messages);
        // It ends by being dropped.
        let _ = ended.await;
    }
}
