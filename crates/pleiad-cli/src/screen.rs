//! The thread that writes: output of jobs, notes, and the progress bar, each at its turn.
//!
//! A reader that does not keep up stops this thread and nothing else.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pleiad::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::joblog::{Ended, Joblog, JoblogError};
use crate::json;
use crate::kept::Kept;
use crate::progress::{Counts, Progress};

/// Messages that wait for the thread. Beyond, output waits in its own buffers.
const MESSAGES_MAX: usize = 64;

/// Output that is written in one go.
const WRITE_BYTES: usize = 64 << 10;

/// Draws of the bar in a second.
const DRAWS_HZ: u8 = 10;

/// Without a terminal: the time to the first line about progress, and from one to the next.
const FIRST_LINE: Duration = Duration::from_secs(10);
const LINE_EVERY: Duration = Duration::from_secs(30);

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

struct Writer {
    pieces: Vec<(Stream, Vec<u8>)>,
    bytes: usize,
    /// Standard output has failed: nothing more goes there, and no job into the log.
    has_failed: bool,
    log: Option<SharedLog>,
    /// Jobs whose output is in `pieces`.
    unlogged: Vec<Ended>,
    faults: mpsc::UnboundedSender<Fault>,
    progress: Progress,
    show: Show,
    wants_bar: bool,
    bar: Option<ProgressBar>,
    /// The terminal shows the beginning of a line: no place for the bar.
    is_mid_line: bool,
    next_line: Instant,
}

impl Writer {
    fn new(
        show: Show,
        has_bar: bool,
        log: Option<SharedLog>,
        faults: mpsc::UnboundedSender<Fault>,
    ) -> Self {
        let now = Instant::now();
        Self {
            pieces: Vec::new(),
            bytes: 0,
            has_failed: false,
            log,
            unlogged: Vec::new(),
            faults,
            progress: Progress::new(now),
            show,
            wants_bar: has_bar,
            bar: None,
            is_mid_line: false,
            next_line: now + FIRST_LINE,
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Job { shown, log } => {
                // What cannot be read back is as lost as what cannot be written.
                match self.job(&shown) {
                    Ok(()) => self.unlogged.extend(log.map(|log| *log)),
                    Err(error) => self.fail(error),
                }
            }
            Message::Lines { stream, bytes } => self.put(stream, &bytes),
            Message::Progress(counts) => self.progress(counts),
            Message::Note(note) => self.put(Stream::Stderr, format!("pleiad: {note}\n").as_bytes()),
        }
    }

    fn job(&mut self, shown: &Shown) -> io::Result<()> {
        match shown {
            Shown::Output { tag, stdout, stderr } => {
                self.output(Stream::Stdout, tag.as_deref(), stdout)?;
                self.output(Stream::Stderr, tag.as_deref(), stderr)
            }
            Shown::Json { head, output } => self.json(head, output.as_ref()),
        }
    }

    fn output(&mut self, stream: Stream, tag: Option<&[u8]>, output: &Kept) -> io::Result<()> {
        let mut at_start = true;
        output.each_block(|block| {
            let Some(tag) = tag else {
                self.put(stream, block);
                return Ok(());
            };
            for line in block.split_inclusive(|&b| b == b'\n') {
                if at_start {
                    self.put(stream, tag);
                }
                self.put(stream, line);
                at_start = line.last() == Some(&b'\n');
            }
            Ok(())
        })
    }

    fn json(&mut self, head: &str, output: Option<&(Kept, Kept)>) -> io::Result<()> {
        let mut put = |bytes: &[u8]| {
            self.put(Stream::Stdout, bytes);
            Ok(())
        };
        put(head.as_bytes())?;
        if let Some((stdout, stderr)) = output {
            put(b",\"stdout\":")?;
            json::write_text(|| stdout.reader(), &mut put)?;
            put(b",\"stderr\":")?;
            json::write_text(|| stderr.reader(), &mut put)?;
        }
        put(b"}\n")
    }

    fn progress(&mut self, counts: Counts) {
        self.write_out();
        let now = Instant::now();
        if self.wants_bar {
            if !self.is_mid_line {
                let line = self.progress.describe(now, &counts);
                draw(self.bar.get_or_insert_with(new_bar), &counts, line);
            }
        } else if self.show == Show::Progress && now >= self.next_line {
            self.next_line = now + LINE_EVERY;
            let line = self.progress.describe(now, &counts);
            self.put(Stream::Stderr, format!("pleiad: {line}\n").as_bytes());
        }
    }

    fn put(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some((last, piece)) if *last == stream => piece.extend_from_slice(bytes),
            _ => self.pieces.push((stream, bytes.to_vec())),
        }
        self.bytes += bytes.len();
        if self.bytes >= WRITE_BYTES {
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        self.bytes = 0;
        let pieces = std::mem::take(&mut self.pieces);
        if !pieces.is_empty() {
            self.make_way(&pieces);
            let has_failed = self.has_failed;
            let result = match &self.bar {
                Some(bar) => bar.suspend(|| write_pieces(&pieces, has_failed)),
                None => write_pieces(&pieces, has_failed),
            };
            if let Err(error) = result {
                self.fail(error);
            }
        }
        let unlogged = std::mem::take(&mut self.unlogged);
        let Some(log) = self.log.as_ref().filter(|_| !self.has_failed) else { return };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        for ended in unlogged {
            if let Err(error) = log.add(&ended) {
                drop(self.faults.send(Fault::Log(error)));
                break;
            }
        }
    }

    /// Takes the bar away for as long as the terminal shows half a line.
    fn make_way(&mut self, pieces: &[(Stream, Vec<u8>)]) {
        if !self.wants_bar {
            return;
        }
        let is_shown = |stream| stream == Stream::Stderr || io::stdout().is_terminal();
        if let Some((_, last)) = pieces.iter().rev().find(|(stream, _)| is_shown(*stream)) {
            self.is_mid_line = last.last() != Some(&b'\n');
        }
        if self.is_mid_line
            && let Some(bar) = self.bar.take()
        {
            bar.finish_and_clear();
        }
    }

    fn fail(&mut self, error: io::Error) {
        if !self.has_failed {
            self.has_failed = true;
            drop(self.faults.send(Fault::Output(error)));
        }
    }

    fn finish(mut self) {
        self.write_out();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.is_mid_line {
            let _ = io::stderr().write_all(b"\n");
        }
    }
}

fn write_pieces(pieces: &[(Stream, Vec<u8>)], has_failed: bool) -> io::Result<()> {
    let mut result = Ok(());
    for (stream, bytes) in pieces {
        match stream {
            Stream::Stdout if has_failed || result.is_err() => {}
            Stream::Stdout => {
                let mut stdout = io::stdout().lock();
                result = stdout.write_all(bytes).and_then(|()| stdout.flush());
            }
            // Who has closed standard error does not want to read it.
            Stream::Stderr => drop(io::stderr().write_all(bytes)),
        }
    }
    result
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_HZ));
    bar
}

fn draw(bar: &ProgressBar, counts: &Counts, line: String) {
    if bar.length() != counts.total || bar.position() == 0 {
        let template = match counts.total {
            Some(_) => "{bar:24.cyan/dim} {percent:>3}% {wide_msg}",
            None => "{spinner:.cyan} {wide_msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is right");
        bar.set_style(style.progress_chars("━╸─"));
        counts.total.map_or_else(|| bar.unset_length(), |total| bar.set_length(total));
    }
    bar.set_position(counts.done());
    bar.set_message(line);
    bar.tick();
}
